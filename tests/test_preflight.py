"""What a run cannot use is refused before a model is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demur.config import LabelConfig, ModelConfig, RouterConfig, RunConfig
from demur.errors import InputError
from demur.preflight import check_run
from demur.records import SamplingSettings

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
