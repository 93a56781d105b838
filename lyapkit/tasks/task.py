"""`Task`: what networks are trained on, as a stream of batches that depends on nothing but seed and iteration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lyapkit.labels import counted
from lyapkit.notebook import as_html

ACCURACY_TO_REACH = 0.5  # minimal performance: chosen, the paper's numbers are illegible
RMS_TO_REACH = 0.25
IGNORED = -100  # PyTorch's label of what does not count


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
    every_step : bool
        Whether there are targets at every step: classes (sample, T), `IGNORED` where a step does not count, or values
        (sample, T, O), NaN where it does not. Default False: one target for a sequence.
    has_lengths : bool
        Whether samples have a third part: how many steps of each sequence count, (sample,). Default False.
    samples_per_epoch : int
        What counts as one epoch.

    Examples
    --------
    >>> import lyapkit as lk
    >>> task = lk.task("digits")
    >>> inputs, labels = task.test_samples(3)
    >>> inputs.shape, labels.shape, task.score_name
    ((3, 64, 1), (3,), 'accuracy')
    """

    name: str
    n_steps: int
    input_size: int
    output_size: int
    kind: Literal["classification", "regression"]
    samples_per_epoch: int
    every_step: bool = False
    has_lengths: bool = False

    @abstractmethod
    def batch(self, iteration: int, batch_size: int, seed: int = 0) -> tuple[np.ndarray, ...]:
        """Return the inputs (B, T, I) and targets of a training iteration, counted from 0."""

    @abstractmethod
    def test_samples(self, n_samples: int | None = None) -> tuple[np.ndarray, ...]:
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
        """Return the loss of a batch: mean cross-entropy in nats, or root mean square error, of all that counts.

        Parameters
        ----------
        outputs : Tensor
            (…, B, O), of one network or of several; (…, B, T, O) if there are targets at every step.
        targets : Tensor
            (B,) classes, or (B, O) values, the same for all networks; or (B, T) and (B, T, O).

        Returns
        -------
        Tensor
            (…), one loss per network.
        """
        outputs, targets = self.counted(outputs, targets)
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
        outputs, targets = self.counted(outputs, targets)
        return (outputs.argmax(-1) == targets).to(outputs.dtype).mean(-1)

    def counted(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what counts: outputs (…, n, O) and targets (n,) or (n, O) of all samples and steps that do."""
        if not self.every_step:
            return outputs, targets
        targets = targets.flatten(0, 1)
        counts = targets != IGNORED if self.kind == "classification" else ~targets.isnan().any(-1)
        return outputs.flatten(-3, -2)[..., counts, :], targets[counts]

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
        when = " at every step" if self.every_step else ""
        sizes = f"{counted(self.input_size, 'input')}, {counted(self.output_size, 'output')}"
        return f"{self.name} ({counted(self.n_steps, 'step')}, {sizes}{when})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def _repr_html_(self) -> str:
        facts = {
            "steps": self.n_steps,
            "inputs": self.input_size,
            "outputs": f"{self.output_size}, {'at every step' if self.every_step else 'at the end'}",
            "kind": f"{self.kind}, judged by {self.score_name}",
            "samples per epoch": self.samples_per_epoch,
        }
        return as_html(self.name, facts)


def as_tensors(samples: tuple[np.ndarray, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return inputs, targets and lengths, if there are any, on a device; what is a floating-point number in `dtype`."""
    tensors = (torch.from_numpy(array) for array in samples)
    return tuple(tensor.to(device, dtype if tensor.is_floating_point() else None) for tensor in tensors)
