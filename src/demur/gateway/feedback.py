"""POST /v1/feedback: a client says whether an answer was good or bad, by the decision's id."""

from __future__ import annotations

import asyncio
import json
import re
import time

from aiohttp import web

from demur.errors import StoreError
from demur.gateway.app import Gateway, as_json
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.ledger.feedback import Feedback, Verdict, keep_feedback

LARGEST_BYTES = 4096
ID = re.compile(r"[0-9a-f]{32}")  # of a decision


async def take_feedback(gateway: Gateway, request: web.Request) -> web.Response:
    """Keep one verdict in the ledger. Raises ApiError."""
    key = gateway.admit_client(request)
    if not gateway.settings.ledger:
        raise ApiError(404, "This gateway keeps no ledger, so it keeps no feedback.")
    raw = await request.content.read(LARGEST_BYTES + 1)
    id, verdict = _read(raw)
    given = Feedback(id, key, time.time(), verdict)
    try:
        await asyncio.to_thread(keep_feedback, gateway.settings.ledger, given)
    except StoreError:  # its text names a file or a server
        raise ApiError(503, "The feedback could not be kept; try again.", "server_error", retry_after=1) from None
    return as_json({"id": id, "verdict": verdict})


def _read(raw: bytes) -> tuple[str, Verdict]:
    try:
        fields = json.loads(raw) if len(raw) <= LARGEST_BYTES else None
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ApiError(400, 'The body must be {"id": DECISION, "verdict": "good" or "bad"}.')
    id, verdict = fields.get("id"), fields.get("verdict")
    if not isinstance(id, str) or not ID.fullmatch(id):
        raise ApiError(400, "id must be that of a decision: the header x-demur-decision-id of its answer.")
    if verdict not in ("good", "bad"):
        raise ApiError(400, 'verdict must be "good" or "bad".')
    return id, verdict
