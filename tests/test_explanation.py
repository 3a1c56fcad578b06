"""Explanations and replays: what they say is what the router does and what its samples cost."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.errors import InputError
from demur.evaluation.replay import replay
from demur.evaluation.thresholds.calibrate import calibrate
from demur.gate.explanation import CHANCE, ENTROPY, SMOOTHED, TARGET, Explanation
from demur.gate.gate import SIGNALS, Gate, GateStep, GateVerdict
from demur.gate.quality.two_stages import Rehearsal
from demur.gate.router import Router
from demur.gateway.decision.decider import Decider
from demur.labels.targets import need_in_words
from demur.measure.threshold import Calibration
from demur.models.encoders.encoder import LetterEncoder
from demur.models.prices import Price, serving_cost
from demur.records import FloatArray, Sample, dollars
from demur.routing.decision import apart
from demur.routing.prompt_router import PromptRouter
from test_artifact import TRAINING, make

CHEAP, DEAR = Price(1e-6, 2e-6, "test"), Price(1e-4, 2e-4, "test")


def priced() -> PromptRouter:
    samples = {"x" * 40: [Sample(0, "y", None, "stop", 12, 5)], "x" * 80: [Sample(0, "y", None, "stop", 22, 15)]}
    costs = {role: serving_cost(samples, price) for role, price in (("weak", CHEAP), ("strong", DEAR))}
    router = make()
    record = {"serving_cost": {r: {f: getattr(c, f) for f in c.__slots__} for r, c in costs.items() if c}}
    return PromptRouter(
        router.encoder, router.method, "small", "large", router.training, router.vectors, router.training_scores,
        router.familiar_similarity, Calibration(0.5, 0.5, 10, "strong share 50%"), record,
    )  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> str:
    priced().save(tmp_path / "router")
    return str(tmp_path / "router")


def test_the_expected_cost_is_tokens_times_price() -> None:
    """Two added tokens per prompt, ten answer tokens on average; forty characters are ten tokens."""
    cost = priced().cost("strong")
    assert cost is not None
    assert cost.usd("x" * 40) == pytest.approx(12 * 1e-4 + 10 * 2e-4)


def test_an_explanation_names_both_costs_and_where_it_turns(saved: str) -> None:
    found = Router.load(saved).explain("jazz pizza 2")
    assert found.decision.role == "strong"
    assert found.usd == pytest.approx(100 * found.usd_other)  # type: ignore[operator]
    router = PromptRouter.load(saved)
    shares = np.mean(router.training_scores >= found.decision.score)
    assert found.flips == pytest.approx((shares, shares))
    text = "\n".join(found.lines)
    near = ("the most similar training prompts", "1.00 nats")
    for part in ("strong: large", "below", *near, "$"):
        assert part in text


def gated() -> Router:
    """Checks the half of the prompts that is nearer to the threshold, with two extra samples at most."""
    band = float(np.median(np.abs(priced().score([t.prompt + " again" for t in TRAINING]) - 0.5)))
    steps = (GateStep(0.0, 1.0, (0.0,) * len(SIGNALS)),) * 3
    return Router(priced(), Gate(steps, None, band, GateVerdict(0.1, 0.1, 0.05, 0.15)), active=True)


def test_a_gate_is_explained_with_its_cost() -> None:
    router = gated()
    prompts = [t.prompt + " again" for t in TRAINING]
    assert router.checks
    near = [
        p for p, s in zip(prompts, router.prompt_router.score(prompts), strict=True) if abs(s - 0.5) <= router.checks[0]
    ]
    far = [p for p in prompts if p not in near]
    found = router.explain(near[0])
    assert found.usd is not None
    assert found.usd_other is not None
    assert found.usd_checked == pytest.approx(3 * found.usd)
    text = "\n".join(found.lines)
    assert "looked at" in text
    assert f"{dollars(3 * found.usd + found.usd_other)} if the strong model answers instead" in text
    assert "not asked" in router.explain(far[0]).second_stage
    assert "no gate was trained" in Router(priced()).explain(near[0]).second_stage


def test_between_two_shares_the_draft_decides_whichever_side_its_score_is_on() -> None:
    router = gated()
    prompts = [t.prompt + " again" for t in TRAINING]
    scores = router.prompt_router.score(prompts)
    assert router.checks
    above = prompts[int(np.flatnonzero((scores > 0.5) & (scores - 0.5 <= router.checks[0]))[0])]
    found = router.explain(above)
    assert (found.decision.role, found.decision.wants_samples) == ("weak", 1)
    low, high = found.flips
    assert low == np.mean(router.prompt_router.training_scores >= found.decision.score + router.checks[0])
    assert high == np.mean(router.prompt_router.training_scores >= found.decision.score - router.checks[0])
    assert f"below {low:.0%} the weak model answers, above {high:.0%} the strong one" in "\n".join(found.lines)


def test_a_replay_expects_of_drafts_what_drafts_of_training_prompts_did(saved: str, tmp_path: Path) -> None:
    """Every checked draft was lifted by the whole band: all checked prompts go on, and pay for a dropped answer."""
    prompts = [t.prompt + " again" for t in TRAINING]
    file = tmp_path / "day.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": p}) for p in prompts))
    alone = replay(file, router=saved)
    router = gated()
    assert router.checks
    band, scores = router.checks[0], np.sort(router.prompt_router.training_scores)
    router = replace(router, rehearsal=Rehearsal(scores, np.full((3, len(scores)), band)))
    router.save(saved)
    found = replay(file, router=saved)
    own = router.prompt_router.score(prompts)
    checked = np.abs(own - 0.5) <= band
    assert 0 < found.checked_share == pytest.approx(checked.mean())
    assert found.strong_share == pytest.approx((checked | (own >= 0.5)).mean())
    costs = router.prompt_router.expected_usd(prompts)
    assert costs is not None
    assert found.usd is not None
    assert alone.usd is not None
    lifted = checked & (own < 0.5)
    assert found.usd[0] - alone.usd[0] == pytest.approx((costs[0] * (checked & ~lifted) + costs[1] * lifted).sum())


def test_what_is_unlike_everything_is_said() -> None:
    assert Router(priced()).explain("banana 3").decision.familiar
    far = Router(priced()).explain("&&&& 999999999999 qqqqqqqqqqqq").decision
    assert not far.familiar
    assert "unlike any training prompt" in far.reason


async def test_the_gateways_decisions_say_so_too_at_any_threshold() -> None:
    decider = Decider(Router(priced()))
    for threshold in (None, 0.2):
        assert (await decider.decide("banana 3", threshold)).decision.familiar
        far = (await decider.decide("&&&& 999999999999 qqqqqqqqqqqq", threshold)).decision
        assert not far.familiar
        assert "unlike any training prompt" in far.reason
    decider.close()


class CountedLetters(LetterEncoder):
    """Records how many texts it is given at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        self.batches.append(len(texts))
        return super().encode(texts)


async def test_prompts_that_wait_are_embedded_together_at_most_32_at_once() -> None:
    """The first one finds the worker idle; the others of 40 wait for it, and go together."""
    encoder = CountedLetters()
    decider = Decider(Router(replace(priced(), encoder=encoder)))
    found = await asyncio.gather(*(decider.decide(f"banana {i}") for i in range(40)))
    decider.close()
    assert encoder.batches == [1, 32, 7]
    alone = priced().score([f"banana {i}" for i in range(40)])
    assert [one.score for one in found] == pytest.approx(alone.tolist())


class ThreadedLetters(LetterEncoder):
    """Records in which thread it is asked, and takes so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.in_loop: list[bool] = []
        self.seconds = seconds

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        self.in_loop.append(threading.current_thread() is threading.main_thread())
        time.sleep(self.seconds)
        return super().encode(texts)


@pytest.mark.parametrize(
    ("alone", "seconds", "text", "in_loop"),
    [
        (True, 0.0, "banana 3", [False, True, True]),  # the first one shows how long it takes
        (False, 0.0, "banana 3", [False, False, False]),
        (True, 0.3, "banana 3", [False, False, False]),
        (True, 0.0, "banana 3 " * 50, [False, False, False]),
    ],
)
async def test_a_short_prompt_that_comes_alone_is_decided_in_the_loop(
    monkeypatch: pytest.MonkeyPatch, alone: bool, seconds: float, text: str, in_loop: list[bool]
) -> None:
    monkeypatch.setattr("demur.gateway.decision.decider.QUICK_SECONDS", 0.2)  # what a busy machine takes is less
    encoder = ThreadedLetters(seconds)
    decider = Decider(Router(replace(priced(), encoder=encoder)))
    decider.alone = lambda: alone
    found = [await decider.decide(text) for _ in range(3)]
    decider.close()
    assert encoder.in_loop == in_loop
    assert {one.score for one in found} == set(priced().score([text]))


async def test_a_failure_in_the_loop_is_the_requests_own() -> None:
    decider = Decider(Router(priced()))
    decider.alone = lambda: True
    await decider.decide("banana 3")
    with pytest.raises(InputError, match="empty"):
        await decider.decide(" ")
    assert (await decider.decide("banana 3")).decision.familiar
    decider.close()


def test_the_cost_of_a_replay_has_a_95_percent_interval_over_its_prompts(saved: str, tmp_path: Path) -> None:
    """A sum of 400 costs: 1.96 times its standard deviation to either side."""
    prompts = [f"{TRAINING[i % len(TRAINING)].prompt} {'x' * (i % 7)}" for i in range(400)]
    file = tmp_path / "day.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": p}) for p in prompts))
    router = PromptRouter.load(saved)
    costs = router.expected_usd(prompts)
    assert costs is not None
    each = np.where(router.score(prompts) >= 0.5, costs[1], costs[0])
    again = replay(file, router=saved)
    found, width = again.usd, 1.96 * each.std() * 20
    assert found == pytest.approx((each.sum(), each.sum() - width, each.sum() + width), abs=0.1 * width)
    part = each.sum() / costs[1].sum()  # of a ratio, by linearisation (Cochran 1977, ch. 6)
    spread = 1.96 * (each - part * costs[1]).std() * 20 / costs[1].sum()
    assert again.saved == pytest.approx((1 - part - spread, 1 - part + spread), abs=0.1 * spread)
    assert dict(again.block.notes)["cost"].endswith(f"saving {again.saved[0]:.0%} to {again.saved[1]:.0%}")  # type: ignore[index]
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:1]))
    assert replay(file, router=saved).saved is None  # one prompt tells no interval


def test_a_replay_adds_up(saved: str, tmp_path: Path) -> None:
    prompts = [t.prompt + " again" for t in TRAINING]
    file = tmp_path / "day.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": p, "weak_quality": 0.25, "strong_quality": 1}) for p in prompts))
    router = PromptRouter.load(saved)
    strong = router.score(prompts) >= 0.5
    found = replay(file, router=saved)
    assert found.strong_share == pytest.approx(strong.mean())
    costs = router.expected_usd(prompts)
    assert costs is not None
    assert found.usd is not None
    assert found.usd[0] == pytest.approx(np.where(strong, costs[1], costs[0]).sum())
    assert found.usd[1] < found.usd[0] < found.usd[2]
    assert sum("a ledger of the same requests can differ" in line for line in found.details) == 1
    notes = dict(found.block.notes)
    assert notes["cost"].startswith(f"{dollars(found.usd[0])} [{dollars(found.usd[1])}, {dollars(found.usd[2])}]")
    assert notes["models alone"].endswith(", quality 0.250")
    assert found.quality == pytest.approx((np.where(strong, 1, 0.25).mean(), 0.25, 1))
    never = replay(file, router=saved, threshold=2.0)
    assert never.usd is not None
    assert never.strong_share == 0
    assert never.usd[0] == pytest.approx(never.usd_weak)


@pytest.mark.parametrize("command", ["replay", "calibrate --strong-share .3 --dry-run"])
def test_many_prompts_are_embedded_with_progress(saved: str, tmp_path: Path, command: str) -> None:
    """Which a log sees as well."""
    file = tmp_path / "day.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"jazz pizza {i}"}) + "\n" for i in range(300)))
    done = CliRunner().invoke(app, [*command.split(), str(file), "--router", saved])
    assert done.exit_code == 0, (done.output, done.exception)
    assert re.search(r"embedding prompts .* 300/300 ", done.stderr)
    assert "embedding" not in done.stdout


@pytest.mark.parametrize(("far", "said"), [(1, True), (0, False)])
def test_what_many_unlike_prompts_go_by_is_said(
    saved: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, far: int, said: bool
) -> None:
    """One of eleven, which is over 5 %."""
    file = tmp_path / "day.jsonl"
    prompts = [one.prompt for one in TRAINING[:10]] + ["&&&& 999999999999 qqqqqqqqqqqq"] * far
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    note = "their score is a guess"
    replayed = replay(file, router=saved)
    told = " ".join(line.strip() for line in replayed.lines)  # a caution may be broken between its sentences
    assert told.count(note) == said
    assert bool(replayed.unlike) == said and replayed.unlike in told
    assert not said or "9% of the prompts" in replayed.unlike
    assert not said or replayed.unlike.endswith("`demur train --unlike unknown`")
    calibrate(file, router=saved, strong_share=0.5, dry_run=True, anyway=True)
    assert (note in caplog.text) is said


def test_a_guess_for_the_weak_model_names_the_setting_that_is_more_careful() -> None:
    far, setting = (
        "&&&& 999999999999 qqqqqqqqqqqq",
        "the score is a guess; `demur train --unlike unknown` would send it",
    )
    assert setting in Router(priced()).route(far, threshold=2.0).reason
    assert setting not in Router(priced()).route(far, threshold=-2.0).reason  # it goes there


def test_half_graded_files_are_named(saved: str, tmp_path: Path) -> None:
    file = tmp_path / "day.jsonl"
    rows: list[dict[str, object]] = [
        {"prompt": "a", "weak_quality": 0, "strong_quality": 1},
        {"prompt": "b", "weak_quality": 7, "strong_quality": 1},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"day\.jsonl:2: field 'weak_quality' must be a quality from 0 to 1, found 7"):
        replay(file, router=saved)
    file.write_text("")
    with pytest.raises(InputError, match="no prompts in it"):
        replay(file, router=saved)


@pytest.mark.parametrize(("unknown", "known"), [("weak", "strong"), ("strong", "weak")])
def test_one_unknown_price_does_not_hide_the_other_models_cost(tmp_path: Path, unknown: str, known: str) -> None:
    router = priced()
    costs = {**router.record["serving_cost"], unknown: None}
    half = replace(router, record={**router.record, "serving_cost": costs})
    half.save(tmp_path / "router")
    file = tmp_path / "day.jsonl"
    file.write_text("".join(json.dumps({"prompt": t.prompt}) + "\n" for t in TRAINING))
    found = replay(file, router=str(tmp_path / "router"))
    alone = {"weak": found.usd_weak, "strong": found.usd_strong}
    whole = router.cost("weak" if known == "weak" else "strong")
    assert whole is not None
    paid = alone[known]
    assert paid == pytest.approx(sum(whole.usd(t.prompt) for t in TRAINING))
    assert paid is not None
    assert (alone[unknown], found.usd) == (None, None)
    sizes = {"weak": "small", "strong": "large"}
    assert dict(found.block.notes)["models alone"] == f"{sizes[known]} {dollars(paid)}"
    assert f"No price of the {sizes[unknown]} model is known" in found.lines[-1]
    explained = Router.load(str(tmp_path / "router")).explain("jazz pizza 2")
    at = next(i for i, line in enumerate(explained.lines) if line.split()[:1] == ["cost"])
    assert dollars(whole.usd("jazz pizza 2")) in explained.lines[at]
    assert "the other price is unknown" in explained.lines[at + 1]


# -- near the threshold, and beyond all training prompts -------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "threshold", "shown"),
    [
        (0.31, 0.42, ("0.310", "0.420")),
        (0.50004, 0.5, ("0.50004", "0.50000")),
        (0.5, 0.5, ("0.500", "0.500")),
        (0.1234567891, 0.1234567892, ("0.1234567891", "0.1234567892")),
        (0.2, float("inf"), ("0.200", "inf")),
        (3e-20, 5e-20, ("3e-20", "5e-20")),  # of labels that a router separates perfectly
        (1.234567e-20, 1.2349e-20, ("1.2346e-20", "1.2349e-20")),
        (0.0, 5e-324, ("0", "4.94e-324")),
        (0.9999999999999999, 1.0, ("0.9999999999999999", "1")),
        (2e-20, 2e-20, ("0.000", "0.000")),
    ],
)
def test_score_and_threshold_can_be_told_apart(score: float, threshold: float, shown: tuple[str, str]) -> None:
    assert apart(score, threshold) == shown


def test_a_reason_near_the_threshold_shows_which_is_larger() -> None:
    decision = make().decide(0.49996, threshold=0.5)
    assert decision.reason.startswith("score 0.49996 < threshold 0.50000")
    found = Router(make())._final_decision(decision, 0.50001, "checked")
    assert found.reason.startswith("score 0.50001 >= threshold 0.50000")


def test_a_score_beyond_all_training_prompts_is_said_to_be_one() -> None:
    made = make().decide(0.9, threshold=0.5)
    above = Explanation("p", made, (0.0, 0.0), None, None, "none")
    assert "the strong model answers at any strong share but 0" in "\n".join(above.lines)
    below = Explanation("p", replace(made, role="weak"), (1.0, 1.0), None, None, "none")
    assert "the weak model answers at any strong share but 100%" in "\n".join(below.lines)
    few = Explanation("p", made, (0.004, 0.004), None, None, "none")
    assert "at a strong share below 0.4%" in "\n".join(few.lines)


@pytest.mark.parametrize("chance", [True, False])
def test_an_explanation_ends_with_what_scores_targets_and_entropies_are(saved: str, chance: bool) -> None:
    found = replace(Router.load(saved).explain("jazz pizza 2"), chance=chance).lines
    assert found[-3:] == (CHANCE if chance else SMOOTHED, TARGET, ENTROPY)
    assert all(len(line) <= 110 for line in found)


@pytest.mark.parametrize(
    ("target", "said"),
    [(0.0, "small"), (0.35, "small"), (0.45, "no real difference"), (0.55, "no real difference"), (0.65, "large")],
)
def test_what_a_training_prompt_showed_is_said_in_words(target: float, said: str) -> None:
    assert said in need_in_words(target)


def test_route_says_score_and_threshold_once_and_what_similar_prompts_showed(saved: str) -> None:
    found = CliRunner().invoke(app, ["route", "jazz pizza 2", "--router", saved]).stdout
    assert found.count("score") == found.count("threshold") == 1
    near = Router.load(saved).route("jazz pizza 2").neighbours
    assert found.count("showed: ") == len(near)
    assert f"({near[0].training.target:.2f})" in found
