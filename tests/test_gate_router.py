"""The router that serves, by hand: a prompt "0.7" has the score .7, and the gate's steps add what the test says."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import demur
from demur.errors import ArtifactError, InputError
from demur.evaluation.replay import replay_with
from demur.evaluation.report.kept_point import points_at_shares
from demur.gate import router as module
from demur.gate.explanation import ENTROPY, SMOOTHED, TARGET, Explanation
from demur.gate.gate import Gate, GateStep, GateVerdict
from demur.gate.quality.extra_samples import ExtraSamplesTrial
from demur.gate.quality.two_stages import Rehearsal, StagedScores
from demur.gate.quality.weaker_groups import WeakerGroup
from demur.gate.router import Router, drafts_of
from demur.gate.saved_gate import SavedGate, read_gate, write_gate
from demur.gate.shares import calibration_of_share, threshold_of_share
from demur.gateway.operator.decision_page import gate_sentence
from demur.labels.beliefs.unknown import UnknownPrompt
from demur.meaning.entailment import exact_match
from demur.measure.threshold import Calibration
from demur.models.encoders.encoder import LetterEncoder
from demur.models.prices import ServingCost
from demur.records import FloatArray, OnUnknown, Sample
from demur.routing.decision import Neighbour
from demur.routing.known.known_prompts import Looked
from demur.routing.known.remembered_prompts import Remembered
from demur.routing.prompt_router import Decision, PromptRouter, TrainingPrompt
from gateways import RECORD
from test_artifact import make

PAYS, LOSES = GateVerdict(0.1, 0.2, 0.1, 0.3), GateVerdict(0.1, 0.2, -0.1, 0.5)
SCORES = np.arange(1, 11) / 10


class Numbers:
    """A text that is a number is its own vector."""

    identity = "numbers"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        return np.array([[float(text)] for text in texts], dtype=np.float32)


class Same:
    """The score is the vector's only number."""

    def fit(self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None = None) -> Same:
        return self

    def predict_proba(self, X: FloatArray) -> FloatArray:
        return np.column_stack([1 - X[:, 0], X[:, 0]]).astype(float)


def first(calibration: Calibration | None = None, **more: Any) -> PromptRouter:
    """Ten training prompts, "0.1" to "1.0", whose held-out scores are the same; without a calibration: .55."""
    training = tuple(TrainingPrompt(f"{score:g}", score, None, None) for score in SCORES)
    return PromptRouter(
        *(Numbers(), Same(), "small", "large", training, SCORES[:, None].astype(np.float32), SCORES.copy()),
        calibration=calibration,
        **more,
    )


def gate_of(*offsets: float, band: float = 0.25, head: GateStep | None = None, **more: Any) -> Gate:
    """Step j adds ``offsets[j]`` to the prompt's score; its further samples spread by .05, those of the last by 0."""
    last = len(offsets) - 1
    steps = tuple(GateStep(x, 1.0, (0.0,) * 6, 0.05 if j < last else 0.0) for j, x in enumerate(offsets))
    return Gate(steps, head, band, PAYS, **more)


def draft(text: str, logprobs: tuple[float, ...] | None = None) -> Sample:
    return Sample(0, text, logprobs, "stop", 3, 2)


def near(score: float = 0.5, threshold: float = 0.5) -> Decision:
    return Decision("small", "weak", score, threshold, "because", (), wants_samples=1, stage="gate")


# -- which gate serves, and what it is expected to do ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("active", "calibration", "serves"),
    [
        (True, None, True),
        (True, Calibration(0.5, 0.5, 10, "a"), True),
        (True, Calibration(0.5, 0.5, 10, "a", gate=False), False),  # a certificate for the prompt's score alone
        (False, None, False),
    ],
)
def test_an_active_gate_serves_unless_a_certificate_of_the_prompt_alone_is_in_force(
    active: bool, calibration: Calibration | None, serves: bool
) -> None:
    gate = gate_of(0.0, 0.0, 0.0)
    router = Router(first(calibration), gate, active=active)
    assert router.serving_gate is (gate if serves else None)
    assert router.checks == ((0.25, 2) if serves else None)
    assert not router.checks_streams
    streams = replace(router, gate=gate_of(0.0, head=GateStep(0.0, 1.0, (0.0, 0.0))))
    assert streams.checks_streams is serves


def test_threshold_and_score_are_the_prompt_routers() -> None:
    router = Router(first(Calibration(0.4, 0.7, 10, "a")), gate_of(0.0), active=True)
    assert router.threshold == 0.4
    assert Router(first()).threshold == pytest.approx(0.55)  # the middle of .1 to 1.0
    assert router.score(["0.2", "0.75"]).tolist() == pytest.approx([0.2, 0.75])


def test_without_a_rehearsal_a_prompts_score_stays_what_it_is() -> None:
    own = np.array([0.2, 0.7])
    gate = gate_of(0.3, 0.0, band=0.125)
    found = Router(first(), gate).expected_scores(own, gate)
    assert found.steps.tolist() == [[[0.2], [0.7]]] * 2
    assert (found.prompt.tolist(), found.final.tolist()) == ([0.2, 0.7], [[0.2], [0.7]])
    assert (found.spreads.tolist(), found.band) == ([0.05, 0.0], 0.125)
    alone = Router(first(), gate).expected_scores(own, None)
    assert (alone.steps.tolist(), alone.spreads.tolist(), alone.band) == ([[[0.2], [0.7]]], [0.0], -1.0)


def test_thresholds_are_set_on_what_an_active_gate_is_expected_to_make_of_the_scores() -> None:
    """Up to .25 a score rises by .125, as the nearest draft's did, and the others fall by .25."""
    past = Rehearsal(np.array([0.25, 0.5]), np.array([[0.0, 0.0], [0.125, -0.25]]))
    router = Router(first(), gate_of(0.0, 0.0), active=True, rehearsal=past)
    expected = sorted([0.225, 0.325, *(SCORES[2:] - 0.25)])
    assert router.training_finals.tolist() == pytest.approx(expected)
    certified = replace(router, prompt_router=first(Calibration(0.4, 0.7, 10, "a", gate=False)))
    assert certified.training_finals.tolist() == pytest.approx(expected)  # another threshold brings the gate back
    assert replace(router, active=False).training_finals.tolist() == SCORES.tolist()
    assert replace(router, rehearsal=None).training_finals.tolist() == SCORES.tolist()


# -- the first stage -------------------------------------------------------------------------------------------------


def test_prompts_within_the_band_are_checked_its_edge_included() -> None:
    router = Router(first(Calibration(0.5, 0.5, 10, "a")), gate_of(0.0, band=0.25), active=True)
    made = Decision("large", "strong", 0.75, 0.5, "score 0.750 >= threshold 0.500", neighbours=())
    checked = router.first_stage(made)
    assert (checked.role, checked.model, checked.wants_samples, checked.stage) == ("weak", "small", 1, "gate")
    assert checked.reason == f"{made.reason}; within 0.250 of it, so the weak model's answer is checked"
    for other in (
        replace(made, score=0.751),
        replace(made, score=0.249),
        replace(made, stage="unknown"),
    ):
        assert router.first_stage(other) is other
    assert replace(router, active=False).first_stage(made) is made
    assert router.route("0.6").wants_samples == 1
    assert router.route("0.8").wants_samples == 0
    assert router.route("0.8", threshold=0.9).wants_samples == 1
    assert len(router.route("0.8", neighbours=2).neighbours) == 2


# -- the second stage ------------------------------------------------------------------------------------------------


def serving(*offsets: float, **more: Any) -> Router:
    return Router(first(Calibration(0.5, 0.5, 10, "a")), gate_of(*offsets, **more), active=True)


def test_no_samples_cannot_be_checked() -> None:
    with pytest.raises(InputError, match="no weak answer to check; hand in the draft and the extra samples"):
        serving(0.0).check(near(), "0.5", [])


def test_a_decision_that_wants_no_samples_stays() -> None:
    decided = replace(near(), wants_samples=0)
    assert serving(0.2).check(decided, "0.5", [draft("a")]) == decided
    without = replace(serving(0.2), active=False)
    assert without.check(near(), "0.5", [draft("a")]) == decided
    assert without.check_head(near(), [-0.1]) == decided


@pytest.mark.parametrize(
    ("added", "role", "model", "sign"), [(0.1, "strong", "large", ">="), (-0.1, "weak", "small", "<")]
)
def test_the_score_after_the_draft_decides(added: float, role: str, model: str, sign: str) -> None:
    found = serving(added).check(near(), "0.5", [draft("a")])
    assert (found.role, found.model, found.wants_samples, found.void) == (role, model, 0, False)
    assert found.score == pytest.approx(0.5 + added)
    assert found.reason == f"score {0.5 + added:.3f} {sign} threshold 0.500 (weak answer checked)"


def test_an_undecided_draft_asks_for_one_sample_more_until_none_is_left() -> None:
    """Spread .05: within .1 of the threshold further samples could turn it; after the last step nothing could."""
    router = serving(0.05, 0.06, -0.07)
    decision, samples = near(), [draft("a")]
    for _ in range(2):
        decision = router.check(decision, "0.5", samples)
        assert (decision.wants_samples, decision.reason) == (1, "because")
        samples.append(draft("a"))
    found = router.check(decision, "0.5", samples)
    assert (found.wants_samples, found.role, found.void) == (0, "weak", False)
    assert found.reason == "score 0.430 < threshold 0.500 (weak answer and 2 extra samples checked)"
    more = router.check(decision, "0.5", [*samples, draft("a")])  # one more than the gate was learned with
    assert more == found


def test_samples_beyond_the_gates_last_step_are_not_read() -> None:
    """Weight 1 on the mean NLL of the draft and the one extra sample, .2; the third one's 9 does not count."""
    step = GateStep(0.0, 1.0, (0.0, 0.0, 1.0, 0.0, 0.0, 0.0))
    router = replace(serving(0.0), gate=Gate((step, step), step, 0.5, PAYS))
    samples = [draft("a", (-0.1,)), draft("a", (-0.3,)), draft("a", (-9.0,))]
    assert router.check(near(0.4), "0.4", samples).score == pytest.approx(0.6)


def test_a_wanted_sample_that_does_not_come_voids_the_calibration() -> None:
    router = serving(0.05, 0.06, -0.07)
    alone = router.check(near(), "0.5", [draft("a")], final=True)
    assert (alone.void, alone.role) == (True, "strong")
    late = "a further sample did not arrive, so the calibration is void"
    assert alone.reason == f"score 0.550 >= threshold 0.500 (weak answer checked; {late})"
    two = router.check(near(), "0.5", [draft("a"), draft("a")], final=True)
    assert two.reason == f"score 0.560 >= threshold 0.500 (weak answer and 1 extra sample checked; {late})"
    assert not serving(0.2, 0.0).check(near(), "0.5", [draft("a")], final=True).void  # certain without it


def test_a_score_moves_by_the_band_at_most() -> None:
    found = serving(0.4, band=0.125).check(near(), "0.5", [draft("a")])
    assert found.score == pytest.approx(0.625)


def test_a_draft_of_another_form_than_the_request_asks_for_goes_to_the_strong_model() -> None:
    request = {"response_format": {"type": "json_object"}}
    found = serving(-0.2).check(near(), "0.5", [draft("no JSON")], request=request)
    assert (found.role, found.model, found.score, found.wants_samples) == ("strong", "large", 0.5, 0)
    assert found.reason.startswith("the weak answer is of no use: ")


def test_no_log_probs_where_the_gate_needs_them_leave_the_decision_to_the_prompt() -> None:
    """The warning points at the line that called."""
    head = GateStep(0.0, 1.0, (0.0, 0.0))
    router = serving(0.2, head=head)
    why = "no log-probs: the gate is void, so is the calibration"
    with pytest.warns(UserWarning, match="gives no log-probs") as warned:
        found = router.check(near(0.45), "0.45", [draft("a")])
    assert [Path(one.filename).name for one in warned] == ["test_gate_router.py"]
    assert (found.void, found.score, found.role) == (True, 0.45, "weak")
    assert found.reason == f"score 0.450 < threshold 0.500 ({why})"
    with pytest.warns(UserWarning, match="gives no log-probs") as warned:
        assert router.check_head(near(0.45), []) == found
    assert [Path(one.filename).name for one in warned] == ["test_gate_router.py"]
    assert not router.check(near(), "0.5", [draft("")]).void  # an empty answer has none to give
    assert not router.check(near(), "0.5", [draft("a", (-0.1,))]).void
    with pytest.warns(UserWarning, match="gives no log-probs"):
        assert router.check(near(), "0.5", [draft("a", (-0.1,)), draft("b")]).void


def test_a_streams_first_tokens_decide_where_they_tell_something() -> None:
    """Mean NLL .2, largest .4: the head adds the mean."""
    router = serving(0.0, head=GateStep(0.0, 1.0, (1.0, 0.0)))
    found = router.check_head(near(0.4), [-0.1, -0.1, -0.4])
    assert found.score == pytest.approx(0.6)
    assert found.reason == "score 0.600 >= threshold 0.500 (first tokens of the weak answer checked)"
    told = "(a stream: its first tokens are not informative enough, so the prompt decides)"
    for silent in (serving(0.0), serving(0.0, head=GateStep(0.0, 1.0, (1.0, 0.0)), head_verdict=LOSES)):
        decided = silent.check_head(near(0.4), [-9.0])
        assert (decided.score, decided.role) == (0.4, "weak")
        assert decided.reason == f"score 0.400 < threshold 0.500 {told}"


# -- what it says of itself ------------------------------------------------------------------------------------------


def test_its_lines_are_the_gates_worth_why_streams_and_weaker_groups() -> None:
    group = WeakerGroup(30, -0.1, -0.2, -0.05, "a prompt")
    assert Router(first(), about="too few").lines == ("too few",)
    streams = "streams: routed by their prompts, since there are no log-probs"
    router = Router(first(), gate_of(0.0), about="", weaker=(group,))
    assert router.lines == (PAYS.sentence, streams, group.sentence)
    assert replace(router, about="beside").lines == (PAYS.sentence, "beside", streams, group.sentence)
    assert (router.sentence, Router(first(), about="none").sentence) == (PAYS.sentence, "none")
    described = replace(router, trials=()).describe()
    assert (described["gate"], described["trials"], described["weak"]) == (router.lines, (), "small")


def test_an_explanation_has_the_shares_at_which_it_turns_and_what_the_gate_would_do() -> None:
    """Of ten training prompts .1 to 1.0 seven have at least .35, six at least .5 (.45), three at least .75."""
    router = serving(0.0, 0.0, 0.0, band=0.15)
    found = router.explain("0.5")
    assert found.decision.wants_samples == 1
    assert found.flips == (4 / 10, 7 / 10)
    looked = "the weak model's answer and at most 2 extra samples are looked at; it "
    assert found.second_stage == (
        f"{looked}stays with the weak model only where they lower the score, by at most 0.150, below the threshold"
    )
    assert router.explain("0.4").second_stage == (
        f"{looked}goes on to the strong model where they lift the score, by at most 0.150, over the threshold"
    )
    assert (found.usd, found.usd_other, found.usd_checked) == (None, None, None)
    far = router.explain("0.9")
    assert far.second_stage == "not asked, the score is further than 0.150 from the threshold"
    idle = replace(router, active=False).explain("0.72")
    assert idle.flips == (3 / 10, 3 / 10)
    assert idle.second_stage == "none (the gate does not pay)"
    assert Router(first(), about="too few").explain("0.72").second_stage == "none (too few)"
    promised = Router(first(Calibration(0.5, 0.5, 10, "a", gate=False)), gate_of(0.0), active=True).explain("0.9")
    assert promised.second_stage == "none (the calibration's promise holds for the router alone)"


@pytest.mark.parametrize(
    ("on_unknown", "flip", "reach"),
    [("strong", 0.8, (0.5, 1.0)), ("weak", 0.3, (0.0, 0.5)), ("score", 0.3, (0.0, 1.0))],
)
def test_an_explained_strong_share_is_of_all_prompts_as_the_threshold_of_a_share_is(
    on_unknown: OnUnknown, flip: float, reach: tuple[float, float]
) -> None:
    """Ten scored prompts, six of them at .5 or above, beside ten unknown ones: 16, 6 or, by score, 6 of 20."""
    beside = Remembered(tuple(UnknownPrompt(f"u{i}", f"-{i}", "why") for i in range(10)), -np.ones((10, 1), np.float32))
    router = Router(first(Calibration(0.55, 0.5, 10, "a"), unknown=beside, on_unknown=on_unknown))
    found = router.explain("0.5")
    assert found.flips == pytest.approx((flip, flip))
    assert found.reach == pytest.approx(reach)
    for share in np.arange(0.05, 1.0, 0.05).tolist():
        role = router.route("0.5", threshold=threshold_of_share(router, share)).role
        if abs(share - flip) > 0.06 and reach[0] <= share <= reach[1]:
            assert role == ("strong" if share > flip else "weak"), share


def test_an_explanation_names_the_shares_that_no_threshold_gives() -> None:
    made, past = replace(STRONG, role="weak"), "its score is {} every training prompt's: the {} model answers at any"
    floor = "; no threshold gives one below 46%, because unknown prompts go to the strong model"
    ceiling = "; no threshold gives one above 54%, because unknown prompts go to the weak model"
    for decision, flip, reach, said in (
        (STRONG, 0.53, (0.46, 1.0), f"it would go to the weak model at a strong share below 53%{floor}"),
        (made, 0.3, (0.0, 0.54), f"it would go to the strong model at a strong share above 30%{ceiling}"),
        (STRONG, 0.46, (0.46, 1.0), f"{past.format('above', 'strong')} strong share{floor}"),
        (made, 0.54, (0.0, 0.54), f"{past.format('below', 'weak')} strong share{ceiling}"),
    ):
        assert Explanation("p", decision, (flip, flip), None, None, "none", reach=reach).turns == said


# -- saved and loaded ------------------------------------------------------------------------------------------------


def test_every_part_of_a_gate_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    make().save(tmp_path)
    step, head = GateStep(0.1, 0.9, (0.25, -0.5), 0.125), GateStep(0.2, 0.8, (1.0, 2.0))
    trial = ExtraSamplesTrial(2, PAYS, 0.5, 1.5, 0.25, (100.0, 20.0), (0.1, 0.05, 0.15))
    saved = SavedGate(
        *(Gate((step, step), head, 0.25, PAYS, LOSES), True, False, "about"),
        *(np.array([[0.5, 0.25], [1.0, 0.0]]), Rehearsal(np.array([0.25, 0.5]), np.array([[0.125, -0.25]]))),
        *((trial, replace(trial, for_the_money=None)), (WeakerGroup(30, -0.1, -0.2, -0.05, "a"),)),
    )
    write_gate(tmp_path, saved)
    found = read_gate(tmp_path)
    assert found is not None
    assert (found.gate, found.active, found.rules, found.about) == (saved.gate, True, False, "about")
    assert (found.trials, found.weaker) == (saved.trials, saved.weaker)
    assert found.beliefs is not None
    assert found.beliefs.tolist() == [[0.5, 0.25], [1.0, 0.0]]
    assert found.rehearsal is not None
    assert (found.rehearsal.scores.tolist(), found.rehearsal.changes.tolist()) == ([0.25, 0.5], [[0.125, -0.25]])


def test_a_gate_of_nothing_but_a_reason_comes_back_too(tmp_path: Path) -> None:
    make().save(tmp_path)
    assert read_gate(tmp_path) is None
    write_gate(tmp_path, SavedGate(None, False, True, "too few prompts", None, None, (), ()))
    found = read_gate(tmp_path)
    assert found is not None
    assert (found.gate, found.active, found.rules, found.about) == (None, False, True, "too few prompts")
    assert (found.beliefs, found.rehearsal, found.trials, found.weaker) == (None, None, (), ())
    write_gate(tmp_path, SavedGate(gate_of(0.0), True, True, "", np.array([[0.123456], [1.0]]), None, (), ()))
    found = read_gate(tmp_path)
    assert found is not None
    assert found.gate == gate_of(0.0)
    assert found.beliefs is not None
    assert found.beliefs.tolist() == [[0.123456], [1.0]]  # as they were in memory


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"router": "0" * 64}, "the gate belongs to another router than the one beside it; train again"),
        ({"gate": {"steps": []}}, "cannot be read"),
        ({"rehearsal": {"scores": [0.1]}}, "cannot be read"),
        ({"weaker": [{"prompts": 3}]}, "cannot be read"),
        ({"trials": [{}]}, "cannot be read"),
    ],
)
def test_a_changed_gate_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    make().save(tmp_path)
    write_gate(tmp_path, SavedGate(gate_of(0.0), True, True, "", None, None, (), ()))
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(ArtifactError, match=message):
        read_gate(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ArtifactError, match="is not a regular file; train again"):
        read_gate(tmp_path)


def test_what_a_loaded_router_is_told_is_taken_over(tmp_path: Path) -> None:
    replace(make(), on_unknown="strong").save(tmp_path)
    bare = Router.load(tmp_path, encoder=LetterEncoder())
    assert (bare.gate, bare.active, bare.about) == (None, False, "no gate was trained")
    assert bare.prompt_router.on_unknown == "strong"
    assert Router.load(tmp_path, encoder=LetterEncoder(), unknown="weak").prompt_router.on_unknown == "weak"
    with pytest.raises(InputError, match="unknown is 'Weak'; use strong, strong-unless-guessed, weak, score"):
        Router.load(tmp_path, encoder=LetterEncoder(), unknown="Weak")  # type: ignore[arg-type]
    write_gate(tmp_path, SavedGate(gate_of(0.0), True, False, "why", None, None, (), ()))
    found = Router.load(tmp_path, encoder=LetterEncoder())
    assert (found.gate, found.active, found.rules, found.about) == (gate_of(0.0), True, False, "why")
    assert found.entailment is exact_match
    assert not found.prompt_router.gate_unused
    given = Router.load(tmp_path, encoder=LetterEncoder(), entailment=lambda pairs: np.zeros((len(pairs), 3)))
    assert given.entailment is not exact_match


def test_an_entailment_model_is_opened_once_when_it_is_first_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    class Opened:
        def __init__(self, spec: str) -> None:
            opened.append(spec)

        def __enter__(self) -> Any:
            return lambda pairs: [len(pairs)]

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(module, "open_entailment", Opened)
    replace(make(), record={"labels": {"entailment": "shipped"}}).save(tmp_path)
    write_gate(tmp_path, SavedGate(gate_of(0.0), True, True, "", None, None, (), ()))
    router = Router.load(tmp_path, encoder=LetterEncoder())
    assert opened == []
    assert [router.entailment([("a", "b")]), router.entailment([("a", "b")] * 2)] == [[1], [2]]
    assert opened == ["shipped"]


def test_drafts_are_read_with_the_routers_own_meanings() -> None:
    """Two of three answers are the same text: the draft's meaning has a share of two thirds."""
    router = serving(0.0, 0.0, 0.0)
    found = drafts_of(router, ["0.5"], [[draft("a"), draft("a"), draft("b")]])
    assert len(found.signals) == 3
    assert found.signals[2][0, :, 4].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])


# -- the threshold of a strong share ---------------------------------------------------------------------------------


def with_unknown(number: int, on_unknown: OnUnknown) -> Router:
    prompts = tuple(UnknownPrompt(str(i), f"p{i}", "why") for i in range(number))
    return Router(first(unknown=Remembered(prompts, np.ones((number, 1))), on_unknown=on_unknown))


def test_a_share_is_reached_on_the_training_prompts() -> None:
    """.1 to 1.0: three of ten at least .8; halfway to .7 the threshold."""
    found = calibration_of_share(Router(first()), 0.3)
    assert [found.threshold, found.strong_share] == pytest.approx([0.75, 0.3])
    assert (found.n, found.asked, found.on, found.gate) == (10, "strong share 30%", "the training prompts", True)
    assert threshold_of_share(Router(first()), 0.3) == pytest.approx(0.75)
    assert threshold_of_share(Router(first()), 0.0) == math.inf
    assert threshold_of_share(Router(first()), 1.0) == -math.inf
    assert threshold_of_share(Router(first()), 0.1) == pytest.approx(0.95)


def test_unknown_prompts_count_where_they_go() -> None:
    """Ten with scores and ten unknown: half strong is all of the unknown, or all of the others, or half of the ten."""
    strong = calibration_of_share(with_unknown(10, "strong"), 0.5)
    assert (strong.strong_share, strong.n, strong.unknown) == (0.5, 20, 0.5)
    assert strong.threshold > 1.0  # nothing else
    weak = calibration_of_share(with_unknown(10, "weak"), 0.5)
    assert (weak.strong_share, weak.n, weak.unknown) == (0.5, 20, 0.5)
    assert weak.threshold == pytest.approx(0.1)  # everything else
    scored = calibration_of_share(with_unknown(10, "score"), 0.55)  # their score is 1.0, as that of one of the others
    assert (scored.strong_share, scored.n, scored.unknown) == (0.55, 20, 0.0)


def test_the_counts_are_of_prompts_where_each_has_several_drafts() -> None:
    past = Rehearsal(np.repeat(SCORES, 3), np.zeros((1, 30)))
    found = calibration_of_share(Router(first(), gate_of(0.0), active=True, rehearsal=past), 0.3)
    assert (found.n, found.asked) == (10, "strong share 30%")
    assert found.strong_share == pytest.approx(0.3)


def stopping_early() -> Router:
    """The last step lowers a score by .2, and is not asked for where the first is over .1 away from the threshold."""
    past = Rehearsal(np.array([0.5]), np.array([[0.0], [-0.2]]))
    return Router(first(), gate_of(0.0, -0.2), active=True, rehearsal=past)


def test_a_share_is_said_as_it_is_served_where_the_gate_stops_before_its_last_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the final scores, -.1 to .8, are at least .35; a draft of .5 is certain before it would be lowered to .3."""
    found = calibration_of_share(stopping_early(), 0.5)
    assert found.threshold == pytest.approx(0.35)
    assert found.strong_share == pytest.approx(0.6)
    costs = {role: asdict(ServingCost(0.0, usd, 0.0, 1.0, "test")) for role, usd in (("weak", 0.0), ("strong", 1.0))}
    priced = replace(stopping_early(), prompt_router=first(record={"serving_cost": costs}))
    monkeypatch.setattr(Router, "load", lambda *_, **__: priced)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"{score:g}\n" for score in SCORES))
    budget = demur.calibrate(prompts, router=str(tmp_path), usd_per_1k=600, anyway=True, dry_run=True)
    assert budget.threshold == pytest.approx(0.35)
    assert budget.strong_share == pytest.approx(0.6)


@pytest.fixture
def expected(monkeypatch: pytest.MonkeyPatch) -> list[StagedScores]:
    """Whatever scores a rehearsal makes, in turn."""
    own, made = Rehearsal.expected_scores, list[StagedScores]()

    def make_and_keep(self: Rehearsal, gate: Gate, scores: FloatArray) -> StagedScores:
        made.append(own(self, gate, scores))
        return made[-1]

    monkeypatch.setattr(Rehearsal, "expected_scores", make_and_keep)
    return made


def test_the_expected_scores_of_many_prompts_lie_in_memory_once(expected: list[StagedScores]) -> None:
    """Of 20,000 prompts with 45 drafts each and six steps they take 43 MB: as much again is room for the rest."""
    random, n = np.random.default_rng(0), 20_000
    past = Rehearsal(np.sort(random.random(2000)), random.normal(0, 0.1, (6, 2000)))
    router = Router(first(), gate_of(*[0.0] * 6), active=True, rehearsal=past)
    looked = Looked(np.linspace(0, 1, n), np.ones(n, dtype=bool), [""] * n)
    tracemalloc.start()
    found = calibration_of_share(router, 0.3, looked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.strong_share == pytest.approx(0.3, abs=0.01)
    assert [one.steps.nbytes for one in expected] == [6 * n * 45 * 8]
    assert peak < 2 * expected[0].steps.nbytes


def test_a_threshold_and_the_points_of_many_shares_need_the_expected_scores_once(
    expected: list[StagedScores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = stopping_early()
    monkeypatch.setattr(Router, "load", lambda *_, **__: router)
    (tmp_path / "prompts.txt").write_text("".join(f"{score:g}\n" for score in SCORES))
    before: list[int] = []

    def replayed(*given: Any, **more: Any) -> Any:
        before.append(len(expected))
        return replay_with(*given, **more)

    monkeypatch.setattr("demur.evaluation.thresholds.calibrate.replay_with", replayed)
    prompts = tmp_path / "prompts.txt"
    assert demur.calibrate(prompts, router=str(tmp_path), strong_share=0.5, anyway=True, dry_run=True).n == 10
    assert before == [1]
    expected.clear()
    quality, usd, every = (SCORES * 0, SCORES * 0 + 1), (None, None), np.ones(10, dtype=bool)
    points = points_at_shares(router, router.prompt_router.learned, quality, every, usd, (0.2, 0.5, 0.8))
    assert len(points) == 5  # none, all, and those that are asked for
    assert len(expected) == 1


# -- explanations ----------------------------------------------------------------------------------------------------

STRONG = Decision("large", "strong", 0.6, 0.5, "score 0.600 >= threshold 0.500 (as asked)", ())


@pytest.mark.parametrize(
    ("decision", "flips", "said"),
    [
        (STRONG, (0.4, 0.4), "it would go to the weak model at a strong share below 40%"),
        (replace(STRONG, role="weak"), (0.4, 0.4), "it would go to the strong model at a strong share above 40%"),
        (STRONG, (0.009, 0.009), "it would go to the weak model at a strong share below 0.9%"),
        (STRONG, (0.011, 0.011), "it would go to the weak model at a strong share below 1%"),
        (STRONG, (0.01, 0.01), "it would go to the weak model at a strong share below 1%"),
        (STRONG, (0.994, 0.994), "it would go to the weak model at a strong share below 99.4%"),
        (STRONG, (0.985, 0.985), "it would go to the weak model at a strong share below 98%"),
        (STRONG, (0.0, 0.0), "its score is above every training prompt's: the strong model answers at any strong share "
            "but 0"),
        (replace(STRONG, role="weak"), (1.0, 1.0), "its score is below every training prompt's: the weak model answers "
            "at any strong share but 100%"),
        (STRONG, (0.25, 0.75), "at a strong share below 25% the weak model answers, above 75% the strong one, "
            "unchecked; in between the gate decides on the weak model's answer"),
        (replace(STRONG, stage="unknown"), (0.4, 0.4), "the strong share does not matter: only the setting `unknown` "
            "decides where it goes"),
    ],
)  # fmt: skip
def test_where_a_decision_turns(decision: Decision, flips: tuple[float, float], said: str) -> None:
    assert Explanation("p", decision, flips, None, None, "none").turns == said


@pytest.mark.parametrize(
    ("role", "usd", "other", "checked", "said"),
    [
        ("strong", 0.25, 0.125, None, ["$0.25 expected on this model, $0.125 on the weak one"]),
        ("weak", 0.125, 0.25, None, ["$0.125 expected on this model, $0.25 on the strong one"]),
        ("strong", 0.25, None, None, ["$0.25 expected on this model", "the other price is unknown"]),
        ("strong", None, 0.125, None, ["$0.125 expected on the weak one", "the other price is unknown"]),
        ("weak", None, None, None, ["unknown"]),
        ("weak", 0.125, 0.25, 0.5, ["$0.125 expected if the weak answer is kept at once",
            "at most $0.50 with extra samples", "$0.75 if the strong model answers instead",
            "$0.25 on the strong one alone"]),
    ],
)  # fmt: skip
def test_what_a_decision_costs(
    role: Any, usd: float | None, other: float | None, checked: float | None, said: list[str]
) -> None:
    found = [*Explanation("p", replace(STRONG, role=role), (0.4, 0.4), usd, other, "none", checked).lines]
    names = [line[:8].strip() for line in found]
    cost = found[names.index("cost") : names.index("gate")]
    assert [line[8:].strip() for line in cost] == said


def test_a_decisions_page_says_in_a_sentence_why_no_gate_looked_at_an_answer() -> None:
    said = [
        gate_sentence(replace(RECORD, stage="score"), Explanation("p", STRONG, (0.4, 0.4), None, None, stage))
        for stage in ("none (the gate does not pay)", "not asked, the score is far from the threshold")
    ]
    assert said == ["There is none: the gate does not pay.", "It was not asked: the score is far from the threshold."]


def test_an_explanation_shows_the_nearest_prompts_with_both_answers() -> None:
    training = TrainingPrompt("a\nprompt " + "x" * 100, 0.756, 0.5, None, "yes\nit is", "no")
    near_by = replace(STRONG, neighbours=(Neighbour(training, 0.987),))
    found = Explanation("p", near_by, (0.4, 0.4), None, None, "none (no gate)").lines
    assert found[0] == "strong: large"
    assert [line.split(maxsplit=1) for line in found[1:5]] == [
        ["why", STRONG.reason],
        ["turns", "it would go to the weak model at a strong share below 40%"],
        ["cost", "unknown"],
        ["gate", "none (no gate)"],
    ]
    at = next(i for i, line in enumerate(found) if line.startswith("  0.99  a prompt xxx"))
    assert found[at + 1] == "        showed: large model better (target 0.76)"
    assert [line.split() for line in found[at + 2 : at + 4]] == [
        ["weak", "0.50", "nats", "'yes", "it", "is'"],
        ["strong", "no", "entropy", "'no'"],
    ]
    assert found[-3:] == (SMOOTHED, TARGET, ENTROPY)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (123, "the prompt is 123, of type int; a prompt is text"),
        (None, "the prompt is None, of type NoneType; a prompt is text"),
        (["a"], r"the prompt is \['a'\], of type list; a prompt is text"),
        (" ", "the prompt is empty; there is nothing to route"),
    ],
)
def test_what_is_not_a_text_cannot_be_routed(prompt: Any, said: str) -> None:
    router = Router(first())
    for decide in (router.route, router.explain, router.answer):
        with pytest.raises(InputError, match=said):
            decide(prompt)
