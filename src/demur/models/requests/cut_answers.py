"""Answers that ended at a limit of tokens (finish_reason "length"): how many, and whose limit it was.

The limit is the one that was asked for (max_tokens), or the endpoint's own, which a larger max_tokens does not change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from demur.records import Sample

CUT = "length"  # finish_reason of an answer that a limit of tokens ended
CUT_SHARE = 0.02  # of a model's answers: from here on it is said that they were cut
# Of max_tokens. A request's usage is shared among its answers by their characters, so that a count is not exact; the
# median of many is nearer than this. An endpoint's limit just below ours counts as ours: a larger one tells them apart.
REACHED = 0.75
LONGER = 4  # times the limit at which answers were cut
TRIED = 3  # prompts of which longer answers are asked for first


@dataclass(frozen=True, slots=True)
class CutAnswers:
    """A model's answers that a limit ended."""

    share: float  # of all its answers
    tokens: int  # of one of them, the median; 0 where the endpoint counts none

    def by_endpoint(self, max_tokens: int) -> bool:
        """Whether they ended clearly before the limit that was asked for; False where their tokens are unknown."""
        return 0 < self.tokens < REACHED * max_tokens


def cut_answers(samples: Iterable[Sample]) -> CutAnswers:
    """How many of a model's answers a limit ended, and how long these are."""
    count, cut = 0, list[int]()
    for one in samples:
        count += 1
        if one.finish_reason == CUT:
            cut.append(one.completion_tokens)
    known = [tokens for tokens in cut if tokens]
    return CutAnswers(len(cut) / max(count, 1), round(float(np.median(known))) if known else 0)


def endpoint_words(tokens: int) -> str:
    """What ended answers whose endpoint has a limit of its own, and that no setting of demur changes it."""
    return f"cut by the endpoint itself, at about {tokens:,} tokens; a larger --max-tokens changes nothing"


def limit_words(max_tokens: int, own: int) -> str:
    """What ended answers at ``max_tokens``, and that the endpoint was seen to cut them at a limit of its ``own``: the
    median of the few that were tried, so that single answers may be longer still."""
    longer = f"such answers are about {own / max_tokens - 1:.0%} longer when served, and " if own > max_tokens else ""
    return (
        f"cut at {max_tokens:,} tokens, and the endpoint itself cuts at about {own:,}: {longer}a larger --max-tokens "
        "changes nothing"
    )


def remedy_words(max_tokens: int) -> str:
    """How answers become longer that were cut at ``max_tokens``, and what that costs: the folder holds other ones."""
    again = f"sample with `--max-tokens {LONGER * max_tokens} --again`"
    return f"{again}, which asks {TRIED} prompts first and, if they become longer, pays for all answers again"
