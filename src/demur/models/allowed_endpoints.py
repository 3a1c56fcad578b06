"""Which endpoints a saved router or run may use: those that the user names, each with the user's own key.

A folder may come from an untrusted source. It names models and hosts but no key. A host is used only if the run file,
the command line or the gateway's settings name it as well. Loopback needs no permission and gets no key.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from demur.config import ModelConfig, RunConfig
from demur.config.names import IMAGES, LLM
from demur.config.store_url import store_hosts
from demur.errors import ArtifactError, InputError, without_passwords
from demur.models.endpoint import OPENAI_HOST
from demur.models.local import OPENAI_KEY, parse_model, priced_spec

ALLOW_HELP = "HOST[:PORT][#KEY_VARIABLE] that a saved router or run may send prompts to; may be repeated."
_KEY_PART = re.compile(r"(@\w+://[^\s#]*)#\w*")
log = logging.getLogger("demur.router")  # without a handler of the program's own, its warnings go to stderr


@dataclass(frozen=True, slots=True)
class AllowedEndpoints:
    """Hosts that prompts may go to, ``HOST`` or ``HOST:PORT``, and the variable of the key that each gets."""

    keys: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def parse(cls, names: Iterable[str]) -> AllowedEndpoints:
        """Of ``HOST[:PORT][#KEY_VARIABLE]``, or a URL in its place; raises InputError."""
        keys: dict[str, str | None] = {}
        for name in names:
            address, _, variable = name.partition("#")
            split = _split(address if "://" in address else f"//{address}", name)
            keys[_host(split)] = variable or None
        return cls(keys)

    def model(self, wanted: ModelConfig, where: str | Path) -> ModelConfig:
        """The endpoint of a saved model. Raises ArtifactError for a host that the user has not named."""
        if wanted.base_url is None:
            return replace(wanted, api_key_env=None)
        split = _split(wanted.base_url, wanted.base_url)
        host = _host(split)
        found = next((name for name in (host, split.hostname or "") if name in self.keys), None)
        if found is None and not _is_loopback(split.hostname or ""):
            raise ArtifactError(
                f"{where}: it would send prompts to {host} (for {wanted.model[:80]}), which is not allowed; where you "
                f"trust that host: --allow-endpoint {host}, with its key --allow-endpoint {host}#KEY_VARIABLE"
            )
        variable = self.keys[found] if found else None
        if variable is None and split.hostname == OPENAI_HOST and OPENAI_KEY in os.environ:
            variable = OPENAI_KEY
        _tell(str(where), host, wanted.model[:80], wanted.api_key_env if wanted.api_key_env != variable else None)
        return replace(wanted, api_key_env=variable)

    def check_store(self, url: str, where: str | Path) -> None:
        """Raise ArtifactError for a saved store, if it has a URL, on a host that the user has not named."""
        for host in store_hosts(url):
            name = _split(f"//{host}", host).hostname or ""
            if not {host, name} & {*self.keys} and not _is_loopback(name):
                raise ArtifactError(
                    f"{where}: its samples are in a database on {host}, which is not allowed; where you trust "
                    f"that host: --allow-endpoint {host}"
                )

    def spec(self, wanted: str, where: str | Path) -> str:
        """The same of ``MODEL@BASE_URL``; a name without an address is as it was."""
        wanted, joins, images = wanted.partition(IMAGES)
        if "@" not in wanted or "://" not in wanted:
            return f"{wanted}{joins}{images}"
        kind, colon, rest = wanted.partition(":") if wanted.startswith(LLM) else ("", "", wanted)
        return f"{kind}{colon}{priced_spec(self.model(parse_model(rest), where))}{joins}{images}"


def endpoint_names(models: Iterable[ModelConfig | str | None]) -> tuple[str, ...]:
    """Endpoints that a run file or the settings name, as `AllowedEndpoints.parse` takes them."""
    found = []
    for one in models:
        if isinstance(one, str):
            bare = one.removeprefix(LLM).partition(IMAGES)[0]
            one = parse_model(bare) if "@" in bare and "://" in bare else None
        if one is not None and one.base_url:
            found.append(f"{one.base_url}#{one.api_key_env or ''}")
    return tuple(found)


def serving_options(config: RunConfig) -> str:
    """The options with which a gateway may ask a run's pair, each after a space: remote hosts, and keys."""
    named = []
    for one in config.models:
        split = urlsplit(one.base_url or "")
        key = f"#{one.api_key_env}" if one.api_key_env else ""
        if split.hostname and (key or not _is_loopback(split.hostname)):
            named.append(f" --allow-endpoint {split.netloc}{key}")
    return "".join(dict.fromkeys(named))


def run_endpoints(config: RunConfig) -> tuple[str, ...]:
    """Every endpoint that a run's record names, with its key."""
    return endpoint_names((*config.models, config.router.encoder, config.label.entailment))


def without_keys(record: Any) -> Any:
    """A JSON-like record without the names of key variables, which belong to its maker."""
    if isinstance(record, Mapping):
        return {name: without_keys(value) for name, value in record.items() if name != "api_key_env"}
    if isinstance(record, list | tuple):
        return [without_keys(value) for value in record]
    return _KEY_PART.sub(r"\1", record) if isinstance(record, str) else record


@cache
def _tell(where: str, host: str, model: str, ignored: str | None) -> None:
    """Log, once per process, which host a loaded router or run uses."""
    log.warning("%s: prompts go to %s (%s)", where, host, model)
    if ignored:
        advice = f"--allow-endpoint {host}#{ignored} gives it"
        log.warning("%s: names the key %s, which is not read from a folder; %s", where, ignored, advice)


def _split(url: str, named: str) -> SplitResult:
    """A URL's parts. Ambiguous URLs (a user before the host, a backslash) are refused."""
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        split, port = SplitResult("", "", "", "", ""), None
    if not split.hostname or "@" in split.netloc or re.search(r"[\\\s]", url) or port == 0:
        raise InputError(
            f"{without_passwords(named)[:80]!r} is not the address of an endpoint; give HOST, HOST:PORT or a URL"
        )
    return split


def _host(split: SplitResult) -> str:
    name = f"[{split.hostname}]" if ":" in (split.hostname or "") else split.hostname or ""
    return f"{name}:{split.port}" if split.port else name


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
