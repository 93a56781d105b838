"""What the figure scripts share: where data are, how figures are drawn and written, what is said when data are missing.

A script has `SOURCES`, the datasets it reads, and ``make(datasets) -> Figure``. What is missing is named with the
command that computes it, and left blank; a dataset that is not what it should be is refused. Trainings are those of
the largest scale at which there are as many as at the scale quick; `--scale` draws those of another.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lyapkit as lk
from lyapkit.plots import save_figure
from lyapkit.plots.training import swept_parameter

ROOT = Path(__file__).resolve().parent.parent
STYLE = Path(__file__).with_name("paper.mplstyle")
OUTPUT = ROOT / "figures" / "output"
TWO_COLUMNS = 7.2  # inches
SCALES = ("paper", "full-length", "quick")  # of trainings, the most wanted first
Datasets = Mapping[str, xr.Dataset]


@dataclass(frozen=True)
class Source:
    """A dataset that figures read.

    Attributes
    ----------
    path : str
        Below the data folder.
    command : str
        What computes it.
    cost : str
        How long that took.
    needs : tuple of str
        Variables and dimensions by which it is known.
    """

    path: str
    command: str
    cost: str
    needs: tuple[str, ...]

    @property
    def family(self) -> str:
        """Return the task that is trained, whatever its length; "" if this is no training."""
        folder, _, name = self.path.rpartition("/")
        return name.partition("_")[0].rstrip("0123456789") if folder.startswith("expressivity/") else ""

    def at(self, scale: str) -> Source:
        """Return the source of the same trainings at another scale; what is not trained has only one."""
        path = self.path.replace("/quick/", f"/{scale}/")
        command = self.command.replace("--scale quick", f"--scale {scale}")
        cost = self.cost if path == self.path else "its queue tells what it costs"
        return replace(self, path=path, command=command, cost=cost)


def sweep(task: str, name: str, cost: str, *needs: str) -> Source:
    """Return the source of a sweep of `analyses/expressivity.py`."""
    command = f"python analyses/expressivity.py --scale quick --task {task} --sweep {name}"
    dim = name.partition("-")[0]
    path = f"expressivity/quick/{task}_{name}.nc"
    return Source(path, command, cost, ("test_score", "best_score", dim, "network", "iteration", *needs))


def at_best(sources: Mapping[str, Source], folder: Path) -> dict[str, Source]:
    """Return sources at the largest scale at which there are all trainings that there are at the scale quick.

    All sweeps of one task, whatever its length, are of one scale: nothing is compared across scales.
    """
    best = dict(sources)
    if folder.is_file():
        return best
    for family in {source.family for source in sources.values()} - {""}:
        of_family = {name: source for name, source in sources.items() if source.family == family}
        for scale in SCALES[:-1]:
            larger = {name: source.at(scale) for name, source in of_family.items()}
            if all(_covers(folder / larger[name].path, folder / of_family[name].path) for name in larger):
                best |= larger
                break
    return best


def _covers(larger: Path, smaller: Path) -> bool:
    """Return whether one sweep has as many trained networks as another at each of its values, and is there at all."""
    if larger == smaller or not larger.is_file():
        return False
    if not smaller.is_file():
        return True
    with xr.open_dataset(larger) as large, xr.open_dataset(smaller) as small:
        dim = swept_parameter(small)
        trained = [ds["best_score"].notnull().sum("network").to_series() for ds in (small, large)]
        return dim == swept_parameter(large) and bool((trained[1].reindex(trained[0].index) >= trained[0]).all())


def chosen(sources: Mapping[str, Source], folder: Path) -> dict[str, xr.Dataset]:
    """Return those datasets that are there, trainings at the scale that `at_best` chooses."""
    return read(at_best(sources, folder), folder)[0]


def read(sources: Mapping[str, Source], folder: Path) -> tuple[dict[str, xr.Dataset], list[str]]:
    """Return the datasets that are there, by name, and what there is to say about the others.

    `folder` may be a file, if there is one source only.
    """
    datasets, missing = {}, []
    for name, source in sources.items():
        path = folder if folder.is_file() else folder / source.path
        if not path.is_file():
            missing.append(f"{source.path} is not computed yet: {source.command} ({source.cost})")
            continue
        ds = lk.load(path)
        known = set(ds.variables) | set(ds.dims)
        if lacking := [need for need in source.needs if need not in known]:
            missing.append(
                f"{source.path} is of another experiment or an older version, it lacks {', '.join(lacking)}: "
                f"{source.command} ({source.cost})"
            )
            continue
        datasets[name] = ds
        if ds.attrs.get("n_cells", 0) < ds.attrs.get("n_cells_wanted", 0):
            done = f"{ds.attrs['n_cells']} of {ds.attrs['n_cells_wanted']}"
            missing.append(f"{source.path} has {done} cells so far: {source.command} goes on")
    return datasets, missing


def read_or_say(name: str, sources: Mapping[str, Source], folder: Path) -> dict[str, xr.Dataset]:
    """As `read`, but print what is missing; end the script, if nothing is left."""
    datasets, missing = read(sources, folder)
    for line in missing:
        print(f"note: {line}")
    if sources and not datasets:
        raise SystemExit(f"{name}: nothing to draw in {folder}: {missing[0]}")
    return datasets


def recompute(sources: Iterable[Source]) -> None:
    """Run what computes the data, each command once."""
    for command, cost in {source.command: source.cost for source in sources}.items():
        print(f"{command} ({cost})", flush=True)
        subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=ROOT, check=True)


def asked_for(sources: Mapping[str, Source], about: str) -> tuple[dict[str, Source], argparse.Namespace]:
    """Return the sources and the options that the command line asks for; recompute the data, if it does."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=ROOT / "data", help="folder (or the one file) to read; default: data/"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder; default: figures/output")
    parser.add_argument("--scale", choices=SCALES, help="of trainings; default: the largest that is there")
    parser.add_argument("--recompute", action="store_true", help="run what computes the data first")
    options = parser.parse_args()
    if options.scale is not None:
        sources = {name: source.at(options.scale) for name, source in sources.items()}
    if options.recompute:
        recompute(sources.values())
    return sources if options.scale else at_best(sources, options.data), options


def run(
    name: str,
    sources: Mapping[str, Source],
    make: Callable[[Datasets], Figure],
    about: str,
    numbers: Callable[[Datasets], str] | None = None,
) -> None:
    """Read the options of a figure script, draw its figure as PNG and PDF, and print what it drew from which data.

    Parameters
    ----------
    name : str
        What the pictures are called.
    sources : mapping
        Name to dataset that the figure reads.
    make : callable
        Returns the figure of the datasets that are there.
    about : str
        The script's docstring, its help text.
    numbers : callable, optional
        Returns what the figure says in numbers.
    """
    matplotlib.use("Agg")
    sources, options = asked_for(sources, about)
    datasets = read_or_say(name, sources, options.data)
    if numbers is not None:
        print(numbers(datasets))
    options.output.mkdir(parents=True, exist_ok=True)
    figure = make(datasets)
    for suffix in (".png", ".pdf"):
        path = save_figure(figure.axes[0], options.output / f"{name}{suffix}", STYLE)
        print(f"drew {path}")
        figure.set_layout_engine("none")  # it is laid out
    for key, ds in datasets.items():
        print(f"  from {sources[key].path} (scale: {ds.attrs.get('scale', 'unknown')})")


def run_one(
    name: str,
    source: Source,
    make: Callable[[xr.Dataset], Figure],
    about: str,
    numbers: Callable[[xr.Dataset], str],
) -> None:
    """As `run`, for a figure of one dataset: ``make(ds)`` and ``numbers(ds)``."""
    run(name, {"data": source}, lambda all: make(all["data"]), about, lambda all: numbers(all["data"]))


def lettered(axes: list[Axes], letters: str) -> None:
    """Put panel letters before the titles of axes."""
    for letter, ax in zip(letters, axes, strict=True):
        ax.set_title(rf"$\bf{{{letter}}}$  {ax.get_title(loc='left')}", loc="left")


def blank(ax: Axes, source: Source) -> None:
    """Say on a panel what would compute its data."""
    text = "not computed yet:\n" + textwrap.fill(source.command.removeprefix("python "), 34)
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=6, color="0.4", transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])


def scales(datasets: Datasets) -> str:
    """Return the scales of datasets in words; which is of which, if there are several."""
    names: dict[str, list[str]] = {}
    for name, ds in datasets.items():
        names.setdefault(str(ds.attrs.get("scale", "unknown")), []).append(name)
    if not names:
        return "no data"
    usual, *others = sorted(names, key=lambda scale: -len(names[scale]))
    return "; ".join([f"scale {usual}", *(f"{', '.join(names[scale])} at scale {scale}" for scale in others)])
