"""From entropies to targets, and the files they travel in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from demur.errors import InputError
from demur.preferences import (
    PAPER_COLUMNS,
    agreement_targets,
    hard_targets,
    label_warnings,
    margin_targets,
    oriented,
    read_preferences,
    relative_difference,
    winner_of,
    write_preferences,
)
from demur.records import FloatArray, Preference

entropies = arrays.arrays(float, 8, elements=st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.5, 2.3]))


@given(entropies, entropies)
def test_symmetric_delta_maps_exactly_onto_the_papers(weak: FloatArray, strong: FloatArray) -> None:
    paper = relative_difference(weak, strong, "paper")
    ours = relative_difference(weak, strong)
    assert not np.isnan(paper).any()
    assert ((ours >= 0) & (ours <= 1)).all()
    for w, s, p, o in zip(weak, strong, paper, ours, strict=True):
        if w == s:
            assert p == o == 0
        elif s == 0:
            assert p == np.inf
            assert o == 1
        else:
            assert o == pytest.approx(p / (1 + p) if s < w else p)


@given(entropies, entropies, st.floats(0, 1))
def test_swapping_the_models_swaps_the_winners(weak: FloatArray, strong: FloatArray, tau: float) -> None:
    forth, back = hard_targets(weak, strong, tau=tau), hard_targets(strong, weak, tau=tau)
    np.testing.assert_allclose(forth, 1 - back)
    assert (forth[weak == strong] == 0.5).all()


@given(entropies, entropies)
def test_margin_keeps_order_and_shares_ranks(weak: FloatArray, strong: FloatArray) -> None:
    targets = margin_targets(weak, strong)
    margin = weak - strong
    assert ((targets >= 0) & (targets <= 1)).all()
    assert targets.mean() == pytest.approx(0.5)
    for i in range(len(margin)):
        for j in range(len(margin)):
            assert (margin[i] < margin[j]) == (targets[i] < targets[j] - 1e-12)


def test_negative_and_missing_entropies_are_refused() -> None:
    with pytest.raises(InputError, match="needs values >= 0"):
        hard_targets(np.array([-0.1]), np.array([1.0]))
    with pytest.raises(InputError, match="1 entropies are NaN"):
        hard_targets(np.array([np.nan]), np.array([1.0]), delta="paper")
    assert hard_targets(np.array([-0.1]), np.array([1.0]), delta="paper")[0] == 0


def test_agreement_targets_and_winners() -> None:
    targets = agreement_targets(np.array([-0.25, 0.0, 1.0]))
    np.testing.assert_allclose(targets, [0.375, 0.5, 1.0])
    assert [winner_of(float(y)) for y in targets] == ["model_a", "tie", "model_b"]


def test_warnings_come_only_when_due() -> None:
    assert label_warnings(np.array([0.0, 1.0, 0.2]), 0.1) == ()
    said = " ".join(label_warnings(np.array([0.5, 0.5, 0.5]), 0.5, as_printed=True))
    for part in ("100% of the preferences are ties", "50% of the prompts are saturated", "Eq. 2", "never differ"):
        assert part in said


ROW = Preference(
    *("p1", "small", "large", "Why?", "because", "since"),
    target=0.8,
    winner="model_b",
    kind="margin",
    entropy_a=1.2,
    entropy_b=0.3,
    definition="discrete",
    margin=0.9,
    n=10,
)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_round_trip(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    write_preferences(path, [ROW])
    assert read_preferences(path) == [ROW]


def test_the_papers_columns_come_first(tmp_path: Path) -> None:
    write_preferences(tmp_path / "rows.jsonl", [ROW])
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert tuple(row)[: len(PAPER_COLUMNS)] == PAPER_COLUMNS
    assert (row["winner_model_a"], row["winner_model_b"], row["winner_tie"]) == (0, 1, 0)


def test_arena_rows_load_and_turn_round(tmp_path: Path) -> None:
    arena = {
        "model_a": "large",
        "model_b": "small",
        "prompt": '["Why?", "And?"]',
        "response_a": '["x"]',
        "response_b": "[]",
    }
    rows = [
        arena | {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},
        arena | {"winner": "tie (bothbad)"},
        arena | {"model_b": "third", "winner": "model_a"},
    ]
    (tmp_path / "arena.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = oriented(read_preferences(tmp_path / "arena.jsonl"), weak="small", strong="large")
    assert [(row.prompt, row.target, row.winner) for row in found] == [("Why?", 1.0, "model_b"), ("Why?", 0.5, "tie")]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"model_a": "x"', "not valid JSON"),
        ('{"model_a": "x", "model_b": "y", "winner": "model_a"}', "'prompt' is missing"),
        ('{"model_a": "x", "model_b": "y", "prompt": "p"}', "exactly one of"),
    ],
)
def test_faults_name_file_and_row(tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match=r"rows\.jsonl:1"):
        read_preferences(path)
    with pytest.raises(InputError) as raised:
        read_preferences(path)
    assert named in str(raised.value)
