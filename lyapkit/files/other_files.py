"""Files that people have in the place of a checkpoint: what they are, and how to go on from there."""

from __future__ import annotations

from collections.abc import Sequence

from lyapkit.files.errors import listed

_UNPACK = "it is compressed or packed: unpack it first"
_BEGINNINGS = {
    b"version https://git-lfs": "it is a pointer of Git LFS, not the file itself: fetch that with 'git lfs pull'",
    b"<!doctype html": "it is a web page: download the file itself",
    b"<html": "it is a web page: download the file itself",
    b"\x1f\x8b": _UNPACK,
    b"bzh": _UNPACK,
    b"\xfd7zxz": _UNPACK,
    b"\x28\xb5\x2f\xfd": _UNPACK,
    b"7z\xbc\xaf": _UNPACK,
    b"\x93numpy": "it is one NumPy array without a name: save named arrays, safetensors.numpy.save_file",
    b"gguf": "it is a GGUF file: save the weights with safetensors",
}


def what_else(start: bytes, members: Sequence[str]) -> str | None:
    """Return what a file is and what to do, from its first bytes and its members if it is an archive; or None."""
    if members and all(name.endswith(".npy") for name in members):
        return f"it is an archive of NumPy arrays, {listed(members)}: save them with safetensors.numpy.save_file"
    if start[257:262] == b"ustar":
        return _UNPACK
    lowered = start.lstrip().lower()
    return next((words for begin, words in _BEGINNINGS.items() if lowered.startswith(begin)), None)
