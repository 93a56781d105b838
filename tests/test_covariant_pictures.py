"""Tables, pictures and the command of covariant vectors."""

import warnings

import numpy as np
import pytest
import torch

import lyapkit as lk
from lyapkit.plots import save_figure

CHECKPOINT, INPUTS = "data/digits_rows_lstm.safetensors", "data/digits_rows_inputs.nc"


@pytest.fixture(scope="module")
def triangular():
    """Vectors of x ← (2x + y, y/2): (1, 0) and (−2, 3)/√13, at 56.3°."""
    system = lk.Map(
        lambda x: np.array([[2.0, 1.0], [0.0, 0.5]]) @ x,
        2,
        lambda x: np.array([[2.0, 1.0], [0.0, 0.5]]),
        initial_state=[0.0, 0.0],
        name="triangular",
    )
    return lk.covariant_vectors(system, n_steps=30)


def test_what_float32_hides_is_marked_and_said():
    module = torch.nn.RNN(2, 6)
    with torch.no_grad():
        module.weight_ih_l0.mul_(90.0)
    inputs = np.random.default_rng(0).normal(size=(1, 80, 2))
    with pytest.warns(lk.ReliabilityWarning) as caught:
        ds = lk.covariant_vectors(module, inputs, dtype="float32")
    said = " ".join(str(warning.message) for warning in caught)
    assert "exponents are upper bounds" in said
    assert "which float32 cannot tell apart" in said
    rows = [line.split() for line in lk.covariant_table(ds).splitlines() if "e-" in line or "e+" in line]
    assert [row[1].startswith("≤") for row in rows[:6]] == ds.is_bound.any(["trajectory", "time"]).values.tolist()


def test_the_table_says_what_is_known(triangular):
    table = lk.covariant_table(triangular).splitlines()
    first = next(line for line in table if line.split()[:1] == ["1"] and "°" in line)
    assert first.split()[1:4] == ["0.69315", "56.3°", "1.0"]
    second = next(line for line in table if line.split()[:1] == ["2"] and "–" in line)
    assert second.split()[1:4] == ["-0.69315", "–", f"{1 / ((4 / 13) ** 2 + (9 / 13) ** 2):.1f}"]
    assert "angle between unstable and stable: from 56.3° to 56.3°" in table
    assert any(line.startswith("2 of 2 vectors converged") for line in table)


def test_pictures_show_angles_and_components(triangular):
    (line,) = lk.plot_angles(triangular).lines
    np.testing.assert_allclose(line.get_ydata(), np.degrees(np.arctan(1.5)), atol=1e-6)
    ax = lk.plot_angle_histogram(triangular)
    (band,) = ax.collections
    outline = band.get_paths()[0].vertices
    assert outline[outline[:, 1] > 0, 0].min() == pytest.approx(55.5)  # the bin of 1.5° in which all angles are
    (image,) = lk.plot_directions(triangular).images
    np.testing.assert_allclose(image.get_array(), [[1, 0], [4 / 13, 9 / 13]], atol=1e-9)


def test_the_same_data_give_the_same_bytes(triangular, tmp_path):
    one, two = (save_figure(lk.plot_covariant_vectors(triangular), tmp_path / f"{n}.png") for n in (1, 2))
    assert one.read_bytes() == two.read_bytes()


def test_the_command(run, tmp_path):
    output, plot = tmp_path / "vectors.nc", tmp_path / "vectors.png"
    options = ["--inputs", INPUTS, "-k", "3", "--transient", "5", "--backward-transient", "5", "--steps", "6", "-q"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lk.ReliabilityWarning)
        code, out, err = run("covariant", CHECKPOINT, *options, "--output", output, "--plot", plot)
    assert code == 0, err
    assert "covariant to" in out
    ds = lk.load(output)
    assert dict(ds["covariant_vector"].sizes) == {"trajectory": 8, "time": 6, "exponent": 3, "state": 128}
    assert plot.stat().st_size > 10_000
    assert run("plot", output, "--folder", tmp_path)[0] == 0
    assert (tmp_path / "vectors_covariant_vectors.png").is_file()


def test_what_is_missing_is_one_line(run):
    code, out, err = run("covariant", CHECKPOINT)
    assert (code, out) == (2, "")
    assert err.startswith("lyapkit: give --inputs, or --steps")
    assert len(err.splitlines()) == 1


def test_pictures_of_what_is_not_known(triangular):
    """Every trajectory diverged."""
    ds = triangular.map(lambda values: values * np.nan if values.dtype.kind == "f" else values, keep_attrs=True)
    ax = lk.plot_angle_histogram(ds)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["unstable and stable, not known"]
    lk.plot_covariant_vectors(ds)
