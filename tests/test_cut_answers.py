"""Answers that ended at a limit of tokens: whether it was the limit that was asked for, or the endpoint's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import demur
from demur.errors import InputError
from demur.evaluation.report.cautions import cut_notes
from demur.models.encoders.encoder import LetterEncoder
from demur.models.requests.cut_answers import CutAnswers, cut_answers, remedy_words
from demur.records import Sample
from demur.runs import run as opened
from demur.sampling.cost import cut_sentences
from demur.testing import FakeEndpoint
from pairs import running_pair, write_questions
from test_prompt_kinds import NAMES, routed


def ended(reason: str, tokens: int) -> Sample:
    return Sample(0, "so it goes", None, reason, 12, tokens)


WHOLE = ended("stop", 20)
OURS = [*[WHOLE] * 3, ended("length", 256)]
THEIRS = [*[WHOLE] * 3, ended("length", 85)]  # a quarter of the answers


def test_answers_that_end_far_below_the_limit_were_cut_by_the_endpoint() -> None:
    (said,) = cut_sentences(("small",), [THEIRS], 256)
    assert said.startswith("25% of small's answers were cut by the endpoint itself, at about 85 tokens")
    assert "sample with" not in said
    (said,) = cut_sentences(("small",), [OURS], 256)
    assert said == f"25% of small's answers were cut at 256 tokens: {remedy_words(256)}"


def test_the_command_for_longer_answers_is_one_that_the_folder_does_not_refuse(tmp_path: Path) -> None:
    """Other answers are another run: without --again the folder refuses the command, and says what is paid for."""
    with running_pair() as pair:
        asked: dict[str, Any] = {
            "weak": f"small@{pair.weak.base_url}",
            "strong": f"large@{pair.strong.base_url}",
            "n": 2,
        }
        prompts, run = write_questions(tmp_path / "p.jsonl", 4, gold=False), str(tmp_path / "run")
        demur.sample(prompts, **asked, run=run, max_tokens=64)
        with pytest.raises(InputError, match=r"--again.* all are asked and paid for"):
            demur.sample(prompts, **asked, run=run, max_tokens=256)
        with pytest.raises(InputError, match=r"--again.* only those that are not there yet are asked and paid for"):
            demur.sample(write_questions(tmp_path / "q.jsonl", 8, gold=False), **asked, run=run)
        before = len(pair.weak.requests)
        demur.sample(prompts, **asked, run=run, max_tokens=256, again=True)
        assert len(pair.weak.requests) > before
    assert "`--max-tokens 256 --again`" in remedy_words(64)


def test_each_model_has_its_own_cause() -> None:
    ours, theirs = cut_sentences(("small", "large"), [THEIRS, OURS], 256)
    assert ours.startswith("25% of large's answers were cut at 256 tokens")
    assert theirs.startswith("25% of small's answers were cut by the endpoint itself")


@pytest.mark.parametrize(
    ("tokens", "own"),
    [
        ([256], False),
        ([300], False),  # some endpoints go beyond the limit
        ([192], False),  # three quarters: a share of the usage of several choices, by their characters
        ([191], True),
        ([250, 100, 260], False),  # one count far off, of answers that share a request's usage, is not the endpoint's
        ([0], False),  # not counted: nothing speaks against our limit
        ([0, 85], True),
    ],
)
def test_the_limit_that_ended_most_of_the_cut_answers(tokens: list[int], own: bool) -> None:
    assert cut_answers(ended("length", one) for one in tokens).by_endpoint(256) is own


def test_only_answers_that_were_cut_are_counted() -> None:
    assert cut_answers(THEIRS) == CutAnswers(0.25, 85)
    assert cut_answers([WHOLE]) == CutAnswers(0.0, 0)
    assert cut_answers([]) == CutAnswers(0.0, 0)


def test_a_router_says_which_endpoint_cuts_and_not_that_whole_answers_cost_more() -> None:
    router = routed()
    record = dict(router.prompt_router.record) | {"cut_by_endpoint": {"strong": 30}}
    (said,) = cut_notes(record, NAMES)
    assert said.startswith("5% of large's answers were cut by the endpoint itself, at about 30 tokens")
    assert "cost more" not in said
    assert "`--max-tokens" not in said


def test_a_run_whose_small_models_endpoint_stops_early_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the small model a sum's answer ends after 85 tokens of the 256 that were asked for."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    whole = FakeEndpoint.completion

    def stops_early(fake: FakeEndpoint, body: Mapping[str, Any], chat: bool) -> dict[str, Any]:
        found = whole(fake, body, chat)
        if body["model"] == "small" and "plus" in body["messages"][-1]["content"]:
            ends = [choice | {"finish_reason": "length", "logprobs": None} for choice in found["choices"]]
            return found | {"choices": ends, "usage": {"prompt_tokens": 9, "completion_tokens": 85 * len(ends)}}
        return found

    monkeypatch.setattr(FakeEndpoint, "completion", stops_early)
    run = str(tmp_path / "run")
    with running_pair() as pair:
        prompts = write_questions(tmp_path / "prompts.jsonl", gold=False)
        spent = demur.sample(prompts, **pair.names, run=run, n=3, max_tokens=256, weak_usd="1/2", strong_usd="1/2")
    (said,) = spent.notes
    assert said.startswith("50% of small's answers were cut by the endpoint itself, at about 85 tokens")
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods="logistic", gate="off")
    record = demur.Router.load(f"{run}/router").prompt_router.record
    assert (record["cut"], record["cut_by_endpoint"]) == ({"weak": 0.5, "strong": 0.0}, {"weak": 85})
