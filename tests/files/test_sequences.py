"""Input files: the same sequences from every type of file, and what is said about damaged ones."""

import re

import numpy as np
import pytest
import torch
import xarray as xr

import lyapkit as lk
from lyapkit.files.sequences import read_targets

VALUES = np.random.default_rng(0).normal(size=(2, 5, 3)).round(3)


def _write(path, values=VALUES):
    match path.suffix:
        case ".npy":
            np.save(path, values)
        case ".npz":
            np.savez(path, inputs=values, other=np.zeros(3))
        case ".nc":
            xr.DataArray(values, dims=("trajectory", "time", "feature"), name="inputs").to_netcdf(path)
        case ".pt":
            torch.save(torch.from_numpy(values), path)
        case ".csv":
            rows = ["trajectory,time,a,b,c"]
            rows += [f"{b},{t}," + ",".join(map(str, values[b, t])) for b in range(2) for t in range(5)]
            path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".nc", ".pt", ".csv"])
def test_every_type(tmp_path, suffix):
    np.testing.assert_array_equal(lk.read_inputs(_write(tmp_path / f"a{suffix}")), VALUES)


@pytest.mark.parametrize("header", [None, "a,b,c", "time,a,b,c"])
def test_csv_of_one_trajectory(tmp_path, header):
    rows = [header] if header else []
    rows += [",".join(map(str, row)) for row in VALUES[0]]
    if header and header.startswith("time"):
        rows[1:] = [f"{t},{row}" for t, row in enumerate(rows[1:])]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    np.testing.assert_array_equal(lk.read_inputs(tmp_path / "a.csv"), VALUES[:1])


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".nc", ".pt", ".csv"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "random"])
def test_damaged_files(tmp_path, suffix, damage):
    path = _write(tmp_path / f"a{suffix}", np.random.default_rng(1).normal(size=(2, 5, 3)))
    content = path.read_bytes()
    cut = content[: len(content) // 2] if suffix != ".csv" else content[:-50]
    path.write_bytes({"empty": b"", "truncated": cut, "random": np.random.default_rng(0).bytes(900)}[damage])
    with pytest.raises(ValueError, match=rf"a\{suffix} is not a readable"):
        lk.read_inputs(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "a header and no rows"),
        ("1,2\n3\n", "not a readable"),
        ("1,2\n3,x\n", "not a readable"),
        ("1,2\n3,4\n5\n", "row 3 has 1 columns where the first has 2.*several sequences need a header with a column"),
        ("1,2\n3,4\n\n5,6\n", "line 3 is empty, and more follows: several sequences need a header with a column"),
        ("time,a\n0,1\n1,2\n0,3\n1,4\n", "time does not increase at row 3: several sequences need a header"),
        ("trajectory,time,a\n0,0,1\n0,1,2\n1,5,3\n1,4,4\n", "time does not increase at row 2 of trajectory 1"),
        ("trajectory,a\n0,1\nnan,2\nnan,3\n", "row 2 is of no trajectory"),
        ("trajectory,Trajectory,a\n0,1,1\n", "several columns called trajectory"),
        ("trajectory,time\n0,1\n0,2\n", "no column that is a feature"),
        ("1;2\n3;4\n", "not a readable"),
        (",a\n0,0.5\n1,0.7\n", "column 1 has no name"),
        ("0,1\n0.5,0.2\n0.7,0.1\n", "first row counts the columns"),
        ("1,2\n,4\n", "row 2 holds '', which is no number"),
        ("NA,0.5\n0.1,0.2\n", "first row is neither a header nor numbers: it holds 'NA' as well as '0.5'"),
        ("name,a\nA,0.5\nB,0.7\n", "row 1 holds 'A', which is no number"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        lk.read_inputs(tmp_path / "a.csv")


def test_times_that_leave_something_out_are_said(tmp_path):
    (tmp_path / "a.csv").write_text(
        "trajectory,time,a\n7,0,0.3\n7,1,0.1\n7,2,0.2\n7,3,0.6\n8,0,0.3\n8,4,0.7\n8,5,0.5\n8,6,0.1\n"
    )
    with pytest.warns(lk.ReliabilityWarning, match="row 6 comes 4 after the one before it, where 1 is usual"):
        assert lk.read_inputs(tmp_path / "a.csv").shape == (2, 4, 1)
    (tmp_path / "a.csv").write_text("time,a\n0,0.3\n0.11,0.1\n0.2,0.2\n0.31,0.3\n")
    assert lk.read_inputs(tmp_path / "a.csv").shape == (1, 4, 1)  # a warning would be an error


WAYS_OUT = "leave it out, or call it in a header 'trajectory' .* 'time' .* or 'feature …' if it is an input"


def _rows(*columns):
    return np.column_stack([np.broadcast_to(column, 12) for column in columns])


_A, _B = np.random.default_rng(0).normal(size=(2, 12))
_BLOCKS, _CYCLES = np.repeat(range(3), 4), np.tile(range(4), 3)


@pytest.mark.parametrize(
    ("names", "columns", "odd"),
    [
        ("sequence,a,b", (_BLOCKS, _A, _B), "'sequence' numbers something"),
        ("id,a,b", (_CYCLES + 7, _A, _B), "'id' numbers something"),
        ("a,trialId,b", (_A, np.repeat([3, 9, 4], 4), _B), "'trialId' numbers something"),
        ("Subject no.,a", (np.repeat([3, 9, 3], 4), _A), "'Subject no.' numbers something"),
        ("t,a", (0.1 * np.arange(12), _A), "'t' numbers something"),
        ("timestamp,a", (np.cumsum(np.abs(_B)), _A), "'timestamp' numbers something"),
        ("trajectory,step,a", (_BLOCKS, _CYCLES, _A), "'step' numbers something"),
        ("Unnamed: 0,a", (range(12), _A), "'Unnamed: 0' numbers something"),
        ("mouse,a", (_BLOCKS + 1, _A), "'mouse' counts"),
        ("a,Zeit", (_A, 0.02 * np.arange(12)), "'Zeit' counts"),
        ("Reihe,Zeit,a", (np.repeat([17, 40], 6), np.tile(0.5 * np.arange(6), 2), _A), "'Reihe' is the same whole"),
        ("trajectory,zeit,a", (_BLOCKS, 10.0 * _BLOCKS + _CYCLES, _A), "'zeit' counts"),
        (None, (range(1, 13), _A), "its column 1 counts"),
        (None, (_A, _CYCLES), "its column 2 counts"),
        (None, (np.repeat([0, 1], 6), _A), "its column 1 is the same whole number"),
    ],
)
def test_a_column_that_is_an_index_is_no_input(tmp_path, names, columns, odd):
    path = tmp_path / "a.csv"
    np.savetxt(path, _rows(*columns), delimiter=",", header=names or "", comments="")
    if names is None:
        path.write_text(path.read_text().removeprefix("\n"))
    with pytest.raises(ValueError, match=f"{re.escape(odd)}.*: {WAYS_OUT}"):
        lk.read_inputs(path)
    if names is not None:
        with pytest.raises(ValueError, match="leave it out; if it is a target, call it 'target …'"):
            read_targets(path)


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        ("stimulus,a", (np.tile([0, 1, 1, 0], 3), _A)),
        ("a,step input", (_A, np.repeat([0, 1], 6))),
        ("a,level", (_A, np.repeat([0, 2, 1], 4))),
        ("feature id,a", (range(12), _A)),
        ("a,input ramp", (_A, range(12))),
        ("index,a", (_B, _A)),  # of shares
        ("t,a", (_B, _A)),  # a temperature
        ("trial_type,a", (np.tile([0, 1, 1, 0], 3), _A)),
        ("tokens", (_CYCLES,)),
        (None, (_CYCLES,)),
        (None, (np.tile([0, 1], 6), np.tile([1, 0], 6))),
    ],
)
def test_what_only_resembles_an_index_is_an_input(tmp_path, names, columns):
    path = tmp_path / "a.csv"
    np.savetxt(path, _rows(*columns), delimiter=",", header=names or "", comments="")
    if names is None:
        path.write_text(path.read_text().removeprefix("\n"))
    np.testing.assert_allclose(lk.read_inputs(path), _rows(*columns)[None])


def test_pandas_headers_of_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("trajectory,0,1\n0,0.5,0.25\n0,0.75,0.1\n")
    np.testing.assert_array_equal(lk.read_inputs(tmp_path / "a.csv"), [[[0.5, 0.25], [0.75, 0.1]]])


def test_sequences_of_different_lengths(tmp_path, run):
    """Rows may be in any order of trajectories; each is measured along its own steps."""
    text = "Trajectory,Time,a,b\n2,0,0.1,0.2\n1,0,0.3,0.4\n2,1,0.5,0.6\n1,1,0.7,0.8\n2,2,0.9,1.0\n\n\n"
    (tmp_path / "a.csv").write_text(text)
    first, second = lk.read_inputs(tmp_path / "a.csv")
    np.testing.assert_array_equal(first, [[0.1, 0.2], [0.5, 0.6], [0.9, 1.0]])
    np.testing.assert_array_equal(second, [[0.3, 0.4], [0.7, 0.8]])
    gru = torch.nn.GRU(2, 3)
    torch.save(gru.state_dict(), tmp_path / "m.pt")
    options = ("--inputs", tmp_path / "a.csv", "--output", tmp_path / "x.nc", "-q")
    code, _, err = run("spectrum", tmp_path / "m.pt", *options)
    assert code == 0, err
    got = lk.load(tmp_path / "x.nc")
    assert got["n_steps"].values.tolist() == [3, 2]
    for index, sequence in enumerate((first, second)):
        alone = lk.lyapunov_spectrum(gru, sequence[None])["lyapunov_exponent"].values[0]
        np.testing.assert_allclose(got["lyapunov_exponent"].values[index], alone, atol=1e-12)
    for option in ("--rows", "--lengths"):
        extra = (tmp_path / "a.csv",) if option == "--lengths" else ()
        code, _, err = run("spectrum", tmp_path / "m.pt", *options, option, *extra)
        assert code == 2
        assert "differ" in err or "lengths of their own" in err


def test_learning_refuses_sequences_of_different_lengths(tmp_path, run):
    model = torch.nn.ModuleDict({"rnn": torch.nn.GRU(1, 3), "fc": torch.nn.Linear(3, 2)})
    torch.save(model.state_dict(), tmp_path / "m.pt")
    (tmp_path / "a.csv").write_text("trajectory,a\n0,1\n0,2\n1,3\n")
    (tmp_path / "y.csv").write_text("0\n1\n")
    code, out, err = run(
        "gradients", tmp_path / "m.pt", "--inputs", tmp_path / "a.csv", "--targets", tmp_path / "y.csv"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "differ in length" in err


def test_pickled_objects_are_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="cannot be loaded when allow_pickle=False"):
        lk.read_inputs(tmp_path / "a.npy")
    torch.save({"inputs": [1]}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="it holds a dict, expected a tensor"):
        lk.read_inputs(tmp_path / "a.pt")


def test_several_arrays_missing_files_and_unknown_types(tmp_path):
    np.savez(tmp_path / "a.npz", x=VALUES, y=VALUES)
    with pytest.raises(ValueError, match=r"holds the arrays \['x', 'y'\]: expected one, or one called 'inputs'"):
        lk.read_inputs(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="does not exist"):
        lk.read_inputs(tmp_path / "b.npy")
    (tmp_path / "a.mat").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"unknown type '\.mat'"):
        lk.read_inputs(tmp_path / "a.mat")


def test_what_would_not_fit_into_memory_is_not_read(tmp_path):
    """A header that claims terabytes, an archive that unpacks to gigabytes, a tensor that repeats one number."""
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with pytest.raises(ValueError, match=r"a\.npy .* it is cut off: its array of shape \(1099511627776,\) takes"):
        lk.read_inputs(tmp_path / "a.npy")
    np.savez_compressed(tmp_path / "a.npz", np.zeros((1, 1 << 17, 16)))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    with lk.maximum_size("10 MB"), pytest.raises(ValueError, match=r"a\.npz would take 16 MiB of memory, more than"):
        lk.read_inputs(tmp_path / "a.npz")
    assert lk.read_inputs(tmp_path / "a.npz").shape == (1, 1 << 17, 16)
    torch.save(torch.zeros(1).expand(1, 1 << 40, 1), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt takes .* and its tensors would take 8 TiB"):
        lk.read_inputs(tmp_path / "a.pt")
    (tmp_path / "a.csv").write_text("1,2\n" * 100)
    with lk.maximum_size(100), pytest.raises(ValueError, match=r"a\.csv would take 400 bytes"):
        lk.read_inputs(tmp_path / "a.csv")


def test_bfloat16_inputs(tmp_path):
    torch.save(torch.from_numpy(VALUES).bfloat16(), tmp_path / "a.pt")
    np.testing.assert_allclose(lk.read_inputs(tmp_path / "a.pt"), VALUES, rtol=1e-2)
