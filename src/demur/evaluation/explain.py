"""Why a prompt goes where it goes: score, threshold, what would flip it, what it costs, and what it is like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.gate.policy import Policy
from demur.routing.router import Decision, TrainingPrompt


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with what stands behind it."""

    prompt: str
    decision: Decision
    flips: tuple[float, float]  # weak below the first strong share, strong above the second; the draft in between
    usd: float | None  # expected, of the model that was chosen
    usd_other: float | None  # of the other one
    second_stage: str  # what the gate would do, or why there is none
    usd_checked: float | None = None  # of the draft and every extra sample, where the gate takes part

    @property
    def lines(self) -> tuple[str, ...]:
        """In plain words, a line each."""
        made = self.decision
        near = [line for one in made.neighbours for line in _neighbour(one.similarity, one.training)]
        return (
            f"{made.role}: {made.model}, because {made.reason}",
            f"  {self._turns}",
            f"  second stage: {self.second_stage}",
            f"  {self._money}",
            "  like these training prompts:",
            *near,
        )

    @property
    def _turns(self) -> str:
        low, high = self.flips
        if low < high:
            return (
                f"at a strong share below {low:.0%} the weak model answers, above {high:.0%} the strong one, "
                "unchecked; in between the weak model's answer decides"
            )
        other, side = ("weak", "below") if self.decision.role == "strong" else ("strong", "above")
        return f"it would go to the {other} model at a strong share {side} {high:.0%}"

    @property
    def _money(self) -> str:
        if self.usd is None or self.usd_other is None:
            return "the cost is unknown"
        if self.usd_checked is None:
            other = "weak" if self.decision.role == "strong" else "strong"
            return f"expected to cost ${self.usd:.6f}, ${self.usd_other:.6f} on the {other} one"
        return (
            f"expected to cost ${self.usd:.6f} where the draft stands at once, at most ${self.usd_checked:.6f} with "
            f"extra samples and ${self.usd_checked + self.usd_other:.6f} where it goes on; ${self.usd_other:.6f} on "
            "the strong one alone"
        )


def _neighbour(similarity: float, training: TrainingPrompt) -> tuple[str, ...]:
    def side(name: str, answer: str, entropy: float | None) -> str:
        nats = "unknown" if entropy is None else f"{entropy:.2f} nats"
        return f"        {name:<6} said {_short(answer)!r}, SE {nats}"

    return (
        f"    {similarity:.2f}  {_short(training.prompt)}   (target {training.target:.2f})",
        side("weak", training.weak_answer, training.weak_entropy),
        side("strong", training.strong_answer, training.strong_entropy),
    )


def _short(text: str, length: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def explain(prompt: str, *, router: str = "run/router") -> Explanation:
    """Explain where a saved router sends a prompt. Raises InputError for an empty prompt, ArtifactError."""
    return explanation(Policy.load(router), prompt)


def explanation(policy: Policy, prompt: str) -> Explanation:
    """The same for a policy that is loaded."""
    router, decision = policy.router, policy.decide(prompt)
    other, chosen = ("weak", "strong") if decision.role == "strong" else ("strong", "weak")
    costs = {role: router.cost(role) for role in ("weak", "strong")}
    usd = {role: cost.usd(prompt) if cost else None for role, cost in costs.items()}
    band = policy.checks[0] if policy.checks else 0.0
    low, high = (float(np.mean(policy.training_finals >= decision.score + way * band)) for way in (1, -1))
    checked = None
    if decision.wants_samples and policy.checks and usd["weak"] is not None:
        checked = usd["weak"] * (1 + policy.checks[1])
    return Explanation(prompt, decision, (low, high), usd[chosen], usd[other], _second_stage(policy, decision), checked)


def _second_stage(policy: Policy, decision: Decision) -> str:
    """What the gate does for a decision of the first stage."""
    gate = policy.serving_gate
    if gate is None:
        promised = " (the calibration's promise holds for the router alone)" if policy.active else ""
        return f"none, {policy.sentence}{promised}"
    if decision.wants_samples:
        return (
            f"the weak model's answer and at most {gate.samples} extra samples are looked at; it goes on to the strong "
            f"model where they lift the score, by at most {gate.band:.3f}, over the threshold"
        )
    return f"not asked, the score is further than {gate.band:.3f} from the threshold"
