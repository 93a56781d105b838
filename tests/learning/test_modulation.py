"""What layers contribute to curvature: identities, brute force from the definitions, and closed forms."""

import numpy as np
import pytest
import torch
from problems import LOSSES, N_STEPS, NETWORKS, loss_of, problem

import lyapkit as lk
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import ggn_product, hessian_product


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_contributions_sum_to_the_curvature(network, loss, batch_size):
    """Eq. 7 with 9: Σ_t m_v(t) = vᵀHv; its parts sum to the GGN's and to the rest's; alignments sum to 1."""
    model, inputs, targets, function = problem(network, loss)
    objective = Objective(model, inputs, targets, function)
    directions = torch.nn.functional.normalize(torch.randn(3, objective.size))
    ds = lk.learning_rate_modulation(
        model, inputs, targets, function, direction=5 * directions, learning_rate=0.1, batch_size=batch_size
    )
    for index, v in enumerate(directions):
        whole, part = float(v @ hessian_product(objective, v)), float(v @ ggn_product(objective, v))
        assert float(ds.modulation[index].sum()) == pytest.approx(whole, abs=1e-11)
        assert float(ds.directional_curvature[index]) == pytest.approx(whole, abs=1e-11)
        assert float(ds.ggn_part[index].sum()) == pytest.approx(part, abs=1e-11)
        assert float(ds.curvature_part[index].sum()) == pytest.approx(whole - part, abs=1e-11)
    np.testing.assert_allclose(ds.effective_learning_rate, 0.1 * ds.modulation, rtol=1e-14)
    assert float(ds.alignment.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("network", ["linear", "B", "GRU", "LSTM"])
def test_single_layers_against_the_definition(network):
    """Each layer has weights of its own: derivatives with respect to them are the layer's contributions."""
    model, inputs, targets, function = problem(network, "cross-entropy")
    names = list(model.recurrent_parameters)
    _, vector = loss_of(model, inputs, targets, function, names)
    direction = torch.nn.functional.normalize(torch.randn(len(vector)), dim=0)
    shapes = [model.get_parameter(name).shape for name in names]
    step = _Step(model)

    def run(sizes):
        """Return h_1 … h_T with weights w + sizes[t] v in layer t."""
        state, states = torch.zeros(len(inputs), model.state_size), []
        for t in range(N_STEPS):
            parts = (vector + sizes[t] * direction).split([shape.numel() for shape in shapes])
            named = {f"model.{n}": p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
            state = torch.func.functional_call(step, named, (state, inputs[:, t]))
            states.append(state)
        return torch.stack(states)

    zeros = torch.zeros(N_STEPS)
    to_last = torch.autograd.functional.jacobian(lambda s: run(s)[-1], zeros)  # (B, N, T): V_{T,t} ∂_w h_t v
    last = run(zeros)[-1]

    def loss(state):
        return function(model.read(state), targets)

    of_last = torch.autograd.functional.hessian(loss, last)  # (B, N, B, N)
    expected = torch.einsum("bit,bicj,cj->t", to_last, of_last, to_last.sum(-1))
    ds = lk.learning_rate_modulation(model, inputs, targets, function, direction=direction)
    np.testing.assert_allclose(ds.ggn_part[0], expected.detach(), atol=1e-12)
    gradient = torch.autograd.functional.jacobian(lambda s: loss(run(s)[-1]), zeros)
    np.testing.assert_allclose(_along(model, inputs, targets, function, direction), gradient, atol=1e-12)


class _Step(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, state, input):
        return self.model.step(state, input)


def _along(model, inputs, targets, function, direction):
    """Return ⟨∂L/∂w|_t, v⟩ from alignment, which takes v = ∂L/∂w: by linearity, on a problem of one direction."""
    objective = Objective(model, inputs, targets, function)
    layers = objective.linearization(objective.batches[0])
    back = layers.back(layers.seeds(objective.output_gradient))
    return (back * layers.immediate(objective.split(direction))).sum((1, 2))


def test_scalar_network_in_closed_form():
    """One unit, identity activation, T = 2: h_2 = (r + αw) α x_1 + α x_2 (b = 0), and d²h_2/dw² = 0."""
    r, alpha, w, x = 0.9, 0.3, 0.7, torch.tensor([[[0.4], [1.1], [-0.6]]])
    model = lk.WCRNN(1, 1, 1, [r], alpha, activation="identity")
    with torch.no_grad():
        for name, value in {"recurrent.weight": w, "recurrent.bias": 0, "input.weight": 1, "readout.weight": 1}.items():
            model.get_parameter(name).fill_(value)
        model.readout.bias.zero_()
    target = torch.tensor([[0.2]])
    ds = lk.learning_rate_modulation(
        model, x, target, lambda o, t: ((o - t) ** 2).sum() / 2, direction=[1.0], parameters="recurrent.weight"
    )
    q = r + alpha * w
    h1 = alpha * 0.4
    h2 = q * h1 + alpha * 1.1
    h3 = q * h2 + alpha * -0.6
    p = [0, alpha * h1, q * alpha * h1 + alpha * h2]
    error = h3 - 0.2
    np.testing.assert_allclose(ds.ggn_part[0], [0, q * alpha * h1 * p[2], alpha * h2 * p[2]], atol=1e-14)
    np.testing.assert_allclose(ds.curvature_part[0], [0, 0, 2 * error * alpha * p[1]], atol=1e-14)
    g = [0, q * alpha * h1 * error, alpha * h2 * error]
    np.testing.assert_allclose(ds.alignment, np.array(g) / sum(g), atol=1e-13)


def test_default_direction_is_the_leading_eigenvector():
    model, inputs, targets, function = problem("linear", "cross-entropy")
    ds = lk.learning_rate_modulation(model, inputs, targets, function, k=3)
    leading = lk.hessian_eigenvalues(model, inputs, targets, function, 3)
    np.testing.assert_allclose(ds.directional_curvature, leading.hessian_eigenvalue, rtol=1e-6)


@pytest.mark.parametrize("omega", [0.3, 2 * np.pi / 10])
def test_rotations_oscillate(omega):
    """Curvature is of second order in vectors that turn with ω, so that it oscillates with 2ω around its trend."""
    torch.manual_seed(0)
    n_steps = 200
    model = lk.WCRNN(1, 10, 2, lk.residuals.rotation(10, omega, 1.0), 0.001)
    inputs, targets = torch.rand(20, n_steps, 1), torch.randint(2, (20,))
    loss = torch.nn.functional.cross_entropy
    curve = lk.learning_rate_modulation(model, inputs, targets, loss, direction=torch.randn(100)).modulation[0].values
    time = np.arange(n_steps)
    curve = curve - np.polyval(np.polyfit(time, curve, 3), time)
    power = np.abs(np.fft.rfft(curve * np.hanning(n_steps))) ** 2
    assert 2 * np.pi * np.fft.rfftfreq(n_steps)[power.argmax()] == pytest.approx(2 * omega, abs=0.04)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parameters": "all"}, "belong to the readout"),
        ({"direction": np.ones(5)}, "expected 36 numbers"),
        ({"direction": np.zeros(36)}, "not zero"),
    ],
)
def test_bad_input(changed, message):
    with pytest.raises(ValueError, match=message):
        lk.learning_rate_modulation(*problem("linear", "cross-entropy"), **changed)
