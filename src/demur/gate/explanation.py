"""Explains a decision: score, threshold, the strong shares at which it changes, costs, and similar training prompts."""

from __future__ import annotations

from dataclasses import dataclass

from demur.records import dollars, on_one_line
from demur.routing.prompt_router import Decision, TrainingPrompt

SCALE = "target: 0, the weak model is enough, to 1, the strong one is needed; .5, neither is better"
TARGETS = (
    "A target is what the samples of that one prompt showed: 0, the weak model is enough; 0.5, neither is better; 1, "
    "the strong one is needed."
)
CHANCE = (
    "The score is learned from all training prompts and is a chance: that the strong model is right and the weak one "
    "wrong. So it is near 0, not 0.5, where neither is better."
)
SMOOTHED = "The score is on the same scale, learned from all training prompts."


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and the reasons for it."""

    prompt: str
    decision: Decision
    flips: tuple[float, float]  # weak below the first strong share, strong above the second; the draft in between
    usd: float | None  # expected, of the model that was chosen
    usd_other: float | None  # of the other one
    second_stage: str  # what the gate would do, or why there is none
    usd_checked: float | None = None  # of the draft and every extra sample, where the gate takes part
    chance: bool = False  # the score is P(strong right and weak wrong); else it is on the scale of the targets

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        made = self.decision
        near = [line for one in made.neighbours for line in _neighbour(one.similarity, one.training)]
        return (
            f"{made.role}: {made.model}, because {made.reason}",
            f"  {self.turns}",
            f"  second stage: {self.second_stage}",
            f"  {self._money}",
            "  the most similar training prompts, each after its cosine:",
            *near,
            *([f"  {self.scales}"] if near else []),
        )

    @property
    def scales(self) -> str:
        """What a target and the score are, and why they differ."""
        return f"{TARGETS} {CHANCE if self.chance else SMOOTHED}"

    @property
    def turns(self) -> str:
        """The strong shares at which another model would answer."""
        if self.decision.stage == "unknown":
            return "the strong share does not matter: only the setting `unknown` decides where it goes"
        low, high = self.flips
        if low < high:
            return (
                f"at a strong share below {_percent(low)} the weak model answers, above {_percent(high)} the strong "
                "one, unchecked; in between the gate decides on the weak model's answer"
            )
        if high == 0:
            return "its score is above every training prompt's: the strong model answers at any strong share but 0"
        if high == 1:
            return "its score is below every training prompt's: the weak model answers at any strong share but 100%"
        other, side = ("weak", "below") if self.decision.role == "strong" else ("strong", "above")
        return f"it would go to the {other} model at a strong share {side} {_percent(high)}"

    @property
    def _money(self) -> str:
        other = "weak" if self.decision.role == "strong" else "strong"
        if self.usd is None or self.usd_other is None:
            known = [(self.usd, "this model"), (self.usd_other, f"the {other} one")]
            told = [f"{dollars(amount)} on {where}" for amount, where in known if amount is not None]
            return f"expected to cost {told[0]}; the other price is unknown" if told else "the cost is unknown"
        if self.usd_checked is None:
            return f"expected to cost {dollars(self.usd)}, {dollars(self.usd_other)} on the {other} one"
        return (
            f"expected to cost {dollars(self.usd)} if the weak answer is kept at once, at most "
            f"{dollars(self.usd_checked)} with extra samples and {dollars(self.usd_checked + self.usd_other)} if the "
            f"strong model answers instead; {dollars(self.usd_other)} on the strong one alone"
        )


def _percent(share: float) -> str:
    """With a decimal where the whole number would be 0 or 100."""
    return f"{share:.1%}" if min(share, 1 - share) < 0.01 else f"{share:.0%}"


def _neighbour(similarity: float, training: TrainingPrompt) -> tuple[str, ...]:
    def side(name: str, answer: str, entropy: float | None) -> str:
        nats = "unknown" if entropy is None else f"{entropy:.2f} nats"
        return f"        {name:<6} said {on_one_line(answer, 80)!r}, semantic entropy {nats}"

    return (
        f"    {similarity:.2f}  {on_one_line(training.prompt, 80)}   (target {training.target:.2f})",
        side("weak", training.weak_answer, training.weak_entropy),
        side("strong", training.strong_answer, training.strong_entropy),
    )
