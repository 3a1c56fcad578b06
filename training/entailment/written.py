"""Pairs of short answers that the project writes by rule, for the kinds that found data hardly hold.

Each generator draws (question, a, b, relation) from templates and wide word lists: ``same``, ``different``, or
``forward`` (a entails b, but not the reverse). None of the questions or pairs of the held-out hard set is among them
(`sources.py` drops what overlaps).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import measures
import phrases
import quantities
import wordings
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
    "number_words": (quantities.number_words, 2.0),
    "counted_words": (quantities.counted_words, 2.0),
    "temperatures": (quantities.temperatures, 0.6),
    "large_numbers": (quantities.large_numbers, 1.2),
    "ordinals": (quantities.ordinals, 0.2),
    "counts": (quantities.counts, 1.0),
    "dates": (quantities.dates, 0.8),
    "parts_of_dates": (quantities.parts_of_dates, 0.8),
    "units": (quantities.units, 3.5),
    "negations": (phrases.negations, 1.2),
    "antonyms": (phrases.antonyms, 0.8),
    "roles": (phrases.roles, 4.5),
    "routes": (phrases.routes, 3.0),
    "comparisons": (phrases.comparisons, 1.2),
    "kinship": (phrases.kinship, 0.5),
    "names": (phrases.names, 3.5),
    "rulers": (phrases.rulers, 0.4),
    "acronyms": (phrases.acronyms, 1.0),
    "subsets": (phrases.subsets, 3.0),
    "details": (phrases.details, 0.4),
    "added_details": (phrases.added_details, 1.0),
    "places": (phrases.places, 0.6),
    "located": (phrases.located, 0.3),
    "near_misses": (phrases.near_misses, 2.0),
    "yes_no": (phrases.yes_no, 1.0),
    "paraphrases": (phrases.paraphrases, 2.0),
    "clock": (measures.clock, 2.5),
    "money": (measures.money, 3.0),
    "fractions": (measures.fractions, 2.0),
    "conversions": (measures.conversions, 2.0),
    "scales": (measures.scales, 2.5),
    "romans": (measures.romans, 1.0),
    "ratios": (measures.ratios, 1.0),
    "signs": (measures.signs, 0.8),
    "limits": (measures.limits, 1.5),
    "frequencies": (measures.frequencies, 0.8),
    "works": (wordings.works, 1.8),
    "converses": (wordings.converses, 2.5),
    "sayings": (wordings.sayings, 2.0),
    "named": (wordings.named, 1.8),
    "short_sentences": (wordings.short_sentences, 1.0),
}


def written(seed: int, n: int) -> Iterator[Written]:
    """n pairs, the kinds in their shares."""
    draw = random.Random(seed)
    kinds, shares = list(GENERATORS), [share for _, share in GENERATORS.values()]
    for kind in draw.choices(kinds, shares, k=n):
        question, a, b, relation = GENERATORS[kind][0](draw)
        if a and b and a != b:
            yield Written(kind, question, a, b, relation)
