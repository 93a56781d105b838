import numpy as np
import pytest
import torch

import lyapkit as lk


def test_numpy_without_jacobian_that_is_more_than_arithmetic_says_what_to_do():
    def step(s):
        while abs(s[0]) > 1:
            s = s / 2
        return np.array([0.3 * s[0]])

    system = lk.Map(step, 1, initial_state=[3.0])
    with pytest.raises(
        ValueError, match=r"step cannot be differentiated: .* loops until something holds: give jacobian="
    ):
        lk.lyapunov_spectrum(system, n_steps=10)


def test_numpy_ufunc_is_not_taken_for_torch():
    ds = lk.lyapunov_spectrum(lk.Map(lambda s: np.sin(2 * s), 1, initial_state=[0.5]), n_steps=500, n_transient=500)
    fixed = 0.947747133  # sin 2x = x
    assert float(ds.lyapunov_exponent[0, 0]) == pytest.approx(np.log(abs(2 * np.cos(2 * fixed))), abs=1e-6)


def test_arithmetic_alone_is_differentiated():
    ds = lk.lyapunov_spectrum(lk.Map(lambda x: 4 * x * (1 - x), 1, initial_state=[0.3]), n_steps=2000)
    assert float(ds.lyapunov_exponent[0, 0]) == pytest.approx(np.log(2), abs=5e-3)


@pytest.mark.parametrize("shape", [(2,), (3, 3), (2, 3), ()])
def test_jacobian_of_wrong_shape(shape):
    system = lk.Map(lambda s: 0.5 * s, 2, lambda s: np.zeros(shape), initial_state=[0.1, 0.1])
    with pytest.raises(ValueError, match=r"jacobian returned shape .*expected \(2, 2\)"):
        lk.lyapunov_spectrum(system, n_steps=10)


def test_step_of_wrong_shape_and_failing_step():
    with pytest.raises(ValueError, match=r"step returned shape \(3,\), expected \(2,\)"):
        lk.lyapunov_spectrum(lk.Map(lambda s: torch.ones(3), 2, initial_state=[0.1, 0.1]), n_steps=10)
    with pytest.raises(ValueError, match="step failed on arguments of shape"):
        lk.lyapunov_spectrum(lk.Map(lambda s: s[5], 2, initial_state=[0.1, 0.1]), n_steps=10)


def test_no_initial_state_says_what_to_do():
    with pytest.raises(ValueError, match="give initial_state="):
        lk.lyapunov_spectrum(lk.Map(lambda s: 0.5 * s, 2), n_steps=10)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="state_size must be at least 1"):
        lk.Map(lambda s: s, 0)
    with pytest.raises(ValueError, match="time_step must be positive"):
        lk.Flow(lambda s: s, 1, -0.1)


def test_flow_of_linear_field_has_real_parts_of_eigenvalues():
    matrix = torch.tensor([[-0.5, 2.0, 0.0], [-2.0, -0.5, 0.0], [1.0, 0.3, -1.5]])
    flow = lk.Flow(lambda s: matrix @ s, 3, 0.02, initial_state=[1.0, 0.0, 0.0])
    period = np.pi / 2  # of the two slow exponents, whose mean is exact over whole turns
    ds = lk.lyapunov_spectrum(flow, n_steps=round(8 * period / 0.02), n_transient=500)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [-0.5, -0.5, -1.5], atol=2e-3)
    np.testing.assert_allclose(ds.lyapunov_exponent.sum("exponent"), -2.5, atol=1e-7)
    assert ds.lyapunov_exponent.units == "nats per unit of time"
    assert float(ds.end_time[-1]) == pytest.approx(628 * 0.02)


def test_flow_converges_with_fourth_order():
    exact = np.exp(1.0)
    errors = []
    for n in (10, 20):
        flow = lk.Flow(lambda s: s, 1, 1 / n, initial_state=[1.0])
        state = torch.ones(1, 1)
        for _ in range(n):
            state = flow.step(state, None)
        errors.append(abs(float(state) - exact))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.2)
