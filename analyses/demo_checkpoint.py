"""Train an LSTM to recognise handwritten digits; write its weights, inputs that drive it, and its Lyapunov spectrum.

    python analyses/demo_checkpoint.py                   # scikit-learn's 8×8 digits, row by row: the demo of the README
    python analyses/demo_checkpoint.py --order pixels    # pixel by pixel
    python analyses/demo_checkpoint.py --dataset mnist   # MNIST, row by row

Writes to data/, NAME being the data set and the order:

- `NAME_lstm.safetensors`: the weights, with test accuracy and provenance in the file's metadata;
- `NAME_inputs.nc` (digits only): 8 sequences of test images in a row, the inputs of the spectrum;
- `NAME_spectrum.nc`: the spectrum along these sequences, one interval of log-growth per image.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm import tqdm

import lyapkit as lk
from lyapkit.files.writing import replacing
from lyapkit.provenance import provenance
from lyapkit.tasks.images import Images, as_sequences, load_digits, load_mnist

DATA = Path(__file__).resolve().parent.parent / "data"
HIDDEN_SIZE = 64
N_TRAJECTORIES = 8
N_TEST_IMAGES = 360  # in the inputs of the spectrum
EPOCHS = {("digits", "rows"): 60, ("digits", "pixels"): 150, ("mnist", "rows"): 8, ("mnist", "pixels"): 8}
BATCH_SIZE = {"digits": 32, "mnist": 128}
LEARNING_RATE = 3e-3
SEED = 0


class Classifier(nn.Module):
    """An LSTM and an affine readout of its last hidden state."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(input_size, HIDDEN_SIZE, batch_first=True)
        self.readout = nn.Linear(HIDDEN_SIZE, 10)

    def forward(self, sequences: Tensor) -> Tensor:
        """Return class scores (sample, 10) for sequences (sample, time, feature)."""
        return self.readout(self.recurrent(sequences)[0][:, -1])


def train(images: Images, order: str, epochs: int, batch_size: int) -> tuple[Classifier, float]:
    """Return a trained classifier and its test accuracy; the learning rate falls along a half cosine."""
    torch.manual_seed(SEED)
    sequences = torch.from_numpy(as_sequences(images.train_images, order)).float()
    labels = torch.from_numpy(images.train_labels)
    model = Classifier(sequences.shape[2])
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(labels) // batch_size))
    for _ in tqdm(range(epochs), unit="epoch"):
        for batch in torch.randperm(len(labels)).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(sequences[batch]), labels[batch]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval(), accuracy(model, images, order)


@torch.no_grad()
def accuracy(model: Classifier, images: Images, order: str) -> float:
    """Return the fraction of test images that the model recognises."""
    sequences = torch.from_numpy(as_sequences(images.test_images, order)).float()
    predicted = torch.cat([model(batch).argmax(1) for batch in sequences.split(1000)])
    return float((predicted.numpy() == images.test_labels).mean())


def streams(images: Images, order: str) -> xr.DataArray:
    """Return sequences of test images in a row, (trajectory, time, feature), every image used at most once."""
    sequences = as_sequences(images.test_images, order)
    n_images = min(len(sequences), N_TEST_IMAGES) // N_TRAJECTORIES * N_TRAJECTORIES
    chosen = np.random.default_rng(SEED).permutation(len(sequences))[:n_images]
    values = sequences[chosen].reshape(N_TRAJECTORIES, -1, sequences.shape[2])
    coords = {
        dim: (dim, np.arange(size), {"units": "1", "long_name": dim})
        for dim, size in zip(("trajectory", "time", "feature"), values.shape, strict=True)
    }
    attributes = {"units": "1", "long_name": "pixel brightness, test images in a row"}
    return xr.DataArray(values, coords, ("trajectory", "time", "feature"), "inputs", attributes)


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--order", choices=["rows", "pixels"], default="rows")
    parser.add_argument("--epochs", type=int, help="default: enough, by data set")
    parser.add_argument("--folder", type=Path, default=DATA, help="where to write; default: data/")
    options = parser.parse_args()
    epochs = options.epochs or EPOCHS[options.dataset, options.order]
    images = load_digits() if options.dataset == "digits" else load_mnist()

    started = time.perf_counter()
    model, test_accuracy = train(images, options.order, epochs, BATCH_SIZE[options.dataset])
    print(f"test accuracy {test_accuracy:.4f} after {epochs} epochs, {time.perf_counter() - started:.0f} s")

    name = f"{options.dataset}_{options.order}"
    made = provenance(
        dataset=options.dataset,
        order=options.order,
        epochs=epochs,
        batch_size=BATCH_SIZE[options.dataset],
        learning_rate=LEARNING_RATE,
        seed=SEED,
    ) | {"command": shlex.join(["python", "analyses/demo_checkpoint.py", *sys.argv[1:]]), "scale": "quick"}
    checkpoint = options.folder / f"{name}_lstm.safetensors"
    with replacing(checkpoint) as temporary:
        safetensors.torch.save_file(model.state_dict(), temporary, made | {"test_accuracy": f"{test_accuracy:.4f}"})

    inputs = streams(images, options.order)
    if options.dataset == "digits":  # MNIST is not ours to pass on
        lk.save(inputs.to_dataset().assign_attrs(made), options.folder / f"{name}_inputs.nc")
    n_transient = inputs.sizes["time"] // 9
    ds = lk.lyapunov_spectrum(lk.load_system(checkpoint), inputs, n_transient=n_transient, progress=True)
    ds = lk.coarsen(ds, as_sequences(images.test_images[:1], options.order).shape[1])  # one interval per image
    ds.attrs |= {"command": made["command"], "scale": made["scale"], "test_accuracy": f"{test_accuracy:.4f}"}
    lk.save(ds, options.folder / f"{name}_spectrum.nc")
    print(lk.spectrum_table(ds))


if __name__ == "__main__":
    main()
