"""What the table scripts share: rows of text, printed, and written as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from figures.drawing import Datasets, Source, asked_for, read_or_say, scales
from lyapkit.files.writing import replacing

Rows = list[list[str]]


def markdown(rows: Rows) -> str:
    """Return rows, the first of them a header, as a Markdown table with columns of equal width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def latex(rows: Rows) -> str:
    """Return rows as a LaTeX tabular (package booktabs)."""
    escaped = [[cell.replace("%", r"\%").replace("±", r"$\pm$").replace("–", "--") for cell in row] for row in rows]
    lines = [" & ".join(row) + r" \\" for row in escaped]
    columns = "l" + "r" * (len(rows[0]) - 1)
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def run(name: str, sources: Mapping[str, Source], make: Callable[[Datasets], Rows], about: str) -> None:
    """Read the options of a table script, print its table, and write it as Markdown and LaTeX.

    Parameters
    ----------
    name : str
        What the files are called.
    sources : mapping
        Name to dataset that the table reads.
    make : callable
        Returns the rows for the datasets that are there.
    about : str
        The script's docstring, its help text.
    """
    sources, options = asked_for(sources, about)
    datasets = read_or_say(name, sources, options.data)
    rows = make(datasets)
    options.output.mkdir(parents=True, exist_ok=True)
    caption = f"best test score, mean ± SD (number of weight seeds); {scales(datasets)}"
    if any(ds.attrs["score"] == "RMS error" for ds in datasets.values()):
        caption += "; training on the adding problem stops at minimal performance"
    for suffix, text in ((".md", f"{markdown(rows)}\n\n{caption}\n"), (".tex", latex(rows))):
        with replacing(options.output / f"{name}{suffix}") as temporary:
            temporary.write_text(text)
    print(f"{markdown(rows)}\n\n{caption}\nwrote {name}.md and {name}.tex to {options.output}")
