"""`Run`: networks that learn a task, from an iteration to another; may be stopped at any moment and gone on with."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm import tqdm

from lyapkit.arguments import available_device
from lyapkit.labels import counted
from lyapkit.losses import Loss
from lyapkit.models.network import Network
from lyapkit.provenance import provenance
from lyapkit.tasks.task import Task, as_tensors
from lyapkit.training.folder import RunFolder
from lyapkit.training.given import given_back, prepared
from lyapkit.training.history import History
from lyapkit.training.likeness import attributes
from lyapkit.training.losses import check_loss, losses_of
from lyapkit.training.population import Population
from lyapkit.training.storage import digest
from lyapkit.training.threads import WORTH_IT, faster_number

N_COMPARED = 256  # samples on which a module is compared with the network it is taken for
N_BEGUN = 64  # of the first batch, and of the test samples, by which a run is known again
LAST_SAMPLES = "last.samples"
SAME = {torch.float64: 1e-6, torch.float32: 1e-3}  # of what it computed of them


class Run:
    """State and history of a run."""

    def __init__(
        self,
        models: list[nn.Module],
        task: Task,
        settings: dict[str, Any],
        loss: str | Loss | None,
        dtype: torch.dtype,
        device: torch.device | str | None,
        folder: RunFolder | None,
    ) -> None:
        if not 0 <= settings["momentum"] < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {settings['momentum']}")
        if settings["clip_norm"] is not None and settings["clip_norm"] <= 0:
            raise ValueError(f"clip_norm must be positive, got {settings['clip_norm']}")
        if settings.get("weight_decay", 0.0) < 0:
            raise ValueError(f"weight_decay must not be negative, got {settings['weight_decay']}")
        self.models, self.task, self.settings, self.folder = models, task, settings, folder
        self.losses = losses_of(task, loss)
        device = available_device(device) if device is not None else None
        samples = task.test_samples(settings["n_test_samples"])
        few = as_tensors(tuple(part[:N_COMPARED] for part in samples), torch.float64, torch.device("cpu"))
        self._compared = few[0], few[2] if task.has_lengths else None
        networks = [prepared(model, task, *self._compared) for model in models]
        self.population = population = Population(
            networks,
            self.losses,
            torch.as_tensor(settings["learning_rate"], dtype=torch.float64).expand(len(networks)),
            settings["momentum"],
            settings["clip_norm"],
            settings.get("weight_decay", 0.0),
            dtype=dtype,
            device=device,
            has_lengths=task.has_lengths,
            captures=not task.every_step and not callable(loss),
        )
        self.test_inputs, self.test_targets, *lengths = as_tensors(samples, population.dtype, population.device)
        self.test_lengths = lengths[0] if task.has_lengths else None
        self._check()
        self._begun = self._beginning() if folder is not None else {}
        self.history = History(len(population), task, settings["minimal_performance"])
        self.spent, self.n_threads = 0.0, 0  # not chosen yet
        self._samples: tuple[np.ndarray, ...] = ()  # the last batch
        copies = [population.network(index) for index in range(len(population))]
        self.configuration = {
            "task": task.description,
            "settings": settings,
            "networks": [str(network) for network in copies],
            "attributes": [attributes(network) for network in copies],
            "initial_sha256": digest(
                {name: value for name, value in population.state.items() if name.startswith("parameter.")}
            ),
            "fixed_sha256": digest(
                {f"{index}.{name}": value for index, own in enumerate(copies) for name, value in _fixed(own)}
            ),
        }

    def _check(self) -> None:
        """Refuse networks whose inputs and outputs are not those of the task, and that are not what they seem."""
        task, population = self.task, self.population
        for ensemble in population.ensembles:
            n_outputs = None
            if ensemble.input_size == task.input_size:
                (outputs,) = ensemble.check(self.test_inputs, self.test_lengths)
                n_outputs = outputs.shape[-1]
                if n_outputs == task.output_size or (task.kind == "classification" and n_outputs > task.output_size):
                    continue
            has = counted(ensemble.input_size, "input")
            if n_outputs is not None:
                has += f" and {counted(n_outputs, 'output')}"
            needs = f"{counted(task.input_size, 'input')} and {counted(task.output_size, 'output')}"
            raise ValueError(
                f"the networks have {has}, the task {task.name} {needs}: build them with input_size={task.input_size}, "
                f"output_size={task.output_size}"
            )
        if "loss" in self.settings:
            first = torch.tensor([0])
            few = self.test_inputs[:4], first, None if self.test_lengths is None else self.test_lengths[:4]
            check_loss(self.losses, population.outputs(*few)[0], self.test_targets[:4])

    @property
    def iteration(self) -> int:
        """Steps done."""
        return self.population.iteration

    def networks(self) -> list[nn.Module]:
        """Return the networks as they are now, each of the class it was given as."""
        return [
            given_back(model, self.population.network(index), self.task, *self._compared)
            for index, model in enumerate(self.models)
        ]

    def go(self, n_iterations: int, checkpoints: set[int], time_budget: float | None, bar: tqdm) -> bool:
        """Train until the end, or until the time is over; return whether it was the end."""
        started, spent_before = time.monotonic(), self.spent
        if not self.history.iterations:
            self.evaluate()
            if 0 in checkpoints:
                self.write_checkpoints(0)
            self.keep()
        members = self._training()
        done = self.iteration
        while done < n_iterations and len(members):
            self.spent = spent_before + time.monotonic() - started
            if time_budget is not None and time.monotonic() - started > time_budget:
                self.keep()
                return False
            self._step(done, members)
            done += 1
            bar.update()
            if done % self.settings["evaluate_every"] == 0 or done == n_iterations:
                self.evaluate()
                members = self._training()
                bar.set_postfix_str(self.history.summary())
            if done in checkpoints:
                self.write_checkpoints(done)
            if done == self.history.iterations[-1]:
                self.keep()
        if self.folder is not None and not self.folder.has_checkpoints(
            len(self.population), done
        ):  # all rest before the end
            self.write_checkpoints(done)
        self.keep()
        return True

    def _step(self, iteration: int, members: Tensor) -> None:
        """Move some of the networks along the gradients of an iteration's batch."""
        seed, population = self.settings["seed"], self.population
        self._samples = self._batch(iteration)
        inputs, targets, *lengths = as_tensors(self._samples, population.dtype, population.device)
        noise = int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0])
        population.step(inputs, targets, members, lengths[0] if lengths else None, noise)

    def _batch(self, iteration: int) -> tuple[np.ndarray, ...]:
        return self.task.batch(iteration, self.settings["batch_size"], self.settings["seed"])

    def choose_threads(self, threads: int | None, n_iterations: int) -> int:
        """Return on how many threads to compute: those the run began with, those asked for, or the faster ones."""
        population, iteration = self.population, self.iteration
        if self.n_threads:
            return self.n_threads
        self.n_threads = threads or torch.get_num_threads()
        if threads is None and population.device.type == "cpu" and n_iterations - iteration >= WORTH_IT:
            before, samples = {name: value.clone() for name, value in population.state.items()}, self._samples
            members = self._training()
            self.n_threads = faster_number(lambda: self._step(iteration, members), self.n_threads)
            population.restore(before)
            self._samples = samples
        return self.n_threads

    def evaluate(self) -> None:
        """Add a point to the learning curves."""
        population, iteration, history = self.population, self.iteration, self.history
        n_networks, batch_size = len(population), self.settings["batch_size"]
        alive = (population.diverged_at == 0).nonzero()[:, 0]
        point = {name: torch.full((n_networks,), torch.nan, dtype=torch.float64) for name in history.curves}
        if len(alive):
            parts = [self.test_inputs.split(batch_size)]
            parts.append([None] * len(parts[0]) if self.test_lengths is None else self.test_lengths.split(batch_size))
            outputs = [population.outputs(inputs, alive, lengths) for inputs, lengths in zip(*parts, strict=True)]
            outputs = torch.cat(outputs, dim=1).double()
            targets = self.test_targets.double() if self.test_targets.is_floating_point() else self.test_targets
            point["test_score"][alive] = self.task.score(outputs, targets).cpu()
            if "loss" in self.settings:  # which may hold constants in the run's precision
                outputs, targets = outputs.to(population.dtype), self.test_targets
            with torch.no_grad():
                point["test_loss"][alive] = self.losses(outputs, targets).double().cpu()
        losses = population.take_losses()
        if history.iterations:
            resting = ~torch.isin(torch.arange(n_networks), self._training())
            n_steps = iteration - history.iterations[-1]
            point["train_loss"] = (losses / max(n_steps, 1)).masked_fill(resting, torch.nan)
        history.add(iteration, self.spent, point)

    def _training(self) -> Tensor:
        """Return the indices of the networks that still train."""
        active = self.population.diverged_at == 0
        if self.settings["stop_at_minimal_performance"] and self.history.iterations:
            active = active & ~self.history.reached
        return active.nonzero()[:, 0]

    def open(self, resume: bool, n_iterations: int, checkpoints: set[int], threads: int | None) -> None:
        """Continue the run in the folder, if there is one, and say which wishes come too late."""
        assert self.folder is not None
        state = self.folder.read(self.configuration, resume=resume)
        if state is None:
            return
        self._check_begun(state, self.folder.path)
        self._check_last(state, self.folder.path)
        self.population.restore(state)
        self.history.restore(state)
        self.spent = float(state["spent"])
        self.n_threads = int(state.get("n_threads", self.n_threads))
        done, late = self.iteration, []
        if n_iterations < done:
            late.append(f"n_iterations={n_iterations}")
        if threads is not None and self.n_threads and threads != self.n_threads:
            late.append(f"threads={threads}, it began with {self.n_threads}")
        if missed := sorted(
            checkpoints - self.folder.kept_iterations() - set(range(done, max(done, n_iterations) + 1))
        ):
            late.append(f"checkpoints at {', '.join(map(str, missed))}")
        if late:
            warnings.warn(
                f"{self.folder.path} holds a run of {done} iterations, ignored: {' and '.join(late)}", stacklevel=3
            )

    def _beginning(self) -> dict[str, Tensor]:
        """Return what the untrained networks, in eval mode, and the loss make of the first samples, in a few numbers.

        By them it is seen that networks, task and loss are those a run began with, whatever functions they consist of.
        """
        population = self.population
        samples = as_tensors(self._batch(0), population.dtype, population.device)
        of_test = [self.test_inputs, self.test_targets, *([] if self.test_lengths is None else [self.test_lengths])]
        found = {}
        for name, parts in (("train", samples), ("test", of_test)):
            inputs, targets, *lengths = (part[:N_BEGUN] for part in parts)
            outputs = population.outputs(inputs, torch.arange(len(population)), lengths[0] if lengths else None)
            leaf = outputs.requires_grad_()
            with torch.enable_grad():
                losses = self.losses(leaf, targets)
                (gradients,) = torch.autograd.grad(losses.sum(), leaf)
            for what, values in (("outputs", outputs), ("losses", losses), ("gradients", gradients)):
                found[f"begun.{name}.{what}"] = _summary(values)
        return found

    def _check_begun(self, state: dict[str, Tensor], folder: Path) -> None:
        """Refuse to go on with a run of other networks, samples or another loss that go by the same names."""
        for name, own in self._begun.items():
            kept = state.get(name)  # None in runs from before this was kept
            if kept is None:
                continue
            tolerance = SAME[self.population.dtype] * own[:, 1:].nan_to_num()
            is_same = (own - kept).abs() <= tolerance
            if bool((is_same | (own.isnan() & kept.isnan())).all()):
                continue
            what = "other networks or samples" if name.endswith("outputs") else "another loss, or other targets"
            raise ValueError(
                f"{folder} holds a run of another configuration: it began with {what}, though they go by the "
                f"same names ({name.removeprefix('begun.')} of the first samples differ): give those it began with, or "
                "choose another folder"
            )

    def _check_last(self, state: dict[str, Tensor], folder: Path) -> None:
        """Refuse to go on with a run whose last batch was another one than this task gives."""
        kept = state.get(LAST_SAMPLES)  # None in runs from before this was kept
        if done := int(state["iteration"]):
            self._samples = self._batch(done - 1)
        own = self._last_samples()
        if kept is not None and not torch.allclose(kept, own, rtol=SAME[torch.float64], atol=0.0, equal_nan=True):
            raise ValueError(
                f"{folder} holds a run of another configuration: its last batch, of iteration "
                f"{done}, is another one in this task, though the first is the same: give the task "
                "it began with, or choose another folder"
            )

    def _last_samples(self) -> Tensor:
        """Return two numbers of each part, inputs and targets, of the last batch; none before any."""
        parts = as_tensors(self._samples, torch.float64, torch.device("cpu"))
        return torch.cat([torch.empty(0, 2, dtype=torch.float64), *(_summary(part[None]) for part in parts)])

    def keep(self) -> None:
        """Write state and metrics to the folder, if there is one."""
        if self.folder is not None:
            own = {"spent": torch.tensor(self.spent, dtype=torch.float64), "n_threads": torch.tensor(self.n_threads)}
            own[LAST_SAMPLES] = self._last_samples()
            state = self.population.state | self.history.tensors() | self._begun | own
            self.folder.write(state, self.configuration, self.metrics())

    def write_checkpoints(self, iteration: int) -> None:
        """Write each network to a file of its own."""
        if self.folder is not None:
            about = {"task": self.task.description, "settings": self.settings}
            for index in range(len(self.population)):
                self.folder.write_checkpoint(index, self.population.network(index), iteration, about)

    def metrics(self) -> xr.Dataset:
        """Return learning curves and what follows from them, with where they come from."""
        made = provenance(**self.settings) | self.task.description
        made |= {
            "n_iterations": self.iteration,
            "device": str(self.population.device),
            "n_threads": self.n_threads,
            "system": "; ".join(dict.fromkeys(ensemble.description for ensemble in self.population.ensembles)),
        }
        return self.history.metrics(self.population.diverged_at).assign_attrs(made)


def _summary(values: Tensor) -> Tensor:
    """Return two numbers (E, 2) of values (E, …): a sum with signs and weights, and their norm."""
    flat = values.detach().double().cpu().reshape(len(values), -1)
    weights = torch.arange(flat.shape[1], dtype=torch.float64).cos()
    return torch.stack([flat @ weights / weights.norm(), flat.norm(dim=1)], dim=1)


def _fixed(network: Network) -> list[tuple[str, Tensor]]:
    """Return what is not trained: frozen parameters and buffers."""
    frozen = [(name, value) for name, value in network.named_parameters() if not value.requires_grad]
    return [*frozen, *network.named_buffers()]
