"""What commands print of sampling and labelling: the result first, then facts and cautions, a line each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from demur.cli import printing
from demur.labels.beliefs.unknown import GUESSED, NONE_EQUAL, Saturation, UnknownPrompt, unknown_facts
from demur.labels.from_samples import Labels
from demur.labels.prompt_kinds import FOREIGN, LONG, SHORT, PromptKind, PromptKinds
from demur.labels.targets import label_warnings, winner_of
from demur.models.prices import PRIVATE, UNPRICED
from demur.records import Preference
from demur.sampling.cost import PairEstimate, PairSpend
from demur.sampling.sample import Estimate

LONGEST = 110  # characters of a line, about

UNKNOWN = (*(UnknownPrompt(f"q{i}", "Who won?", GUESSED) for i in range(2)), UnknownPrompt("t", "Write!", NONE_EQUAL))


def labelled(*kinds: PromptKind) -> Labels:
    """Three labels, of either model and of none, beside three prompts without one; all kinds of facts."""
    rows = [
        Preference(str(i), "s", "l", f"p{i}", "a", "b", target, winner_of(target), "entropy believed")
        for i, target in enumerate((1.0, 0.5, 0.0))
    ]
    saturation = Saturation(0.5, 0.5, 0.25)
    return Labels(
        tuple(rows),
        label_warnings(np.array([row.target for row in rows]), saturation),
        ("a judge labels all prompts",),
        "discrete",
        saturation,
        12,
        UNKNOWN,
        0.25,
        PromptKinds(kinds),
        facts=tuple(unknown_facts(UNKNOWN)),
        made_by=(("declined", "3 of large's answers"),),
    )


MIXED = (PromptKind(SHORT, 4, 2, 2), PromptKind(LONG, 1, 0, 0), PromptKind(FOREIGN, 1, 1, 0, (("ja", 1),)))


def printed(capsys: pytest.CaptureFixture[str], made: Labels, *, verbose: bool = False) -> list[str]:
    printing.labels(made, verbose=verbose)
    return capsys.readouterr().out.splitlines()


def test_labels_begin_with_the_result_and_go_on_with_the_table_facts_and_cautions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys, labelled(*MIXED))
    assert lines[0].startswith("labelled 3 of 6 prompts (50%): large model better 33%, small model better 33%")
    assert lines[2].split() == ["kind", "of", "prompt", "prompts", "labelled", "both", "guess", "not", "shown"]
    assert lines[3].split() == ["short", "answers", "4", "2", "(50%)", "2", "(50%)", "0"]
    marks = [line[:2] for line in lines[7:]]
    assert marks == sorted(marks)  # two spaces before a fact, then "- " before a caution
    assert [line for line in lines if line.startswith("- ")][-1] == "- a judge labels all prompts"
    assert max(map(len, lines)) <= LONGEST


def test_what_changes_nothing_that_one_does_next_is_for_those_who_ask(capsys: pytest.CaptureFixture[str]) -> None:
    short = "\n".join(printed(capsys, labelled(*MIXED)))
    whole = "\n".join(printed(capsys, labelled(*MIXED), verbose=True))
    for name, fact in labelled(*MIXED).details:
        assert fact not in short
        assert f"{name} " in whole
        assert fact in whole
    assert whole.startswith(short)


def test_a_table_of_one_kind_would_only_repeat_the_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert not any("kind of prompt" in line for line in printed(capsys, labelled(PromptKind(SHORT, 6, 3, 2))))
    assert not any("kind of prompt" in line for line in printed(capsys, replace(labelled(), kinds=None)))


def priced(**given: Any) -> PairEstimate:
    """Ten prompts to ask both models about; the small one is free."""
    free = Estimate(10, 50, 44.0, 100, 3200, 0.0, 0.0, 0.0)
    dear = replace(free, usd=0.4, expected_usd=0.3, least_usd=0.01)
    prices = (("small", "a private address, counted as $0"), ("large", "price as given, $2.50 in and $10.00 out"))
    return PairEstimate(**{"weak": free, "strong": dear, "prices": prices, "models": ("small", "large"), **given})


def test_a_dry_run_begins_with_the_money_and_has_a_fact_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    printing.dry_estimate(priced(usd_left=0.2))
    first, *facts, caution = capsys.readouterr().out.splitlines()
    assert first == "dry run; to sample 10 prompts, about 88 answers: at most $0.40"
    assert [line.split()[0] for line in facts] == ["answers", "tokens", "expected", "small", "large"]
    assert caution.startswith("- --max-usd leaves $0.20, less than it may cost: ")
    assert max(map(len, (first, *facts, caution))) <= LONGEST


def test_what_models_cost_that_answer_for_nothing_is_no_range(capsys: pytest.CaptureFixture[str]) -> None:
    free = priced().weak
    printing.dry_estimate(priced(strong=free))
    first, *facts = capsys.readouterr().out.splitlines()
    assert first.endswith(" answers: at most $0")
    assert "expected" not in [line.split()[0] for line in facts]


def test_what_was_sampled_is_said_before_its_notes(capsys: pytest.CaptureFixture[str]) -> None:
    prices = (("small", PRIVATE), ("large", UNPRICED))
    spent = PairSpend(10, 88, 1234, 0.0, None, prices, False, ("small", "large"), ("5% of large's answers were cut",))
    printing.spend(spent)
    assert capsys.readouterr().out.splitlines() == [
        "sampled 10 prompts: 88 answers, which cost $0 without large, whose cost is unknown",
        "  tokens  1,234 of answers",
        "  small   a private address, counted as $0",  # how to name a price was said before
        "  large   price unknown",
        "- 5% of large's answers were cut",
    ]
    printing.spend(replace(spent, weak_usd=None, notes=(), uncounted=True))
    first, *_, caution = capsys.readouterr().out.splitlines()
    assert first == "sampled 10 prompts: 88 answers; the cost is unknown"
    assert caution.startswith("- an endpoint that costs money does not count its tokens")


def test_the_json_of_what_was_spent_keeps_its_prices_in_one_line() -> None:
    spent = PairSpend(1, 2, 3, 0.0, 0.5, (("small", "free"), ("large", "dear")), False, ("small", "large"))
    assert printing.plain(spent)["pricing"] == "small: free; large: dear"
    assert printing.plain(spent)["strong_usd"] == 0.5
