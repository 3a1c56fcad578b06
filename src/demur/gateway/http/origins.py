"""Refuses requests from pages of other sites, which a browser sends to loopback as well, when there are no client keys.

A page is known by ``Origin``; a host name that was pointed at this machine (DNS rebinding) by ``Host``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from demur.gateway.http.openai_bodies import ApiError

EXPOSED = (
    "x-request-id, x-demur-model, x-demur-score, x-demur-checked-score, x-demur-threshold, x-demur-reason, "
    "x-demur-decision-id, x-demur-stage, x-demur-extra-samples, x-demur-cost-usd"
)
DEFAULT_HEADERS = "authorization, content-type"  # headers that a page may send where it does not say which


@lru_cache(256)
def host_name(authority: str) -> str:
    """The host in a ``Host`` header or an origin's authority, in lower case; empty if it is not one."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


@lru_cache(256)
def is_loopback(name: str) -> bool:
    """Whether this is a name of the loopback interface."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def is_own(origin: str, host: str) -> bool:
    """Whether an origin is the host of the request."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def is_allowed(origin: str, allowed: Collection[str]) -> bool:
    """Whether a page of this origin may send requests."""
    return origin in allowed or "*" in allowed


def refuse_other_sites(headers: Mapping[str, str], bound_to: str, allowed: Collection[str]) -> None:
    """Raise ApiError 403 for a request that a page of another site makes, or that names another host.

    ``bound_to``: the address that the gateway listens on; where it is loopback, so is the host of every request.
    """
    origin, host = headers.get("Origin", ""), headers.get("Host", "")
    if is_loopback(bound_to) and not is_loopback(host_name(host)):
        raise ApiError(403, f"The host {host[:80]!r} is not this gateway's; ask it as {bound_to}, or serve with keys.")
    if origin and is_allowed(origin, allowed):
        return
    if (origin and not is_own(origin, host)) or headers.get("Sec-Fetch-Site", "") == "cross-site":
        raise ApiError(403, f"A page of {origin[:80] or 'another site'!r} may not ask; name it in allowed_origins.")


def cors_headers(headers: Mapping[str, str], allowed: Collection[str]) -> dict[str, str]:
    """What tells a browser that its page may read the answer to a request; empty where it may not."""
    origin = headers.get("Origin", "")
    if not origin or not is_allowed(origin, allowed):
        return {}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", "Access-Control-Expose-Headers": EXPOSED}


def preflight_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What a browser asks before it sends a page's request; `cors_headers` come with it."""
    return {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": headers.get("Access-Control-Request-Headers", DEFAULT_HEADERS),
        "Access-Control-Max-Age": "600",
    }
