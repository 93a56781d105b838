"""`from_module`: a PyTorch module as a system, by its weights where it computes what PyTorch says, else by its code."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from lyapkit.arguments import ReliabilityWarning
from lyapkit.labels import counted
from lyapkit.models.loops import check_loop
from lyapkit.models.pytorch_modules import (
    computed_weights,
    is_plain,
    is_plain_sequence,
    is_quantized,
    is_recurrent,
    nonlinearity_of,
)
from lyapkit.models.recurrent import Recurrent
from lyapkit.systems import System
from lyapkit.systems.precision import in_dtype
from lyapkit.systems.system import Input
from lyapkit.systems.tracing import Program, traced

StateShape = int | tuple[Any, ...] | list[Any] | Mapping[str, Any]  # sizes, nested as the tensors of a state are
AnyModule = TypeVar("AnyModule", bound=nn.Module)
_CHECKED_STEPS = 4
_DIFFERENCE = 1e-6  # of the states in a check of derivatives


def from_module(module: nn.Module, *, state_size: StateShape | None = None, input_size: int | None = None) -> System:
    """Return a PyTorch module as a system; the module is copied and not changed.

    Modules that compute what PyTorch's own do are taken by their weights, also weights that are parametrised,
    normalised, pruned or quantised. For a subclass with a forward of its own, and for one with hooks, steps are calls
    of its own code, and the tangent map comes from forward-mode automatic differentiation, compared with differences.

    Parameters
    ----------
    module : nn.Module
        An `nn.RNN`, `nn.GRU`, `nn.LSTM`, one of their cells, or of a subclass; a module that contains one of these,
        whose own loop over time, if it has one, must do nothing to the states, or several, which are one system, with
        what lies between them, if the module's forward, run on random inputs, proves to run them in a row; or, with
        `state_size`, a cell of the user's own: ``forward(input, state) -> state``. Dropout is off, as in eval mode;
        `batch_first` does not matter, inputs here are always (trajectory, time, feature).
    state_size : int, or tuple, list or dict of int, optional
        The user's cell's state: a tensor (B, N), or tuples, lists and dictionaries, nested or not, of tensors of these
        sizes.
    input_size : int, optional
        The user's cell's number of input features. Default: its attribute `input_size`.

    Raises
    ------
    ValueError
        If the module is bidirectional, or contains no recurrent module, or several that are in no row; if the model
        around it does something to its states between steps; or if the module's code cannot be split into steps, or
        differentiated.

    Warns
    -----
    CheckpointWarning
        If the module is quantised.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import torch
    >>> print(lk.from_module(torch.nn.GRU(3, 5)))
    GRU (3 inputs, 5 units, state size 5)
    """
    if isinstance(module, System):
        return module
    _check_readable(module)
    if state_size is not None:
        return _checked(Cell(module, state_size, input_size))
    if is_plain_sequence(module):
        from lyapkit.models.compositions import Composition  # which is made of what this function returns

        return Composition(list(module))
    found = recurrent_modules(module)
    if not found:
        raise ValueError(
            f"{type(module).__name__} contains no nn.RNN, nn.GRU, nn.LSTM or cell of theirs; for a cell of your own, "
            "forward(input, state), give state_size= and input_size="
        )
    if len(found) > 1:
        from lyapkit.models.rows import row_of  # which is made of what this function returns

        return row_of(module, list(found))
    ((name, recurrent),) = found.items()
    if recurrent is not module:
        check_loop(module, name)
    if is_quantized(recurrent) or is_plain(recurrent):
        weights = computed_weights(recurrent)
        return Recurrent.from_parameters(weights, nonlinearity_of(recurrent))
    if isinstance(recurrent, nn.RNNCellBase):
        n_parts = 2 if isinstance(recurrent, nn.LSTMCell) else 1
        sizes = (recurrent.hidden_size,) * n_parts if n_parts > 1 else recurrent.hidden_size
        return _checked(Cell(recurrent, sizes), must_run=True)
    assert isinstance(recurrent, nn.RNNBase)
    return _checked(Stack(recurrent), must_run=True)


def _check_readable(module: nn.Module) -> None:
    """Raise a ValueError if a module has no weights yet, or code that cannot be looked into."""
    name = getattr(module, "original_name", type(module).__name__)
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            f"{name} is a TorchScript module, compiled, whose code cannot be followed: give the module from which it "
            "was made, or load its state_dict() into one"
        )
    if empty := [own for own, tensor in module.state_dict().items() if isinstance(tensor, Tensor) and tensor.is_meta]:
        raise ValueError(
            f"{name} has tensors without values, of the device meta ({', '.join(empty[:3])}), and an exponent needs "
            "values: load its weights first, module.to_empty(device='cpu'), then module.load_state_dict(...)"
        )


def recurrent_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Return the outermost recurrent modules in a module by their names, itself by ""."""
    found: dict[str, nn.Module] = {}
    for name, part in module.named_modules():  # outer ones come first
        if is_recurrent(part) and not any(not outer or name.startswith(f"{outer}.") for outer in found):
            found[name] = part
    return found


class _OwnCode(System):
    """A module whose steps are calls of its own code, differentiated in forward mode."""

    module: nn.Module
    input_size: int

    def _copied(self, module: AnyModule) -> AnyModule:
        try:
            return copy.deepcopy(module).eval().requires_grad_(False)
        except RuntimeError as error:
            raise ValueError(f"{type(module).__name__} cannot be copied: {' '.join(str(error).split())}") from error

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return zeros."""
        return torch.zeros(n_trajectories, self.state_size, dtype=torch.float64)

    def converted(self, dtype: torch.dtype, device: torch.device) -> Self:
        """Return this system with its parameters in `dtype` on `device`."""
        other = copy.copy(self)
        other.module = in_dtype(self.module, dtype, device)
        return other

    def program(self, state: Tensor, input: Tensor | None) -> Program:
        """Return what a step computes, written down as arithmetic, of float64 parameters on the CPU.

        Raises
        ------
        Untraceable
            If it is more than that.
        """
        return traced(self.step, self.state_size, self.input_size, batched=True, in_torch=(True, True))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    def __str__(self) -> str:
        return f"{type(self.module).__name__} ({counted(self.input_size, 'input')}, state size {self.state_size})"


class Cell(_OwnCode):
    """A user's recurrent cell, ``forward(input, state) -> state``, differentiated in forward mode.

    Parameters
    ----------
    module : nn.Module
        The cell. It is copied, and put in eval mode.
    state_size : int, or tuple, list or dict of int
        Size of the state tensor, or sizes of the tensors in the state, nested as it is. The system's state is their
        concatenation.
    input_size : int, optional
        Number of input features. Default: the module's attribute `input_size`.

    Raises
    ------
    ValueError
        If the number of input features is not known, or, at use, if the cell returns another kind of state.
    """

    def __init__(self, module: nn.Module, state_size: StateShape, input_size: int | None = None) -> None:
        self.module = self._copied(module)
        self.shape = state_size
        self.sizes = _leaves(state_size, state_size)
        self.state_size = sum(self.sizes)
        n_inputs = getattr(module, "input_size", None) if input_size is None else input_size
        if n_inputs is None:
            raise ValueError(f"the number of input features of {type(module).__name__} is not known: give input_size=")
        self.input_size = n_inputs

    def step(self, state: Tensor, input: Input) -> Tensor:
        """Return the next state."""
        parts = state.split(self.sizes, dim=-1)
        output = self.module(input, _nested(iter(parts), self.shape))
        next_parts = _leaves(output, self.shape)
        expected = [(len(state), size) for size in self.sizes]
        got = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in next_parts]
        if got != expected:
            raise ValueError(
                f"{type(self.module).__name__} returned {got} where its next state, {expected}, was expected: wrap it "
                "so that forward(input, state) returns the state alone"
            )
        return torch.cat(next_parts, dim=-1)

    def output(self, state: Tensor) -> Tensor:
        """Return the first tensor of the state, as PyTorch's cells give theirs to the next layer."""
        return state[..., : self.sizes[0]]


class Stack(_OwnCode):
    """A module with nn.RNN's, nn.GRU's or nn.LSTM's way of being called and code of its own, called step by step.

    Parameters
    ----------
    module : nn.RNNBase
        ``forward(inputs, state) -> outputs, state``. It is copied, and put in eval mode.

    Raises
    ------
    ValueError
        If it is bidirectional, or a sequence at once gives another state than its steps one by one.
    """

    module: nn.RNNBase

    def __init__(self, module: nn.RNNBase) -> None:
        if module.bidirectional:
            raise ValueError("the network is bidirectional: its backward half reads the sequence from its end")
        self.module = self._copied(module)
        self.input_size = module.input_size
        outputs = module.proj_size or module.hidden_size
        self._widths = [outputs, module.hidden_size] if isinstance(module, nn.LSTM) else [outputs]
        self.state_size = module.num_layers * sum(self._widths)
        self._check_steps()

    def run(self, state: Tensor, inputs: Tensor) -> Tensor:
        """Return the state after inputs (B, T, I), by one call of the module."""
        parts = state.split([self.module.num_layers * width for width in self._widths], dim=-1)
        given = tuple(
            part.unflatten(-1, (-1, width)).transpose(0, 1).contiguous()
            for part, width in zip(parts, self._widths, strict=True)
        )
        sequence = inputs if self.module.batch_first else inputs.transpose(0, 1)
        _, end = self.module(sequence, given if len(given) > 1 else given[0])
        end = end if isinstance(end, tuple) else (end,)
        return torch.cat([part.transpose(0, 1).flatten(1) for part in end], dim=-1)

    def step(self, state: Tensor, input: Input) -> Tensor:
        """Return the next state."""
        return self.run(state, input[:, None])

    def output(self, state: Tensor) -> Tensor:
        """Return the uppermost layer's hidden state."""
        n_hidden = self.module.num_layers * self._widths[0]
        return state[..., n_hidden - self._widths[0] : n_hidden]

    @torch.no_grad()
    def _check_steps(self) -> None:
        exact = self.converted(torch.float64, torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(2, _CHECKED_STEPS, self.input_size, generator=generator, dtype=torch.float64)
        state = 0.5 * torch.randn(2, self.state_size, generator=generator, dtype=torch.float64)
        try:
            at_once = exact.run(state, inputs)
            for input in inputs.unbind(1):
                state = exact.step(state, input)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{self} cannot be run step by step: {' '.join(str(error).split())}") from error
        if not torch.allclose(at_once, state, rtol=1e-9, atol=1e-9):
            raise ValueError(
                f"{type(self.module).__name__}.forward of a sequence ends in another state than its steps one by one, "
                "so that no state evolves from step to step: give a cell of your own, forward(input, state), and "
                "state_size="
            )


def _nested(parts: Iterator[Tensor], shape: StateShape) -> object:
    """Return tensors, one after the other, in the tuples, lists and dictionaries of a shape."""
    if isinstance(shape, Mapping):
        return {name: _nested(parts, inner) for name, inner in shape.items()}
    if isinstance(shape, list | tuple):
        return type(shape)(_nested(parts, inner) for inner in shape)
    return next(parts)


def _leaves(value: object, shape: StateShape) -> list[Any]:
    """Return what a nested value holds, one after the other, in the order of a shape; itself if nested otherwise."""
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping) or value.keys() != shape.keys():
            return [value]
        return [leaf for name, inner in shape.items() for leaf in _leaves(value[name], inner)]
    if isinstance(shape, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(shape):
            return [value]
        return [leaf for entry, inner in zip(value, shape, strict=True) for leaf in _leaves(entry, inner)]
    return [value]


@torch.no_grad()
def _checked(system: _OwnCode, *, must_run: bool = False) -> _OwnCode:
    """Return the system if its derivatives are those of its steps, by differences at a few random states."""
    exact = system.converted(torch.float64, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    state, direction = torch.randn(2, 3, exact.state_size, generator=generator, dtype=torch.float64)
    input = torch.randn(3, exact.input_size, generator=generator, dtype=torch.float64)
    name = type(system.module).__name__
    before, failure = _kept(exact.module), None
    try:
        ahead, behind = (exact.step(state + sign * _DIFFERENCE * direction, input) for sign in (1, -1))
        alone = exact.step(state[:1], input[:1])
        together, pushed = exact.push(state, input, direction[:, None])
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        failure = error
    _check_memory(name, before, _kept(exact.module))
    if failure is not None and must_run:
        raise ValueError(f"{name} cannot be run or differentiated: {' '.join(str(failure).split())}") from failure
    if failure is not None:
        return system  # a cell of the user's may want other inputs; it is asked again when it is used
    if not torch.allclose(together[:1], alone, rtol=1e-9, atol=1e-9):
        raise ValueError(f"{name} gives a trajectory other states in a batch than alone")
    difference = (ahead - behind) / (2 * _DIFFERENCE)
    if not torch.allclose(pushed[:, 0], difference, rtol=1e-4, atol=1e-6 * max(1.0, float(difference.abs().max()))):
        raise ValueError(
            f"{name} cannot be differentiated automatically: its derivative is not that of its values (does it detach, "
            "or use NumPy?); give a lyapkit.System with a push of your own"
        )
    return system


def _kept(module: nn.Module) -> dict[str, Any]:
    """Return what a module holds from one call to the next: its buffers and parameters, and attributes that count."""
    tensors = {name: kept.clone() for name, kept in module.state_dict().items() if isinstance(kept, Tensor)}
    numbers = {
        f"{place}.{name}".lstrip("."): kept
        for place, part in module.named_modules()
        for name, kept in vars(part).items()
        if isinstance(kept, int | float)
    }
    return tensors | numbers


def _check_memory(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise a ValueError if calls of a module changed its buffers, and warn if they changed numbers that it holds."""
    for kept, value in after.items():
        if kept in before and _is_same(value, before[kept]):
            continue
        if isinstance(value, Tensor):
            raise ValueError(
                f"{name} changes its {kept!r} whenever it is called: what evolves from step to step must be in the "
                "state that it is given and returns"
            )
        warnings.warn(
            f"{name} changes its attribute {kept!r} whenever it is called, and it is called more often than there are "
            "steps: if a step depends on that, the exponents are wrong, and it must be a part of the state",
            ReliabilityWarning,
            stacklevel=4,
        )


def _is_same(value: Tensor | float, other: Tensor | float) -> bool:
    """Whether two tensors or two numbers are the same; NaN is NaN."""
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape == other.shape and bool(((value == other) | (value != value) & (other != other)).all())
    return bool(value == other or (value != value and other != other))
