"""What a headline calls prompts among which are those that a router was to learn from."""

from __future__ import annotations

from collections.abc import Sequence

from demur.routing.known.training_texts import training_texts
from demur.routing.prompt_router import PromptRouter

UNSEEN = "each scored by a router that had not seen it"  # by a fit on the others
TRAINING = f"training prompts, {UNSEEN}"  # all that a router was to learn from


def which_prompts(texts: Sequence[str], router: PromptRouter, *, graded: bool = False) -> str:
    """What prompts are, for `Headline.on`: those that trained the router are scored by fits without them."""
    learned = set(training_texts(router))
    among = sum(text in learned for text in texts)
    grades = " with their grades" if graded else ""
    if among == len(texts):
        return f"training prompts{grades}, {UNSEEN}"
    return f"prompts{grades}" + (f", {among:,} of them {TRAINING}" if among else "")
