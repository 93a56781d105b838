"""Files: identical after a round trip, whole or not there at all, with their provenance."""

import numpy as np
import pytest
import xarray as xr
from torch import nn

import lyapkit as lk
from lyapkit import provenance
from lyapkit.files.writing import replacing


def _write_half(path):
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError


@pytest.fixture(scope="module")
def ds():
    return lk.lyapunov_spectrum(lk.from_module(nn.GRU(2, 30)), np.random.default_rng(0).normal(size=(6, 200, 2)))


def test_round_trip_is_identical(ds, tmp_path):
    path = lk.save(ds, tmp_path / "a.nc")
    again = lk.load(path)
    assert again.identical(ds)
    for name in ds.variables:
        assert again[name].dtype == ds[name].dtype


def test_infinities_and_missing_values_survive(ds, tmp_path):
    changed = ds.copy(deep=True)
    changed["lyapunov_exponent"][0, 0] = np.nan
    changed["lyapunov_exponent"][0, 1] = -np.inf
    assert lk.load(lk.save(changed, tmp_path / "a.nc")).identical(changed)


def test_large_variables_are_compressed(tmp_path):
    big = xr.Dataset({"zero": ("x", np.zeros(100_000)), "few": ("y", np.arange(3.0))})
    path = lk.save(big, tmp_path / "a.nc")
    assert path.stat().st_size < 100_000
    with xr.open_dataset(path) as raw:
        assert raw["zero"].encoding["zlib"]
        assert not raw["few"].encoding["zlib"]


def test_failed_write_leaves_the_old_file(ds, tmp_path):
    path = lk.save(ds, tmp_path / "a.nc")
    before = path.read_bytes()
    broken = ds.assign_attrs(bad={"a": 1})
    with pytest.raises(TypeError):
        lk.save(broken, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    with pytest.raises(ZeroDivisionError):
        _write_half(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_same_dataset_same_bytes(ds, tmp_path):
    assert lk.save(ds, tmp_path / "a.nc").read_bytes() == lk.save(ds, tmp_path / "b.nc").read_bytes()


def test_unwritable_paths(ds, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        lk.save(ds, tmp_path / "nowhere" / "a.nc")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        lk.save(ds, tmp_path)


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        lk.load(tmp_path / "a.nc")
    for content in (b"", b"not netCDF at all"):
        (tmp_path / "a.nc").write_bytes(content)
        with pytest.raises(ValueError, match="is not a readable netCDF file"):
            lk.load(tmp_path / "a.nc")


def test_provenance(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    made = provenance.provenance(n_steps=3, flag=None)
    assert made["created_at"] == "1970-01-02T00:00:00+00:00"
    assert made["parameters"] == '{"flag": null, "n_steps": 3}'
    assert made["lyapkit_version"] == lk.__version__
    commit = made["git_commit"].removesuffix("-dirty")
    assert commit == "unknown" or len(commit) == 40


def test_sha256_is_of_the_values():
    a = np.arange(12.0).reshape(3, 4)
    assert provenance.sha256(a) == provenance.sha256(np.asfortranarray(a))
    assert provenance.sha256(a) != provenance.sha256(a + 1)


def test_the_former_name_of_load_still_works_and_says_so(tmp_path):
    path = lk.save(xr.Dataset({"a": ("x", [1.0, 2.0])}), tmp_path / "a.nc")
    with pytest.warns(DeprecationWarning, match="lyapkit.load"):
        assert lk.open(path).identical(lk.load(path))
