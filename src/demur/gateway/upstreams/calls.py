"""Paid requests to the models beside the one that answers: drafts, extra samples, requests that were cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from demur.models.prices import Tokens
from demur.records import Role


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a model, and its tokens."""

    role: Role
    tokens: Tokens


@contextmanager
def charge_if_cut(calls: list[Call], role: Role, prompt_tokens: int, completion_tokens: int = 0) -> Iterator[None]:
    """Records a request as paid for if its client disconnects, since the provider may charge for it."""
    try:
        yield
    except asyncio.CancelledError:
        calls.append(Call(role, Tokens(prompt_tokens, completion_tokens, counted=False)))
        raise
