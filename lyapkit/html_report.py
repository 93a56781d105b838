"""`report`: everything that was measured of a model in one HTML page, and in one netCDF file beside it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.comparison import in_words
from lyapkit.files.writing import check_writable, replacing
from lyapkit.plots.drawing import savefig
from lyapkit.plots.of_dataset import pictures_of
from lyapkit.statistics import ensemble_mean, memory_timescale, upper_bounds

MEANING = {
    "spectrum": "Each exponent is the mean rate at which perturbations in a direction grow (above 0) or fade (below).",
    "convergence": "Exponents averaged up to each time: where lines are still moving, the run is too short.",
    "gradients": "How large the gradient of the loss with respect to the state is, step by step back from the end.",
    "eigenvalues": "How curved the loss is along the directions of largest curvature; 2/λ bounds the learning rate.",
    "density": "How many directions of the weights have which curvature.",
    "modulation": "What each time step contributes to the curvature.",
    "weak_coupling": "The exponents beside those that the residual alone would give (Eq. 13).",
}


def report(datasets: Mapping[str, xr.Dataset], path: str | Path, *, title: str, command: str = "") -> list[Path]:
    """Write an HTML page with everything that was measured of one model, and the data themselves beside it.

    The page is one file that needs no network: pictures, tables that can be sorted, what they mean in plain words, and
    how it was made. The data are an `xarray.DataTree` in a netCDF file of the same name, one group per dataset.

    Parameters
    ----------
    datasets : mapping
        Name of a section ("spectrum", "gradients", …) to what a function of lyapkit returned. At least one.
    path : str or Path
        Where, ending in .html; the other file ends in .nc.
    title : str
        What the page is called.
    command : str, optional
        How to make it again.

    Returns
    -------
    list of Path
        The page and the data.

    Raises
    ------
    ValueError
        If there are no datasets, one cannot be drawn, or the path does not end in .html.
    OSError
        If a file cannot be written.
    """
    path, data = report_files(path)
    if not datasets:
        raise ValueError("there is nothing to report: give at least one dataset")
    sections = [_section(name, ds) for name, ds in datasets.items()]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("html_report.jinja").read_text())
    page = template.render(title=title, command=command, sections=sections, data=data.name)
    tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in datasets.items()})
    with replacing(data) as temporary:
        tree.to_netcdf(temporary, engine="netcdf4")
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return [path, data]


def report_files(path: str | Path, inputs: Iterable[str | Path] = ()) -> tuple[Path, Path]:
    """Return the files of a report, if they can be written and replace no input; raises like `report`."""
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"cannot write a report to {path.name}: expected a name that ends in .html")
    return check_writable(path, inputs), check_writable(path.with_suffix(".nc"), inputs)


def _section(name: str, ds: xr.Dataset) -> dict[str, Any]:
    drawn = [
        {"name": shown.replace("_", " "), "png": _png(draw, ds), "meaning": MEANING.get(shown, "")}
        for shown, draw in pictures_of(ds).items()
    ]
    is_spectrum = "log_growth" in ds
    made = {key: str(value) for key, value in ds.attrs.items() if key not in ("references", "parameters")}
    return {
        "name": name,
        "words": in_words(ds) if is_spectrum else "",
        "pictures": drawn,
        "table": _exponents(ds) if is_spectrum else [],
        "unit": ds["end_time"].attrs["units"] if is_spectrum else "",
        "made": made | _as_text(json.loads(ds.attrs.get("parameters", "{}"))),
        "references": ds.attrs.get("references", ""),
    }


def _as_text(parameters: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in parameters.items() if value is not None}


def _exponents(ds: xr.Dataset) -> list[tuple[int, str, str, str]]:
    """Return rank, exponent, standard error and memory of every exponent, averaged over trajectories."""
    mean = ensemble_mean(ds)
    memory = memory_timescale(mean)
    return [
        (int(rank), f"{'≤ ' if is_bound else ''}{float(value):.6g}", f"{float(error):.2g}", f"{float(steps):.3g}")
        for rank, value, error, steps, is_bound in zip(
            mean["exponent"].values,
            mean["lyapunov_exponent"].values,
            mean["standard_error"].values,
            memory.values,
            upper_bounds(mean),
            strict=True,
        )
    ]


def _png(draw: Callable[[xr.Dataset], Axes], ds: xr.Dataset) -> str:
    """Return a picture as base64."""
    stream = io.BytesIO()
    savefig(draw(ds), stream)
    return base64.b64encode(stream.getvalue()).decode("ascii")
