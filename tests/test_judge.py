"""The judge: names hidden, positions balanced, replies parsed strictly, nothing asked twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from demur.endpoints import Endpoint, EndpointClient
from demur.errors import InputError
from demur.judge import JudgeItem, fill, judge_items, order_of, parse_reply, read_items, report
from demur.store import Store
from demur.testing import fake_endpoint

ITEMS = [
    JudgeItem(f"What is {i} + 1?", str(i + 1), {"good": f"It is {i + 1}.", "bad": "It is 0.", "worse": "Dunno."},
              {"good": 1.0, "bad": 0.0, "worse": 0.0})
    for i in range(60)
]  # fmt: skip


def wise(prompt: str, seed: int) -> str:
    """Names the response that holds the ground truth."""
    truth = prompt.partition("Ground Truth Answer: ")[2].partition("\n")[0]
    lines = [line for line in prompt.splitlines() if line.startswith("LLM ") and "Response:" in line]
    return next(line.partition(" Response")[0] for line in lines if f"is {truth}." in line)


async def test_a_wise_judge_finds_the_right_router_wherever_it_stands() -> None:
    async with fake_endpoint(wise) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        with Store(":memory:") as store:
            replies = await judge_items(ITEMS, client, client.endpoint, store)
            again = await judge_items(ITEMS, client, client.endpoint, store)
    assert again == replies
    assert len(fake.requests) == len(ITEMS)
    found = report("judge", ITEMS, replies)
    assert found.scores["good"][0] == 100
    assert found.scores["bad"][0] == found.scores["worse"][0] == 0
    assert found.positions == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert found.agreement == 1
    assert "goes by position" not in found.lines[-1]
    assert all("good" not in str(body["messages"]) for body in fake.requests)


def test_a_judge_that_always_says_the_first_shows_as_position_bias_not_as_quality() -> None:
    found = report("judge", ITEMS, ["LLM 1"] * len(ITEMS))
    assert found.positions == (1, 0, 0)
    assert "goes by position" in found.lines[-1]
    assert {round(score) for score, _, _ in found.scores.values()} == {33}


def test_orders_are_balanced() -> None:
    assert set(Counter(order_of(i, item) for i, item in enumerate(ITEMS)).values()) == {10}
    many = JudgeItem("q", "r", {str(i): f"x{i}" for i in range(7)})
    assert sorted(order_of(3, many)) == sorted(many.responses)


async def test_an_answer_that_two_gave_is_shown_once_and_counts_for_both() -> None:
    items = [JudgeItem(f"What is {i} + 1?", str(i + 1), {"a": f"is {i + 1}.", "b": "is 0.", "c": f"is {i + 1}."})
             for i in range(8)]  # fmt: skip
    async with fake_endpoint(wise) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        with Store(":memory:") as store:
            replies = await judge_items(items, client, client.endpoint, store)
    assert "LLM 3" not in str(fake.requests[0]["messages"])
    found = report("judge", items, replies)
    assert [found.scores[name][0] for name in "abc"] == [100, 0, 100]
    assert found.positions == (0.5, 0.5)


async def test_where_all_answers_are_the_same_nobody_is_asked() -> None:
    items = [JudgeItem("What is 1 + 1?", "2", {"a": "is 2.", "b": "is 2."})]
    async with fake_endpoint(wise) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        with Store(":memory:") as store:
            replies = await judge_items(items, client, client.endpoint, store)
    assert replies == [None]
    assert fake.requests == []
    found = report("judge", items, replies)
    assert found.identical == 1
    assert {score for score, _, _ in found.scores.values()} == {100}


def test_without_a_ground_truth_the_judge_is_not_told_of_one() -> None:
    item = JudgeItem("q", "", {"a": "x", "b": "y"})
    shown = fill(item, order_of(0, item), "answers")
    assert "round truth" not in shown.lower()
    assert "2. Two LLM-generated responses." in shown


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("LLM 1", {1}), ("LLM 1 and LLM 3", {1, 3}), ("'LLM 2'", {2}), ("LLM 1, LLM 2 and LLM 3.", {1, 2, 3}),
        ("1", {1}), ("LLM 4", None), ("LLM 0", None), ("The best is LLM 1", None), ("LLM 1 because it is right", None),
        ("", None), ("none", None), ("LLM 2\n\nExplanation: it is right", {2}),
    ],
)  # fmt: skip
def test_replies_are_parsed_strictly(reply: str, named: set[int] | None) -> None:
    assert parse_reply(reply, 3) == named


def test_prose_is_counted_and_left_out() -> None:
    found = report("judge", ITEMS, ["I think all are fine"] * 20 + ["LLM 1 and LLM 2 and LLM 3"] * 40)
    assert found.unparseable == 20
    assert found.ties == 1
    assert "20 replies not understood" in found.lines[0]
    nothing = report("judge", ITEMS, ["well"] * 60)
    assert nothing.unparseable == 60
    assert nothing.agreement is None


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"question": "q", "reference": "r"}, "'responses'"),
        ({"question": "q", "reference": None, "responses": {"a": "x", "b": "y"}}, "'reference'"),
        ({"question": "q", "reference": "r", "responses": {"a": "x"}}, "at least two"),
        ({"question": 7, "reference": "r", "responses": {"a": "x", "b": "y"}}, "'question'"),
        ({"question": "q", "reference": "r", "responses": {"a": "x", "c": "y"}}, "every row needs the same"),
    ],
)
def test_bad_items_are_named(tmp_path: Path, row: dict[str, object], named: str) -> None:
    good = {"question": "q", "reference": "r", "responses": {"a": "x", "b": "y"}}
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(row))
    with pytest.raises(InputError) as raised:
        read_items(path)
    assert named in str(raised.value)
    assert "items.jsonl:2" in str(raised.value)
