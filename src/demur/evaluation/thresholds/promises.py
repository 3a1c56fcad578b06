"""What graded prompts have backed before: each promise that was tried on them is kept, and makes the next one harder.

Of twenty routers certified on the same prompts, the one that looks cheapest is the one that was lucky. So that all
promises on the same prompts hold together, the k-th of them is tested at a smaller error (`confidence_of`). A promise
is kept beside the run and in the user's state folder, so that routers of other runs count as well; and before its
outcome is known: one that was refused has been looked at, too.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from demur.evaluation.graded_file import plain_text
from demur.files import write_whole
from demur.records import content_hash

FOLDER = "promises"
SHARED = 0.1  # of the graded prompts: with fewer in common, two files are two draws
log = logging.getLogger("demur.promises")


def state_folder() -> Path:
    """Where promises are kept for all runs of a user: ``$XDG_STATE_HOME/demur/promises``, or under ~/.local/state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "demur" / FOLDER


def promise_number(prompts: Sequence[str], promise: Mapping[str, Any], beside: Path) -> int:
    """How many promises these graded prompts have backed, this one included; the same promise again keeps its number.

    ``promise`` is what tells it from others (router, risk, loss, confidence); ``beside`` is the run's folder.
    """
    keys = _keys(prompts)
    kept = {path.name: found for place in (beside / FOLDER, state_folder()) for path, found in _read_promises(place)}
    name = _name(keys, promise)
    return int(kept[name]["number"]) if name in kept else 1 + _overlapping_promises(keys, kept)


def keep_promise(prompts: Sequence[str], promise: Mapping[str, Any], number: int, beside: Path) -> None:
    """Remember that a promise was tried on these prompts: before its outcome is known."""
    keys = _keys(prompts)
    text = json.dumps({"number": number, **promise, "prompts": keys}) + "\n"
    for place in (beside / FOLDER, state_folder()):
        path = place / _name(keys, promise)
        if not path.is_file():
            _keep(path, text)


def _keys(prompts: Sequence[str]) -> list[str]:
    return sorted({content_hash(plain_text(prompt))[:16] for prompt in prompts})


def _name(keys: Sequence[str], promise: Mapping[str, Any]) -> str:
    return f"{content_hash([list(keys), dict(promise)])}.json"


def _overlapping_promises(keys: Sequence[str], kept: Mapping[str, Mapping[str, Any]]) -> int:
    wanted = set(keys)
    return sum(len(wanted & set(found["prompts"])) >= SHARED * len(wanted) for found in kept.values())


def _read_promises(place: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path in sorted(place.glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            int(found["number"]), set(found["prompts"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            log.warning("%s: no promise can be read here; it is not counted", path)
            continue
        yield path, found


def _keep(path: Path, text: str) -> None:
    try:
        write_whole(path, text, mode=0o600)
    except OSError as error:
        log.warning("%s: the promise is not remembered (%s); the next one will count too few", path, error.strerror)
