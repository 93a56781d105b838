"""The model and the loss as they are: against dense autograd of the very model and loss, written out in each test."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.functional import cross_entropy, mse_loss, softplus

import lyapkit as lk
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import ggn_product, hessian_product

INPUTS, LABELS = torch.linspace(-2, 2, 8 * 6 * 2).sin().view(8, 6, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2, 1, 0])
W = "recurrent.weight_hh_l0"


def _network(n_outputs=3, readout=None, recurrent=None):
    torch.manual_seed(0)
    recurrent = nn.RNN(2, 6) if recurrent is None else recurrent
    return lk.RecurrentNetwork(recurrent, nn.Linear(6, n_outputs) if readout is None else readout).double()


def _dense(loss_at, weight):
    """Return the dense Hessian of a function of a weight."""
    return torch.autograd.functional.hessian(lambda v: loss_at(v.view_as(weight)), weight.detach().reshape(-1)).numpy()


def _leading(matrix, k):
    values = np.linalg.eigvalsh(matrix)
    return values[np.argsort(-np.abs(values))][:k]


def _ggn(network, loss, name=W):
    weight = network.get_parameter(name).detach()
    jacobian = jacrev(lambda w: functional_call(network, {name: w}, (INPUTS,)).flatten())(weight).flatten(1)
    outputs = network(INPUTS).detach()
    of_loss = torch.autograd.functional.hessian(lambda o: loss(o.view_as(outputs)), outputs.flatten())
    return (jacobian.mT @ of_loss @ jacobian).detach().numpy()


CLASS_WEIGHTS = torch.tensor([1.0, 5.0, 0.2]).double()
SAMPLE_WEIGHTS = torch.tensor([3.0, 1, 0, 2, 5, 0.5, 1, 1]).double()
IGNORED = torch.tensor([0, 1, -100, 0, 1, 2, 1, -100])
LOSSES = {
    "class weights": lambda o, t: cross_entropy(o, t, weight=CLASS_WEIGHTS),
    "sample weights": lambda o, t: (SAMPLE_WEIGHTS * cross_entropy(o, t, reduction="none")).mean(),
    "ignored labels": lambda o, _: cross_entropy(o, IGNORED),
    "sum": lambda o, t: cross_entropy(o, t, reduction="sum"),
    "label smoothing": lambda o, t: cross_entropy(o, t, label_smoothing=0.2),
    "pairs": lambda o, _: softplus(o[1::2, 0] - o[0::2, 1]).mean(),
    "one pair": lambda o, t: cross_entropy(o, t) + o[2, 0] * o[3, 1],
    "batch statistics": lambda o, t: cross_entropy(o / o.std(0), t),
}


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_that_are_not_means_over_samples(name, batch_size):
    network, loss = _network(), LOSSES[name]
    given = network, INPUTS, LABELS, loss
    states = list(network.states(INPUTS))
    gradients = torch.autograd.grad(loss(network.read(states[-1]), LABELS), states)
    norms = lk.gradient_norms(*given, batch_size=batch_size).gradient_norm / len(INPUTS)
    np.testing.assert_allclose(norms, torch.stack(gradients, 1).norm(dim=2), atol=1e-15)
    hessian = _dense(lambda w: loss(functional_call(network, {W: w}, (INPUTS,)), LABELS), network.get_parameter(W))
    ggn = _ggn(network, lambda o: loss(o, LABELS))
    objective, vector = Objective(*given, batch_size=batch_size), torch.randn(36).double()
    np.testing.assert_allclose(hessian_product(objective, vector), hessian @ vector.numpy(), atol=1e-12)
    np.testing.assert_allclose(ggn_product(objective, vector), ggn @ vector.numpy(), atol=1e-12)
    values = np.linalg.eigvalsh(ggn)[::-1]
    found = lk.ggn_eigenvalues(*given, batch_size=batch_size).ggn_eigenvalue
    np.testing.assert_allclose(found, values, atol=1e-12)
    ds = lk.learning_rate_modulation(*given, direction=np.ones(36), batch_size=batch_size)
    np.testing.assert_allclose(ds.directional_curvature[0], hessian.sum() / 36, atol=1e-12)


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("network", ["RNN", "WCRNN"])
def test_penalties_on_parameters_are_part_of_the_loss(network, batch_size):
    """Of second and of fourth order, and one that mixes outputs and parameters."""
    name = W if network == "RNN" else "recurrent.weight"
    model = _network() if network == "RNN" else lk.WCRNN(2, 6, 3, lk.residuals.scaled_identity(6, 0.9), 0.3).double()

    def loss(outputs, targets, weight=None):
        weight = model.get_parameter(name) if weight is None else weight
        others = sum((p**2).sum() for n, p in model.named_parameters() if n != name)
        penalty = (weight**2).sum() + (weight**4).sum() + weight[0, 1] * outputs.square().mean()
        return cross_entropy(outputs, targets) + 0.3 * (penalty + others)

    hessian = _dense(lambda w: loss(functional_call(model, {name: w}, (INPUTS,)), LABELS, w), model.get_parameter(name))
    options = {"tolerance": 1e-7, "batch_size": batch_size}
    ds = lk.hessian_eigenvalues(model, INPUTS, LABELS, loss, 3, **options)
    np.testing.assert_allclose(ds.hessian_eigenvalue, _leading(hessian, 3), atol=1e-10)
    assert ds.attrs["loss"] == pytest.approx(loss(model(INPUTS), LABELS).item(), rel=1e-12)

    weight = model.get_parameter(name).detach()
    jacobian = jacrev(lambda w: functional_call(model, {name: w}, (INPUTS,)).flatten())(weight).flatten(1).detach()
    at = functional_call(model, {name: weight}, (INPUTS,)).detach()

    def linearized(vector):
        return loss(at + (jacobian @ (vector - weight.flatten())).view_as(at), LABELS, vector.view_as(weight))

    ggn = torch.autograd.functional.hessian(linearized, weight.flatten()).numpy()
    expected = np.linalg.eigvalsh(ggn)[::-1]
    np.testing.assert_allclose(
        lk.ggn_eigenvalues(model, INPUTS, LABELS, loss, **options).ggn_eigenvalue, expected, atol=1e-10
    )
    with pytest.raises(ValueError, match="directly, which is in no unrolled layer"):
        lk.learning_rate_modulation(model, INPUTS, LABELS, loss)


@pytest.mark.parametrize(
    "readout",
    [
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3)),
        lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)),
        lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Dropout(0.3), nn.LayerNorm(4), nn.Linear(4, 3)),
    ],
)
def test_readouts_are_in_eval_mode_and_modes_stay(readout):
    network = _network(readout=readout()).train()
    network.readout[0].eval()
    modes = [part.training for part in network.modules()]
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    ds = lk.hessian_eigenvalues(network, INPUTS, LABELS, "cross_entropy", 3, tolerance=1e-7)
    norms = lk.gradient_norms(network, INPUTS, LABELS, cross_entropy)
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(buffers[name], buffer) for name, buffer in network.named_buffers())
    network.eval()
    hessian = _dense(
        lambda w: cross_entropy(functional_call(network, {W: w}, (INPUTS,)), LABELS), network.get_parameter(W)
    )
    np.testing.assert_allclose(ds.hessian_eigenvalue, _leading(hessian, 3), atol=1e-11)
    *_, last = network.states(INPUTS)
    (gradient,) = torch.autograd.grad(cross_entropy(network.read(last), LABELS), last)
    np.testing.assert_allclose(norms.gradient_norm[:, -1] / 8, gradient.norm(dim=1), atol=1e-14)


def test_frozen_parameters_do_not_count():
    network = _network()
    network.recurrent.requires_grad_(False)
    ds = lk.hessian_eigenvalues(network, INPUTS, LABELS, cross_entropy, 2, parameters="all")
    assert ds.attrs["n_parameters"] == 21
    assert ds.attrs["block"] == "readout.weight, readout.bias"
    with pytest.raises(ValueError, match=f"{W} are frozen"):
        lk.hessian_eigenvalues(network, INPUTS, LABELS, cross_entropy, 2)
    assert [p.requires_grad for p in network.parameters()] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("kind", ["RNN", "WCRNN"])
def test_tied_parameters_are_one(kind):
    """The readout is the recurrent weight itself, under either name."""
    if kind == "RNN":
        network = _network(6)
        network.readout.weight, name = network.recurrent.weight_hh_l0, W
    else:
        network, name = lk.WCRNN(2, 6, 6, lk.residuals.scaled_identity(6, 0.9), 0.3).double(), "recurrent.weight"
        network.readout.weight = network.recurrent.weight
    hessian = _dense(
        lambda w: cross_entropy(functional_call(network, {name: w}, (INPUTS,)), LABELS), network.get_parameter(name)
    )
    for parameters in (name, "readout.weight", "recurrent"):
        options = {"parameters": parameters, "tolerance": 1e-7}
        ds = lk.hessian_eigenvalues(network, INPUTS, LABELS, cross_entropy, 3, **options)
        np.testing.assert_allclose(ds.hessian_eigenvalue, _leading(hessian, 3), atol=1e-11)
    both = lk.hessian_eigenvalues(network, INPUTS, LABELS, cross_entropy, 1, parameters=[name, "readout.weight"])
    assert both.attrs["n_parameters"] == 36
    with pytest.raises(ValueError, match="belong to the readout"):
        lk.learning_rate_modulation(network, INPUTS, LABELS, cross_entropy)


class _Cell(lk.Network):
    """A user's network, with a part that its step may leave out."""

    def __init__(self, kind):
        super().__init__()
        self.input_size, self.state_size = 2, 6
        self.kind, self.extra = kind, nn.Parameter(torch.zeros(6))
        self.norm = nn.LayerNorm(6) if kind == "layer norm" else nn.Identity()
        recurrent = nn.Linear(6, 6, bias=False)
        if kind in ("cayley", "householder", "matrix_exp"):
            options = {"orthogonal_map": kind, "use_trivialization": False}
            recurrent = torch.nn.utils.parametrizations.orthogonal(recurrent, **options)
        self.W, self.U, self.out = recurrent, nn.Linear(2, 6), nn.Linear(6, 3)
        self.recurrent_parameters = tuple(name for name, _ in self.named_parameters() if name.startswith("W."))
        self.readout_parameters = ("out.weight", "out.bias")

    description = property(lambda self: {})

    def step(self, state, input):
        state = torch.tanh(self.norm(self.W(state) + self.U(input)))
        if self.kind == "mixes":
            return state - state.mean(0)
        return state if self.kind == "unused" else state + 0.1 * self.extra

    def read(self, state):
        return self.out(state) if self.kind != "curved" else self.out(state.square())


@pytest.mark.parametrize("kind", ["plain", "layer norm", "cayley", "householder", "matrix_exp", "curved"])
def test_networks_of_a_users_own(kind):
    """Where nested forward mode would be wrong without a word."""
    torch.manual_seed(0)
    network = _Cell(kind).double()
    (name,) = network.recurrent_parameters
    hessian = _dense(
        lambda w: cross_entropy(functional_call(network, {name: w}, (INPUTS,)), LABELS), network.get_parameter(name)
    )
    direction = np.random.default_rng(0).normal(size=36)
    direction /= np.linalg.norm(direction)
    ds = lk.learning_rate_modulation(network, INPUTS, LABELS, cross_entropy, direction=direction)
    assert float(ds.directional_curvature[0]) == pytest.approx(direction @ hessian @ direction, abs=1e-11)
    found = lk.hessian_eigenvalues(network, INPUTS, LABELS, cross_entropy, 3, tolerance=1e-7)
    np.testing.assert_allclose(found.hessian_eigenvalue, _leading(hessian, 3), atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("unused", "neither outputs nor loss depend on the trainable parameters extra"), ("mixes", "mixes samples")],
)
def test_networks_that_are_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        lk.gradient_norms(_Cell(kind).double(), INPUTS, LABELS, cross_entropy)


def test_a_modulation_that_does_not_add_up():
    class Normalized(lk.RecurrentNetwork):
        def states(self, inputs):
            factor = 1 / self.recurrent.weight_hh_l0.norm()
            return (state * factor for state in super().states(inputs))

    network = Normalized(nn.RNN(2, 6), nn.Linear(6, 3)).double()
    with pytest.raises(ValueError, match=r"the layers' contributions sum to .*, and the curvature along"):
        lk.learning_rate_modulation(network, INPUTS, LABELS, cross_entropy, direction=np.ones(36))


ONE_HOT = torch.eye(3).double()[LABELS]


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("cross-entropy", LABELS),
        ("cross_entropy", LABELS[:, None]),
        ("Cross-Entropy", LABELS.double()),
        ("cross_entropy_loss", ONE_HOT),
        ("cross-entropy", ONE_HOT.long().numpy()),
        ("cross-entropy", LABELS.to(torch.int8)),
    ],
)
def test_labels_in_every_form(name, targets):
    network = _network()
    expected = lk.gradient_norms(network, INPUTS, LABELS, cross_entropy).gradient_norm
    np.testing.assert_allclose(lk.gradient_norms(network, INPUTS, targets, name).gradient_norm, expected, rtol=1e-13)


@pytest.mark.parametrize("targets", [torch.arange(8.0), torch.arange(8.0)[:, None], torch.arange(8)])
def test_values_by_name(targets):
    network = _network(1)
    expected = lk.gradient_norms(network, INPUTS, torch.arange(8.0).double()[:, None], mse_loss).gradient_norm
    np.testing.assert_allclose(lk.gradient_norms(network, INPUTS, targets, "mse").gradient_norm, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("loss", "targets", "n_outputs", "message"),
    [
        ("cross-entropy", LABELS + 0.3, 3, "whole numbers: for other values take 'mse'"),
        ("cross-entropy", LABELS + 1, 3, "targets hold class 3, the network has outputs for classes 0 to 2"),
        ("cross-entropy", LABELS - 1, 3, "targets hold class -1"),
        ("cross-entropy", LABELS[:, None].expand(8, 6), 3, "every_step = True"),
        ("mse", LABELS, 3, r"targets have shape \(8,\), outputs \(8, 3\)"),
        ("mse", torch.zeros(8, 4), 3, r"targets have shape \(8, 4\)"),
        ("hinge", LABELS, 3, "unknown loss 'hinge': choose one of cross-entropy, mse, rms, l1"),
        (mse_loss, torch.zeros(8), 1, r"outputs \(8, 1\) with targets \(8,\), which would be broadcast to \(8, 8\)"),
        (mse_loss, torch.zeros(8, 1), 3, r"would be broadcast to \(8, 3\)"),
        (lambda o, t: ((o - t) ** 2).mean(), torch.zeros(8), 1, "would be broadcast"),
        (lambda o, t: ((t.float() - o.squeeze(1)) ** 2).mean(), torch.zeros(8, 1), 1, "would be broadcast"),
        (lambda o, t: (t - o).abs().mean(), torch.zeros(8), 8, "would be broadcast"),
        (lambda o, t: mse_loss(nn.functional.dropout(o, 0.3), o.detach()), LABELS, 3, "another one each time"),
        (lambda o, t: o.detach().sum() + NETWORK.readout.bias.sum(), LABELS, 3, "does not depend on the outputs"),
        (lambda o, t: (o - o.detach()).square().sum().sqrt(), LABELS, 3, "has no finite gradient there: a root"),
    ],
)
def test_losses_that_are_refused(loss, targets, n_outputs, message):
    with pytest.raises(ValueError, match=message):
        lk.hessian_eigenvalues(_network(n_outputs), INPUTS, targets, loss, 1, parameters="all")


NETWORK = _network()


def test_broadcasting_on_purpose_is_allowed():
    """Pairs of outputs, weights of steps or samples, targets that the loss reshapes itself."""
    network, weights = _network(1), torch.arange(8.0).double()

    def loss(outputs, targets):
        pairs = softplus(outputs - outputs.mT).mean()
        return pairs + (weights[:, None] * (outputs - targets[:, None]) ** 2).mean()

    assert bool(lk.hessian_eigenvalues(network, INPUTS, torch.zeros(8), loss, 2).converged.all())


class Packed(nn.Module):
    """Reads each sequence's own last state; where it ends its own forward finds out."""

    def __init__(self):
        super().__init__()
        self.rnn, self.fc = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, inputs):
        lengths = (inputs.abs().sum(-1) > 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(packed)[1][-1])


def test_padded_sequences_need_their_lengths():
    torch.manual_seed(0)
    model, lengths = Packed().double(), torch.tensor([6, 6, 2, 5, 1, 6, 3, 4])
    inputs = INPUTS * (torch.arange(6) < lengths[:, None])[:, :, None]
    with pytest.raises(ValueError, match="if its sequences are padded, give their lengths"):
        lk.hessian_eigenvalues(model, inputs, LABELS, cross_entropy, 3)
    name = "rnn.weight_hh_l0"
    hessian = _dense(
        lambda w: cross_entropy(functional_call(model, {name: w}, (inputs,)), LABELS), model.get_parameter(name)
    )
    given = model, inputs, LABELS, cross_entropy
    ds = lk.hessian_eigenvalues(*given, 3, lengths=lengths, tolerance=1e-7, batch_size=3)
    np.testing.assert_allclose(ds.hessian_eigenvalue, _leading(hessian, 3), atol=1e-11)
    norms = lk.gradient_norms(*given, lengths=lengths.numpy())
    after_end = np.arange(6) >= lengths.numpy()[:, None]
    np.testing.assert_array_equal(np.isnan(norms.gradient_norm), after_end)
    for sample in (0, 2, 5):
        network, end = lk.RecurrentNetwork(model.rnn, model.fc), lengths[sample]
        alone = lk.gradient_norms(network, inputs[[sample], :end], LABELS[[sample]], cross_entropy)
        np.testing.assert_allclose(norms.gradient_norm[sample, : lengths[sample]], alone.gradient_norm[0], rtol=1e-12)
        np.testing.assert_allclose(norms.decay_rate[sample], alone.decay_rate[0], rtol=1e-9)
    for wrong in (lengths[:3], lengths + 1, lengths * 0, lengths + 0.5):
        with pytest.raises(ValueError, match="lengths must be 8 whole numbers between 1 and 6"):
            lk.gradient_norms(*given, lengths=wrong)


def test_losses_by_name_leave_padding_out_and_others_have_to():
    network, lengths = _network(), torch.tensor([6, 6, 2, 5, 1, 6, 3, 4])
    network.every_step = True
    labels = (torch.arange(8)[:, None] + torch.arange(6)) % 3
    counts = torch.arange(6) < lengths[:, None]
    given = network, INPUTS, labels
    with pytest.raises(ValueError, match="the loss depends on outputs after the end of sequences"):
        lk.gradient_norms(*given, lambda o, t: cross_entropy(o.flatten(0, 1), t.flatten()), lengths=lengths)
    named = lk.gradient_norms(*given, "cross-entropy", lengths=lengths).gradient_norm
    ignored = labels.masked_fill(~counts, -100)
    own = lk.gradient_norms(
        network, INPUTS, ignored, lambda o, t: cross_entropy(o.flatten(0, 1), t.flatten()), lengths=lengths
    )
    np.testing.assert_allclose(named, own.gradient_norm, rtol=1e-12)
    states = list(network.states(INPUTS))
    outputs = torch.stack([network.read(state) for state in states], 1)
    gradients = torch.stack(torch.autograd.grad(cross_entropy(outputs[counts], labels[counts]), states), 1)
    np.testing.assert_allclose(np.nan_to_num(named) / 8, gradients.norm(dim=2), atol=1e-15)


class Mixing(lk.Network):
    """The first sample is left alone; what happens to the others is said by name."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.input_size, self.state_size, self.n_calls = kind, 2, 6, 0
        self.weight, self.input, self.readout = nn.Linear(6, 6), nn.Linear(2, 6), nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6, track_running_stats=False) if kind == "batch norm" else nn.Identity()
        self.recurrent_parameters, self.readout_parameters = ("weight.weight",), ("readout.weight", "readout.bias")

    def step(self, state, input):
        following = torch.tanh(self.norm(self.weight(state)) + self.input(input))
        if self.kind == "neighbours":
            following = torch.cat([following[:1], 0.9 * following[1:] + 0.1 * following[:-1]])
        return following

    def read(self, state):
        outputs = self.readout(state)
        if self.kind == "one pair":
            outputs = (
                torch.cat([outputs[:5], outputs[5:6] * outputs[3:4], outputs[6:]]) if len(outputs) > 5 else outputs
            )
        if self.kind == "dropout":
            outputs = nn.functional.dropout(outputs)
        self.n_calls += 1
        return outputs * self.n_calls if self.kind == "counter" else outputs


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("neighbours", "the network mixes samples"),
        ("one pair", "the network mixes samples"),
        ("batch norm", "the network mixes samples"),
        ("dropout", "others each time they are computed"),
        ("counter", "others each time they are computed"),
    ],
)
def test_networks_that_mix_samples_or_are_none(kind, message):
    network = Mixing("").double()
    assert len(lk.ggn_eigenvalues(network, INPUTS, LABELS, cross_entropy).ggn_eigenvalue) == 36
    with pytest.raises(ValueError, match=message):
        lk.ggn_eigenvalues(Mixing(kind).double(), INPUTS, LABELS, cross_entropy)


def test_networks_that_start_elsewhere():
    """States begin where `initial_state` says, for outputs, curvature, layers' contributions and the spectrum alike."""

    class Started(Mixing):
        def initial_state(self, n_trajectories, generator):
            return torch.full((n_trajectories, 6), 0.5)

    network = Started("").double()
    name = "weight.weight"

    def loss_at(weight):
        state = torch.full((8, 6), 0.5).double()
        for input in INPUTS.unbind(1):
            state = torch.tanh(state @ weight.mT + network.weight.bias + network.input(input))
        return cross_entropy(network.readout(state), LABELS)

    expected = _leading(_dense(loss_at, network.get_parameter(name)), 2)
    found = lk.hessian_eigenvalues(network, INPUTS, LABELS, cross_entropy, 2).hessian_eigenvalue
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    ds = lk.learning_rate_modulation(network, INPUTS, LABELS, cross_entropy, k=2)
    np.testing.assert_allclose(ds.directional_curvature, expected, rtol=1e-6)
    by_default = lk.lyapunov_spectrum(network, INPUTS, n_exponents=1).lyapunov_exponent
    given = lk.lyapunov_spectrum(network, INPUTS, n_exponents=1, initial_state=np.full(6, 0.5)).lyapunov_exponent
    np.testing.assert_allclose(by_default, given, rtol=1e-12)


@pytest.mark.parametrize("kind", [np.int64, torch.tensor, np.array])
def test_options_may_be_scalars_of_numpy_and_torch(kind):
    network = _network()
    options = {"k": kind(2), "batch_size": kind(3), "seed": kind(1), "dtype": "float64"}
    found = lk.hessian_eigenvalues(network, INPUTS, LABELS, cross_entropy, **options).hessian_eigenvalue
    np.testing.assert_allclose(found, _leading(_hessian_of_plain(network), 2), rtol=1e-6)
    counts = {name: kind(3) for name in ("n_steps", "n_vectors", "n_values")}
    assert lk.hessian_density(network, INPUTS, LABELS, cross_entropy, **counts).density.shape == (3,)


def _hessian_of_plain(network):
    def loss_at(weight):
        return cross_entropy(functional_call(network, {W: weight}, (INPUTS,)), LABELS)

    return _dense(loss_at, network.get_parameter(W))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 2.5}, "k must be a whole number, got 2.5"),
        ({"k": True}, "k must be a whole number, got True"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"dtype": torch.float16}, "dtype must be 'float64' or 'float32'"),
        ({"targets": list("abcabcba")}, "targets must be one array of numbers, got list"),
        ({"loss": nn.functional.multi_margin_loss}, "cannot differentiate the loss twice"),
    ],
)
def test_what_cannot_be_taken_is_said(change, message):
    given = {"inputs": INPUTS, "targets": LABELS, "loss": cross_entropy, "k": 2} | change
    with pytest.raises(ValueError, match=message):
        lk.hessian_eigenvalues(_network(), **given)


class Linear(nn.Linear):
    """By the name of PyTorch's."""

    def forward(self, inputs):
        return super().forward(inputs) ** 2


def test_a_wcrnn_with_a_readout_of_its_own_is_differentiated_as_it_is():
    network = lk.build_network("wcrnn", 2, 6, 3, seed=0).double()
    network.readout = Linear(6, 3).double()
    name = "recurrent.weight"

    def loss_at(weight):
        state = torch.zeros(8, 6).double()
        for input in INPUTS.unbind(1):
            state = functional_call(_Stepping(network), {f"network.{name}": weight}, (state, input))
        return cross_entropy(network.readout(state), LABELS)

    expected = _leading(_dense(loss_at, network.get_parameter(name)), 2)
    found = lk.hessian_eigenvalues(network, INPUTS, LABELS, cross_entropy, 2).hessian_eigenvalue
    np.testing.assert_allclose(found, expected, rtol=1e-6)


class _Stepping(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, state, input):
        return self.network.step(state, input)
