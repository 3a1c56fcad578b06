"""What commands print of sampling and labelling: the result first, then facts and cautions, a line each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from demur.cli import printing
from demur.labels.beliefs.unknown import GUESSED, NONE_EQUAL, Saturation, UnknownPrompt, unknown_facts
from demur.labels.from_samples import Labels
from demur.labels.prompt_kinds import FOREIGN, LONG, SHORT, PromptKind, PromptKinds
from demur.labels.targets import label_warnings, winner_of
from demur.records import Preference

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
    assert lines[0].startswith("labelled 3 of 6 prompts (50%): 33% need the large model, 33% ")
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
