"""The command line: `lyapkit spectrum`, `covariant`, `sweep`, `report`, `gradients`, `curvature`, `train`, others.

What takes time to import is imported within a command, when it runs: help and errors come at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lyapkit.cli.files import inspect, plot
from lyapkit.cli.learning import curvature, gradients
from lyapkit.cli.messages import complain
from lyapkit.cli.reports import report
from lyapkit.cli.spectra import covariant, spectrum, validate
from lyapkit.cli.streams import Unread
from lyapkit.cli.sweeps import sweep
from lyapkit.cli.training import fetch, train
from lyapkit.cli.usage import in_one_line


class Commands(typer.core.TyperGroup):
    """The commands, of which an interrupted one ends with exit code 130."""

    def invoke(self, ctx: Any) -> object:
        """Run what was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            kept = ctx.find_object(str) or "nothing was written"
            complain(f"interrupted: {kept}")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Lyapunov spectra of recurrent networks, from their checkpoint files, and what they mean for learning.",
    epilog="Exit codes: 0, done; 1, an error of lyapkit itself: please report it; 2, something that you can mend, said "
    "in one line; 130, interrupted.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from lyapkit import __version__

        print(f"lyapkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and leave.")
    ] = False,
) -> None:
    pass


EXAMPLES: dict[Callable[..., None], str] = {
    spectrum: "lyapkit spectrum model.pt --inputs sequences.npy --output spectrum.nc --plot spectrum.png",
    covariant: "lyapkit covariant model.pt --inputs sequences.npy -k 4 --output vectors.nc",
    report: "lyapkit report model.pt --inputs sequences.npy --targets labels.npy --output report.html",
    sweep: "lyapkit sweep henon a=0.9:1.4:500 --plot henon.png",
    validate: "lyapkit validate model.safetensors --inputs sequences.npy",
    gradients: "lyapkit gradients model.pt --inputs sequences.npy --targets labels.npy --plot gradients.png",
    curvature: "lyapkit curvature model.pt --inputs sequences.npy --targets labels.npy -k 5",
    train: "lyapkit train digits --radius 0.9 --radius 1 --seeds 2 --epochs 4 --folder run",
    fetch: "lyapkit fetch mnist",
    inspect: "lyapkit inspect model.pt",
    plot: "lyapkit plot spectrum.nc",
}
for _command, _example in EXAMPLES.items():
    app.command(epilog=f"Example: {_example}")(_command)


def main() -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 2."""
    while (nothing := os.open(os.devnull, os.O_RDWR)) <= 2:  # was closed: no file may take its place later
        pass
    os.close(nothing)
    os.environ["MPLBACKEND"] = "Agg"
    warnings.showwarning = lambda message, *_, **__: complain(f"warning: {message}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show must not lose a result
    out, err = (Unread(stream or io.StringIO()) for stream in (sys.stdout, sys.stderr))  # None: it was closed
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            try:
                code = app(sys.argv[1:] or ["--help"], prog_name="lyapkit", standalone_mode=False)
            finally:
                out.flush()
        except (ValueError, OSError, ArithmeticError, ImportError) as error:
            complain(error)
            code = 2
        except typer.TyperException as error:
            complain(in_one_line(error))
            code = 2
    sys.exit(code or 0)
