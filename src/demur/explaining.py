"""Why a prompt goes where it goes: score, threshold, what would flip it, what it costs, and what it is like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.policy import Policy
from demur.router import Decision, TrainingPrompt


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with what stands behind it."""

    prompt: str
    decision: Decision
    flips_at: float  # strong share (of prompts like the training ones) at which the decision turns
    usd: float | None  # expected, of the model that was chosen
    usd_other: float | None  # of the other one
    second_stage: str  # what the gate would do, or why there is none
    usd_checked: float | None = None  # of the draft and every extra sample, where the gate takes part

    @property
    def lines(self) -> tuple[str, ...]:
        """In plain words, a line each."""
        made = self.decision
        other = "weak" if made.role == "strong" else "strong"
        direction = "below" if made.role == "strong" else "above"
        money = "the cost is unknown" if self.usd is None else f"expected to cost ${self.usd:.6f}"
        checked = "" if self.usd_checked is None else f", at most ${self.usd_checked:.6f} for draft and extra samples"
        spared = "" if self.usd_other is None else f", ${self.usd_other:.6f} on the {other} one"
        near = [line for one in made.neighbours for line in _neighbour(one.similarity, one.training)]
        return (
            f"{made.role}: {made.model}, because {made.reason}",
            f"  it would go to the {other} model at a strong share {direction} {self.flips_at:.0%}",
            f"  second stage: {self.second_stage}",
            f"  {money}{spared}{checked}",
            "  like these training prompts:",
            *near,
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
    flips_at = float(np.mean(router.training_scores >= decision.score))
    checked = None
    if decision.wants_samples and policy.checks and usd["weak"] is not None:
        checked = usd["weak"] * (1 + policy.checks[1])
    return Explanation(prompt, decision, flips_at, usd[chosen], usd[other], _second_stage(policy, decision), checked)


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
