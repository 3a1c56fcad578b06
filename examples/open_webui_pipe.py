"""
title: demur
description: The small model answers unless it demurs; then the large one does.
requirements: aiohttp, pydantic
"""

# A pipe of Open WebUI: add this file under Admin Panel > Functions, and set the address of `demur serve` in its valves.
# A chat is one conversation for demur, and the status line says which model answers and why.

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from pydantic import BaseModel, Field

Emit = Callable[[dict[str, Any]], Awaitable[None]]


class Pipe:
    """One model named demur."""

    class Valves(BaseModel):
        """What an administrator sets."""

        url: str = Field(default="http://127.0.0.1:8111/v1", description="base URL of `demur serve`")
        key: str = Field(default="", description="a client key of demur, where it asks for one")
        model: str = Field(default="demur", description="demur, demur@30% or demur@0.4")
        seconds: float = Field(default=300.0, description="longest wait for an answer")

    def __init__(self) -> None:
        self.valves = self.Valves()

    async def pipe(
        self, body: dict[str, Any], __metadata__: dict[str, Any] | None = None, __event_emitter__: Emit | None = None
    ) -> AsyncIterator[str]:
        """The answer's text, as it comes."""
        chat = (__metadata__ or {}).get("chat_id")
        headers = {"x-demur-conversation": str(chat)} if chat else {}
        headers |= {"Authorization": f"Bearer {self.valves.key}"} if self.valves.key else {}
        asked = {**body, "model": self.valves.model}
        limit = aiohttp.ClientTimeout(total=self.valves.seconds)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(f"{self.valves.url}/chat/completions", json=asked, headers=headers) as answer,
        ):
            if answer.status != 200:
                yield f"demur answered {answer.status}: {(await answer.text())[:500]}"
                return
            if __event_emitter__:
                said = f"{answer.headers.get('x-demur-model')}: {answer.headers.get('x-demur-reason')}"
                await __event_emitter__({"type": "status", "data": {"description": said, "done": True}})
            if "event-stream" not in answer.content_type:
                yield (await answer.json())["choices"][0]["message"]["content"] or ""
                return
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    choices = json.loads(line[6:]).get("choices") or [{}]
                    yield choices[0].get("delta", {}).get("content") or ""
