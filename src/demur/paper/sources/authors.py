"""The authors' own set of uncertainty labels: a file beside the other preferences, or the hub's.

A row has the paper's columns (section 3.2, phase 3), which `demur.labels.preference_files` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import InputError, require
from demur.files import write_whole
from demur.labels.preference_files import PAPER_COLUMNS, read_preferences
from demur.models.catalogue import cache_folder
from demur.records import FloatArray, Preference

AUTHORS = "entropy, authors' set"
HUB = "AsalMehradfar/uncertainty_0.1"
FILES = (
    "uncertainty_0.1.jsonl",
    "uncertainty_0.1.jsonl.gz",
    "uncertainty_0.1.parquet",
)  # under preferences/ of the data folder
STRONG_MARK = "gpt-4"  # in the strong model's name; the other is the weak one


def authors_set(folder: Path) -> tuple[list[str], FloatArray]:
    """Prompts and targets of the set, from ``folder/preferences``, the cache, or the hub.

    Raises InputError where it cannot be had or does not compare one strong model with one weak, MissingExtraError
    without the hub's client.
    """
    cached = cache_folder().parent / FILES[0]
    places = [*(folder / "preferences" / name for name in FILES), cached]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        path = _keep(_from_hub(), cached)
    rows = read_preferences(path)
    return [row.prompt for row in rows], np.array([_strong_needed(row, path) for row in rows])


def _strong_needed(row: Preference, path: Path) -> float:
    a, b = (STRONG_MARK in name.casefold() for name in (row.model_a, row.model_b))
    if a == b:
        raise InputError(
            f"{path}: row {row.id} compares {row.model_a} and {row.model_b}; exactly one must be a {STRONG_MARK}"
        )
    return row.target if b else 1.0 - row.target


def _from_hub() -> Sequence[Mapping[str, Any]]:
    datasets = require("datasets", extra="hub", purpose=f"loading the authors' set {HUB} from the hub")
    try:
        return list(datasets.load_dataset(HUB, split="train"))
    except Exception as error:  # the hub's client raises what its transport does
        raise InputError(f"{HUB} cannot be loaded from the hub: {str(error)[:160]}") from error


def _keep(rows: Iterable[Mapping[str, Any]], path: Path) -> Path:
    lines = (json.dumps({name: row.get(name) for name in PAPER_COLUMNS}, ensure_ascii=False) + "\n" for row in rows)
    write_whole(path, "".join(lines))
    return path
