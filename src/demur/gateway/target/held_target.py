"""A target that the gateway holds while requests arrive: a share, USD per day, a latency, or a quality.

It sets the router's threshold anew as the traffic changes (`demur.measure.pace`). USD are counted in one account that
all workers share: what a request may cost at most is reserved before a model is asked, so the budget is not passed.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from demur.errors import InputError
from demur.gate.router import Router
from demur.gateway.clients.accounts import Accounts
from demur.gateway.clients.budgets import TAPER, WARN, BudgetUse, Spent, seconds_left, start_of
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.settings import GatewaySettings
from demur.gateway.target.arrivals import Arrivals
from demur.gateway.target.kept_quality import SET_EVERY, KeptQuality
from demur.gateway.target.request_costs import RequestCosts
from demur.measure.pace import WINDOW, Pace
from demur.measure.threshold import share_of_all
from demur.records import FloatArray, dollars

ACCOUNT = "\ttarget"  # no client's key has this name: it cannot be printed
FORMS = '"30%" (of calls to the strong model), "5 USD/day", "p95 2 s", "quality 95%"'
PER_CENT = re.compile(r"(quality )?(\d+(?:\.\d+)?) ?%")
PER_DAY = re.compile(r"(\d+(?:\.\d+)?) ?USD/day")
LATENCY = re.compile(r"p(\d\d(?:\.\d+)?) (\d+(?:\.\d+)?) ?s")
PRICED_SECONDS = 60.0  # between two settings of a dollar's price, however few requests arrive
LATEST = 256  # answers of a model whose seconds count
STALE_SECONDS = 600.0  # older ones do not: a model that was slow is tried again
ABOVE_ALL = math.nextafter(1.0, math.inf)  # a threshold that no score reaches
# What a request that goes to one model whatever its score is worth, in place of the score: no threshold changes that.
SETTLED = {"strong": 2.0, "weak": -1.0}
UNSEEN = 8.0  # answers on target that a model counts as having given beside those
WARNINGS = (WARN, TAPER, 0.99)  # of a day's budget; each is said once
Kind = Literal["share", "usd", "seconds", "quality"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be held."""

    kind: Kind
    value: float  # fraction of calls, USD per UTC day, seconds, fraction of the strong model's quality
    quantile: float = 0.95  # of the seconds
    text: str = ""


def parse_target(text: str) -> Target | None:
    """The target that a setting names; None for an empty one. Raises InputError."""
    given = text.strip()
    if not given:
        return None
    if found := PER_CENT.fullmatch(given):
        share = float(found[2]) / 100
        if 0 < share <= 1:
            return Target("quality" if found[1] else "share", share, text=given)
    elif found := PER_DAY.fullmatch(given):
        return Target("usd", float(found[1]), text=given)
    elif (found := LATENCY.fullmatch(given)) and float(found[1]) > 0 and float(found[2]) > 0:
        return Target("seconds", float(found[2]), float(found[1]) / 100, given)
    raise InputError(f"target is {text!r}; write it as {FORMS}")


def threshold_in_force(router: Router, target: HeldTarget | None) -> float:
    """The target's where it holds one, else the router's."""
    held = target.threshold_now if target else None
    return router.threshold if held is None else held


def checked_target(settings: GatewaySettings, unpriced: Sequence[str]) -> Target | None:
    """The target of the settings; raises InputError for one that could not be held. ``unpriced``: models."""
    found = parse_target(settings.target)
    if found and found.kind == "usd" and unpriced:
        raise InputError(
            f"target is {settings.target!r}, and the price of {unpriced[0]!r} is unknown; give usd_per_million_input "
            "and usd_per_million_output in [weak] and [strong], 0 for a model of your own"
        )
    return found


def _training_worths(router: Router) -> FloatArray:
    """The scores of all prompts that a router was to learn from; of those that go to one model whatever it is, SETTLED.

    A prompt that the score decides may have several, of drafts.
    """
    finals, (scored, *settled) = router.training_finals, router.counted
    drafts = len(finals) / max(1, scored)
    return np.append(finals, np.repeat([*SETTLED.values()], [round(drafts * count) for count in settled]))


@dataclass(slots=True)
class HeldTarget:
    """One target, held in one gateway process; the account of its USD may be shared with others."""

    target: Target
    router: Router
    accounts: Accounts
    arrivals: Arrivals = field(default_factory=Arrivals)
    clock: Callable[[], float] = time.time
    cold: bool = False  # no router is learned yet: only the USD are held
    pace: Pace = field(init=False)
    slow: dict[str, deque[tuple[float, bool]]] = field(init=False)  # role -> (when, slower than the target)
    _priced: float = field(init=False, default=0.0)  # when a dollar's price was set by the time of day
    _latest: float | None = field(init=False, default=None)  # threshold of the latest request, of a target in USD
    _quality: KeptQuality | None = field(init=False, default=None)  # of a target of quality
    _said: set[tuple[float, float]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.slow = {role: deque(maxlen=LATEST) for role in ("weak", "strong")}
        worths = np.empty(0) if self.cold else _training_worths(self.router)
        scores = np.random.default_rng(0).permutation(worths)[:WINDOW].tolist()  # they are not in a random order
        mean = self.target.value if self.target.kind == "share" else math.inf
        seen = (((0.0, score), (0.0, 1.0)) for score in scores)
        self.pace = Pace.begin(mean, seen, every=SET_EVERY)
        if self.target.kind == "quality" and self.pace.seen:
            self._quality = KeptQuality(self.router, self.target.value)

    # -- before a request ----------------------------------------------------------------------------------------------

    def admit(self, costs: RequestCosts | None) -> tuple[float, bool]:
        """(USD reserved for a request, whether only the weak model may answer it). Raises ApiError 429."""
        if self.target.kind != "usd" or costs is None:
            return 0.0, False
        both = costs.strong_at_most + costs.weak_at_most
        for usd, weak_alone in ((both, False), (costs.weak_at_most, True)):
            if self._reserve(usd):
                return usd, weak_alone
        raise self.spent_error()

    def spent_error(self) -> ApiError:
        """What a request is told that the budget is too small for."""
        now = self.clock()
        wait = seconds_left("day", now) or 1
        said = f"Today's budget of this gateway ({self.target.text}) is spent. It begins again in {wait / 3600:.1f} h."
        said += " Whoever runs the gateway can raise it (the setting `target`)."
        return ApiError(429, said, "insufficient_quota", "insufficient_quota", retry_after=wait)

    def _reserve(self, usd: float) -> bool:
        now, fits = self.clock(), []

        def step(spent: Spent, under_way: float) -> tuple[Spent, float]:
            fits.append(spent.now(now).day + under_way + usd <= self.target.value)
            return spent, usd if fits[0] else 0.0

        self.accounts.change(ACCOUNT, step)
        return fits[0]

    @property
    def use(self) -> BudgetUse:
        """How much of the day's budget is used."""
        spent, under_way = self.accounts.read(ACCOUNT)
        return BudgetUse("day", spent.now(self.clock()).day + under_way, self.target.value)

    def _warn(self) -> None:
        """Say on stderr, once a day for each of WARNINGS, how much of the day's budget is used."""
        use = self.use
        for share in WARNINGS:
            said = (start_of("day", self.clock()), share)
            if use.share >= share and said not in self._said:
                self._said.add(said)
                print(f"demur: {use.share:.0%} of the target {self.target.text} are spent or reserved", file=sys.stderr)

    def threshold(self, costs: RequestCosts | None) -> float | None:
        """Strong iff score >= threshold; None: the router's own."""
        if self.cold or not self.pace.seen:
            return None
        if self.target.kind == "share":
            return self.pace.threshold(1.0) if self.pace.affords(1.0) else math.inf
        if self.target.kind == "usd":
            self._latest = self._latest if costs is None else self._usd_threshold(costs)
            return None if costs is None else self._latest
        if self.target.kind == "seconds":
            return float(np.quantile(self._scores(), 1 - share)) if (share := self._fast_share()) else math.inf
        return self._quality.threshold if self._quality else None

    # -- after a request -----------------------------------------------------------------------------------------------

    def finish(
        self,
        role: str,
        score: float | None,
        costs: RequestCosts | None,
        seconds: float,
        *,
        unknown: bool = False,
        settled: bool = False,
    ) -> None:
        """Take a request that was demur's to route: who answered, its score, how long it took.

        Is it ``unknown``? Is it ``settled``: does it go to one model whatever its score?
        """
        now = self.clock()
        worth = SETTLED.get(role, score) if settled else score
        self.arrivals.add(now)
        if role in self.slow:
            self.slow[role].append((now, seconds > self.target.value))
        if worth is None or self.cold:
            self.pace.requests += 1
        elif self.target.kind == "usd":
            if costs is not None:
                self.pace.see((0.0, worth), (costs.weak, costs.strong), self._usd_per_request(now))
        else:
            self.pace.see((0.0, worth), (0.0, 1.0))
        if self.target.kind == "share":
            self.pace.pay(float(role == "strong"))
        if self._quality and score is not None:
            self._quality.see(score, unknown=unknown)

    def pay(self, usd: float, *, reserved: float = 0.0) -> None:
        """Count what a request has cost, whoever chose its model; what was reserved for it is released."""
        if self.target.kind == "usd" and (usd or reserved):
            now = self.clock()
            self.accounts.change(ACCOUNT, lambda spent, _: (spent.plus(usd, now), -reserved))
            self._warn()

    def learn(self, usd_today: float, by_hour: Mapping[int, float]) -> None:
        """Take over what was spent today before this process began, and the requests of each hour since 1970."""
        now = self.clock()
        found = Spent(day=usd_today, at=now)
        self.accounts.change(ACCOUNT, lambda spent, _: (spent.at_least(found, now), 0.0))
        self.arrivals.learn(by_hour)

    def serve(self, router: Router, *, cold: bool) -> HeldTarget:
        """The same with another router; the account and the arrivals stay."""
        return HeldTarget(self.target, router, self.accounts, self.arrivals, self.clock, cold)

    # -- what it comes to ----------------------------------------------------------------------------------------------

    @property
    def held(self) -> float:
        """What the target's quantity is now: a share, USD of today, a quantile in seconds is not known: its share of
        slow answers; the quality that the threshold is set for."""
        if self.target.kind == "usd":
            return self.use.usd
        if self.target.kind == "share":
            return self.pace.spent / self.pace.requests if self.pace.requests else 0.0
        if self.target.kind == "seconds":
            every = [slow for kept in self.slow.values() for _, slow in kept]
            return sum(every) / len(every) if every else 0.0
        return self.target.value

    @property
    def sentence(self) -> str:
        """How the target stands, for the dashboard."""
        now = {
            "share": f"{self.held:.1%} of calls went to the strong model",
            "usd": f"{dollars(self.held)} of today's {dollars(self.target.value)} are spent or reserved",
            "seconds": f"{self.held:.1%} of the latest answers took longer than {self.target.value:g} s",
            "quality": "by the strong model's own belief, without a guarantee",
        }[self.target.kind]
        waiting = "; no router is learned yet" if self.cold else ""
        return f"target {self.target.text}: {now}{waiting}"

    @property
    def basis(self) -> str:
        """Why a threshold is the one that it is, for the reasons of decisions."""
        return f"held for the target {self.target.text}"

    @property
    def threshold_now(self) -> float | None:
        """The threshold that it holds, of USD that of the latest request; None where there is none yet."""
        found = self._latest if self.target.kind == "usd" else self.threshold(None)
        return None if found is None else max(0.0, min(found, ABOVE_ALL))

    @property
    def threshold_sentence(self) -> str:
        """By which threshold it decides in place of the router's own; empty before a router is learned."""
        if self.cold:
            return ""
        now = self.threshold_now
        if self.target.kind == "usd":
            latest = "" if now is None else f", {now:.4f} for the latest"
            return f"the target {self.target.text} decides, by a threshold that follows each request's cost{latest}"
        return "" if now is None else f"the target {self.target.text} decides, by a threshold of {now:.4f} now"

    @property
    def first_sentence(self) -> str:
        """What it begins with, for the start of a gateway."""
        if self.cold:
            budget = "; its budget is held from now on" if self.target.kind == "usd" else ""
            return f"the target {self.target.text} decides once a router is learned{budget}"
        own, now = f"{self.router.threshold:.4f}", self.threshold_now
        if now is None:
            return f"{self.threshold_sentence}, in place of the router's own of {own}"
        strong = share_of_all(float(np.mean(self.router.training_finals >= now)), *self.router.counted)
        begins = f"it begins at {now:.4f}, where {1 - strong:.0%} of the training prompts stay local"
        return f"the target {self.target.text} decides in place of the router's own threshold of {own}: {begins}"

    def _usd_threshold(self, costs: RequestCosts) -> float:
        """By the price of a dollar, which changes with the time of day, too."""
        now = self.clock()
        if self._latest is None:  # what the training prompts would cost here is not known: as much as the first request
            each = (costs.weak, costs.strong)
            self.pace.seen = deque(((values, each) for values, _ in self.pace.seen), maxlen=WINDOW)
        if not 0 <= now - self._priced < PRICED_SECONDS or start_of("day", now) > self._priced:
            self._priced = now
            self.pace.set_price(self._usd_per_request(now))
        return self.pace.threshold(costs.strong - costs.weak)

    def _usd_per_request(self, now: float) -> float:
        """USD that a request may cost on average for the rest of the day."""
        left = max(0.0, self.target.value - self.use.usd)
        return left / max(1.0, self.arrivals.expected_requests(now, float(seconds_left("day", now) or 1)))

    def _scores(self) -> list[float]:
        return [values[1] for values, _ in self.pace.seen]

    def _fast_share(self) -> float:
        """The largest strong share at which no more answers than the target allows are expected to be slow."""
        allowed = 1 - self.target.quantile
        weak, strong = (self._slow_share(role, allowed) for role in ("weak", "strong"))
        if strong <= weak:
            return 1.0
        return min(1.0, max(0.0, (allowed - weak) / (strong - weak)))

    def _slow_share(self, role: str, allowed: float) -> float:
        kept = self.slow[role]
        while kept and kept[0][0] < self.clock() - STALE_SECONDS:
            kept.popleft()
        return (sum(slow for _, slow in kept) + UNSEEN * allowed) / (len(kept) + UNSEEN)
