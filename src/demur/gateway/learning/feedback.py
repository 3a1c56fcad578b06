"""POST /v1/feedback: a client says whether an answer was good or bad, and which one is better, by the decision's id."""

from __future__ import annotations

import asyncio
import json
import re
import time

from aiohttp import web

from demur.errors import StoreError
from demur.gateway.app import Gateway
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.learning.kept_prompts import kept_prompt
from demur.gateway.ledger.feedback import Feedback, FeedbackVerdict, keep_feedback
from demur.gateway.ledger.read import read_decision

LARGEST_BYTES = 2**16
LONGEST_SECONDS, STEP_SECONDS = 2.0, 0.25  # a decision is in the ledger half a second after its answer
ID = re.compile(r"[0-9a-f]{32}")  # of a decision


async def take_feedback(gateway: Gateway, request: web.Request) -> web.Response:
    """Keep one verdict in the ledger. Raises ApiError."""
    key = gateway.admit_client(request)
    if not gateway.settings.ledger:
        raise ApiError(404, "This gateway keeps no ledger, so it keeps no feedback.")
    id, verdict, better = _read(await _body(request))
    kept = kept_prompt(better, key, gateway.settings, gateway.redact)
    given = Feedback(id, key, time.time(), verdict, better=kept)
    try:
        if kept:
            await _wait_for(gateway.settings.ledger, id)
        there = await asyncio.to_thread(keep_feedback, gateway.settings.ledger, given)
    except StoreError:  # its text names a file or a server
        raise ApiError(503, "The feedback could not be kept; try again.", "server_error", retry_after=1) from None
    return web.json_response({"id": id, "verdict": verdict} | ({"better_kept": there} if better else {}))


async def _body(request: web.Request) -> bytes:
    """The body, up to one byte more than is read."""
    try:
        return await request.content.readexactly(LARGEST_BYTES + 1)
    except asyncio.IncompleteReadError as whole:
        return whole.partial


async def _wait_for(ledger: str, id: str) -> None:
    """Wait until the decision is in the ledger, a short time at most: its text decides whether this one is kept."""
    for _ in range(round(LONGEST_SECONDS / STEP_SECONDS)):
        if await asyncio.to_thread(read_decision, ledger, id):
            return
        await asyncio.sleep(STEP_SECONDS)


def _read(raw: bytes) -> tuple[str, FeedbackVerdict, str]:
    """The decision's id, the verdict, and the better answer (empty for none). Raises ApiError."""
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
    better = fields.get("better", "")
    if not isinstance(better, str) or ("better" in fields and (verdict == "good" or not better.strip())):
        raise ApiError(400, 'better is the text of a better answer, beside the verdict "bad".')
    return id, verdict, better
