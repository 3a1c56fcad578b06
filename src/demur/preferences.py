"""Preferences: which model is preferred for a prompt, from the entropies of both; and their files.

Hard winners (Eqs. 3-4 of Zhang et al. 2025) and soft targets, as pure functions on arrays. A target y is in [0, 1]:
1 = the strong model is needed, 0 = it is not, .5 = tie. Reads and writes JSON lines (parquet with ``[hub]``) with the
paper's columns, so that RouteLLM's tools and the authors' set load.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from demur.errors import InputError, require
from demur.records import FloatArray, Preference

Delta = Literal["symmetric", "paper"]
Winner = Literal["model_a", "model_b", "tie"]
TOKEN_SHARE = 0.5  # of token log-probs beside the entropies' margin
WARNED_SHARE = 1 / 3  # of ties, or of saturated prompts
PAPER_COLUMNS = (
    *("id", "model_a", "model_b", "prompt", "response_a", "response_b"),
    *("winner_model_a", "winner_model_b", "winner_tie"),
)


def relative_difference(entropy_weak: FloatArray, entropy_strong: FloatArray, delta: Delta = "symmetric") -> FloatArray:
    """How far two entropies lie apart, (n,).

    ``symmetric``: |a - b| / max(a, b), in [0, 1]; maps exactly onto the paper's tau. ``paper`` (Eq. 3):
    |s - w| / |s|, guarded: equal gives 0, a zero denominator with different entropies infinity; never NaN.
    Raises InputError for negative entropies under ``symmetric`` (Eq. 2 gives them), or NaN.
    """
    weak, strong = np.asarray(entropy_weak, dtype=float), np.asarray(entropy_strong, dtype=float)
    if np.isnan(weak).any() or np.isnan(strong).any():
        raise InputError(f"{int(np.isnan(weak).sum() + np.isnan(strong).sum())} entropies are NaN; label again")
    if delta == "symmetric" and min(weak.min(initial=0.0), strong.min(initial=0.0)) < 0:
        raise InputError(
            f"an entropy is {min(weak.min(), strong.min()):.3g}, and delta='symmetric' needs values >= 0; "
            "use definition rao_blackwell, or delta='paper'"
        )
    apart = np.abs(strong - weak)
    scale = np.maximum(weak, strong) if delta == "symmetric" else np.abs(strong)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(apart == 0, 0.0, apart / scale)


def hard_targets(
    entropy_weak: FloatArray, entropy_strong: FloatArray, *, tau: float = 0.1, delta: Delta = "symmetric"
) -> FloatArray:
    """1 where the strong model is more certain by more than ``tau``, 0 where the weak one is, .5 for ties (Eq. 4)."""
    apart = relative_difference(entropy_weak, entropy_strong, delta) > tau
    strong_wins = np.asarray(entropy_strong) < np.asarray(entropy_weak)
    return np.where(apart, strong_wins.astype(float), 0.5)


def margin_targets(entropy_weak: FloatArray, entropy_strong: FloatArray) -> FloatArray:
    """Soft targets: the rank of SE_weak - SE_strong among all prompts, scaled to [0, 1]; equal margins share a rank.

    Ranks, because the margin's scale differs by pair and definition while its order is what carries.
    """
    return mean_ranks(np.asarray(entropy_weak, dtype=float) - np.asarray(entropy_strong, dtype=float))


def confidence_targets(
    entropy_weak: FloatArray, entropy_strong: FloatArray, nll_weak: FloatArray, nll_strong: FloatArray
) -> FloatArray:
    """Soft targets from meanings and tokens: ranks of the margin, and half as much of the mean token NLL's difference.

    The tokens tell prompts apart where both models have one meaning or every sample its own. NaN (an answer without
    log-probs) counts as no difference.
    """
    tokens = np.nan_to_num(np.asarray(nll_weak, dtype=float) - np.asarray(nll_strong, dtype=float))
    return mean_ranks(margin_targets(entropy_weak, entropy_strong) + TOKEN_SHARE * mean_ranks(tokens))


def mean_ranks(values: FloatArray) -> FloatArray:
    """Rank of each value among all, scaled to [0, 1]; equal values share their mean rank, and a single one gives .5."""
    values = np.asarray(values)
    levels, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(levels) == 1:
        return np.full(values.shape, 0.5)
    middle = np.cumsum(counts) - (counts + 1) / 2  # mean rank of each block of equal values, from 0
    return np.asarray((middle / (values.size - 1))[places]).reshape(values.shape)


def agreement_targets(gains: FloatArray) -> FloatArray:
    """Soft targets from `demur.agreement`: y = clip(1/2 + G/2, 0, 1)."""
    return np.clip(0.5 + np.asarray(gains, dtype=float) / 2, 0.0, 1.0)


def winner_of(target: float) -> Winner:
    """The winner that a target stands for; model_a is the weak model, model_b the strong one."""
    return "tie" if target == 0.5 else "model_b" if target > 0.5 else "model_a"


def label_warnings(targets: FloatArray, saturated: float, *, as_printed: bool = False) -> tuple[str, ...]:
    """Plain sentences about labels that will teach little: ties, saturation, one side only, Eq. 2 as printed."""
    found = []
    ties = float(np.mean(np.asarray(targets) == 0.5)) if len(targets) else 0.0
    if ties > WARNED_SHARE:
        found.append(f"{ties:.0%} of the preferences are ties: soft labels (--kind margin) tell more apart")
    if saturated > WARNED_SHARE:
        found.append(
            f"{saturated:.0%} of the prompts are saturated (every sample its own meaning): ask for shorter answers, or "
            "label with token log-probs (--definition predictive_entropy)"
        )
    if as_printed:
        found.append(
            "Eq. 2 as printed is negative on most real prompts and labels worse than chance; use rao_blackwell"
        )
    if len(targets) and len(np.unique(targets)) == 1:
        found.append(f"every target is {float(targets[0]):g}: the models never differ, a router has nothing to learn")
    return tuple(found)


def read_preferences(path: str | Path) -> list[Preference]:
    """Read preferences from .jsonl or .parquet: our own, RouteLLM's arena rows, or the authors' set.

    Raises InputError naming file, row and field.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no preferences here; make them with `demur label`")
    return [_preference(row, f"{path}:{number}") for number, row in enumerate(_rows(path), start=1)]


def write_preferences(path: str | Path, preferences: Iterable[Preference]) -> None:
    """Write preferences to .jsonl or .parquet, with the paper's columns first and ours behind."""
    path = Path(path)
    rows = [as_row(preference) for preference in preferences]
    if path.suffix == ".parquet":
        pyarrow = require("pyarrow", extra="hub", purpose="writing parquet")
        parquet = require("pyarrow.parquet", extra="hub", purpose="writing parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return
    part = path.with_name(path.name + ".part")
    part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    part.replace(path)  # whole or not at all


def as_row(preference: Preference) -> dict[str, Any]:
    """A row of the data set: the paper's columns, then ours."""
    row = asdict(preference)
    winner = row.pop("winner")
    paper = {f"winner_{who}": int(winner == who) for who in ("model_a", "model_b", "tie")} | row
    return {name: paper.pop(name) for name in PAPER_COLUMNS} | paper


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    if path.suffix == ".parquet":
        parquet = require("pyarrow.parquet", extra="hub", purpose="reading parquet")
        return list(parquet.read_table(path).to_pylist())
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise InputError(f"{path}:{number}: not valid JSON ({error}): {line[:80]!r}") from None
    return rows


def _preference(row: Mapping[str, Any], where: str) -> Preference:
    winner = _winner(row, where)
    target = row.get("target")
    try:
        return Preference(
            id=str(row.get("id") or where.rpartition(":")[2]),
            model_a=row["model_a"],
            model_b=row["model_b"],
            prompt=_first_turn(row["prompt"]),
            response_a=_first_turn(row.get("response_a") or ""),
            response_b=_first_turn(row.get("response_b") or ""),
            target={"model_a": 0.0, "model_b": 1.0, "tie": 0.5}[winner] if target is None else float(target),
            winner=winner,
            kind=str(row.get("kind") or "preference"),
            entropy_a=row.get("entropy_a"),
            entropy_b=row.get("entropy_b"),
            definition=str(row.get("definition") or ""),
            margin=row.get("margin"),
            n=int(row.get("n") or 0),
        )
    except KeyError as error:
        raise InputError(f"{where}: field {error} is missing; found {', '.join(row)}") from None


def _winner(row: Mapping[str, Any], where: str) -> Winner:
    flags = [name for name in ("model_a", "model_b", "tie") if row.get(f"winner_{name}")]
    if len(flags) == 1:
        return flags[0]  # type: ignore[return-value]
    named = {"model_a": "model_a", "model_b": "model_b", "tie": "tie", "tie (bothbad)": "tie"}.get(
        row.get("winner", "")
    )
    if named is None:
        raise InputError(f"{where}: exactly one of winner_model_a, winner_model_b, winner_tie must be 1, found {flags}")
    return named  # type: ignore[return-value]


def _first_turn(text: str) -> str:
    """Arena rows hold a JSON list of turns; the first is the prompt."""
    if text.startswith("["):
        try:
            turns = json.loads(text)
        except ValueError:
            return text
        if isinstance(turns, list) and turns and isinstance(turns[0], str):
            return turns[0]
    return text


def oriented(preferences: Sequence[Preference], *, weak: str, strong: str) -> list[Preference]:
    """The rows about this pair, turned round so that model_a is the weak model; others are left out."""
    from dataclasses import replace

    turned = []
    for row in preferences:
        if (row.model_a, row.model_b) == (weak, strong):
            turned.append(row)
        elif (row.model_a, row.model_b) == (strong, weak):
            other: dict[str, Winner] = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}
            turned.append(
                replace(
                    row,
                    model_a=weak,
                    model_b=strong,
                    response_a=row.response_b,
                    response_b=row.response_a,
                    target=1.0 - row.target,
                    winner=other[row.winner],
                    entropy_a=row.entropy_b,
                    entropy_b=row.entropy_a,
                    margin=None if row.margin is None else -row.margin,
                )
            )
    return turned
