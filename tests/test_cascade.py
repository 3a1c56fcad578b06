"""The cascade: a scorer of the weak model's answers, learned without grades, trained, saved, served and measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import load_run
from demur.errors import InputError
from demur.gate.cascade.answer_scorer import AnswerScorer, embed_answers
from demur.gate.cascade.fit_cascade import fit_cascade, read_answers
from demur.gate.quality.two_stages import staged_scores
from demur.gate.router import Router, drafts_of
from demur.methods.cascade import Cascade
from demur.models.encoders.encoder import LetterEncoder
from demur.prompts.pictures import text_with_pictures
from demur.records import Sample
from gateways import gateway
from pairs import running_pair, write_questions

HEDGES, SAYS = "zzz hmm", "paris"


def said(*texts: str) -> list[Sample]:
    return [Sample(i, text, None, "stop", 5, 1) for i, text in enumerate(texts)]


def test_the_scorer_finds_the_hedged_answers() -> None:
    random = np.random.default_rng(0)
    right = (random.random(300) < 0.6).astype(float)
    answers = [SAYS if r else HEDGES for r in right]
    X = embed_answers(LetterEncoder(), [f"question {i}" for i in range(300)], answers)
    found = AnswerScorer.fit(X[:200], right[:200]).right(X[200:])
    assert found[right[200:] == 1].min() > 0.9
    assert found[right[200:] == 0].max() < 0.1


def test_a_scorers_probability_by_hand() -> None:
    """sigmoid(2 x 1.5 - 1) = sigmoid(2) = .881, and sigmoid(-1) = .269."""
    found = AnswerScorer((2.0,), -1.0).right(np.array([[1.5], [0.0]]))
    assert found == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(1))])


def test_a_scorer_is_regularised_as_its_constant_says() -> None:
    X, right = np.array([[1.0], [0.5], [-1.0], [-0.2]]), np.array([1.0, 0.0, 0.0, 1.0])
    assert AnswerScorer.fit(X, right) == AnswerScorer.fit(X, right, alpha=3.0)
    assert abs(AnswerScorer.fit(X, right, alpha=4.5).weights[0]) < abs(AnswerScorer.fit(X, right).weights[0])


def test_an_answer_is_scored_by_fits_that_did_not_see_it() -> None:
    """Of two answers, one right and one wrong, each is scored by the other alone: the right one as wrong, and the
    reverse. P(wrong) is (1, 0), with mean .5 and spread .5; the prompts' scores .2 and .6 have mean .4 and spread .2,
    so the scores after the answers are .4 + .2 / .5 x (P(wrong) - .5).
    """
    gate, held = fit_cascade(
        *(LetterEncoder(), ["one?", "two?"], [said("right"), said("wrong")], np.array([0.2, 0.6])),
        right=np.array([[1.0], [0.0]]),
        gains=np.array([[0.0], [1.0]]),
    )
    assert held.ravel() == pytest.approx([0.6, 0.2])
    assert (gate.steps[0].offset, *gate.steps[0].weights) == pytest.approx((0.2, 0.4))
    assert not gate.verdict.pays


def test_answers_graded_alike_teach_nothing() -> None:
    with pytest.raises(InputError, match="alike"):
        AnswerScorer.fit(np.ones((1, 2)), np.ones(1))


def test_a_questions_pictures_stay_with_its_answer() -> None:
    """An encoder of words reads the question, the answer, and that there is a picture."""
    picture = "data:image/png;base64,AAAA"
    rows = embed_answers(LetterEncoder(), [text_with_pictures("which?", picture)], ["red"])
    np.testing.assert_array_equal(rows, LetterEncoder().encode(["which? red\n[image]"]))


def test_scores_after_the_answer_have_the_prompts_mean_and_spread() -> None:
    """Half of the answers hedge, whatever the prompt: the held-out score is high for them and low for the others."""
    prompts = [f"question {i % 7}" for i in range(80)]
    drafts = [said(HEDGES if i % 2 else SAYS) for i in range(80)]
    right = np.array([[float(i % 2 == 0)] for i in range(80)])
    scores = np.random.default_rng(0).normal(0.4, 0.05, 80)
    gate, held = fit_cascade(LetterEncoder(), prompts, drafts, scores, right=right, gains=1 - right)
    assert held.shape == (1, 80, 1)
    assert held.mean() == pytest.approx(scores.mean())
    assert held.std() == pytest.approx(scores.std())
    assert held[0, 1::2].min() > scores.mean() > held[0, ::2].max()
    assert gate.scorer is not None
    assert gate.verdict.pays
    wrong = read_answers(gate.scorer, LetterEncoder(), ["question 1"], [[HEDGES, SAYS]])
    assert wrong.shape == (1, 1, 2, 1)
    assert wrong[0, 0, 0, 0] > 0.8 > 0.2 > wrong[0, 0, 1, 0]


def weak(prompt: str, seed: int) -> str:
    """Right where the number in the prompt is even; its words show it."""
    number = int("".join(filter(str.isdigit, prompt)) or 0)
    return f"surely answer {number}" if number % 2 == 0 else f"zzz perhaps {seed}"


def strong(prompt: str, seed: int) -> str:
    return f"surely answer {int(''.join(filter(str.isdigit, prompt)) or 0)}"


def trained(folder: Path) -> str:
    rows = [{"prompt": f"Question number {i}?", "answers": [f"surely answer {i}"]} for i in range(100, 180)]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = str(folder / "run")
    with running_pair(answers=(weak, strong)) as pair:
        demur.sample(folder / "q.jsonl", **pair.names, run=run, n=3)
        demur.label(run=run, entailment="exact")
        demur.train(run=run, methods="cascade", encoder="letters", unknown="score")
        demur.calibrate(folder / "q.jsonl", router=f"{run}/router", strong_share=0.5, anyway=True)
    return run


def test_a_cascade_is_trained_saved_and_measured(tmp_path: Path) -> None:
    run = trained(tmp_path)
    assert load_run(run).router.served == "cascade"
    router = Router.load(f"{run}/router")
    assert isinstance(router.prompt_router.method, Cascade)
    assert router.active
    first = router.route("Question number 188?")
    assert (first.role, first.wants_samples, first.stage) == ("weak", 1, "gate")
    assert "a cascade, so the weak model's answer is checked" in first.reason
    assert router.check(first, "Question number 188?", said("surely answer 188")).role == "weak"
    assert router.check(first, "Question number 187?", said("zzz perhaps 3")).role == "strong"
    assert not router.checks_streams  # a stream has no answer to read: its prompt decides
    found = {row.router: row.curve.apgr for row in demur.evaluate(run=run).rows}
    assert found["cascade"] > 0.68  # half of the answers are wrong: the oracle reaches .75
    assert found["cascade, prompt alone"] < 0.6  # odd and even numbers look alike


@pytest.mark.parametrize(
    ("given", "named"),
    [({"gate": "off"}, "router.gate is off"), ({"methods": "cascade,sw", "serve": "sw"}, "router.serve is 'sw'")],
)
def test_what_cannot_stand_beside_a_cascade(tmp_path: Path, given: dict[str, str], named: str) -> None:
    run = str(tmp_path / "run")
    with running_pair() as pair:
        demur.sample(write_questions(tmp_path / "q.jsonl", 24), **pair.names, run=run, n=2)
        demur.label(run=run)
        with pytest.raises(InputError, match=named):
            demur.train(run=run, **{"methods": "cascade", "encoder": "letters", **given})  # type: ignore[arg-type]


async def test_command_line_gateway_router_and_evaluation_decide_alike(tmp_path: Path) -> None:
    run = trained(tmp_path)
    folder = f"{run}/router"
    router = Router.load(folder)
    prompts = [f"Question number {i}?" for i in (201, 202, 203, 204, 205, 206)]
    answers = [weak(prompt, 0) for prompt in prompts]
    asked = zip(prompts, answers, strict=True)
    decided = [router.check(router.route(prompt), prompt, said(text)) for prompt, text in asked]
    expected = ["large", "small"] * 3
    assert [one.model for one in decided] == expected
    assert by_evaluation(router, prompts, answers) == expected
    done = [CliRunner().invoke(app, ["route", prompt, "--router", folder, "--json"]) for prompt in prompts]
    printed = [json.loads(one.stdout) for one in done]
    assert [(one["wants_samples"], one["reason"]) for one in printed] == [
        (one.wants_samples, one.reason) for one in map(router.route, prompts)
    ]
    async with gateway(tmp_path, router=folder, anyway=True) as found:
        found.weak.answer, found.strong.answer = weak, strong
        served = [await found.ask(prompt) for prompt in prompts]
        assert [body["model"] for _, _, body in served] == expected
        scores = [float(headers["x-demur-checked-score"]) for _, headers, _ in served]
        assert scores == pytest.approx([one.score for one in decided], abs=1e-5)


def by_evaluation(router: Router, prompts: Sequence[str], answers: Sequence[str]) -> list[str]:
    drafts = drafts_of(router, prompts, [said(text) for text in answers])
    assert router.gate is not None
    use = staged_scores(router.gate, router.score(prompts), drafts).use(router.threshold)
    return ["large" if one else "small" for one in use.strong[:, 0]]


def test_a_saved_scorer_is_read_again_as_it_was(tmp_path: Path) -> None:
    run = trained(tmp_path)
    router = Router.load(f"{run}/router")
    router.save(tmp_path / "copy")
    again = Router.load(tmp_path / "copy")
    assert router.gate is not None
    assert again.gate == replace(router.gate)
