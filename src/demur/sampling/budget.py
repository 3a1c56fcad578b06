"""What a run may spend: reserved before a request, settled after it, counted over all sessions of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from demur.errors import BudgetError
from demur.limits import check_number
from demur.models.endpoint import Endpoint
from demur.models.prices import CHARACTERS_PER_TOKEN
from demur.records import Prompt, SamplingSettings, dollars

READ_AGAIN_SECONDS = 10.0  # what all samplers on a shared store have spent


class Budget:
    """USD that may be spent on one run, shared by all models that it asks: reserved before a request, settled after it.

    Reserving keeps concurrent requests from going over the limit together. After the first failure it is closed: no
    further request is made, and those under way end, since they are paid for. ``spent``: what earlier sessions cost;
    None: they do not count. ``known_part``: a model of unknown price spends nothing of it, rather than being an error.
    ``by_all``: reads what was spent in all, also by other samplers; ``raised``: how the limit is raised;
    ``within``: a wider budget that the same requests are counted in, such as the run's around a judge's own.
    """

    def __init__(
        self,
        max_usd: float | None = None,
        *,
        spent: float | None = None,
        known_part: bool = False,
        by_all: Callable[[], float] | None = None,
        raised: str = "raise max_usd",
        within: Budget | None = None,
    ) -> None:
        check_number(max_usd, "max_usd", at_least=0)
        self.max_usd = max_usd
        self.spent = spent or 0.0
        self._by = "by this command" if spent is None else "on this run in all"
        self.closed = False
        self._reserved = dict[str, float]()  # by model, for its requests under way
        self._beyond = dict[str, float]()  # likewise: what its dearest answer cost, as a multiple of what was reserved
        self._known_part, self._raised, self._within = known_part, raised, within
        self._by_all, self._read_at = by_all, time.monotonic()

    @property
    def left(self) -> float | None:
        """USD that may still be spent; None without a limit."""
        return None if self.max_usd is None else self.max_usd - self.spent

    def reserve(
        self, prompt: Prompt, missing: int, endpoint: Endpoint, settings: SamplingSettings, *, batch: bool = False
    ) -> float:
        """Set aside what the next request can cost at most, by ``batch`` or directly; raises BudgetError when
        that goes over the limit.

        A prompt's tokens are estimated, and an endpoint may write more than it was asked for: once an answer of a model
        has cost more than was reserved, the model's requests count as that much more.
        """
        if endpoint.price is None:
            if self.max_usd is not None and not self._known_part:
                raise unknown_price(self.max_usd, endpoint)
            return 0.0
        bound = endpoint.price.usd(prompt_tokens(prompt, settings), missing * settings.max_tokens)
        bound *= endpoint.price.batch_factor if batch else 1.0
        under_way = sum(usd * self._beyond.get(name, 1.0) for name, usd in self._reserved.items())
        at_most = bound * self._beyond.get(endpoint.name, 1.0)
        if self.max_usd is not None and self.spent + under_way + at_most > self.max_usd:
            raise BudgetError(
                f"{endpoint.model}: {dollars(self.spent)} spent {self._by}, {dollars(under_way)} reserved for "
                f"requests under way, and the next prompt may cost {dollars(at_most)}: the limit is "
                f"{dollars(self.max_usd)}; what was answered is kept, {self._raised} to go on"
            )
        if self._within:
            self._within.reserve(prompt, missing, endpoint, settings, batch=batch)
        self._reserved[endpoint.name] = self._reserved.get(endpoint.name, 0.0) + bound
        return bound

    def read_others(self) -> None:
        """Count what other samplers have spent, as of a few seconds ago at most."""
        if time.monotonic() > self._read_at + READ_AGAIN_SECONDS:
            self.recount()
        if self._within:
            self._within.read_others()

    def recount(self) -> None:
        """Count what was spent until now, also by others and through other budgets."""
        if self._by_all and self.max_usd is not None:
            self._read_at = time.monotonic()
            self.spent = self._by_all()

    def settle(self, reserved: float, paid_usd: float | None, endpoint: Endpoint) -> None:
        """Release the amount reserved for a request and record its cost (unknown: all of the reserved amount)."""
        name, paid = endpoint.name, reserved if paid_usd is None else paid_usd
        self._reserved[name] = self._reserved.get(name, 0.0) - reserved
        self.spent += paid
        if paid > reserved > 0:
            self._beyond[name] = max(self._beyond.get(name, 1.0), paid / reserved)
        if self._within:
            self._within.settle(reserved, paid_usd, endpoint)


class SharedBudget(Budget):
    """A budget that one process holds for many; each is closed for itself."""

    def __init__(self, held: Budget) -> None:
        super().__init__()
        self._held = held

    def reserve(
        self, prompt: Prompt, missing: int, endpoint: Endpoint, settings: SamplingSettings, *, batch: bool = False
    ) -> float:
        """See `Budget.reserve`."""
        return self._held.reserve(prompt, missing, endpoint, settings, batch=batch)

    def read_others(self) -> None:
        """See `Budget.read_others`."""
        self._held.read_others()

    def settle(self, reserved: float, paid_usd: float | None, endpoint: Endpoint) -> None:
        """See `Budget.settle`."""
        self._held.settle(reserved, paid_usd, endpoint)


def can_limit(endpoints: Iterable[Endpoint]) -> bool:
    """Whether a limit in USD limits anything: every price is known, or one that is known charges."""
    prices = [endpoint.price for endpoint in endpoints]
    return None not in prices or any(price.charges for price in prices if price)


def unknown_price(max_usd: float, *endpoints: Endpoint) -> BudgetError:
    """The error of a limit on models none of which has a price."""
    named = " and ".join(endpoint.model for endpoint in endpoints)
    return BudgetError(
        f"{named}: the price is unknown, so a limit of {dollars(max_usd)} cannot be kept; give it as "
        "MODEL@URL#usd=IN/OUT (USD per million tokens; usd=0 if it is free), or usd_per_million_input and "
        "usd_per_million_output in the run file"
    )


def prompt_tokens(prompt: Prompt, settings: SamplingSettings) -> int:
    """About how many tokens a filled prompt has."""
    return (len(prompt.key) + len(settings.template) + len(settings.system)) // CHARACTERS_PER_TOKEN + 1
