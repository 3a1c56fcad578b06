"""Outages that processes tell each other: which models others begin and cease to find down."""

from __future__ import annotations

from collections.abc import Mapping

from demur.gateway.upstreams.breaker import Breaker


class Outages:
    """The breakers of this process, by a name of each model that all processes share."""

    def __init__(self, breakers: Mapping[str, Breaker]) -> None:
        self._breakers = breakers
        self._reported: Mapping[str, frozenset[str]] = {}

    @property
    def found(self) -> list[str]:
        """Models that this process has found down itself."""
        return sorted(name for name, breaker in self._breakers.items() if breaker.found_down)

    def apply_reports(self, others: Mapping[str, frozenset[str]]) -> None:
        """Take what every other process finds down now; only what has changed since the last time counts."""
        before, self._reported = self._reported, dict(others)
        for process, down in others.items():
            known = before.get(process, frozenset())
            for model in (down ^ known) & self._breakers.keys():
                breaker = self._breakers[model]
                breaker.report_down() if model in down else breaker.report_up()
