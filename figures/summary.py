"""What the trainings have shown, in sentences with numbers from data/: the part of README.md between its two marks.

`gallery.py` puts it there. A sentence whose data are missing is left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import xarray as xr
from drawing import Datasets, Source, sweep
from panels import characteristic_frequency
from table2 import NAMES

from lyapkit.plots.training import until_minimal_performance

BEGIN, END = "<!-- trainings: written by figures/gallery.py -->", "<!-- end of trainings -->"
SOURCES = {
    **{
        f"{task}_{name}": sweep(task, name, "")
        for task, name in (
            *(("smnist", one) for one in ("radius", "frequency", "residual", "spread", "architecture")),
            *(("psmnist", one) for one in ("radius", "frequency", "residual")),
            *(("add100", one) for one in ("radius", "architecture")),
        )
    },
    "full-length": Source(
        "expressivity/full-length/smnist_radius.nc",
        "python analyses/expressivity.py --scale full-length --task smnist --sweep radius --value 0.995 --seeds 1",
        "an hour",
        ("test_score", "best_score", "radius"),
    ),
}


def _best(ds: xr.Dataset) -> xr.DataArray:
    """Return best scores, means over networks."""
    return ds["best_score"].mean("network")


def radii(smnist: xr.Dataset, psmnist: xr.Dataset) -> str:
    """Say how efficiency and performance depend on r."""
    speed, best = until_minimal_performance(smnist).mean("network"), _best(smnist)
    above = smnist.sel(radius=slice(1.001, None))
    known = above["best_score"].notnull()
    never = int((above["iterations_to_minimal_performance"].isnull() & known).sum())
    fast, top, permuted = float(speed.idxmin("radius")), float(best.idxmax("radius")), _best(psmnist)
    return (
        f"Below criticality learning is slow, above it unstable. On sMNIST accuracy 0.5 is found after "
        f"{float(speed[0]):.0f} iterations at r = {float(speed['radius'][0]):g} and {float(speed.min()):.0f} at r = "
        f"{fast:g}; the best accuracy rises from {float(best[0]):.2f} to {float(best.max()):.2f} at r = {top:g}; "
        f"of {int(known.sum())} networks above 1, {never} never get there. psMNIST is learnt best at r = "
        f"{float(permuted.idxmax('radius')):g}, {float(permuted.max()):.2f}."
    )


def adding(ds: xr.Dataset) -> str:
    """Say how long ADD100 takes."""
    speed = until_minimal_performance(ds)
    mean = speed.mean("network")
    fast, slow = float(mean.idxmin("radius")), float(mean.idxmax("radius"))
    return (
        f"On the adding problem of 100 steps an RMS error of 0.25 is found after {float(mean.min()):.0f} (r = {fast:g})"
        f" to {float(mean.max()):.0f} (r = {slow:g}) iterations, means of {ds.sizes['network']} networks; the paper "
        f"reports 9298. Their standard deviation, {float(speed.std('network').mean()):.0f}, is no smaller than most of "
        "the differences."
    )


def rotations(smnist: xr.Dataset, psmnist: xr.Dataset) -> str:
    """Say which frequencies help."""
    best, permuted = _best(smnist), _best(psmnist)
    multiples = best["frequency"].values / characteristic_frequency(smnist)
    shown = ", ".join(f"{float(b):.2f} at {m:.3g}" for m, b in zip(multiples[1:], best.values[1:], strict=True))
    turned = permuted.where(permuted["frequency"] > 0, drop=True)
    return (
        "Rotations, best accuracy on sMNIST by multiples of the characteristic frequency of the images' rows: "
        f"{shown}, against {float(best.sel(frequency=0.0)):.2f} without. On psMNIST {float(turned.min()):.2f} to "
        f"{float(turned.max()):.2f} with rotations, {float(permuted.sel(frequency=0.0)):.2f} without."
    )


def spreads(ds: xr.Dataset) -> str:
    """Say what heterogeneous radii do."""
    shown = ", ".join(f"{float(b):.2f} at ε = {float(e):g}" for e, b in zip(ds["spread"], _best(ds), strict=True))
    return f"Radii uniform in 0.98 ± ε, best accuracy on sMNIST: {shown}."


def residuals(smnist: xr.Dataset, psmnist: xr.Dataset) -> str:
    """Say what heterogeneous residuals reach."""
    first, second = (
        {name: f"{float(_best(ds).sel(residual=name)):.2f}" for name in ds["residual"].values}
        for ds in (smnist, psmnist)
    )
    return (
        f"Rotations, radii and couplings that are all heterogeneous reach {first['heterogeneous']} on sMNIST and "
        f"{second['heterogeneous']} on psMNIST, r·I {first['homogeneous']} and {second['homogeneous']}; random "
        f"orthogonal residuals {first['orthogonal']} and heterogeneous frequencies "
        f"{first['heterogeneous frequencies']} on sMNIST."
    )


def architectures(ds: xr.Dataset) -> str:
    """Say what architectures reach."""
    best = _best(ds).dropna("architecture")
    best = best.sortby(best, ascending=False)
    shown = ", ".join(
        f"{float(b):.2f} {NAMES[name]}" for name, b in zip(best["architecture"].values, best, strict=True)
    )
    return f"Architectures on sMNIST, after {int(ds['iteration'].max())} iterations: {shown}."


def full_length(ds: xr.Dataset) -> str:
    """Say how far a training with all 784 steps has come."""
    one = ds.sel(radius=0.995, network=0)
    curve = one["test_score"].dropna("iteration")
    epochs = int(curve["iteration"].max()) / 468
    over = curve["iteration"].where(curve > 0.9, drop=True)
    passed = f"passes 0.9 after {float(over[0]) / 468:.1f} epochs" if len(over) else "does not pass 0.9"
    return (
        f"At full length (784 steps, r = 0.995, η = 0.03) a network {passed}; its best accuracy in {epochs:.0f} epochs "
        f"is {float(one['best_score']):.3f}. The paper trains for 200."
    )


SENTENCES: tuple[tuple[Callable[..., str], tuple[str, ...]], ...] = (
    (radii, ("smnist_radius", "psmnist_radius")),
    (adding, ("add100_radius",)),
    (rotations, ("smnist_frequency", "psmnist_frequency")),
    (spreads, ("smnist_spread",)),
    (residuals, ("smnist_residual", "psmnist_residual")),
    (architectures, ("smnist_architecture",)),
    (full_length, ("full-length",)),
)


def block(datasets: Datasets) -> str:
    """Return the sentences whose data are there, as a Markdown list between the marks."""
    lines = [
        textwrap.fill(sentence(*(datasets[name] for name in needs)), 118, initial_indent="- ", subsequent_indent="  ")
        for sentence, needs in SENTENCES
        if all(name in datasets for name in needs)
    ]
    return "\n".join([BEGIN, *lines, END])


def inserted(text: str, datasets: Datasets) -> str:
    """Return a text with what is between its marks replaced by the sentences.

    Raises
    ------
    ValueError
        If the text does not have the two marks, once each.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the text must have the marks {BEGIN} and {END}, once each")
    return text[: text.index(BEGIN)] + block(datasets) + text[text.index(END) + len(END) :]
