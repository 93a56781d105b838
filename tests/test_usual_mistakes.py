"""What people get wrong most often: the exit code, and words of the message that help."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit as lk
from lyapkit.cli.messages import in_words_of_the_shell

SPECTRUM = "spectrum lstm.pt --inputs x.npy -q "
MISTAKES = {  # command: exit code, what the message says
    "spectrum missing.pt --inputs x.npy": (2, "missing.pt does not exist"),
    "spectrum hennon --steps 9": (2, "hennon is no file and no system of lyapkit.classical: those are baker"),
    "spectrum henon": (2, "give --inputs, or --steps"),
    "spectrum henon --steps 9 --parameter c=1": (2, "henon has no parameter c: it has a, b"),
    "spectrum henon --steps 9 --parameter a=x": (2, "expected NAME=VALUE, got 'a=x'"),
    "spectrum henon --steps 9 --parameter a=1 --parameter a=1.2": (2, "a parameter is given twice"),
    "spectrum henon --steps 9 --key a": (2, "a system of lyapkit.classical is no file: leave out --key"),
    "spectrum lstm.pt --steps 9 --parameter a=1": (2, "--parameter is of systems of lyapkit.classical"),
    "spectrum text.pt --inputs x.npy": (2, "its content is of no known kind"),
    "spectrum none.pt --inputs x.npy": (2, "holds no recurrent layer"),
    "spectrum lstm.pt -q": (2, "give --inputs, or --steps"),
    "spectrum lstm.pt --inputs missing.npy -q": (2, "missing.npy does not exist"),
    "spectrum lstm.pt --inputs one.npy -q": (2, "expected (trajectory, time, feature)"),
    "spectrum lstm.pt --inputs pixels.npy -q": (0, "whole numbers from 0 to 255"),
    "spectrum lstm.pt --inputs time_first.npy -q": (0, "if time comes first"),
    "spectrum lstm.pt --inputs wide.npy -q": (2, "inputs have 5 features, LSTM (3 inputs"),
    "spectrum lstm.pt --inputs nan.npy -q": (2, "nan at trajectory 0, time 0, feature 0"),
    "spectrum lstm.pt --inputs notes.txt -q": (2, "expected one of .npy"),
    "spectrum lstm.pt --inputs objects.npy -q": (2, "not a readable .npy file"),
    "spectrum rnn.pt --inputs x.npy -q": (2, "say --nonlinearity tanh or 'relu'"),
    SPECTRUM + "--transient 60": (2, "--transient 60 leaves no step to count: the inputs have 60"),
    SPECTRUM + "-k 99": (2, "--n-exponents must be between 1 and the state size 8, got 99"),
    SPECTRUM + "--steps -5": (2, "--steps must be at least 1, got -5"),
    SPECTRUM + "--output o.txt": (2, "expected .nc or .csv"),
    SPECTRUM + "--plot o.gif": (2, "expected .png, .pdf or .svg"),
    SPECTRUM + "--output no/such/o.nc": (2, "does not exist"),
    SPECTRUM + "--output lstm.pt": (2, "choose another name"),
    SPECTRUM + "--device meta": (2, "device 'meta' holds no values"),
    SPECTRUM + "--reorthonormalize ²": (2, "reorthonormalize must be 'adaptive' or a number of steps"),
    SPECTRUM + "-k x": (2, "-k or --n-exponents must be a whole number, got 'x'"),
    SPECTRUM + "--dtype float16": (2, "dtype must be 'float64' or 'float32'"),
    "spectrum lstm.pt --input x.npy": (2, "there is no option --input: did you mean --inputs?"),
    "spectrum lstm.pt -z": (2, "there is no option -z: `lyapkit spectrum --help` lists what there is"),
    "spectra lstm.pt": (2, "there is no command spectra: did you mean spectrum?"),
    "learn": (2, "there is no command learn: `lyapkit --help` lists what there is"),
    "spectrum": (2, "give CHECKPOINTS, the networks: safetensors"),
    "gradients lstm.pt --inputs x.npy": (2, "give --targets, one target per sample"),
    SPECTRUM + "--steps ten": (2, "--steps must be a whole number, got 'ten'"),
    "train digits -n 4 --iterations 1 --resume -q": (2, "resume goes on with a run in a folder, and none is given"),
    "train digits -n 4 --iterations 1 --checkpoint 1 -q": (2, "checkpoints are kept in a folder, and none is given"),
    "train digits --radius wide": (2, "--radius must be a number, got 'wide'"),
    SPECTRUM + "--transient": (2, "--transient needs a value"),
    SPECTRUM + "--quiet=yes": (2, "--quiet takes no value"),
    "inspect lstm.pt rnn.pt": (2, "leave out rnn.pt: `lyapkit inspect --help` says what it takes"),
    "plot x.npy": (2, "x.npy is not a readable netCDF file"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    rng = np.random.default_rng(0)
    torch.save(nn.LSTM(3, 4).state_dict(), folder / "lstm.pt")
    torch.save(nn.RNN(3, 4).state_dict(), folder / "rnn.pt")
    torch.save({"weight": torch.ones(3, 3)}, folder / "none.pt")
    (folder / "text.pt").write_text("hello")
    (folder / "notes.txt").write_text("hello")
    arrays = {
        "x": rng.normal(size=(2, 60, 3)),
        "one": rng.normal(size=(60, 3)),
        "pixels": np.r_[[0, 255], rng.integers(0, 256, 358)].reshape(2, 60, 3),
        "time_first": rng.normal(size=(60, 2, 3)),
        "wide": rng.normal(size=(2, 60, 5)),
        "nan": np.full((2, 60, 3), np.nan),
        "objects": np.array([{}], dtype=object),
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return folder


@pytest.mark.filterwarnings("always::lyapkit.ReliabilityWarning", "always::lyapkit.LostDirectionWarning")
@pytest.mark.parametrize("command", MISTAKES)
def test_from_the_shell(command, files, run, monkeypatch):
    monkeypatch.chdir(files)
    before = {path: path.stat().st_mtime_ns for path in Path().iterdir()}
    code, words = MISTAKES[command]
    got, out, err = run(*command.split())
    assert (got, bool(out)) == (code, code == 0), err
    assert words in err
    assert "Traceback" not in err
    assert all(line.startswith("lyapkit: ") for line in err.splitlines())
    assert code == 0 or err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in Path().iterdir()} == before


def test_a_plot_of_the_wrong_dataset():
    ds = xr.Dataset({"gradient_norm": ("time", [1.0])})
    with pytest.raises((ValueError, KeyError), match=r"lyapunov_exponent|spectrum"):
        lk.plot_spectrum(ds)


def test_options_are_called_as_in_the_shell():
    said = {
        "use dtype='float64', or n_exponents=10": "use --dtype float64, or --n-exponents 10",
        "say nonlinearity='tanh' or 'relu'": "say --nonlinearity tanh or 'relu'",
        "name them by prefix= or ignore=['a']": "name them by --prefix or --ignore a",
        "n_transient=60 leaves": "--transient 60 leaves",
        "monkey=3, file.key stays": "monkey=3, file.key stays",
    }
    for text, expected in said.items():
        assert in_words_of_the_shell(text) == expected


def test_masked_values_are_not_forgotten():
    inputs = np.ma.masked_greater(np.random.default_rng(0).normal(size=(1, 20, 3)), 1)
    for given in (inputs, [inputs[0], inputs[0, :10]]):
        with pytest.raises(ValueError, match=r"inputs are a masked array, .* fill in missing values"):
            lk.lyapunov_spectrum(nn.GRU(3, 4), given)
    with pytest.raises(ValueError, match="initial states are a masked array"):
        lk.lyapunov_spectrum(nn.GRU(3, 4), inputs.data, initial_state=np.ma.masked_array(np.zeros(4), [1, 0, 0, 0]))
    network, targets = lk.RecurrentNetwork(nn.GRU(3, 4), nn.Linear(4, 2)), np.array([0])
    with pytest.raises(ValueError, match="values are a masked array"):
        lk.gradient_norms(network, inputs, targets, torch.nn.functional.cross_entropy)
    with pytest.raises(ValueError, match="inputs are a masked array"):
        lk.ArrayTask(inputs, targets, inputs, targets)


def test_tensors_of_any_kind_are_inputs():
    inputs = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    expected = lk.lyapunov_spectrum(module := nn.GRU(3, 4), inputs.double()).lyapunov_exponent
    got = lk.lyapunov_spectrum(module, inputs).lyapunov_exponent
    np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="inputs are a sparse tensor, expected dense numbers"):
        lk.lyapunov_spectrum(module, inputs.double().to_sparse())


def test_what_a_terminal_cannot_show_loses_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "lyapkit", "train", "--help"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--learning-rate" in done.stdout
    assert "?" in done.stdout
