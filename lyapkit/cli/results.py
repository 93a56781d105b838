"""What commands do with a result: find out first whether it can be written, then write, draw and print it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


def check_paths(output: Path | None, plot: Path | None, *inputs: str | Path | None) -> None:
    """Find out before the work starts whether its results can be written, and would not replace what it reads."""
    from lyapkit.files.datasets import check_ending
    from lyapkit.files.writing import check_writable
    from lyapkit.plots import check_drawable

    given = files_among(*inputs)
    if output is not None:
        check_ending(check_writable(output, given))
    if plot is not None:
        check_drawable(plot, given)


def files_among(*inputs: str | Path | None) -> list[str | Path]:
    """Return the files that a command reads, those with functions (FILE.py:FUNCTION) among them."""
    return [str(path).rpartition(".py:")[0] + ".py" if ".py:" in str(path) else path for path in inputs if path]


def finish(
    ds: xr.Dataset,
    output: Path | None,
    plot: Path | None,
    draw: Callable[[xr.Dataset], Axes],
    describe: Callable[[xr.Dataset], str] | None = None,
) -> None:
    """Write and draw what was asked for, then print it as a table and in words, even if a file cannot be written."""
    import lyapkit as lk
    from lyapkit.files.datasets import left_out
    from lyapkit.plots import save_figure

    done = []
    try:
        if output is not None:
            lk.save(ds, output)
            done.append(f"\nwrote {output}")
            if output.suffix == ".csv" and (names := left_out(ds)):
                done.append(f"which has no room for {', '.join(names)}: a .nc file has")
        if plot is not None:
            ax = draw(ds)
            save_figure(ax, plot)
            done.append(f"drew {plot}")
    finally:
        print((describe or lk.table)(ds), "", lk.in_words(ds), *done, sep="\n")
