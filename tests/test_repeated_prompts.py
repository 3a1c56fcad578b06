"""Rows that repeat a prompt: traffic repeats itself. Each counts, but none teaches a fit that is to score another one.

Held out apart, a prompt would have several scores, and each would know its own label from the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import load_run
from demur.errors import InputError
from demur.evaluation.experiment.tau_sweep import swept
from demur.evaluation.grades import FEWEST_GRADED
from demur.evaluation.held_out import evaluate_held_out, evaluate_without_gold
from demur.evaluation.report.headline import training_headline
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.signals import signal_table
from demur.evaluation.thresholds.calibrate import calibrate_and_measure
from demur.evaluation.thresholds.criterion import Criterion
from demur.gate.cascade.fit_cascade import fit_cascade
from demur.gate.gate import GateRows, fit_gate
from demur.gate.join_model import gains_of_new_model
from demur.gate.quality.extra_samples import gain_for_the_money
from demur.gate.quality.two_stages import Use
from demur.gate.quality.weaker_groups import weaker_groups
from demur.gate.router import Router
from demur.labels.beliefs.believed_gain import area_interval, choose_targets
from demur.labels.scores.token_scores import first_answer_doubt
from demur.measure.curve import CostQualityCurve, cost_quality_curve
from demur.measure.probability import fit_curve
from demur.measure.reliability import reliability
from demur.methods import BY_NAME, KNN, SimilarityWeighted
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.pools.pair_pools import PairGraphRouter, fit_pairs
from demur.models.encoders.encoder import LetterEncoder
from demur.models.prices import ServingCost
from demur.records import FloatArray, IntArray, Method, Prompt, Sample
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router
from demur.routing.train_run import with_tiers
from demur.routing.verdict import recorded_verdict, verdict_of
from demur.runs import run as opened
from demur.runs.lineage import GRADES_FILE
from demur.runs.run import open_run
from demur.statistics import first_rows, folds, mean_interval
from pairs import questions, running_pair, strong, weak
from worlds import planted

WORDS = [f"{a}{b}{c}" for a in "abcd" for b in "efgh" for c in "ijk"]
NOISE = np.random.default_rng(0).choice([0.0, 1.0], len(WORDS))  # targets of which the words tell nothing
REPEATED = [*range(len(WORDS)), *range(0, len(WORDS), 3), 0, 5]  # rows of each word, some of them several times


def router_of(rows: Sequence[int], method: Method, **record: object) -> PromptRouter:
    training = [TrainingPrompt(WORDS[i], float(NOISE[i]), None, None) for i in rows]
    return train_router(LetterEncoder(), method, training, weak="small", strong="large", record=record)


def scores_of(labels: Sequence[object], scores: FloatArray) -> set[int]:
    """How many different scores the rows of one label have."""
    found: dict[object, set[bytes]] = {}
    for label, score in zip(labels, scores, strict=True):
        found.setdefault(label, set()).add(np.asarray(score).tobytes())
    return {len(each) for each in found.values()}


def test_rows_are_grouped_by_the_first_that_is_like_them() -> None:
    assert first_rows(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 0, 3, 1]
    assert first_rows([]).tolist() == []


def test_prompts_that_do_not_repeat_are_in_the_folds_that_they_were_in() -> None:
    """So routers of distinct prompts are the same to the last bit as those of versions without groups."""
    texts = [f"prompt {n}" for n in np.random.default_rng(1).permutation(203)]
    assert folds(203, groups=first_rows(texts)).tolist() == folds(203).tolist()
    X, y, _ = planted(100)
    apart, whole = held_out_scores(KNN(3), X, y, apart=30), held_out_scores(KNN(3), X, y)
    assert held_out_scores(KNN(3), X, y, groups=first_rows(texts[:100]), apart=30).tolist() == apart.tolist()
    assert held_out_scores(KNN(3), X, y, groups=first_rows(texts[:100])).tolist() == whole.tolist()


@pytest.mark.parametrize("name", ["sw", "knn", "kernel", "logistic", "mlp"])
def test_a_prompt_has_one_score_however_often_it_repeats(name: str) -> None:
    made = router_of(REPEATED, BY_NAME[name]())
    assert scores_of(REPEATED, made.training_scores) == {1}
    asked = [WORDS[i] for i in REPEATED[::-1]]  # as `demur calibrate` and `replay` look at a file
    assert made.look_held_out(asked).scores.tolist() == made.training_scores[::-1].tolist()


def test_a_prompt_is_not_scored_by_its_own_label() -> None:
    """Its copy is its nearest neighbour: scored by that, labels without any tie to the prompts seemed to be learned."""
    made = router_of([*range(48), *range(48)], KNN(1))
    found = recorded_verdict(made.record)
    assert found is not None
    assert not found.learned
    assert np.mean((made.training_scores > 0.5) == np.tile(NOISE, 2)) < 0.7


def test_the_verdict_counts_a_prompt_once() -> None:
    """Every prompt four times says as much as every prompt once; as 480 prompts it would say twice as surely."""
    X, y, _ = planted(120)
    scores = held_out_scores(SimilarityWeighted(), X, y)
    once, often = verdict_of(scores, y), verdict_of(np.tile(scores, 4), np.tile(y, 4), np.tile(np.arange(120), 4))
    assert often.gain == pytest.approx(once.gain, rel=0.05)
    assert often.n == 480
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.05)


@pytest.mark.parametrize("count", [1, 5, 60])
def test_a_decision_shows_different_prompts_near_by(count: int) -> None:
    """Most words repeat nine times, so that a few rows more than are shown are not enough."""
    rows = [*range(48), *range(0, 48, 2)] + [i for i in range(40) for _ in range(8)]
    once, often = (router_of(each, SimilarityWeighted()) for each in (range(48), rows))
    for word in ("aei", "dhk new"):
        shown = often.route(word, neighbours=count).neighbours
        assert len({near.prompt for near in shown}) == len(shown) == min(count, 48)
        expected = once.route(word, neighbours=count).neighbours
        assert [near.similarity for near in shown] == pytest.approx([near.similarity for near in expected])


def test_of_several_models_a_prompt_has_one_value_each() -> None:
    usd = {"weak": 1e-6, "middle": 2e-6, "strong": 1e-5}
    costs = {role: asdict(ServingCost(each, each, 0.0, 10.0, "given")) for role, each in usd.items()}
    names = ("small", "middle", "large")
    right = np.column_stack([NOISE[REPEATED] * 0, NOISE[REPEATED], np.ones(len(REPEATED))])
    for method in (SimilarityWeighted(), PairGraphRouter()):
        made = with_tiers(router_of(REPEATED, method, serving_cost=costs), names, names, right, right)
        assert made.tiers is not None
        assert scores_of(REPEATED, made.tiers.training_values) == {1}
        assert scores_of(REPEATED, made.training_scores) == {1}


def test_a_pool_predicts_the_gains_of_prompts_of_which_it_saw_no_copy() -> None:
    X, _, _ = planted(60)
    quality = np.random.default_rng(2).random((60, 3))
    rows = np.tile(np.arange(60), 3)
    _, held = fit_pairs(PairGraphRouter(), X[rows], quality[rows], rows)
    assert scores_of(rows.tolist(), np.round(held, 9)) == {1}


class Known:
    """Says 1 of a prompt that it has seen, and .5 of others."""

    def __init__(self, seen: FloatArray | None = None) -> None:
        self.seen = seen

    def of_new_model(self, X: FloatArray, y: FloatArray, target: FloatArray) -> Known:
        return Known(X)

    def predict_proba(self, X: FloatArray) -> FloatArray:
        assert self.seen is not None
        said = np.where(np.isin(X[:, 0], self.seen[:, 0]), 1.0, 0.5)
        return np.column_stack([1 - said, said])


def test_a_model_that_joins_is_judged_on_prompts_of_which_its_fit_saw_no_copy() -> None:
    """Of its training prompts, too, a copy is predicted as the first one, which was held out."""
    few, first = np.array([3, 0, 2, 3, 1, 0, 4, 3]), np.array([0, 1, 2, 3, 4, 0, 1])
    X = first[:, None].astype(float)
    _, gains = gains_of_new_model(Known(), X, few, X[few, 0], X[few, 0], first)  # type: ignore[arg-type]
    assert gains.tolist() == [0.0] * 7


def test_the_nearest_other_prompt_is_no_copy() -> None:
    """A prompt is familiar where it is as near as prompts are to each other: their copies are nearer than that."""
    once, often = (router_of(rows, KNN(3)) for rows in (range(48), [*range(48)] * 3))
    assert often.familiar_similarity == pytest.approx(once.familiar_similarity) != pytest.approx(1.0)


def test_kinds_of_targets_are_chosen_on_prompts_of_which_the_fit_saw_no_copy() -> None:
    """Neither kind has to do with the prompts; a copy would tell the second one, which then catches its own gain."""
    random = np.random.default_rng(0)
    X, gains = random.normal(size=(80, 64)), random.choice([-1.0, 1.0], 80)
    kinds = {"usual": random.random(80), "other": (1 + gains) / 2}
    rows = np.tile(np.arange(80), 4)
    found = choose_targets({kind: each[rows] for kind, each in kinds.items()}, gains[rows], X[rows], rows)
    assert found.kind == "usual"


def test_what_is_caught_more_has_an_interval_over_distinct_prompts() -> None:
    better, worse, gains = np.random.default_rng(3).random((3, 100))
    low, high = area_interval(better, worse, gains)
    rows = np.tile(np.arange(100), 4)
    found = area_interval(better[rows], worse[rows], gains[rows], rows)
    assert found[1] - found[0] == pytest.approx(high - low, rel=0.03)


def test_a_gate_is_judged_on_prompts_of_which_it_saw_no_copy() -> None:
    """As in `test_a_gate_is_judged_on_prompts_of_which_it_saw_no_draft`, each prompt thrice: a copy gives it away."""
    coins, rows = np.random.default_rng(0).choice([-1.0, 1.0], 60), np.tile(np.arange(60), 3)
    signals = np.broadcast_to(60 * np.eye(60)[:, None, :], (60, 4, 60))[rows]
    scores, gains = np.random.default_rng(1).random(60)[rows], np.repeat(coins[rows][:, None], 4, axis=1)
    gate, held = fit_gate(GateRows(scores, signals[None], gains, groups=rows))
    assert np.corrcoef((held[0] - scores[:, None]).ravel(), gains.ravel())[0, 1] < 0.3
    assert not gate.verdict.pays


def test_copies_of_one_prompt_teach_no_gate() -> None:
    rows = GateRows(np.linspace(0, 1, 40), np.zeros((1, 40, 1, 6)), np.zeros((40, 1)), groups=np.arange(40) % 9)
    with pytest.raises(InputError, match="9 training prompts cannot teach a gate"):
        fit_gate(rows)


def test_an_answer_is_scored_by_fits_that_saw_no_copy_of_its_prompt() -> None:
    """As of two prompts, one right and one wrong, each thrice: each is scored by the other alone, as the other is."""
    prompts, right = ["one?", "two?"] * 3, np.array([[1.0], [0.0]] * 3)
    drafts = [[Sample(0, text, None, "stop", 1, 1)] for text in ("right", "wrong")] * 3
    scores = np.array([0.2, 0.6] * 3)
    _, held = fit_cascade(LetterEncoder(), prompts, drafts, scores, right=right, gains=1 - right)
    assert held.ravel() == pytest.approx([0.6, 0.2] * 3)


def test_copies_of_one_prompt_show_no_group_on_which_the_small_model_is_better() -> None:
    """Forty copies are one prompt, whose samples happened to fall out so; forty prompts are a group."""
    gains = np.full(40, -0.5)
    assert weaker_groups(np.ones((40, 1)), ["why?"] * 40, gains) == ()
    assert len(weaker_groups(np.ones((40, 1)), [f"why {i}?" for i in range(40)], gains)) == 1


def test_what_a_gate_gains_for_the_money_has_an_interval_over_distinct_prompts() -> None:
    random = np.random.default_rng(0)
    gains, scores, picked = random.normal(size=(200, 1)), random.random(200), random.random((200, 1)) < 0.5

    def found(rows: IntArray, groups: IntArray | None) -> float:
        use = Use(picked[rows], picked[rows], np.zeros((len(rows), 1), dtype=int))
        usd = np.full(len(rows), 0.0), np.ones(len(rows))
        _, low, high = gain_for_the_money([use], scores[rows], gains[rows], *usd, groups=groups)
        return high - low

    rows = np.tile(np.arange(200), 4)
    assert found(rows, rows) == pytest.approx(found(np.arange(200), None), rel=0.05)


def test_learned_doubt_is_of_prompts_of_which_the_fit_saw_no_copy() -> None:
    """Answers to one prompt are scored alike, since the same fits score them."""
    random = np.random.default_rng(0)
    once = [Prompt(f"{i}", f"question {i}", answers=("yes",)) for i in range(20)]
    said = [[Sample(0, random.choice(["yes", "no"]), (-float(random.random()),), "stop", 1, 1)] for _ in once]
    prompts = [*once, *(Prompt(f"{one.id}-2", one.text, answers=one.answers) for one in once)]
    found = first_answer_doubt("lars", prompts, [*said, *said], lambda pairs: np.zeros((len(pairs), 3)))
    assert found[:20] == pytest.approx(found[20:], abs=1e-12)


def run_of(folder: Path) -> tuple[Path, str]:
    """60 questions and 20 on which both models guess, some of each several times: 108 rows of 80 prompts."""
    texts = [str(row["prompt"]) for row in questions()] + [f"Which text is {i}?" for i in range(20)]
    rows = [*texts, *texts[::4], *texts[::16], *texts[:3]]
    prompts, run = folder / "prompts.jsonl", str(folder / "run")
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in rows), encoding="utf-8")

    def guess(name: str, prompt: str, seed: int) -> str:
        known = strong if name == "b" else weak
        return f"{name} {seed}" if prompt.startswith("Which text") else known(prompt, seed)

    with running_pair(answers=(partial(guess, "a"), partial(guess, "b"))) as pair:
        demur.sample(prompts, **pair.names, run=run, n=4, weak_usd="0", strong_usd="10/10")
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("sw", "logistic"), serve="sw", unknown="strong")
    return prompts, run


def test_every_command_says_the_same_of_rows_that_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate and replay look a prompt up by its text, the report and training go through the rows."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.setattr("demur.routing.restoring.load_encoder", lambda spec: LetterEncoder(), raising=False)
    prompts, run = run_of(tmp_path)
    for share in (0.4, 0.5, 0.6):
        given = Criterion(strong_share=share)
        found, headline, _ = calibrate_and_measure(prompts, given, router=f"{run}/router", anyway=True)
        kept = CliRunner().invoke(app, ["status", "--run", run], env={"COLUMNS": "400"}).output
        lines = {"replay": demur.replay(prompts, router=f"{run}/router").headline}
        lines["train"] = training_headline(Router.load(f"{run}/router"))
        with open_run(load_run(run)) as there:
            lines["report"] = evaluate_held_out(there, graded=False).headline
        said = headline.block().lines
        assert {name: line.block().lines for name, line in lines.items()} == dict.fromkeys(lines, said)
        assert headline.strong_share == pytest.approx(found.strong_share)
        assert headline.prompts == len(prompts.read_text().splitlines()) == 108
        for output in (kept, CliRunner().invoke(app, ["status", "--run", run], env={"COLUMNS": "400"}).output):
            assert headline.sentence in output


def test_a_mean_has_an_interval_over_distinct_prompts_in_whatever_order_the_rows_stand() -> None:
    values = np.random.default_rng(0).random(200)
    rows = np.tile(np.arange(200), 4)
    found = mean_interval(values[rows], rows)
    assert found == pytest.approx(mean_interval(values), rel=0.02)
    shuffled = np.random.default_rng(1).permutation(rows)
    assert mean_interval(values[shuffled], shuffled) == found


def test_a_graded_prompt_counts_once_however_often_it_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first 15 prompts, which a person graded, are 23 rows: too few to measure by, although rows are enough. Of
    the first 24, no command says another number, and none is left out."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.setattr("demur.routing.restoring.load_encoder", lambda spec: LetterEncoder(), raising=False)
    prompts, run = run_of(tmp_path)

    def lines_of(count: int) -> dict[str, Headline]:
        texts = [str(row["prompt"]) for row in questions()][:count]
        rows = ({"prompt": text, "weak_quality": float("plus" not in text), "strong_quality": 1.0} for text in texts)
        (Path(run) / GRADES_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        given = Criterion(strong_share=0.5)
        _, headline, _ = calibrate_and_measure(prompts, given, router=f"{run}/router", anyway=True)
        with open_run(load_run(run)) as there:
            found = evaluate_without_gold(there)
        assert not [line for line in found.warnings if "left out" in line]
        assert found.kinds is not None
        cells = " ".join(cell for row in found.kinds.rows for cell in row)
        assert sum(map(int, re.findall(r"measured on (\d+)", cells))) == (count if count >= FEWEST_GRADED else 0)
        return {
            "calibrate": headline,
            "replay": demur.replay(prompts, router=f"{run}/router").headline,
            "report": found.headline,
        }

    few, enough = lines_of(15), lines_of(24)
    assert {name: line.by_grades for name, line in few.items()} == dict.fromkeys(few, False)
    assert {name: line.judged for name, line in enough.items()} == dict.fromkeys(enough, 24)
    assert len({tuple(line.block().lines) for line in enough.values()}) == 1
    assert len({tuple(line.block().lines) for line in few.values()}) == 1
    # The share is of rows, of which there are more than prompts: of 24 alone it may be none that 24 can have.
    stay = 1 - (enough["report"].judged_share or 0)
    on = f"24 graded prompts (35 rows, as some repeat), {stay:.0%} of which stay local"
    assert ("quality", f"measured on {on}") in enough["report"].notes
    assert dict(demur.replay(Path(run) / GRADES_FILE, router=f"{run}/router").headline.notes)["measured on"].startswith(
        "24 training prompts with their grades"
    )
    # Of the 80 prompts 60 have labels, which are 82 of the 108 rows.
    assert {line.scope() for line in enough.values()} == {"the 76% that the score decides"}
    graded = CliRunner().invoke(app, ["grade", "--run", run], input="q").output
    assert "24 of them are of the 76% of the prompts that the score decides, which measure the router" in graded
    assert "0 of the other 24%, which have no label" in graded


def test_grade_says_the_quality_that_evaluate_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt is graded once and counts as often as it repeats: all 80 are 108 rows, which all go by their scores."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.setattr("demur.routing.restoring.load_encoder", lambda spec: LetterEncoder(), raising=False)
    prompts, run = run_of(tmp_path)
    demur.train(run=run, methods=("sw",), serve="sw", unknown="score")
    texts = list(dict.fromkeys(json.loads(line)["prompt"] for line in prompts.read_text().splitlines()))
    rows = (
        {"prompt": one, "weak_quality": float("plus" not in one), "strong_quality": "text" not in one} for one in texts
    )
    (Path(run) / GRADES_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    curve = demur.evaluate(run=run).rows[0].curve
    told = CliRunner().invoke(app, ["grade", "--run", run, "--number", "1"]).stdout
    right = f"right in {curve.qualities[0]:.0%}, the large one in {curve.qualities[-1]:.0%} ({run}"
    assert told.startswith(f"80 graded (108 rows, as some repeat): the small model is {right}")


def test_a_probability_has_an_interval_over_distinct_prompts() -> None:
    """As independent rows, nine of each would make it a third as wide."""
    random = np.random.default_rng(0)
    scores = random.normal(size=200)
    believed = 1 / (1 + np.exp(-scores + random.normal(size=200)))
    rows = np.tile(np.arange(200), 9)
    low, high = fit_curve(scores, believed).interval(0.4)
    least, most = fit_curve(scores[rows], believed[rows], rows).interval(0.4)
    assert most - least == pytest.approx(high - low, rel=0.05)


def test_how_well_probabilities_and_signals_tell_has_an_interval_over_distinct_prompts() -> None:
    random = np.random.default_rng(1)
    said = random.random(150)
    came = (random.random(150) < said).astype(float)
    rows = np.tile(np.arange(150), 4)
    once, often = reliability(said, came), reliability(said[rows], came[rows], rows)
    assert often.ece_high - often.ece_low == pytest.approx(once.ece_high - once.ece_low, rel=0.15)
    assert (often.high - often.low).mean() == pytest.approx((once.high - once.low).mean(), rel=0.15)
    (alone,) = signal_table("m", "set", {"discrete": 1 - said}, came).rows
    (whole,) = signal_table("m", "set", {"discrete": (1 - said)[rows]}, came[rows], rows).rows
    assert whole.high is not None
    assert whole.low is not None
    assert alone.high is not None
    assert alone.low is not None
    assert whole.high - whole.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_tau_is_confirmed_on_prompts_that_it_was_not_chosen_on(monkeypatch: pytest.MonkeyPatch) -> None:
    quality, rows = np.random.default_rng(0).random((2, 40)), np.tile(np.arange(40), 2)
    halves: list[set[float]] = []

    def curve(scores: FloatArray, *sides: FloatArray) -> CostQualityCurve:
        halves.append(set(scores.tolist()))
        return cost_quality_curve(scores, *sides)

    monkeypatch.setattr("demur.evaluation.experiment.tau_sweep.cost_quality_curve", curve)
    given = {"score": lambda y: rows.astype(float), "quality": (quality[0][rows], quality[1][rows]), "groups": rows}
    swept("", np.array([0.0, 1.0]), np.array([1.0, 0.0]), "paper", (0.1,), **given)  # type: ignore[arg-type]
    chosen, confirmed = halves
    assert (len(chosen), len(confirmed), chosen & confirmed) == (20, 20, set())
