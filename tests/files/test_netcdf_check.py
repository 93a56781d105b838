"""netCDF files that the library does not survive: refused, in this process, and sound files read as ever."""

import os
import resource
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import lyapkit as lk
from lyapkit.files import netcdf_check
from lyapkit.files.child import Child

DAMAGED = Path(__file__).with_name("damaged")


@pytest.fixture
def path(tmp_path):
    """A file that another program wrote."""
    xr.Dataset({"inputs": (("trajectory", "time", "feature"), np.arange(24.0).reshape(2, 4, 3))}).to_netcdf(
        tmp_path / "a.nc", engine="netcdf4"
    )
    return tmp_path / "a.nc"


def _pid():
    return Child.running(netcdf_check.READER).process.pid


def _work():
    """Return the seconds of the processor that this process and its children took; the clock counts others' too."""
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ticks = Path(f"/proc/{_pid()}/stat").read_text().rpartition(")")[2].split()[11:15]
    seconds = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    return seconds + sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("read", [lk.load, lk.read_inputs])
@pytest.mark.parametrize("name", ["segfault.nc", "hang.nc"])
def test_a_crash_or_hang_of_the_library_is_an_error(path, name, read):
    before = _work()
    with pytest.raises(
        ValueError, match=rf"{name} is not a readable .*(does not come back|crashes|allocation)"
    ) as error:
        read(DAMAGED / name)
    assert "\n" not in str(error.value)
    assert _work() - before < 5
    np.testing.assert_array_equal(lk.read_inputs(path), np.arange(24.0).reshape(2, 4, 3))  # and on it goes


def test_a_crash_is_named(path, monkeypatch):
    """As if the library had crashed while it read: the child is gone without an answer."""
    child = Child.running(netcdf_check.READER)
    monkeypatch.setattr(child, "send", lambda *_, **__: child.process.kill())
    with pytest.raises(ValueError, match=r"a\.nc is not a readable netCDF file: the netCDF library crashes on it"):
        lk.load(path)
    monkeypatch.undo()
    assert lk.load(path).sizes == {"trajectory": 2, "time": 4, "feature": 3}


def test_one_child_serves_all_and_what_is_known_needs_none(path, monkeypatch):
    first = _pid()
    lk.load(path)
    own = lk.save(lk.load(path), path.with_name("b.nc"))
    assert _pid() == first
    monkeypatch.setattr(Child, "running", None)
    lk.load(path)
    lk.load(own)
    monkeypatch.undo()
    os.utime(path, ns=(1, 1))  # another file, for all that is known
    monkeypatch.setattr(Child, "running", lambda *_: pytest.fail("asked"))
    with pytest.raises(pytest.fail.Exception, match="asked"):
        lk.load(path)


def test_what_would_not_fit_into_memory_is_not_read(tmp_path):
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w") as ds:
        ds.createDimension("x", 1 << 40)
        ds.createVariable("y", "f8", ("x",), chunksizes=(1000,))
    with pytest.raises(ValueError, match=r"a\.nc would take 8 TiB of memory, more than the 2 GiB .* --max-size"):
        lk.load(path)
    with lk.maximum_size("9 TiB"), pytest.raises(ValueError, match=r"claims to hold 8 TiB, more than compression can"):
        lk.load(path)


def test_what_is_no_netcdf_file(tmp_path):
    (tmp_path / "a.nc").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.nc is not a readable netCDF file"):
        lk.load(tmp_path / "a.nc")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        lk.load(tmp_path)


def test_a_damaged_file_is_forgotten(tmp_path):
    """The library keeps this one open, and would give it again for whatever is written there later."""
    path, other = tmp_path / "a.nc", tmp_path / "b.nc"
    xr.Dataset({"a": ("x", np.arange(40.0))}, {"x": np.arange(40)}).to_netcdf(path, engine="netcdf4")
    xr.Dataset({"b": ("x", np.arange(5.0))}).to_netcdf(other, engine="netcdf4")
    with path.open("r+b") as file:
        file.seek(2104)
        file.write(b"\xff" * 8)
    with pytest.raises(ValueError, match="is not a readable netCDF file"):
        lk.load(path)
    path.write_bytes(other.read_bytes())  # in place: the same file for the system
    assert list(lk.load(path)) == ["b"]
