"""The gate on planted worlds where the weak model's wavering tells, and where it does not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from demur.errors import ArtifactError, InputError
from demur.gate.drafts import gate_rows, read_drafts
from demur.gate.gate import (
    EMPTY_NLL,
    SIGNALS,
    Gate,
    GateRows,
    GateStep,
    GateVerdict,
    fit_gate,
    gate_verdict,
    read_head,
    read_signals,
)
from demur.gate.quality.believed_quality import believed_quality
from demur.gate.quality.extra_samples import COLUMNS, ExtraSamplesTrial, answer_tokens, gain_for_the_money, trials
from demur.gate.quality.two_stages import (
    Rehearsal,
    StagedScores,
    Use,
    apgr_gain,
    rehearsal,
    staged_curve,
    staged_scores,
    without_gate,
)
from demur.gate.quality.weaker_groups import weaker_groups
from demur.gate.router import Router, drafts_of
from demur.gate.shares import calibration_of_share
from demur.gate.train import train_gate
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.measure.curve import cost_quality_curve
from demur.measure.threshold import threshold_for_share
from demur.methods import LogisticRegression
from demur.models.encoders.encoder import LetterEncoder
from demur.prompts.tool_calls import with_calls
from demur.records import FloatArray, Prompt, Sample
from demur.routing.prompt_router import Decision, PromptRouter, TrainingPrompt
from demur.routing.train import train_router
from demur.sampling.pair import PairSamples
from demur.statistics import folds, mean_ranks

N, SAMPLES = 240, 8


def world(*, tells: bool, logprobs: bool = True, seed: int = 0) -> tuple[list[Prompt], PairSamples]:
    """The weak model does not know half of the answers, whatever the prompt; ``tells``: it wavers where it does not."""
    random = np.random.default_rng(seed)
    prompts = [Prompt(str(i), f"question {i} {'x' * int(random.integers(9))}", ("right",)) for i in range(N)]
    weak, strong = {}, {}
    for prompt in prompts:
        knows = random.random() < 0.5
        said = ["right" if knows else f"wrong {i}" if tells else "wrong" for i in range(SAMPLES)]
        nll = 2.0 if (not knows if tells else random.random() < 0.5) else 0.1
        weak[prompt.id] = [sample(i, text, nll if logprobs else None) for i, text in enumerate(said)]
        strong[prompt.id] = [sample(i, "right", 0.1) for i in range(SAMPLES)]
    return prompts, PairSamples(weak, strong)


def sample(index: int, text: str, nll: float | None) -> Sample:
    return Sample(index, text, None if nll is None else (-nll, -nll), "stop", 5, 2)


@cache
def trained_on_world(*, tells: bool, logprobs: bool = True, seed: int = 0) -> Router:
    """Routers are frozen: the tests of one world share one."""
    return trained(*world(tells=tells, logprobs=logprobs, seed=seed))


def trained(prompts: list[Prompt], samples: PairSamples) -> Router:
    random = np.random.default_rng(1)
    training = [TrainingPrompt(p.text, float(y), 1.0, 0.0) for p, y in zip(prompts, random.random(N), strict=True)]
    router = train_router(LetterEncoder(), LogisticRegression(), training, weak="small", strong="large")
    return train_gate(router, prompts, samples, Meanings(exact_match))


def test_it_pays_where_the_weak_model_wavers_when_it_does_not_know() -> None:
    prompts, samples = world(tells=True)
    router = trained_on_world(tells=True)
    assert router.active
    assert "pays" in router.sentence
    texts = [p.text for p in prompts]
    drafts = drafts_of(router, texts, [samples.weak[p.id] for p in prompts])
    assert router.gate is not None
    right = np.array([[one.text == "right" for one in samples.weak[p.id]] for p in prompts])
    drafted = np.take_along_axis(right.astype(float), drafts.orders[:, :, 0], axis=1)
    wide = staged_curve(staged_scores(router.gate, router.prompt_router.score(texts), drafts), drafted, np.ones(N))
    assert wide.apgr > 0.65  # the prompt alone knows nothing: .5


def test_it_says_that_it_does_not_pay_where_wavering_tells_nothing() -> None:
    router = trained_on_world(tells=False)
    assert not router.active
    assert "does not pay" in router.sentence
    assert router.route("question 7").wants_samples == 0


def test_a_weak_answer_without_the_requested_form_is_of_no_use_whatever_its_score() -> None:
    router = trained(*world(tells=False))
    decision = replace(router.route("question 7"), role="weak", model="small")
    parameters = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    request = {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}

    def checked(arguments: str) -> Decision:
        text = with_calls("", {"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]})
        return router.check(decision, "question 7", [sample(0, text, None)], request=request)

    assert checked('{"x": 1}') == replace(decision, wants_samples=0)
    found = checked("{}")
    assert (found.role, found.model, found.score, found.wants_samples) == ("strong", "large", decision.score, 0)
    assert found.reason == "the weak answer is of no use: it calls 'f' wrongly ('x' is missing)"


def test_more_samples_than_there_are_or_too_few_prompts_are_said() -> None:
    prompts, samples = world(tells=True)
    two = PairSamples(*({k: v[:2] for k, v in side.items()} for side in (samples.weak, samples.strong)))
    found = trained(prompts, two)
    assert found.gate is not None
    assert found.gate.samples == 1
    assert "of 3 extra samples only 1 were there to learn from" in found.lines
    four = PairSamples(*({k: v[:4] for k, v in side.items()} for side in (samples.weak, samples.strong)))
    assert trained(prompts, four).about == ""  # three are asked for, and three are there
    with pytest.raises(InputError, match="9 training prompts"):
        fit_gate(GateRows(np.zeros(9), np.zeros((1, 9, 1, len(SIGNALS))), np.zeros((9, 1))))
    fit_gate(GateRows(np.linspace(0, 1, 10), np.zeros((1, 10, 1, len(SIGNALS))), np.zeros((10, 1))))  # just enough
    with pytest.raises(InputError, match="at most 8"):
        fit_gate(GateRows(np.zeros(20), np.zeros((10, 20, 1, len(SIGNALS))), np.zeros((20, 1))))


def test_the_router_checks_what_is_near_the_threshold_and_asks_only_as_far_as_needed() -> None:
    router = trained_on_world(tells=True)
    gate = router.gate
    assert gate is not None
    near = router.route("question 7", threshold=float(router.prompt_router.score(["question 7"])[0]))
    assert (near.role, near.stage, near.wants_samples) == ("weak", "gate", 1)
    far = router.route("question 7", threshold=near.score + 1.01 * gate.band)
    assert (far.role, far.stage, far.wants_samples) == ("weak", "prompt", 0)
    wavering = [sample(i, f"wrong {i}", 2.0) for i in range(SAMPLES)]
    sure = [sample(i, "right", 0.1) for i in range(SAMPLES)]
    for answers, role in ((wavering, "strong"), (sure, "weak")):
        made, asked = near, 0
        while made.wants_samples:
            asked += made.wants_samples
            made = router.check(made, "question 7", answers[:asked])
        assert made.role == role
        assert asked <= gate.samples + 1
        assert abs(made.score - near.score) <= gate.band + 1e-9
    assert not made.void
    assert router.check_head(near, [-2.0] * 4).score > router.check_head(near, [-0.1] * 4).score
    with pytest.raises(InputError, match="no weak answer"):
        router.check(near, "question 7", [])


def test_a_sample_that_was_wanted_and_did_not_come_voids_the_calibration() -> None:
    router = trained_on_world(tells=True)
    assert router.gate is not None
    steps = tuple(replace(step, spread=9.0) for step in router.gate.steps[:-1])  # it could still turn everything
    doubtful = replace(router, gate=replace(router.gate, steps=(*steps, router.gate.steps[-1])))
    near = doubtful.route("question 7", threshold=float(router.prompt_router.score(["question 7"])[0]))
    draft = [sample(0, "right", 0.1)]
    assert doubtful.check(near, "question 7", draft).wants_samples == 1
    alone = doubtful.check(near, "question 7", draft, final=True)
    assert (alone.wants_samples, alone.void) == (0, True)
    assert "did not arrive" in alone.reason


def test_a_stream_is_routed_by_its_prompt_where_first_tokens_tell_nothing() -> None:
    """No log-probs were there to learn a head from, or its verdict is that it does not pay: nothing is void."""
    blind = trained_on_world(tells=True, logprobs=False)
    seeing = trained_on_world(tells=True)
    assert seeing.gate is not None
    assert seeing.checks_streams
    useless = replace(seeing, gate=replace(seeing.gate, head_verdict=GateVerdict(0.1, 0.0, -0.1, 0.1)))
    for router in (blind, useless):
        assert not router.checks_streams
        near = router.route("question 7", threshold=float(router.prompt_router.score(["question 7"])[0]))
        made = router.check_head(near, [-0.1] * 4)
        assert (made.score, made.void, made.role) == (near.score, False, "strong")


def test_each_number_of_extra_samples_has_its_worth_and_its_cost() -> None:
    """Its tokens show a draft's worth at once: without extra samples the gate pays, and drops some."""
    router = trained_on_world(tells=True)
    assert [trial.samples for trial in router.trials] == [0, 1, 2, 3]
    none, *more = router.trials
    assert none.extra == 0
    assert none.verdict.pays
    assert none.tokens == pytest.approx((5 * none.dropped, 2 * none.dropped))  # read and written by each answer
    assert all(0 <= trial.extra <= trial.samples * trial.checked for trial in more)
    assert router.trials[-1].verdict == router.gate.verdict if router.gate else False
    assert router.trials[-1].cells[0] == "3"


def test_the_same_money_may_buy_more_than_a_look_at_the_draft() -> None:
    """Two prompts, one strong answer: the gate finds the prompt that needs it, the prompt's score the other one.

    It drops a draft for that. Where that costs as much as a strong answer, the router alone could afford both.
    """
    scores, gains = np.array([0.6, 0.4]), np.array([[0.0], [1.0]])
    use = Use(np.array([[False], [True]]), np.array([[True], [True]]), np.zeros((2, 1), dtype=int))
    free, dear = np.zeros(2), np.ones(2)
    assert gain_for_the_money([use], scores, gains, free, dear)[0] == 0.5
    assert gain_for_the_money([use], scores, gains, 0.5 * dear, dear)[0] == 0.0


def test_what_the_money_buys_has_a_95_percent_interval_over_prompts() -> None:
    """The gate finds the 112 prompts that need the strong model; as many, for the same money, are found by score."""
    coins = (np.random.default_rng(0).random(400) < 0.3).astype(float)
    use = Use(coins[:, None] > 0, np.ones((400, 1), dtype=bool), np.zeros((400, 1), dtype=int))
    gain, low, high = gain_for_the_money([use], np.arange(400.0), coins[:, None], np.zeros(400), np.ones(400))
    each = coins * (coins - (np.arange(400) >= 400 - coins.sum()))
    width = 1.96 * each.std() / 20
    assert gain == pytest.approx(each.mean())
    assert (low, high) == pytest.approx((gain - width, gain + width), abs=0.1 * width)


def test_a_gate_is_judged_on_prompts_of_which_it_saw_no_draft() -> None:
    """Each prompt has a signal of its own, and its drafts the same gain, a coin: a fit that saw one knows the others.

    Of a prompt that it did not see, no signal tells anything.
    """
    coins = np.random.default_rng(0).choice([-1.0, 1.0], 60)
    signals = np.broadcast_to(60 * np.eye(60)[:, None, :], (60, 4, 60))
    rows = GateRows(np.random.default_rng(1).random(60), signals[None], np.repeat(coins[:, None], 4, axis=1))
    gate, held = fit_gate(rows)
    assert np.corrcoef(gate.steps[0].score(np.zeros((60, 4)), signals).ravel(), rows.gains.ravel())[0, 1] > 0.9
    assert np.corrcoef((held[0] - rows.prompt_scores[:, None]).ravel(), rows.gains.ravel())[0, 1] < 0.3
    assert not gate.verdict.pays


def test_several_groups_share_the_chance_of_a_wrong_word() -> None:
    """Two groups of 40: alone, 1.96 standard errors would be enough; of two groups each takes 2.24."""
    vectors = np.repeat(np.eye(3)[:2], 40, axis=0)
    vectors[40:78, 2] = np.tile([0.3, -0.3], 19)  # around the second group's middle, where its last two are
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    noise, error = np.tile([-1.0, 1.0], 20), 1 / 39**0.5  # of the mean of 40 values +-1
    gains = np.concatenate([noise - 2.1 * error, noise - 2.4 * error])
    (found,) = weaker_groups(vectors, [f"prompt {i}" for i in range(80)], gains)
    assert (found.prompts, found.example) == (40, "prompt 78")
    assert (found.low, found.gain, found.high) == pytest.approx(
        (-4.6414 * error, -2.4 * error, -0.1586 * error), rel=1e-3
    )


def test_the_share_asked_for_is_the_share_that_the_gate_lets_through() -> None:
    """Thresholds are set on what drafts come to, so a new day's drafts meet the share; prompts' own scores miss it."""
    router = trained_on_world(tells=True)
    assert router.gate is not None
    prompts, samples = world(tells=True, seed=9)
    texts = [f"{p.text} anew" for p in prompts]
    scores = router.prompt_router.score(texts)
    expected = router.expected_scores(scores, router.serving_gate)
    real = staged_scores(router.gate, scores, drafts_of(router, texts, [samples.weak[p.id] for p in prompts]))
    for share in (0.3, 0.5, 0.7):
        threshold = threshold_for_share(expected.final, share).threshold
        assert real.use(threshold).strong.mean() == pytest.approx(share, abs=0.06)
        assert expected.use(threshold).checked.mean() == real.use(threshold).checked.mean()


def test_thresholds_are_set_on_the_scores_after_the_last_of_all_steps() -> None:
    """All while they are few; 2,000 of 4,500, evenly spaced; and as many as there are prompts where those are more."""
    steps = np.array([[[0.0, 0.0], [0.5, 0.5]], [[0.4, 0.1], [0.3, 0.2]]])
    few = StagedScores(np.array([0.25, 0.5]), steps, np.zeros(2), 0.1)
    assert few.levels(np.array([True, True])).tolist() == [0.1, 0.2, 0.3, 0.4]
    assert few.levels(np.array([False, True])).tolist() == [0.2, 0.3]
    assert few.levels(np.array([False, False])).tolist() == []
    steps = np.random.default_rng(0).permutation(4500).reshape(1, 100, 45) / 4499
    many, every = StagedScores(np.zeros(100), steps, np.zeros(1), 0.1), np.ones(100, dtype=bool)
    np.testing.assert_allclose(many.levels(every), np.linspace(0, 1, 2000), atol=1 / 4499)
    assert (many.levels(every)[0], many.levels(every)[-1]) == (0.0, 1.0)
    assert (
        len(StagedScores(np.zeros(3000), np.zeros((1, 3000, 2)), np.zeros(1), 0.1).levels(np.ones(3000, dtype=bool)))
        == 3000
    )


def test_a_new_prompts_drafts_are_expected_to_change_as_those_of_the_nearest_scores_did() -> None:
    """Of 16 rehearsed drafts the 4 around the prompt's place, at either end the last 4."""
    gate = Gate((GateStep(0.0, 1.0, ()),), None, 99.0, GateVerdict(0.0, 0.0, 0.0, 0.0))
    past = Rehearsal(np.arange(16) / 16, np.arange(16.0)[None])
    found = past.expected_scores(gate, np.array([0.5, 0.0, 1.0]))
    assert (found.final - found.prompt[:, None]).tolist() == [[6, 7, 8, 9], [0, 1, 2, 3], [12, 13, 14, 15]]


def test_where_the_strong_model_falls_for_what_the_weak_one_knows_it_is_said() -> None:
    """On one kind of prompt the strong model wavers between two answers, and the weak one always gives one of them."""
    prompts = [Prompt(str(i), ("zzzz " if i % 2 else "aaaa ") * (1 + i % 3), ("x",)) for i in range(N)]
    prompts = [replace(p, text=f"{p.text} {i // 2}") for i, p in enumerate(prompts)]
    firm = [sample(i, "right", 0.1) for i in range(SAMPLES)]
    torn = [sample(i, "right" if i % 4 else "wrong", 0.1) for i in range(SAMPLES)]  # three to one
    wrong = [sample(i, "nothing", 0.1) for i in range(SAMPLES)]
    weak = {p.id: firm if "zzzz" in p.text else wrong for p in prompts}
    strong = {p.id: torn if "zzzz" in p.text else firm for p in prompts}
    router = trained(prompts, PairSamples(weak, strong))
    assert router.weaker
    assert all("zzzz" in one.example and one.high < 0 for one in router.weaker)
    assert sum(one.prompts for one in router.weaker) > N // 4  # the smallest groups are too small to say
    assert any("believed better" in line for line in router.lines)
    assert not trained_on_world(tells=True).weaker


def test_missing_logprobs_void_the_calibration_and_warn_at_every_look() -> None:
    router = trained_on_world(tells=True)
    near = router.route("question 7", threshold=float(router.prompt_router.score(["question 7"])[0]))
    with pytest.warns(UserWarning, match="no log-probs"):
        made = router.check(near, "question 7", [sample(0, "right", None)])
    assert made.void
    assert made.score == near.score
    with pytest.warns(UserWarning, match="no log-probs"):
        assert router.check_head(near, []).void
    with pytest.warns(UserWarning, match="no log-probs"):  # who serves keeps to the first warning: Python's own filter
        router.check(near, "question 7", [sample(0, "right", None)])


def test_a_pair_without_logprobs_learns_from_meanings_alone() -> None:
    router = trained_on_world(tells=True, logprobs=False)
    assert router.active
    assert router.gate is not None
    assert not router.gate.needs_logprobs


def test_saved_and_loaded_it_decides_alike_and_belongs_to_its_router(tmp_path: Path) -> None:
    router = trained_on_world(tells=True)
    router.save(tmp_path)
    again = Router.load(tmp_path, encoder=LetterEncoder())
    assert again.gate == router.gate
    assert again.active
    weak, strong = believed_quality(again, ["question 7"], again.score(["question 7"]))
    assert weak[0] < strong[0]
    assert (again.trials, again.weaker) == (router.trials, router.weaker)
    assert again.beliefs is not None and router.beliefs is not None
    np.testing.assert_array_equal(again.beliefs, router.beliefs)
    for share in (0.05, 0.3, 0.5, 0.95):  # a run sets its threshold with the one, each later command with the other
        assert calibration_of_share(again, share) == calibration_of_share(router, share)
    np.testing.assert_array_equal(again.training_finals, router.training_finals)
    other = trained_on_world(tells=False, seed=5)
    other.prompt_router.save(tmp_path)
    with pytest.raises(ArtifactError, match="another router"):
        Router.load(tmp_path, encoder=LetterEncoder())


def test_the_first_stage_alone_says_that_the_gate_was_not_heard(tmp_path: Path) -> None:
    """Its threshold was set on last scores: who decides by the prompt alone decides otherwise than the product."""
    router = trained_on_world(tells=True)
    router.save(tmp_path)
    alone = PromptRouter.load(tmp_path, encoder=LetterEncoder())
    assert "the gate saved with it was not used" in alone.route("question 7").reason
    assert "not used" not in Router.load(tmp_path, encoder=LetterEncoder()).route("question 7").reason
    replace(router, active=False).save(tmp_path)
    assert "not used" not in PromptRouter.load(tmp_path, encoder=LetterEncoder()).route("question 7").reason


def test_the_signals_of_a_draft_by_hand() -> None:
    """Mean NLL of the draft .5, of the other two .1 and .3; two of three mean what the draft does."""
    found = read_signals([4, 7, 4], [(-0.2, -0.8), (-0.1,), (-0.3, -0.3)])
    entropy = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert found.tolist() == pytest.approx([0.5, np.log(0.5 + 1e-3), 0.3, entropy, 2 / 3, 2 / 3])
    assert read_signals([4, 7, 7], [None] * 3).tolist()[:3] == [0.0, 0.0, 0.0]
    assert read_head([-0.1] * 7 + [-0.9] + [-5.0]).tolist() == pytest.approx([0.2, 0.9])  # of eight tokens


def test_a_step_is_the_prompts_score_and_a_ridge_regression_in_equal_parts() -> None:
    """Both at unit variance over the rows held out, then in the prompt score's mean and spread; by scikit-learn."""
    random = np.random.default_rng(0)
    prompt, signals, gains = random.random(30), random.normal(size=(1, 30, 3, 2)), random.normal(size=(30, 3))
    gains += signals[0, :, :, 0]
    gate, _ = fit_gate(GateRows(prompt, signals, gains))
    X, y = np.column_stack([prompt.repeat(3), signals[0].reshape(90, 2)]), gains.ravel()
    ridge, held = make_pipeline(StandardScaler(), Ridge(alpha=20.0)), np.empty(90)
    fold_of = folds(90, groups=np.arange(90) // 3, seed=1)
    for fold in range(5):
        held[fold_of == fold] = ridge.fit(X[fold_of != fold], y[fold_of != fold]).predict(X[fold_of == fold])
    middle, spread = prompt.mean(), prompt.std()

    def both(estimate: FloatArray) -> FloatArray:
        return np.asarray((X[:, 0] - middle) / spread + (estimate - held.mean()) / held.std())

    expected = middle + spread / both(held).std() * both(ridge.fit(X, y).predict(X))
    assert gate.steps[0].score(prompt[:, None], signals[0]).ravel() == pytest.approx(expected)


def test_a_decision_is_settled_where_two_deviations_of_what_is_to_come_would_not_turn_it() -> None:
    steps = GateStep(0.0, 1.0, (), spread=0.1), GateStep(0.0, 1.0, ())
    gate = Gate(steps, None, 1.0, GateVerdict(0.0, 0.0, 0.0, 0.0))
    assert [gate.is_settled(0, score, 0.5) for score in (0.29, 0.31, 0.5, 0.69, 0.71)] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert gate.is_settled(1, 0.5, 0.5)  # no sample is left


def test_a_prompt_costs_the_mean_of_what_its_drafts_meet() -> None:
    """One draft is checked with 2 more samples and dropped: 3 weak answers and a strong one; the other is served."""
    use = Use(np.array([[True, False]]), np.array([[True, False]]), np.array([[2, 0]]))
    assert use.weak_answers.tolist() == [[3, 1]]
    assert use.cost(np.array([1.0]), np.array([10.0])).tolist() == [7.0]


def test_one_group_alone_needs_no_correction() -> None:
    gains = np.tile([-1.0, 1.0], 20) - 2.1 / 39**0.5
    (found,) = weaker_groups(np.ones((40, 1)), [f"prompt {i}" for i in range(40)], gains)
    assert found.high < 0


def test_a_score_on_the_threshold_is_strong_and_each_threshold_costs_what_its_drafts_do() -> None:
    scores = StagedScores(np.array([0.2, 0.8]), np.array([[[0.3, 0.1], [0.8, 0.7]]]), np.zeros(1), 0.4)
    assert scores.use(0.8).strong.tolist() == [[False, False], [True, False]]
    alone = without_gate(np.array([0.5, 0.4])).use(0.5)
    assert alone.strong.tolist() == [[True], [False]]
    assert not alone.checked.any()
    weak, strong = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    curve = staged_curve(scores, np.zeros((2, 2)), np.ones(2), (weak, strong))
    assert curve.costs is not None
    assert curve.costs.tolist() == [scores.use(t).cost(weak, strong).mean() for t in curve.thresholds]


def test_with_fewer_samples_the_last_one_left_decides_and_what_is_to_come_spreads_less() -> None:
    scores = StagedScores(np.array([0.5]), np.array([[[0.0, 0.0]], [[1.0, 3.0]], [[9.0, 9.0]]]), np.full(3, 7.0), 1.0)
    fewer = scores.at_most(1)
    assert fewer.final.tolist() == [[1.0, 3.0]]
    assert fewer.spreads.tolist() == [1.0, 0.0]  # of 1 and 3 that the next sample adds


def test_the_gain_in_apgr_is_the_difference_of_both_curves_with_its_interval() -> None:
    random = np.random.default_rng(0)
    weak = (random.random(300) < 0.5).astype(float)
    better, scores, strong = random.random(300) - weak, random.random(300), np.ones(300)
    gain, low, high = apgr_gain(better, scores, weak, strong)
    curves = [cost_quality_curve(one, weak, strong).apgr for one in (better, scores)]
    assert gain == pytest.approx(curves[0] - curves[1], abs=0.005)  # its ranks put each prompt in the middle of its own
    each = (strong - weak) * (mean_ranks(better) - mean_ranks(scores)) / np.mean(strong - weak)
    width = 1.96 * each.std() / 300**0.5
    assert (low, high) == pytest.approx((gain - width, gain + width), abs=0.1 * width)


def test_a_rehearsal_keeps_2000_drafts_with_their_own_changes() -> None:
    prompt = np.random.default_rng(0).permutation(700) / 1000
    held = np.stack([3 * prompt, 0 * prompt])[:, :, None].repeat(3, axis=2)
    kept = rehearsal(prompt, held)
    assert kept.changes.shape == (2, len(kept.scores)) == (2, 2000)
    assert (np.diff(kept.scores) >= 0).all()
    assert kept.changes == pytest.approx(np.stack([2 * kept.scores, -kept.scores]))
    assert kept.scores + kept.changes[-1] == pytest.approx(np.zeros(2000))


def test_an_empty_draft_is_no_sure_one() -> None:
    assert np.isfinite(read_signals([0], [None])).all()
    assert read_signals([0], [None])[0] == 0  # nothing is known of its tokens
    assert read_signals([0, 1], [(), (-1.0,)])[0] == EMPTY_NLL
    assert read_signals([0, 1], [(), (-1.0,)])[2] == (EMPTY_NLL + 1.0) / 2
    assert (read_head([]) == EMPTY_NLL).all()


def test_a_drafts_gain_is_the_strong_models_belief_in_itself_less_that_in_this_draft() -> None:
    """Of four strong answers three agree: 3 of 6 pairs do. The draft that says the same is believed by 3 in 4."""
    answers = [sample(i, "a" if i < 2 else "b", 0.1) for i in range(4)]
    drafts = read_drafts([np.array([0, 0, 1, 1])] * 2, [answers] * 2, 1)
    rows = gate_rows(np.zeros(2), drafts, [np.array([0, 0, 0, 2, 0, 0, 1, 1]), np.array([0, 0, 0, 0, 1, 1])], [4, 2])
    assert drafts.orders[0, :, 0].tolist() == [0, 1, 2, 3]
    answers[2] = sample(2, "b", 0.7)
    (heads,) = read_drafts([np.array([0, 0, 1, 1])], [answers], 1).heads  # type: ignore[misc]
    assert heads[:, 0].tolist() == pytest.approx([0.1, 0.1, 0.7, 0.1])  # of each order's own draft
    assert rows.gains[0].tolist() == [0.5 - 0.75, 0.5 - 0.75, 0.5, 0.5]
    assert rows.gains[1].tolist() == [0.0, 0.0, 1.0, 1.0]  # two strong answers only: they need not be as many


def gate_of(*steps: GateStep, head: GateStep | None = None, verdict: GateVerdict | None = None) -> Gate:
    return Gate(steps or (GateStep(0.0, 1.0, ()),), head, 0.25, GateVerdict(0.0, 0.0, 0.0, 0.0), verdict)


def test_a_gate_pays_where_its_whole_interval_lies_above_zero() -> None:
    none, some = GateVerdict(0.1, 0.2, 0.0, 0.4), GateVerdict(0.1, 0.2, 0.05, 0.4)
    assert (none.pays, some.pays) == (False, True)
    assert "does not pay: +20.00 [+0.00, +40.00] right answers per 100 prompts beyond what the prompt alone" in (
        none.sentence
    )
    assert "10.00" not in none.sentence  # the router's own gain is measured on more prompts, and said by its verdict
    step = GateStep(0.0, 1.0, ())
    streams = [
        gate_of(head=head, verdict=verdict).checks_streams
        for head, verdict in ((None, None), (None, some), (step, None), (step, none), (step, some))
    ]
    assert streams == [False, False, True, False, True]
    assert [gate_of(head=head).needs_logprobs for head in (None, step)] == [False, True]
    assert gate_of(step, step, step).samples == 2


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (None, "streams: routed by their prompts, since there are no log-probs"),
        (
            GateVerdict(0.1, 0.2, 0.0, 0.4),
            "streams: routed by their prompts; first tokens gain +20.00 [+0.00, +40.00] right answers per 100 prompts",
        ),
        (
            GateVerdict(0.1, 0.2, 0.1, 0.4),
            "streams: the first 8 tokens decide; first tokens gain +20.00 [+10.00, +40.00] right answers per 100",
        ),
    ],
)
def test_what_streams_are_routed_by_is_said(verdict: GateVerdict | None, said: str) -> None:
    gate = gate_of(head=GateStep(0.0, 1.0, ()), verdict=verdict)
    router = replace(trained_on_world(tells=True), gate=gate, about="", weaker=())
    assert router.lines[0] == gate.verdict.sentence
    assert router.lines[1].startswith(said)
    assert len(router.lines) == 2


def test_what_a_gate_captures_is_beyond_what_the_prompt_does() -> None:
    """Of two prompts one gains 1: last by the prompt's score, first after the draft."""
    gains, before, after = np.array([[1.0], [0.0]]), np.array([[0.1], [0.9]]), np.array([[0.9], [0.1]])
    found = gate_verdict(after, before, gains)
    assert (found.prompt_only, found.gain) == (-0.25, 0.5)


def test_a_score_moves_by_the_band_at_most() -> None:
    moved = gate_of().confine(np.array([0.0, 0.5, 0.6, 1.0]), np.full(4, 0.5))
    assert moved.tolist() == [0.25, 0.5, 0.6, 0.75]
    gate = gate_of(GateStep(0.0, 1.0, (), spread=0.125), GateStep(0.0, 1.0, ()))
    assert not gate.is_settled(0, 0.75, 0.5)  # just two deviations away
    assert gate.is_settled(0, 0.76, 0.5)


def test_a_draft_that_is_sure_of_every_token_has_the_log_of_a_thousandth() -> None:
    assert read_signals([0, 1], [(0.0,), (-0.5,)])[1] == pytest.approx(np.log(1e-3))
    assert read_signals([0, 1], [(-1.0,), (0.0,)])[1] == pytest.approx(np.log(1.001))


def test_a_gate_takes_eight_extra_samples_and_no_step_spreads_that_changes_nothing() -> None:
    random = np.random.default_rng(0)
    signals = np.broadcast_to(random.normal(size=(1, 40, 2, 3)), (9, 40, 2, 3))
    prompt = random.random(40)
    gains = random.normal(size=(40, 2)) + signals[0, :, :, 0]
    gate, held = fit_gate(GateRows(prompt, signals, gains))
    assert gate.samples == 8
    assert [step.spread for step in gate.steps] == [0.0] * 9
    changes = held[-1] - prompt[:, None]
    assert (np.abs(changes) <= gate.band + 1e-12).all()
    assert np.mean(np.abs(changes) > gate.band - 1e-12) == pytest.approx(0.2, abs=0.02)  # a fifth is cut, on both sides
    assert changes.max() == pytest.approx(gate.band)
    assert changes.min() == pytest.approx(-gate.band)


def test_first_tokens_that_tell_the_gain_are_worth_a_head() -> None:
    random = np.random.default_rng(0)
    gains = random.normal(size=(60, 2))
    nothing = random.normal(size=(1, 60, 2, 3))
    gate, _ = fit_gate(GateRows(random.random(60), nothing, gains, np.stack([gains, gains], axis=2)))
    assert gate.head_verdict is not None
    assert gate.head_verdict.pays
    assert not gate.verdict.pays


def test_a_prompt_on_the_edge_of_the_band_is_checked_and_asks_on_while_two_deviations_could_turn_it() -> None:
    """Band .25, spread .125: at threshold .5 the drafts lie .25 away, which is not certain, or further, which is."""
    steps = np.array([[[0.75, 0.8]], [[0.1, 0.2]], [[0.9, 0.4]]])
    scores = StagedScores(np.array([0.25]), steps, np.array([0.125, 0.25, 0.0]), 0.25)
    use = scores.use(0.5)
    assert use.checked.tolist() == [[True, True]]
    assert use.extra.tolist() == [[2, 0]]
    assert use.strong.tolist() == [[True, True]]
    assert not scores.use(0.51).checked.any()
    assert scores.use(0.51).extra.tolist() == [[0, 0]]


def test_prompts_that_go_to_one_model_are_neither_checked_nor_sampled_again() -> None:
    use = Use(np.array([[True], [False], [False]]), np.ones((3, 1), dtype=bool), np.full((3, 1), 2))
    some = np.array([True, True, False])
    for role, strong in (("strong", [True, True, False]), ("weak", [False, False, False])):
        sent = use.with_fixed_role(some, role)
        assert sent.strong[:, 0].tolist() == strong
        assert sent.checked[:, 0].tolist() == [False, False, True]
        assert sent.extra[:, 0].tolist() == [0, 0, 2]
    assert use.with_fixed_role(~some & some, "weak").strong.tolist() == use.strong.tolist()
    assert use.sentence == (
        "checks 100% of the prompts, 2.00 extra weak samples per prompt; 33% go to the strong model, 33% after a draft"
    )


def test_the_same_money_by_hand() -> None:
    """Strong answers cost .9 and 1.9 more than weak ones. The first use spends .375 a prompt, .275 over always-weak:
    .275 / .45 of the first strong answer. The second sends all, and so does the router alone for the same money."""
    scores, gains = np.array([0.9, 0.1]), np.array([[1.0, 0.0], [0.0, 1.0]])
    first = Use(
        np.array([[True, False], [False, False]]),
        np.array([[True, True], [False, False]]),
        np.array([[1, 0], [0, 0]]),
    )
    every = Use(np.ones((2, 2), dtype=bool), np.zeros((2, 2), dtype=bool), np.zeros((2, 2), dtype=int))
    costs = np.array([0.1, 0.1]), np.array([1.0, 2.0])
    alone = 0.275 / 0.45
    assert gain_for_the_money([first], scores, gains, *costs)[0] == pytest.approx((1 - alone) / 2 / 2)
    assert gain_for_the_money([every], scores, gains, *costs)[0] == pytest.approx(0.0)
    assert gain_for_the_money([first, every], scores, gains, *costs)[0] == pytest.approx((1 - alone) / 2 / 2 / 2)


def test_a_trial_is_averaged_over_nine_shares_and_says_what_it_found() -> None:
    random = np.random.default_rng(0)
    prompt, held, gains = random.random(30), random.random((2, 30, 2)), random.normal(size=(30, 2))
    gate = gate_of(GateStep(0.0, 1.0, (), spread=0.1), GateStep(0.0, 1.0, ()))
    usd = np.full(30, 0.001), np.full(30, 0.01)
    found = trials(gate, prompt, held, gains, (10.0, 100.0), usd)
    assert [one.samples for one in found] == [0, 1]
    scores = StagedScores(prompt, held, np.array([0.1, 0.0]), 0.25)
    spread = scores.at_most(1).spreads
    uses = [replace(scores, spreads=spread).use(float(np.quantile(held[1], k / 10))) for k in range(1, 10)]
    last = found[1]
    assert last.checked == pytest.approx(np.mean([use.checked.mean() for use in uses]))
    assert last.extra == pytest.approx(np.mean([use.extra.mean() for use in uses]))
    assert last.dropped == pytest.approx(np.mean([(use.checked & use.strong).mean() for use in uses]))
    assert last.tokens == pytest.approx((10 * (last.extra + last.dropped), 100 * (last.extra + last.dropped)))
    assert last.for_the_money == gain_for_the_money(uses, prompt, gains, *usd)
    assert trials(gate, prompt, held, gains, (10.0, 100.0))[1].for_the_money is None
    shown = ExtraSamplesTrial(1, GateVerdict(0.1, 0.2, 0.1, 0.3), 0.5, 0.25, 0.125, (20.0, 3.0))
    assert shown.cells == ("1", "+20.00 [+10.00, +30.00]", "-", "50%", "0.25", "0.12", "20 / 3")
    paid = replace(shown, for_the_money=(0.01, -0.02, 0.03))
    assert paid.cells[2] == "+1.00 [-2.00, +3.00]"
    assert len(paid.cells) == len(COLUMNS)


def test_tokens_of_an_answer_are_means_over_all_answers() -> None:
    one, other = Sample(0, "a", None, "stop", 10, 1), Sample(1, "b", None, "stop", 20, 4)
    assert answer_tokens([[one, other], [other, other]]) == (17.5, 3.25)


def test_drafts_are_read_from_as_many_samples_as_a_prompt_has() -> None:
    """From four places on, the draft first; a prompt with eight samples beside one with ten begins again after them."""
    answers = [sample(i, "a", 0.1 * i) for i in range(8)]
    drafts = read_drafts([np.arange(8) % 2, np.arange(10) % 2], [answers, [*answers, *answers[:2]]], 2)
    assert drafts.orders.shape == (2, 4, 10)
    assert drafts.orders[1, :, 0].tolist() == [0, 2, 5, 7]
    assert drafts.orders[0, 3].tolist() == [7, 0, 1, 2, 3, 4, 5, 6, 7, 0]
    share = SIGNALS.index("share with the draft's meaning")
    assert drafts.signals[:, 0, 0, share].tolist() == pytest.approx([1.0, 1 / 2, 2 / 3])
    assert drafts.signals[1, 0, 1, :3].tolist() == pytest.approx([0.2, np.log(0.201), 0.25])  # the draft 2 and 3


def test_an_empty_answer_needs_no_log_probs() -> None:
    silent = replace(sample(1, "", None), text="")
    some = read_drafts([np.array([0, 1])], [[sample(0, "a", 0.5), silent]], 0)
    assert some.heads is not None
    assert some.heads[0].tolist() == [[0.5, 0.5], [EMPTY_NLL, EMPTY_NLL]]
    none = read_drafts([np.array([0, 1])], [[sample(0, "a", 0.5), sample(1, "b", None)]], 0)
    assert none.heads is None
    assert none.signals[0, 0, :, 0].tolist() == [0.0, 0.0]


def test_groups_of_twenty_are_judged_and_the_most_are_twelve() -> None:
    lower = np.full(20, -1.0) + np.tile([0.1, -0.1], 10)
    texts = [f"p{i}" for i in range(520)]
    (found,) = weaker_groups(np.ones((20, 1)), texts[:20], lower)
    assert found.prompts == 20
    assert found.gain == pytest.approx(-1.0)
    assert found.sentence.startswith(
        "the weak model is believed better on 20 training prompts like 'p0': the strong one"
    )
    assert weaker_groups(np.ones((19, 1)), texts[:19], lower[:19]) == ()
    assert weaker_groups(np.ones((30, 1)), texts[:30], np.zeros(30)) == ()  # neither better nor worse
    many = weaker_groups(np.repeat(np.eye(13), 40, axis=0), texts, np.tile(lower, 26))
    one = next(one for one in many if one.prompts == 40)
    assert one.low == pytest.approx(-1 - norm.ppf(1 - 0.025 / 12) * 0.1 / 39**0.5, abs=1e-5)


def test_an_answer_without_tokens_weighs_like_tokens_of_three_nats() -> None:
    """Of e^-3, 5 in 100: less likely than what a model that wavers says."""
    assert read_head([]).tolist() == [3.0, 3.0]
    assert read_signals([0, 1], [(), (-1.0,)])[[0, 2]].tolist() == [3.0, 2.0]


def test_believed_quality_is_the_mean_of_neighbours_and_a_training_prompts_own() -> None:
    prompts, samples = world(tells=True)
    router = trained(prompts, samples)
    flat = replace(router, beliefs=np.stack([np.full(N, 0.25), np.full(N, 0.5)]))
    assert flat.beliefs is not None
    flat.beliefs[:, 3] = 0.0, 1.0
    asked = [prompts[3].text, prompts[4].text]
    weak, strong = believed_quality(flat, asked, np.zeros(2))
    assert (weak.tolist(), strong.tolist()) == ([0.0, 0.25], [1.0, 0.5])
    flat.beliefs[:, 3] = 0.25, 0.5
    weak, strong = believed_quality(flat, ["new"], np.array([0.3]))
    assert (weak.tolist(), strong.tolist()) == (pytest.approx([0.25]), pytest.approx([0.5]))
    with pytest.raises(InputError, match="not trained on samples"):
        believed_quality(replace(flat, beliefs=None), ["new"], np.zeros(1))


def test_a_new_prompts_quality_is_of_as_many_neighbours_as_the_root_of_all() -> None:
    """Above every training score these are the last ones, of which the upper half is believed to be right."""
    router = trained(*world(tells=True))
    near = round(N**0.5)
    right = np.zeros(N)
    right[np.argsort(router.prompt_router.training_scores, kind="stable")[-(near // 2) :]] = 1.0
    weak, strong = believed_quality(replace(router, beliefs=np.stack([right, 1 - right])), ["new"], np.array([9.0]))
    assert weak == pytest.approx([near // 2 / near])
    assert strong == pytest.approx([1 - near // 2 / near])


def test_too_few_prompts_give_a_router_without_a_gate_that_says_why() -> None:
    prompts, samples = world(tells=True)
    training = [TrainingPrompt(p.text, float(i % 2), 1.0, 0.0) for i, p in enumerate(prompts[:9])]
    router = train_router(LetterEncoder(), LogisticRegression(), training, weak="small", strong="large")
    found = train_gate(router, prompts[:9], samples, Meanings(exact_match))
    assert (found.gate, found.active) == (None, False)
    assert found.about.startswith("no gate was trained: 9 training prompts")
    assert found.beliefs is not None
    assert found.beliefs.shape == (2, 9)
    other = train_gate(router, prompts[1:10], samples, Meanings(exact_match))
    assert (other.gate, other.about) == (None, "no gate was trained: the router learned from other prompts")


def test_an_answer_that_declines_is_believed_of_neither_model() -> None:
    """Two models that decline agree, and neither is right: sums by hand, of one meaning less."""
    prompts, samples = world(tells=True)
    declining = [sample(i, "I don't know.", 0.1) for i in range(SAMPLES)]
    weak = {**samples.weak, prompts[0].id: declining}
    strong = {**samples.strong, **{prompts[i].id: declining for i in (0, 1)}}
    found = trained(prompts, PairSamples(weak, strong)).beliefs
    assert found is not None
    assert found[:, :2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert found[1, 2] == 1.0


def test_a_router_in_front_of_other_models_names_them_and_keeps_its_gate() -> None:
    router = trained_on_world(tells=True)
    record = {"models": {role: {"model": role} for role in ("weak", "strong")}}
    router = replace(router, prompt_router=replace(router.prompt_router, record=record))
    other = router.serving(weak="newer", strong="strong")
    assert "weak newer, labelled with weak" in other.prompt_router.other_pair
    assert "strong" not in other.prompt_router.other_pair.split("(")[1]
    assert other.gate is router.gate
    assert router.serving(weak="weak").prompt_router.other_pair == ""
