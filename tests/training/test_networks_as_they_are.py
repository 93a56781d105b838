"""Networks are trained as they were given: unlike ones apart, frozen, tied, in their modes, and of one's own."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lyapkit as lk
from lyapkit.training import Ensemble, train
from lyapkit.training.likeness import difference

X = np.random.default_rng(0).normal(size=(64, 6, 2))
Y = (X.sum((1, 2)) > 0).astype(int)
PER_STEP = (X.sum(2).cumsum(1) > 0).astype(int)
LENGTHS = np.arange(64) % 6 + 1
TASK = lk.ArrayTask(X, Y, X, Y)
OPTIONS = {"batch_size": 16, "learning_rate": 0.1, "dtype": torch.float64}
APART = pytest.warns(UserWarning, match="differ in more than the values of their tensors")


class Leaky(lk.Network):
    """With attributes that are no tensors."""

    def __init__(self, leak=0.5, function=torch.tanh):
        super().__init__()
        torch.manual_seed(0)
        self.leak, self.function, self.input_size, self.state_size = leak, function, 2, 6
        self.W, self.U, self.C = nn.Linear(6, 6), nn.Linear(2, 6), nn.Linear(6, 2)
        self.recurrent_parameters, self.readout_parameters = ("W.weight",), ("C.weight", "C.bias")

    def step(self, state, input):
        return (1 - self.leak) * state + self.leak * self.function(self.W(state) + self.U(input))

    def read(self, state):
        return self.C(state)


def _rnn(kind="tanh", readout=None, seed=0):
    torch.manual_seed(seed)
    return lk.RecurrentNetwork(nn.RNN(2, 6, nonlinearity=kind), readout or nn.Linear(6, 2))


def _hooked():
    network = _rnn()
    network.readout.register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    return network


def _buffered(value):
    network = Leaky()
    network.register_buffer("offset", torch.full((value,), 0.1))
    return network


def _frozen(network, *names):
    for name in names:
        network.get_parameter(name).requires_grad_(False)
    return network


def _by_hand(network, n_iterations, task=TASK, loss=cross_entropy, seed=0, weight_decay=0.0):
    """PyTorch's own forward, loss and optimiser."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.9, weight_decay=weight_decay)
    for iteration in range(n_iterations):
        inputs, targets = (torch.from_numpy(part) for part in task.batch(iteration, 16, seed)[:2])
        optimizer.zero_grad()
        loss(network(inputs), targets).backward()
        optimizer.step()
    return network


def _assert_same(network, expected, atol=1e-12):
    for (name, ours), theirs in zip(network.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=atol, msg=name)


PAIRS = {
    "leak": lambda: [Leaky(0.1), Leaky(0.9)],
    "function": lambda: [Leaky(), Leaky(function=torch.sin)],
    "lambda": lambda: [Leaky(function=lambda z: z), Leaky(function=lambda z: 2 * z)],
    "nonlinearity": lambda: [_rnn(), _rnn("relu")],
    "readout": lambda: [_rnn(readout=nn.Sequential(nn.Linear(6, 2), f)) for f in (nn.Tanh(), nn.Softplus())],
    "depth of readout": lambda: [_rnn(), _rnn(readout=nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)))],
    "hook": lambda: [_rnn(), _hooked()],
    "buffer": lambda: [_buffered(1), _buffered(2)],
    "frozen": lambda: [_rnn(), _frozen(_rnn(), "recurrent.weight_hh_l0")],
    "mode": lambda: [
        _rnn(readout=nn.Sequential(nn.Dropout(0.0), nn.Linear(6, 2))).train(mode) for mode in (True, False)
    ],
    "size": lambda: [lk.build_network("wcrnn", 2, 6, 2), lk.build_network("wcrnn", 2, 7, 2)],
    "architecture": lambda: [lk.build_network("wcrnn", 2, 6, 2), lk.build_network("wcrnn-b", 2, 6, 2)],
}


@pytest.mark.parametrize("pair", PAIRS)
def test_unlike_networks_equal_single_trainings(pair):
    one, other = PAIRS[pair]()
    assert difference(one, other)
    with APART:
        both = train([one, other, one], TASK, 8, **OPTIONS | {"learning_rate": [0.1, 0.05, 0.02]})
    for index, (network, rate) in enumerate(((one, 0.1), (other, 0.05), (one, 0.02))):
        alone = train([network], TASK, 8, **OPTIONS | {"learning_rate": rate})
        _assert_same(both.networks[index], alone.networks[0])
        for name in ("test_loss", "train_loss", "test_score"):
            np.testing.assert_allclose(both.metrics[name][index], alone.metrics[name][0], rtol=0, atol=1e-12)
        outputs = both.networks[index](torch.from_numpy(X))
        assert float(cross_entropy(outputs, torch.from_numpy(Y)).detach()) == pytest.approx(
            float(both.metrics.test_loss[index, -1]), abs=1e-12
        )


def test_networks_that_differ_in_tensors_only_are_alike():
    assert not difference(Leaky(0.3), Leaky(0.3))
    assert not difference(_rnn(seed=0), _rnn(seed=1))
    for name in ("wcrnn", "gru", "s4", "ur-lstm"):
        assert not difference(*(lk.build_network(name, 2, 6, 2, seed=seed) for seed in range(2)))


def test_a_run_of_unlike_networks_goes_on(tmp_path):
    networks = PAIRS["depth of readout"]()
    with APART:
        expected = train(networks, TASK, 12, **OPTIONS)
    with APART:
        train(networks, TASK, 8, **OPTIONS, folder=tmp_path)
    with APART:
        result = train(networks, TASK, 12, **OPTIONS, folder=tmp_path, resume=True)
    for ours, theirs in zip(result.networks, expected.networks, strict=True):
        _assert_same(ours, theirs, atol=0)
    with APART, pytest.raises(ValueError, match="another configuration"):
        train(networks[::-1], TASK, 12, **OPTIONS, folder=tmp_path, resume=True)


def test_attributes_are_part_of_the_configuration(tmp_path):
    train([Leaky(0.1)], TASK, 4, **OPTIONS, folder=tmp_path)
    with pytest.raises(ValueError, match=r"leak is 0\.1 there and 0\.9 here"):
        train([Leaky(0.9)], TASK, 8, **OPTIONS, folder=tmp_path, resume=True)


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_a_reservoir_stays_frozen(clip_norm):
    names = ("recurrent.weight_hh_l0", "recurrent.weight_ih_l0", "recurrent.bias_hh_l0", "recurrent.bias_ih_l0")
    networks = [_frozen(_rnn(seed=seed), *names) for seed in range(2)]
    result = train(networks, TASK, 8, **OPTIONS, clip_norm=clip_norm)
    for network, out in zip(networks, result.networks, strict=True):
        for name in names:
            assert torch.equal(out.get_parameter(name), network.get_parameter(name))
            assert not out.get_parameter(name).requires_grad
        assert out.readout.weight.requires_grad
        if clip_norm is None:
            _assert_same(out, _by_hand(network, 8))
    with pytest.raises(ValueError, match="nothing to train: all parameters are frozen"):
        train([_rnn().requires_grad_(False)], TASK, 1, **OPTIONS)


def test_frozen_parts_of_a_network_that_is_differentiated_by_hand():
    network = _frozen(lk.build_network("wcrnn", 2, 6, 2), "recurrent.weight", "input.weight")
    out = train([network], TASK, 8, **OPTIONS).networks[0]
    assert torch.equal(out.recurrent.weight, network.recurrent.weight)
    _assert_same(out, _by_hand(network, 8))


@pytest.mark.parametrize("name", ["rnn", "wcrnn"])
def test_tied_parameters_stay_tied(name, tmp_path):
    the_task = lk.ArrayTask(X, np.arange(64) % 6, X, np.arange(64) % 6)
    network = _rnn(readout=nn.Linear(6, 6)) if name == "rnn" else lk.build_network("wcrnn", 2, 6, 6)
    recurrent = network.recurrent.weight_hh_l0 if name == "rnn" else network.recurrent.weight
    network.readout.weight = recurrent
    out = train([network, network], the_task, 8, **OPTIONS, folder=tmp_path).networks[1]
    assert out.readout.weight is (out.recurrent.weight_hh_l0 if name == "rnn" else out.recurrent.weight)
    inputs = torch.from_numpy(X)
    kept = lk.load_network(lk.checkpoints(tmp_path, 1)[8])  # a checkpoint says what is tied, without a warning
    assert kept.readout.weight is (kept.recurrent.weight_hh_l0 if name == "rnn" else kept.recurrent.weight)
    torch.testing.assert_close(kept.double()(inputs), out(inputs))
    _assert_same(out, _by_hand(network, 8, the_task))


def test_dropout_is_on_in_training_and_off_in_tests(tmp_path):
    def make():
        torch.manual_seed(1)
        return _rnn(readout=nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 2)))

    result = train([make(), make()], TASK, 8, **OPTIONS)
    again = train([make()], TASK, 8, **OPTIONS)
    _assert_same(result.networks[0], again.networks[0], atol=0)  # the same numbers in each network, and each time
    off = train([make().eval()], TASK, 8, **OPTIONS)
    assert (off.networks[0].readout[1].weight - again.networks[0].readout[1].weight).abs().max() > 1e-3
    _assert_same(off.networks[0], _by_hand(make().eval(), 8))
    assert again.networks[0].readout[0].training
    network = again.networks[0].eval()
    expected = float(cross_entropy(network(torch.from_numpy(X)), torch.from_numpy(Y)).detach())
    assert float(again.metrics.test_loss[0, -1]) == pytest.approx(expected, abs=1e-12)
    train([make()], TASK, 4, **OPTIONS, folder=tmp_path)
    resumed = train([make()], TASK, 8, **OPTIONS, folder=tmp_path, resume=True)
    _assert_same(resumed.networks[0], again.networks[0], atol=0)


def test_modes_that_cannot_be_trained_are_refused():
    layers = lk.RecurrentNetwork(nn.GRU(2, 6, num_layers=2, dropout=0.5), nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"dropout 0\.5 between its layers"):
        train([layers], TASK, 1, **OPTIONS)
    train([layers.eval()], TASK, 1, **OPTIONS)
    normalised = _rnn(readout=nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)))
    with pytest.raises(ValueError, match="changes its buffer"):
        train([normalised], TASK, 1, **OPTIONS)
    normalised.eval()
    _assert_same(train([normalised], TASK, 4, **OPTIONS).networks[0], _by_hand(normalised, 4))


def test_parameters_that_a_step_holds_copies_of_are_found():
    class Copying(Leaky):
        def step(self, state, input):
            return super().step(state, input) @ self.copies[0]

    network = Copying()
    network.copies = [network.W.weight]
    with pytest.raises(ValueError, match="neither its parameters nor its buffers"):
        train([network], TASK, 1, **OPTIONS)


class Module(nn.Module):
    """A user's, that knows nothing of lyapkit."""

    def __init__(self, every_step=False, dropout=0.0, is_functional=False):
        super().__init__()
        torch.manual_seed(0)
        self.every_step, self.is_functional = every_step, is_functional
        self.rnn, self.drop, self.fc = nn.GRU(2, 6, batch_first=True), nn.Dropout(dropout), nn.Linear(6, 2)

    def forward(self, x):
        states = self.rnn(x)[0]
        states = states if self.every_step else states[:, -1]
        if self.is_functional:
            return self.fc(nn.functional.dropout(states, 0.5, self.training))
        return self.fc(self.drop(states))


def test_modules_of_ones_own():
    module = Module()
    result = train([module], TASK, 8, **OPTIONS)
    out = result.networks[0]
    assert type(out) is Module
    assert out.fc.weight.requires_grad
    _assert_same(out, _by_hand(module, 8))
    with pytest.raises(ValueError, match="computes something else in train mode"):
        train([Module(is_functional=True)], TASK, 1, **OPTIONS)
    train([Module(is_functional=True).eval()], TASK, 1, **OPTIONS)
    train([Module(dropout=0.5)], TASK, 1, **OPTIONS)
    with pytest.raises(ValueError, match="has outputs at every step, the task own has targets at the end"):
        train([Module(every_step=True)], TASK, 1, **OPTIONS)
    with pytest.raises(ValueError, match="contains 0 recurrent modules"):
        train([nn.Linear(2, 2)], TASK, 1, **OPTIONS)


def test_targets_at_every_step():
    the_task = lk.ArrayTask(X, PER_STEP, X, PER_STEP, lengths=LENGTHS, test_lengths=LENGTHS)

    def loss(outputs, targets):
        return cross_entropy(outputs.mT, targets, ignore_index=-100)

    for network in (Module(every_step=True), lk.build_network("wcrnn", 2, 6, 2), lk.build_network("gru", 2, 6, 2)):
        result, own = (train([network], the_task, 8, **OPTIONS, loss=given) for given in (None, loss))
        network.every_step = True
        _assert_same(result.networks[0], _by_hand(network, 8, the_task, loss))
        targets = torch.from_numpy(the_task.test_samples()[1])
        expected = float(loss(result.networks[0](torch.from_numpy(X)), targets).detach())
        assert float(result.metrics.test_loss[0, -1]) == pytest.approx(expected, abs=1e-12)
        _assert_same(own.networks[0], result.networks[0])


@pytest.mark.parametrize("name", ["wcrnn", "gru", "s4"])
def test_last_states_of_sequences_of_different_lengths(name):
    the_task = lk.ArrayTask(X, Y, X, Y, lengths=LENGTHS, test_lengths=LENGTHS)
    network = lk.build_network(name, 2, 6, 2)
    result = train([network, network], the_task, 8, **OPTIONS)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for iteration in range(8):
        samples = zip(*(torch.from_numpy(part) for part in the_task.batch(iteration, 16)), strict=True)
        optimizer.zero_grad()
        losses = [cross_entropy(network(x[None, :n]), y[None]) for x, y, n in samples]  # one by one, cut
        torch.stack(losses).mean().backward()
        optimizer.step()
    _assert_same(result.networks[1], network, atol=1e-10)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("cross-entropy", cross_entropy),
        (nn.CrossEntropyLoss(weight=torch.tensor([0.2, 2.0], dtype=torch.float64)), None),
        (lambda outputs, targets: cross_entropy(outputs, targets, reduction="sum") / 20, None),
    ],
)
def test_losses_of_ones_own(loss, expected):
    network = lk.build_network("wcrnn", 2, 6, 2)
    result = train([network, network], TASK, 8, **OPTIONS, loss=loss, weight_decay=0.01)
    _assert_same(result.networks[1], _by_hand(network, 8, loss=expected or loss, weight_decay=0.01))


class Counting:
    """A loss that depends on how often it was asked, and so on how many networks there are."""

    n_calls = 0

    def __call__(self, outputs, targets):
        self.n_calls += 1
        return self.n_calls * cross_entropy(outputs, targets)


def test_a_loss_with_constants_of_the_runs_precision():
    """Which evaluation, in float64 else, leaves in it."""
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 2.0], dtype=torch.float32))
    network = lk.build_network("wcrnn", 2, 6, 2)
    result = train([network], TASK, 1, **OPTIONS | {"dtype": torch.float32}, loss=loss)
    outputs = network.float()(torch.from_numpy(X).float()).detach()
    np.testing.assert_allclose(result.metrics.test_loss[0, 0], loss(outputs, torch.from_numpy(Y)), rtol=1e-6)


@pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_on_gradients_are_refused(register):
    network = _rnn()
    getattr(network.recurrent.weight_hh_l0, register)(lambda gradient: None)
    with pytest.raises(ValueError, match=r"recurrent\.weight_hh_l0 has hooks on its gradient"):
        train([network], TASK, 1, **OPTIONS)


def _scaled(factor):
    return lambda values: torch.tanh(factor * values)


def _weighted(weight):
    return lambda outputs, targets: cross_entropy(outputs, targets, weight=torch.tensor([1.0, weight]).double())


class Drawn(lk.Task):
    """New samples at every iteration, of a size that its description does not tell."""

    name, n_steps, input_size, output_size, kind, samples_per_epoch = "drawn", 6, 2, 2, "classification", 64

    def __init__(self, size):
        self.size = size

    def batch(self, iteration, batch_size, seed=0):
        inputs = self.size * np.random.default_rng([seed, iteration]).normal(size=(batch_size, 6, 2))
        return inputs, (inputs.sum((1, 2)) > 0).astype(int)

    def test_samples(self, n_samples=None):
        return X[:n_samples], Y[:n_samples]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda value: (Leaky(function=_scaled(value)), TASK, None), "began with other networks or samples"),
        (lambda value: (_rnn(), Drawn(value), None), "began with other networks or samples"),
        (lambda value: (_rnn(), TASK, _weighted(value)), "began with another loss"),
    ],
)
def test_functions_of_the_same_name_are_told_apart_when_a_run_goes_on(make, message, tmp_path):
    def go(value, n_iterations, **options):
        network, task, loss = make(value)
        return train([network], task, n_iterations, **OPTIONS, loss=loss, **options)

    go(1.0, 4, folder=tmp_path)
    with pytest.raises(ValueError, match=message):
        go(1.1, 8, folder=tmp_path, resume=True)
    _assert_same(go(1.0, 8, folder=tmp_path, resume=True).networks[0], go(1.0, 8).networks[0])


def test_losses_that_do_not_do_what_they_seem():
    network = lk.build_network("gru", 2, 6, 2)

    def penalised(outputs, targets):
        return cross_entropy(outputs, targets) + sum(parameter.square().sum() for parameter in network.parameters())

    for loss, message in (
        (penalised, "use weight_decay"),
        (lambda outputs, targets: cross_entropy(outputs, targets, reduction="none"), "the loss must be a number"),
        (lambda outputs, targets: cross_entropy(outputs[:, :1, None], targets), "cannot be computed from"),
        (lambda outputs, targets: torch.tensor(1.0), "does not depend on the outputs"),
        ("hinge", "unknown loss 'hinge'"),
        (lambda outputs, targets: cross_entropy(outputs + torch.randn_like(outputs), targets), "another one each time"),
        (Counting(), "another one each time"),
    ):
        with pytest.raises(ValueError, match=message):
            train([network], TASK, 1, **OPTIONS, loss=loss)


def test_parameters_that_are_not_used_stay():
    network = Leaky()
    network.unused = nn.Linear(2, 2)
    out = Ensemble([network]).losses_and_gradients(
        torch.from_numpy(X), torch.from_numpy(Y), lambda outputs, targets: cross_entropy(outputs[0], targets)[None]
    )
    assert not out[1]["unused.weight"].any()
