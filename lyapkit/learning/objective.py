"""`Objective`: a loss as a function of some of a network's parameters, what curvature and modulation differentiate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lyapkit.arguments import Array, as_array, available_device, checked_dtype, checked_inputs
from lyapkit.learning.linearization import Linearization, is_by_hand, linearize
from lyapkit.losses import Loss, checked_loss, named_loss
from lyapkit.memory import available_memory
from lyapkit.models import as_network
from lyapkit.models.network import Network
from lyapkit.provenance import provenance
from lyapkit.scalars import whole

STATES_AT_ONCE = 5_000_000  # state variables of a micro-batch over all steps, 40 MB in float64
ARRAYS_KEPT = 8  # of the size of the states, of a network that is differentiated by hand
FEW_STEPS = 8
KEPT_SHARE = 0.5  # of the free memory that may be taken to keep them for the next product


class Objective:
    """A loss of all outputs of a network, as a function of a block of its parameters.

    The network is taken as it is: in eval mode, with its own readout; parameters that are tied count once, those that
    are frozen (`requires_grad` is False) not at all. So is the loss: it is asked once, for all outputs together, so
    that it need not be a mean over samples (a root mean square is not), and what it adds of the model's parameters, a
    penalty on weights for instance, is part of it. The network is computed in micro-batches, whose size changes nothing
    but memory and speed.

    Parameters
    ----------
    model : Network or nn.Module
        See `as_network`. It is copied.
    inputs : array, tensor or DataArray
        (trajectory, time, feature), one trajectory per sample.
    targets : array or tensor
        (sample, …), whatever `loss` takes.
    loss : callable or str
        ``loss(outputs, targets)``, a scalar, for outputs (sample, output), or (sample, time, output) of a network that
        reads every state. Or a name, see `named_loss`.
    parameters : "recurrent", "all", str or sequence of str
        The block: the recurrent weights, all parameters, or parameters by their names. Default "recurrent".
    lengths : array of int, optional
        (sample,): how many steps of each sequence count, where what follows is padding. Default: all.
    batch_size : int, optional
        Samples in a micro-batch. Default: as many as have 5 million state variables over all steps.
    dtype, device : optional
        What to compute in, and where. Default: float64, where the model is.

    Attributes
    ----------
    outputs, output_gradient : Tensor
        (S, O) or (S, T, O): the outputs, and the loss's gradient with respect to them.
    penalized : dict
        Parameters of the block that the loss depends on directly, by name: the model's own tensors.
    is_samplewise : bool
        Whether the Hessian of the loss with respect to the outputs couples no two samples.
    n_coupled : int
        How many outputs in a row it couples: those of a step, of a sample, or all.

    Raises
    ------
    ValueError
        If inputs, targets, loss and network do not fit together, values are not finite, there are no samples, the
        network has no readout, a parameter is unknown or frozen, or trainable parameters have no part in the loss.
    """

    def __init__(
        self,
        model: Network | nn.Module,
        inputs: Array,
        targets: Array,
        loss: Loss | str,
        *,
        parameters: str | Sequence[str] | None = "recurrent",
        lengths: Array | None = None,
        batch_size: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        dtype = checked_dtype(dtype)
        tensor = as_tensor(inputs)
        lengths = _checked_lengths(lengths, tensor)
        given = as_network(model, tensor, lengths)
        self.device = given.device if device is None else available_device(device)
        self.network: Network = given.converted(dtype, self.device).eval().requires_grad_(False)
        self.inputs = torch.from_numpy(checked_inputs(inputs, self.network)).to(self.device, dtype)
        self.lengths = None if lengths is None else lengths.to(self.device)
        self.targets = _checked_targets(targets, len(self.inputs)).to(self.device)
        if self.targets.is_floating_point():
            self.targets = self.targets.to(dtype)
        self.block = {} if parameters is None else _block(given, self.network, parameters)
        self.size = sum(parameter.numel() for parameter in self.block.values())
        batch_size = None if batch_size is None else whole("batch_size", batch_size, 1)
        n_states = self.inputs.shape[1] * self.network.state_size
        batch_size = batch_size or max(1, STATES_AT_ONCE // n_states)
        self.batches = [slice(i, i + batch_size) for i in range(0, len(self.inputs), batch_size)]
        n_bytes = ARRAYS_KEPT * len(self.inputs) * n_states * self.inputs.element_size()
        self._keeps = is_by_hand(self.network) and n_bytes < KEPT_SHARE * available_memory(self.device)
        self._kept: dict[int, Linearization] = {}

        with torch.no_grad():
            self.outputs = torch.cat([self._read(samples) for samples in self.batches])
            if not bool(self.outputs.isfinite().all()):
                sample = int((~self.outputs.isfinite()).nonzero()[0, 0])
                raise ValueError(
                    f"the network's outputs are not finite, first those of sample {sample}: states overflow"
                )
            self._check_samples_alone()
        self._outputs = self.outputs.clone().requires_grad_()
        function = named_loss(loss, self.lengths) if isinstance(loss, str) else loss
        self.loss_name = getattr(function, "__name__", str(function))
        self.loss = checked_loss(function, self._outputs, self.targets)
        self._differentiate(given)
        self._check_padding(function)
        self._check_used(given)
        try:
            self.n_coupled = self._n_coupled()
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(f"PyTorch cannot differentiate the loss twice, which curvature needs: {error}") from error
        self.is_samplewise = len(self.inputs) == 1 or self.n_coupled < self.outputs.numel()

    def curvature(
        self, output_tangents: Tensor, tangents: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the Hessian of the loss with respect to outputs, and penalized parameters, times their tangents.

        Parameters
        ----------
        output_tangents : Tensor
            Of all outputs.
        tangents : mapping, optional
            Of the block. Default: zero.
        """
        own = self.penalized if tangents is not None else {}
        leaves = [self._outputs, *own.values()]
        pairs = [(self._gradient, output_tangents)]
        if tangents is not None:
            pairs += [(self._of_penalized[name], tangents[name].to(tensor)) for name, tensor in own.items()]
        pairs = [pair for pair in pairs if pair[0].requires_grad]
        if not pairs:  # of a loss that is linear
            products = [torch.zeros_like(leaf) for leaf in leaves]
        else:
            products = torch.autograd.grad(
                [g for g, _ in pairs], leaves, [t for _, t in pairs], retain_graph=True, materialize_grads=True
            )
        of_outputs, *of_parameters = (product.detach().to(self.outputs) for product in products)
        return of_outputs, dict(zip(own, of_parameters, strict=True))

    def output_curvature(self, tangents: Tensor, samples: slice | None = None) -> Tensor:
        """Return the Hessian of the loss with respect to the outputs times `tangents`, of the shape of the outputs.

        With `samples`, tangents and result are those of the samples alone, the other samples' tangents being zero.
        """
        if samples is None:
            return self.curvature(tangents)[0]
        every = torch.zeros_like(self.outputs)
        every[samples] = tangents
        return self.curvature(every)[0][samples]

    def linearization(self, samples: slice) -> Linearization:
        """Return the network along a micro-batch; kept for the next product if it is worth it, with memory for all."""
        if samples.start in self._kept:
            return self._kept[samples.start]
        lengths = None if self.lengths is None else self.lengths[samples]
        given = self.inputs[samples], lengths, list(self.block), self.output_gradient[samples]
        linearization = linearize(self.network, *given)
        if self._keeps:
            self._kept[samples.start] = linearization
        return linearization

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Return a vector (P,) as tensors of the parameters' names and shapes."""
        parts = vector.split([parameter.numel() for parameter in self.block.values()])
        return {name: part.view_as(self.block[name]) for name, part in zip(self.block, parts, strict=True)}

    def flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return tensors by the parameters' names as one vector (P,)."""
        return torch.cat([tensors[name].reshape(-1) for name in self.block])

    @property
    def description(self) -> dict[str, object]:
        """Attributes of a dataset: which network, parameters, and samples."""
        return {
            **self.network.description,
            "block": ", ".join(self.block),
            "n_parameters": self.size,
            "n_samples": len(self.inputs),
            "n_steps": self.inputs.shape[1],
            "loss": float(self.loss.detach()),
        }

    def attributes(self, **parameters: object) -> dict[str, object]:
        """Return the attributes of a dataset: what was computed from what, with which parameters and versions."""
        return provenance(dtype=str(self.outputs.dtype), **parameters) | self.description

    def _read(self, samples: slice) -> Tensor:
        if self.lengths is None:
            return self.network(self.inputs[samples])
        return Network.forward(self.network, self.inputs[samples], self.lengths[samples])

    def _check_samples_alone(self) -> None:
        """Refuse a network that mixes samples, of which micro-batches would be another one.

        Two samples differ in a digit of their binary numbers. So other inputs of the samples that have this digit must
        leave the outputs of the others as they are, for every digit; and so must their absence.
        """
        beginning = self.inputs[self.batches[0], :FEW_STEPS]  # a chaotic network would carry rounding errors far
        together, again = self.network(beginning), self.network(beginning)
        tolerance = (1e-2 if together.dtype == torch.float32 else 1e-6) * together.abs().max()
        if not bool((together - again).abs().max() <= tolerance):
            raise ValueError(
                "the network's outputs are others each time they are computed: it must not draw random numbers, as "
                "functional.dropout does, and keep nothing from one call to the next"
            )
        mixes = ValueError(
            "outputs of a sample alone differ from those of it among the others: the network mixes samples, as batch "
            "normalisation without running statistics does"
        )
        try:
            alone = self.network(beginning[:1])
        except (RuntimeError, ValueError) as error:
            raise mixes from error
        if not bool((together[:1] - alone).abs().max() <= tolerance):
            raise mixes
        number = torch.arange(len(beginning), device=self.device)
        for digit in range((len(beginning) - 1).bit_length()):
            has_digit = (number >> digit & 1).bool()
            for kept in (has_digit, ~has_digit):
                others = torch.where(kept[:, None, None], beginning, beginning.flip(0).roll(1, 1) + 0.1)
                if not bool((together - self.network(others))[kept].abs().max() <= tolerance):
                    raise mixes

    def _differentiate(self, given: Network) -> None:
        """Take the loss's gradients with respect to the outputs and to what it takes of the model itself."""
        named = dict(given.named_parameters())
        own = {name: named[name] for name in self.block}
        gradients = torch.autograd.grad(
            self.loss, [self._outputs, *own.values()], create_graph=True, allow_unused=True, retain_graph=True
        )
        if gradients[0] is None:
            raise ValueError("the loss does not depend on the outputs")
        self._gradient = gradients[0]
        self.output_gradient = self._gradient.detach()
        if not bool(self.output_gradient.isfinite().all()):
            raise ValueError(
                f"the loss is {float(self.loss.detach()):.3g} and has no finite gradient there: a root, for instance, "
                "has none where the fit is perfect; take its square"
            )
        self._of_penalized = {n: g for n, g in zip(own, gradients[1:], strict=True) if g is not None}
        self.penalized = {name: own[name] for name in self._of_penalized}

    def _check_padding(self, loss: Loss) -> None:
        """Refuse a loss of outputs after the end of sequences."""
        if self.lengths is None or not self.network.every_step:
            return
        is_padding = torch.arange(self.inputs.shape[1], device=self.device) >= self.lengths[:, None]
        noise = torch.randn(self.outputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        others = torch.where(is_padding[:, :, None], noise.to(self.outputs), self.outputs)
        if not torch.equal(loss(others, self.targets).detach(), self.loss.detach()):
            raise ValueError(
                "the loss depends on outputs after the end of sequences: leave them out of it (by ignore_index, or a "
                "mask), or give one by its name, which does so"
            )

    def _check_used(self, given: Network) -> None:
        """Refuse trainable parameters that neither the outputs nor the loss depend on."""
        own = {name: parameter for name, parameter in given.named_parameters() if parameter.requires_grad}
        network = self.network.requires_grad_(True)
        names = [name for name, _ in network.named_parameters()]
        lengths = None if self.lengths is None else self.lengths[:1]
        with torch.enable_grad():
            outputs = Network.forward(network, self.inputs[:1], lengths)
        leaves = [network.get_parameter(name) for name in names]
        of_outputs = torch.autograd.grad(outputs.sum(), leaves, allow_unused=True)
        network.requires_grad_(False)
        unused = [name for name, gradient in zip(names, of_outputs, strict=True) if gradient is None and name in own]
        if not unused:
            return
        in_loss = torch.autograd.grad(self.loss, [own[name] for name in unused], allow_unused=True, retain_graph=True)
        if unused := [name for name, gradient in zip(unused, in_loss, strict=True) if gradient is None]:
            raise ValueError(
                f"neither outputs nor loss depend on the trainable parameters {', '.join(unused)}: freeze them "
                "(requires_grad_(False)) or remove them"
            )

    def _n_coupled(self) -> int:
        """Return how many outputs in a row the loss's curvature couples: those of a step, of a sample, or all."""
        n_samples, each = len(self.outputs), self.outputs[0].numel()
        for n_outputs in (self.outputs.shape[-1], each):
            groups = torch.arange(n_samples * each, device=self.device).view_as(self.outputs) // n_outputs
            if not self._are_coupled(groups):
                return n_outputs
        return n_samples * each

    def _are_coupled(self, groups: Tensor) -> bool:
        """Return whether the loss's curvature couples outputs of different groups.

        Two groups differ in a digit of their binary numbers. So tangents of the outputs whose groups have this digit
        reach the others, for one digit or another.
        """
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.outputs.shape, generator=generator, dtype=torch.float64).to(self.outputs)
        for digit in range(int(groups.max()).bit_length()):
            has_digit = (groups >> digit & 1).bool()
            if bool(self.curvature(noise * has_digit)[0][~has_digit].any()):
                return True
        return False


def as_tensor(values: Array) -> Tensor:
    """Return an array as a tensor."""
    return values if isinstance(values, Tensor) else torch.as_tensor(as_array(values, "values"))


def _checked_lengths(lengths: Array | None, inputs: Tensor) -> Tensor | None:
    """Return lengths (sample,) as int64; None if all sequences are of full length."""
    if lengths is None:
        return None
    lengths = as_tensor(lengths)
    n_steps = inputs.shape[1] if inputs.ndim == 3 else 0
    whole = lengths.long()
    if lengths.shape != inputs.shape[:1] or bool(
        (whole != lengths).any() | (whole < 1).any() | (whole > n_steps).any()
    ):
        raise ValueError(
            f"lengths must be {len(inputs)} whole numbers between 1 and {n_steps}, one per sample, got shape "
            f"{tuple(lengths.shape)}, " + (f"from {lengths.min()} to {lengths.max()}" if lengths.numel() else "empty")
        )
    return None if bool((whole == n_steps).all()) else whole.cpu()


def _checked_targets(targets: Array, n_samples: int) -> Tensor:
    try:
        targets = as_tensor(targets)
    except TypeError as error:
        raise ValueError(f"targets must be one array of numbers, got {type(targets).__name__}: {error}") from error
    if not targets.ndim or len(targets) != n_samples:
        n_targets = len(targets) if targets.ndim else 1
        raise ValueError(f"there are {n_targets} targets for {n_samples} samples")
    if targets.is_floating_point() and not bool(targets.isfinite().all()):
        sample = int((~targets.isfinite()).nonzero()[0, 0])
        raise ValueError(f"targets hold NaN or infinite values, first at sample {sample}")
    return targets


def _block(given: Network, network: Network, parameters: str | Sequence[str]) -> dict[str, Tensor]:
    """Return the parameters of a block by name: each once, however many names it has."""
    known = {name: parameter.detach() for name, parameter in network.named_parameters()}
    first = {id(parameter): name for name, parameter in reversed(list(network.named_parameters()))}
    every = network.named_parameters(remove_duplicate=False)
    names_of = {name: first[id(parameter)] for name, parameter in every}
    frozen = {name for name, parameter in given.named_parameters() if not parameter.requires_grad}
    if parameters == "all":
        names = [name for name in known if name not in frozen]
        if not names:
            raise ValueError("all parameters are frozen: requires_grad_(True) those to analyse")
        return {name: known[name] for name in names}
    if parameters == "recurrent":
        parameters = network.recurrent_parameters
    names = [parameters] if isinstance(parameters, str) else list(parameters)
    if unknown := [name for name in names if name not in names_of]:
        raise ValueError(
            f"unknown parameters {', '.join(unknown)}: choose 'recurrent', 'all' or some of {', '.join(known)}"
        )
    if not names or len(set(names)) < len(names):
        raise ValueError(f"parameters must be names, each once, got {names}")
    names = list(dict.fromkeys(names_of[name] for name in names))
    if still := [name for name in names if name in frozen]:
        raise ValueError(f"{', '.join(still)} are frozen, so not learnt: requires_grad_(True) them to analyse them")
    return {name: known[name] for name in names}
