"""Each seam takes an object of the user's own, from labels to decisions, and asks for it again where it is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import demur
from demur.errors import ArtifactError, InputError
from demur.gateway.reload import usable_router
from demur.gateway.settings import GatewaySettings
from demur.methods.classifier import Classifier
from demur.records import Encoder, Entailment, FloatArray, Grader, Prompt, Sample
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from pairs import Pair, running_pair, write_questions

HARD, EASY = "What is 31 plus 17?", "Which colour has the sea in picture 90?"


class Lengths:
    """An encoder of one's own: how many digits, letters and words a text has."""

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        rows = [[sum(map(str.isdigit, text)), sum(map(str.isalpha, text)) / 10, text.count(" ")] for text in texts]
        return np.array(rows, dtype=np.float32) + 1


LENGTHS, UNFITTED = Lengths(), LogisticRegression()


def same_text(pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float, float]]:
    """An entailment of one's own, which returns triples."""
    return [(0.0, 0.0, 1.0) if premise == hypothesis else (0.0, 1.0, 0.0) for premise, hypothesis in pairs]


def half_for_numbers(prompt: Prompt, answer: str) -> float:
    """A grader of one's own: numbers are worth half, other answers all."""
    return 0.5 if answer.strip().isdigit() else 1.0


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


@pytest.fixture(scope="module")
def sampled(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampled")
    demur.sample(write_questions(folder / "prompts.jsonl"), **pair.names, run=str(folder / "run"), n=3)
    return folder


@pytest.fixture
def run(sampled: Path, tmp_path: Path) -> str:
    """A run whose samples are there, to be used up."""
    shutil.copytree(sampled / "run", tmp_path / "run")
    return str(tmp_path / "run")


def prompts_of(run: str) -> str:
    return str(json.loads((Path(run) / "run.json").read_text())["prompts"])


def test_a_method_of_ones_own(run: str) -> None:
    def mine() -> object:
        return make_pipeline(StandardScaler(), LogisticRegression(C=10))

    demur.label(run=run, entailment="exact", encoder="letters")
    trained = demur.train(run=run, methods={"mine": mine(), "sw": "sw"}, encoder="letters")
    assert trained.route(HARD).role == "strong"
    demur.calibrate(prompts_of(run), router=f"{run}/router", strong_share=0.5, method=mine(), anyway=True)
    found = demur.evaluate(run=run, methods={"mine": mine()})
    assert [row.router for row in found.rows][:2] == ["mine", "sw"]
    assert found.rows[0].curve.apgr == found.rows[0].curve.oracle.apgr  # it tells sums from colours
    router = demur.Router.load(f"{run}/router", method=mine())
    assert (router.route(HARD).model, router.route(EASY).model) == ("large", "small")
    assert router.score([HARD, EASY]) == pytest.approx(trained.score([HARD, EASY]))
    assert demur.replay(prompts_of(run), router=f"{run}/router", method=mine()).strong_share == pytest.approx(
        0.5, abs=0.1
    )
    with pytest.raises(ArtifactError, match=r"a method of your own, 'mine' \(Pipeline\); Router.load\(..., method=\)"):
        demur.Router.load(f"{run}/router")
    with pytest.raises(InputError, match="method 'sw' is demur's own; give your Pipeline another name"):
        demur.train(run=run, methods={"sw": mine()}, encoder="letters")


def test_an_entailment_of_ones_own(run: str) -> None:
    decides: Entailment = same_text
    labels = demur.label(run=run, entailment=decides, rules=False, encoder="letters")
    by_name = demur.label(run=run, entailment="exact", rules=False, encoder="letters")
    assert [row.target for row in labels.preferences] == [row.target for row in by_name.preferences]
    demur.label(run=run, entailment=decides, rules=False, encoder="letters")
    demur.train(run=run, methods="logistic", encoder="letters", gate="on", entailment=decides)
    demur.calibrate(prompts_of(run), router=f"{run}/router", strong_share=0.5, anyway=True)
    assert demur.evaluate(run=run, entailment=decides).rows[-1].router == "logistic + gate"
    router = demur.Router.load(f"{run}/router", entailment=decides)
    weak = [Sample(i, str(i), (-1.0,), "stop", 5, 1) for i in range(3)]
    checked = router.route(HARD, threshold=float(router.score([HARD])[0]))
    assert checked.wants_samples == 1
    assert router.check(checked, HARD, weak).stage == "gate"
    alone = demur.Router.load(f"{run}/router")
    with pytest.raises(InputError, match=r"an entailment of your own, test_seams.same_text; give it again"):
        alone.check(checked, HARD, weak)
    with pytest.raises(InputError, match=r"decided by own:test_seams.same_text, not by own:demur.meaning.entailment"):
        demur.evaluate(run=run, entailment=demur.exact_match)


def test_an_encoder_of_ones_own(run: str) -> None:
    mine: Encoder = Lengths()
    demur.label(run=run, entailment="exact", encoder=mine)
    trained = demur.train(run=run, methods="logistic,sw", encoder=mine)
    demur.calibrate(prompts_of(run), router=f"{run}/router", strong_share=0.5, encoder=mine, anyway=True)
    curve = demur.evaluate(run=run, encoder=mine).rows[0].curve
    assert curve.apgr == curve.oracle.apgr  # digits tell sums from colours
    router = demur.Router.load(f"{run}/router", encoder=mine)
    assert (router.route(HARD).model, router.route(EASY).model) == ("large", "small")
    assert router.explain(HARD).decision == router.route(HARD)
    assert router.score([HARD]) == pytest.approx(trained.score([HARD]))
    assert demur.replay(prompts_of(run), router=f"{run}/router", encoder=mine).strong_share == pytest.approx(
        0.5, abs=0.1
    )
    for load in (demur.replay, demur.calibrate):
        with pytest.raises(ArtifactError, match="trained on an encoder of your own"):
            load(prompts_of(run), router=f"{run}/router")


def test_a_gateway_imports_what_a_router_was_made_with_by_name(tmp_path: Path) -> None:
    rows = [TrainingPrompt(f"{HARD if i % 2 else EASY} {i}", float(i % 2), None, None) for i in range(24)]
    train_router(LENGTHS, Classifier(LogisticRegression(), "mine"), rows, weak="w", strong="s").save(tmp_path)
    settings = GatewaySettings(router=str(tmp_path), encoder="test_seams:LENGTHS", method="test_seams:UNFITTED")
    router = usable_router(settings)
    assert router.route(HARD).role == "strong"
    assert not hasattr(UNFITTED, "classes_")
    with pytest.raises(ArtifactError, match="trained on an encoder of your own"):
        usable_router(replace(settings, encoder=""))
    with pytest.raises(InputError, match=r"encoder: 'test_seams:NONE' cannot be imported \(.*\); give module:object"):
        usable_router(replace(settings, encoder="test_seams:NONE"))


def test_a_grader_of_ones_own(run: str) -> None:
    mine: Grader = half_for_numbers
    labels = demur.label(run=run, source="accuracy", kind="soft", grader=mine)
    assert {row.target for row in labels.preferences} == {0.5}  # both models' answers to a prompt are worth the same
    demur.label(run=run, source="entropy", entailment="exact", encoder="letters")
    demur.train(run=run, methods="logistic", encoder="letters")
    demur.calibrate(prompts_of(run), router=f"{run}/router", strong_share=0.5, anyway=True)
    found = demur.evaluate(run=run, grader=mine)
    assert {one.weak_quality for one in found.examples} == {0.5, 1.0}
    assert all(one.weak_quality == one.strong_quality for one in found.examples)
    assert demur.Router.load(f"{run}/router").route(HARD).model == "large"
    with pytest.raises(InputError, match=r"the grader gave 7 for an answer to .*; a quality is from 0 to 1"):
        demur.evaluate(run=run, grader=lambda prompt, answer: 7)
    with pytest.raises(InputError, match="a grader belongs to sources accuracy and quality-gap"):
        demur.label(run=run, entailment="exact", grader=mine)
