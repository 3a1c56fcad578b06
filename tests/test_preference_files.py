"""The files that preferences travel in: ours, the arena's, and scores of several models' answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import SHARED
from demur.errors import InputError
from demur.labels.preference_files import (
    PAPER_COLUMNS,
    PairPreferences,
    as_row,
    orient,
    read_pair,
    read_preferences,
    write_preferences,
    write_routellm,
)
from demur.records import Preference

ROW = Preference(
    *("p1", "small", "large", "Why?", "because", "since"),
    target=0.8,
    winner="model_b",
    kind="entropy margin",
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
    found = orient(read_preferences(tmp_path / "arena.jsonl"), weak="small", strong="large")
    assert [(row.prompt, row.target, row.winner) for row in found] == [("Why?", 1.0, "model_b"), ("Why?", 0.5, "tie")]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"model_a": "x"', "not valid JSON"),
        ('{"model_a": "x", "model_b": "y", "winner": "model_a"}', "'prompt' is missing"),
        ('{"model_a": "x", "model_b": "y", "prompt": "p"}', "exactly one of"),
        ("[1]", "expected an object"),
        ('{"model_a": 3, "model_b": "y", "prompt": "p", "winner": "tie"}', "'model_a' must be a text, found 3"),
        ('{"model_a": "x", "model_b": "y", "prompt": [1], "winner": "tie"}', "'prompt' must be a text, found [1]"),
        ('{"model_a": "x", "model_b": "y", "prompt": null, "winner": "tie"}', "'prompt' must be a text"),
        ('{"model_a": "x", "model_b": "y", "prompt": "p", "winner": ["tie"]}', "exactly one of"),
        ('{"model_a": "x", "model_b": "y", "prompt": "p", "winner": "tie", "target": "high"}', "found 'high'"),
        ('{"model_a": "x", "model_b": "y", "prompt": "p", "winner": "tie", "target": 1.5}', "from 0 to 1, found 1.5"),
        ('{"model_a": "x", "model_b": "y", "prompt": "p", "winner": "tie", "target": NaN}', "must be a number"),
        ('{"model_a": "x", "model_b": "y", "prompt": "p", "winner": "tie", "entropy_a": {}}', "'entropy_a'"),
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


ARENA = {"model_a": "large", "model_b": "small", "prompt": "Why?", "winner": "model_a"}
SCORED: dict[str, Any] = {
    "question": "Why?",
    "scores": {"small": 0.1, "large": 0.9},
    "outputs": {"small": "so", "large": "thus"},
}
JUDGED: dict[str, Any] = {
    "question": "Who?",
    "human_correct": {"small": 1, "large": 0},
    "answer": {"small": "he", "large": None},
}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "csv", "parquet"])
def test_a_pair_is_read_from_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"battles.{ending}"
    lines = json.dumps(ARENA) + "\n"
    if ending == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif ending == "csv":
        path.write_text(",".join(ARENA) + "\n" + ",".join(ARENA.values()) + "\n")
    elif ending == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist([ARENA]), path)
    else:
        path.write_text(lines)
    (row,) = read_pair(path, weak="small", strong="large").preferences
    assert (row.prompt, row.target, row.winner, row.model_a) == ("Why?", 1.0, "model_b", "small")


def test_turns_may_be_a_list(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ARENA | {"prompt": ["Why?", "And?"], "response_a": ["so"], "response_b": None})
    (row,) = read_preferences(path)
    assert (row.prompt, row.response_a, row.response_b) == ("Why?", "so", "")


def test_the_larger_score_wins_and_near_ones_tie(tmp_path: Path) -> None:
    near = SCORED | {"scores": {"small": 0.1, "large": 0.15}}
    path = written(tmp_path / "a.jsonl", SCORED, near)
    found = read_pair(path, weak="small", strong="large", tie_below=0.06)
    assert [(row.target, row.response_a, row.response_b) for row in found.preferences] == [
        (1.0, "so", "thus"),
        (0.5, "so", "thus"),
    ]
    turned = read_pair(path, weak="large", strong="small")
    assert [row.target for row in turned.preferences] == [0.0, 0.0]
    assert found.note == ""


def test_human_judgements_without_improper_rows_and_missing_scores(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        JUDGED,
        JUDGED | {"improper": True},
        JUDGED | {"human_correct": {"small": 1, "large": None}},
    ]
    rows.append(JUDGED | {"human_correct": {"small": 1, "third": 1}})
    found = read_pair(written(tmp_path / "a.jsonl", *rows), weak="small", strong="large")
    assert [(row.prompt, row.target, row.response_a, row.response_b) for row in found.preferences] == [
        ("Who?", 0.0, "he", "")
    ]
    assert found.note == "1 row left out: marked improper, 2 rows left out: a score is missing"


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([SCORED], "no row compares a and b; it holds large, small: name its weak and its strong model, --models"),
        ([ARENA], "no row compares a and b; it holds large / small"),
        ([], "it holds nothing"),
        ([SCORED | {"scores": dict.fromkeys("cdefghij", 1)}], "it holds c, d, e, f, g, h, i, j: name its"),
        ([SCORED | {"scores": dict.fromkeys("cdefghijk", 1)}], "it holds c, d, e, f, g, h, i, j and 1 more: name its"),
        ([SCORED | {"scores": {"a": "x", "b": 1}}], "a.jsonl:1: scores: field 'a' must be a number, found 'x'"),
        ([SCORED | {"scores": 3}], "field 'scores' must hold a value for each model, found 3"),
        ([SCORED | {"scores": {"a": 0, "b": 1}, "question": None}], "'question' must be a text"),
        ([SCORED | {"scores": {"a": 0, "b": 1}, "outputs": []}], "'outputs' must hold a value for each model"),
    ],
)
def test_a_file_without_the_pair_and_wrong_scores_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], named: str
) -> None:
    with pytest.raises(InputError) as raised:
        read_pair(written(tmp_path / "a.jsonl", *rows), weak="a", strong="b")
    assert named in str(raised.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="it holds nothing"):
        read_pair(tmp_path / "a.txt", weak="a", strong="b")
    with pytest.raises(InputError, match="no such file of preferences"):
        read_pair(tmp_path / "none.jsonl", weak="a", strong="b")
    (tmp_path / "a.parquet").write_text("no")
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read_pair(tmp_path / "a.parquet", weak="a", strong="b")


def test_the_shared_preferences_are_read(shared_rows: Callable[[str], list[dict[str, Any]]]) -> None:
    """As many ties as counting the raw rows gives, and nothing is lost but what is marked."""
    raw = shared_rows("preferences/alpacaeval_gpt4_mixtral")
    names = ("Mixtral-8x7B-Instruct-v0.1_concise", "gpt4_0613_concise")
    found = read_pair(
        SHARED / "preferences/alpacaeval_gpt4_mixtral.jsonl.gz", weak=names[0], strong=names[1], tie_below=0.05
    )
    gaps = [abs(row["scores"][names[0]] - row["scores"][names[1]]) for row in raw]
    assert sum(row.winner == "tie" for row in found.preferences) == sum(gap <= 0.05 for gap in gaps)
    assert len(found.preferences) == len(raw)
    judged = shared_rows("outcomes/nq_open_human_judged")
    human = read_pair(SHARED / "outcomes/nq_open_human_judged.jsonl.gz", weak="gpt35", strong="gpt4")
    assert len(human.preferences) == sum(not row["improper"] for row in judged)
    wins = sum(row["human_correct"]["gpt4"] > row["human_correct"]["gpt35"] for row in judged if not row["improper"])
    assert sum(row.winner == "model_b" for row in human.preferences) == wins


def test_a_prompt_of_ours_that_looks_like_turns_stays_as_it_is(tmp_path: Path) -> None:
    row = Preference("1", "w", "s", '["a", "b"]', "[1]", '["c"]', 1.0, "model_b", "agreement")
    write_preferences(tmp_path / "p.jsonl", [row])
    assert read_preferences(tmp_path / "p.jsonl") == [row]


def test_a_row_turned_round_has_every_side_exchanged() -> None:
    row = replace(ROW, meanings_a=3, meanings_b=1, slope=0.5, strong_weight=0.75)
    (found,) = orient([row], weak="large", strong="small")
    assert found == Preference(
        *("p1", "large", "small", "Why?", "since", "because"),
        target=pytest.approx(0.2),  # type: ignore[arg-type]
        winner="model_a",
        kind="entropy margin",
        entropy_a=0.3,
        entropy_b=1.2,
        definition="discrete",
        margin=-0.9,
        n=10,
        meanings_a=1,
        meanings_b=3,
    )
    assert orient([row], weak="small", strong="large") == [row]
    assert orient([replace(row, margin=None)], weak="large", strong="small")[0].margin is None
    assert orient([row], weak="small", strong="other") == []


def test_every_column_comes_back(tmp_path: Path) -> None:
    row = replace(ROW, meanings_a=3, meanings_b=1, slope=0.5, strong_weight=0.75)
    write_preferences(tmp_path / "rows.jsonl", [row, ROW])
    assert read_preferences(tmp_path / "rows.jsonl") == [row, ROW]
    assert as_row(row)["winner_model_b"] == 1
    assert list(as_row(row))[len(PAPER_COLUMNS) :] == [
        *("target", "kind", "entropy_a", "entropy_b", "definition", "margin", "n", "meanings_a", "meanings_b", "slope"),
        "strong_weight",
    ]


def test_what_a_row_leaves_out_has_its_usual_value(tmp_path: Path) -> None:
    """The id is the row's place; the target that of the winner."""
    path = written(tmp_path / "a.jsonl", ARENA, ARENA | {"winner": "model_b"}, ARENA | {"winner": "tie", "n": 7})
    found = read_preferences(path)
    assert [(row.id, row.target, row.n) for row in found] == [("1", 0.0, 0), ("2", 1.0, 0), ("3", 0.5, 7)]
    assert {(row.kind, row.definition, row.margin, row.entropy_a, row.meanings_a) for row in found} == {
        ("preference", "", None, None, None)
    }


@pytest.mark.parametrize("flag", [1, "1", True])
@pytest.mark.parametrize(("name", "target"), [("model_a", 0.0), ("model_b", 1.0), ("tie", 0.5)])
def test_a_winner_may_be_a_flag(tmp_path: Path, flag: object, name: str, target: float) -> None:
    flags: dict[str, Any] = {"winner_model_a": 0, "winner_model_b": "0", "winner_tie": ""}
    row = {key: value for key, value in ARENA.items() if key != "winner"} | flags | {f"winner_{name}": flag}
    (found,) = read_preferences(written(tmp_path / "a.jsonl", row))
    assert (found.winner, found.target) == (name, target)
    with pytest.raises(InputError, match=r"exactly one of .* must be 1, found \['model_a', 'model_b', 'tie'\]"):
        read_preferences(written(tmp_path / "b.jsonl", row | dict.fromkeys(flags, 1)))


def test_of_scores_the_row_has_place_texts_and_one_sample(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [SCORED, SCORED | {"id": "q7", "outputs": {"large": "thus"}}]
    first, second = read_pair(written(tmp_path / "a.jsonl", *rows), weak="small", strong="large").preferences
    assert (first.id, first.n, first.kind, first.winner) == ("1", 1, "preference", "model_b")
    assert (second.id, second.response_a, second.response_b) == ("q7", "", "thus")


def test_rows_of_other_pairs_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ARENA, ARENA | {"model_a": "third"}, ARENA | {"model_b": "third"})
    found = read_pair(path, weak="small", strong="large")
    assert len(found.preferences) == 1
    assert found.note == "2 rows left out: they compare other models"


def test_routellm_reads_turns_a_winner_and_a_place(tmp_path: Path) -> None:
    write_routellm(tmp_path / "battles.json", [ROW, replace(ROW, prompt='say "ä"')])
    first, second = json.loads((tmp_path / "battles.json").read_text())
    assert tuple(first) == (*PAPER_COLUMNS, "winner", "idx")
    assert (first["prompt"], first["response_a"], first["winner"], first["idx"]) == (
        *('["Why?"]', '["because"]', "model_b", 0),
    )
    assert (json.loads(second["prompt"]), second["idx"]) == (['say "ä"'], 1)


@pytest.mark.parametrize(("target", "valid"), [(0.0, True), (1.0, True), (-0.001, False), (1.001, False)])
def test_a_target_is_from_0_to_1_both_among_them(tmp_path: Path, target: float, valid: bool) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"model_a": "s", "model_b": "l", "prompt": "q", "winner": "tie", "target": target}
    row |= {"response_a": "x", "response_b": "y"}
    path.write_text(json.dumps(row))
    if valid:
        assert [one.target for one in read_preferences(path)] == [target]
        return
    with pytest.raises(InputError, match=rf"rows\.jsonl:1: field 'target' must be from 0 to 1, found {target:g}$"):
        read_preferences(path)


@pytest.mark.parametrize("value", [True, "many", float("inf"), [1]])
def test_what_is_no_finite_number_is_named(tmp_path: Path, value: object) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"model_a": "s", "model_b": "l", "prompt": "q", "winner": "tie", "slope": value}))
    with pytest.raises(InputError, match="field 'slope' must be a number, found"):
        read_preferences(path)


def test_reasons_without_rows_are_left_out_of_the_note() -> None:
    assert PairPreferences((), {"first": 0, "second": 1, "third": 2}).note == (
        "1 row left out: second, 2 rows left out: third"
    )
    assert PairPreferences((), {"first": 0}).note == ""
