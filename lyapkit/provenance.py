"""Where a result comes from: the attributes that every dataset carries."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch


def provenance(**parameters: object) -> dict[str, str]:
    """Return attributes that say when, by which code and with which parameters something was computed.

    Parameters
    ----------
    **parameters
        What the caller was called with; stored as JSON under `parameters`.

    Returns
    -------
    dict
        `created_at` (ISO 8601, UTC; from the environment variable SOURCE_DATE_EPOCH if it is set),
        `lyapkit_version`, `git_commit` of the source tree ("unknown" outside one, "-dirty" if code was changed),
        `versions` of Python, torch and NumPy, and `parameters`.
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    created = datetime.fromtimestamp(int(seconds), UTC) if seconds else datetime.now(UTC)
    return {
        "created_at": created.isoformat(timespec="seconds"),
        "lyapkit_version": _lyapkit_version(),
        "git_commit": git_commit(),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        "parameters": json.dumps(parameters, sort_keys=True, default=str),
    }


@functools.cache
def _lyapkit_version() -> str:
    try:
        return version("lyapkit")
    except PackageNotFoundError:  # used from a source tree that is not installed
        return "unknown"


@functools.cache
def git_commit() -> str:
    """Return the commit of the source tree this package runs from."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown"
        return git("rev-parse", "HEAD") + (
            "-dirty" if git("status", "--porcelain", "--untracked-files=no", "--", "*.py") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def sha256(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's values, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
