"""Tokens where an upstream counts none: a default by length at first, then a line through what it has counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.gateway.upstreams.token_counts import request_size
from demur.gateway.upstreams.token_estimates import (
    BY_LENGTH,
    OF_REQUEST,
    PRIOR_CHARACTERS,
    FittedLine,
    Line,
    RequestSize,
    TokenEstimates,
)
from demur.models.prices import Tokens
from gateways import gateway
from test_gateway_trust import records

ROLES = ("weak", "strong")


def unread() -> int:
    raise AssertionError("the answer's text is read")


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ("", 7),  # 3 of the request and 4 of its message
        ("H", 7),
        ("Hi", 8),  # 3 + (2 + 16) / 4 = 7.5
        ("x" * 100, 32),
    ],
)
def test_a_prompt_before_any_was_counted_is_never_free(content: str, tokens: int) -> None:
    size = request_size({"messages": [{"role": "user", "content": content}]})
    assert size == RequestSize(len(content), 1)
    assert TokenEstimates(ROLES).of(size)["weak"].prompt == tokens


def test_each_message_and_each_call_of_a_tool_counts() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}  # 2 + 1 + 8 + 4 + 1 + 9 + 2 characters
    asked = [{"role": "user", "content": "x" * 40}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    assert request_size({"messages": asked}) == RequestSize(67, 2)
    assert TokenEstimates(ROLES).of(RequestSize(67, 2))["weak"].prompt == 28  # 3 + 99 / 4 = 27.75


def test_a_prompt_without_messages_has_no_template() -> None:
    assert TokenEstimates(ROLES).of(request_size({"prompt": "Hi"}))["weak"].prompt == 1
    assert TokenEstimates(ROLES).of(request_size({"input": ["abcd", "efgh"]}))["weak"].prompt == 2
    assert TokenEstimates(ROLES).of(request_size({}))["weak"].prompt == 0


@pytest.mark.parametrize(("characters", "tokens"), [(0, 0), (1, 1), (5, 1), (6, 2), (2000, 500)])
def test_an_answer_before_any_was_counted(characters: int, tokens: int) -> None:
    assert BY_LENGTH.tokens(characters) == tokens


def test_one_counted_text_moves_the_line_as_by_hand() -> None:
    """The default's (40, 13) and (1000, 253) with (20, 20): n 3, sums 1060 and 286, of inverses .076, of ratios 1.578.

    base = (1.578 - 3 x 286 / 1060) / (.076 - 9 / 1060) = .7685660 / .0675094; slope = (286 - 3 base) / 1060.
    """
    fitted = FittedLine(OF_REQUEST)
    assert fitted.line == OF_REQUEST
    fitted.add(20, 20)
    assert fitted.line == pytest.approx((11.38457, 0.2375908), rel=1e-5)
    assert [fitted.line.tokens(characters) for characters in (20, 40, 1000)] == [16, 21, 249]


def test_a_template_and_a_script_are_learned() -> None:
    """30 tokens of template and a token for each character, as of Chinese."""
    fitted = FittedLine(OF_REQUEST)
    for characters in [20, 50, 100, 200, 400] * 100:
        fitted.add(characters, 30 + characters)
    assert fitted.line.base == pytest.approx(30, rel=0.05)
    assert fitted.line.per_character == pytest.approx(1, rel=0.02)


@given(st.lists(st.tuples(st.integers(1, 10**5), st.integers(0, 10**5)), max_size=30))
def test_the_sum_of_what_was_counted_is_met(pairs: list[tuple[int, int]]) -> None:
    fitted = FittedLine(OF_REQUEST)
    for characters, tokens in pairs:
        fitted.add(characters, tokens)
    line, texts = fitted.line, [*PRIOR_CHARACTERS, *(characters for characters, _ in pairs)]
    assert line.base >= 0
    assert line.per_character >= -1e-9
    found = sum(line.base + line.per_character * characters for characters in texts)
    assert found == pytest.approx(266 + sum(tokens for _, tokens in pairs), rel=1e-6)  # 13 + 253 by the default
    assert line.tokens(1) >= 1


def test_what_changes_is_learned_again() -> None:
    fitted = FittedLine(BY_LENGTH)
    for _ in range(10_000):
        fitted.add(100, 25)
    for _ in range(3_000):
        fitted.add(100, 50)
    assert fitted.line.tokens(100) == pytest.approx(50, abs=4)  # of the first, less than an eighth of 1,000 are left


def test_models_learn_apart_and_answers_as_well() -> None:
    estimates = TokenEstimates(ROLES)
    for _ in range(50):
        estimates.learn("weak", RequestSize(84, 1), Tokens(60, 20), lambda: 40)
    weak, strong = (estimates.of(RequestSize(84, 1))[role] for role in ROLES)
    assert weak.prompt == pytest.approx(60, abs=2)
    assert strong.prompt == 28  # 3 + 100 / 4
    assert weak.answers.tokens(40) == pytest.approx(20, abs=1)
    assert strong.answers.tokens(40) == 10


def test_what_says_nothing_of_lengths_is_not_learned_from() -> None:
    estimates = TokenEstimates(ROLES)
    estimates.learn("weak", RequestSize(84, 1, 1000), Tokens(5000, 0), unread)  # an image
    estimates.learn(
        "weak", RequestSize(84, 0), Tokens(5000, 9), lambda: 0
    )  # without a template, an answer without text
    assert estimates.of(RequestSize(84, 1))["weak"] == estimates.of(RequestSize(84, 1))["strong"]
    assert estimates.of(RequestSize(84, 1, 2000))["weak"].prompt == 2028


def test_few_answers_are_read_later() -> None:
    estimates, read = TokenEstimates(ROLES), []
    for number in range(64 + 160):
        estimates.learn("weak", RequestSize(84, 1), Tokens(28, 10), lambda number=number: read.append(number) or 40)  # type: ignore[misc,func-returns-value]
    assert len(read) == 64 + 10


def test_a_line_is_no_free_text() -> None:
    assert Line(0.0, 0.0).tokens(5) == 1


async def test_a_stream_without_usage_is_charged_by_what_was_counted_before(tmp_path: Path) -> None:
    """The upstream counts words: 60 of a prompt of 239 characters, which the default takes for 3 + 255 / 4 = 67; and
    7 of an answer of 30 characters, by the default 8. It counts no stream.

    After 40: n 42, sums 11,240 and 2,666, of inverses .182863, of ratios 9.989765; base = .02784 / .02592 = 1.074,
    slope .23317: 1.074 + 255 x .23317 = 60.5.
    """
    async with gateway(tmp_path) as found:
        prompt = " ".join(["zzz"] * 60)
        await found.ask(prompt, model="large", stream=True)
        for _ in range(40):
            await found.ask(prompt, model="large")
        await found.ask(prompt, model="large", stream=True)
        await found.ask(prompt, model="small", stream=True)
        kept = sorted(await records(found, 43), key=lambda one: one.at)
    first, counted, last, other = (kept[i] for i in (0, 1, 41, 42))
    assert (first.prompt_tokens, first.completion_tokens, first.tokens_counted) == (67, 8, False)
    assert (counted.prompt_tokens, counted.completion_tokens, counted.tokens_counted) == (60, 7, True)
    assert (last.prompt_tokens, last.completion_tokens, last.tokens_counted) == (61, 7, False)
    assert (other.prompt_tokens, other.tokens_counted) == (67, False)  # each model by its own counts
