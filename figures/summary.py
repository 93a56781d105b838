"""What the data show before and after training, in sentences with numbers: parts of docs/paper.md, between marks.

`gallery.py` puts them there. A sentence whose data are missing is left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from figures import claims, memory
from figures.claims.sweeps import collapsed
from figures.drawing import Datasets, Source, chosen
from figures.panels import characteristic_frequency, is_learnt, mean_best_score, networks, task_name
from figures.table2 import NAMES
from lyapkit.plots.training import deviation, until_minimal_performance

BEGIN, END = "<!-- {}: written by figures/gallery.py -->", "<!-- end of {} -->"
OWN_SOURCES = {  # besides those that claims ask
    "exponents": memory.SOURCE,
    "full-length": Source(
        "expressivity/full-length/smnist_radius.nc",
        "python analyses/expressivity.py --scale full-length --task smnist --sweep radius --value 0.995 --seeds 1",
        "an hour",
        ("test_score", "best_score", "radius"),
    ),
}


def exponents(before: xr.Dataset) -> str:
    """Say how far exponents are from log r."""
    off = before["lyapunov_exponent"].mean("network") - np.log(before["radius"])
    means, extremes = np.abs(off.mean("exponent")), np.abs(off).max("exponent")
    last = float(before["radius"].max())
    return (
        f"The exponents' mean is log r to {float(means.max()):.0e}; the largest and smallest lie up to "
        f"{float(extremes.max()):.4f} from it ({float(extremes.sel(radius=last)):.4f} at r = {last:g})."
    )


def gradients(before: xr.Dataset) -> str:
    """Say how far slopes of gradient norms are from log r, and what explains it."""
    ds = before.mean("network")
    log_r = np.log(ds["radius"])
    off = ds["decay_rate"] - log_r
    explained = 1 - np.abs((ds["decay_rate"] - ds["averaged_decay_rate"]) / off)
    below = explained.where(ds["radius"] < 1, drop=True)
    above = ", ".join(f"{float(explained.sel(radius=r)):.0%} at r = {r:g}" for r in (1.01, 1.02))
    return (
        "Logs of gradient norms are close to straight lines. At α = 0.01 their slope is *not* within 2 % of log r: it "
        f"is that of the largest exponents, {float(off.sel(radius=0.98)):.4f} above log r at r = 0.98, or "
        f"{abs(float(off.sel(radius=0.98) / log_r.sel(radius=0.98))):.0%}. First-order theory (each sample's averaged "
        f"Jacobian) explains at least {float(below.min()):.1%} of the difference for r < 1, {above}, where units "
        "saturate during the sequence so that the average is not enough."
    )


def curvature(before: xr.Dataset) -> str:
    """Say how the Hessian grows with r."""
    leading = np.abs(before["hessian_eigenvalue"]).max("eigenvalue").dropna("radius", how="all").mean("network")
    shown = ", ".join(
        f"{float(value):.2g} at r = {float(r):g}" for r, value in zip(leading["radius"], leading, strict=True)
    )
    return f"The largest Hessian eigenvalue (three networks each) grows with r by many orders of magnitude: {shown}."


def radii(smnist: xr.Dataset, psmnist: xr.Dataset, faster: xr.Dataset) -> str:
    """Say how efficiency and performance depend on r; `faster` is sMNIST at a rate at which some collapse."""
    learnt = smnist.sel(radius=smnist["iterations_to_minimal_performance"].notnull().all("network"))
    if not learnt.sizes["radius"]:
        return "No radius of the residual is learnt by all networks."
    speed, best = until_minimal_performance(learnt).mean("network"), mean_best_score(smnist)
    above = faster.sel(radius=slice(1.001, None))
    gone, n_above = int(collapsed(above).sum()), int(above["best_score"].notnull().sum())
    fast, top, permuted = float(speed.idxmin("radius")), float(best.idxmax("radius")), mean_best_score(psmnist)
    return (
        f"On sMNIST ({networks(smnist)}) accuracy 0.5 is found after {float(speed[0]):.0f} iterations at r = "
        f"{float(speed['radius'][0]):g}, the smallest at which all networks find it, and {float(speed.min()):.0f} "
        f"at r = {fast:g}; the best accuracy rises from {float(best[0]):.2f} to {float(best.max()):.2f} at r = "
        f"{top:g}; psMNIST is learnt best at r = {float(permuted.idxmax('radius')):g}, {float(permuted.max()):.2f} "
        f"({networks(psmnist)}). At three times that learning rate {gone} of {n_above} networks above 1 collapse."
    )


def adding(*sweeps: xr.Dataset) -> str:
    """Say how long adding problems of several lengths take."""
    told = []
    for ds in sweeps:
        speed = until_minimal_performance(ds)
        mean, steps = speed.mean("network"), f"{ds.attrs['n_steps']} steps"
        if not is_learnt(ds):
            told.append(f"of {steps} it is found at no r within {int(ds['iteration'].max())} ({networks(ds)})")
            continue
        ends = ", ".join(f"{float(mean.sel(radius=r)):.0f} at r = {r:g}" for r in mean["radius"].values[[0, -1]])
        spread = f", SD {float(deviation(speed).mean()):.0f}" if ds.sizes["network"] > 1 else ""
        told.append(
            f"of {steps} it is found after {float(mean.min()):.0f} iterations at r = {float(mean.idxmin('radius')):g} "
            f"and {ends} ({networks(ds)}{spread})"
        )
    problems = "; ".join(told)
    return f"The adding problem to an RMS error of 0.25: {problems}. The paper reports 9298 iterations for 100 steps."


def rotations(smnist: xr.Dataset, psmnist: xr.Dataset) -> str:
    """Say which frequencies help."""
    best, permuted = mean_best_score(smnist), mean_best_score(psmnist)
    multiples = best["frequency"].values / characteristic_frequency(smnist)
    shown = ", ".join(f"{float(b):.2f} at {m:.3g}" for m, b in zip(multiples[1:], best.values[1:], strict=True))
    turned = permuted.where(permuted["frequency"] > 0, drop=True)
    return (
        "Rotations, best accuracy on sMNIST by multiples of the characteristic frequency of the images' rows "
        f"({networks(smnist)}): {shown}, against {float(best.sel(frequency=0.0)):.2f} without. On psMNIST "
        f"({networks(psmnist)}) {float(turned.min()):.2f} to "
        f"{float(turned.max()):.2f} with rotations, {float(permuted.sel(frequency=0.0)):.2f} without."
    )


def spreads(ds: xr.Dataset) -> str:
    """Say what heterogeneous radii do."""
    shown = ", ".join(
        f"{float(b):.2f} at ε = {float(e):g}" for e, b in zip(ds["spread"], mean_best_score(ds), strict=True)
    )
    return f"Radii uniform in 0.98 ± ε, best accuracy on sMNIST ({networks(ds)}): {shown}."


def residuals(smnist: xr.Dataset, psmnist: xr.Dataset) -> str:
    """Say what heterogeneous residuals reach."""
    first, second = (
        {name: f"{float(mean_best_score(ds).sel(residual=name)):.2f}" for name in ds["residual"].values}
        for ds in (smnist, psmnist)
    )
    return (
        f"Rotations, radii and couplings that are all heterogeneous reach {first['heterogeneous']} on sMNIST "
        f"({networks(smnist)}) and {second['heterogeneous']} on psMNIST ({networks(psmnist)}), r·I "
        f"{first['homogeneous']} and {second['homogeneous']}; random orthogonal residuals "
        f"{first['orthogonal']} and heterogeneous frequencies {first['heterogeneous frequencies']} on sMNIST."
    )


def architectures(ds: xr.Dataset) -> str:
    """Say what architectures reach on a task of images, the best first."""
    best = mean_best_score(ds).dropna("architecture")
    shown = _ranked(best.sortby(best, ascending=False), ".2f")
    return (
        f"Architectures on {task_name(ds)}, best accuracy in {int(ds['iteration'].max())} iterations "
        f"({networks(ds)}): {shown}."
    )


def architectures_adding(ds: xr.Dataset) -> str:
    """Say how fast architectures learn the adding problem, the fastest first."""
    reached = ds["iterations_to_minimal_performance"]
    fails = (reached.isnull() & ds["best_score"].notnull()).any("network")
    fast = reached.mean("network").where(~fails, drop=True)
    never = "; ".join(NAMES[name] for name in ds["architecture"].values[fails.values])
    return (
        f"Architectures on {task_name(ds)}, iterations until an RMS error of 0.25 ({networks(ds)}): "
        f"{_ranked(fast.sortby(fast), '.0f')}; not within {int(ds['iteration'].max())}: {never or 'none'}."
    )


def forgetting(ds: xr.Dataset) -> str:
    """Say how long architectures remember before training, the first to forget first."""
    largest = ds["lyapunov_exponent"].sel(exponent=1, task="smnist").mean("network")
    memory = (-1 / largest).where(largest < 0, drop=True)
    growing = largest.where(largest > 0, drop=True)
    return (
        f"Before training, by the largest exponent λ along sMNIST ({ds.sizes['network']} networks each), a memory −1/λ "
        f"in steps: {_ranked(memory.sortby(memory), '.3g')}; and growth, in nats per step: {_ranked(growing, '.3f')}."
    )


def _ranked(numbers: xr.DataArray, form: str) -> str:
    """Return numbers with the names of their architectures."""
    named = zip(numbers["architecture"].values, numbers.values, strict=True)
    return "; ".join(f"{NAMES[name]} {number:{form}}" for name, number in named)


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


Sentence = tuple[Callable[..., str], tuple[str, ...]]  # and the datasets it is about
PARTS: dict[str, tuple[Sentence, ...]] = {
    "before training": (
        (exponents, ("before",)),
        (gradients, ("before",)),
        (curvature, ("before",)),
    ),
    "trainings": (
        (radii, ("smnist_radius-slower", "psmnist_radius-slower", "smnist_radius")),
        (adding, ("add50_radius", "add100_radius", "add200_radius")),
        (rotations, ("smnist_frequency", "psmnist_frequency")),
        (spreads, ("smnist_spread",)),
        (residuals, ("smnist_residual", "psmnist_residual")),
        *((architectures, (f"{task}_architecture",)) for task in ("smnist", "psmnist", "scifar10")),
        (architectures_adding, ("add100_architecture",)),
        (forgetting, ("exponents",)),
        (full_length, ("full-length",)),
    ),
}

Data = Callable[[tuple[str, ...]], Datasets]  # of names of datasets, those that are there
SOURCES = {
    name: (claims.SOURCES | OWN_SOURCES)[name]
    for sentences in PARTS.values()
    for _, needs in sentences
    for name in needs
}


def data(folder: Path) -> Data:
    """Return what gives each sentence its datasets of a folder, as far as they are there."""
    return lambda needs: chosen({name: SOURCES[name] for name in needs}, folder)


def block(part: str, data: Data) -> str:
    """Return the sentences of a part whose data are there, as a Markdown list between the marks."""
    lines = [
        textwrap.fill(sentence(*(datasets[name] for name in needs)), 118, initial_indent="- ", subsequent_indent="  ")
        for sentence, needs in PARTS[part]
        if len(datasets := data(needs)) == len(needs)
    ]
    return "\n".join([BEGIN.format(part), *lines, END.format(part)])


def inserted(text: str, data: Data) -> str:
    """Return a text with what is between the marks of each part replaced by its sentences.

    Raises
    ------
    ValueError
        If the text does not have the two marks of every part, once each.
    """
    for part in PARTS:
        begin, end = BEGIN.format(part), END.format(part)
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"the text must have the marks {begin} and {end}, once each")
        text = text[: text.index(begin)] + block(part, data) + text[text.index(end) + len(end) :]
    return text
