"""An upstream that refuses the gateway's own key: the client is never told that its own key is wrong."""

from __future__ import annotations

from dataclasses import replace

from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.upstreams.ask_upstreams import Sent

REFUSALS = (401, 403)  # a client's key never reaches an upstream, so both are about the gateway's own


def own_key_told(sent: Sent, protocol: Protocol) -> Sent:
    """What is sent to the client: in place of an upstream's 401 or 403, a 502 that says whose key was refused.

    The upstream's own text is left out: it is about the gateway's account, and may quote a part of its key.
    """
    answer = sent.answer
    if answer.status not in REFUSALS:
        return sent
    answer.close()
    error = ApiError(
        502,
        f"The upstream of {sent.model} refused the gateway's own key or account ({answer.status}). Your key for this "
        "gateway is not at fault; its operator has to look at the key of that upstream.",
        "upstream_error",
        "upstream_refused_key",
    )
    return replace(sent, answer=replace(answer, whole=protocol.error_body(error), told=error.status))
