"""`History`: learning curves of an ensemble, and the dataset of metrics that follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.tasks.task import Task

CURVES = ("test_score", "test_loss", "train_loss")


class History:
    """What the evaluations of a run have found so far."""

    def __init__(self, n_networks: int, task: Task, minimal_performance: float) -> None:
        self.n_networks, self.task, self.minimal_performance = n_networks, task, minimal_performance
        self.iterations: list[int] = []
        self.elapsed: list[float] = []
        self.curves: dict[str, list[Tensor]] = {name: [] for name in CURVES}

    def add(self, iteration: int, elapsed: float, point: dict[str, Tensor]) -> None:
        """Add an evaluation: a value per network for each of the curves."""
        self.iterations.append(iteration)
        self.elapsed.append(elapsed)
        for name, values in point.items():
            self.curves[name].append(values)

    @property
    def reached(self) -> Tensor:
        """Which networks were found to have reached minimal performance, (network,)."""
        return self.task.is_better(torch.stack(self.curves["test_score"]), self.minimal_performance).any(0)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as tensors, to be kept in a file."""
        return {f"history.{name}": torch.stack(points) for name, points in self.curves.items()} | {
            "history.iteration": torch.tensor(self.iterations),
            "history.elapsed_time": torch.tensor(self.elapsed, dtype=torch.float64),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` returned."""
        self.iterations = tensors["history.iteration"].tolist()
        self.elapsed = tensors["history.elapsed_time"].tolist()
        self.curves = {name: list(tensors[f"history.{name}"]) for name in CURVES}

    def summary(self) -> str:
        """Return the worst and the best of the last test scores in words."""
        scores = self.curves["test_score"][-1]
        scores = scores[~scores.isnan()]
        if not len(scores):
            return "all diverged"
        return f"{self.task.score_name} {float(scores.min()):.3f} … {float(scores.max()):.3f}"

    def metrics(self, diverged_at: Tensor) -> xr.Dataset:
        """Return learning curves and what follows from them; `diverged_at` is 0 where a network did not."""
        curves = {name: torch.stack(points, dim=1).numpy() for name, points in self.curves.items()}
        iterations = np.array(self.iterations)
        worst = -np.inf if self.task.kind == "classification" else np.inf
        filled = torch.from_numpy(curves["test_score"]).nan_to_num(nan=worst)
        best = (filled.amax(1) if worst < 0 else filled.amin(1)).numpy()
        reached = self.task.is_better(filled, self.minimal_performance).numpy()
        first = np.where(reached.any(1), iterations[reached.argmax(1)], np.nan)
        diverged = diverged_at.cpu().numpy().astype(float)
        diverged = np.where(diverged > 0, diverged, np.nan)
        score, loss = self.task.score_name, "nats" if self.task.kind == "classification" else "1"
        both, per_network = ("network", "iteration"), ("network",)
        described = {
            "test_score": (both, curves["test_score"], "1", f"test {score}"),
            "test_loss": (both, curves["test_loss"], loss, "test loss"),
            "train_loss": (both, curves["train_loss"], loss, "training loss, mean since the evaluation before"),
            "elapsed_time": ("iteration", np.array(self.elapsed), "s", "time spent"),
            "best_score": (per_network, best, "1", f"best test {score}"),
            "iterations_to_minimal_performance": (
                per_network,
                first,
                "1",
                "iterations until minimal performance was found",
            ),
            "divergence_iteration": (
                per_network,
                diverged,
                "1",
                "iteration at which loss or gradient was no longer finite",
            ),
        }
        coords = {
            "network": ("network", np.arange(self.n_networks), "1", "network"),
            "iteration": ("iteration", iterations, "1", "training iteration"),
        }

        def variables(of: dict[str, Any]) -> dict[str, Any]:
            return {
                name: (dims, values, {"units": units, "long_name": long_name})
                for name, (dims, values, units, long_name) in of.items()
            }

        return xr.Dataset(variables(described), variables(coords))
