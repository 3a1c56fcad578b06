"""What is sent to ask for samples of a prompt. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from demur.records import ChatRequest, SamplingSettings, content_hash, key_of

BASE_SEED_SPACING = 1024  # choice i is sampled with seed + i: bases lie further apart than any n


def base_seed(asked: str | ChatRequest, settings: SamplingSettings) -> int:
    """The seed of sample 0 of a prompt: spread by content, so that no two prompts share their draws."""
    spread = int(content_hash([key_of(asked), settings.seed])[:5], 16)  # 20 bits: the product stays below 2**31
    return spread * BASE_SEED_SPACING


def request_body(
    model: str,
    asked: str | ChatRequest,
    settings: SamplingSettings,
    indices: Sequence[int],
    *,
    reasoning_effort: str = "",
) -> dict[str, Any]:
    """The request that asks for the samples with these consecutive indices of a prompt.

    A text is filled into the template; a chat request keeps its own messages.
    """
    body: dict[str, Any] = {
        "model": model,
        "n": len(indices),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,  # llama.cpp's own defaults would lower the entropy silently
        "min_p": settings.min_p,
        "max_tokens": settings.max_tokens,
        "seed": base_seed(asked, settings) + indices[0],
    }
    if reasoning_effort:
        body["reasoning_effort"] = reasoning_effort
    if settings.stop:
        body["stop"] = list(settings.stop)
    if settings.reasoning_effort:
        body["reasoning_effort"] = settings.reasoning_effort
    if isinstance(asked, ChatRequest):
        return {**body, **json.loads(asked.body), "logprobs": True}
    filled = settings.template.replace("{prompt}", asked)
    if not settings.chat:
        return body | {"prompt": filled, "logprobs": 1}
    messages = [{"role": "system", "content": settings.system}] if settings.system else []
    return body | {"messages": [*messages, {"role": "user", "content": filled}], "logprobs": True}


def without_fields(body: Mapping[str, Any], refused: Set[str]) -> dict[str, Any]:
    """The body without the fields that the endpoint does not take, the longest answer under its newer name."""
    sent = {key: value for key, value in body.items() if key not in refused}
    renamed = "max_tokens" in refused and "max_tokens" in body
    return sent | ({"max_completion_tokens": body["max_tokens"]} if renamed else {})


def first_group(indices: Sequence[int], *, alone: bool) -> list[int]:
    """The first run of consecutive indices, or the first index alone; ``indices`` ascend."""
    end = 1
    while not alone and end < len(indices) and indices[end] == indices[end - 1] + 1:
        end += 1
    return list(indices[:end])
