"""The judge: names hidden, positions balanced, replies parsed strictly, nothing asked twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError
from demur.labels.judge.judge import judge_items, judge_settings, read_items
from demur.labels.judge.judge_replies import (
    Interval,
    JudgeItem,
    JudgeReport,
    _order,
    best_of,
    check_understood,
    fill,
    judge_report,
    orders_of,
    parse_reply,
)
from demur.models.endpoint import Endpoint
from demur.models.requests.client import EndpointClient
from demur.models.requests.useful_replies import TRIED
from demur.store import Store
from demur.testing import fake_endpoint

ITEMS = [
    JudgeItem(f"What is {i} + 1?", str(i + 1), {"good": f"It is {i + 1}.", "bad": "It is 0.", "worse": "Dunno."},
              {"good": 1.0, "bad": 0.0, "worse": 0.0})
    for i in range(60)
]  # fmt: skip


def shares(positions: tuple[Interval, ...]) -> list[float]:
    """Without their intervals."""
    return [share for share, _, _ in positions]


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
    found = judge_report("judge", ITEMS, replies)
    assert found.scores["good"][0] == 100
    assert found.scores["bad"][0] == found.scores["worse"][0] == 0
    assert shares(found.positions[3]) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert (found.agreement, found.told) == ((1, 1, 1), 60)
    assert "chooses by position" not in found.lines[-1]
    assert all("good" not in str(body["messages"]) for body in fake.requests)


@pytest.mark.parametrize(
    ("usd", "variable", "cost"),
    [
        (1000.0, None, ", at most $1.44"),  # 60 replies of up to 24 tokens, at $1,000 per million
        (0.0, None, ""),
        (None, "JUDGE_KEY", ", at unknown cost"),
    ],
)
async def test_what_judging_can_cost_is_said_before_the_first_question(
    usd: float | None, variable: str | None, cost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said nowhere, and the judge's questions were called samples."""
    monkeypatch.setenv("JUDGE_KEY", "x")
    said = list[tuple[str, int]]()
    async with fake_endpoint(wise) as fake:
        paid = Endpoint("judge", fake.base_url, variable, usd_per_million_input=usd and 0.0, usd_per_million_output=usd)
        async with EndpointClient(paid) as client:
            with Store(":memory:") as store:
                for _ in range(2):
                    await judge_items(
                        *(ITEMS, client, client.endpoint, store),
                        progress=lambda stage, done, total: said.append((stage, len(fake.requests))),
                    )
    assert said[0] == (f"judging by judge{cost}", 0)
    assert said[-1][0] == "judging by judge"  # all replies are stored


@pytest.mark.parametrize(("usd", "cost"), [(1000.0, " after $"), (0.0, ""), (None, " at unknown cost")])
async def test_a_judge_of_which_none_of_the_first_replies_is_understood_is_asked_no_more(
    usd: float | None, cost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked all, and what that had cost was not said. The same command asks nothing more."""
    monkeypatch.setenv("JUDGE_KEY", "x")
    async with fake_endpoint(lambda prompt, seed: "Both are fine, it depends " * 9) as fake:
        paid = Endpoint(
            "judge", fake.base_url, "JUDGE_KEY", usd_per_million_input=usd and 0.0, usd_per_million_output=usd
        )
        async with EndpointClient(paid) as client:
            with Store(":memory:") as store:
                for _ in range(2):
                    with pytest.raises(InputError) as raised:
                        await judge_items(ITEMS, client, paid, store, helps="; ask another")
                    said = str(raised.value)
                    assert len(fake.requests) == TRIED
                    form = "is a bare list of responses such as 'LLM 1'"
                    first = f"{('Both are fine, it depends ' * 9)[:60]}..."
                    start = f"none of judge's first {TRIED} replies {form}, the first is {first!r}"
                    assert said.startswith(f"{start}; asking stopped{cost}")
                    assert said.endswith("; ask another")
                    if usd:  # 16 replies of 45 words, and 44 that have up to 24 tokens, at $1,000 per million
                        assert " after $0.72 (the rest of these 60 prompts can cost $1.06 at most)" in said


async def test_a_judge_that_is_understood_once_among_the_first_is_asked_all() -> None:
    """Its other replies are counted, and left out where they are few."""

    def once(prompt: str, seed: int) -> str:
        return wise(prompt, seed) if "What is 15 " in prompt else "Well"

    async with fake_endpoint(once) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        with Store(":memory:") as store:
            replies = await judge_items(ITEMS, client, client.endpoint, store)
    assert len(fake.requests) == len(ITEMS)
    assert judge_report("judge", ITEMS, replies).unparseable == len(ITEMS) - 1


def test_a_judge_that_always_says_the_first_shows_as_position_bias_not_as_quality() -> None:
    found = judge_report("judge", ITEMS, ["LLM 1"] * len(ITEMS))
    assert shares(found.positions[3]) == [1, 0, 0]
    assert "chooses by position" in found.lines[-1]
    assert {round(score) for score, _, _ in found.scores.values()} == {33}


def test_bias_among_one_number_of_answers_is_said_whatever_the_others_show() -> None:
    """Always the first of three; of two each place as often, by a judge that reads them."""
    two = [JudgeItem(f"q{i}", "r", {"good": "x", "bad": "y", "worse": "y"}) for i in range(60)]
    content = ["LLM 1" if order[0] == "good" else "LLM 2" for order in orders_of(two)]
    found = judge_report("judge", [*ITEMS, *two], ["LLM 1"] * len(ITEMS) + content)
    assert shares(found.positions[2]) == [0.5, 0.5]
    assert "chooses by position" in found.lines[-1]
    sure = judge_report("judge", two, content).scores
    assert sure == {"good": (100, 100, 100), "bad": (0, 0, 0), "worse": (0, 0, 0)}


def test_orders_are_balanced_over_what_is_asked() -> None:
    """Every second question has one answer and is not asked: the others must still take every order in turn."""
    same = JudgeItem("q", "r", {"good": "x", "bad": "x", "worse": "x"})
    orders = orders_of([one for item in ITEMS for one in (item, same)])[::2]
    assert set(Counter(orders).values()) == {10}


@pytest.mark.parametrize("width", [2, 3, 5, 7])
def test_every_name_stands_at_every_position_once_in_as_many_items_as_there_are_names(width: int) -> None:
    items = [JudgeItem(f"q{i}", "r", {str(j): f"x{j}" for j in range(width)}) for i in range(3 * width)]
    orders = orders_of(items)
    for start in range(0, len(orders), width):
        for position in range(width):
            assert len({order[position] for order in orders[start : start + width]}) == width
    assert len(set(orders)) == (2 if width == 2 else 6 if width == 3 else 3 * width)


def test_a_judge_that_throws_a_coin_shows_no_bias_where_two_and_three_answers_mix() -> None:
    """Over all items it would choose the third position less often, only because it is there less often."""
    pairs = [JudgeItem(f"q{i}", "r", {"a": "x", "b": "x" if i % 2 else "y", "c": "z"}) for i in range(120)]
    widths = [len(order) for order in orders_of(pairs)]
    turn = Counter[int]()
    replies = []
    for width in widths:
        replies.append(f"LLM {turn[width] % width + 1}")
        turn[width] += 1
    found = judge_report("judge", pairs, replies)
    assert shares(found.positions[2]) == [0.5, 0.5]
    assert shares(found.positions[3]) == pytest.approx([1 / 3] * 3)
    assert found.shown == {2: 60, 3: 60}


def test_two_replies_are_no_proof_of_bias() -> None:
    found = judge_report("judge", ITEMS[:2], ["LLM 1", "LLM 2"])
    assert "chooses by position" not in found.lines[-1]


async def test_an_answer_that_two_gave_is_shown_once_and_counts_for_both() -> None:
    items = [JudgeItem(f"What is {i} + 1?", str(i + 1), {"a": f"is {i + 1}.", "b": "is 0.", "c": f"is {i + 1}."})
             for i in range(8)]  # fmt: skip
    async with fake_endpoint(wise) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        with Store(":memory:") as store:
            replies = await judge_items(items, client, client.endpoint, store)
    assert "LLM 3" not in str(fake.requests[0]["messages"])
    found = judge_report("judge", items, replies)
    assert [found.scores[name][0] for name in "abc"] == [100, 0, 100]
    assert shares(found.positions[2]) == [0.5, 0.5]


async def test_where_all_answers_are_the_same_nobody_is_asked() -> None:
    items = [JudgeItem("What is 1 + 1?", "2", {"a": "is 2.", "b": "is 2."})]
    async with fake_endpoint(wise) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        with Store(":memory:") as store:
            replies = await judge_items(items, client, client.endpoint, store)
    assert replies == [None]
    assert fake.requests == []
    found = judge_report("judge", items, replies)
    assert found.identical == 1
    assert {score for score, _, _ in found.scores.values()} == {100}
    assert "the judge was not asked" in found.lines[-1]


def test_without_a_ground_truth_the_judge_is_not_told_of_one() -> None:
    item = JudgeItem("q", "", {"a": "x", "b": "y"})
    shown = fill(item, ("a", "b"), "answers")
    assert "round truth" not in shown.lower()
    assert "2. Two LLM-generated responses." in shown


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("LLM 1", {1}), ("LLM 1 and LLM 3", {1, 3}), ("'LLM 2'", {2}), ("LLM 1, LLM 2 and LLM 3.", {1, 2, 3}),
        ("1", {1}), ("LLM 4", None), ("LLM 0", None), ("The best is LLM 1", None), ("LLM 1 because it is right", None),
        ("", None), ("none", None), ("LLM 2\n\nExplanation: it is right", None), ("LLM 1\nLLM 3", {1, 3}),
        ("- LLM 1\n- LLM 2", {1, 2}), ("**LLM 2**", {2}), ("LLM 2\nLLM 1 is wrong", None), ("LLM 2 and", None),
        ("LLM 1, LLM 2, and LLM 3", {1, 2, 3}), ("LLM 1 or LLM 2", None), ("LLM 1 LLM 2", None), ("llm2 & 3", {2, 3}),
        ("1.5", None), ("LLM 1 and 100", None),
    ],
)  # fmt: skip
def test_replies_are_parsed_strictly(reply: str, named: set[int] | None) -> None:
    assert parse_reply(reply, 3) == named


def test_a_long_reply_is_read_in_no_time() -> None:
    start = time.process_time()
    for reply in ("1" * 2000 + "!x", "1," * 2000 + "x", "\n" * 2000 + "x", "LLM " * 2000):
        assert parse_reply(reply, 3) is None
    assert time.process_time() - start < 0.5


def test_prose_is_counted_and_left_out() -> None:
    found = judge_report("judge", ITEMS, ["I think all are fine"] * 20 + ["LLM 1 and LLM 2 and LLM 3"] * 40)
    assert found.unparseable == 20
    assert found.ties == 1
    assert "20 replies not understood" in found.lines[0]


def test_a_judge_in_prose_throughout_gives_no_number() -> None:
    """Not even where the answers to one question are alike and count as best unasked."""
    same = JudgeItem("q", "r", {"good": "x", "bad": "x", "worse": "x"})
    with pytest.raises(InputError, match=r"none of judge's 60 replies .* 'well'; a larger model"):
        judge_report("judge", [*ITEMS, same], [*["well"] * 60, None])


def test_agreement_counts_only_the_items_that_can_tell() -> None:
    """The first judged right, the second wrong; the third has no right answer, the fourth was not understood."""
    right, wrong = {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0}
    items = [JudgeItem(f"q{i}", "r", {"a": "x", "b": "y"}, wrong if i == 2 else right) for i in range(4)]
    first = [order[0] == "a" for order in orders_of(items)]
    replies = [f"LLM {1 if first[0] else 2}", f"LLM {2 if first[1] else 1}", "LLM 1", "prose"]
    found = judge_report("judge", items, replies)
    assert found.agreement is not None
    assert (found.agreement[0], found.told) == (0.5, 2)
    assert "50% [0%, 100%] of 2 items" in found.lines[-1]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"question": "q", "reference": "r"}, "'responses'"),
        ({"question": "q", "reference": None, "responses": {"a": "x", "b": "y"}}, "'reference'"),
        ({"question": "q", "reference": "r", "responses": {"a": "x"}}, "at least two"),
        ({"question": 7, "reference": "r", "responses": {"a": "x", "b": "y"}}, "'question'"),
        ({"question": "q", "reference": "r", "responses": {"a": "x", "c": "y"}}, "every row needs the same"),
        ({"question": "q", "responses": {"a": "x", "b": 3}}, "the response of 'b' must be a text, found 3"),
        ({"question": "q", "responses": {"a": "x", "b": None}}, "the response of 'b' must be a text, found None"),
        ({"question": "q", "responses": {"a": "x", "b": "y"}, "correct": {"a": 1}}, "a number for each of a, b"),
        ({"question": "q", "responses": {"a": "x", "b": "y"}, "correct": {"a": 1, "b": "no"}}, "found 'no'"),
        ({"question": "q", "responses": {"a": "x", "b": "y"}, "correct": 1}, "'correct'"),
        *(
            ({"question": "q", "responses": {"a": "x", "b": "y"}, "correct": {"a": 0, "b": bad}}, said)
            for bad, said in (
                (-0.001, "the correctness of 'b' must be from 0 to 1, found -0.001"),
                (1.001, "the correctness of 'b' must be from 0 to 1, found 1.001"),
                (None, "the correctness of 'b' must be from 0 to 1, found None"),
                (float("nan"), "the correctness of 'b' must be from 0 to 1, found nan"),
            )
        ),
        ({"question": "q", "responses": {"a": "x", "b": "y"}, "correct": []}, "found []"),
        ({"question": "q", "responses": {"a": "x", "b": "y"}, "correct": {"a": 1, "b": 1, "c": 1}}, "each of a, b, f"),
        ({"question": "q", "responses": {}}, "0 responses; a judge compares at least two"),
        ({"question": "q", "responses": ["x", "y"]}, "field 'responses' must be a dict, found ['x', 'y']"),
        ({"responses": {"a": "x", "b": "y"}}, "field 'question' must be a str, found None"),
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


@pytest.mark.parametrize("correct", [{"a": 0, "b": 1}, {"a": 0.0, "b": 0.5}, {"a": 1.0, "b": 0.001}, None])
def test_correctness_is_from_0_to_1_both_among_them(tmp_path: Path, correct: dict[str, float] | None) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"question": "q", "responses": {"b": "x", "a": "y"}, "correct": correct}))
    assert read_items(path) == [JudgeItem("q", "", {"a": "y", "b": "x"}, correct)]


def test_a_file_without_items_is_named(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").touch()
    with pytest.raises(InputError, match=r"items\.jsonl: no items to judge in it$"):
        read_items(tmp_path / "items.jsonl")


def test_a_judge_is_asked_as_the_settings_say() -> None:
    usual, own = judge_settings(), judge_settings(100, "low", 0.5)
    assert (usual.n, usual.temperature, usual.max_tokens, usual.reasoning_effort) == (1, 0.0, 24, "")
    assert (own.n, own.temperature, own.max_tokens, own.reasoning_effort) == (1, 0.5, 100, "low")


def shown(positions: dict[int, tuple[Interval, ...]]) -> str:
    """The last line of a report with these shares of each position."""
    return JudgeReport("j", 9, 0, 0, {}, positions, dict.fromkeys(positions, 9), None, 0, 0.0).lines[-1]


@pytest.mark.parametrize(
    ("most", "least", "biased"),
    [
        ((0.75, 0.6, 0.9), (0.25, 0.1, 0.4), True),  # half of the items apart, beyond both intervals
        ((0.74, 0.6, 0.9), (0.25, 0.1, 0.4), False),
        ((0.75, 0.4, 0.9), (0.25, 0.1, 0.4), False),  # the intervals touch
        ((0.9, 0.3, 1.0), (0.1, 0.0, 0.4), False),  # far apart, perhaps by chance
    ],
)
def test_positions_are_biased_where_they_lie_half_apart_and_beyond_chance(
    most: Interval, least: Interval, biased: bool
) -> None:
    assert ("chooses by position" in shown({2: (least, most)})) is biased
    assert ("chooses by position" in shown({2: (most, least), 3: ((0.3, 0.2, 0.4),) * 3})) is biased


def test_a_report_in_words() -> None:
    found = JudgeReport("j", 9, 2, 1, {"a": (50.0, 40.0, 60.0)}, {}, {}, (0.5, 0.25, 0.75), 4, 0.25)
    assert found.lines == (
        "j on 9 items, 2 of them with one and the same answer (not asked); 1 reply not understood, all chosen on 25%",
        "  Score (95 % interval):",
        f"  {'a':<28}  50.00  [40.00, 60.00]",
        "  chosen by position: the judge was not asked; agreement with graded correctness: 50% [25%, 75%] of 4 items",
    )
    assert "33% (of 3 answers, 9 items)" in shown({3: ((1 / 3, 0.2, 0.4),)})
    assert "agreement with graded correctness: unknown" in shown({})


@pytest.mark.parametrize(("count", "word"), [(2, "Two"), (3, "Three"), (4, "Four"), (5, "5")])
def test_the_prompt_says_how_many_answers_there_are(count: int, word: str) -> None:
    names = [str(i) for i in range(count)]
    text = fill(JudgeItem("q", "r", {name: f"x{name}" for name in names}), names, "answers")
    assert f"3. {word} LLM-generated" in text
    assert "LLM 1 Response: x0\n" in text
    assert text.endswith(f"'LLM 1' or 'LLM 1 and LLM {count}'.")
    assert "Ground Truth Answer: r" in text


def test_a_half_right_answer_counts_as_right_and_scores_have_their_intervals() -> None:
    """Of 8 items 2 are judged right; what is correct to a half is correct."""
    items = [JudgeItem(f"q{i}", "r", {"a": "x", "b": "y"}, {"a": 0.5, "b": 0.4}) for i in range(8)]
    replies = [f"LLM {1 + ((order[0] == 'a') != (i < 2))}" for i, order in enumerate(orders_of(items))]
    found = judge_report("judge", items, replies)
    assert found.agreement is not None
    assert (found.agreement[0], found.told, found.ties) == (0.25, 8, 0.0)
    assert (found.scores["a"][0], found.scores["b"][0]) == (25.0, 75.0)
    low, high = found.scores["a"][1:]
    assert 0 <= low < 25 < high < 75
    assert (100 - high, 100 - low) == found.scores["b"][1:]


def test_a_judge_agrees_where_it_names_exactly_the_correct_answers() -> None:
    """a and b are correct: naming a alone, or all three, is no agreement."""
    correct = {"a": 1.0, "b": 1.0, "c": 0.0}
    items = [JudgeItem(f"q{i}", "r", {"a": "x", "b": "y", "c": "z"}, correct) for i in range(3)]
    places = [{name: order.index(name) + 1 for name in order} for order in orders_of(items)]
    named = (["a"], ["a", "b"], ["a", "b", "c"])
    replies = [" and ".join(f"LLM {place[name]}" for name in names) for names, place in zip(named, places, strict=True)]
    found = judge_report("judge", items, replies)
    assert found.agreement is not None
    assert found.agreement[0] == pytest.approx(1 / 3)
    assert found.told == 3


@pytest.mark.parametrize(
    ("number", "order"), [(0, "abc"), (1, "bca"), (2, "cab"), (3, "acb"), (4, "cba"), (5, "bac"), (6, "abc")]
)
def test_orders_turn_round_and_then_change(number: int, order: str) -> None:
    assert "".join(_order(("a", "b", "c"), number)) == order


@pytest.mark.parametrize(
    ("reply", "count", "named"),
    [
        ("LLM 10", 10, {10}),
        ("LLM 11", 10, None),
        ("LLM 0", 2, None),
        ("100", 100, None),  # two digits at most
        ("LLM 1,,LLM 2", 3, {1, 2}),
        ("1 & llm 3", 3, {1, 3}),
        ("LLM 1 and", 2, None),
        ("", 2, None),
        ("\n \n", 2, None),
    ],
)
def test_replies_name_positions_from_1_to_the_last(reply: str, count: int, named: set[int] | None) -> None:
    assert parse_reply(reply, count) == named


@pytest.mark.parametrize(
    ("order", "reply", "best"),
    [
        ("ab", "LLM 1", {"a", "c"}),  # c gave the same answer
        ("ab", "LLM 2", {"b"}),
        ("ba", "LLM 1", {"b"}),
        ("ab", "LLM 1 and LLM 2", {"a", "b", "c"}),
        ("ab", "both", None),
        ("a", None, {"a", "c"}),
    ],
)
def test_the_best_are_all_who_gave_the_answer(order: str, reply: str | None, best: set[str] | None) -> None:
    item = JudgeItem("q", "", {"a": "x", "b": "y", "c": "x"})
    assert best_of(item, tuple(order), reply) == best


def test_a_judge_that_was_never_asked_has_a_report_too() -> None:
    found = judge_report("judge", [JudgeItem("q", "", {"a": "x", "b": "x"}, {"a": 1, "b": 1})] * 2, [None, None])
    assert (found.items, found.identical, found.unparseable, found.ties) == (2, 2, 0, 1.0)
    assert (found.positions, found.shown, found.agreement, found.told) == ({}, {}, None, 0)
    assert found.scores == {"a": (100, 100, 100), "b": (100, 100, 100)}
    assert found.lines[-1] == (
        "  chosen by position: the judge was not asked; agreement with graded correctness: unknown (no item with right "
        "and wrong answers whose correctness is given)"
    )


def test_the_first_reply_that_is_not_understood_is_shown_as_far_as_60_letters() -> None:
    check_understood("judge", [None, None], np.zeros(0, dtype=bool))
    check_understood("judge", ["no", "LLM 1"], np.array([False, True]))
    with pytest.raises(InputError, match=f"^none of judge's 1 replies is a bare list of .* is '{60 * 'x'}';"):
        check_understood("judge", [None, 70 * "x"], np.array([False]))
