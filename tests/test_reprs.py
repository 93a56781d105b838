"""What things look like in an interpreter and in a notebook."""

import pytest
import torch
from torch import nn

import lyapkit as lk


def _network():
    return lk.WCRNN(1, 6, 10, lk.residuals.scaled_identity(6, 0.9), 0.1)


@pytest.mark.parametrize(
    ("thing", "in_text", "in_html"),
    [
        (lk.classical.henon, "Hénon map (a=1.4, b=0.3)", ["<td>2</td>", "<td>none</td>"]),
        (lk.classical.lorenz, "Lorenz system", ["<td>3</td>", "<td>0.01</td>"]),
        (lambda: lk.Flow(lambda s: -s, 2), "time_step=None", ["<td>chosen before a run</td>"]),
        (lambda: lk.from_module(nn.LSTM(2, 5)), "LSTM (2 inputs, 5 units", ["<td>10</td>", "<td>2 features</td>"]),
        (_network, "kind=linear, coupling=0.1", ["<td>1 feature</td>", "118 that are learnt, float64 on cpu"]),
        (lambda: lk.residuals.scaled_identity(6, 0.9), "Residual(diagonal residual with |eigenvalues| 0.9)", None),
        (lambda: lk.task("digits"), "ImageTask(digits (64 steps", ["<td>1437</td>", "judged by accuracy"]),
        (lambda: lk.load_system(lk.examples.digits().checkpoint), "LSTM", ["digits_rows_lstm.safetensors"]),
    ],
)
def test_systems_networks_and_tasks(thing, in_text, in_html):
    made = thing()
    assert in_text in repr(made)
    for part in in_html or ():
        assert part in made._repr_html_()


def test_names_are_escaped():
    system = lk.Map(lambda s: s / 2, 1, name="<b>")
    assert "&lt;b&gt;" in system._repr_html_()
    assert "<b>" not in system._repr_html_()


def test_a_training():
    result = lk.train([_network().float()], lk.task("digits"), 2, n_test_samples=20, dtype=torch.float32)
    first, *table = repr(result).splitlines()
    assert first == "Training of 1 network, 2 iterations, finished"
    assert len(table) == 3
    assert f"{float(result.metrics.test_score[0, -1]):.5f}" in table[-1]
    assert table[-1] in result._repr_html_()
