"""What the table scripts share: rows of text, printed, and written as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from figures.drawing import Datasets, Source, asked_for, read_or_say, scales
from lyapkit.files.writing import replacing

Rows = list[list[str]]


def framed(rows: Rows) -> pd.DataFrame:
    """Return rows, the first of them a header, as a table of text."""
    return pd.DataFrame(rows[1:], columns=rows[0])


def latex(rows: Rows) -> str:
    """Return rows as a LaTeX tabular (package booktabs)."""
    columns = "l" + "r" * (len(rows[0]) - 1)
    text = framed(rows).to_latex(index=False, escape=True, column_format=columns)
    return str(text).replace("±", r"$\pm$").replace("–", "--")


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
    table = framed(rows).to_markdown(index=False, disable_numparse=True)
    options.output.mkdir(parents=True, exist_ok=True)
    caption = f"best test score, mean ± SD (number of weight seeds); {scales(datasets)}"
    if any(ds.attrs["score"] == "RMS error" for ds in datasets.values()):
        caption += "; training on the adding problem stops at minimal performance"
    for suffix, text in ((".md", f"{table}\n\n{caption}\n"), (".tex", latex(rows))):
        with replacing(options.output / f"{name}{suffix}") as temporary:
            temporary.write_text(text)
    print(f"{table}\n\n{caption}\nwrote {name}.md and {name}.tex to {options.output}")
