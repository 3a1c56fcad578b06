"""Erases prompts from all that learning has kept: chosen prompts, samples, labels, and routers that learned from them.

What a router has learned stays; its training prompts, which its explanations show, lose their texts and answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from demur.errors import ArtifactError, InputError
from demur.gateway.learning.cold_start import SERVING
from demur.gateway.ledger.erase import erase_prompts
from demur.learning.traffic import TAKEN, SeenPrompt, taken_prompts, write_taken
from demur.learning.versions import promote, router_folder, router_folders, serving_version, versions
from demur.routing.artifact import read_artifact, rewrite_prompts
from demur.runs.lock import lock_run
from demur.store import Store

ERASED = "(erased)"
STORE = "store.sqlite"
OF_THE_LAST_ROUND = ("preferences.jsonl", "unknown.jsonl", "routers", "router")  # the next one makes them anew


def forget(folder: str, ledger: str, *, before: float | None = None, key: str | None = None) -> int:
    """Erase kept prompts by age (before a time, seconds since 1970) or client key, in the ledger and in all that was
    learned from them; returns how many. Raises InputError, StoreError, ArtifactError."""
    if before is None and key is None:
        raise InputError("nothing to forget is named; give --key or --older-than")
    erased = erase_prompts(ledger, before=before, key=key) if ledger else 0
    if not (Path(folder) / TAKEN).exists():
        return erased

    def is_meant(one: SeenPrompt) -> bool:
        return (before is None or one.at < before) and (key is None or one.key == key)

    with lock_run(Path(folder), "forget"):
        taken = taken_prompts(Path(folder))
        gone = {one.prompt for one in taken if is_meant(one)}
        if gone:
            _forget_learned(Path(folder), gone)
            write_taken(Path(folder), [one for one in taken if one.prompt not in gone])  # last: a kill begins again
    return erased


def _forget_learned(folder: Path, gone: set[str]) -> None:
    if (folder / STORE).exists():
        with Store(folder / STORE) as store:
            store.forget(gone)
    for name in OF_THE_LAST_ROUND:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for one in versions(folder):
        _forget_in_version(folder, one.number, gone)


def _forget_in_version(folder: Path, number: int, gone: set[str]) -> None:
    """Put a router without these texts in the place of a version's; the one that serves is replaced in one step."""
    now = router_folder(folder, number)
    if not now.is_dir():
        return
    if _knows(now, gone):
        fresh = now.with_name(f"router.{len(router_folders(folder, number))}")
        part = now.with_name("router.part")
        shutil.rmtree(part, ignore_errors=True)  # that a kill has left
        shutil.copytree(now, part)
        rewrite_prompts(part, _without(gone))
        part.rename(fresh)
    if serving_version(folder) == number and (folder / SERVING).resolve() != router_folder(folder, number).resolve():
        promote(folder, number)
    for old in router_folders(folder, number)[:-1]:
        shutil.rmtree(old, ignore_errors=True)


def _knows(router: Path, gone: set[str]) -> bool:
    try:
        artifact = read_artifact(router)
    except KeyError as error:
        raise ArtifactError(f"{router}: router.json has no {error}; delete the folder") from None
    return any(row["prompt"] in gone for row in (*artifact.training, *artifact.unknown))


def _without(gone: Iterable[str]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    def erase_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
        if row["prompt"] not in gone:
            return row
        answers = {name: "" for name in row if name.endswith("_answer")}
        return {**row, "prompt": ERASED, **answers}

    return erase_row
