"""Progress bars: by default for what takes longer than some seconds, where somebody looks."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm

DELAY = 2.0  # seconds after which a bar appears that nobody asked for


def progress_bar(progress: bool | None, **options: Any) -> tqdm:
    """Return a bar of tqdm's: shown, not shown, or, for None, shown after `DELAY` seconds where somebody looks."""
    if progress is None:
        return tqdm(disable=not _is_watched(), delay=DELAY, **options)
    return tqdm(disable=not progress, **options)


def _is_watched() -> bool:
    """Whether standard error is a terminal, or this is a notebook."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
