"""One client for any OpenAI-compatible endpoint: n samples of a prompt, or embeddings of texts.

Parsing and seeds are pure functions; the client only sends, retries and falls back. It knows nothing of stores or of
meaning. A key is read from the environment when a request is made and stands nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import numpy as np

from demur.errors import EndpointError
from demur.prices import LOCAL, Price, price_of
from demur.records import FloatArray, Sample, SamplingSettings, content_hash

RETRIES = 5
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_SECONDS = 60.0
BASE_SEED_SPACING = 1024  # choice i is sampled with seed + i: bases lie further apart than any n


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind an OpenAI-compatible URL."""

    model: str
    base_url: str  # such as https://api.openai.com/v1; empty for a local model that is not running yet
    api_key_env: str | None = None  # NAME of the environment variable that holds the key, never the key
    identity: str = ""  # what its samples are stored under; the content hash for a local file
    concurrency: int = 4  # requests under way at once
    timeout_seconds: float = 120.0
    usd_per_million_input: float | None = None  # your own price, over the looked-up one
    usd_per_million_output: float | None = None
    priced_as: str | None = None  # look the price up under this model name
    local: bool = False  # served by demur on this machine: costs nothing unless priced_as says otherwise

    @property
    def name(self) -> str:
        """What its samples are stored under."""
        return self.identity or f"{self.model}@{self.base_url}"

    @property
    def price(self) -> Price | None:
        """USD a token; None when unknown."""
        if self.usd_per_million_input is not None and self.usd_per_million_output is not None:
            return Price(self.usd_per_million_input / 1e6, self.usd_per_million_output / 1e6, "price from the run file")
        if self.priced_as:
            found = price_of(self.priced_as)
            return found and Price(
                found.usd_per_input_token,
                found.usd_per_output_token,
                f"priced as {self.priced_as}: {found.source}",
            )
        return Price(0.0, 0.0, LOCAL) if self.local else price_of(self.model)


def base_seed(text: str, settings: SamplingSettings) -> int:
    """The seed of sample 0 of a prompt: spread by content, so that no two prompts share their draws."""
    spread = int(content_hash([text, settings.seed])[:5], 16)  # 20 bits: the product stays below 2**31
    return spread * BASE_SEED_SPACING


def request_body(model: str, text: str, settings: SamplingSettings, indices: Sequence[int]) -> dict[str, Any]:
    """The request that asks for the samples with these consecutive indices of a prompt."""
    filled = settings.template.replace("{prompt}", text)
    body: dict[str, Any] = {
        "model": model,
        "n": len(indices),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,  # llama.cpp's own defaults would lower the entropy silently
        "min_p": settings.min_p,
        "max_tokens": settings.max_tokens,
        "seed": base_seed(text, settings) + indices[0],
    }
    if settings.stop:
        body["stop"] = list(settings.stop)
    if not settings.chat:
        return body | {"prompt": filled, "logprobs": 1}
    messages = [{"role": "system", "content": settings.system}] if settings.system else []
    return body | {"messages": [*messages, {"role": "user", "content": filled}], "logprobs": True}


def parse_completion(answer: Any, indices: Sequence[int], where: str) -> list[Sample]:
    """The samples in an endpoint's answer; raises EndpointError when it is no completion."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise EndpointError(f"{where}: the answer has no choices: {_shown(answer)}")
    ordered = sorted(choices[: len(indices)], key=lambda choice: int(choice.get("index") or 0))
    usage = answer.get("usage") or {}
    parsed = [_parse_choice(choice, where) for choice in ordered]
    counts = _completion_tokens(parsed, int(usage.get("completion_tokens") or 0))
    return [
        Sample(
            index=index,
            text=text,
            logprobs=logprobs,
            finish_reason=reason,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=count,
            choices=len(ordered),
        )
        for index, (text, logprobs, reason), count in zip(indices, parsed, counts, strict=False)
    ]


_Choice = tuple[str, tuple[float, ...] | None, str]


def _parse_choice(choice: Mapping[str, Any], where: str) -> _Choice:
    reason = str(choice.get("finish_reason") or "")
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if text is None and isinstance(message, Mapping) and (message.get("refusal") or message.get("tool_calls")):
        text = message.get("refusal") or ""  # a refusal is an answer; a tool call has no text to compare
    if not isinstance(text, str):
        raise EndpointError(f"{where}: a choice has no text (content is {text!r}, finish_reason {reason!r})")
    return text, _parse_logprobs(choice.get("logprobs"), where), reason


def _parse_logprobs(logprobs: Any, where: str) -> tuple[float, ...] | None:
    """Per-token log-probs (nats) in the chat form or the legacy completions form."""
    if not isinstance(logprobs, Mapping):
        return None
    if isinstance(logprobs.get("content"), list):
        found = [token.get("logprob") for token in logprobs["content"]]
    else:
        found = list(logprobs.get("token_logprobs") or [])
    if not found:
        return None
    if any(not isinstance(value, int | float) or math.isnan(value) for value in found):
        raise EndpointError(f"{where}: a token's log-prob is not a number: {_shown(found)}")
    return tuple(float(value) for value in found)


def _completion_tokens(parsed: Sequence[_Choice], total: int) -> list[int]:
    """Tokens of each answer: its log-probs count them; otherwise the total by length of text."""
    if all(logprobs is not None for _, logprobs, _ in parsed):
        return [len(logprobs or ()) for _, logprobs, _ in parsed]
    characters = sum(len(text) for text, _, _ in parsed) or 1
    return [round(total * len(text) / characters) for text, _, _ in parsed]


def _shown(value: Any) -> str:
    return " ".join((value if isinstance(value, str) else json.dumps(value, default=str)).split())[:200]


def authorization(endpoint: Endpoint) -> dict[str, str]:
    """The header that carries the key, read from the environment now; raises EndpointError when it is not set."""
    variable = endpoint.api_key_env
    if not variable:
        return {}
    key = secret(variable)
    if not key:
        raise EndpointError(
            f"{endpoint.model}: the environment variable {variable} holds no key; export it, or {variable}_FILE"
        )
    return {"Authorization": f"Bearer {key}"}


def secret(variable: str) -> str | None:
    """A secret by its name: that environment variable, or the content of the file that ``NAME_FILE`` names."""
    file = os.environ.get(f"{variable}_FILE")
    if os.environ.get(variable) or not file:
        return os.environ.get(variable)
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise EndpointError(f"{variable}_FILE: {file} cannot be read ({error.strerror}); mount the secret") from None


class EndpointClient:
    """Talks to one endpoint; use as an async context manager, which keeps the connections."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._refused: set[str] = set()  # request fields that this endpoint does not know
        self._one_by_one = False  # it ignores or refuses n
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self.endpoint.timeout_seconds, connect=15)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def complete(self, text: str, settings: SamplingSettings, indices: Sequence[int]) -> list[Sample]:
        """Sample a prompt: one sample for each of ``indices``, in that order.

        Consecutive indices travel in one request (``n``); an endpoint that ignores or refuses n is asked once an
        index. Sample i is drawn with the same seed however the indices are grouped. Raises EndpointError.
        """
        found: list[Sample] = []
        for group in _consecutive(indices, alone=self._one_by_one):
            found += await self._complete_group(text, settings, group)
        return found

    async def _complete_group(self, text: str, settings: SamplingSettings, group: Sequence[int]) -> list[Sample]:
        path = "/chat/completions" if settings.chat else "/completions"
        answer = await self._post(path, request_body(self.endpoint.model, text, settings, group))
        samples = parse_completion(answer, group, self._where(path))
        if len(samples) < len(group):
            self._one_by_one = True
            samples += await self.complete(text, settings, group[len(samples) :])
        return samples

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts; shape (n, d), float32. Raises EndpointError."""
        answer = await self._post("/embeddings", {"model": self.endpoint.model, "input": list(texts)})
        rows = answer.get("data") if isinstance(answer, Mapping) else None
        if not isinstance(rows, list) or len(rows) != len(texts):
            raise EndpointError(
                f"{self._where('/embeddings')}: {len(texts)} texts, no such many rows: {_shown(answer)}"
            )
        return np.array([row["embedding"] for row in sorted(rows, key=lambda r: int(r["index"]))], dtype=np.float32)

    def _where(self, path: str) -> str:
        return f"{self.endpoint.model} at {self.endpoint.base_url}{path}"

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Send; on a complaint about a field the endpoint does not know, leave that field out from now on."""
        while True:
            sent = {key: value for key, value in body.items() if key not in self._refused}
            status, text = await self._send(path, sent)
            if status == 200:
                return self._decode(path, text)
            field = _refused_field(status, text, sent)
            if field is None:
                raise EndpointError(f"{self._where(path)} answered {status}: {_shown(text)}{_advice(status)}")
            if field == "n":
                self._one_by_one = True
            self._refused.add(field)

    def _decode(self, path: str, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise EndpointError(
                f"{self._where(path)} answered 200 with something that is no JSON: {_shown(text)}; is the URL right?"
            ) from None

    async def _send(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """One request with retries on overload, server errors and a lost connection."""
        assert self._session is not None, "use `async with EndpointClient(endpoint)`"
        headers, problem = authorization(self.endpoint), ""
        for attempt in range(RETRIES):
            wait = backoff_seconds(attempt)
            try:
                async with (
                    self._slots,
                    self._session.post(self.endpoint.base_url + path, json=body, headers=headers) as response,
                ):
                    text = await response.text(errors="replace")
                    if response.status not in RETRIED or attempt == RETRIES - 1:
                        return response.status, text
                    problem = f"answered {response.status}: {_shown(text)}"
                    wait = _retry_after(response.headers.get("Retry-After")) or wait
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"does not answer ({str(error)[:120] or type(error).__name__})"
            if attempt < RETRIES - 1:
                await asyncio.sleep(min(wait, LONGEST_WAIT_SECONDS))
        raise EndpointError(f"{self._where(path)} {problem}, {RETRIES} times; check that it runs: demur doctor")


def backoff_seconds(attempt: int) -> float:
    """Exponential backoff with full jitter: about .5, 1, 2, 4 s at most."""
    return random.uniform(0.1, 0.5 * 2**attempt)


def _retry_after(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:  # an HTTP date: rare enough that our own backoff will do
        return None


def _refused_field(status: int, text: str, sent: Mapping[str, Any]) -> str | None:
    """The optional field that a 400 or 422 complains about by name; None when the complaint is another."""
    if status not in (400, 422):
        return None
    optional = ("top_k", "min_p", "logprobs", "seed", "n", "stop")
    return next((name for name in optional if name in sent and f"{name}'" in text.replace('"', "'")), None)


def _advice(status: int) -> str:
    return {401: "; is the key right?", 403: "; is the key right?", 404: "; are model and URL right?"}.get(status, "")


def _consecutive(indices: Sequence[int], *, alone: bool) -> list[list[int]]:
    """Runs of consecutive indices, or each index alone."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][-1] + 1 and not alone:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs
