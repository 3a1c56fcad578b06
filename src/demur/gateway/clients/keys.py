"""Client keys: hashed at rest, compared in constant time, each with a rate and a budget."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demur.errors import InputError
from demur.files import check_output_folder, is_same_path, lock_file, write_whole
from demur.gateway.clients.accounts import Accounts, OwnAccounts
from demur.gateway.clients.budgets import TAPER, WARN, BudgetUse, Spent, has_budget, seconds_left, start_of, uses
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.settings import USUAL_KEYS
from demur.limits import check_limits, from_mapping
from demur.records import count_of

SHA256 = re.compile(r"[0-9a-f]{64}")
# For the person behind the client, who cannot know what stands in front of the models; clients parse what is before it.
WRONG_KEY = (
    "Incorrect API key provided. Ask whoever runs this gateway for a key of its own: `demur key add NAME` makes one, "
    "`demur key list` shows whose there are."
)
RATE_SET_BY = "Whoever runs this gateway can raise that (`requests_per_minute` in the file of keys, then a reload)."


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A stored key: its hash, never the key itself."""

    name: str
    sha256: str  # of the key, 64 lower-case hexadecimal digits
    requests_per_minute: int | None = field(default=None, metadata={"at_least": 0})
    # Budget over the whole ledger; without a ledger, over the life of the process.
    usd: float | None = field(default=None, metadata={"at_least": 0})
    usd_per_day: float | None = field(default=None, metadata={"at_least": 0})  # UTC
    usd_per_month: float | None = field(default=None, metadata={"at_least": 0})  # UTC


def key_command(doing: str, file: str | Path) -> str:
    """The command that does something, such as ``add NAME``, to the keys of a file, which it names unless it is the
    usual one."""
    usual = is_same_path(file, USUAL_KEYS)
    return f"demur key {doing}{'' if usual else f' --file {shlex.quote(str(file))}'}"


def new_key(
    file: str | Path,
    name: str,
    *,
    requests_per_minute: int | None = None,
    usd: float | None = None,
    usd_per_day: float | None = None,
    usd_per_month: float | None = None,
) -> str:
    """Add a key to the file and return it; it is shown this once and kept nowhere. Raises InputError."""
    path = Path(file).resolve()
    secret = f"demur-{secrets.token_urlsafe(32)}"
    hashed = hashlib.sha256(secret.encode()).hexdigest()
    made = ClientKey(name, hashed, requests_per_minute, usd, usd_per_day, usd_per_month)
    check_key(made, str(file))
    if Path(file) != USUAL_KEYS:
        check_output_folder(Path(file))
    with lock_file(path):
        known = read_keys(path) if path.exists() else []
        if any(key.name == name for key in known):
            remove = key_command(f"remove {shlex.quote(name)}", file)
            again = f"choose another name, or `{remove}`"
            if limits := _limits_of(made):
                options = "".join(f" --{limit.replace('_', '-')} {value:.10g}" for limit, value in limits.items())
                change = key_command(f"set {shlex.quote(name)}{options}", file)
                again = f"`{change}` gives it these limits; for a key beside it choose another name"
            raise InputError(f"{path}: a key is called {name!r} already; {again}")
        _write(path, [*known, made])
    return secret


def set_limits(file: str | Path, name: str, **limits: float | None) -> ClientKey:
    """Give a key of the file other limits, named as those of `new_key`; the key stays, and so do limits that are None.

    Returns it as it is now; a running gateway keeps the earlier limits until it is reloaded. Raises InputError.
    """
    path, changed = Path(file).resolve(), {limit: value for limit, value in limits.items() if value is not None}
    if not changed:
        change = key_command(f"set {shlex.quote(name)} --usd 5", file)
        raise InputError(f"no limit of {name!r} is named; give one, such as `{change}`")
    read_keys(file)  # no folder is made for the lock of a file that is not there
    with lock_file(path):
        known = read_keys(path)
        found = _key(asdict(_find_named(known, name, path)) | changed, str(file))
        _write(path, [found if key.name == name else key for key in known])
    return found


def _find_named(known: Sequence[ClientKey], name: str, file: str | Path) -> ClientKey:
    found = next((key for key in known if key.name == name), None)
    if found is None:
        raise InputError(f"{file}: no key is called {name!r}; `{key_command('list', file)}` shows them")
    return found


def _limits_of(key: ClientKey) -> dict[str, float]:
    """The limits that a key has, by name."""
    named = {limit: getattr(key, limit) for limit in ("requests_per_minute", "usd", "usd_per_day", "usd_per_month")}
    return {limit: value for limit, value in named.items() if value is not None}


def remove_key(file: str | Path, name: str) -> None:
    """Remove a key from the file; a running gateway accepts it until it is reloaded. Raises InputError."""
    path = Path(file).resolve()
    read_keys(file)  # no folder is made for the lock of a file that is not there
    with lock_file(path):
        known = read_keys(path)
        _find_named(known, name, path)
        _write(path, [key for key in known if key.name != name])


def _write(path: Path, keys: Sequence[ClientKey]) -> None:
    write_whole(path, json.dumps([asdict(key) for key in keys], indent=2) + "\n", mode=0o600)


def check_key(key: ClientKey, where: str) -> None:
    """Raise InputError for a key that no request could match, or a limit without effect."""
    if not key.name.strip() or not key.name.isprintable():
        raise InputError(
            f"{where}: the name {key.name!r} cannot be printed; what a key costs is counted under its name"
        )
    if not SHA256.fullmatch(key.sha256):
        raise InputError(
            f"{where}: sha256 of {key.name!r} is {key.sha256[:70]!r}; it must be 64 digits of 0-9 and a-f, as "
            "`demur key add NAME` writes them"
        )
    check_limits(key, f"{where}: ")


def read_keys(file: str | Path) -> list[ClientKey]:
    """The keys of a file, each of them checked; raises InputError naming the row."""
    try:
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        add = key_command("add NAME", file)
        raise InputError(f"{file}: cannot be read ({error.strerror}); make one with `{add}`") from None
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(rows, list):
        raise InputError(f"{file}: expected a list of keys")
    return [_key(row, f"{file}: key {i + 1}") for i, row in enumerate(rows)]


def check_budgets(keys: Sequence[ClientKey] | None, unpriced: Sequence[str]) -> None:
    """Raise InputError where a key has a budget in USD and a model is served whose price is ``unpriced``: it would
    never be spent.
    """
    names = [key.name for key in keys or () if has_budget(key)]
    if names and unpriced:
        raise InputError(
            f"key {names[0]!r} has a budget in USD, and the price of {unpriced[0]!r} is unknown; give "
            "usd_per_million_input and usd_per_million_output in [weak] and [strong], 0 for a model of your own"
        )


def _key(row: object, where: str) -> ClientKey:
    key = from_mapping(ClientKey, row, where=where)
    check_key(key, where)
    return key


def bearer(headers: Mapping[str, str]) -> str:
    """The key that a request carries; empty without one."""
    scheme, _, secret = headers.get("Authorization", "").strip().partition(" ")
    return secret.strip() if scheme.casefold() == "bearer" else ""


def client_key(headers: Mapping[str, str]) -> str:
    """The key of a client: as bearer token, or as Anthropic's clients send it; empty without one."""
    return bearer(headers) or headers.get("x-api-key", "").strip()


# (name, requests per minute) -> seconds until that key may ask again; 0: now, and one request is taken
Take = Callable[[str, int], float]


def draw_from_bucket(held: tuple[float, float] | None, per_minute: int, now: float) -> tuple[float, float]:
    """(requests left, seconds to wait) of a bucket that refills; ``held``: what was left, and when (monotonic)."""
    most = float(per_minute)
    left, since = held or (most, now)
    left = min(most, left + (now - since) * most / 60)
    if left >= 1:
        return left - 1, 0.0
    return left, (1 - left) * 60 / most if most else 60.0


def _budget_error(use: BudgetUse, at: float, how: str = "") -> ApiError:
    wait = seconds_left(use.period, at)
    again = "" if wait is None else f" It begins again in {wait / 3600:.1f} h."
    raised = f"Whoever runs this gateway can raise it (`{use.setting}` in the file of keys, then a reload)."
    said = f"The budget of this key ({use.words}) is spent{how}.{again} {raised}"
    return ApiError(429, said, "insufficient_quota", "insufficient_quota", retry_after=wait)


class Buckets:
    """A bucket of requests per key, in this process."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, float]] = {}

    def take(self, name: str, per_minute: int) -> float:
        """See `Take`."""
        now = time.monotonic()
        left, wait = draw_from_bucket(self._held.get(name), per_minute, now)
        self._held[name] = (left, now)
        return wait


class Admission:
    """Checks keys, rates and budgets. ``keys`` None: every request is admitted; a file without a key: none is."""

    def __init__(
        self,
        keys: list[ClientKey] | None,
        take: Take | None = None,
        accounts: Accounts | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self._take, self.accounts, self._clock = take or Buckets().take, accounts or OwnAccounts(), clock
        self._warned: set[tuple[str, str, float, bool]] = set()

    def admit(self, headers: Mapping[str, str]) -> str:
        """The name of the key that a request carries (empty without keys); raises ApiError 401 or 429."""
        if self.keys is None:
            return ""
        key = self._find_key(client_key(headers))
        if key is None:
            raise ApiError(401, WRONG_KEY, code="invalid_api_key")
        self._refuse_spent(key, self.accounts.read(key.name)[0])
        wait = self._take(key.name, key.requests_per_minute) if key.requests_per_minute is not None else 0.0
        if wait > 0:
            rate = count_of(key.requests_per_minute or 0, "request")
            said = f"Rate limit reached for this key: {rate} per minute. {RATE_SET_BY}"
            raise ApiError(429, said, "requests", "rate_limit_exceeded", retry_after=int(wait) + 1)
        return key.name

    def reserve(self, name: str, usd: float) -> float:
        """Reserve the most that a request may cost, and return it; `charge` releases it.

        Raises ApiError 429 where a key's budget is taken up by what it has spent and by its requests under way: of
        all that are under way together at most one goes beyond it.
        """
        key = self.key_with_budget(name)
        if key is None:
            return 0.0

        def step(spent: Spent, under_way: float) -> tuple[Spent, float]:
            self._refuse_spent(key, spent, under_way)
            return spent, usd

        self.accounts.change(name, step)
        return usd

    def spent_error(self, key: ClientKey, spent: Spent, under_way: float) -> ApiError:
        """What a request is told where a budget of its key is taken up, on all machines together."""
        now = self._clock()
        use = max(uses(key, spent.now(now), under_way), key=lambda one: one.share)
        return _budget_error(use, now, " or reserved by its requests under way" if under_way else "")

    def _refuse_spent(self, key: ClientKey, spent: Spent, under_way: float = 0.0) -> None:
        now = self._clock()
        for use in uses(key, spent.now(now), under_way):
            if use.share >= 1:
                raise _budget_error(use, now, " or reserved by its requests under way" if under_way else "")

    def most_used_budget(self, name: str) -> BudgetUse | None:
        """The budget for a day or a month of a key that is used most, if from `WARN` on; said on stderr once."""
        key = self.key_with_budget(name)
        if key is None:
            return None
        now = self._clock()
        found = [use for use in uses(key, self.accounts.read(name)[0].now(now)) if use.period != "ever"]
        use = max(found, key=lambda one: one.share, default=None)
        if use is None or use.share < WARN:
            return None
        tapers = use.share >= TAPER
        said = (name, use.period, start_of(use.period, now), tapers)
        if said not in self._warned:
            self._warned.add(said)
            then = "fewer of its requests go to the strong model" if tapers else f"from {TAPER:.0%} on it tapers"
            print(f"demur: key {name!r} has used {use.share:.0%} of {use.words}; {then}", file=sys.stderr)
        return use

    def key_with_budget(self, name: str) -> ClientKey | None:
        """A key, if it has a budget."""
        return next((key for key in self.keys or () if key.name == name and has_budget(key)), None)

    def charge(self, name: str, usd: float | None, *, reserved: float = 0.0) -> None:
        """Count what a request of a key has cost; the amount reserved for it is released."""
        if name and (usd or reserved):
            now = self._clock()
            self.accounts.change(name, lambda spent, _: (spent.plus(usd, now) if usd else spent, -reserved))

    @property
    def limited(self) -> list[str]:
        """Names of the keys that have a budget."""
        return [key.name for key in self.keys or () if has_budget(key)]

    def learn(self, spent: Mapping[str, Spent]) -> None:
        """Take over what keys have spent by the ledger, in other processes and before this one began."""
        for name, found in spent.items():
            self._learn(name, found)

    def _learn(self, name: str, found: Spent) -> None:
        now = self._clock()
        self.accounts.change(name, lambda spent, _: (spent.at_least(found, now), 0.0))

    def _find_key(self, secret: str) -> ClientKey | None:
        hashed = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()  # a header may hold any byte
        found = None
        for key in self.keys or ():  # all of them, every time, so that the time does not depend on the match
            if hmac.compare_digest(hashed.encode(), key.sha256.encode()):
                found = key
        return found
