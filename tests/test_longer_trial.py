"""A run that is begun again for longer answers tries a few prompts first: an endpoint may cut the answers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import demur
from demur.config import load_run
from demur.errors import EndpointError
from demur.models.requests.cut_answers import TRIED
from demur.sampling.cost import PairEstimate, PairSpend
from demur.testing import FakeEndpoint
from pairs import Pair, running_pair, write_questions

Sampled = Callable[..., PairSpend]
PROMPTS = 12


@pytest.fixture
def limits() -> dict[str, int]:
    """By model: the longest answer that its endpoint gives."""
    return {"small": 75, "large": 75}


@pytest.fixture
def pair(limits: Mapping[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """A pair whose answers to a sum would have 150 tokens."""
    whole = FakeEndpoint.completion

    def answer(fake: FakeEndpoint, body: Mapping[str, Any], chat: bool) -> dict[str, Any]:
        found = whole(fake, body, chat)
        most = min(limits[body["model"]], body["max_tokens"])
        ends = [choice | {"finish_reason": "length" if most < 150 else "stop"} for choice in found["choices"]]
        usage = {"prompt_tokens": 9, "completion_tokens": min(most, 150) * len(ends)}
        return found | {"choices": ends, "usage": usage} if "plus" in body["messages"][-1]["content"] else found

    monkeypatch.setattr(FakeEndpoint, "completion", answer)
    with running_pair() as found:
        yield found


@pytest.fixture
def sampled(pair: Pair, tmp_path: Path) -> Sampled:
    asked: dict[str, Any] = {"run": str(tmp_path / "run"), "n": "2..5", "weak_usd": "1/1", "strong_usd": "9/9"}
    prompts = write_questions(tmp_path / "prompts.jsonl", PROMPTS, gold=False)
    return lambda **given: demur.sample(prompts, **{**pair.names, **asked, **given})


def requests(pair: Pair) -> int:
    return len(pair.weak.requests) + len(pair.strong.requests)


def test_where_the_endpoints_cut_three_prompts_are_asked_and_the_run_stays(sampled: Sampled, pair: Pair) -> None:
    first, before = sampled(max_tokens=64), requests(pair)
    assert any("`--max-tokens 256 --again`" in note for note in first.notes)
    with pytest.raises(EndpointError, match=r"cuts small at about 75 and large at about 75, though 256 were asked for"):
        sampled(max_tokens=256, again=True)
    assert requests(pair) == before + 2 * TRIED
    with pytest.raises(EndpointError, match=r"\(3 prompts tried\)"):  # what they gave is known
        sampled(max_tokens=256, again=True)
    assert requests(pair) == before + 2 * TRIED
    assert first.usd
    same = sampled(max_tokens=64)  # not another run
    assert (same.usd, same.samples) == (first.usd, first.samples)
    assert same.unused_usd == pytest.approx(TRIED * (9 + 2 * 75) * (1 + 9) / 1e6)  # two answers a request
    assert not any("--max-tokens" in note for note in same.notes)
    assert "small's answers were cut at 64 tokens, and the endpoint itself cuts at about 75" in same.notes[0]


@pytest.mark.parametrize("limit", [150, 120])  # they end by themselves, or are cut later
def test_where_answers_become_longer_sampling_goes_on(
    sampled: Sampled, pair: Pair, limits: dict[str, int], tmp_path: Path, limit: int
) -> None:
    limits["large"] = limit  # of one model that is worth it
    sampled(max_tokens=64)
    pair.strong.requests.clear()
    said: list[PairEstimate] = []
    sampled(max_tokens=256, again=True, announce=said.append)
    assert len(said) == 1
    assert dict(said[0].facts)["first"].startswith("3 prompts whose answers were cut at 64 tokens; it stops if ")
    assert load_run(tmp_path / "run").sampling.max_tokens == 256
    asked = sum(body.get("n", 1) for body in pair.strong.requests)
    assert asked == 2 * PROMPTS + 3 * PROMPTS // 2  # the tried ones' answers are used: none is asked for twice


def test_a_dry_run_says_what_is_asked_first_and_asks_nothing(sampled: Sampled, pair: Pair) -> None:
    sampled(max_tokens=64)
    before, said = requests(pair), list[PairEstimate]()
    sampled(max_tokens=256, again=True, dry_run=True, announce=said.append)
    assert said[0].first
    sampled(max_tokens=32, again=True, dry_run=True, announce=said.append)
    sampled(max_tokens=64, temperature=0.5, again=True, dry_run=True, announce=said.append)
    assert [one.first for one in said[1:]] == ["", ""]
    assert requests(pair) == before


def test_a_run_without_cut_answers_tries_nothing(sampled: Sampled, limits: dict[str, int]) -> None:
    limits |= {"small": 200, "large": 200}
    sampled(max_tokens=160)
    said = list[PairEstimate]()
    sampled(max_tokens=256, again=True, announce=said.append)
    assert said[0].first == ""
