"""The judge: parsing, balance, and a planted judge that is found out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError
from demur.judge import JudgedItem, Judgement, balanced_orders, judge, judge_prompt, parse_verdict, verdict_of
from demur.judging import judge_file, read_items
from demur.store import Store


@pytest.mark.parametrize(
    ("reply", "chosen"),
    [
        ("LLM 1", {0}),
        ("'LLM 1 and LLM 3'", {0, 2}),
        ("LLM 1, LLM 2, and LLM 3.", {0, 1, 2}),
        ("I think LLM 1 is best", None),
        ("LLM 4", None),
        ("LLM 0", None),
        ("", None),
        ("1", None),
    ],
)
def test_verdicts_are_read_strictly(reply: str, chosen: set[int] | None) -> None:
    assert parse_verdict(reply, 3) == chosen


def test_every_router_stands_equally_often_at_every_position() -> None:
    orders = balanced_orders(30, 3)
    for position in range(3):
        assert set(Counter(order[position] for order in orders).values()) == {10}


def test_names_of_routers_are_hidden() -> None:
    assert "TO-Router" not in judge_prompt("q", "g", ["a", "b", "c"])


def items(n: int = 60) -> list[JudgedItem]:
    return [
        JudgedItem(str(i), f"q{i}", "1", (f"right {i}", f"wrong {i}", f"wrong too {i}"), (1, 0, 0)) for i in range(n)
    ]


def judged(reply: str) -> Judgement:
    orders = balanced_orders(60, 3)
    verdicts = [verdict_of(one, order, {one.id: reply}) for one, order in zip(items(), orders, strict=True)]
    return Judgement("planted", ("a", "b", "c"), tuple(verdicts))


def test_a_judge_that_always_says_one_is_found_out() -> None:
    found = judged("LLM 1")
    assert found.position_shares.tolist() == [1, 0, 0]
    assert np.allclose(found.scores, 100 / 3)
    assert found.agreement == pytest.approx(1 / 3)


def test_prose_is_counted_and_selects_nobody() -> None:
    found = judged("They are all fine.")
    assert found.scores.tolist() == [0, 0, 0]
    assert "unreadable verdicts: 60" in "\n".join(found.lines)


def test_identical_answers_tie_without_being_asked(tmp_path: Path) -> None:
    same = [JudgedItem("1", "q", "g", ("x", "x"), (1, 1))]
    with Store(tmp_path / "s.sqlite") as store:
        found = judge(same, ("a", "b"), model="nobody@http://127.0.0.1:9/v1", store=store)
    assert found.scores.tolist() == [100, 100]
    with pytest.raises(InputError, match="at least two"), Store(":memory:") as store:
        judge([], ("a",), model="nobody@http://127.0.0.1:9/v1", store=store)


def test_a_file_is_judged_and_a_row_without_a_router_is_named(tmp_path: Path) -> None:
    same = '{"question": "q", "gold": "g", "answers": {"a": "x", "b": "x"}}\n'
    (tmp_path / "items.jsonl").write_text(same)
    found = judge_file(tmp_path / "items.jsonl", model="nobody@http://127.0.0.1:9/v1", store=tmp_path / "s.sqlite")
    assert found.scores.tolist() == [100, 100]
    (tmp_path / "bad.jsonl").write_text(same + '{"question": "q", "gold": "g", "answers": {"a": "x"}}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:2"):
        read_items(tmp_path / "bad.jsonl")
