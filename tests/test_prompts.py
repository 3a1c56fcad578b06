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


def test_repeated_prompts_without_ids_all_count(tmp_path: Path) -> None:
    prompts = read_prompts(jsonl(tmp_path, [{"prompt": text} for text in ("Hi", "Bye", "Hi", "Hi")]))
    assert [prompt.text for prompt in prompts] == ["Hi", "Bye", "Hi", "Hi"]
    assert len({prompt.id for prompt in prompts}) == 4
    twice = read_prompts(jsonl(tmp_path, [{"id": "a", "prompt": "Hi"}, {"id": "b", "prompt": "Hi"}]))
    assert [prompt.id for prompt in twice] == ["a", "b"]


def test_a_text_that_is_tested_trains_nowhere() -> None:
    prompts = [Prompt(f"{i}-{k}", f"text {i}", ("x",)) for i in range(50) for k in range(3)]
    train, test = split_prompts(prompts, 0.3)
    assert train
    assert not {prompt.text for prompt in train} & {prompt.text for prompt in test}


CHOICES = ["a cat", "the dog"]


@pytest.mark.parametrize("gold", ["B", "b", ["B"], "the dog", "Dog", 1, "1"])
def test_the_right_option_is_its_letter_its_text_or_its_place(tmp_path: Path, gold: object) -> None:
    (prompt,) = read_prompts(jsonl(tmp_path, [{"prompt": "Which?", "choices": CHOICES, "answer": gold}]))
    assert prompt.answers == ("B",)
    assert prompt.text == "Which?\nA. a cat\nB. the dog"


@pytest.mark.parametrize(
    ("gold", "choices", "named"),
    [
        (
            "a hen",
            CHOICES,
            r"p\.jsonl:1: field 'answers': 'a hen' is not a letter, text or place .from 0. of 2 options",
        ),
        (2, CHOICES, "'2' is not a letter"),
        (1, ["1", "2"], "1 is the text of option A and the place of B; write the letter"),
        ("A", ["x"] * 27, "holds 27 options"),
    ],
)
def test_a_right_option_that_is_none_is_refused_before_anything_is_paid(
    tmp_path: Path, gold: object, choices: list[str], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        read_prompts(jsonl(tmp_path, [{"prompt": "Which?", "choices": choices, "answer": gold}]))


def test_options_that_the_question_shows_are_not_shown_twice(tmp_path: Path) -> None:
    text = "Which? (A) a cat (B) the dog"
    (shown,) = read_prompts(jsonl(tmp_path, [{"prompt": text, "choices": CHOICES, "answer": "A"}]))
    assert shown.text == text
    table = tmp_path / "p.csv"
    table.write_text("prompt,choices,answer\nWhich?,a cat|the dog,the dog\n", encoding="utf-8")
    (prompt,) = read_prompts(table)
    assert (prompt.choices, prompt.answers) == (("a cat", "the dog"), ("B",))


def test_a_long_csv_field_is_read_and_half_a_character_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text(f"id,prompt\n1,{'x' * 1_000_000}\n", encoding="utf-8")
    assert len(read_prompts(table)[0].text) == 1_000_000
    with pytest.raises(InputError, match=r"p\.jsonl:2: \\ud800 is half a surrogate pair"):
        read_prompts(jsonl(tmp_path, [{"prompt": "x"}, '{"prompt": "a \\ud800 b"}']))
    assert read_prompts(jsonl(tmp_path, ['{"prompt": "\\ud83d\\ude00"}']))[0].text == "\U0001f600"


def test_a_name_longer_than_a_file_system_takes_is_no_prompt_set() -> None:
    with pytest.raises(InputError, match="no prompt set is called 'xxx"):
        load_prompts("x" * 5000)


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
    with pytest.raises(InputError, match="triviaqa: 3610 prompts requested, but it has 3294 different ones"):
        load_prompts("triviaqa:3610")
    assert len(load_prompts("paper-mix")) == len(mix)
    assert len(load_prompts("mmlu")) == 13_937  # equal questions with other options are other prompts
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
