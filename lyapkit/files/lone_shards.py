"""Files that hold a part of a model's tensors: told by their name, or by an index beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from lyapkit.files.errors import CheckpointError, listed
from lyapkit.files.safetensors_files import INDEX_LIMIT, MOST_CONTAINERS

_OF = re.compile(r"(?<!\d)(\d+)[-_. ]?of[-_. ]?(\d+)(?!\d)", re.IGNORECASE)
_NUMBERED = re.compile(r"(?P<before>(.*[-_.])?(consolidated\.|mp_rank_|shard[-_.]?))(?P<number>\d+)(?P<after>(?!\d).*)")


def refuse_lone_shard(path: Path) -> None:
    """Raise if a file is one of several shards.

    Its name may say so, model-00001-of-00002.safetensors, or consolidated.00.pth with consolidated.01.pth beside it; or
    an index in its folder, *.index.json, lists it beside others.

    Raises
    ------
    CheckpointError
        Naming what to read instead.
    """
    others = _indices_that_list(path)
    if others:
        raise CheckpointError(
            f"{path} is one of several shards, and what it lacks lies in the others: read {others[0]}"
        )
    if (match := _OF.search(path.name)) and int(match[2]) > 1:
        index = f"{path.name[: match.start()].rstrip('-_. ')}{path.suffix}.index.json"
        raise CheckpointError(
            f"{path} is shard {int(match[1])} of {int(match[2])}, and what it lacks lies in the others: read their "
            f"index, {index}, which belongs beside them and is missing here, or join them into one file"
        )
    if match := _NUMBERED.fullmatch(path.name):
        named = re.compile(rf"{re.escape(match['before'])}\d+{re.escape(match['after'])}")
        beside = sorted(other.name for other in _beside(path) if named.fullmatch(other.name))
        if beside:
            raise CheckpointError(
                f"{path} is named as one of several shards, with {listed(beside, 3)} beside it, and what it lacks may "
                "lie in these: join them into one file, or give this one another name if it is whole"
            )


def _beside(path: Path) -> Iterable[Path]:
    try:
        return [other for other in path.parent.iterdir() if other.name != path.name]
    except OSError:  # a folder that may not be listed
        return []


def _indices_that_list(path: Path) -> list[Path]:
    """Return indices in a file's folder that list it and other files."""
    found = []
    for index in sorted(other for other in _beside(path) if other.name.endswith(".index.json")):
        try:
            if not index.is_file() or index.stat().st_size > INDEX_LIMIT:
                continue
            content = index.read_bytes()
            if content.count(b"{") + content.count(b"[") > MOST_CONTAINERS:
                continue
            files = set(json.loads(content)["weight_map"].values())
        except Exception:  # whatever is wrong with it, it is not what was asked for
            continue
        if path.name in files and len(files) > 1:
            found.append(index)
    return found
