"""Reads and writes files of preferences: JSON lines or, with ``[hub]``, parquet; CSV is read as well.

Rows are written with the paper's columns first and demur's own after them. A prompt is written as plain text;
RouteLLM's tools expect a JSON list of turns there, which `write_routellm` writes. Read are these rows, arena rows, the
authors' data set, and rows with a score or a human judgement for each of several models. It does not know how demur
itself makes a preference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from sys import intern
from typing import Any

import numpy as np

from demur.config.names import HUB as HUB
from demur.errors import InputError, require
from demur.files import write_lines, write_whole
from demur.labels.graded_targets import preference_targets
from demur.labels.targets import winner_of
from demur.prompts.rows import TEXT_FIELDS, read_rows
from demur.records import Preference, Winner, count_of

PAPER_COLUMNS = (
    *("id", "model_a", "model_b", "prompt", "response_a", "response_b"),
    *("winner_model_a", "winner_model_b", "winner_tie"),
)
SCORE_FIELDS = ("scores", "human_correct")  # model -> number, of one prompt
OUTPUT_FIELDS = ("outputs", "answer")  # model -> its answer
_WINNERS: dict[str, Winner] = {"model_a": "model_a", "model_b": "model_b", "tie": "tie", "tie (bothbad)": "tie"}
_TARGETS: dict[Winner, float] = {"model_a": 0.0, "model_b": 1.0, "tie": 0.5}
_TURNED: dict[Winner, Winner] = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}


@dataclass(frozen=True, slots=True)
class PairPreferences:
    """The rows of a file that compare two models, model_a the weak one, and how many rows do not apply to them."""

    preferences: tuple[Preference, ...]
    left_out: Mapping[str, int]  # why -> rows

    @property
    def note(self) -> str:
        """Counts of the rows left out, with reasons; empty when every row was used."""
        return ", ".join(f"{count_of(count, 'row')} left out: {why}" for why, count in self.left_out.items() if count)


def read_preferences(path: str | Path) -> list[Preference]:
    """Read rows that name two models and a winner: our own, RouteLLM's arena rows, or the authors' set.

    Raises InputError naming file, row and field.
    """
    if not str(path).startswith(HUB) and not Path(path).exists():
        raise InputError(f"{path}: no preferences in this run; make them with `demur label`")
    return [_preference(row, where) for where, row in _rows_of(str(path))]


def read_pair(path: str | Path, *, weak: str, strong: str, tie_below: float = 0.0) -> PairPreferences:
    """The preferences of a file between two models, named as in the file.

    Rows with a winner, or with ``scores`` (``human_correct``) and ``outputs`` (``answer``) by model: then the larger
    score wins, and scores that differ by at most ``tie_below`` tie; rows marked ``improper``, and those without one of
    both scores, are left out and counted. Raises InputError for a file without this pair, or a row that is wrong.
    """
    rows = list(_rows_of(str(path)))
    if rows and any(field in rows[0][1] for field in SCORE_FIELDS):
        return _score_rows(rows, Path(path), weak, strong, tie_below)
    found = [_preference(row, where) for where, row in rows]
    turned = orient(found, weak=weak, strong=strong)
    if not turned:
        pairs = sorted({f"{row.model_a} / {row.model_b}" for row in found})
        raise _without(path, weak, strong, pairs)
    return PairPreferences(tuple(turned), {"they compare other models": len(found) - len(turned)})


def _rows_of(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a file, or of a data set of the hub named ``hub:ORG/NAME``, with where each stands."""
    if not path.startswith(HUB):
        if not Path(path).exists():
            raise InputError(f"{path}: no such file of preferences")
        return read_rows(Path(path))
    name = path.removeprefix(HUB)
    datasets = require("datasets", extra="hub", purpose=f"loading {name} from the hub")
    try:
        found = list(datasets.load_dataset(name, split="train"))
    except Exception as error:  # the hub's client raises what its transport does
        raise InputError(f"{path} cannot be loaded: {' '.join(str(error).split())[:160]}") from error
    return ((f"{path}:{place}", row) for place, row in enumerate(found, start=1))


def orient(preferences: Sequence[Preference], *, weak: str, strong: str) -> list[Preference]:
    """The rows about this pair, reordered so that model_a is the weak model; others are left out."""
    turned = []
    for row in preferences:
        if (row.model_a, row.model_b) == (weak, strong):
            turned.append(row)
        elif (row.model_a, row.model_b) == (strong, weak):
            turned.append(
                replace(
                    row,
                    model_a=weak,
                    model_b=strong,
                    response_a=row.response_b,
                    response_b=row.response_a,
                    target=1.0 - row.target,
                    winner=_TURNED[row.winner],
                    entropy_a=row.entropy_b,
                    entropy_b=row.entropy_a,
                    meanings_a=row.meanings_b,
                    meanings_b=row.meanings_a,
                    slope=None,  # of the other model on this one, which is not known
                    strong_weight=None,
                    margin=None if row.margin is None else -row.margin,
                )
            )
    return turned


def write_preferences(path: str | Path, preferences: Iterable[Preference]) -> None:
    """Write preferences to .jsonl or .parquet, with the paper's columns first and ours behind."""
    path = Path(path)
    rows = map(as_row, preferences)
    if path.suffix == ".parquet":
        pyarrow = require("pyarrow", extra="hub", purpose="writing parquet")
        parquet = require("pyarrow.parquet", extra="hub", purpose="writing parquet")
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
        return
    write_lines(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_routellm(path: str | Path, preferences: Sequence[Preference]) -> None:
    """Write battles that RouteLLM's own code reads: the paper's columns, texts as JSON lists of turns, and ``winner``.

    A soft target counts for the side that it leans to. ``idx`` is the row's place among the embeddings of its prompts.
    """
    rows = []
    for place, one in enumerate(preferences):
        row = {name: value for name, value in as_row(one).items() if name in PAPER_COLUMNS}
        turns = {name: json.dumps([row[name]], ensure_ascii=False) for name in ("prompt", "response_a", "response_b")}
        rows.append({**row, **turns, "winner": one.winner, "idx": place})
    write_whole(Path(path), json.dumps(rows, ensure_ascii=False, indent=0) + "\n")


def as_row(preference: Preference) -> dict[str, Any]:
    """A row of the data set: the paper's columns, then ours."""
    row = asdict(preference)
    winner = row.pop("winner")
    paper = {f"winner_{who}": int(winner == who) for who in _TARGETS} | row
    return {name: paper.pop(name) for name in PAPER_COLUMNS} | paper


# -- rows that name two models and a winner --------------------------------------------------------------------------


def _preference(row: Mapping[str, Any], where: str) -> Preference:
    winner = _winner(row, where)
    target = _number(row, "target", where)
    if target is not None and not 0 <= target <= 1:
        raise InputError(f"{where}: field 'target' must be from 0 to 1, found {target:g}")
    return Preference(
        id=str(row.get("id") or where.rpartition(":")[2]),
        model_a=intern(_text(row, "model_a", where)),
        model_b=intern(_text(row, "model_b", where)),
        prompt=_first_turn(row, "prompt", where),
        response_a=_first_turn({"response_a": ""} | _present(row), "response_a", where),
        response_b=_first_turn({"response_b": ""} | _present(row), "response_b", where),
        target=_TARGETS[winner] if target is None else target,
        winner=winner,
        kind=intern(str(row.get("kind") or "preference")),  # one text for all rows: there may be millions
        entropy_a=_number(row, "entropy_a", where),
        entropy_b=_number(row, "entropy_b", where),
        definition=intern(str(row.get("definition") or "")),
        margin=_number(row, "margin", where),
        n=int(_number(row, "n", where) or 0),
        meanings_a=_count(row, "meanings_a", where),
        meanings_b=_count(row, "meanings_b", where),
        slope=_number(row, "slope", where),
        strong_weight=_number(row, "strong_weight", where),
    )


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _winner(row: Mapping[str, Any], where: str) -> Winner:
    flags: list[Winner] = [name for name in _TARGETS if row.get(f"winner_{name}") not in (None, 0, "0", "")]
    if len(flags) == 1:
        return flags[0]
    named = row.get("winner")
    if not isinstance(named, str) or named not in _WINNERS:
        raise InputError(f"{where}: exactly one of winner_model_a, winner_model_b, winner_tie must be 1, found {flags}")
    return _WINNERS[named]


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    if field not in row:
        raise InputError(f"{where}: field {field!r} is missing; found {', '.join(map(str, row))}")
    if not isinstance(row[field], str):
        raise InputError(f"{where}: field {field!r} must be a text, found {row[field]!r}")
    return str(row[field])


def _number(row: Mapping[str, Any], field: str, where: str) -> float | None:
    """A finite number; None where there is none."""
    value = row.get(field)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or isinstance(value, bool):
        raise InputError(f"{where}: field {field!r} must be a number, found {value!r}")
    return number


def _count(row: Mapping[str, Any], field: str, where: str) -> int | None:
    number = _number(row, field, where)
    return None if number is None else int(number)


def _first_turn(row: Mapping[str, Any], field: str, where: str) -> str:
    """Arena rows hold turns, as a list or as JSON of one; the first is the prompt. Rows of ours hold texts."""
    value = row.get(field)
    if "target" in row:
        return _text(row, field, where)
    turns = value if isinstance(value, list) else _turns(value) if isinstance(value, str) else None
    if turns and isinstance(turns[0], str):
        return turns[0]
    return _text(row, field, where)


def _turns(text: str) -> list[Any] | None:
    if not text.startswith("["):
        return None
    try:
        turns = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return turns if isinstance(turns, list) else None


# -- rows that hold a score of several models' answers ---------------------------------------------------------------


def _score_rows(
    rows: Sequence[tuple[str, Mapping[str, Any]]], path: Path, weak: str, strong: str, tie_below: float
) -> PairPreferences:
    kept, scores, models = [], [], set[str]()
    left_out = {"marked improper": 0, "a score is missing": 0}
    for where, row in rows:
        by_model = _by_model(row, SCORE_FIELDS, where)
        models |= set(by_model)
        pair = [_number(by_model, name, f"{where}: scores") for name in (weak, strong)]
        if row.get("improper"):
            left_out["marked improper"] += 1
        elif None in pair:
            left_out["a score is missing"] += 1
        else:
            kept.append((where, row))
            scores.append(pair)
    if not kept or not {weak, strong} <= models:
        raise _without(path, weak, strong, sorted(models))
    low, high = np.array(scores, dtype=float).T
    targets = preference_targets(low, high, tie_below=tie_below)
    made = [
        _scored_preference(row, where, float(y), weak, strong) for (where, row), y in zip(kept, targets, strict=True)
    ]
    return PairPreferences(tuple(made), left_out)


def _scored_preference(row: Mapping[str, Any], where: str, target: float, weak: str, strong: str) -> Preference:
    field = next((name for name in TEXT_FIELDS if name in row), TEXT_FIELDS[0])
    said = _by_model({OUTPUT_FIELDS[0]: {}, **row}, OUTPUT_FIELDS[::-1], where)
    return Preference(
        id=str(row.get("id") or where.rpartition(":")[2]),
        model_a=weak,
        model_b=strong,
        prompt=_text(row, field, where),
        response_a=str(said.get(weak) or ""),
        response_b=str(said.get(strong) or ""),
        target=target,
        winner=winner_of(target),
        kind="preference",
        n=1,
    )


def _by_model(row: Mapping[str, Any], names: Sequence[str], where: str) -> Mapping[str, Any]:
    field = next((name for name in names if name in row), names[0])
    found = row.get(field)
    if not isinstance(found, dict):
        raise InputError(f"{where}: field {field!r} must hold a value for each model, found {found!r}")
    return found


def _without(path: str | Path, weak: str, strong: str, held: Sequence[str]) -> InputError:
    shown = ", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else "")
    return InputError(
        f"{path}: no row compares {weak} and {strong}; it holds {shown or 'nothing'}: name its weak and its strong "
        "model, --models WEAK,STRONG"
    )
