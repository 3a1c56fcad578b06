"""`demur label --from`: graded samples become preferences; what is missing is said."""

from __future__ import annotations

import pytest

from demur.errors import InputError
from demur.pair import PairSamples
from demur.records import Prompt, Sample
from demur.supervision import GRADED, Supervision, compared, graded_preferences, judged_preferences
from demur.verdicts import orders_of


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


def test_a_judge_labels_without_gold_and_what_it_says_in_prose_is_left_out() -> None:
    prompts = [Prompt("easy", "2+2?"), Prompt("hard", "13*17?"), Prompt("odd", "Why?"), Prompt("tie", "Who?")]
    sides = {"hard": ("200", "221"), "easy": ("4", "4"), "odd": ("so", "thus"), "tie": ("he", "him")}
    samples = PairSamples(*({key: sampled(pair[side]) for key, pair in sides.items()} for side in (0, 1)))
    items = compared(prompts, samples)
    strong_first = orders_of(items)[1][0] == "strong"
    replies = [None, "LLM 1" if strong_first else "LLM 2", "Both are fine", "LLM 1 and LLM 2"]
    found = judged_preferences(prompts, samples, items, replies, "judge", weak="w", strong="s")
    assert {row.id: row.target for row in found.preferences} == {"easy": 0.5, "hard": 1.0, "tie": 0.5}
    assert "1 replies not understood" in found.lines[1]
    with pytest.raises(InputError, match="none of 1 replies"):
        judged_preferences(prompts[2:3], samples, items[2:3], ["So!"], "judge", weak="w", strong="s")
