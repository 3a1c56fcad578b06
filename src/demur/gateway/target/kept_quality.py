"""The threshold of a quality that is held: set as `demur calibrate --keep-quality` sets it, on the latest requests."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from demur.errors import InputError
from demur.gate.quality.believed_quality import believed_at, believed_of_learned, why_not_believed
from demur.gate.router import Router
from demur.measure.pace import WINDOW
from demur.measure.threshold import threshold_for_quality
from demur.records import FloatArray

SET_EVERY = 32  # requests between two settings of the threshold
BY_SCORE = math.nan  # a belief that the score of a new prompt tells

Row = tuple[float, float, float]  # of a prompt: its score, the belief in the weak and in the strong model's answer


@dataclass(slots=True)
class KeptQuality:
    """The highest threshold that keeps a fraction of the strong model's quality, as believed without labels.

    It begins with all prompts that the router was to learn from. The constructor raises InputError where their samples
    tell too little.
    """

    router: Router
    keep: float  # fraction of the strong model's quality
    threshold: float = field(init=False)
    _rows: deque[Row] = field(init=False)
    _seen: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if why := why_not_believed(self.router):
            raise InputError(
                f'quality cannot be estimated: {why}; hold another target, such as a share ("30%") or USD ("5 USD/day")'
            )
        learned = np.stack(believed_of_learned(self.router), axis=1)
        self.threshold = self.router.threshold
        self.threshold = self._threshold_on(learned)
        mixed = np.random.default_rng(0).permutation(learned)  # they are not in a random order
        self._rows = deque(map(tuple, mixed[:WINDOW].tolist()), maxlen=WINDOW)

    def see(self, score: float, *, unknown: bool) -> None:
        """Take a request's prompt. Of an ``unknown`` one neither model's answer is believed, as in calibration."""
        belief = 0.0 if unknown else BY_SCORE
        self._rows.append((score, belief, belief))
        self._seen += 1
        if self._seen % SET_EVERY == 0:
            self.threshold = self._threshold_on(np.array(self._rows))

    def _threshold_on(self, rows: FloatArray) -> float:
        """By rows of `Row`, (n, 3); the one before where nothing is believed of any."""
        scores, weak, strong = rows.T.copy()
        new = np.isnan(weak)
        weak[new], strong[new] = believed_at(self.router, scores[new])
        if not strong.any():
            return self.threshold
        finals = self.router.expected_scores(scores, self.router.serving_gate).final
        return threshold_for_quality(finals, weak, strong, self.keep, on="the latest prompts").threshold
