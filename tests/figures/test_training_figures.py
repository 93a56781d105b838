"""Figures and tables of the trainings, drawn from small made-up sweeps: the right numbers in the right panels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import lyapkit as lk
from figures import (
    architectures,
    drawing,
    fig1,
    fig3,
    fig4,
    fig5,
    fig6,
    figS1,
    figS2,
    figS3,
    figS4,
    memory,
    panels,
    rates,
    table1,
    table2,
    tabulating,
)

N_ITERATIONS = 4


def _sweep(dim, values, *, n_steps=196, task="smnist/2", score="accuracy", seed=0, measured=False):
    """A sweep in which every number is different, one cell is missing and one network never learns."""
    rng = np.random.default_rng(seed)
    shape = (len(values), 2)
    curves = rng.uniform(0.1, 0.9, (*shape, N_ITERATIONS))
    reached = rng.integers(1, 30, shape).astype(float)
    reached[0, 1] = np.nan  # never
    best = curves.max(2)
    curves[-1, 1], best[-1, 1], reached[-1, 1] = np.nan, np.nan, np.nan  # not computed
    units = {"units": "1", "long_name": "test accuracy"}
    both = (dim, "network")
    ds = xr.Dataset(
        {
            "test_score": ((*both, "iteration"), curves, units),
            "best_score": (both, best, {"units": "1", "long_name": "best test accuracy"}),
            "iterations_to_minimal_performance": (both, reached, {"units": "1", "long_name": "iterations"}),
            "divergence_iteration": (both, np.full(shape, np.nan), {"units": "1", "long_name": "divergence"}),
        },
        {
            dim: (dim, list(values), {"units": "1", "long_name": f"the {dim}"}),
            "network": ("network", [0, 1], {"units": "1", "long_name": "weight seed"}),
            "iteration": ("iteration", [0, 10, 20, 40], {"units": "1", "long_name": "iteration"}),
        },
        {"task": task, "n_steps": n_steps, "score": score, "scale": "quick"},
    )
    if measured:
        dims = (dim, "network", "checkpoint")
        some = np.full((*shape, 2), np.nan)
        some[:] = rng.uniform(0.1, 2, (len(values), 2, 2))
        some[0, 1] = np.nan
        exponents = rng.normal(size=(*shape, 2, 3))
        ds = ds.assign_coords(checkpoint=("checkpoint", [0, 40]))
        ds["hessian_eigenvalue"] = ((*dims, "eigenvalue"), np.stack([some, -some / 2], axis=-1))
        ds["lyapunov_exponent"] = ((*dims, "exponent"), np.where(np.isnan(some)[..., None], np.nan, exponents))
    return ds


def _median_speed(ds):
    """Medians, of what was found: the lower of two networks."""
    never = ds["iterations_to_minimal_performance"].isnull() & ds["best_score"].notnull()
    found = ds["iterations_to_minimal_performance"].where(~never, panels.NEVER * float(ds["iteration"].max()))
    return found.min("network")


RADII = (0.95, 1.0, 1.01)


@pytest.fixture
def radius():
    return {
        "smnist": _sweep("radius", RADII, measured=True),
        "psmnist": _sweep("radius", RADII, task="psmnist/2", seed=1),
        "add100": _sweep("radius", RADII, task="add100", n_steps=100, score="RMS error", seed=2),
    }


def _axes(figure):
    axes = list(figure.axes)
    plt.close(figure)
    return axes


def _line(ax, y):
    """The line of an axes that shows these numbers."""
    found = [line for line in ax.lines if len(line.get_ydata()) == len(y) and np.allclose(line.get_ydata(), y)]
    assert found, f"{y} is not drawn"
    return found[-1]


def test_figure_3(radius):
    axes = _axes(fig3.make(radius))
    for column, ds in enumerate(radius.values()):
        curves, best, speed = axes[column], axes[3 + column], axes[6 + column]
        colours = set()
        for value in RADII:
            line = _line(curves, ds.test_score.sel(radius=value).median("network"))
            assert line.get_label() == f"{value:.4g}"
            colours.add(line.get_color())
        assert len(colours) == 3
        np.testing.assert_array_equal(_line(best, ds.best_score.median("network")).get_xdata(), RADII)
        _line(speed, _median_speed(ds))
        assert "never" in [text.get_text() for text in speed.texts]
        assert any(list(line.get_xdata()) == [1.0, 1.0] for line in best.lines)
    assert "sMNIST, T = 196" in axes[0].get_title(loc="left")
    assert "ADD100" in axes[2].get_title(loc="left")
    leading = np.abs(radius["smnist"].hessian_eigenvalue).max("eigenvalue")
    for value in RADII:
        line = _line(axes[9], leading.sel(radius=value).median("network"))
        assert line.get_label() == f"{value:.4g}"
    _line(axes[9], leading.sel(radius=1.0, network=1))
    _line(axes[9], leading.sel(radius=0.95, network=0))
    text = fig3.numbers(radius)
    assert f"| smnist | 0.95 | {float(radius['smnist'].best_score[0].mean()):.3f}" in text
    assert "(1 never)" in text


def test_figure_3_with_other_lengths(radius):
    short = radius["add100"].copy(deep=True).assign_attrs(task="add50", n_steps=50)
    short["iterations_to_minimal_performance"] += 7
    axes = _axes(fig3.make(radius | {"add50": short}))
    assert _line(axes[8], _median_speed(short)).get_color() == fig3.OTHER_LENGTHS["add50"]
    _line(axes[8], _median_speed(radius["add100"]))
    shown = [text.get_text().partition(",")[0] for text in axes[10].get_legend().get_texts()]
    assert shown == ["ADD100", "ADD50"]


def test_critical_is_between_blue_and_orange():
    from lyapkit.plots.training import colours

    below, critical, above = colours(np.array(RADII), "radius")
    red, green, blue = (int(below[i : i + 2], 16) for i in (1, 3, 5))
    assert blue > green > red
    red, green, blue = (int(above[i : i + 2], 16) for i in (1, 3, 5))
    assert red > green > blue
    assert max(int(critical[i : i + 2], 16) for i in (1, 3, 5)) < 40
    assert colours(np.array([1.02, 0.95, 0.98]), "radius")[1] == below  # whatever else is drawn
    many = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.005, 1.01, 1.02)
    assert len(set(colours(np.array(many), "radius"))) == len(many)


def test_what_is_missing_is_said(radius, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "expressivity" / "quick"
    folder.mkdir(parents=True)
    lk.save(radius["psmnist"].assign_attrs(n_cells=5, n_cells_wanted=6), folder / "psmnist_radius-slower.nc")
    lk.save(radius["smnist"].drop_vars("hessian_eigenvalue"), folder / "smnist_radius-slower.nc")  # an older version
    datasets, missing = drawing.read(fig3.SOURCES, tmp_path)
    assert list(datasets) == ["psmnist"]
    text = "\n".join(missing)
    assert "smnist_radius-slower.nc is of another experiment or an older version, it lacks hessian_eigenvalue" in text
    assert "add100_radius.nc is not computed yet: python analyses/expressivity.py --scale quick --task add100" in text
    assert "5 of 6 cells" in text
    axes = _axes(fig3.make(datasets))
    assert "not computed yet" in axes[0].texts[0].get_text()
    assert "not computed yet" in axes[9].texts[0].get_text()
    _line(axes[4], radius["psmnist"].best_score.median("network"))
    monkeypatch.setattr("sys.argv", ["fig3.py", "--data", str(tmp_path / "empty")])
    with pytest.raises(
        SystemExit, match=r"fig3: nothing to draw in .*: expressivity/quick/smnist_radius-slower.nc is not"
    ):
        drawing.run("fig3", fig3.SOURCES, fig3.make, fig3.__doc__)
    for _ in range(2):  # the same data give the same bytes
        monkeypatch.setattr("sys.argv", ["fig3.py", "--data", str(tmp_path), "--output", str(tmp_path / "out")])
        drawing.run("fig3", fig3.SOURCES, fig3.make, fig3.__doc__, fig3.numbers)
        (tmp_path / "out" / "fig3.png").rename(tmp_path / "out" / f"{len(list((tmp_path / 'out').iterdir()))}.png")
    first, second = sorted((tmp_path / "out").glob("[0-9].png"))
    assert first.read_bytes() == second.read_bytes()
    assert "psmnist_radius-slower.nc (scale: quick)" in capsys.readouterr().out


def test_figure_4():
    frequencies = (0.0, 0.448799, 0.9)
    time = np.arange(5.0)
    power = np.array([[1.0, 3.0, 2.0], [1.0, 1.0, 1.0]])
    datasets = {
        "smnist": _sweep("frequency", frequencies),
        "psmnist": _sweep("frequency", frequencies, task="psmnist/2", seed=1),
        "residual": _sweep("residual", ("homogeneous", "heterogeneous frequencies", "orthogonal", "heterogeneous")),
        "power": xr.Dataset(
            {"power": (("task", "frequency"), power)},
            {"task": ["smnist", "psmnist"], "frequency": [0.1, 0.2, 3.0]},
        ),
        "modulation": xr.Dataset(
            {"modulation": (("frequency", "network", "time"), np.random.default_rng(0).normal(size=(2, 1, 5)))},
            {"frequency": [0.0, 0.2], "time": time},
        ),
    }
    figure = fig4.make(datasets)
    axes = {ax.get_label() or str(i): ax for i, ax in enumerate(_axes(figure))}
    for column, name in enumerate(("smnist", "psmnist")):
        line = _line(axes[f"score{column}"], datasets[name].best_score.median("network"))
        np.testing.assert_allclose(line.get_xdata(), frequencies)
    (behind,) = [ax for ax in figure.axes if ax.get_position().bounds == axes["score0"].get_position().bounds][1:2]
    vertices = behind.collections[0].get_paths()[0].vertices
    # 14×14 pixels are read at half the period: frequencies twice as large, the third outside of the panel
    assert set(vertices[:, 0].round(9)) == {0.2, 0.4}
    curve = datasets["modulation"].modulation[1, 0]
    share = curve / curve.sum()
    _line(axes["B"], share / np.abs(share).max() - 2.2)
    labels = [text.get_text().replace("\n", " ") for text in axes["D"].get_xticklabels()]
    assert labels == ["homogeneous", "heterogeneous frequencies", "orthogonal"]
    assert "| smnist | 0.4488 | 1.00 |" in fig4.numbers(datasets)


def test_figure_5():
    spreads = (0.0, 0.02)
    rng = np.random.default_rng(0)
    before = xr.Dataset(
        {
            "lyapunov_exponent": (("spread", "network", "exponent"), np.sort(rng.normal(size=(2, 1, 4)))[..., ::-1]),
            "log_gradient_norm": (("spread", "network", "time"), rng.normal(size=(2, 1, 6))),
            "decay_rate": (("spread", "network"), rng.normal(size=(2, 1))),
            "hessian_eigenvalue": (("spread", "network", "eigenvalue"), rng.normal(size=(2, 1, 3))),
        },
        {"spread": list(spreads), "exponent": np.arange(1, 5), "time": np.arange(6), "eigenvalue": [1, 2, 3]},
        {"radius": 0.98, "scale": "paper"},
    )
    datasets = {"training": _sweep("spread", (0.0, 0.01, 0.02)), "before training": before}
    training, spectra, gradients, curvature = _axes(fig5.make(datasets))[:4]
    for index, value in enumerate(spreads):
        logs = before.log_gradient_norm[index, 0]
        lines = (
            _line(training, datasets["training"].test_score.sel(spread=value).median("network")),
            _line(spectra, before.lyapunov_exponent[index, 0]),
            _line(gradients, np.exp(logs - logs[-1])),
            _line(curvature, np.abs(before.hessian_eigenvalue[index, 0])),
        )
        assert len({line.get_color() for line in lines}) == 1
    _line(spectra, np.log(0.98 + 0.02 * np.array([0.75, 0.25, -0.25, -0.75])))
    assert f"| 0.02 | {float(datasets['training'].best_score.sel(spread=0.02).mean()):.3f} |" in fig5.numbers(datasets)


def test_figure_6():
    datasets = {
        "radius-a": _sweep("radius", RADII, seed=0),
        "radius-b": _sweep("radius", RADII, seed=1),
        "frequency-b": _sweep("frequency", (0.0, 0.5), seed=2),
    }
    axes = _axes(fig6.make(datasets))
    for name, column in (("radius-a", 0), ("radius-b", 0), ("frequency-b", 1)):
        _line(axes[column], datasets[name].best_score.median("network"))
        _line(axes[2 + column], _median_speed(datasets[name]))
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["type A", "type B"]
    marks = [line.get_xdata()[0] for line in axes[1].lines if list(line.get_ydata()) == [0, 1]]
    np.testing.assert_allclose(marks, [2 * np.pi / 14])
    assert "| frequency-b | 0.5 |" in fig6.numbers(datasets)
    assert "not computed yet" in _axes(fig6.make({}))[1].texts[0].get_text()


def test_figure_s1(radius):
    left, right = _axes(figS1.make({"smnist": radius["smnist"]}))[:2]
    for value in RADII:
        one = radius["smnist"].sel(radius=value).lyapunov_exponent
        _line(left, one.mean(["network", "exponent"]))
        _line(right, one.mean("exponent").median("network") - np.log(value))
        _line(right, one.mean("exponent").sel(network=0) - np.log(value))
        assert any(np.allclose(line.get_ydata(), np.log(value)) for line in left.lines)
    assert f"| 1 | {0:+.4f} |" in figS1.numbers(radius)


def test_figure_s2(radius):
    figure = figS2
    largest, fifth = _axes(figure.make({"smnist": radius["smnist"]}))[:2]
    for value in RADII:
        one = np.abs(radius["smnist"].hessian_eigenvalue.sel(radius=value))
        _line(largest, one.max("eigenvalue").median("network"))
        _line(largest, one.max("eigenvalue").sel(network=0))
        _line(fifth, one.min("eigenvalue").median("network"))  # of two
    assert "| 0.95 |" in figure.numbers({"smnist": radius["smnist"]})
    assert "not computed yet" in _axes(figure.make({}))[0].texts[0].get_text()


def test_figure_1():
    (ax,) = _axes(fig1.make({}))
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("residual $R$") == 3
    assert r"$h_t = R\,h_{t-1} + \alpha\,\sigma(W h_{t-1} + W_{in} x_t + b)$" in texts


def test_figure_s3():
    ds = _sweep("coupling", (0.001, 0.01, 0.1))
    curves, best, speed = _axes(figS3.make({"smnist": ds}))[:3]
    _line(curves, ds.test_score.sel(coupling=0.01).median("network"))
    assert list(_line(best, ds.best_score.median("network")).get_xdata()) == [0.001, 0.01, 0.1]
    _line(speed, _median_speed(ds))
    assert best.get_xscale() == speed.get_xscale() == "log"


def test_figure_s3_by_learning_rates():
    """Where iterations are those of η α, curves of all α are one, in that panel alone."""
    rates, couplings = np.array([0.01, 0.1, 1.0]), np.array([0.01, 0.1])
    when = np.array([[np.nan, 80.0], [80.0, 40.0], [40.0, 20.0]])  # (η, α)
    when = np.stack([when, when, when + 10], -1)
    ds = xr.Dataset(
        {"iterations_to_minimal_performance": (("learning_rate", "coupling", "network"), when)},
        {"learning_rate": rates, "coupling": ("coupling", couplings, {"long_name": "coupling α"})},
    )
    axes = _axes(figS3.make({"rates": ds}))
    assert "not computed yet" in axes[0].texts[0].get_text()
    for ax, power in zip(axes[3:], (0, 1, 2), strict=True):
        weak, strong = (line for line in ax.lines if line.get_linestyle() == "-")
        np.testing.assert_allclose(weak.get_xdata(), rates[1:] * 0.01**power)
        np.testing.assert_allclose(strong.get_xdata(), rates * 0.1**power)
        np.testing.assert_allclose(weak.get_ydata(), [80, 40])
        at_same = np.isclose(weak.get_xdata()[:, None], strong.get_xdata()) & (
            np.array([80, 40])[:, None] == [80, 40, 20]
        )
        assert at_same.any() == (power == 1)
        assert sum(len(line.get_xdata()) for line in ax.lines if line.get_linestyle() != "-") == 15


def test_figure_s4():
    datasets = {"long": _sweep("frequency", (0.0, 0.45)), "short": _sweep("frequency", (0.0, 0.3, 0.45), seed=1)}
    curves, best = _axes(figS4.make(datasets))[:2]
    for value in (0.0, 0.45):
        _line(curves, datasets["long"].test_score.sel(frequency=value).median("network"))
    lines = {name: _line(best, ds.best_score.median("network")) for name, ds in datasets.items()}
    assert lines["long"].get_color() != lines["short"].get_color()
    assert [text.get_text() for text in best.get_legend().get_texts()] == ["after 40 iterations"] * 2
    assert f"| long | {0.45 / (2 * np.pi / 14):.2f} |" in figS4.numbers(datasets)
    curves, best = _axes(figS4.make({"short": datasets["short"]}))[:2]
    assert "not computed yet" in curves.texts[0].get_text()


def test_architectures():
    ds = _sweep("architecture", ("gru", "lstm", "wcrnn")).assign(learning_rate=("architecture", [0.1, 0.2, 0.3]))
    axes = _axes(architectures.make({"smnist": ds, "add100": ds.isel(architecture=[2])}))
    for name in ("gru", "lstm", "wcrnn"):
        line = _line(axes[0], ds.test_score.sel(architecture=name).median("network"))
        assert line.get_color() == architectures.COLOURS[name]
    assert len(set(architectures.COLOURS.values())) == 9
    assert "not computed yet" in axes[1].texts[0].get_text()
    assert _line(axes[2], ds.test_score.sel(architecture="wcrnn").median("network")).get_color() == line.get_color()
    (row,) = (
        line for line in architectures.numbers({"smnist": ds}).splitlines() if line.startswith("| smnist | lstm |")
    )
    assert row.endswith("| 0.2 |")


def test_memory():
    """Rows are architectures, the one that remembers longest, or grows, on top."""
    names = list(table2.NAMES)
    values = -np.random.default_rng(0).permutation(np.geomspace(0.001, 1.0, 2 * len(names) * 2)).reshape(2, -1, 2, 1)
    ds = xr.Dataset(
        {"lyapunov_exponent": (("task", "architecture", "network", "exponent"), values)},
        {"task": ["smnist", "add100"], "architecture": names, "network": [0, 1], "exponent": [1]},
        {"scale": "quick"},
    ).assign_coords(n_steps=("task", [196, 100]))
    ds.lyapunov_exponent[:, 3] = [[[0.05], [0.06]], [[0.07], [0.08]]]
    (ax,) = _axes(memory.make(ds))
    rows = [label.get_text() for label in ax.get_yticklabels()]
    largest = ds.lyapunov_exponent.sel(exponent=1)
    means = largest.mean(("task", "network"))
    assert rows == [table2.NAMES[name] for name in sorted(names, key=lambda name: float(means.sel(architecture=name)))]
    assert rows[-1] == table2.NAMES[names[3]]
    points = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == len(names)]
    by_row = ds.architecture.values[np.argsort(means.values)]
    expected = largest.sel(architecture=by_row).stack(one=("task", "network")).T
    np.testing.assert_array_equal(points, expected)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sMNIST, T = 196", "ADD100, T = 100"]
    text = memory.numbers(ds)
    assert f"| smnist | {names[3]} | +0.0550 | grows |" in text
    value = float(largest.sel(task="add100", architecture=names[0]).mean())
    assert f"| add100 | {names[0]} | {value:+.4f} | {-1 / value:.3g} |" in text


def test_titles_say_how_many_networks_and_which_scale():
    ds = _sweep("radius", RADII)
    assert panels.networks(ds) == "1 to 2 networks each"
    assert panels.networks(ds.isel(radius=[0, 1])) == "2 networks each"
    assert panels.networks(ds.isel(network=[0])) == "1 network each"
    assert drawing.scales({"a": ds}) == "scale quick"
    paper = ds.assign_attrs(scale="paper")
    assert drawing.scales({"a": ds, "power": paper, "b": ds}) == "scale quick; power at scale paper"


def test_the_other_scale(radius, tmp_path, monkeypatch, capsys):
    for scale, name in (("quick", "smnist"), ("paper", "psmnist")):
        folder = tmp_path / "expressivity" / scale
        folder.mkdir(parents=True)
        lk.save(radius[name].assign_attrs(scale=scale), folder / f"{name}_radius-slower.nc")
    monkeypatch.setattr("sys.argv", ["fig3.py", "--data", str(tmp_path), "--output", str(tmp_path), "--scale", "paper"])
    drawing.run("fig3", fig3.SOURCES, fig3.make, fig3.__doc__, fig3.numbers)
    printed = capsys.readouterr().out
    assert "from expressivity/paper/psmnist_radius-slower.nc (scale: paper)" in printed
    assert "smnist_radius-slower.nc is not computed yet: python analyses/expressivity.py --scale paper" in printed
    assert "quick" not in printed
    assert fig4.SOURCES["power"].at("paper") == fig4.SOURCES["power"]


def test_trainings_of_the_largest_scale_that_has_as_many(radius, tmp_path):
    """All sweeps of a task, of whatever length, are of one scale."""

    def keep(scale, name, ds):
        (tmp_path / "expressivity" / scale).mkdir(parents=True, exist_ok=True)
        lk.save(ds.assign_attrs(scale=scale), tmp_path / "expressivity" / scale / f"{name}.nc")

    def scales_of(*names):
        sources = {name: drawing.sweep(*name.split("_"), "") for name in names}
        return {name: ds.attrs["scale"] for name, ds in drawing.chosen(sources, tmp_path).items()}

    whole = radius["psmnist"]
    keep("quick", "add100_radius", whole)
    keep("paper", "add100_radius", whole.isel(radius=slice(1, None)))
    assert scales_of("add100_radius") == {"add100_radius": "quick"}  # a radius is missing
    keep("paper", "add100_radius", whole.where(whole.radius > whole.radius[0]))
    assert scales_of("add100_radius") == {"add100_radius": "quick"}  # it is there, but not trained
    keep("paper", "add100_radius", whole)
    keep("full-length", "add100_radius", whole)
    assert scales_of("add100_radius") == {"add100_radius": "paper"}
    keep("quick", "add50_radius", whole)
    keep("quick", "smnist_radius", whole)
    assert scales_of("add100_radius", "smnist_radius") == {"add100_radius": "paper", "smnist_radius": "quick"}
    assert scales_of("add50_radius", "add100_radius") == {"add50_radius": "quick", "add100_radius": "quick"}
    keep("paper", "add50_radius", whole)
    assert scales_of("add50_radius", "add100_radius") == {"add50_radius": "paper", "add100_radius": "paper"}
    keep("paper", "psmnist_radius", whole)
    assert scales_of("psmnist_radius", "smnist_radius") == {"psmnist_radius": "paper", "smnist_radius": "quick"}


def test_recompute_runs_each_command_once(radius, tmp_path, monkeypatch, capsys):
    commands = []

    def compute(command, cwd, check):
        assert check
        commands.append(command)
        assert (cwd / command[1]).is_file()
        lk.save(radius["psmnist"], tmp_path / "expressivity" / "quick" / "psmnist_radius-slower.nc")

    (tmp_path / "expressivity" / "quick").mkdir(parents=True)
    monkeypatch.setattr("subprocess.run", compute)
    monkeypatch.setattr("sys.argv", ["fig3.py", "--data", str(tmp_path), "--output", str(tmp_path), "--recompute"])
    drawing.run("fig3", fig3.SOURCES | {"again": fig3.SOURCES["smnist"]}, fig3.make, fig3.__doc__)
    tasks = [command[command.index("--task") + 1] for command in commands]
    assert tasks == list(fig3.SOURCES)
    assert "from expressivity/quick/psmnist_radius-slower.nc" in capsys.readouterr().out


def test_table_1(tmp_path, monkeypatch, capsys):
    names = ("homogeneous", "orthogonal", "heterogeneous")
    ds = _sweep("residual", names)
    (tmp_path / "expressivity" / "quick").mkdir(parents=True)
    lk.save(ds, tmp_path / "expressivity" / "quick" / "smnist_residual.nc")
    monkeypatch.setattr("sys.argv", ["table1.py", "--data", str(tmp_path), "--output", str(tmp_path / "out")])
    tabulating.run("table1", table1.SOURCES, table1.make, table1.__doc__)
    printed = capsys.readouterr().out
    written = (tmp_path / "out" / "table1.md").read_text()
    best = ds.best_score.sel(residual="homogeneous")
    row = next(line for line in written.splitlines() if "homogeneous" in line)
    assert f"{100 * float(best.mean()):.2f} ± {100 * float(best.std(ddof=1)):.2f} (2)" in row
    assert "| 96.05 " in row
    assert f"{int(ds.iterations_to_minimal_performance[0, 0])} (1 never)" in row
    row = next(line for line in written.splitlines() if "heterogeneous" in line)
    assert "98.22" in row
    best = float(ds.best_score.sel(residual="heterogeneous", network=0))
    assert f"| {100 * best:.2f} (1) " in row  # one of the two cells is not computed
    assert written.splitlines()[0] in printed
    assert r"\begin{tabular}{lrrrrr}" in (tmp_path / "out" / "table1.tex").read_text()


def test_table_2():
    datasets = {"smnist": _sweep("architecture", ("wcrnn", "lstm", "s4")), "add100": _sweep("architecture", ("gru",))}
    rows = table2.make(datasets)
    assert len(rows) == 10
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["GRU"][:2] == ["not run", ""]
    lstm = datasets["smnist"].best_score.sel(architecture="lstm")
    assert by_name["LSTM"][0].startswith(f"{100 * float(lstm.mean()):.2f} ±")
    assert all(len(row) == 5 for row in rows)


def test_rates():
    """A training whose loss rises by more than 1 collapses; the limit is 2(1 + μ)/λ_max of the largest eigenvalue."""
    ds = _sweep("radius", RADII, measured=True).assign(learning_rate=("radius", [0.3, 0.3, 0.1]))
    losses = np.full((3, 2, 4), [2.3, 1.0, 0.9, 1.5])
    losses[1, 0] = [2.3, 1.0, 3.0, 0.5]
    losses[2, 1] = np.nan
    ds["test_loss"] = (("radius", "network", "iteration"), losses)
    assert rates.trainings(ds) == [(0.95, 0.3, 0.0, 2), (1.0, 0.3, 0.5, 2), (1.01, 0.1, 0.0, 1)]
    gone = ds.assign(divergence_iteration=(("radius", "network"), [[np.nan, 20.0], [np.nan] * 2, [np.nan] * 2]))
    assert rates.trainings(gone)[0] == (0.95, 0.3, 0.5, 2)
    axes = _axes(rates.make({"smnist": ds}))
    largest = ds.hessian_eigenvalue.isel(checkpoint=0, network=0).max("eigenvalue")
    _line(axes[0], 2 * 1.9 / largest)
    assert sum(line.get_marker() == "x" and len(line.get_xdata()) == 1 for line in axes[0].lines) == 1
    assert "| smnist | 1 | 0.3 | 2 | 50% |" in rates.numbers({"smnist": ds})
