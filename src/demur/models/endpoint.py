"""A model behind an OpenAI-compatible URL: its name, its price, and the key that is read when a request is made."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from demur.errors import EndpointError
from demur.models.prices import GIVEN, LOCAL, PRIVATE, Price, price_of

OPENAI_HOST = "api.openai.com"
LISTED_TIERS = {OPENAI_HOST: {"batch": 0.5}}  # host -> service tier -> what its list prices are multiplied by


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind an OpenAI-compatible URL."""

    model: str
    base_url: str  # such as https://api.openai.com/v1; empty for a local model that is not running yet
    api_key_env: str | None = None  # NAME of the environment variable that holds the key, never the key
    identity: str = ""  # what its samples are stored under; the content hash for a local file
    concurrency: int = 4  # requests under way at once
    timeout_seconds: float = 120.0
    usd_per_million_input: float | None = None  # your own price, over the looked-up one
    usd_per_million_output: float | None = None
    usd_per_million_cached: float | None = None
    usd_per_million_cache_write: float | None = None
    usd_per_million_cache_write_hour: float | None = None
    usd_per_million_reasoning: float | None = None
    service_tiers: Mapping[str, float] = field(default_factory=dict)  # tier -> what prices are multiplied by
    priced_as: str | None = None  # look the price up under this model name
    local: bool = False  # served by demur on this machine: costs nothing unless priced_as says otherwise
    reasoning_effort: str = ""  # sent with every request; empty: the endpoint's own

    @property
    def name(self) -> str:
        """What its samples are stored under."""
        effort = f"?reasoning_effort={self.reasoning_effort}" if self.reasoning_effort else ""
        return (self.identity or f"{self.model}@{self.base_url}") + effort

    @property
    def price(self) -> Price | None:
        """USD per token; None when unknown."""
        found = self._base_price
        if found is None:
            return None
        own = {
            "usd_per_cached_token": self.usd_per_million_cached,
            "usd_per_written_token": self.usd_per_million_cache_write,
            "usd_per_hour_written_token": self.usd_per_million_cache_write_hour,
            "usd_per_reasoning_token": self.usd_per_million_reasoning,
        }
        given: dict[str, Any] = {name: usd / 1e6 for name, usd in own.items() if usd is not None}
        listed: Mapping[str, float] = (
            {} if self._own_price else LISTED_TIERS.get(urlsplit(self.base_url).hostname or "", {})
        )
        tiers = {**listed, **self.service_tiers}
        return replace(found, tiers=tiers, **given) if given or tiers else found

    @property
    def _own_price(self) -> Price | None:
        if self.usd_per_million_input is None or self.usd_per_million_output is None:
            return None
        return Price(self.usd_per_million_input / 1e6, self.usd_per_million_output / 1e6, GIVEN)

    @property
    def _base_price(self) -> Price | None:
        """The price without what is given for single kinds of tokens."""
        if self._own_price:
            return self._own_price
        if self.priced_as:
            found = price_of(self.priced_as)
            return found and replace(found, source=f"priced as {self.priced_as}: {found.source}")
        if self.local:
            return Price(0.0, 0.0, LOCAL)
        # Who asks for a key may charge: a company's proxy to a paid model has a private address, too.
        free = is_private(self.base_url) and not self.api_key_env
        return price_of(self.model) or (Price(0.0, 0.0, PRIVATE) if free else None)


def is_private(url: str) -> bool:
    """Whether a URL's host is on this machine or a private network: localhost, a private address, a bare name."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return bool(host) and ("." not in host or host.endswith((".localhost", ".local", ".internal", ".lan")))


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def authorization(endpoint: Endpoint) -> dict[str, str]:
    """The header that carries the key, read from the environment now; raises EndpointError when it is not set."""
    variable = endpoint.api_key_env
    if not variable:
        return {}
    key = (secret(variable) or "").strip()  # a file with a key often ends in a line break
    if not key:
        raise EndpointError(
            f"{endpoint.model}: the variable {variable} is not set or empty; export it, or {variable}_FILE"
        )
    return {"Authorization": f"Bearer {key}"}


def secret(variable: str) -> str | None:
    """A secret by its name: that environment variable, or the content of the file that ``NAME_FILE`` names."""
    file = os.environ.get(f"{variable}_FILE")
    if os.environ.get(variable) or not file:
        return os.environ.get(variable)
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise EndpointError(f"{variable}_FILE: {file} cannot be read ({error.strerror}); mount the secret") from None
