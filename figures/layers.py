"""What the layers of an unrolled network contribute: their shares, and the spectra of these along time."""

from __future__ import annotations

import numpy as np
import xarray as xr


def spectrum(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies (rad per step) and power of a curve without its trend (a cubic), tapered."""
    time = np.arange(len(curve))
    left = (curve - np.polyval(np.polyfit(time, curve, 3), time)) * np.hanning(len(curve))
    return 2 * np.pi * np.fft.rfftfreq(len(curve)), np.abs(np.fft.rfft(left)) ** 2


def shares(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Return curves as shares of their sums, (frequency, network, time)."""
    return (ds[name] / ds[name].sum("time")).transpose("frequency", "network", "time")
