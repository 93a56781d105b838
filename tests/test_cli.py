"""The command line, run as a person runs it: its output, its files, its one-line errors and exit codes."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import lyapkit as lk
from lyapkit import progress


@pytest.fixture
def files(tmp_path):
    """A checkpoint and inputs for it."""
    module = nn.GRU(3, 5)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "model.safetensors")
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).normal(size=(2, 40, 3)))
    return tmp_path


def test_spectrum(run, files):
    model, inputs, output, plot = (files / name for name in ("model.safetensors", "inputs.npy", "x.nc", "x.png"))
    code, out, err = run(
        "spectrum", model, "--inputs", inputs, "--output", output, "--plot", plot, "-q", "--transient", 8
    )
    assert (code, err) == (0, "")
    ds = lk.load(output)
    expected = lk.lyapunov_spectrum(lk.load_system(model), np.load(inputs), n_transient=8)
    np.testing.assert_array_equal(ds.lyapunov_exponent, expected.lyapunov_exponent)
    assert lk.spectrum_table(ds) in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert ds.attrs["checkpoint"] == "model.safetensors"


def test_a_classical_system_by_its_name(run, tmp_path):
    output = tmp_path / "x.nc"
    code, out, err = run("spectrum", "henon", "--steps", 800, "--parameter", "a=1.2", "--output", output, "-q")
    assert (code, err) == (0, "")
    assert out.startswith("Hénon map (a=1.2, b=0.3)")
    expected = lk.lyapunov_spectrum(lk.classical.henon(a=1.2), n_steps=800)
    np.testing.assert_array_equal(lk.load(output).lyapunov_exponent, expected.lyapunov_exponent)
    assert run("spectrum", "lorenz96", "--steps", 50, "--parameter", "n=5", "-q")[1].startswith("Lorenz-96 (n=5,")
    assert run("covariant", "henon", "--steps", 50, "--output", output, "-q")[0] == 0
    expected = lk.covariant_vectors(lk.classical.henon(), n_steps=50)
    np.testing.assert_array_equal(lk.load(output).covariant_vector, expected.covariant_vector)


def test_no_check(run, files, monkeypatch):
    """--no-check skips the second computation; without it, what it finds is one line and exit code 2."""
    gru = type(lk.load_system(files / "model.safetensors"))
    right = gru.push_along

    def wrong(self, *arguments):
        state, tangent = right(self, *arguments)
        return state, 1.001 * tangent

    monkeypatch.setattr(gru, "push_along", wrong)
    arguments = ("spectrum", files / "model.safetensors", "--inputs", files / "inputs.npy", "-q")
    _is_one_line_error(run(*arguments), "one QR per step gives", "disagree")
    assert run(*arguments, "--no-check")[0] == 0


def _saved(module, path):
    torch.save(module.state_dict(), path)
    return path


def test_warnings_are_a_line_each(run, files, monkeypatch):
    warnings.simplefilter("default")
    inputs = np.random.default_rng(0).normal(size=(3, 60, 1))
    spike, only_two = inputs.copy(), np.abs(inputs)
    spike[:2, 30], only_two[2] = 2000.0, 0.0
    for name, values in {"plain": inputs, "spike": spike, "only_two": only_two}.items():
        np.save(files / f"{name}.npy", values)
    tanh, relu, growing = nn.RNN(1, 6), nn.RNN(1, 6), nn.RNN(1, 6, bias=False)
    growing.weight_ih_l0.data.abs_()
    growing.weight_hh_l0.data.abs_().mul_(1e8)
    tanh, relu, growing = (_saved(one, files / f"{i}.pt") for i, one in enumerate((tanh, relu, growing)))
    monkeypatch.setattr(type(lk.load_system(tanh, nonlinearity="tanh")), "findings", lambda self: ["a\n  b"])
    about_steps, dead = "tanh RNN (1 input, 6 units, state size 6): a b", "were mapped to zero exactly"
    for model, nonlinearity, name, words in (
        (tanh, "tanh", "spike", ("are upper bounds", about_steps)),
        (relu, "relu", "plain", (dead, "a b")),
        (
            growing,
            "relu",
            "only_two",
            ("weight_hh_l0 holds values of wh", "gave non-finite values: trajectory 0 at step", dead, "a b"),
        ),
    ):
        options = ("--nonlinearity", nonlinearity, "--inputs", files / f"{name}.npy", "-q", "--no-check")
        code, out, err = run("spectrum", model, *options)
        assert (code, "warning" in out) == (0, False)
        assert err.count("\n") == len(words)
        for line, word in zip(err.splitlines(), words, strict=True):
            assert line.startswith("lyapkit: warning: ")
            assert word in line


def test_validate(run, files):
    torch.manual_seed(0)
    model = lk.WCRNN(3, 5, 2, lk.residuals.scaled_identity(5, 0.9), 0.01, dtype=torch.float64)
    wcrnn, inputs, output, plot = (files / name for name in ("wcrnn.safetensors", "inputs.npy", "v.nc", "v.png"))
    safetensors.torch.save_file(model.state_dict(), wcrnn)
    code, out, err = run("validate", wcrnn, "--inputs", inputs, "--output", output, "--plot", plot, "-q")
    assert (code, err) == (0, "")
    ds = lk.load(output)
    assert ds.attrs["verdict"] in out
    assert ds.attrs["verdict"] == lk.validate_weak_coupling(model, np.load(inputs)).attrs["verdict"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("plot", output)
    assert (code, out.count("drew")) == (0, 3)
    code, _, err = run("validate", files / "model.safetensors", "--inputs", inputs)
    assert code == 2
    assert "without a residual, GRU" in err
    assert err.count("\n") == 1


def test_leading_exponents_fixed_interval_and_single_precision(run, files):
    model, inputs, output = files / "model.safetensors", files / "inputs.npy", files / "x.nc"
    options = ("-k", 2, "--reorthonormalize", 4, "--dtype", "float32", "--initial-frame", "random", "-q")
    assert run("spectrum", model, "--inputs", inputs, "--output", output, *options)[0] == 0
    ds = lk.load(output)
    assert ds.sizes["exponent"] == 2
    np.testing.assert_array_equal(ds.duration, 4)


def test_inspect(run, files):
    code, out, _ = run("inspect", files / "model.safetensors")
    assert code == 0
    assert "weight_hh_l0" in out
    assert "(15, 5)" in out
    assert "recurrent network '': GRU (3 inputs, 5 units, state size 5)" in out


def test_plot(run, files):
    output = files / "x.nc"
    run("spectrum", files / "model.safetensors", "--inputs", files / "inputs.npy", "--output", output, "-q")
    code, out, err = run("plot", output)
    assert (code, err) == (0, "")
    for name in ("x_spectrum.png", "x_convergence.png"):
        assert str(files / name) in out
        assert (files / name).read_bytes().startswith(b"\x89PNG")


def test_a_spectrum_is_extended(run, files):
    model, first, longer = files / "model.safetensors", files / "first.nc", files / "longer.nc"
    common = ("spectrum", model, "--inputs", files / "inputs.npy", "-q")
    assert run(*common, "--steps", 25, "--transient", 5, "--keep-state", "--output", first)[0] == 0
    code, _, err = run(*common, "--extend", first, "--output", longer)
    assert (code, err) == (0, "")
    expected = lk.lyapunov_spectrum(lk.load_system(model), np.load(files / "inputs.npy"), n_transient=5)
    np.testing.assert_allclose(lk.load(longer).lyapunov_exponent, expected.lyapunov_exponent, rtol=1e-9)
    _is_one_line_error(run(*common, "--extend", first, "-k", 2), "--extend goes on as --keep-state began")
    assert run(*common, "--output", first)[0] == 0
    _is_one_line_error(run(*common, "--extend", first), "compute it with --keep-state\n")


def test_progress_bar_goes_to_a_terminal(run, files, monkeypatch):
    """Only there, only for what takes its time, and not with --quiet."""
    arguments = "spectrum", files / "model.safetensors", "--inputs", files / "inputs.npy"
    monkeypatch.setattr(progress, "DELAY", 0.0)
    assert run(*arguments)[2] == ""
    monkeypatch.setattr("_pytest.capture.CaptureIO.isatty", lambda self: True, raising=False)
    _, out, err = run(*arguments)
    assert "step/s" in err
    assert "step/s" not in out
    assert run(*arguments, "-q")[2] == ""
    monkeypatch.setattr(progress, "DELAY", 1000.0)
    assert run(*arguments)[2] == ""


def _is_one_line_error(result, *words):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("lyapkit: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_missing_files(run, files):
    _is_one_line_error(run("spectrum", "none.pt", "--inputs", files / "inputs.npy", "-q"), "none.pt does not exist")
    _is_one_line_error(
        run("spectrum", files / "model.safetensors", "--inputs", "none.npy", "-q"), "none.npy does not exist"
    )
    _is_one_line_error(run("inspect", "none.pt"), "none.pt does not exist")
    _is_one_line_error(run("plot", "none.nc"), "none.nc does not exist")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".ckpt"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02garbage", np.random.default_rng(1).bytes(500)])
def test_damaged_checkpoints(run, files, suffix, content):
    path = files / f"bad{suffix}"
    path.write_bytes(content)
    _is_one_line_error(run("spectrum", path, "--inputs", files / "inputs.npy", "-q"), str(path), "not a readable")
    _is_one_line_error(run("inspect", path), str(path), "not a readable")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".nc", ".pt", ".csv"])
def test_damaged_inputs(run, files, suffix):
    path = files / f"bad{suffix}"
    path.write_bytes(np.random.default_rng(1).bytes(500))
    _is_one_line_error(
        run("spectrum", files / "model.safetensors", "--inputs", path, "-q"), str(path), "not a readable"
    )


class _Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_code_in_a_pickle_does_not_run(run, files):
    path, target = files / "evil.pt", files / "ran"
    torch.save(_Malicious(str(target)), path)
    for command in (("spectrum", path, "--inputs", files / "inputs.npy"), ("inspect", path)):
        _is_one_line_error(run(*command), "could run code", "torch.save(model.state_dict(), path)")
    assert not target.exists()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Conv1d(3, 3, 3), ("no recurrent layer", "lyapkit inspect")),
        (nn.Linear(3, 3), ("no recurrent layer",)),
        (nn.GRU(3, 5, bidirectional=True), ("bidirectional", "no Lyapunov spectrum")),
        (nn.RNN(3, 5), ("--nonlinearity tanh or 'relu'",)),
    ],
)
def test_unusable_networks(run, files, module, words):
    torch.save(module.state_dict(), files / "a.pt")
    _is_one_line_error(run("spectrum", files / "a.pt", "--inputs", files / "inputs.npy", "-q"), *words)


@pytest.mark.parametrize(
    ("inputs", "options", "words"),
    [
        (np.zeros((2, 9, 4)), (), ("4 features", "takes 3")),
        (np.zeros((9, 3)), (), ("(9, 3)", "inputs[None]")),
        (np.full((1, 9, 3), np.nan), (), ("nan at trajectory 0, time 0, feature 0",)),
        (np.zeros((1, 0, 3)), (), ("empty",)),
        (np.zeros((1, 9, 3)), ("-k", 6), ("between 1 and the state size 5, got 6",)),
        (np.zeros((1, 9, 3)), ("-k", 0), ("got 0",)),
        (np.zeros((1, 9, 3)), ("--transient", 9), ("--transient 9 leaves no step",)),
        (np.zeros((1, 9, 3)), ("--dtype", "half"), ("'half'",)),
        (np.zeros((1, 9, 3)), ("--reorthonormalize", "x"), ("'x'",)),
        (np.zeros((1, 9, 3)), ("--initial-frame", "eye"), ("'eye'",)),
        (np.zeros((1, 9, 3)), ("--prefix", "x"), ("'x'",)),
        (np.zeros((1, 9, 3)), ("--device", "nonsense"), ("nonsense",)),
        (np.zeros((1, 9, 3)), ("--plot", "x.gif"), (".gif",)),
    ],
)
def test_bad_inputs_and_options(run, files, inputs, options, words):
    np.save(files / "bad.npy", inputs)
    _is_one_line_error(
        run("spectrum", files / "model.safetensors", "--inputs", files / "bad.npy", "-q", *options), *words
    )


def test_unwritable_output_is_found_before_the_work(run, files):
    arguments = ("spectrum", files / "model.safetensors", "--inputs", files / "inputs.npy", "-q")
    _is_one_line_error(run(*arguments, "--output", files / "no" / "x.nc"), "the folder", "does not exist")
    _is_one_line_error(run(*arguments, "--output", files), "is a folder")


def test_old_output_survives_a_failed_run(run, files):
    output = files / "x.nc"
    output.write_bytes(b"precious")
    np.save(files / "bad.npy", np.full((1, 9, 3), np.inf))
    arguments = ("spectrum", files / "model.safetensors", "--output", output, "-q")
    assert run(*arguments, "--inputs", files / "bad.npy")[0] == 2
    assert output.read_bytes() == b"precious"


def test_file_without_a_spectrum(run, files):
    import xarray as xr

    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(files / "a.nc")
    _is_one_line_error(run("plot", files / "a.nc"), "there is no spectrum", "gradient norms")


def test_without_a_command_help_is_given(run):
    assert run() == run("--help")
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "Usage: lyapkit [OPTIONS] COMMAND" in out


def test_installed_command_runs_without_a_display(files):
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    command = [sys.executable, "-m", "lyapkit", "spectrum", "model.safetensors", "--inputs", "inputs.npy"]
    done = subprocess.run(
        [*command, "--plot", "a.svg"], cwd=files, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Kaplan–Yorke" in done.stdout
    assert (files / "a.svg").is_file()


def _with_closed_pipes(*arguments, streams=("stdout",), unbuffered=True):
    """Run the command while nobody reads these streams; return what became of it."""
    read, write = os.pipe()
    os.close(read)
    pipes = {name: write if name in streams else subprocess.PIPE for name in ("stdout", "stderr")}
    environment = os.environ | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {})
    command = [sys.executable, "-m", "lyapkit", *map(str, arguments)]
    try:
        return subprocess.run(command, **pipes, env=environment, text=True, check=False)
    finally:
        os.close(write)


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_reader_that_leaves_loses_no_result(files, unbuffered):
    arguments = ("spectrum", files / "model.safetensors", "--inputs", files / "inputs.npy", "-q")
    done = _with_closed_pipes(*arguments, "--output", files / "x.nc", unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")
    assert lk.load(files / "x.nc").sizes["exponent"] == 5


def test_a_reader_that_leaves_loses_no_picture(run, files):
    run("spectrum", files / "model.safetensors", "--inputs", files / "inputs.npy", "-q", "--output", files / "x.nc")
    done = _with_closed_pipes("plot", files / "x.nc")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in files.glob("*.png")} == {"x_spectrum.png", "x_convergence.png"}


def test_nobody_reads_progress_and_warnings(files):
    np.save(files / "inputs.npy", np.random.default_rng(0).normal(size=(2, 40, 3)))
    relu = _saved(nn.RNN(3, 5), files / "relu.pt")
    arguments = ("spectrum", relu, "--nonlinearity", "relu", "--inputs", files / "inputs.npy")
    done = _with_closed_pipes(*arguments, "--output", files / "x.nc", streams=("stdout", "stderr"))
    assert done.returncode == 0
    assert np.isneginf(lk.load(files / "x.nc").lyapunov_exponent).any()


def _fails(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("command", ["spectrum", "validate", "gradients", "curvature", "train"])
def test_a_result_that_cannot_be_written_is_printed_all_the_same(run, tmp_path, monkeypatch, command):
    _, inputs, _, problem = _problem_files(tmp_path)
    np.save(tmp_path / "inputs.npy", inputs)
    arguments, words = {
        "spectrum": ([problem[0], "--inputs", tmp_path / "inputs.npy"], "Kaplan–Yorke"),
        "validate": ([problem[0], "--inputs", tmp_path / "inputs.npy"], "Theory alone"),
        "gradients": (problem, "nats per step of distance"),
        "curvature": ([*problem, "-k", "2"], "loss per squared parameter"),
        "train": (["digits", "-n", "4", "--iterations", "1", "--test-samples", "20"], "minimal performance"),
    }[command]
    monkeypatch.setattr("xarray.Dataset.to_netcdf", _fails(RuntimeError("NetCDF: HDF error")))
    code, out, err = run(command, *arguments, "-q", "--output", tmp_path / "x.nc")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"lyapkit: cannot write {tmp_path / 'x.nc'}: NetCDF: HDF error (")
    assert words in out
    assert "wrote" not in out


def test_a_picture_that_cannot_be_written(run, files, monkeypatch):
    picture, output = files / "x.png", files / "x.nc"
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", _fails(OSError(28, "No space left on device")))
    arguments = ("--inputs", files / "inputs.npy", "-q", "--output", output, "--plot", picture)
    code, out, err = run("spectrum", files / "model.safetensors", *arguments)
    assert (code, err) == (2, f"lyapkit: cannot write {picture}: No space left on device\n")
    assert f"wrote {output}" in out
    code, out, err = run("plot", output)
    assert (code, out) == (2, "")
    assert err == f"lyapkit: cannot write {files / 'x_spectrum.png'}: No space left on device\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_standard_output_on_a_full_disk(files):
    command = [sys.executable, "-m", "lyapkit", "inspect", str(files / "model.safetensors")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "lyapkit: cannot write to <stdout>: No space left on device\n")


def _problem_files(tmp_path, network="linear"):
    """Return the arguments of a checkpoint with a readout, its inputs and targets."""
    torch.manual_seed(0)
    if network == "linear":
        model = lk.WCRNN(2, 6, 3, lk.residuals.scaled_identity(6, 0.9), 0.1)
    else:
        model = lk.RecurrentNetwork(nn.LSTM(2, 5), nn.Linear(5, 3))
    safetensors.torch.save_file(model.state_dict(), tmp_path / "m.safetensors")
    inputs, targets = torch.randn(7, 9, 2).numpy(), np.arange(7) % 3
    np.savez(tmp_path / "task.npz", inputs=inputs, targets=targets)
    task = tmp_path / "task.npz"
    return model, inputs, targets, [str(tmp_path / "m.safetensors"), "--inputs", str(task), "--targets", str(task)]


@pytest.mark.parametrize(("command", "variable"), [("gradients", "gradient_norm"), ("curvature", "hessian_eigenvalue")])
def test_lengths_of_padded_sequences_in_learning(run, tmp_path, command, variable):
    model, inputs, targets, arguments = _problem_files(tmp_path)
    lengths = np.array([9, 4, 2, 9, 7, 1, 5])
    np.save(tmp_path / "lengths.npy", lengths)
    saved = ["--output", tmp_path / "out.nc", "-q", *(["-k", "2"] if command == "curvature" else [])]
    code, _, err = run(command, *arguments, "--lengths", tmp_path / "lengths.npy", *saved)
    assert code == 0, err
    given = model.double(), inputs, targets, torch.nn.functional.cross_entropy
    analysis = lk.gradient_norms if command == "gradients" else lk.hessian_eigenvalues
    options = {} if command == "gradients" else {"k": 2}
    found = lk.load(tmp_path / "out.nc")[variable]
    np.testing.assert_allclose(found, analysis(*given, lengths=lengths, **options)[variable], rtol=1e-9)
    assert not np.allclose(found, analysis(*given, **options)[variable], rtol=1e-3)
    np.save(tmp_path / "lengths.npy", lengths + 1)
    code, _, err = run(command, *arguments, "--lengths", tmp_path / "lengths.npy", *saved)
    assert code == 2
    assert "whole numbers between 1 and 9" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("network", ["linear", "LSTM"])
def test_gradients(run, tmp_path, network):
    model, inputs, targets, arguments = _problem_files(tmp_path, network)
    code, out, err = run("gradients", *arguments, "--output", tmp_path / "g.nc", "--plot", tmp_path / "g.png", "-q")
    assert code == 0, err
    ds = lk.gradient_norms(model, inputs, targets, torch.nn.functional.cross_entropy)
    np.testing.assert_allclose(lk.load(tmp_path / "g.nc").gradient_norm, ds.gradient_norm, rtol=1e-12)
    assert f"{float(ds.decay_rate.mean()):+.5f}" in out
    assert (tmp_path / "g.png").stat().st_size > 1000


def test_curvature(run, tmp_path):
    model, inputs, targets, arguments = _problem_files(tmp_path, "LSTM")
    code, out, err = run(
        "curvature", *arguments, "-k", "3", "--output", tmp_path / "c.nc", "--plot", tmp_path / "c.png", "-q"
    )
    assert code == 0, err
    ds = lk.hessian_eigenvalues(model, inputs, targets, torch.nn.functional.cross_entropy, 3)
    for value in ds.hessian_eigenvalue.values:
        assert f"{value:.5g}" in out
    assert lk.load(tmp_path / "c.nc").sizes["eigenvalue"] == 3
    code, out, err = run("plot", tmp_path / "c.nc")
    assert (code, err) == (0, "")
    assert (tmp_path / "c_eigenvalues.png").stat().st_size > 1000


HOOKS = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = torch.nn.LSTM(2, 5, batch_first=True)
        self.readout = torch.nn.Linear(5, 3)

    def forward(self, x):
        return self.readout(self.recurrent(x)[0][:, -1])

def double(outputs, targets):
    return 2 * torch.nn.functional.cross_entropy(outputs, targets)

number = 5
"""


def test_hooks(run, tmp_path):
    """A module and a loss of the user's own."""
    _, _, _, arguments = _problem_files(tmp_path, "LSTM")
    (tmp_path / "my.py").write_text(HOOKS)
    _, plain, _ = run("curvature", *arguments, "-k", "1", "-q")
    hooks = ["--module", f"{tmp_path / 'my.py'}:Model", "--loss", f"{tmp_path / 'my.py'}:double"]
    code, mine, err = run("curvature", *arguments, "-k", "1", "-q", *hooks)
    assert code == 0, err
    leading = [float(out.split("residual\n")[1].split()[1]) for out in (plain, mine)]
    assert leading[1] == pytest.approx(2 * leading[0], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss", "hinge"], "unknown loss 'hinge'"),
        (["--loss", "missing.py:loss"], "missing.py does not exist"),
        (["-k", "100"], "between 1 and the 36 parameters"),
        (["--parameters", "nothing"], "unknown parameters nothing"),
        (["--which", "all"], "which must be one of"),
    ],
)
def test_learning_errors(run, tmp_path, options, message):
    _, _, _, arguments = _problem_files(tmp_path)
    code, _, err = run("curvature", *arguments, *options, "-q")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_checkpoint_without_readout(run, tmp_path):
    _, _, _, arguments = _problem_files(tmp_path, "LSTM")
    torch.save(nn.LSTM(2, 5).state_dict(), tmp_path / "bare.pt")
    code, _, err = run("gradients", tmp_path / "bare.pt", *arguments[1:])
    assert code == 2
    assert "there is no readout" in err


def test_train(run, tmp_path):
    output, picture, folder = tmp_path / "m.nc", tmp_path / "m.png", tmp_path / "run"
    options = ["--radius", "0.9", "--radius", "0.98", "--seeds", "2", "-n", "6", "--batch-size", "16", "-q"]
    options += ["--learning-rate", "0.1", "--evaluate-every", "5", "--test-samples", "50", "--coupling", "0.1"]
    files = ["--folder", folder, "--checkpoint", "5", "--output", output, "--plot", picture]
    code, out, err = run("train", "digits", *options, "--iterations", "10", *files)
    assert (code, err) == (0, "")
    assert "digits (64 steps, 1 input, 10 outputs), 10 iterations of 16 samples" in out
    ds = lk.load(output)
    assert ds.radius.values.tolist() == [0.9, 0.9, 0.98, 0.98]
    assert ds.seed.values.tolist() == [0, 1, 0, 1]
    residual = lk.residuals.scaled_identity(6, 0.98)
    network = lk.build_network("wcrnn", 1, 6, 10, residual=residual, coupling=0.1, seed=1)
    settings = {"batch_size": 16, "learning_rate": 0.1, "evaluate_every": 5, "n_test_samples": 50}
    expected = lk.train([network.float()], lk.task("digits"), 10, **settings)
    np.testing.assert_allclose(ds.test_loss[3], expected.metrics.test_loss[0], rtol=1e-4)
    assert list(lk.checkpoints(folder, 3)) == [5, 10]
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, _, err = run("train", "digits", *options, "--iterations", "10", *files)
    assert code == 2
    assert "holds a run already: continue it with resume" in err
    code, out, err = run("train", "digits", *options, "--iterations", "15", *files, "--resume")
    assert (code, err) == (0, "")
    assert "15 iterations" in out
    code, out, _ = run("plot", output)
    assert code == 0
    assert (tmp_path / "m_learning_curves.png").exists()


@pytest.mark.parametrize("network", ["lstm", "s4"])
def test_train_other_networks(run, network):
    options = ["--network", network, "--seeds", "2", "-n", "4", "--iterations", "2", "-q", "--test-samples", "20"]
    code, out, err = run("train", "add10", *options, "--batch-size", "8", "--time-budget", "100")
    assert (code, err) == (0, "")
    assert len(out.strip().splitlines()) == 8
    assert "No network reached minimal performance" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist"], "unknown task 'mnist', expected one of: digits"),
        (["digits", "--network", "transformer"], "unknown network 'transformer', expected one of wcrnn"),
        (["digits", "--network", "lstm", "--radius", "1"], "lstm has no residual"),
        (["digits", "--residual", "rotation"], "a residual of shape rotation needs frequency"),
        (["digits", "--frequency", "0.1"], "a residual of shape identity has no frequency"),
        (["digits", "--residual", "cube"], "unknown residual 'cube'"),
        (["digits", "--epochs", "1", "--iterations", "1"], "give epochs or iterations, not both"),
        (["digits", "--iterations", "0"], "n_iterations must be at least 1"),
        (["digits", "--batch-size", "5000"], "--batch-size must be 1 to 1437 for digits"),
        (["digits", "--seeds", "0"], "number of seeds must be at least 1"),
        (["digits", "--downsample", "3"], "downsample must divide"),
        (["digits", "--learning-rate", "-1"], "--learning-rate must be a positive number"),
        (["digits", "--output", "nowhere/x.nc"], "nowhere does not exist"),
    ],
)
def test_bad_trainings_are_one_line(run, arguments, message):
    code, out, err = run("train", *arguments, "-q")
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert message in err


def test_missing_data_is_one_line(run, monkeypatch, tmp_path):
    monkeypatch.setenv("LYAPKIT_DATA", str(tmp_path))
    code, _, err = run("train", "smnist", "-q")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "'lyapkit fetch mnist'" in err
    code, _, err = run("fetch", "imagenet")
    assert (code, "unknown data set 'imagenet'" in err) == (2, True)


def test_train_with_a_loss_of_ones_own(run, tmp_path):
    (tmp_path / "mine.py").write_text("def loss(outputs, targets):\n    return outputs[:, :1].square().mean()\n")
    options = [
        "-n",
        "4",
        "--iterations",
        "2",
        "--evaluate-every",
        "2",
        "--test-samples",
        "20",
        "--batch-size",
        "8",
        "-q",
    ]
    results = []
    for name in ("cross_entropy", f"{tmp_path}/mine.py:loss"):
        code, _, err = run("train", "digits", *options, "--loss", name, "--output", tmp_path / "m.nc")
        assert (code, err) == (0, "")
        results.append(float(lk.load(tmp_path / "m.nc").test_loss[0, 0]))
    network = lk.build_network("wcrnn", 1, 4, 10, seed=0).float()
    inputs, targets = (torch.from_numpy(part[:20]) for part in lk.task("digits").test_samples())
    outputs = network(inputs.float()).detach()
    expected = torch.nn.functional.cross_entropy(outputs, targets), outputs[:, 0].square().mean()
    np.testing.assert_allclose(results, torch.stack(expected), rtol=1e-4)
    code, _, err = run("train", "digits", *options, "--loss", "hinge")
    assert code == 2
    assert "unknown loss 'hinge'" in err
