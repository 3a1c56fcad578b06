"""A run's limit of costs counts all that the run pays: samples, judges, entailment models, and its test sets.

The small model is free, the large one costs $1,000 per million tokens, and so does every word of a judge's reply.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.errors import BudgetError
from demur.evaluation.signals import signals
from demur.labels.from_samples import Labels
from demur.models.encoders.encoder import LetterEncoder
from demur.records import dollars
from demur.sampling.budget import Budget
from demur.sampling.cost import PairEstimate, PairSpend
from demur.testing import fake_endpoint, in_a_thread
from pairs import Pair, questions, running_pair, strong, weak, write_questions


def brief(prompt: str, seed: int) -> str:
    """The strong model; asked about its own answer, it keeps to the longest reply, as endpoints do."""
    return "A" if "Possible answer:" in prompt else "95" if "How likely" in prompt else strong(prompt, seed)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair(answers=(weak, brief)) as found:
        yield found


@pytest.fixture
def sampled(pair: Pair, tmp_path: Path) -> Callable[..., PairSpend]:
    """`demur.sample` of 40 prompts, with what a test gives beside."""
    given: dict[str, Any] = {"run": str(tmp_path / "run"), "n": 2, "weak_usd": "0/0", "strong_usd": "1000/1000"}
    prompts = write_questions(tmp_path / "prompts.jsonl", 40)
    return lambda **more: demur.sample(prompts, **{**pair.names, **given, **more})


@dataclass
class Asked:
    """A model that is asked about answers: its URL, and the words that it has said."""

    url: str
    words: list[str] = field(default_factory=list)
    replies: int = 0

    @property
    def usd(self) -> float:
        """What it was paid."""
        return len(self.words) / 1000


@contextmanager
def asked_about_answers(answer: Callable[[str, int], str] = strong) -> Iterator[Asked]:
    """A judge of labels, of two answers' meaning, or of a single answer, while the block runs."""
    found = Asked("")

    def reply(prompt: str, seed: int) -> str:
        said = "no" if prompt.startswith("Two answers") else answer(prompt, seed)
        found.words.extend(said.split())
        found.replies += 1
        return said

    with in_a_thread(fake_endpoint(reply)) as server:
        found.url = server.base_url
        yield found


def by_judge(run: str, url: str, **given: Any) -> Labels:
    """Labels from a judge, whose words cost $1 per thousand."""
    return demur.label(run=run, source="judge", judge=f"wise@{url}#usd=0/1000", **given)


def by_entailment(run: str, url: str, **given: Any) -> Labels:
    """Labels from samples, where the same model says which answers mean the same."""
    return demur.label(run=run, entailment=f"llm:wise@{url}#usd=0/1000", rules=False, **given)


@pytest.mark.parametrize(("label", "left"), [(by_judge, 0.05), (by_entailment, 0.01)])
def test_the_runs_limit_stops_those_who_are_asked_about_answers(
    sampled: Callable[..., PairSpend], tmp_path: Path, label: Callable[..., Labels], left: float
) -> None:
    """What was answered is kept and counted, and with the named command the same labelling goes on. Two replies may
    cost what is left: of 24 tokens of a judge, of four of an entailment model."""
    run, before = str(tmp_path / "run"), sampled().usd or 0.0
    limit = before + left
    sampled(max_usd=limit)  # all samples are there
    with asked_about_answers() as judge:
        with pytest.raises(BudgetError, match=rf"^wise: \$\S+ spent on this run in all, .* \{dollars(limit)};") as stop:
            label(run, judge.url)
        first = judge.replies
        assert 0 < judge.usd <= left
        assert (sampled().total_usd or 0.0) == pytest.approx(before + judge.usd)
        found = re.search(r"what was answered is kept, raise the run's limit with `demur ([^`]*) USD`", str(stop.value))
        assert found, str(stop.value)
        assert CliRunner().invoke(app, [*shlex.split(found[1]), "50"]).exit_code == 0
        label(run, judge.url)
        whole = judge.replies
        label(run, judge.url)
        assert judge.replies == whole > first
    with asked_about_answers() as again:
        label(run, again.url)  # another model, which is asked about all
    assert again.replies == whole


def test_a_judges_own_limit_holds_beside_the_runs(sampled: Callable[..., PairSpend], tmp_path: Path) -> None:
    sampled(max_usd=100)
    with asked_about_answers() as judge:
        with pytest.raises(BudgetError, match=r"by this command, .*: the limit is \$0.05;.*raise label.max_usd"):
            by_judge(str(tmp_path / "run"), judge.url, max_usd=0.05)
        assert 0 < judge.usd <= 0.05
    spent = sampled().total_usd or 0.0
    sampled(max_usd=spent + 0.03)
    with asked_about_answers() as judge, pytest.raises(BudgetError, match="on this run in all"):
        by_judge(str(tmp_path / "run"), judge.url, max_usd=0.05)


def test_a_limit_within_another_reserves_in_both_and_settles_in_both() -> None:
    from demur.models.endpoint import Endpoint
    from demur.records import Prompt, SamplingSettings

    dear = Endpoint("wise", "http://x/v1", usd_per_million_input=0, usd_per_million_output=1e6)
    outer, settings = Budget(10.0, spent=4.0), SamplingSettings(n=1, max_tokens=3)
    inner = Budget(None, within=outer)
    first = inner.reserve(Prompt("a", "a"), 1, dear, settings)
    assert first == 3.0
    with pytest.raises(BudgetError, match=r"\$4.00 spent on this run in all, \$3.00 reserved"):
        (inner.reserve(Prompt("b", "b"), 2, dear, settings))
    inner.settle(first, 1.0, dear)
    assert (inner.spent, outer.spent, outer.left) == (1.0, 5.0, 5.0)
    narrow = Budget(2.0, within=outer)
    with pytest.raises(BudgetError, match="by this command"):
        narrow.reserve(Prompt("c", "c"), 1, dear, settings)
    assert inner.reserve(Prompt("d", "d"), 1, dear, settings) == 3.0  # what was refused is not reserved


def test_a_model_whose_answers_cost_more_than_was_reserved_gets_no_further_than_one_of_them() -> None:
    """The tokens of a prompt are estimated, and an endpoint may write more than it was asked for: once an answer shows
    that, requests of this model under way and the next one count as much more; those of others do not."""
    from demur.models.endpoint import Endpoint
    from demur.records import Prompt, SamplingSettings

    longer, other = (
        Endpoint(name, "http://x/v1", usd_per_million_input=0, usd_per_million_output=1e6) for name in ("wise", "other")
    )
    settings, prompt = SamplingSettings(n=1, max_tokens=1), Prompt("a", "a")
    run = Budget(10.0, spent=0.0)
    budget = Budget(None, within=run)
    first, second, third = (budget.reserve(prompt, 1, longer, settings) for _ in range(3))
    budget.settle(first, 3.0, longer)  # the other two may cost as much
    with pytest.raises(BudgetError, match=r"\$3.00 spent .*, \$6.00 reserved .* the next prompt may cost \$3.00: .*10"):
        budget.reserve(prompt, 1, longer, settings)
    kept = budget.reserve(prompt, 1, other, settings)
    budget.settle(second, 3.0, longer)
    budget.settle(third, 3.0, longer)
    budget.settle(kept, 1.0, other)
    assert run.spent == 10.0 == run.max_usd


def test_what_entailment_costs_is_paid_in_all_and_earned_back(
    sampled: Callable[..., PairSpend], tmp_path: Path
) -> None:
    run, before = str(tmp_path / "run"), sampled().usd or 0.0
    with asked_about_answers() as judge:
        by_entailment(run, judge.url)
        after, paid = sampled(), before + judge.usd
        assert judge.usd
        assert dict(after.facts)["paid in all"].startswith(f"{dollars(paid)}, {dollars(judge.usd)} of it for questions")
        demur.train(run=run, methods="logistic", encoder=LetterEncoder(), gate="off", allow_endpoints=[judge.url])
        demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", strong_share=0.5)
        found = demur.evaluate(run=run, encoder=LetterEncoder(), allow_endpoints=[judge.url])
        assert f"labelling cost {dollars(before + judge.usd)};" in found.payback


def test_a_reply_that_says_neither_was_paid_for_and_is_asked_for_again(
    sampled: Callable[..., PairSpend], tmp_path: Path
) -> None:
    run, before = str(tmp_path / "run"), sampled().usd or 0.0
    with in_a_thread(fake_endpoint(lambda prompt, seed: "hm well")) as server:
        for _ in range(2):
            with pytest.raises(demur.DemurError, match="replied 'hm well' where yes or no was asked for"):
                by_entailment(run, server.base_url)
        assert (sampled().total_usd or 0.0) == pytest.approx(before + 2 * len(server.requests) / 1000)
        assert len(server.requests) % 2 == 0


@pytest.mark.parametrize(("label", "role"), [(by_judge, "judge"), (by_entailment, "entailment")])
def test_a_model_of_unknown_price_is_said_to_be_uncounted(
    sampled: Callable[..., PairSpend],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    label: Callable[..., Labels],
    role: str,
) -> None:
    """It stops nothing, and is never $0: its host takes a key, so it may charge."""
    monkeypatch.setenv("WISE_KEY", "sk-1")
    run, before = str(tmp_path / "run"), sampled(max_usd=100).usd or 0.0
    with asked_about_answers() as judge:
        spec = f"wise@{judge.url}#WISE_KEY"
        given = {"source": "judge", "judge": spec} if role == "judge" else {"entailment": f"llm:{spec}", "rules": False}
        labels = demur.label(run=run, **given)
        words = [one for one in (*labels.notes, *labels.warnings) if one.startswith("the price of wise is unknown")]
        assert len(words) == 1
        assert f"the limit of {dollars(100)} does not count what it costs" in words[0]
        spent = sampled()
        assert spent.total_usd == pytest.approx(before)
        assert dict(spent.facts)["paid in all"] == f"{dollars(before)} without wise, whose price is unknown"
        label(run, judge.url)  # its price is given now: what it was asked before counts
        assert sampled().total_usd == pytest.approx(before + judge.usd)


def test_the_estimate_says_who_is_asked_later(sampled: Callable[..., PairSpend], pair: Pair, tmp_path: Path) -> None:
    said: list[PairEstimate] = []
    (small, _, weak_url), (large, _, strong_url) = (pair.names[one].partition("@") for one in ("weak", "strong"))
    asked: dict[str, Any] = {
        "prompts": str(write_questions(tmp_path / "prompts.jsonl", 12)),
        "run": str(tmp_path / "file"),
        "weak": {"model": small, "base_url": weak_url},
        "strong": {"model": large, "base_url": strong_url, "usd_per_million_input": 1, "usd_per_million_output": 1},
        "label": {"entailment": "llm:wise@https://api.example.com/v1#usd=1/2"},
    }

    def facts_with(**label: str) -> dict[str, str]:
        file = tmp_path / "run.json"
        file.write_text(json.dumps({**asked, "label": label}))
        with pytest.raises(StopError):
            demur.run(file, announce=stop)
        return dict(said[-1].facts)

    def stop(expected: PairEstimate) -> None:
        said.append(expected)
        raise StopError

    facts = facts_with(entailment="llm:wise@https://api.example.com/v1#usd=1/2")
    assert facts["asked later"] == "wise as entailment: not in this estimate; the run's limit counts it"
    facts = facts_with(entailment="llm:wise@https://api.example.com/v1")
    assert facts["not counted"].startswith("what wise costs as entailment: price unknown (give MODEL@URL#usd=IN/OUT")
    facts = facts_with(source="judge", judge="wise@https://api.example.com/v1#usd=1/2")
    assert facts["asked later"] == "wise as judge: not in this estimate; the run's limit counts it"
    assert not {"asked later", "not counted"} & {*facts_with(entailment="exact")}


class StopError(Exception):
    """After the estimate nothing is asked."""


def test_questions_to_a_runs_own_models_are_within_its_limit(sampled: Callable[..., PairSpend], tmp_path: Path) -> None:
    spent = sampled().usd or 0.0
    sampled(max_usd=spent + 1e-4)
    with pytest.raises(BudgetError, match="on this run in all"):
        signals(run=str(tmp_path / "run"), ask=True)


def test_all_who_are_asked_beside_the_samples_share_what_the_limit_leaves(
    sampled: Callable[..., PairSpend], tmp_path: Path
) -> None:
    """Without gold answers the uncertainty card asks the entailment model first, then both models about their answers:
    these must not spend again what the entailment model was paid."""
    write_questions(tmp_path / "prompts.jsonl", 40, gold=False)
    run = str(tmp_path / "run")
    sampled()
    with asked_about_answers() as judge:
        by_entailment(run, judge.url)
        before, paid = sampled().total_usd or 0.0, judge.usd
        limit = before + 0.6
        sampled(max_usd=limit)
        with pytest.raises(BudgetError, match=rf"^large: .* on this run in all, .* is {re.escape(dollars(limit))};"):
            signals(run=run, ask=True)
        assert judge.usd > paid
    assert before + judge.usd - paid < (sampled().total_usd or 0.0) <= limit


def test_answers_to_test_sets_are_paid_in_all(pair: Pair, tmp_path: Path) -> None:
    (small, _, weak_url), (large, _, strong_url) = (pair.names[one].partition("@") for one in ("weak", "strong"))
    rows = questions(24)
    for name, some in (("train", rows[:16]), ("test", rows[16:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in some))
    asked: dict[str, Any] = {
        "prompts": str(tmp_path / "train.jsonl"),
        "run": str(tmp_path / "run"),
        "weak": {"model": small, "base_url": weak_url},
        "strong": {"model": large, "base_url": strong_url, "usd_per_million_input": 1e3, "usd_per_million_output": 1e3},
        "sampling": {"n": 2},
        "label": {"entailment": "exact"},
        "router": {"methods": ["logistic"], "encoder": "letters", "gate": "off"},
        "test": {"prompts": str(tmp_path / "test.jsonl"), "n": 1, "max_tokens": 16},
    }
    file = tmp_path / "run.json"
    file.write_text(json.dumps(asked))
    found = demur.run(file)
    given: dict[str, Any] = {**pair.names, "run": str(tmp_path / "run"), "weak_usd": "0/0", "strong_usd": "1000/1000"}
    spent = demur.sample(tmp_path / "train.jsonl", **given)
    assert spent.questions_usd > 0
    assert dict(found.spend.facts)["paid in all"] == dict(spent.facts)["paid in all"]


def test_a_run_says_what_it_paid_after_sampling(pair: Pair, tmp_path: Path) -> None:
    """A judge of labels and answers to test sets, which the payback counts as well; nothing is paid by a repetition."""
    (small, _, weak_url), (large, _, strong_url) = (pair.names[one].partition("@") for one in ("weak", "strong"))
    for name, rows in (("train", questions(40)), ("test", questions(56)[40:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    with asked_about_answers() as judge:
        asked: dict[str, Any] = {
            "prompts": str(tmp_path / "train.jsonl"),
            "run": str(tmp_path / "run"),
            "weak": {"model": small, "base_url": weak_url, "usd_per_million_input": 0, "usd_per_million_output": 0},
            "strong": {"model": large, "base_url": strong_url}
            | {"usd_per_million_input": 1e3, "usd_per_million_output": 1e3},
            "sampling": {"n": 2},
            "label": {"source": "judge", "judge": f"wise@{judge.url}#usd=0/1000"},
            "router": {"methods": ["logistic"], "encoder": "letters", "gate": "off"},
            "test": {"prompts": str(tmp_path / "test.jsonl"), "n": 1, "max_tokens": 16},
        }
        file = tmp_path / "run.json"
        file.write_text(json.dumps(asked))
        first, again = demur.run(file), demur.run(file)
        assert judge.usd > 0
    assert first.spend.questions_usd > judge.usd  # the answers to the test set are counted with it
    assert first.spend.facts == again.spend.facts
    assert first.evaluation and again.evaluation
    assert first.evaluation.payback == again.evaluation.payback
    assert f"labelling cost {dollars(first.spend.total_usd or 0.0)};" in first.evaluation.payback
