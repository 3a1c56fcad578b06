"""What a run's sampling has cost in all: the answers of earlier settings were paid for, too."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import demur
from demur.config import load_run
from demur.errors import BudgetError, InputError
from demur.evaluation.signals import signals
from demur.models.encoders.encoder import LetterEncoder
from demur.records import dollars
from demur.sampling.cost import KEPT_LIMIT, PairEstimate, PairSpend
from demur.sampling.earlier.answer_lengths import AnswerLengths
from demur.sampling.earlier.asked_models import SAMPLINGS, asked_models
from demur.testing import fake_endpoint, in_a_thread
from pairs import Pair, running_pair, strong, write_questions

Sampled = Callable[..., PairSpend]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


@pytest.fixture
def sampled(pair: Pair, tmp_path: Path) -> Sampled:
    """`demur.sample` of a run of six prompts, with what a test gives beside."""
    asked: dict[str, Any] = {"run": str(tmp_path / "run"), "n": 2, "weak_usd": "0/0", "strong_usd": "1000/1000"}
    prompts = write_questions(tmp_path / "prompts.jsonl", 6, gold=False)
    return lambda of=prompts, **given: demur.sample(of, **{**pair.names, **asked, **given})


def test_answers_of_earlier_settings_are_paid_for(sampled: Sampled, tmp_path: Path) -> None:
    first = sampled(max_tokens=64)
    assert first.usd and first.unused_usd == 0.0
    second = sampled(max_tokens=32, again=True)
    assert second.usd == pytest.approx(first.usd)  # the same answers
    assert second.unused_usd == pytest.approx(first.usd)
    facts = dict(second.facts)
    assert (
        facts["paid in all"]
        == f"{dollars(2 * first.usd)}, {dollars(first.usd)} of it for answers that are not among these"
    )
    back = sampled(max_tokens=64, again=True)
    assert back.usd == pytest.approx(first.usd)
    assert back.unused_usd == pytest.approx(first.usd)


def test_rows_that_repeat_a_prompt_are_counted(sampled: Sampled, tmp_path: Path) -> None:
    """`sample` counts prompts that are asked, `label` counts rows."""
    rows = [{"prompt": f"What is {i} and {i}?"} for i in (1, 2, 3, 1, 2, 1)]
    prompts = tmp_path / "repeats.jsonl"
    prompts.write_text("".join(json.dumps(one) + "\n" for one in rows))
    said: list[PairEstimate] = []
    spent = sampled(prompts, announce=said.append)
    assert spent.prompts == said[0].weak.prompts == 3
    for facts in (spent.facts, said[0].prices):
        assert dict(facts)["repeated"].startswith("3 of 6 prompts")
    assert "repeated" not in dict(sampled(run=str(tmp_path / "other")).facts)


def test_a_limit_counts_what_was_paid_under_earlier_settings(sampled: Sampled) -> None:
    first = sampled(max_tokens=64)
    assert first.usd
    said: list[PairEstimate] = []
    limit = 3 * first.usd
    sampled(max_tokens=32, again=True, max_usd=limit, dry_run=True, announce=said.append)
    assert said[0].usd_left == pytest.approx(2 * first.usd)
    with pytest.raises(BudgetError, match="spent on this run in all"):
        sampled(max_tokens=32, again=True, max_usd=1.01 * first.usd)


def test_a_run_that_is_begun_again_keeps_its_limit_and_prices(sampled: Sampled, tmp_path: Path) -> None:
    first = sampled(max_tokens=64)
    assert first.usd
    limit, said = 1.5 * first.usd, list[PairEstimate]()
    sampled(max_tokens=64, max_usd=limit)
    again = {"max_tokens": 32, "again": True, "weak_usd": None, "strong_usd": None}
    with pytest.raises(BudgetError, match=rf"the limit is \{dollars(limit)};"):
        sampled(**again, announce=said.append)
    assert dict(said[0].facts)["limit"] == f"{dollars(limit)} {KEPT_LIMIT}"
    kept = load_run(tmp_path / "run")
    assert (kept.max_usd, kept.strong.usd_per_million_input) == (limit, 1000)
    sampled(**again, max_usd=1e3, announce=said.append)
    assert "limit" not in dict(said[1].facts)


def test_a_run_file_without_a_limit_leaves_the_one_that_sampling_was_given(
    sampled: Sampled, pair: Pair, tmp_path: Path
) -> None:
    first = sampled()
    assert first.usd
    limit = 1.001 * first.usd
    sampled(max_usd=limit)  # nothing is asked
    small, large = (name.partition("@") for name in (pair.names["weak"], pair.names["strong"]))
    usd = {"usd_per_million_input": 1000, "usd_per_million_output": 1000}
    asked: dict[str, Any] = {
        "prompts": str(tmp_path / "prompts.jsonl"),
        "run": str(tmp_path / "run"),
        "weak": {"model": small[0], "base_url": small[2], "usd_per_million_input": 0, "usd_per_million_output": 0},
        "strong": {"model": large[0], "base_url": large[2], **usd},
        "sampling": {"n": 3},
    }
    file = tmp_path / "run.json"
    file.write_text(json.dumps(asked))
    said: list[PairEstimate] = []
    with pytest.raises(BudgetError, match=rf"the limit is \{dollars(limit)};"):
        demur.run(file, again=True, announce=said.append)
    assert dict(said[0].facts)["limit"] == f"{dollars(limit)} {KEPT_LIMIT}"
    file.write_text(json.dumps({**asked, "max_usd": 1.01 * limit}))
    with pytest.raises(BudgetError, match=rf"the limit is \{dollars(1.01 * limit)};"):
        demur.run(file, again=True, announce=said.append)
    assert "limit" not in dict(said[1].facts)


def test_a_run_without_answers_that_gets_another_model_keeps_its_limit(
    sampled: Sampled, pair: Pair, tmp_path: Path
) -> None:
    sampled(batch_out=tmp_path / "requests", max_usd=1e3)
    said: list[PairEstimate] = []
    sampled(strong=f"huge@{pair.strong.base_url}", dry_run=True, announce=said.append)
    assert said[0].usd_left == pytest.approx(1e3)


def test_answers_of_earlier_settings_tell_how_long_the_next_are(sampled: Sampled, tmp_path: Path) -> None:
    prompts = write_questions(tmp_path / "many.jsonl", 10, gold=False)
    said: list[PairEstimate] = []
    given = {"run": str(tmp_path / "many"), "announce": said.append}
    first = sampled(prompts, **given)
    assert said[0].sentence.endswith(f"40 answers: at most {dollars(said[0].usd or 0)}")
    sampled(prompts, **given, temperature=0.5, again=True, dry_run=True)
    known = first.completion_tokens / 2 / 20  # tokens of one of the strong model's 20 answers
    usd = (said[1].strong.prompt_tokens + 20 * known) / 1e3
    assert said[1].strong.expected_usd == said[1].strong.least_usd == pytest.approx(usd)
    assert said[1].sentence.endswith(f": about {dollars(usd)}, at most {dollars(said[1].usd or 0)}")
    facts = dict(said[1].facts)
    assert facts["expected"] == "by 20 answers under earlier settings"
    assert facts["paid so far"] == f"{dollars(first.usd or 0)} by this run"


def test_answers_that_were_cut_are_between_what_they_were_and_what_they_can_be() -> None:
    """Ten of 10 tokens and ten that were cut at 64: 37 on average, up to (10 + 256) / 2 where 256 are asked for."""
    counts = {(10, "stop"): 10, (64, "length"): 10}
    assert AnswerLengths.of(counts, 64, 256) == AnswerLengths(20, 37.0, 133.0, 64)
    assert AnswerLengths.of(counts, 64, 32) == AnswerLengths(20, 21.0, 21.0)
    assert AnswerLengths.of(counts, 64, 64) == AnswerLengths(20, 37.0, 37.0)
    assert AnswerLengths.of({(10, "stop"): 19, (0, "stop"): 100}, 64, 256) is None  # those without a count tell nothing


def test_a_model_that_was_replaced_was_paid_for_at_its_price(sampled: Sampled, pair: Pair) -> None:
    first = sampled()
    other = sampled(strong=f"huge@{pair.strong.base_url}", strong_usd="3000/3000", again=True)
    assert other.unused_usd == pytest.approx(first.usd)


def test_a_folder_of_an_earlier_version_is_counted_by_its_record(sampled: Sampled, tmp_path: Path) -> None:
    first = sampled(max_tokens=64)
    (tmp_path / "run" / SAMPLINGS).unlink()
    assert sampled(max_tokens=32, again=True).unused_usd == pytest.approx(first.usd)
    (tmp_path / "run" / SAMPLINGS).write_text('{"damaged": ', "utf-8")
    assert len(asked_models(load_run(tmp_path / "run"))) == 2


def test_the_list_holds_no_key(sampled: Sampled, tmp_path: Path) -> None:
    sampled()
    rows = json.loads((tmp_path / "run" / SAMPLINGS).read_text("utf-8"))
    assert [row["usd_per_input_token"] for row in rows] == [0.0, pytest.approx(1e-3)]
    assert {*rows[0]} == {
        "name",
        "settings",
        "max_tokens",
        "store",
        "usd_per_input_token",
        "usd_per_output_token",
        "batch_factor",
    }


def test_routing_has_paid_back_when_all_that_was_paid_is_saved(sampled: Sampled, tmp_path: Path) -> None:
    prompts, run = write_questions(tmp_path / "graded.jsonl", 40), str(tmp_path / "graded")
    for longest in (32, 64):
        spent = sampled(prompts, run=run, max_tokens=longest, again=True)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods="logistic", encoder=LetterEncoder(), gate="off")
    demur.calibrate(prompts, router=f"{run}/router", strong_share=0.5)
    found = demur.evaluate(run=run, encoder=LetterEncoder())
    assert spent.usd and spent.total_usd == pytest.approx(2 * spent.usd)
    assert f"labelling cost {dollars(2 * spent.usd)};" in found.payback


def test_files_of_requests_are_no_answers_and_are_not_asked_for_by_the_same_command(
    sampled: Sampled, tmp_path: Path
) -> None:
    spent = sampled(batch_out=tmp_path / "requests")
    assert spent.sentence == "6 prompts: no answers are there yet"
    assert [note for note in spent.notes if "miss" in note] == [
        "6 prompts miss answers of small",
        "6 prompts miss answers of large",
    ]
    assert "6 prompts miss answers of small: the same command asks for them" in sampled(dry_run=True).notes


@pytest.mark.parametrize("useful", [False, True])
def test_what_a_judge_was_paid_counts_in_all(sampled: Sampled, tmp_path: Path, useful: bool) -> None:
    """Also where none of its replies was of use. A word is a token, at $1,000 per million; prompts are free."""
    prompts, words = write_questions(tmp_path / "more.jsonl", 40, gold=False), list[str]()

    def reply(prompt: str, seed: int) -> str:
        said = strong(prompt, seed) if useful else "Both are fine"
        words.extend(said.split())
        return said

    before = sampled(prompts)
    assert before.total_usd == before.usd
    with in_a_thread(fake_endpoint(reply)) as judge, contextlib.suppress(InputError):
        demur.label(run=str(tmp_path / "run"), source="judge", judge=f"wise@{judge.base_url}#usd=0/1000")
    assert len(words) >= 16
    usd, after = len(words) / 1000, sampled(prompts)
    assert after.usd == before.usd
    assert after.total_usd == pytest.approx((before.usd or 0.0) + usd)
    paid = f"{dollars(after.total_usd or 0.0)}, {dollars(usd)} of it for questions beside the samples, as to a judge"
    assert dict(after.facts)["paid in all"] == paid


def test_what_a_runs_models_were_asked_about_their_own_answers_counts_in_all(sampled: Sampled, tmp_path: Path) -> None:
    """`demur signals --ask`: the small model is free, the large one costs $1,000 per million tokens."""
    prompts = write_questions(tmp_path / "more.jsonl", 40)
    before = sampled(prompts)
    signals(run=str(tmp_path / "run"), ask=True)
    after = sampled(prompts)
    assert before.total_usd and after.total_usd
    assert after.usd == before.usd
    assert after.total_usd > before.total_usd
