"""Certificates: the promise holds as often as it says, over worlds where the truth is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from demur.errors import InputError
from demur.evaluation.graded_file import GradedFile, new_rows, plain_text, refuse_training_prompts
from demur.evaluation.thresholds.promises import keep_promise, promise_number, state_folder
from demur.measure.certificate import (
    Certificate,
    Loss,
    certify,
    confidence_of,
    fixed_thresholds,
    losses_at,
    prompts_needed,
)
from demur.records import FloatArray

GRID = np.linspace(0, 1, 40)


def world(n: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Scores that say how likely the strong model is the better one; qualities 0 or 1."""
    random = np.random.default_rng(seed)
    scores = random.random(n)
    needed = random.random(n) < 0.6 * scores
    lucky = ~needed & (random.random(n) < 0.1)  # the weak model is the better one
    weak = np.where(needed, 0.0, np.where(lucky, 1.0, random.random(n) < 0.5))
    strong = np.where(needed, 1.0, np.where(lucky, 0.0, weak))
    return scores, weak.astype(float), strong


@pytest.mark.parametrize("loss", ["missed", "difference"])
def test_the_promise_is_broken_no_more_often_than_stated(loss: Loss) -> None:
    scores, weak, strong = world(200_000, 0)
    random = np.random.default_rng(1)
    broken, runs, risk = 0, 250, 0.05
    for _ in range(runs):
        drawn = random.integers(0, len(scores), 400)
        found = certify(scores[drawn], weak[drawn], strong[drawn], GRID, risk=risk, confidence=0.9, loss=loss)
        broken += losses_at(found.threshold, scores, weak, strong, loss).mean() > risk
    assert broken <= stats.binom.ppf(0.999, runs, 0.1)


@pytest.mark.parametrize("loss", ["missed", "difference"])
def test_many_prompts_come_near_to_the_best_threshold(loss: Loss) -> None:
    scores, weak, strong = world(20_000, 2)
    true = np.array([losses_at(t, scores, weak, strong, loss).mean() for t in GRID])
    best = GRID[np.flatnonzero(true <= 0.05)[-1]]
    found = certify(scores, weak, strong, GRID, risk=0.05, loss=loss)
    assert found.threshold <= best
    assert found.threshold >= 0.9 * best


@pytest.mark.parametrize("loss", ["missed", "difference"])
def test_too_few_prompts_are_refused_with_the_number_needed(loss: Loss) -> None:
    needed = prompts_needed(0.05, 0.95, loss)
    assert needed is not None
    few = np.zeros(needed - 1)
    with pytest.raises(InputError, match=f"at least {needed} are needed"):
        certify(few, few, few, GRID, risk=0.05, loss=loss)
    enough = np.zeros(needed)
    assert certify(enough, enough, enough, [0.5], risk=0.05, loss=loss).threshold == 0.5


def test_59_prompts_are_the_known_number_for_five_percent() -> None:
    assert prompts_needed(0.05, 0.95) == 59


def bet(lost: list[float], risk: float, error: float) -> bool:
    """The betting test one loss at a time, as Waudby-Smith and Ramdas (2023) write it, on losses moved into [0, 1]."""
    m, mean, wealth, seen, squares = len(lost), (risk + 1) / 2, 1.0, 0.5, 0.25
    variance = 0.25
    for t, loss in enumerate(lost, start=1):
        x = (loss + 1) / 2
        wealth *= 1 + min((2 * math.log(1 / error) / (m * variance)) ** 0.5, 0.75 / (1 - mean)) * (mean - x)
        if wealth >= 1 / error:
            return True
        seen += x
        squares += (x - seen / (t + 1)) ** 2
        variance = squares / (t + 1)
    return False


@pytest.mark.parametrize("like", [[0.0], [0.0, 0.0, 0.0, 0.1], [-0.1, 0.1, 0.0], [-0.5, 0.4]])
@pytest.mark.parametrize(("risk", "confidence"), [(0.05, 0.95), (0.1, 0.8), (0.2, 0.6)])
def test_the_bet_is_won_with_as_many_prompts_as_the_formula_says(
    like: list[float], risk: float, confidence: float
) -> None:
    needed = prompts_needed(risk, confidence, "difference", like=like)
    assert needed is not None
    won = [bet([like[i % len(like)] for i in range(m)], risk, 1 - confidence) for m in (needed - 1, needed)]
    assert won == [False, True]


def test_no_promise_is_made_where_the_weak_model_always_loses() -> None:
    zeros, ones = np.zeros(500), np.ones(500)
    with pytest.raises(InputError, match=r"100\.0% are lost; no number of such prompts would do"):
        certify(zeros, zeros, ones, [0.5], risk=0.05)


def test_one_loss_in_sixty_is_refused_with_the_number_that_such_losses_need() -> None:
    """The exact test passes 0, 1, 2, 3 losses from 59, 93, 124, 153 prompts on; one is lost first of every 60."""
    lost = np.append(1.0, np.zeros(59))
    assert prompts_needed(0.05, 0.95, like=lost) == 153
    assert prompts_needed(0.05, 0.95, like=[0.0, 0.1]) is None  # on the very risk: no number is enough
    with pytest.raises(InputError, match=r"1\.7% are lost; about \d+ such prompts are needed"):
        certify(np.zeros(60), 1 - lost, np.ones(60), [0.5], risk=0.05)


def test_the_order_of_the_file_buys_nothing() -> None:
    """99 of 2,000 prompts are lost, hardly less than the risk of 100, and all stand at the file's end.

    A bet that ran along the file would have won by 1,901 prompts without loss before it met the first of them.
    """
    scores, strong = np.zeros(2000), np.ones(2000)
    weak = np.repeat([1.0, 0.0], [1901, 99])
    for order in (slice(None), slice(None, None, -1)):
        with pytest.raises(InputError, match=r"at the safest threshold .* 5\.0% are lost"):
            certify(scores, weak[order], strong, [0.5], risk=0.05, loss="difference")


def test_bad_values_are_named() -> None:
    ones = np.ones(100)
    with pytest.raises(InputError, match="risk 5 and confidence"):
        certify(ones, ones, ones, GRID, risk=5)
    with pytest.raises(InputError, match="qualities lie in"):
        certify(ones, 2 * ones, ones, GRID, risk=0.05)
    with pytest.raises(InputError, match="qualities lie in"):
        certify(ones, np.append(-0.1, ones[1:]), ones, GRID, risk=0.05)
    with pytest.raises(InputError, match="99 weak"):
        certify(ones, ones[1:], ones, GRID, risk=0.05)


def test_training_prompts_are_refused() -> None:
    refuse_training_prompts(["a"], ["b"])
    with pytest.raises(InputError, match="1 of 2 prompts trained this router"):
        refuse_training_prompts(["a", "c"], ["a", "b"])
    trained = ["what is IT?"]
    for prompt in ("What  is it? ", "What is it", "What is\u200b it?!", "Please: what is it?", "Please, what is it"):
        with pytest.raises(InputError, match="1 of 1 prompts"):
            refuse_training_prompts([prompt], trained)
    refuse_training_prompts(["x < 3", "C++", "-5", "What was it?"], ["x > 3", "C", "5", "what is it?"])


def test_a_prompt_twice_is_one_prompt() -> None:
    found = GradedFile(("a", "b", "A "), np.array([0.0, 0.5, 1.0]), np.ones(3)).distinct
    assert found.prompts == ("a", "b")
    assert found.weak_quality.tolist() == [0.0, 0.5]


def test_the_sequence_ends_with_never_strong() -> None:
    grid = fixed_thresholds([0.1, 0.2, 0.9])
    assert (np.diff(grid) > 0).all()
    assert grid[-1] > 0.9


@pytest.mark.parametrize(
    "form",
    ["Why? {}", "Why? ({})", "{}. Why?", "{}) Why?", "Why? #{}", "#{}: Why?", "Why (copy {})", "Question {}: Why?"],
)
def test_numbered_copies_are_one_prompt(form: str) -> None:
    copies = GradedFile(tuple(form.format(i) for i in range(80)), np.ones(80), np.ones(80))
    assert len(copies.distinct.prompts) == 1
    sums = GradedFile(tuple(f"What is 5 plus {i}?" for i in range(80)), np.ones(80), np.ones(80))
    assert len(sums.distinct.prompts) == 80
    assert plain_text("In 1990?") != plain_text("In 1991?")
    assert plain_text("Apollo 11") != plain_text("Apollo 12")


def test_near_duplicates_are_left_out() -> None:
    def at(*degrees: float) -> FloatArray:
        return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)

    # cos 14 degrees = .9703, cos 15 degrees = .9659
    assert new_rows(at(14, 15, 90), at(0)) == [1, 2]
    assert new_rows(at(90, 76, 75, 104, 120), at(0)) == [0, 2, 4]
    assert new_rows(at(*[90 + i / 100 for i in range(80)]), at(0)) == [0]  # copies of one prompt are one
    assert new_rows(at(3), at(0)) == []


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_all_promises_on_the_same_prompts_hold_together(confidence: float) -> None:
    errors = [1 - confidence_of(k, confidence) for k in range(1, 2000)]
    assert sum(errors) <= 1 - confidence
    assert errors == sorted(errors, reverse=True)
    assert confidence_of(0, confidence) == confidence


@pytest.mark.parametrize("loss", ["missed", "difference"])
def test_the_luckiest_of_many_routers_keeps_its_promise(loss: Loss) -> None:
    """20 routers whose scores say nothing: the cheapest certificate is the luckiest, and breaks it when not counted."""
    random = np.random.default_rng(3)
    pool, runs, broken = 4000, 60, {False: 0, True: 0}
    weak = (random.random(pool) > 0.3).astype(float)
    strong = np.ones(pool)
    routers = [random.random(pool) for _ in range(20)]
    for _ in range(runs):
        drawn = random.integers(0, pool, 300)
        for counted in broken:
            kept = []
            for number, scores in enumerate(routers, start=1):
                given = (scores[drawn], weak[drawn], strong[drawn])
                try:
                    found = certify(
                        *given, GRID, risk=0.1, confidence=0.9, loss=loss, number=number if counted else 0
                    ).threshold
                except InputError:
                    continue
                kept.append((float((scores < found).mean()), losses_at(found, scores, weak, strong, loss).mean() > 0.1))
            broken[counted] += bool(kept) and max(kept)[1]
    assert broken[True] <= stats.binom.ppf(0.999, runs, 0.1)
    assert broken[False] > stats.binom.ppf(0.999, runs, 0.1) or loss == "difference"  # the test would notice


PROMISE = {"router": "r1", "risk": 0.05, "confidence": 0.95, "loss": "missed"}


def backed(prompts: list[str], promise: dict[str, object], beside: Path) -> int:
    number = promise_number(prompts, promise, beside)
    assert promise_number(prompts, promise, beside) == number  # asking alone keeps nothing
    keep_promise(prompts, promise, number, beside)
    return number


def test_what_prompts_have_backed_is_remembered_beside_the_run_and_for_the_user(tmp_path: Path) -> None:
    prompts = [f"question {letter}" for letter in "abcdefghij" * 2]
    assert backed(prompts, PROMISE, tmp_path / "one") == 1
    assert backed(prompts, PROMISE, tmp_path / "one") == 1  # the same promise again
    assert backed(prompts, PROMISE | {"risk": 0.06}, tmp_path / "one") == 2  # a sweep of risks
    assert backed(prompts, PROMISE | {"router": "r2"}, tmp_path / "two") == 3  # another run
    assert backed(prompts[:7], PROMISE | {"router": "r3"}, tmp_path / "two") == 4  # some of them
    assert backed([*prompts, "more"], PROMISE | {"router": "r4"}, tmp_path / "two") == 5
    assert backed(["Question A!", "please question b"], PROMISE | {"router": "r5"}, tmp_path / "x") == 6
    assert backed([f"other {i}" for i in range(20)], PROMISE, tmp_path / "two") == 1
    text = "".join(path.read_text() for path in state_folder().glob("*.json"))
    assert "question" not in text  # hashes alone


def test_promises_beside_a_run_count_where_the_users_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert backed(["a b", "c d"], PROMISE, tmp_path) == 1
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert backed(["a b", "c d"], PROMISE | {"router": "r2"}, tmp_path) == 2
    (tmp_path / "promises" / "broken.json").write_text("{")
    assert backed(["a b", "c d"], PROMISE | {"router": "r3"}, tmp_path) == 3
    assert "no promise can be read here" in caplog.text


@pytest.mark.parametrize("scores", [[0.1, math.nan], [math.inf, 0.2]])
def test_one_score_that_is_not_finite_is_refused(scores: list[float]) -> None:
    with pytest.raises(InputError, match="scores must be finite"):
        certify(scores, [0.0, 1.0], [1.0, 1.0], [0.5], risk=0.1, confidence=0.9)


@pytest.mark.parametrize(("number", "said"), [(1, "95% confidence"), (2, "95% confidence as promise 2 on them")])
def test_a_second_promise_is_numbered(number: int, said: str) -> None:
    from demur.measure.certificate import _level_text

    assert _level_text(0.95, number) == said


def stated(**changed: Any) -> Certificate:
    given: dict[str, Any] = {"threshold": 0.5, "risk": 0.05, "confidence": 0.9, "loss": "missed", "measured_loss": 0.02}
    given |= {"strong_share": 0.25, "m": 1200, "method": "a test", "data_hash": "h"}
    return Certificate(**given | changed)


def test_a_certificate_says_what_it_promises_and_beside_how_many() -> None:
    assert stated().sentence == (
        "the weak model served and the strong one would have been better: at most 5.0% with 90% confidence (measured "
        "2.0% on 1,200 graded prompts, of which 25% go to the strong model; a test)"
    )
    third = stated(number=3)
    assert third.tested_at == pytest.approx(1 - 0.1 / 12)
    assert "a test; promise 3 on these prompts, tested at 99.17% so that all hold together)" in third.sentence


@pytest.mark.parametrize(("number", "error"), [(1, 0.05), (2, 0.1 / 6), (3, 0.1 / 12)])
def test_each_promise_may_err_a_smaller_share_of_the_time(number: int, error: float) -> None:
    assert 1 - confidence_of(number, 0.9) == pytest.approx(error)


@pytest.mark.parametrize(
    ("risk", "confidence", "needed"),
    [
        *((0.05, 0.95, 59), (0.1, 0.95, 29), (0.2, 0.95, 14), (0.3, 0.95, 9), (0.01, 0.95, 299), (0.96, 0.95, 1)),
        *((0.5, 0.5, 1), (0.5, 0.75, 2)),
    ],
)
def test_prompts_needed_without_a_loss_by_hand(risk: float, confidence: float, needed: int) -> None:
    """The least m with (1 - risk)^m <= 1 - confidence."""
    assert prompts_needed(risk, confidence) == needed


def test_a_promise_that_would_take_millions_says_so() -> None:
    with pytest.raises(InputError, match="more than 4,194,304 are needed"):
        certify([0.5], [1.0], [1.0], [0.5], risk=1e-7)


def test_a_loss_is_a_better_answer_missed_or_the_quality_lost_below_the_threshold() -> None:
    scores, weak, strong = np.array([0.4, 0.4, 0.4, 0.5]), np.array([0, 1, 0.5, 0]), np.array([1, 0, 0.5, 1])
    assert losses_at(0.5, scores, weak, strong, "missed").tolist() == [1, 0, 0, 0]
    assert losses_at(0.5, scores, weak, strong, "difference").tolist() == [1, -1, 0, 0]


def test_the_first_threshold_that_fails_ends_the_sequence() -> None:
    """At .3 sixty of 200 answers are missed; at .6 the others gain more than that, which is too late."""
    scores = np.repeat([0.2, 0.5], [60, 140])
    weak, strong = np.repeat([0.0, 1.0], [60, 140]), np.repeat([1.0, 0.0], [60, 140])
    with pytest.raises(InputError, match=r"30\.0% are lost"):
        certify(scores, weak, strong, [0.3, 0.6], risk=0.05, loss="difference")


def test_a_threshold_that_keeps_nothing_on_the_weak_model_is_no_promise() -> None:
    """At .5, the least score, every prompt is still strong; at .7 all are lost."""
    scores = np.repeat([0.5, 0.6], 50)
    with pytest.raises(InputError, match=r"100\.0% are lost"):
        certify(scores, np.zeros(100), np.ones(100), [0.5, 0.7], risk=0.05)


def test_what_was_measured_is_counted_at_the_threshold() -> None:
    """Of 400 prompts the lower 300 are weak, two of them missed."""
    scores, weak = np.repeat([0.1, 0.5, 0.9], [300, 50, 50]), np.ones(400)
    weak[:2] = 0
    found = certify(scores, weak, np.ones(400), [0.1, 0.5], risk=0.05)
    assert (found.threshold, found.strong_share, found.measured_loss) == (0.5, 0.25, 2 / 400)
    assert (found.m, found.number, found.confidence, len(found.data_hash)) == (400, 0, 0.95, 32)


@pytest.mark.parametrize(("risk", "confidence"), [(0.0, 0.9), (1.0, 0.9), (0.05, 0.0), (0.05, 1.0)])
def test_risk_and_confidence_lie_between_0_and_1(risk: float, confidence: float) -> None:
    with pytest.raises(InputError, match="must both lie between 0 and 1"):
        certify([0.5], [1.0], [1.0], [0.5], risk=risk, confidence=confidence)


@pytest.mark.parametrize("weak", [[0.5, math.nan], [0.5, math.inf]])
def test_one_quality_that_is_not_finite_is_refused(weak: list[float]) -> None:
    with pytest.raises(InputError, match="qualities lie in"):
        certify([0.1, 0.2], weak, [1.0, 1.0], [0.5], risk=0.1)


def test_the_sequence_is_the_200_quantiles_of_the_training_scores_and_one_above() -> None:
    grid = fixed_thresholds(np.arange(1000))
    assert (len(grid), grid[0], grid[-2]) == (201, 0, 999)
    assert grid[-1] == np.nextafter(999.0, math.inf)
    assert grid[1] == pytest.approx(999 / 199)


def test_200_quantiles_of_the_training_scores_are_tested_and_one_above_them_all() -> None:
    grid = fixed_thresholds(np.arange(1000) / 1000)
    assert len(grid) == 201
    assert (grid[0], grid[-2], grid[-1]) == (0.0, 0.999, np.nextafter(0.999, 1))
    assert grid[1] == pytest.approx(0.999 / 199)
    assert fixed_thresholds([0.5, 0.5]).tolist() == [0.5, np.nextafter(0.5, 1)]
    assert len(fixed_thresholds(np.arange(1000), 7)) == 8


def test_a_certificate_counts_the_prompts_at_its_threshold() -> None:
    """100 prompts: 80 below .5, of which one is lost; 20 go to the strong model."""
    scores = np.repeat([0.2, 0.9], [80, 20])
    weak, strong = np.append(0.0, np.ones(99)), np.ones(100)
    found = certify(scores, weak, strong, [0.5, 0.95], risk=0.06, number=0)
    assert (found.threshold, found.m, found.risk, found.confidence) == (0.95, 100, 0.06, 0.95)
    assert (found.measured_loss, found.strong_share, found.loss, found.number) == (0.01, 0.0, "missed", 0)
    first = certify(scores, weak, strong, [0.5], risk=0.06, loss="difference", confidence=0.5, number=1)
    assert (first.threshold, first.strong_share, first.measured_loss) == (0.5, 0.2, 0.01)
    assert first.method.startswith("Learn-then-Test, fixed sequence, betting test")
    assert found.method == "Learn-then-Test, fixed sequence, exact binomial test"
    assert found.data_hash == certify(scores, weak, strong, [0.5], risk=0.06).data_hash
    assert found.data_hash != certify(scores, strong, strong, [0.5], risk=0.06).data_hash
    assert len(found.data_hash) == 32


def test_the_report_names_the_prompts_that_a_promise_needs() -> None:
    """The k-th promise is tested at .05 / (k (k + 1)): .95^72 < .025 < .95^71, .95^94 < .05 / 6 < .95^93."""
    assert [prompts_needed(0.05, confidence_of(k, 0.95), "missed") for k in (0, 1, 2)] == [59, 72, 94]
    said = " ".join((Path(__file__).parents[1] / "docs" / "report.md").read_text(encoding="utf-8").split())
    assert "has not seen: at least 72, and more" in said
    assert "2.5 % for the first (72 prompts), .83 % for the second (94)" in said
