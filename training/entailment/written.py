"""Pairs of short answers that the project writes by rule, for the kinds that found data hardly hold.

Each generator draws (question, a, b, relation) from templates and wide word lists: ``same``, ``different``, or
``forward`` (a entails b, but not the reverse). None of the questions or pairs of the held-out hard set is among them
(`sources.py` drops what overlaps).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import phrases
import quantities
from drawn import Drawn


@dataclass(frozen=True, slots=True)
class Written:
    """Two answers to a question ("" for none) and how their meanings relate."""

    kind: str
    question: str
    a: str
    b: str
    relation: str  # "same", "different" (either way), "forward" (a entails b only)


GENERATORS: dict[str, tuple[Callable[[random.Random], Drawn], float]] = {  # kind -> generator, share
    "number_words": (quantities.number_words, 0.8),
    "large_numbers": (quantities.large_numbers, 0.4),
    "ordinals": (quantities.ordinals, 0.4),
    "counts": (quantities.counts, 1.2),
    "dates": (quantities.dates, 1.2),
    "parts_of_dates": (quantities.parts_of_dates, 1.2),
    "units": (quantities.units, 2.2),
    "negations": (phrases.negations, 2.5),
    "antonyms": (phrases.antonyms, 1.5),
    "roles": (phrases.roles, 3.0),
    "comparisons": (phrases.comparisons, 1.2),
    "kinship": (phrases.kinship, 0.5),
    "names": (phrases.names, 2.0),
    "rulers": (phrases.rulers, 0.4),
    "acronyms": (phrases.acronyms, 0.7),
    "subsets": (phrases.subsets, 2.0),
    "details": (phrases.details, 0.8),
    "added_details": (phrases.added_details, 1.2),
    "places": (phrases.places, 0.6),
    "located": (phrases.located, 0.3),
    "yes_no": (phrases.yes_no, 2.2),
    "paraphrases": (phrases.paraphrases, 1.3),
}


def written(seed: int, n: int) -> Iterator[Written]:
    """n pairs, the kinds in their shares."""
    draw = random.Random(seed)
    kinds, shares = list(GENERATORS), [share for _, share in GENERATORS.values()]
    for kind in draw.choices(kinds, shares, k=n):
        question, a, b, relation = GENERATORS[kind][0](draw)
        if a and b and a != b:
            yield Written(kind, question, a, b, relation)
