"""A promise that is watched while it is served: "at most 5 % of better answers missed, 95 % confidence", at any time.

Every graded or judged prompt is a bet against "the risk is larger than promised". The wealth of such bets is a
supermartingale while that is true, so it reaches 1 / error with probability ``error`` at most, however often one looks
(Ville; Waudby-Smith and Ramdas 2023, section 4). The promise holds from then on. The opposite bet, begun anew at every
prompt and added up (a Shiryaev-Roberts e-detector), takes it back when losses come oftener than promised. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST_BET = 0.75  # of the wealth that one loss may take
TAKEN_BACK_AT = 10_000.0  # graded prompts, on average at least, until a promise that holds is taken back


@dataclass(slots=True)
class WatchedPromise:
    """Losses in [0, 1], mean at most ``risk``: is it shown, and has it been taken back since?"""

    risk: float
    error: float = 0.05  # 1 - confidence
    n: int = 0
    lost: float = 0.0  # sum of losses
    wealth: float = 1.0  # against "the mean loss is larger than risk"
    against: float = 0.0  # evidence that the mean loss is now larger
    in_force: bool = False
    taken_back: int = 0  # how often

    def add(self, loss: float) -> bool:
        """Take one graded prompt's loss (0: none, 1: a better answer was missed); True where the promise is in force.

        Bets are sized by the losses before this one alone.
        """
        self._bet(min(1.0, max(0.0, loss)))
        if self.in_force and self.against >= TAKEN_BACK_AT:
            self.in_force, self.wealth, self.against = False, 1.0, 0.0
            self.taken_back += 1
            self.n, self.lost = 0, 0.0
        elif not self.in_force and self.wealth >= 1 / self.error:
            self.in_force, self.against = True, 0.0
        return self.in_force

    def _bet(self, loss: float) -> None:
        mean = (self.risk / 2 + self.lost) / (1 + self.n)  # regularised towards half of what is promised
        variance = max(self.risk * (1 - self.risk), 1e-6)
        safe = min(max(0.0, self.risk - mean) / variance, MOST_BET / (1 - self.risk))
        self.wealth = min(self.wealth * (1 + safe * (self.risk - loss)), 1e300)
        worse = max(0.0, 2 * self.risk)  # the alternative that is looked for: twice the risk
        odds = loss * worse / self.risk + (1 - loss) * (1 - worse) / (1 - self.risk) if worse < 1 else loss / self.risk
        self.against = min((self.against + 1) * odds, 1e300)
        self.n, self.lost = self.n + 1, self.lost + loss

    @property
    def sentence(self) -> str:
        """The promise's state as one sentence."""
        seen = f"{self.lost:g} lost of {self.n} graded prompts"
        promised = f"at most {self.risk:.1%} of better answers missed, {1 - self.error:.0%} confidence"
        if self.in_force:
            return f"{promised}: in force ({seen})"
        since = f"; taken back so far: {self.taken_back}" if self.taken_back else ""
        more = math.log(1 / self.error) / -math.log1p(-self.risk)
        fewest = f"; at least {math.ceil(more)} graded prompts are needed" if self.n < more else ""
        return f"{promised}: not shown ({seen}{fewest}{since})"
