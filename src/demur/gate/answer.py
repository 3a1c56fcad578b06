"""A prompt answered by a policy: the draft, extra samples where they are wanted, the strong model where it goes on.

It asks through two callables and knows neither endpoints nor files; the gateway does the same for a client's requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from demur.gate.policy import Policy
from demur.records import Role, Sample
from demur.routing.router import Decision

Ask = Callable[[str, int], Awaitable[Sample]]  # (prompt, index) -> the model's sample of that index


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and how it came about."""

    prompt: str
    decision: Decision  # the last word
    answer: str
    asked: tuple[tuple[Role, Sample], ...]  # in this order; the answer is the last strong one, or the weak draft

    @property
    def path(self) -> str:
        """The stages in plain words."""
        weak = [sample for role, sample in self.asked if role == "weak"]
        if self.decision.stage == "prompt":
            return "the prompt alone"
        extra = len(weak) - 1
        beside = f" and {extra} extra sample{'s' if extra > 1 else ''}" if extra else ""
        kept = "kept" if self.decision.role == "weak" else "dropped, the strong model asked"
        return f"its draft: {weak[0].text.strip()!r}{beside} checked, {kept}"


async def answer(policy: Policy, prompt: str, *, weak: Ask, strong: Ask) -> Answered:
    """Answer one prompt. Raises InputError for an empty prompt, and whatever the models raise."""
    decision = policy.decide(prompt)
    asked: list[tuple[Role, Sample]] = []
    if decision.role == "weak":
        drafts = [await weak(prompt, 0)]
        while decision.wants_samples:
            decision = policy.check(decision, prompt, drafts)
            if decision.wants_samples:
                drafts.append(await weak(prompt, len(drafts)))
        asked += [("weak", sample) for sample in drafts]
    if decision.role == "strong":
        asked.append(("strong", await strong(prompt, 0)))
    served = asked[-1][1] if decision.role == "strong" else asked[0][1]
    return Answered(prompt, decision, served.text.strip(), tuple(asked))
