"""Explains a decision: score, threshold, the strong shares at which it changes, costs, and similar training prompts."""

from __future__ import annotations

from dataclasses import dataclass

from demur.gate.gate import Gate
from demur.labels.targets import need_in_words
from demur.records import Fact, count_of, dollars, fact_lines, on_one_line
from demur.routing.decision import UnknownNeighbour
from demur.routing.prompt_router import Decision, PromptRouter, TrainingPrompt

TARGET = "target: what a training prompt's label says, from 0 (small model better) over 0.5 to 1 (large one better)"
CHANCE = "score: the chance that the large model is right and the small one wrong; near 0 where neither is better"
SMOOTHED = "score: on the scale of the targets, learned from all training prompts"
ENTROPY = "nats: the semantic entropy of a model's samples, 0 where all mean the same, log n where all n differ"
WIDTH = 100  # of a text in a line


def scores_are_chances(router: PromptRouter) -> bool:
    """Whether a router's scores are P(strong right and weak wrong); else they are on the scale of the targets."""
    return router.curve is not None


def scales(*, chance: bool) -> tuple[str, str]:
    """What a score and a target are, which are not on one scale where the score is a ``chance``."""
    return (CHANCE if chance else SMOOTHED, TARGET)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and the reasons for it."""

    prompt: str
    decision: Decision
    # Weak below the first strong share, strong above the second, the draft in between; of all prompts like those that
    # the router was to learn from, as `demur calibrate` counts them.
    flips: tuple[float, float]
    usd: float | None  # expected, of the model that was chosen
    usd_other: float | None  # of the other one
    second_stage: str  # what the gate would do, or why there is none
    usd_checked: float | None = None  # of the draft and every extra sample, where the gate takes part
    chance: bool = False  # the score is P(strong right and weak wrong); else it is on the scale of the targets
    reach: tuple[float, float] = (0.0, 1.0)  # the least and the largest strong share that a threshold gives

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        return (f"{self.decision.role}: {self.decision.model}", *fact_lines(self._facts), *self.near_lines)

    @property
    def near_lines(self) -> tuple[str, ...]:
        """The training prompts that are most like it, and what their figures mean; none where they were not looked
        for."""
        made = self.decision
        near = [line for one in made.neighbours for line in _neighbour(one.similarity, one.training)]
        if made.unknown_neighbour:
            near = [*_unknown_lines(made.unknown_neighbour), *near]
        own = " (it is one: `demur report` may score it otherwise)" if self._is_learned else ""
        return (
            *(["", f"the most similar training prompts, each after its cosine{own}:", *near] if near else []),
            *(["", *self.glossary] if made.neighbours else []),
        )

    @property
    def _is_learned(self) -> bool:
        """Whether the prompt is itself a training prompt, which the report scores by a fit without it."""
        return any(one.prompt == self.prompt for one in self.decision.neighbours)

    @property
    def _facts(self) -> list[Fact]:
        """Why it goes where it goes, what would change that, and what it costs."""
        named = {
            "why": self.decision.reason.split("; "),
            "turns": self.turns.split("; "),
            "cost": self._money,
            "gate": self.second_stage.split("; "),
        }
        return [("" if i else name, fact) for name, facts in named.items() for i, fact in enumerate(facts)]

    @property
    def glossary(self) -> tuple[str, ...]:
        """What the score, the targets and the entropies are."""
        return (*scales(chance=self.chance), ENTROPY)

    @property
    def turns(self) -> str:
        """The strong shares at which another model would answer."""
        if self.decision.stage == "unknown":
            return "the strong share does not matter: only the setting `unknown` decides where it goes"
        low, high = self.flips
        least, most = self.reach
        if low < high:
            return (
                f"at a strong share below {_percent(low)} the weak model answers, above {_percent(high)} the strong "
                f"one, unchecked; in between the gate decides on the weak model's answer{self._unreached}"
            )
        if high == least:
            but = f"any strong share{self._unreached}" if least else "any strong share but 0"
            return f"its score is above every training prompt's: the strong model answers at {but}"
        if high == most:
            but = f"any strong share{self._unreached}" if most < 1 else "any strong share but 100%"
            return f"its score is below every training prompt's: the weak model answers at {but}"
        other, side = ("weak", "below") if self.decision.role == "strong" else ("strong", "above")
        return f"it would go to the {other} model at a strong share {side} {_percent(high)}{self._unreached}"

    @property
    def _unreached(self) -> str:
        """The strong shares that no threshold gives; empty where one gives each."""
        least, most = self.reach
        if least > 0:
            return f"; no threshold gives one below {_percent(least)}, because unknown prompts go to the strong model"
        if most < 1:
            return f"; no threshold gives one above {_percent(most)}, because unknown prompts go to the weak model"
        return ""

    @property
    def _money(self) -> tuple[str, ...]:
        other = "weak" if self.decision.role == "strong" else "strong"
        if self.usd is None or self.usd_other is None:
            known = [(self.usd, "this model"), (self.usd_other, f"the {other} one")]
            told = [f"{dollars(amount)} expected on {where}" for amount, where in known if amount is not None]
            return (told[0], "the other price is unknown") if told else ("unknown",)
        if self.usd_checked is None:
            return (f"{dollars(self.usd)} expected on this model, {dollars(self.usd_other)} on the {other} one",)
        return (
            f"{dollars(self.usd)} expected if the weak answer is kept at once",
            f"at most {dollars(self.usd_checked)} with extra samples",
            f"{dollars(self.usd_checked + self.usd_other)} if the strong model answers instead",
            f"{dollars(self.usd_other)} on the strong one alone",
        )


def second_stage(gate: Gate | None, decision: Decision, without: str) -> str:
    """What the gate that serves does for a decision of the first stage; ``without``: why there is none."""
    if gate is None:
        return f"none ({without})"
    if decision.stage == "unknown":
        return "not asked, the setting `unknown` decides"
    if decision.wants_samples and gate.scorer:
        return "a cascade: the weak model answers first, and the words of its answer decide"
    if decision.wants_samples:
        above = decision.score >= decision.threshold
        moves = (
            "stays with the weak model only where they lower"
            if above
            else "goes on to the strong model where they lift"
        )
        side = "below" if above else "over"
        return (
            f"the weak model's answer and at most {count_of(gate.samples, 'extra sample')} are looked at; it {moves} "
            f"the score, by at most {gate.band:.3f}, {side} the threshold"
        )
    return f"not asked, the score is further than {gate.band:.3f} from the threshold"


def _percent(share: float) -> str:
    """With a decimal where the whole number would be 0 or 100."""
    return f"{share:.1%}" if min(share, 1 - share) < 0.01 else f"{share:.0%}"


def _unknown_lines(one: UnknownNeighbour) -> tuple[str, ...]:
    return f"  {one.similarity:.2f}  {on_one_line(one.prompt, WIDTH)}", f"        {one.about}"


def _neighbour(similarity: float, training: TrainingPrompt) -> tuple[str, ...]:
    def side(name: str, answer: str, entropy: float | None) -> str:
        nats = "no entropy" if entropy is None else f"{entropy:.2f} nats"
        return f"        {name:<6} {nats:<10} {on_one_line(answer, WIDTH - 20)!r}"

    return (
        f"  {similarity:.2f}  {on_one_line(training.prompt, WIDTH)}",
        f"        showed: {need_in_words(training.target)} (target {training.target:.2f})",
        side("weak", training.weak_answer, training.weak_entropy),
        side("strong", training.strong_answer, training.strong_entropy),
    )
