"""`demur label --from`: graded samples become preferences; what is missing is said."""

from __future__ import annotations

import pytest

from demur.errors import InputError
from demur.pair import PairSamples
from demur.records import Prompt, Sample
from demur.supervision import GRADED, Supervision, graded_preferences


def sampled(*texts: str) -> list[Sample]:
    return [Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)]


PROMPTS = [Prompt("easy", "2+2?", ("4",)), Prompt("hard", "13*17?", ("221",))]
SAMPLES = PairSamples(
    {"easy": sampled("4", "4"), "hard": sampled("200", "230")},
    {"easy": sampled("4", "4"), "hard": sampled("221", "221")},
)


@pytest.mark.parametrize("source", GRADED)
def test_the_strong_model_is_needed_only_for_the_hard_prompt(source: str) -> None:
    easy, hard = graded_preferences(PROMPTS, SAMPLES, source, weak="w", strong="s")
    assert hard.target == 1.0
    assert hard.winner == "model_b"
    assert easy.target <= 0.5
    assert easy.kind == source
    assert "2 preferences" in Supervision(source, (easy, hard)).lines[0]


def test_prompts_without_gold_are_refused() -> None:
    with pytest.raises(InputError, match="no gold answers"):
        graded_preferences([Prompt("easy", "2+2?")], SAMPLES, "accuracy", weak="w", strong="s")
