"""The gate on planted worlds where the weak model's wavering tells, and where it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demur.drafts import gate_rows, read_drafts
from demur.errors import ArtifactError, InputError
from demur.gate import SIGNALS, GateRows, fit_gate, read_head, read_signals
from demur.methods import LogisticRegression
from demur.pair import PairSamples
from demur.policy import Policy, believed_quality, drafts_of, train_policy
from demur.records import Prompt, Sample
from demur.router import TrainingPrompt, train_router
from demur.two_stages import staged_curve, staged_scores
from worlds import LetterEncoder

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


def trained(prompts: list[Prompt], samples: PairSamples) -> Policy:
    random = np.random.default_rng(1)
    training = [TrainingPrompt(p.text, float(y), 1.0, 0.0) for p, y in zip(prompts, random.random(N), strict=True)]
    router = train_router(LetterEncoder(), LogisticRegression(), training, weak="small", strong="large")
    return train_policy(router, prompts, samples)[0]


def test_it_pays_where_the_weak_model_wavers_when_it_does_not_know() -> None:
    prompts, samples = world(tells=True)
    policy = trained(prompts, samples)
    assert policy.active
    assert "pays" in policy.sentence
    texts = [p.text for p in prompts]
    drafts = drafts_of(policy, texts, [samples.weak[p.id] for p in prompts])
    assert policy.gate is not None
    right = np.array([[one.text == "right" for one in samples.weak[p.id]] for p in prompts])
    drafted = np.take_along_axis(right.astype(float), drafts.orders[:, :, 0], axis=1)
    wide = staged_curve(staged_scores(policy.gate, policy.router.score(texts), drafts), drafted, np.ones(N))
    assert wide.apgr > 0.65  # the prompt alone knows nothing: .5


def test_it_says_that_it_does_not_pay_where_wavering_tells_nothing() -> None:
    policy = trained(*world(tells=False))
    assert not policy.active
    assert "does not pay" in policy.sentence
    assert policy.decide("question 7").wants_samples == 0


def test_more_samples_than_there_are_or_too_few_prompts_are_said() -> None:
    prompts, samples = world(tells=True)
    two = PairSamples(*({k: v[:2] for k, v in side.items()} for side in (samples.weak, samples.strong)))
    assert "2 samples a prompt" in trained(prompts, two).sentence
    with pytest.raises(InputError, match="9 training prompts"):
        fit_gate(GateRows(np.zeros(9), np.zeros((1, 9, 1, len(SIGNALS))), np.zeros((9, 1))))
    with pytest.raises(InputError, match="at most 8"):
        fit_gate(GateRows(np.zeros(20), np.zeros((10, 20, 1, len(SIGNALS))), np.zeros((20, 1))))


def test_the_policy_checks_what_is_near_the_threshold_and_asks_only_as_far_as_needed() -> None:
    prompts, samples = world(tells=True)
    policy = trained(prompts, samples)
    gate = policy.gate
    assert gate is not None
    near = policy.decide("question 7", threshold=float(policy.router.score(["question 7"])[0]))
    assert (near.role, near.stage, near.wants_samples) == ("weak", "gate", 1)
    far = policy.decide("question 7", threshold=near.score + 1.01 * gate.band)
    assert (far.role, far.stage, far.wants_samples) == ("weak", "prompt", 0)
    wavering = [sample(i, f"wrong {i}", 2.0) for i in range(SAMPLES)]
    sure = [sample(i, "right", 0.1) for i in range(SAMPLES)]
    for answers, role in ((wavering, "strong"), (sure, "weak")):
        made, asked = near, 0
        while made.wants_samples:
            asked += made.wants_samples
            made = policy.check(made, "question 7", answers[:asked])
        assert made.role == role
        assert asked <= gate.samples + 1
        assert abs(made.score - near.score) <= gate.band + 1e-9
    assert policy.check(near, "question 7", wavering[:1], final=True).wants_samples == 0
    assert policy.check_head(near, [-2.0] * 4).score > policy.check_head(near, [-0.1] * 4).score
    with pytest.raises(InputError, match="no weak answer"):
        policy.check(near, "question 7", [])


def test_missing_logprobs_void_the_calibration_and_are_said_once() -> None:
    prompts, samples = world(tells=True)
    policy = trained(prompts, samples)
    near = policy.decide("question 7", threshold=float(policy.router.score(["question 7"])[0]))
    with pytest.warns(UserWarning, match="no log-probs"):
        made = policy.check(near, "question 7", [sample(0, "right", None)])
    assert made.void
    assert made.score == near.score
    with pytest.warns(UserWarning, match="no log-probs"):
        assert policy.check_head(near, []).void


def test_a_pair_without_logprobs_learns_from_meanings_alone() -> None:
    policy = trained(*world(tells=True, logprobs=False))
    assert policy.active
    assert policy.gate is not None
    assert not policy.gate.needs_logprobs


def test_saved_and_loaded_it_decides_alike_and_belongs_to_its_router(tmp_path: Path) -> None:
    prompts, samples = world(tells=True)
    policy = trained(prompts, samples)
    policy.router.save(tmp_path)
    policy.save(tmp_path)
    again = Policy.load(tmp_path, encoder=LetterEncoder())
    assert again.gate == policy.gate
    assert again.active
    weak, strong = believed_quality(again, ["question 7"])
    assert weak[0] < strong[0]
    other = trained(*world(tells=False, seed=5))
    other.router.save(tmp_path)
    with pytest.raises(ArtifactError, match="another router"):
        Policy.load(tmp_path, encoder=LetterEncoder())


def test_signals_of_one_answer_and_of_none_are_finite() -> None:
    assert np.isfinite(read_signals([0], [None])).all()
    assert np.isfinite(read_signals([0, 1], [(), (-1.0,)])).all()
    assert (read_head([]) == 0).all()


def test_gains_come_from_samples_that_no_signal_was_read_from() -> None:
    """The first samples of each order agree with the strong model, the rest do not: G must see only the rest."""
    answers = [sample(i, "same" if i < 2 else "other", 0.1) for i in range(4)]
    ids = np.array([0, 0, 1, 1])
    drafts = read_drafts([ids] * 2, [answers] * 2, 1)
    rows = gate_rows(np.zeros(2), drafts, [np.array([0, 0, 0, 0, 0, 0, 1, 1])] * 2, 4)
    first = int(np.flatnonzero(drafts.orders[0, :, 0] == 0)[0])
    assert rows.gains[0, first] == 1.0
