"""How many requests are still to come in a day, by the hours of the day before or by the rate so far. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HOUR, DAY = 3600.0, 24
LEAST_SECONDS = 60.0  # over which a rate is taken
MOST_GROWTH = 4.0  # of today over yesterday


@dataclass(slots=True)
class Arrivals:
    """Requests by hour (UTC). ``sharers``: processes that share the traffic evenly, of which one counts here."""

    sharers: int = 1
    counts: dict[int, float] = field(default_factory=dict)  # hour since 1970 -> requests
    first: float = 0.0  # seconds since 1970

    def learn(self, by_hour: Mapping[int, float]) -> None:
        """Take over the requests of earlier hours, of all processes together."""
        for hour, count in sorted(by_hour.items()):
            if count:
                self.first = min(self.first or hour * HOUR, hour * HOUR)
                self.counts[hour] = max(count, self.counts.get(hour, 0.0))

    def add(self, at: float) -> None:
        """Count a request."""
        hour = int(at // HOUR)
        self.first = min(self.first or at, at)
        self.counts[hour] = self.counts.get(hour, 0.0) + self.sharers
        if len(self.counts) > 2 * DAY:
            del self.counts[min(self.counts)]

    def expected_requests(self, now: float, seconds: float) -> float:
        """Requests that are expected in the next ``seconds``, of this day."""
        hour = int(now // HOUR)
        if self.first > now - DAY * HOUR:  # not a whole day is known
            known = sum(self.counts.values())
            return known / max(LEAST_SECONDS, now - self.first) * seconds
        coming = range(hour + 1, hour + 1 + round((seconds - self._seconds_left(now)) / HOUR))
        yesterday = sum(self.counts.get(one - DAY, 0.0) for one in coming)
        yesterday += self.counts.get(hour - DAY, 0.0) * self._seconds_left(now) / HOUR
        return yesterday * self._growth(hour)

    def _growth(self, hour: int) -> float:
        """This day's hours that have ended over the same hours of the day before."""
        ended = range(hour // DAY * DAY, hour)
        today, before = (sum(self.counts.get(one - back, 0.0) for one in ended) for back in (0, DAY))
        return min(MOST_GROWTH, max(1 / MOST_GROWTH, today / before)) if today and before else 1.0

    @staticmethod
    def _seconds_left(now: float) -> float:
        """Seconds that are left of an hour."""
        return HOUR - now % HOUR
