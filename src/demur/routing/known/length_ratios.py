"""How long the strong model's answers are beside the weak one's, for the prompts that a threshold leaves to the latter.

What is saved by a request of the weak model is counted by that. The ratio over all prompts counts texts, which stay
with the strong model, as much as the short answers that stay local: on questions among instructions it made a saving of
5 % into 22 % (benchmarks/saving_forecast.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from demur.models.prices import LengthRatio, length_ratio, length_sums, ratio_of
from demur.records import FloatArray

KEY = "length_ratios"  # in a router's record
OF_ALL = "answer_lengths"  # there: that of all its prompts
PARTS = 20  # of the prompts that go by their score
FEWEST = 20  # prompts: the ratio of fewer is too uncertain


def length_ratios(
    scores: FloatArray, weak: Sequence[Sequence[float]], strong: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """A part of a router's record: the ratio of all prompts, and of those with the lowest scores, a twentieth of them
    more each time.

    ``scores`` (n,): held out, inf of those that do not go by their score; ``weak``, ``strong``: tokens of each prompt's
    sampled answers.
    """
    order = np.argsort(scores, kind="stable")[: np.isfinite(scores).sum()]
    sums = np.cumsum([length_sums(weak[i], strong[i]) for i in order], axis=0)
    ends = [round(part * len(order) / PARTS) for part in range(1, PARTS + 1)]
    found = [(float(scores[order[end - 1]]), ratio_of(sums[end - 1].tolist())) for end in ends if end >= FEWEST]
    of_all = length_ratio(weak, strong)
    parts = [{"score": score} | asdict(ratio) for score, ratio in found if ratio]
    return {OF_ALL: asdict(of_all) if of_all else None, KEY: parts}


def length_ratio_at(record: Mapping[str, Any], threshold: float | None) -> LengthRatio | None:
    """The ratio of the prompts that this threshold leaves to the weak model; of all prompts where none decided, or the
    router was saved before these were kept. None where nothing was learned of lengths.

    Of a part that ends above the threshold nothing is taken: the long answers of a few prompts would decide it.
    """
    known: Sequence[Mapping[str, Any]] = record.get(KEY, ()) if threshold is not None else ()
    below = [one for one in known if one["score"] < (threshold or 0.0)] or known[:1]
    found = below[-1] if below else record.get(OF_ALL)
    return LengthRatio(**{name: value for name, value in found.items() if name != "score"}) if found else None
