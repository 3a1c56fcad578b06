"""What a gateway's reload has changed, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from demur.gateway.clients.keys import ClientKey
from demur.gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class InForce:
    """What a reload can change, as far as its line tells it."""

    settings: GatewaySettings
    keys: Sequence[ClientKey] | None
    router: str  # its identity, whatever its threshold
    threshold: float
    version: int  # of the learned router; 0: none is
    canary: int  # version that is tried; 0: none is
    held: str = ""  # by which threshold a target decides in place of that one; empty: none does


def changes_between(before: InForce, after: InForce) -> list[str]:
    """What differs, in words, and last the threshold, of before and now where it has changed."""
    of, to = before.settings, after.settings
    names = [one.name for one in fields(of) if getattr(of, one.name) != getattr(to, one.name)]
    said = {
        f"another router ({to.router})": before.router != after.router and before.version == after.version,
        f"learned version {before.version or 'none'} -> {after.version or 'none'}": before.version != after.version,
        f"canary version {before.canary or 'none'} -> {after.canary or 'none'}": before.canary != after.canary,
        f"settings: {', '.join(names)}": bool(names),
        f"keys: {_count(before.keys)} -> {_count(after.keys)}": before.keys != after.keys,
    }
    told = f"{before.threshold:.4f} -> " if before.threshold != after.threshold else ""
    threshold = f"threshold {told}{after.threshold:.4f}"
    held = f"the router's own {threshold}, in place of which {after.held}" if after.held else threshold
    return [*(words for words, differs in said.items() if differs), held]


def _count(keys: Sequence[ClientKey] | None) -> str:
    return "none" if keys is None else str(len(keys))
