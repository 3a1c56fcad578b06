"""The router that serves: the prompt router first, then, for prompts near the threshold, the gate on the weak answer.

The same object is trained, evaluated and served; command line, gateway and evaluation all use it.

    decision = router.route(prompt)                         # strong, weak, or weak and to be checked
    while decision.wants_samples:                           # the draft, then one extra sample at a time
        samples += ask_the_weak_model(decision.wants_samples)
        decision = router.check(decision, prompt, samples)

`Router.answer` does this with the pair's endpoints.
"""

from __future__ import annotations

import atexit
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import numpy as np

from demur.errors import InputError
from demur.event_loop import run_to_end
from demur.gate.answer import Answered, Ask, asking_the_pair
from demur.gate.cascade.fit_cascade import read_answers
from demur.gate.drafts import Drafts, draft_orders, read_drafts
from demur.gate.explanation import Explanation, scores_are_chances, second_stage
from demur.gate.form.requested_form import OF_NO_USE, empty_problem, form_problem
from demur.gate.gate import HEAD_TOKENS, Gate, GateStep, read_head, read_signals
from demur.gate.quality.extra_samples import ExtraSamplesTrial
from demur.gate.quality.two_stages import Rehearsal, StagedScores, Use, without_gate
from demur.gate.quality.weaker_groups import WeakerGroup
from demur.gate.saved_gate import SavedGate, read_gate, write_gate
from demur.meaning.clusters import Clustering, meaning_clusters
from demur.meaning.entailment import exact_match, open_entailment
from demur.meaning.meanings import Meanings
from demur.measure.threshold import share_of_all
from demur.records import Encoder, Entailment, FloatArray, OnUnknown, Role, Sample
from demur.routing.decision import apart
from demur.routing.known.known_prompts import Looked
from demur.routing.prompt_router import NEIGHBOURS, Decision, PromptRouter

_OTHER: dict[Role, Role] = {"weak": "strong", "strong": "weak"}


@dataclass(frozen=True, eq=False)
class Router:
    """A prompt router and a gate on the weak model's answer; `Router.load` reads a saved one, `demur.train` makes one.

    A gate that is not ``active`` is kept for its verdict only. What `demur.gate.train` found is kept beside them.
    """

    prompt_router: PromptRouter
    gate: Gate | None = None
    active: bool = False
    entailment: Entailment = exact_match  # decides which of the weak model's samples mean the same
    rules: bool = True
    about: str = "no gate was trained"  # why there is none
    beliefs: FloatArray | None = None  # (2, n) the strong model's belief in both models' answers to training prompts
    rehearsal: Rehearsal | None = None  # the gate's held-out effect on drafts of training prompts
    trials: tuple[ExtraSamplesTrial, ...] = ()  # the gate with fewer extra samples
    weaker: tuple[WeakerGroup, ...] = ()  # where the weak model is believed better

    def serving(self, *, weak: str | None = None, strong: str | None = None) -> Router:
        """The same router in front of models of these names (None: as recorded); every reason names one that differs.

        For `answer` with functions of your own, which have no name that demur could compare.
        """
        return replace(self, prompt_router=self.prompt_router.serving(weak=weak, strong=strong))

    @property
    def active_gate(self) -> Gate | None:
        """The gate that a threshold by share, budget or quality is set with."""
        return self.gate if self.active else None

    @property
    def serving_gate(self) -> Gate | None:
        """The gate if it is used: active, and no certificate for the prompt router alone is in force."""
        calibration = self.prompt_router.calibration
        return self.active_gate if calibration is None or calibration.gate else None

    @property
    def checks(self) -> tuple[float, int] | None:
        """Band and most extra samples of the gate that serves; None without one."""
        gate = self.serving_gate
        return (gate.band, gate.samples) if gate else None

    def expected_scores(self, prompt_scores: FloatArray, gate: Gate | None) -> StagedScores:
        """The scores expected of prompts with these (n,), with a gate or none; without a rehearsal their own."""
        if gate is None:
            return without_gate(prompt_scores)
        if self.rehearsal is None:
            steps = np.broadcast_to(prompt_scores[:, None], (len(gate.steps), len(prompt_scores), 1))
            return StagedScores(prompt_scores, steps, np.array([step.spread for step in gate.steps]), gate.band)
        return self.rehearsal.expected_scores(gate, prompt_scores)

    def use(self, staged: StagedScores, looked: Looked, threshold: float) -> Use:
        """What a threshold does with prompts whose answers have these scores, and the setting `unknown` with others."""
        setting = self.prompt_router.unknown_setting
        return staged.use(threshold).with_fixed_role(setting.settled_rows(looked.untold), setting.role)

    def finals(self, staged: StagedScores, looked: Looked) -> FloatArray:
        """Final scores that thresholds are set on, of prompts with these scores: of those whose scores decide."""
        return staged.levels(~self.prompt_router.unknown_setting.settled_rows(looked.untold))

    @cached_property
    def training_finals(self) -> FloatArray:
        """`finals` of the learned prompts, with the active gate as expected."""
        learned = self.prompt_router.learned
        return self.finals(self.expected_scores(learned.scores, self.active_gate), learned)

    @property
    def counted(self) -> tuple[int, int, int]:
        """Of the learned prompts: how many their scores decide, and go to the strong and to the weak model whatever."""
        return self.prompt_router.unknown_setting.count_sides(self.prompt_router.learned.untold)

    @property
    def threshold(self) -> float:
        """Strong iff score >= threshold."""
        return self.prompt_router.threshold

    def score(self, prompts: Sequence[str]) -> FloatArray:
        """P(the strong model is needed) of each prompt before any answer is seen, (n,). Raises InputError."""
        return self.prompt_router.score(prompts)

    def route(self, prompt: str, *, threshold: float | None = None, neighbours: int = NEIGHBOURS) -> Decision:
        """Which model answers a prompt, and why. Where ``wants_samples`` > 0 the weak one does, and `check` decides.

        Raises InputError if ``prompt`` is not a text.
        """
        return self.first_stage(self.prompt_router.route(prompt, neighbours=neighbours, threshold=threshold))

    def first_stage(self, decision: Decision) -> Decision:
        """The prompt router's decision, or a decision that the weak model's answer is to be checked."""
        gate = self.serving_gate
        if gate is None or decision.stage == "unknown" or abs(decision.score - decision.threshold) > gate.band:
            return decision
        why = "a cascade" if gate.scorer else f"within {gate.band:.3f} of it"
        said, weak = f"{decision.reason}; {why}, so the weak model's answer is checked", self.prompt_router.weak
        return replace(decision, role="weak", model=weak, reason=said, wants_samples=1, stage="gate")

    def check(
        self,
        decision: Decision,
        prompt: str,
        samples: Sequence[Sample],
        *,
        request: Mapping[str, Any] = MappingProxyType({}),
        final: bool = False,
    ) -> Decision:
        """The second stage, from the draft (first) and the extra samples so far.

        A draft without the form that its ``request`` asks for (tools, response format: `gate.form.requested_form`) is
        no answer, whatever its score. Requests one more sample if that may reverse the decision, unless ``final``: no
        more are available. ``void`` means that the calibration does not hold, because a requested sample did not
        arrive, or because the endpoint gives no log-probs although the gate needs them (the prompt's score decides
        then). Raises InputError for no samples.
        """
        gate = self.serving_gate
        if not samples:
            raise InputError("no weak answer to check; hand in the draft and the extra samples")
        if problem := form_problem(samples[0].text, request) or empty_problem(samples[0]):
            return self.without_use(decision, problem)
        if gate is None or not decision.wants_samples:
            return replace(decision, wants_samples=0)
        logprobs = [one.logprobs or () if gate.needs_logprobs else None for one in samples]
        if gate.needs_logprobs and any(one.logprobs is None and one.text for one in samples):
            return self._without_gate(decision)
        step = min(len(samples) - 1, gate.samples)
        texts = [one.text for one in samples[: step + 1]]
        if gate.scorer:
            signals = read_answers(gate.scorer, self.prompt_router.encoder, [prompt], [texts[:1]])[0, 0, 0]
        else:
            ids = meaning_clusters([prompt], [texts], entailment=self.entailment, rules=self.rules).ids[0]
            signals = read_signals(ids, logprobs[: step + 1])
        score = self._within_band(gate.steps[step], decision, signals)
        certain = gate.is_settled(step, score, decision.threshold)
        if not final and not certain:
            return replace(decision, wants_samples=1)
        beside = f" and {step} extra sample{'s' if step > 1 else ''}" if step else ""
        lacking = "" if certain else "; a further sample did not arrive, so the calibration is void"
        return replace(self._final_decision(decision, score, f"weak answer{beside} checked{lacking}"), void=not certain)

    def without_use(self, decision: Decision, problem: str) -> Decision:
        """The strong model's answer instead, since the client cannot use the weak model's; the score stays."""
        reason = f"{OF_NO_USE}: {problem}"
        return replace(decision, role="strong", model=self.prompt_router.strong, reason=reason, wants_samples=0)

    def check_head(self, decision: Decision, logprobs: Sequence[float]) -> Decision:
        """The second stage for a stream, from the draft's first tokens: pass it on or escalate, before anything is
        sent.
        """
        gate = self.serving_gate
        if gate is None or not decision.wants_samples:
            return replace(decision, wants_samples=0)
        if gate.head is None or not gate.checks_streams:
            why = "a stream: its first tokens are not informative enough, so the prompt decides"
            return self._final_decision(decision, decision.score, why)
        if not logprobs:
            return self._without_gate(decision)
        score = self._within_band(gate.head, decision, read_head(logprobs))
        return self._final_decision(decision, score, "first tokens of the weak answer checked")

    def _within_band(self, step: GateStep, decision: Decision, signals: FloatArray) -> float:
        assert self.gate is not None
        before = np.array(decision.score)
        return float(self.gate.confine(step.score(before, signals), before))

    def _without_gate(self, decision: Decision) -> Decision:
        warnings.warn(
            "the weak endpoint gives no log-probs, which the gate was learned with: prompts are routed by the router "
            "alone and the calibration is void; train again on samples of this endpoint",
            stacklevel=3,
        )
        why = "no log-probs: the gate is void, so is the calibration"
        return replace(self._final_decision(decision, decision.score, why), void=True)

    def _final_decision(self, decision: Decision, score: float, why: str) -> Decision:
        """The final decision at a score."""
        role: Role = "strong" if score >= decision.threshold else "weak"
        sign, shown = ">=" if role == "strong" else "<", apart(score, decision.threshold)
        basis = f"{decision.basis}; " if decision.basis else ""
        return replace(
            decision,
            role=role,
            model=self.prompt_router.strong if role == "strong" else self.prompt_router.weak,
            score=score,
            reason=f"score {shown[0]} {sign} threshold {shown[1]} ({basis}{why}){self.prompt_router.pair_note}",
            wants_samples=0,
        )

    @property
    def checks_streams(self) -> bool:
        """Are a stream's first tokens held back for `check_head`? Otherwise do not call `first_stage` for streams."""
        return self.serving_gate is not None and self.serving_gate.checks_streams

    @property
    def sentence(self) -> str:
        """What the gate is worth, as one sentence."""
        return self.gate.verdict.sentence if self.gate else self.about

    @property
    def lines(self) -> tuple[str, ...]:
        """`sentence`, streams, and groups where the weak model is better; `trials` has each number of extra samples."""
        return (
            self.sentence,
            *([self.about] if self.gate and self.about else []),
            *([self._streams] if self.gate else []),
            *(one.sentence for one in self.weaker),
        )

    @property
    def _streams(self) -> str:
        verdict = self.gate.head_verdict if self.gate else None
        if verdict is None:
            return "streams: routed by their prompts, since there are no log-probs"
        decides = f"the first {HEAD_TOKENS} tokens decide" if verdict.pays else "routed by their prompts"
        more = f"{100 * verdict.gain:+.2f} [{100 * verdict.low:+.2f}, {100 * verdict.high:+.2f}]"
        return f"streams: {decides}; first tokens gain {more} right answers per 100 prompts (believed)"

    def explain(self, prompt: str) -> Explanation:
        """A prompt's decision, the strong shares at which it changes, its expected cost, and similar training prompts.

        Raises InputError if ``prompt`` is not a text.
        """
        decision = self.route(prompt)
        chosen, other = decision.role, _OTHER.get(decision.role, "strong")
        costs = {role: self.prompt_router.cost(role) for role in {*_OTHER, chosen}}
        like = self.prompt_router.look_at([prompt]).like
        usd = {role: cost.usd_of_each([prompt], like)[0] if cost else None for role, cost in costs.items()}
        band, extra = self.checks or (0.0, 0)
        finals = self.training_finals
        shares = [float(np.mean(finals >= decision.score + way * band)) for way in (1, -1)]
        least, low, high, most = (share_of_all(share, *self.counted) for share in (0.0, *shares, 1.0))
        weak = usd["weak"]
        checked = weak * (1 + extra) if decision.wants_samples and weak is not None else None
        unused = "the calibration's promise holds for the router alone" if self.active else "the gate does not pay"
        stage = second_stage(self.serving_gate, decision, unused if self.gate else self.about)
        return Explanation(
            *(prompt, decision, (low, high), usd[chosen], usd[other], stage, checked),
            chance=scores_are_chances(self.prompt_router),
            reach=(least, most),
        )

    def answer(self, prompt: str, *, weak: Ask | None = None, strong: Ask | None = None) -> Answered:
        """Answer a prompt: by one model, or by the weak one first and, if the gate escalates, the strong one.

        ``weak`` and ``strong`` ask the models; without them the endpoints that the labels were sampled from are asked,
        with the same settings; a local model is started for this call. Raises InputError if ``prompt`` is not a text,
        EndpointError.
        """
        return run_to_end(self.aanswer(prompt, weak=weak, strong=strong))

    async def aanswer(self, prompt: str, *, weak: Ask | None = None, strong: Ask | None = None) -> Answered:
        """The async form of `answer`."""
        async with asking_the_pair(self.prompt_router) as own:
            return await self._answer(prompt, weak or own("weak"), strong or own("strong"), own)

    async def _answer(self, prompt: str, weak: Ask, strong: Ask, own: Callable[[Role], Ask]) -> Answered:
        decision = self.route(prompt)
        asked: list[tuple[Role, Sample]] = []
        if decision.role == "weak":
            drafts = [await weak(prompt, 0)]
            while (decision := self.check(decision, prompt, drafts)).wants_samples:
                drafts.append(await weak(prompt, len(drafts)))
            asked += [("weak", sample) for sample in drafts]
        if decision.role != "weak":
            ask = strong if decision.role == "strong" else own(decision.role)
            asked.append((decision.role, await ask(prompt, 0)))
        served = asked[0][1] if decision.role == "weak" else asked[-1][1]
        return Answered(prompt, decision, served.text.strip(), tuple(asked))

    def describe(self) -> dict[str, Any]:
        """A description as a JSON-like mapping."""
        return self.prompt_router.describe() | {"gate": self.lines, "trials": self.trials}

    def save(self, folder: str | Path) -> None:
        """Write the prompt router, and its gate as policy.json beside it. Raises ArtifactError."""
        self.prompt_router.save(folder)
        self.save_gate(Path(folder))

    def save_gate(self, folder: Path) -> None:
        """Write policy.json beside the prompt router saved there. Raises ArtifactError where none is."""
        saved = SavedGate(
            *(self.gate, self.active, self.rules, self.about),
            *(self.beliefs, self.rehearsal, self.trials, self.weaker),
        )
        write_gate(folder, saved)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        encoder: Encoder | None = None,
        entailment: Entailment | None = None,
        method: object | None = None,
        allow_endpoints: Sequence[str] = (),
        unknown: OnUnknown | None = None,
    ) -> Router:
        """Load a saved router with its gate, if it has one.

        ``encoder``, ``entailment`` and ``method`` (a classifier, fitted or not) only where it was made with objects of
        your own, which are not saved. ``allow_endpoints``: ``HOST[:PORT][#KEY_VARIABLE]`` that its prompts may go to,
        where it names one. ``unknown``: where unknown prompts go; None: where its training said. Raises
        ArtifactError for one that is corrupt, foreign, or does not fit.
        """
        folder = Path(folder)
        if unknown is not None and unknown not in get_args(OnUnknown):
            raise InputError(f"unknown is {unknown!r}; use {', '.join(get_args(OnUnknown))}")
        first = PromptRouter.load(folder, encoder=encoder, method=method, allow_endpoints=allow_endpoints)
        first = replace(first, gate_unused=False, on_unknown=unknown or first.on_unknown)
        saved = read_gate(folder)
        if saved is None:
            return cls(first)
        decides = entailment or _opened_at_first_use(first, folder)
        return cls(
            *(first, saved.gate, saved.active, decides, saved.rules, saved.about),
            *(saved.beliefs, saved.rehearsal, saved.trials, saved.weaker),
        )


def drafts_of(
    router: Router, prompts: Sequence[str], samples: Sequence[Sequence[Sample]], meanings: Clustering | None = None
) -> Drafts:
    """The weak model's samples of new prompts, as this router's gate reads them.

    ``meanings``: the same entailment and rules as the router's, where what they decided is kept.
    """
    assert router.gate is not None, "a router without a gate reads no drafts"
    texts = [[one.text for one in answers] for answers in samples]
    if router.gate.scorer:
        orders = draft_orders(samples)
        first = [[each[i] for i in order[:, 0]] for each, order in zip(texts, orders, strict=True)]
        return Drafts(orders, read_answers(router.gate.scorer, router.prompt_router.encoder, prompts, first), None)
    clusters = (meanings or Meanings(router.entailment, rules=router.rules))(prompts, texts)
    return read_drafts(clusters.ids, samples, router.gate.samples)


def _opened_at_first_use(router: PromptRouter, folder: Path) -> Entailment:
    """The entailment of the labels, opened when it is first used and kept open until the process ends."""
    spec = str(router.record.get("labels", {}).get("entailment", "exact"))
    if spec == "exact":
        return exact_match
    if router.endpoints is not None:
        spec = router.endpoints.spec(spec, folder)

    @cache
    def open_once() -> Entailment:
        stack = ExitStack()
        atexit.register(stack.close)
        return stack.enter_context(open_entailment(spec))

    return lambda pairs: open_once()(pairs)
