"""The runs of `analyses/eq13.py`, and what several panels of the figure of Eq. 13 need of them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import t as student

from lyapkit.plots.drawing import distinct

LINEAR = ("identity", "rotation", "heterogeneous", "orthogonal")
NOT_NORMAL = "rotation × radii"
UNCOUPLED = "any (α = 0)"
LABELS = {"identity": "r·I", "type A": "type A, r·I", "type B": "type B, r·I"}
COLOURS = dict(zip([*LINEAR, "type A", "type B"], distinct(6), strict=True))
RADIUS = 0.98
SHOWN_COUPLING = 0.01
SHORT = 0.3  # αT up to which the fixed-time theory is asked for its slope
ROUNDING = 1e-12


def slope(ds: xr.Dataset, name: str, couplings: np.ndarray) -> tuple[float, float]:
    """Return the slope of log(name) against log(coupling) of the networks in `ds`: mean and 95 % confidence."""
    values = ds[name].sel(coupling=couplings).max("trajectory").transpose("network", "coupling").values
    slopes = np.polyfit(np.log(couplings), np.log(values).T, 1)[0]
    return float(slopes.mean()), float(student.ppf(0.975, len(slopes) - 1) * slopes.std(ddof=1) / len(slopes) ** 0.5)


class Run:
    """A dataset of `analyses/eq13.py`, and the parts of it that several panels need."""

    def __init__(self, ds: xr.Dataset) -> None:
        if "fixed_time_remainder" not in ds:
            raise SystemExit(f"these data are not of analyses/eq13.py: {ds.attrs.get('title', 'no title')}")
        self.ds = ds
        sizes = ds["hidden_size"].values
        self.size = int(sizes[len(sizes) // 2])
        self.at_size = ds.sel(hidden_size=self.size)
        self.digits = self.at_size.sel(inputs="digit")
        self.n_steps = int(self.digits["n_steps"].max())
        couplings = ds["coupling"].values
        long = self.at_size["largest_deviation"].sel(inputs="digits in a row", model="identity", radius=RADIUS)
        self.long_couplings = couplings[long.isel(network=0, trajectory=0).notnull().values]
        given = self.digits["largest_deviation"].sel(model="identity", radius=RADIUS)
        self.couplings = couplings[given.isel(network=0, trajectory=0).notnull().values]
        self.short_couplings = self.couplings[self.couplings * self.n_steps <= SHORT]

    def of(self, model: str, radius: float = RADIUS, inputs: str = "digit") -> xr.Dataset:
        """Return the networks of one model, (network, coupling, …)."""
        return self.at_size.sel(model=model, radius=radius, inputs=inputs)

    def distance(self, model: str, radius: float) -> xr.DataArray:
        """Return the distance to criticality, min |log|ρ_i||, (network,)."""
        predicted = self.ds["predicted_exponent"].sel(model=model, radius=radius, hidden_size=self.size)
        return np.abs(predicted).min("exponent")

    @property
    def has_uncoupled(self) -> bool:
        """Whether networks without coupling were computed."""
        return UNCOUPLED in self.ds["inputs"].values

    def rate(self) -> float:
        """Return the exponent of T with which the residual that is not normal converges, without coupling."""
        one = self.of(NOT_NORMAL, inputs=UNCOUPLED).sel(coupling=0.0)
        time, values = one["running_time"].isel(network=0).values, one["running_deviation"].mean("network").values
        valid = np.isfinite(time)
        return float(np.polyfit(np.log(time[valid]), np.log(values[valid]), 1)[0])

    def certified(self) -> xr.Dataset:
        """Return how many trajectories have a finite certificate, and how many of them violate it."""
        lower, upper = self.ds["certificate_lower"], self.ds["certificate_upper"]
        valid = np.isfinite(lower) & np.isfinite(upper) & self.ds["largest_exponent"].notnull()
        broken = (self.ds["smallest_exponent"] < lower - ROUNDING) | (self.ds["largest_exponent"] > upper + ROUNDING)
        return xr.Dataset({"valid": valid, "broken": valid & broken})
