"""How much memory is free, so that what would not fit can be refused before it starts."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_CPU = torch.device("cpu")
_MEMINFO = Path("/proc/meminfo")


def available_memory(device: torch.device = _CPU) -> float:
    """Return the bytes of memory that a process can still take; infinity where the system does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def gibibytes(n_bytes: float) -> str:
    """Return a number of bytes as text, "1.25 GiB"."""
    return f"{n_bytes / 2**30:.2f} GiB"
