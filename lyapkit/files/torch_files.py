"""What `torch.save` wrote, without running any code that the file may hold; or why it is not read.

Reading is left to ``torch.load(weights_only=True)``, which builds tensors and plain containers and calls nothing else.
Values that training scripts often keep beside the weights (NumPy numbers, paths, arguments) are read as `Unread`, an
empty object, so that they do not stand in the way.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from lyapkit.files.errors import CheckpointError, listed, reason
from lyapkit.files.limits import check_size

LONGEST_NAME = 1000  # of a class or function that a pickle asks for
RESAVE = "save the weights alone, torch.save(model.state_dict(), path) or safetensors.torch.save_file"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number with which torch.save began before its archives


class Unread:
    """What stands where a file holds an object that is no tensor and no plain container: nothing of it is kept."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_STAND_INS: list[tuple[Callable[..., Any], str]] = [
    *(
        (Unread, name)
        for name in (
            *("numpy.dtype", "numpy.ndarray", "argparse.Namespace", "types.SimpleNamespace", "builtins.list"),
            *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
            *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "_local.PosixPath")),
            *("datetime.datetime", "datetime.timedelta", "uuid.UUID"),
        )
    ),
    (lambda *_: {}, "collections.defaultdict"),
    (lambda *_: [], "collections.deque"),
]


def read_torch(path: Path) -> object:
    """Return what `torch.save` wrote, tensors and plain containers only, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds objects whose reading would run code.
    """
    try:
        _check(path)
        with (
            path.open("rb") as file,  # torch takes a path called .safetensors for something else
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals([*_STAND_INS]),
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # damaged files raise whatever their bytes suggest
        raise CheckpointError(f"{path} {_why_refused(path, error)}") from error


def _check(path: Path) -> None:
    """Raise if a file is none of tensors, is too large unpacked, or not what its checksums say; torch checks none."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(len(_LEGACY)) != _LEGACY:
                raise CheckpointError(
                    f"{path} is not a readable PyTorch file: it is a pickle that torch.save did not write, and reading "
                    f"it could run code: {RESAVE}"
                )
            file.seek(0)
            _refuse_long_names(path, file)
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise CheckpointError(
                f"{path} is a TorchScript archive, a program, and reading it would run its code, so it was not read: "
                "where you trust it, load it with model = torch.jit.load(path) and save its weights with "
                "torch.save(dict(model.state_dict()), other_path)"
            )
        check_size(path, sum(member.file_size for member in members))
        for member in members:
            if member.CRC:  # torch writes 0 where it was told to compute none
                with archive.open(member) as content:
                    while content.read(1 << 20):
                        pass
            if member.filename.endswith("/data.pkl"):
                with archive.open(member) as content:
                    _refuse_long_names(path, content)


def _refuse_long_names(path: Path, file: IO[bytes]) -> None:
    """Refuse pickles, one after the other, with global names that are too long: torch takes minutes to refuse them."""
    while True:
        try:
            names = (name for code, name, _ in pickletools.genops(file) if code.name == "GLOBAL")
            longest = max((len(name) for name in names if name), default=0)
        except Exception:  # the end, a pickle that is damaged, or one without: torch says what is wrong
            return
        if longest > LONGEST_NAME:
            raise CheckpointError(
                f"{path} is damaged or was made to harm: its pickle names a global of {longest} characters: {RESAVE}"
            )


def _why_refused(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that torch.load refused and what to do about it, never in torch's words."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not an archive that torch can look into
        found = re.findall(r"GLOBAL (\S+)", str(error))
        names = found[:1]
    names = sorted(set(names) - {name for _, name in _STAND_INS})
    if "torch.ScriptObject" in names:
        return (
            "holds packed weights of a quantised module (torch.ScriptObject), which code alone can unpack, so it was "
            "not read: give the module itself to lyapkit.from_module, or save its state dict from before quantisation"
        )
    if names:
        module = any(name.startswith("torch.nn.modules.") for name in names)
        what = f"{'a whole pickled module, ' * module}Python objects ({listed(names, quoted=False)})"
        return f"holds {what} and reading them could run code, so it was not read: {RESAVE}"
    words = reason(error)
    if "weights" in words.lower():  # torch's way of saying that it met something else, with advice to run it
        words = "it holds more than tensors and plain containers"
    return f"is not a readable PyTorch file (damaged or truncated?): {words.partition('  (Could this')[0]}"
