"""Prompts from files and sets."""

from __future__ import annotations

import gzip
import json
import sys
import types
from pathlib import Path

import pytest

from conftest import SHARED, missing
from demur.errors import InputError, MissingExtraError
from demur.prompts import load_prompts, read_prompts, split_prompts
from demur.prompts.sets import SETS
from demur.records import Prompt


def jsonl(tmp_path: Path, rows: list[object], name: str = "p.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_jsonl_gzip_and_csv_give_the_same_prompts(tmp_path: Path) -> None:
    rows: list[object] = [
        {"id": "1", "question": "Two and two?", "answers": ["4", "four"]},
        {"id": "2", "prompt": "Hi"},
    ]
    plain = read_prompts(jsonl(tmp_path, rows))
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "p.jsonl").read_bytes()))
    table = tmp_path / "p.csv"
    table.write_text("id,prompt,answers\n1,Two and two?,4|four\n2,Hi,\n", encoding="utf-8")
    assert plain == read_prompts(packed) == read_prompts(table)
    assert plain[0] == Prompt("1", "Two and two?", ("4", "four"))


def test_line_1000_is_named_when_broken(tmp_path: Path) -> None:
    rows: list[object] = [{"prompt": f"question {i}"} for i in range(999)]
    with pytest.raises(InputError, match=r"p\.jsonl:1000: not valid JSON .*'\{\"prompt\": \"cut"):
        read_prompts(jsonl(tmp_path, [*rows, '{"prompt": "cut']))


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"prompt": "   "}, "'   '"),
        ({"prompt": 7}, "found 7"),
        ({"query": "x"}, "found query"),
        (["x"], "expected an object"),
        ({"prompt": "x", "answers": [{"a": 1}]}, "answers"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, row: object, named: str) -> None:
    with pytest.raises(InputError) as raised:
        read_prompts(jsonl(tmp_path, [{"prompt": "fine"}, row]))
    assert "p.jsonl:2" in str(raised.value)
    assert named in str(raised.value)


def test_duplicate_ids_name_both_lines(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r":3: id 'a' was used on line 1"):
        read_prompts(jsonl(tmp_path, [{"id": "a", "prompt": "x"}, {"prompt": "y"}, {"id": "a", "prompt": "z"}]))


def test_other_encodings_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"prompt": "x"}\n{"prompt": "Zürich"}\n'.encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.jsonl:2: byte 0xfc is not UTF-8"):
        read_prompts(path)


def test_empty_missing_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prompts in it"):
        read_prompts(jsonl(tmp_path, [""]))
    with pytest.raises(InputError, match="no such file"):
        load_prompts(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="no prompt set is called 'nq-closed'"):
        load_prompts("nq-closed")


def test_split_depends_on_the_id_alone_and_tests_only_what_has_gold() -> None:
    prompts = [Prompt(f"id {i}", f"text {i}", ("x",) if i % 3 else ()) for i in range(600)]
    train, test = split_prompts(prompts, 0.5)
    again = split_prompts(prompts[::-1], 0.5)
    assert {p.id for p in train} == {p.id for p in again[0]}
    assert all(prompt.answers for prompt in test)
    assert 0.4 < len(test) / 400 < 0.6
    assert len(train) + len(test) == 600


@pytest.mark.shared
def test_the_papers_mix_has_the_sizes_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (SHARED / "questions").exists():
        missing(str(SHARED / "questions"))
    monkeypatch.setenv("DEMUR_QUESTIONS", str(SHARED / "questions"))
    mix = load_prompts("nq-open:3610+triviaqa:3294+popqa:3610+mawps:1418")
    assert len({prompt.id for prompt in mix}) == len(mix) == 3610 + 3294 + 3610 + 1418
    with pytest.raises(InputError, match="triviaqa: 3610 prompts asked, it has 3294 different ones"):
        load_prompts("triviaqa:3610")
    mmlu = load_prompts("mmlu:5")
    assert all(prompt.text.count("\n") >= 4 and prompt.answers[0] in "ABCD" for prompt in mmlu)


HUB_ROWS = {
    "nq-open": {"question": "Who?", "answer": ["Ann", "Anne"]},
    "triviaqa": {"question": "Who?", "answer": {"aliases": ["Ann"], "value": "Ann"}},
    "popqa": {"question": "Who?", "possible_answers": '["Ann"]'},
    "mawps": {"question": "How many?", "result": "7"},
    "gsm8k": {"question": "How many?", "answer": "3 + 4 = 7\n#### 7"},
    "mmlu": {"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 1},
    "mt-bench": {"prompt": ["Write a haiku.", "Another."]},
}


@pytest.mark.parametrize("name", list(HUB_ROWS))
def test_sets_load_from_the_hub_as_its_client_gives_them(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("DEMUR_QUESTIONS", raising=False)
    asked: list[str] = []

    def load_dataset(repository: str, config: str | None, split: str) -> list[dict[str, object]]:
        asked.append(repository)
        return [HUB_ROWS[name]] * 2  # type: ignore[list-item]  # a repeated question is kept once

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    (prompt,) = load_prompts(name)
    assert asked == [SETS[name].hub]
    assert prompt.text.startswith(("Who?", "How many?", "Which?\nA. a\nB. b", "Write a haiku."))
    assert prompt.answers == {"nq-open": ("Ann", "Anne"), "mmlu": ("B",), "mt-bench": ()}.get(
        name, ("7",) if "many" in prompt.text else ("Ann",)
    )


def test_without_the_hubs_client_the_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEMUR_QUESTIONS", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'demur\[hub\]'"):
        load_prompts("gsm8k")
