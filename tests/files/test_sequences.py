"""Input files: the same sequences from every type of file, and what is said about damaged ones."""

import numpy as np
import pytest
import torch
import xarray as xr

import lyapkit as lk

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
        ("trajectory,a\n0,1\n0,2\n1,3\n", "its trajectories differ in length"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        lk.read_inputs(tmp_path / "a.csv")


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
