"""Paid requests to the models beside the one that answers: drafts, extra samples, requests that were cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp

from demur.gateway.http.request_record import request_record
from demur.models.prices import Tokens
from demur.records import Role

TOKENS_PER_SECOND = 100  # assumed of an answer that is being written: what paid models reach


@request_record(frozen=True, slots=True)
class Call:
    """One request to a model, and its tokens."""

    role: Role
    tokens: Tokens


def charge_unanswered(calls: list[Call], role: Role, prompt_tokens: int, most_tokens: int, seconds: float) -> None:
    """Records a request that was sent and not answered, after so many seconds: its provider may charge for it.

    The estimate is its prompt and what may have been written by then, `TOKENS_PER_SECOND` up to ``most_tokens``.
    """
    written = min(most_tokens, int(seconds * TOKENS_PER_SECOND))
    calls.append(Call(role, Tokens(prompt_tokens, written, counted=False)))


@contextmanager
def charge_if_cut(calls: list[Call], role: Role, prompt_tokens: int, read_tokens: Callable[[], int]) -> Iterator[None]:
    """Records an answer as paid for, as far as it was read, if it breaks off or its client disconnects."""
    try:
        yield
    except (asyncio.CancelledError, aiohttp.ClientError, OSError):  # a TimeoutError is one
        calls.append(Call(role, Tokens(prompt_tokens, read_tokens(), counted=False)))
        raise
