"""Why a prompt goes where it goes: score, threshold, what would flip it, what it costs, and what it is like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demur.router import Decision, Router, TrainingPrompt


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with what stands behind it."""

    prompt: str
    decision: Decision
    flips_at: float  # strong share (of prompts like the training ones) at which the decision turns
    usd: float | None  # expected, of the model that was chosen
    usd_other: float | None  # of the other one

    @property
    def lines(self) -> tuple[str, ...]:
        """In plain words, a line each."""
        made = self.decision
        other = "weak" if made.role == "strong" else "strong"
        direction = "below" if made.role == "strong" else "above"
        money = "the cost is unknown" if self.usd is None else f"expected to cost ${self.usd:.6f}"
        spared = "" if self.usd_other is None else f", ${self.usd_other:.6f} on the {other} one"
        near = [line for one in made.neighbours for line in _neighbour(one.similarity, one.training)]
        return (
            f"{made.role}: {made.model}, because {made.reason}",
            f"  it would go to the {other} model at a strong share {direction} {self.flips_at:.0%}",
            f"  {money}{spared}",
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
    return explanation(Router.load(Path(router)), prompt)


def explanation(router: Router, prompt: str) -> Explanation:
    """The same for a router that is loaded."""
    decision = router.route(prompt)
    other, chosen = ("weak", "strong") if decision.role == "strong" else ("strong", "weak")
    costs = {role: router.cost(role) for role in ("weak", "strong")}
    usd = {role: cost.usd(prompt) if cost else None for role, cost in costs.items()}
    flips_at = float(np.mean(router.training_scores >= decision.score))
    return Explanation(prompt, decision, flips_at, usd[chosen], usd[other])
