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

from lyapkit.files.writing import check_writable, replacing
from lyapkit.labels import eigenvalue_variable
from lyapkit.plots.drawing import savefig
from lyapkit.plots.of_dataset import pictures_of
from lyapkit.statistics import ensemble_mean, memory_timescale, upper_bounds
from lyapkit.tables.numbers import number
from lyapkit.words import in_words

MEANING = {
    "spectrum": "Each exponent is the mean rate at which perturbations in a direction grow (above 0) or fade (below).",
    "convergence": "Exponents averaged up to each time: where lines are still moving, the run is too short.",
    "gradients": "How large the gradient of the loss with respect to the state is, step by step back from the end.",
    "eigenvalues": "How curved the loss is along the directions of largest curvature; 2/λ bounds the learning rate.",
    "density": "How many directions of the weights have which curvature.",
    "modulation": "What each time step contributes to the curvature.",
    "covariant_vectors": "Angles between the directions behind the exponents: near 0° they are nearly tangent.",
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

    Examples
    --------
    >>> import lyapkit as lk
    >>> import tempfile
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = lk.report({"spectrum": ds}, f"{folder}/henon.html", title="Hénon map")
    >>> [path.name for path in written]
    ['henon.html', 'henon.nc']
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
    made = {key: str(value) for key, value in ds.attrs.items() if key not in ("references", "parameters")}
    return {
        "name": name,
        "words": _words(ds),
        "pictures": drawn,
        "table": _table(ds),
        "made": made | _as_text(json.loads(ds.attrs.get("parameters", "{}"))),
        "references": ds.attrs.get("references", ""),
    }


def _words(ds: xr.Dataset) -> str:
    """Return what a dataset says, nothing if there is no sentence for it."""
    try:
        return in_words(ds)
    except ValueError:
        return ""


def _as_text(parameters: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in parameters.items() if value is not None}


def _table(ds: xr.Dataset) -> dict[str, Any] | None:
    """Return heads, rows and a remark of the table that belongs to a dataset, if there is one."""
    if "log_growth" in ds:
        return _exponents(ds)
    name = eigenvalue_variable(ds)
    if name not in ds or ds[name].dims != ("eigenvalue",) or "residual_norm" not in ds:
        return None
    columns = (ds["eigenvalue"].values, ds[name].values, ds["residual_norm"].values)
    rows = [(int(rank), f"{value:.6g}", f"{residual:.2g}") for rank, value, residual in zip(*columns, strict=True)]
    heads = ("rank", "eigenvalue (loss per squared parameter)", "residual")
    return {"heads": heads, "rows": rows, "remark": "A residual is ‖H v − λ v‖ of the unit vector v that was found."}


def _exponents(ds: xr.Dataset) -> dict[str, Any]:
    """Return rank, exponent, standard error and memory of every exponent, averaged over trajectories."""
    unit = ds["end_time"].attrs["units"]
    mean = ensemble_mean(ds)
    memory = memory_timescale(mean)
    rows = [
        (int(rank), number(value, is_bound, ".6g"), number(error, form=".2g"), number(steps, form=".3g"))
        for rank, value, error, steps, is_bound in zip(
            mean["exponent"].values,
            mean["lyapunov_exponent"].values,
            mean["standard_error"].values,
            memory.values,
            upper_bounds(mean),
            strict=True,
        )
    ]
    heads = ("rank", f"exponent (nats per {unit})", "standard error", f"memory ({unit}s)")
    remark = (
        "≤ marks upper bounds, −inf what is mapped to zero exactly, n/a what is not known. A memory is −1/exponent, "
        "the time in which a perturbation fades to 1/e; ∞ where it does not fade."
    )
    return {"heads": heads, "rows": rows, "remark": remark}


def _png(draw: Callable[[xr.Dataset], Axes], ds: xr.Dataset) -> str:
    """Return a picture as base64."""
    stream = io.BytesIO()
    savefig(draw(ds), stream)
    return base64.b64encode(stream.getvalue()).decode("ascii")
