"""What a router's kept headline promises to save, beside what its gateway's ledger says was saved so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demur.config import runs_beside
from demur.config.named_run import USUAL
from demur.config.store_url import SCHEMES
from demur.errors import StoreError
from demur.evaluation.report.headline_record import FORECAST, MEASURED, HeadlineBlock
from demur.records import Fact
from demur.runs.lineage import headline_of, promises_of_run
from demur.serving_file import gateways_of

if TYPE_CHECKING:
    from demur.gateway.ledger.totals.saved_so_far import SavedSoFar


@dataclass(frozen=True, slots=True)
class Promise:
    """What a threshold is to save, and what it saved so far; both as fractions of always-strong's cost."""

    threshold: float
    saved: float
    basis: str  # such as "measured on 480 training prompts"
    so_far: SavedSoFar

    @property
    def line(self) -> str:
        """Both, for the ledger."""
        return (
            f"promised at threshold {self.threshold:.4f}: {self.saved:.0%} saved ({self.basis}); so far {self._so_far}"
        )

    @property
    def note(self) -> Fact:
        """What was saved so far, for the headline that holds the promise."""
        return "so far", f"{self._so_far}, at this threshold"

    @property
    def broken(self) -> bool:
        """Whether it lies outside the interval of what was saved, in the figures that are shown."""
        return abs(_percent(self.saved) - _percent(self.so_far.share)) > _percent(self.so_far.margin)

    @property
    def caution(self) -> str:
        """That it does, and what helps; empty where it does not."""
        if not self.broken:
            return ""
        word = "less" if self.so_far.share < self.saved else "more"
        return (
            f"The requests save {word} than promised: their prompts or answers are unlike the measured ones. Look at "
            "prompts of the ledger with `demur replay`; to learn from them, add some to the prompts of `demur sample`"
        )

    @property
    def _so_far(self) -> str:
        """A row of the ledger has an interval of its own, of what its very requests saved: this one is in words."""
        share, margin = _percent(self.so_far.share), _percent(self.so_far.margin)
        these = "this one" if self.so_far.requests == 1 else f"these {self.so_far.requests:,}"
        most = min(100, share + margin)  # nobody saves more than all
        least = share - margin if self.so_far.loses else max(0, share - margin)
        return f"{share}%, where others like {these} may save {least}% to {most}%"


def promise_of(ledger: str, folder: Path | None = None, *, since: float = 0.0) -> Promise | None:
    """The promise of the router of a run's folder, which is found if none is given, beside what the ledger says from a
    time on (seconds since 1970); None where no promise is kept, or no request was decided by its threshold.

    Raises StoreError.
    """
    found = [_promise_of_run(ledger, one, since) for one in ([folder] if folder else _runs_of(ledger))]
    promises = [one for one in found if one]
    return promises[0] if len(promises) == 1 else None  # two runs of one threshold: whose it is, nobody knows


def promises_by_threshold(ledger: str, *, since: float = 0.0) -> tuple[Promise, ...]:
    """The same of each threshold of those runs, also of earlier ones, by rising threshold."""
    made = defaultdict[float, list[tuple[float, list[Fact]]]](list)
    for folder in _runs_of(ledger):
        for threshold, promise in promises_of_run(folder).items():
            made[threshold].append(promise)
    found = [_promise(ledger, one, *each[0], since) for one, each in sorted(made.items()) if len(each) == 1]
    return tuple(one for one in found if one)


def _runs_of(ledger: str) -> Sequence[Path]:
    """The folder of a ledger where a run's router is in it; else those of the runs that are here, any of which may have
    a ledger elsewhere, such as in a database: the threshold of its requests tells whose it is."""
    own = None if ledger.startswith(SCHEMES) else Path(ledger).parent
    if own and (own / "router").is_dir():
        return [own]
    return [Path(USUAL), *map(Path, runs_beside(Path(USUAL)))]


def _promise_of_run(ledger: str, folder: Path, since: float) -> Promise | None:
    block = HeadlineBlock.from_record(headline_of(folder))
    if block is None or block.threshold is None or block.saved is None:
        return None
    return _promise(ledger, block.threshold, block.saved, block.notes, since)


def _promise(ledger: str, threshold: float, saved: float, notes: Sequence[Fact], since: float) -> Promise | None:
    from demur.gateway.ledger.totals.saved_so_far import saved_so_far

    found = saved_so_far(ledger, threshold, since=since)
    basis = next((f"{name} {fact.split(', ')[0]}" for name, fact in notes if name in (MEASURED, FORECAST)), "")
    return Promise(threshold, saved, basis, found) if found else None


def promises_beside(folder: Path) -> tuple[Promise, ...]:
    """The promise of a run's router beside each ledger of the gateways that serve it now, as it is saved."""
    found = []
    serving = [one.ledger for one in gateways_of(folder / "router") if one.ledger and not one.outdated]
    for ledger in dict.fromkeys(serving):
        with suppress(StoreError):  # nothing is written yet
            found.append(promise_of(ledger, folder))
    return tuple(one for one in found if one)


def promise_lines(promise: Promise | None, others: Sequence[Promise] = ()) -> tuple[str, ...]:
    """The promise and its caution, as the ledger says them, in their place among ``others``; none of no promise."""
    said = tuple(one.line for one in others or filter(None, [promise]))
    return (*said, *(f"- {one}" for one in [promise.caution] if one)) if promise else said


def _percent(share: float) -> int:
    return round(100 * share)
