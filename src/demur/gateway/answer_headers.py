"""The headers of an answer: the upstream's own, without keys, and x-demur-* that say who answered and why."""

from __future__ import annotations

from collections.abc import Mapping

from multidict import CIMultiDict

from demur.gateway.exchange import Exchange
from demur.gateway.http.key_mask import KeyMask
from demur.gateway.http.openai_bodies import response_headers
from demur.gateway.settings import GatewaySettings
from demur.gateway.upstreams.ask_upstreams import Sent
from demur.gateway.upstreams.upstream import Upstream
from demur.records import Role
from demur.routing.decision import apart


def answer_headers(
    settings: GatewaySettings,
    upstreams: Mapping[Role, Upstream],
    exchange: Exchange,
    sent: Sent,
    mask: KeyMask,
) -> CIMultiDict[str]:
    """All headers; ``mask`` takes out the upstreams' keys, of which either may show the other's."""
    headers = response_headers(sent.answer.headers)
    if mask:
        headers = CIMultiDict((name, mask.mask_text(value)) for name, value in headers.items())
    if settings.headers:
        headers.update(_reason_headers(exchange, sent, upstreams))
    return headers


def _reason_headers(exchange: Exchange, sent: Sent, upstreams: Mapping[Role, Upstream]) -> dict[str, str]:
    found = {"x-demur-model": sent.model, "x-demur-decision-id": exchange.arrived.id}
    found["x-demur-reason"] = " ".join(sent.reason.encode("ascii", "replace").decode().split())
    if upstreams[sent.role].tier:
        found["x-demur-tier"] = upstreams[sent.role].tier
    timed = exchange.choice.timed if exchange.choice else None
    if timed is not None:
        score, threshold = apart(timed.score, timed.decision.threshold, 6)
        found |= {"x-demur-score": score, "x-demur-threshold": threshold}
    if sent.answer.status >= 400:
        found["x-demur-upstream-error"] = sent.model  # not the gateway's own
    if exchange.checked:
        found |= {"x-demur-stage": "gate", "x-demur-extra-samples": str(exchange.checked.extra_samples)}
        found["x-demur-checked-score"] = f"{exchange.checked.score:.6f}"
    elif exchange.choice and exchange.choice.timed and exchange.choice.timed.decision.stage == "unknown":
        found["x-demur-stage"] = "unknown"
    if exchange.strained:
        found["x-demur-budget"] = f"{exchange.strained.share:.0%} of {exchange.strained.words}"
    # A stream's cost is known at its end: the ledger has it.
    cost = exchange.usd(upstreams) if exchange.passed.sent_bytes else None
    return found | ({} if cost is None else {"x-demur-cost-usd": f"{cost:.8f}"})
