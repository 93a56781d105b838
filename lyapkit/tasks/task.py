"""`Task`: what networks are trained on, as a stream of batches that depends on nothing but seed and iteration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

ACCURACY_TO_REACH = 0.5  # minimal performance: chosen, the paper's numbers are illegible
RMS_TO_REACH = 0.25


class Task(ABC):
    """Sequences with targets, to learn from and to be tested on.

    Any batch can be had at any time, from seed and iteration alone: a run that was stopped goes on with the batch it
    would have had.

    Attributes
    ----------
    name : str
        What `lyapkit.tasks.task` knows it by.
    n_steps, input_size, output_size : int
        Length of the sequences T, input features I and network outputs O.
    kind : "classification" or "regression"
        Decides loss and score.
    samples_per_epoch : int
        What counts as one epoch.
    """

    name: str
    n_steps: int
    input_size: int
    output_size: int
    kind: Literal["classification", "regression"]
    samples_per_epoch: int

    @abstractmethod
    def batch(self, iteration: int, batch_size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs (B, T, I) and targets of a training iteration, counted from 0."""

    @abstractmethod
    def test_samples(self, n_samples: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (sample, T, I) and targets of the test set, the first `n_samples` of them or all."""

    def iterations_per_epoch(self, batch_size: int) -> int:
        """Return how many full batches an epoch has.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not 1 <= batch_size <= self.samples_per_epoch:
            raise ValueError(f"batch_size must be 1 to {self.samples_per_epoch} for {self.name}, got {batch_size}")
        return self.samples_per_epoch // batch_size

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch: mean cross-entropy in nats, or root mean square error.

        Parameters
        ----------
        outputs : Tensor
            (…, B, O), of one network or of several.
        targets : Tensor
            (B,) classes, or (B, O) values, the same for all networks.

        Returns
        -------
        Tensor
            (…), one loss per network.
        """
        if self.kind == "regression":
            return (outputs - targets).square().mean((-2, -1)).sqrt()
        networks = outputs.shape[:-2]
        repeated = targets.expand(*networks, -1).reshape(-1)
        return (
            cross_entropy(outputs.reshape(-1, outputs.shape[-1]), repeated, reduction="none")
            .view(*networks, -1)
            .mean(-1)
        )

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what counts in the end, (…): the share of right answers, or the root mean square error."""
        if self.kind == "regression":
            return self.loss(outputs, targets)
        return (outputs.argmax(-1) == targets).to(outputs.dtype).mean(-1)

    @property
    def score_name(self) -> str:
        """What the score is called."""
        return "accuracy" if self.kind == "classification" else "RMS error"

    @property
    def minimal_performance(self) -> float:
        """The score from which on a network has learnt something: accuracy 0.5, or RMS error 0.25."""
        return ACCURACY_TO_REACH if self.kind == "classification" else RMS_TO_REACH

    def is_better(self, score: Tensor, other: Tensor | float) -> Tensor:
        """Return whether a score is at least as good as another."""
        return score >= other if self.kind == "classification" else score <= other

    @property
    def description(self) -> dict[str, str | int]:
        """What a result file should say about the task."""
        return {"task": self.name, "n_steps": self.n_steps, "score": self.score_name}

    def __str__(self) -> str:
        return f"{self.name} ({self.n_steps} steps, {self.input_size} inputs, {self.output_size} outputs)"


def as_tensors(samples: tuple[np.ndarray, np.ndarray], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return inputs and targets on a device; what is a floating-point number in `dtype`."""
    tensors = (torch.from_numpy(array) for array in samples)
    return tuple(tensor.to(device, dtype if tensor.is_floating_point() else None) for tensor in tensors)
