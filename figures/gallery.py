"""Write figures/README.md: every figure and table with its data and what they cost, and what became of each claim.

The sentences of docs/paper.md on what the data show are written, too.

python figures/gallery.py                # from the data in data/
python figures/gallery.py --draw         # draw all figures and tables first, as `make figures` does
python figures/gallery.py --recompute    # compute all data first, as `make paper` does; what is done is not done again
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import runpy
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

import matplotlib.pyplot as plt

from figures import summary
from figures.claims import CLAIMS, NOT_SEEN, NOT_YET, SEEN, SOURCES, UNDECIDED, WAITING
from figures.drawing import OUTPUT, ROOT, Source, at_best, recompute
from lyapkit.files.writing import replacing

FIGURES = {  # script to what it shows
    "fig1": "schematic",
    "fig2": "before training: regimes, exponents, Hessian eigenvalues, gradients",
    "fig3": "training with residuals r·I",
    "fig4": "rotational residuals",
    "fig5": "heterogeneous radii",
    "fig6": "non-linear residuals, types A and B",
    "figS1": "exponents over training",
    "figS2": "Hessian eigenvalues over training",
    "figS3": "sweep of the coupling α",
    "figS4": "rotational residuals after a long training",
    "eq13": "beyond the paper: numerical validation of Eq. 13",
    "rates": "beyond the paper: learning rates against the limit that the Hessian sets",
    "hessians": "what Hessians are made of, and what they depend on",
    "architectures": "learning curves behind Table 2",
    "memory": "how long architectures remember before training",
    "modulation": "learning-rate modulation in full (part of Figure 4B)",
}
TABLES = {"table1": "homogeneous against heterogeneous residuals", "table2": "architectures compared"}


def sources_of(name: str) -> list[Source]:
    """Return what a script reads."""
    module = importlib.import_module(f"figures.{name}")
    return [module.SOURCE] if hasattr(module, "SOURCE") else list(module.SOURCES.values())


def all_sources() -> list[Source]:
    """Return what all figures, tables, claims and the sentences of docs/paper.md read."""
    drawn = [source for name in (*FIGURES, *TABLES) for source in sources_of(name)]
    asked = [SOURCES[name] for claim in CLAIMS for name in claim.needs]
    return [*drawn, *asked, *summary.SOURCES.values()]


def figure_section(name: str, title: str, output: Path, data: Path) -> list[str]:
    """Return a figure's or table's part of the page."""
    lines = [f"### {name}: {title}", ""]
    if (output / f"{name}.png").is_file():
        pictures = [output / f"{name}.png", output / f"{name}_supplement.png"]
        lines += [line for one in pictures if one.is_file() for line in (f"![{one.stem}](output/{one.name})", "")]
    elif (output / f"{name}.md").is_file():
        lines += [(output / f"{name}.md").read_text().strip(), ""]
    lines += [*caption(name), f"`python figures/{name}.py`"]
    if sources := at_best(dict(enumerate(sources_of(name))), data).values():
        lines += ["", "| data | made by | cost on two CPU cores |", "|---|---|---|"]
        for source in sources:
            there = "" if (data / source.path).is_file() else " (not computed yet)"
            cost = source.cost.removesuffix(" on two CPU cores")
            lines.append(f"| `{source.path}`{there} | `{source.command}` | {cost} |")
    return [*lines, ""]


def caption(name: str) -> list[str]:
    """Return what a script says of its panels: the paragraphs of its docstring behind how it is called."""
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text())
    paragraphs = (ast.get_docstring(tree) or "").split("\n\n")[1:]
    said = [part for part in paragraphs if not part.startswith((" ", "python "))]
    return [line for part in said for line in (" ".join(part.split()), "")]


def claims_section(data: Path) -> tuple[list[str], list[str]]:
    """Return how many claims have which verdict, with a line for each, and the evidence for each."""
    judged = []
    for claim in CLAIMS:
        mark, place = claim.ask.__name__.replace("_", "-"), f" (`{claim.ask.__module__}.{claim.ask.__name__}`)"
        judged.append(
            (claim, *claim.verdict(claim.data(data)), mark, place + ": " + " ".join((claim.ask.__doc__ or "").split()))
        )
    for number, claim in enumerate(WAITING, 1):
        judged.append(
            (claim, *claim.verdict, f"waiting-{number}", f", stated before there are data: {claim.criterion}")
        )
    lines, evidence = ["| section | claim | verdict |", "|---|---|---|"], []
    for claim, verdict, numbers, mark, criterion in sorted(judged, key=lambda one: one[0].section):
        lines.append(f"| {claim.section} | {claim.text} | [**{verdict}**](#{mark}) |")
        evidence += [f'<a id="{mark}"></a>', f"**{claim.text}** ({claim.section}): {verdict}.", ""]
        evidence += [f"Criterion{criterion}", ""]
        evidence += [f"- {line}" for line in numbers.split("; ")] + [""]
    counts = Counter(verdict for _, verdict, *_ in judged)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in (SEEN, NOT_SEEN, UNDECIDED, NOT_YET))
    return [f"Of {len(judged)} claims: {said}.", "", *lines], evidence


def page(output: Path, data: Path) -> str:
    """Return the gallery as Markdown."""
    verdicts, evidence = claims_section(data)
    lines = [
        "# The paper, figure by figure",
        "",
        "Written by `python figures/gallery.py`. What a figure shows is the reading of Dubinin & Effenberger (2024)",
        "that their text allows; each picture says at which scale its data were computed (paper, or quick: fewer",
        "steps, epochs or networks). Momentum, batch, learning rate and thresholds of every training are in",
        "[a table](../docs/trainings.md).",
        "",
        "## Claims",
        "",
        "*Seen* and *not seen* are said of our data, at their scale, where an effect exceeds its uncertainty between",
        "networks; *undecided* where it does not, where fewer than three networks were trained, or where too few of",
        "them learnt; *not yet* where data are missing. A verdict leads to its criterion and the numbers.",
        "",
        *verdicts,
        "",
        "## Figures",
        "",
    ]
    for name, title in FIGURES.items():
        lines += figure_section(name, title, output, data)
    lines += ["## Tables", ""]
    for name, title in TABLES.items():
        lines += figure_section(name, title, output, data)
    lines += ["## Evidence", "", "Effects are means over networks with 95 % intervals by bootstrap over networks.", ""]
    return "\n".join([*lines, *evidence]).rstrip() + "\n"


def draw(name: str) -> str:
    """Run the script of a figure or table, and return how long it took, or why it failed."""
    started, script = time.perf_counter(), ROOT / "figures" / f"{name}.py"
    sys.argv, failure = [str(script)], ""
    try:
        with redirect_stdout(StringIO()):
            runpy.run_path(str(script), run_name="__main__")
    except (Exception, SystemExit) as error:
        failure = f", {type(error).__name__}: {error}"
    plt.close("all")
    return f"{name}: {time.perf_counter() - started:.1f} s{failure}"


def draw_all(names: Iterable[str]) -> Iterator[str]:
    """Draw figures and tables in one process per core, which imports once what they share."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, names)


def main() -> None:
    """Draw, if asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="draw all figures and tables first")
    parser.add_argument("--recompute", action="store_true", help="compute all data, and draw")
    options = parser.parse_args()
    if options.recompute:
        recompute(all_sources())
    if options.draw or options.recompute:
        for line in draw_all((*FIGURES, *TABLES)):
            print(line, flush=True)
    gallery, paper = ROOT / "figures" / "README.md", ROOT / "docs" / "paper.md"
    written = {
        gallery: page(OUTPUT, ROOT / "data"),
        paper: summary.inserted(paper.read_text(), summary.data(ROOT / "data")),
    }
    for path, text in written.items():
        with replacing(path) as temporary:
            temporary.write_text(text)
    print(f"wrote {gallery.relative_to(ROOT)}, and sentences with numbers into {paper.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
