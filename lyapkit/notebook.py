"""How things are shown in a notebook: a heading, and what there is to know, in a table."""

from __future__ import annotations

import html
from collections.abc import Mapping


def as_html(heading: str, facts: Mapping[str, object]) -> str:
    """Return a heading and a table of facts, each a row, as HTML."""
    import pandas as pd

    rows = pd.DataFrame({"": [str(value) for value in facts.values()]}, index=list(facts))
    return f"<strong>{html.escape(heading)}</strong>{rows.to_html(header=False, border=0)}"


def preformatted(heading: str, text: str) -> str:
    """Return a heading and lines of text as HTML."""
    return f"<strong>{html.escape(heading)}</strong><pre>{html.escape(text)}</pre>"
