"""WCRNNs: their forward pass against a NumPy loop, their exponents against closed forms and independent products."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import lyapkit as lk
from lyapkit import residuals

N = 8
KINDS = ("linear", "A", "B")


def _model(kind="linear", residual=None, coupling=0.3, activation="tanh", seed=0):
    torch.manual_seed(seed)
    residual = residuals.rotation(N, 0.4, np.linspace(0.5, 1.0, N)) if residual is None else residual
    return lk.WCRNN(2, N, 3, residual, coupling, kind, activation=activation, dtype=torch.float64)


def _inputs(n_steps=20, n_trajectories=4, seed=1):
    return torch.randn(n_trajectories, n_steps, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coupling", [0.3, np.linspace(-0.2, 0.4, N)])
@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_forward_is_a_numpy_loop(kind, coupling, activation):
    model, inputs = _model(kind, coupling=coupling, activation=activation), _inputs()
    W, W_in, b = (p.detach().numpy() for p in (model.recurrent.weight, model.input.weight, model.recurrent.bias))
    R, s = model.residual.matrix.numpy(), {"tanh": np.tanh, "identity": np.asarray}[activation]
    for trajectory in range(4):
        h = np.zeros(N)
        for x in inputs[trajectory].numpy():
            z = W @ h + W_in @ x + b
            h = {"linear": R @ h + coupling * s(z), "A": s(R @ h) + coupling * s(z), "B": s(R @ h + coupling * z)}[kind]
        expected = model.readout.weight.detach().numpy() @ h + model.readout.bias.detach().numpy()
        np.testing.assert_allclose(model(inputs)[trajectory].detach(), expected, atol=1e-13)


def test_weights_start_as_those_of_linear_layers():
    torch.manual_seed(0)
    model = lk.WCRNN(4, 100, 10, residuals.scaled_identity(100, 0.98), dtype=torch.float32)
    for parameter, fan_in in (
        (model.recurrent.weight, 100),
        (model.recurrent.bias, 100),
        (model.input.weight, 4),
        (model.readout.weight, 100),
        (model.readout.bias, 100),
    ):
        bound = fan_in**-0.5
        assert parameter.dtype == torch.float32
        assert 0.9 * bound < float(parameter.detach().abs().max()) <= bound
        if parameter.numel() > 300:
            assert float(parameter.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert {name for name, _ in model.named_parameters()} == {
        "recurrent.weight",
        "recurrent.bias",
        "input.weight",
        "readout.weight",
        "readout.bias",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_spectrum_equals_that_of_autograd_jacobians(kind):
    """Of the module's own forward step, one QR per step."""
    model, inputs = _model(kind), _inputs(60, 2)
    ds = lk.lyapunov_spectrum(model, inputs)
    for trajectory in range(2):
        state, frame, growth = torch.zeros(1, N, dtype=torch.float64), np.eye(N), np.zeros(N)
        for x in inputs[trajectory]:
            jacobian = torch.autograd.functional.jacobian(lambda h, x=x: model.step(h[None], x[None])[0], state[0])
            state = model.step(state, x[None]).detach()
            frame, upper = np.linalg.qr(jacobian.numpy() @ frame)
            growth += np.log(np.abs(np.diag(upper)))
        np.testing.assert_allclose(ds.lyapunov_exponent[trajectory], np.sort(growth / 60)[::-1], atol=1e-10)


@pytest.mark.parametrize("n_steps", [1, 7, 300])
@pytest.mark.parametrize(
    "residual",
    [
        residuals.scaled_identity(N, 0.98),
        residuals.heterogeneous(N, 0.95, 0.05, 0),
        residuals.rotation(N, 0.3, 1.01),
        residuals.rotation(N, [0.1, 0.5, 1.0, 2.0], np.repeat([0.8, 0.9, 1.0, 1.02], 2)),
        residuals.rotation(N + 1, 0.3, 0.9, unpaired=-1),
        residuals.orthogonal(N, 0, 0.97),
    ],
    ids=str,
)
def test_without_coupling_exponents_are_those_of_the_residual(residual, n_steps):
    """Eq. 13 at α = 0, for every normal residual and any time."""
    model = lk.WCRNN(2, residual.size, 3, residual, 0.0, dtype=torch.float64)
    ds = lk.lyapunov_spectrum(model, _inputs(n_steps))
    expected = np.log(np.abs(residual.eigenvalues))
    np.testing.assert_allclose(ds.lyapunov_exponent, np.tile(expected, (4, 1)), rtol=0, atol=1e-12)


def test_without_coupling_a_residual_that_is_not_normal_converges():
    """Rotation × heterogeneous diagonal: the error falls like 1/T, as the frame turns to the invariant subspaces."""
    rng = np.random.default_rng(0)
    residual = residuals.rotation(N, rng.uniform(0.2, 0.8, N // 2), rng.uniform(0.9, 1.0, N))
    model = lk.WCRNN(2, N, 3, residual, 0.0, dtype=torch.float64)
    expected = np.log(np.abs(residual.eigenvalues))
    times = np.array([250, 500, 1000, 2000, 4000])
    errors = []
    for n_steps in times:
        exponents = lk.lyapunov_spectrum(model, _inputs(n_steps, 1)).lyapunov_exponent[0]
        errors.append(float(np.abs(exponents - expected).max()))
    assert errors[0] > 1e-5
    assert np.all(np.array(errors) * times < 1.0)
    assert errors[-1] < 3e-4


def test_identity_activation_is_an_autonomous_linear_map():
    """J = R + αW whatever the inputs, so the exponents are log|eig(R + αW)|."""
    model = _model(activation="identity", residual=residuals.heterogeneous(N, 0.8, 0.15, 0))
    matrix = model.residual.matrix.numpy() + 0.3 * model.recurrent.weight.detach().numpy()
    ds = lk.lyapunov_spectrum(model, _inputs(4000), n_transient=2000)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(matrix))))[::-1]
    np.testing.assert_allclose(ds.lyapunov_exponent.mean("trajectory"), expected, atol=2e-3)


def test_supercritical_states_stay_finite_for_784_steps():
    model = lk.WCRNN(2, 20, 3, residuals.scaled_identity(20, 1.02), 0.5, dtype=torch.float64)
    ds = lk.lyapunov_spectrum(model, _inputs(784))
    assert np.isfinite(ds.lyapunov_exponent).all()
    assert np.isnan(ds.divergence_step).all()


def test_supercritical_states_that_overflow_are_named():
    model = lk.WCRNN(2, 4, 3, residuals.scaled_identity(4, 1.9), 0.5, dtype=torch.float64)
    with pytest.warns(lk.DivergenceWarning, match=r"trajectory 0 at step 1\d\d\d"):
        ds = lk.lyapunov_spectrum(model, _inputs(1500))
    assert np.isnan(ds.lyapunov_exponent).all()


def test_state_dict_round_trip(tmp_path):
    model = _model("A", coupling=np.linspace(0.1, 0.2, N))
    other = _model("A", residual=residuals.rotation(N, 0.1), coupling=np.zeros(N), seed=5)
    other.load_state_dict(model.state_dict())
    inputs = _inputs()
    assert torch.equal(model(inputs), other(inputs))
    with pytest.raises(ValueError, match=r"WCRNN with .*'A'.* this one has .*'B'"):
        _model("B").load_state_dict(_model("A").state_dict())


@pytest.mark.parametrize("residual", [None, residuals.scaled_identity(N, 0.9)], ids=["dense", "diagonal"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("prefix", ["", "encoder.core."])
def test_checkpoint_round_trip(tmp_path, residual, suffix, prefix):
    model = _model("B", residual, activation="identity", coupling=np.linspace(0.0, 0.2, N))
    tensors = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    tensors["head.weight"] = torch.ones(3, 3)
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": tensors, "epoch": 3}, path)
    else:
        safetensors.torch.save_file(tensors, path)
    loaded = lk.load_system(path)
    assert isinstance(loaded, lk.WCRNN)
    inputs = _inputs()
    assert torch.equal(loaded(inputs), model(inputs))
    spectra = [lk.lyapunov_spectrum(system, inputs).lyapunov_exponent for system in (model, loaded)]
    np.testing.assert_array_equal(*spectra)
    assert str(loaded) == str(model)
    assert loaded.description["checkpoint"] == path.name
    assert lk.inspect_checkpoint(path) == {prefix: str(model)}


def test_checkpoint_with_a_wcrnn_and_an_lstm_asks_which(tmp_path):
    parts = nn.ModuleDict({"residual_net": _model(), "lstm": nn.LSTM(2, 3)})
    path = tmp_path / "both.safetensors"
    safetensors.torch.save_file(parts.state_dict(), path)
    with pytest.raises(lk.CheckpointError, match=r"several recurrent modules, 'lstm\.', 'residual_net\.'"):
        lk.load_system(path)
    assert lk.load_system(path, prefix="residual_net").state_size == N


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("input.weight"), "lacks 'input.weight'"),
        (lambda t: t.pop("_extra_state"), "lacks '_extra_state'"),
        (lambda t: t.update({"recurrent.weight": torch.zeros(3, 4)}), "residual is one of 8 units, the network has 3"),
        (lambda t: t.update({"recurrent.weight": torch.zeros(8)}), "must be matrices"),
        (lambda t: t.update({"readout.bias": torch.zeros(9)}), "do not fit together"),
        (lambda t: t.update({"recurrent.bias": torch.full((N,), torch.nan)}), "recurrent.bias holds values"),
        (lambda t: t.update({"_extra_state": torch.tensor([200, 3], dtype=torch.uint8)}), "kind of the WCRNN"),
        (lambda t: t.update({"_extra_state": torch.tensor(list(b"[1]"), dtype=torch.uint8)}), "expected its kind"),
    ],
)
def test_damaged_checkpoints_are_refused(tmp_path, change, message):
    tensors = _model().state_dict()
    change(tensors)
    path = tmp_path / "damaged.safetensors"
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(lk.CheckpointError, match=message):
        lk.load_system(path)


def test_coupling_and_residual_keep_their_digits_whatever_the_default_dtype():
    torch.set_default_dtype(torch.float32)
    for coupling in (0.01, [0.01] * N, np.full(N, 0.01)):
        model = lk.WCRNN(2, N, 3, [0.98] * N, coupling, dtype=torch.float64)
        assert bool((model.coupling == 0.01).all())
        assert bool((model.residual.values == 0.98).all())
    assert lk.WCRNN(2, N, 3, [0.98] * N, 0.01).residual.values.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coupling": [0.1, 0.2]}, r"coupling has shape \(2,\), expected a number or 8"),
        ({"coupling": float("nan")}, "coupling must be finite"),
        ({"kind": "C"}, "kind must be one of linear, A, B, got 'C'"),
        ({"activation": "relu"}, "activation must be one of tanh, identity, got 'relu'"),
        ({"residual": residuals.scaled_identity(7, 1.0)}, "residual is one of 7 units, the network has 8"),
        ({"residual": np.full(N, np.nan)}, "residual must be finite"),
        ({"hidden_size": 0}, "sizes must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    defaults = {"hidden_size": N, "residual": residuals.scaled_identity(N, 1.0)}
    with pytest.raises(ValueError, match=message):
        lk.WCRNN(2, output_size=3, **defaults | arguments)


@pytest.mark.parametrize("shape", [(4, 10), (4, 10, 3), (4, 0, 2)])
def test_bad_inputs_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(trajectory, time, 2\)"):
        _model()(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("bias", [True, False])
def test_weakly_coupled_init_is_kind_b(bias):
    """And its spectrum, through the adapter of nn.RNN, that of the WCRNN; also the way back."""
    torch.manual_seed(0)
    rnn = nn.RNN(2, N, batch_first=True, bias=bias, dtype=torch.float64)
    residual, coupling = residuals.rotation(N, 0.3, 0.95), np.linspace(0.0, 0.1, N)
    model = _model("B", residual, coupling)
    with torch.no_grad():
        model.recurrent.weight.copy_(rnn.weight_hh_l0)
        model.input.weight.copy_(rnn.weight_ih_l0)
        model.recurrent.bias.copy_(rnn.bias_ih_l0 + rnn.bias_hh_l0 if bias else torch.zeros(N))
    assert lk.weakly_coupled_init(rnn, residual, coupling) is rnn
    inputs = _inputs(50)
    expected = model.linearized(torch.zeros(4, N, dtype=torch.float64), inputs)[0]
    torch.testing.assert_close(rnn(inputs)[0], expected, rtol=0, atol=1e-13)
    back = lk.WCRNN.from_elman(rnn, residual)
    spectra = [lk.lyapunov_spectrum(s, inputs).lyapunov_exponent for s in (model, lk.from_module(rnn), back)]
    np.testing.assert_allclose(spectra[1], spectra[0], atol=1e-12)
    np.testing.assert_allclose(spectra[2], spectra[0], atol=1e-12)


def test_weakly_coupled_init_of_several_layers():
    torch.manual_seed(0)
    rnn = lk.weakly_coupled_init(nn.RNN(2, 50, 3), residuals.scaled_identity(50, 0.9), 0.01)
    for layer in range(3):
        weight = getattr(rnn, f"weight_hh_l{layer}").detach()
        assert float((weight - 0.9 * torch.eye(50)).abs().max()) <= 0.01 * 50**-0.5
        assert float(getattr(rnn, f"weight_ih_l{layer}").detach().abs().max()) <= 0.01 * 50**-0.5


@pytest.mark.parametrize(
    ("module", "message"), [(nn.LSTM(2, N), "expected an nn.RNN"), (nn.RNN(2, N, nonlinearity="relu"), "'tanh'")]
)
def test_init_of_other_modules_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        lk.weakly_coupled_init(module, residuals.scaled_identity(N, 1.0))
    with pytest.raises(ValueError, match=message):
        lk.WCRNN.from_elman(module, residuals.scaled_identity(N, 1.0))


def test_elman_with_identity_residual():
    torch.manual_seed(0)
    model = lk.elman_with_identity_residual(2, N, 3, dtype=torch.float64)
    W, W_in, b = (p.detach().numpy() for p in (model.recurrent.weight, model.input.weight, model.recurrent.bias))
    h = np.zeros(N)
    for x in _inputs()[0].numpy():
        h = h + np.tanh(W @ h + W_in @ x + b)
    readout = model.readout.weight.detach().numpy() @ h + model.readout.bias.detach().numpy()
    np.testing.assert_allclose(model(_inputs())[0].detach(), readout, atol=1e-13)
