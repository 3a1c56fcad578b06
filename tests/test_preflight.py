"""What a run cannot use is refused before a model is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demur.config import LabelConfig, ModelConfig, RouterConfig, RunConfig, TestConfig
from demur.errors import InputError
from demur.records import Prompt, SamplingSettings
from demur.runs.begin.preflight import check_run, check_training

GOOD = RunConfig("p.jsonl", ModelConfig("w", "http://x/v1"), ModelConfig("s", "http://x/v1"))


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (replace(GOOD, strong_share=30.0), "strong_share is 30"),
        (replace(GOOD, test_share=7.0), "test_share is 7"),
        (replace(GOOD, label=LabelConfig(definition="entropie")), "label.definition holds 'entropie'; known: rao"),
        (replace(GOOD, label=LabelConfig(entailment="deberta")), "label.entailment is 'deberta'; use exact"),
        (replace(GOOD, router=RouterConfig(methods=("svm",))), "router.methods holds 'svm'"),
        (replace(GOOD, router=RouterConfig(methods=("sw",), serve="mf")), "not among methods"),
        (replace(GOOD, router=RouterConfig(encoder="bert")), "router.encoder is 'bert'"),
        (replace(GOOD, router=RouterConfig(encoder="smollm2-135m")), "router.encoder is 'smollm2-135m'"),
        (replace(GOOD, router=RouterConfig(encoder="bert@localhost")), "'bert@localhost' is not a model"),
        (replace(GOOD, label=LabelConfig(source="judge", judge="gpt-9")), "'gpt-9' is not a model"),
        (replace(GOOD, label=LabelConfig(source="preference", file="none.jsonl")), "label.file is 'none.jsonl'"),
        (
            replace(GOOD, test=TestConfig("gsm8k:2"), label=LabelConfig(source="preference", file=__file__)),
            "[test] prompts beside label.source 'preference': test sets are written with the entropies",
        ),
        (replace(GOOD, test=TestConfig("mt-bench:2", judge="gpt-9")), "'gpt-9' is not a model"),
        (replace(GOOD, strong=ModelConfig("s", "localhost:1/v1")), "base_url 'localhost:1/v1' is not a URL"),
        (replace(GOOD, sampling=SamplingSettings(n=1)), "n is 1"),
        (replace(GOOD, sampling=SamplingSettings(template="Answer:")), "no {prompt} in it"),
        (replace(GOOD, strong=GOOD.weak), "two different models"),
    ],
)
def test_what_no_stage_could_use_is_refused(bad: RunConfig, named: str) -> None:
    check_run(GOOD)  # raises nothing
    with pytest.raises(InputError) as raised:
        check_run(bad)
    assert named in str(raised.value)


def test_prompts_none_of_which_would_train_are_refused() -> None:
    gold = [Prompt(f"p{i}", f"question {i}", ("x",)) for i in range(5)]
    check_training(gold, 0.0)
    check_training([*gold, Prompt("q", "without gold")], 0.999999)
    with pytest.raises(InputError, match="all 5 prompts are kept for measuring, none trains; give more, or lower"):
        check_training(gold, 0.999999)
