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
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import numpy as np

from demur.errors import EndpointError
from demur.models.prices import LOCAL, Price, price_of
from demur.records import FloatArray, Sample, SamplingSettings, content_hash

RETRIES = 5
TIMEOUTS = 2  # requests that may hang to the end, each of which may have been paid for
RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)}) - {501, 505}
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
    """The samples in an endpoint's answer; raises EndpointError when it is no completion, or one choice is broken."""
    samples, problem = read_completion(answer, indices, where)
    if problem:
        raise EndpointError(problem)
    return samples


def read_completion(answer: Any, indices: Sequence[int], where: str) -> tuple[list[Sample], str]:
    """The samples in an endpoint's answer, and what is wrong with the first choice that gives none ("" if nothing).

    One broken choice among n takes nothing from its siblings, which are paid for. Raises EndpointError when there is
    no choice at all.
    """
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise EndpointError(f"{where}: the answer has no choices: {_as_json(answer)}; try demur doctor on it")
    ordered = sorted(choices[: len(indices)], key=_place)
    usage = answer.get("usage")
    asked, answered = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    read = [_parse_choice(choice) for choice in ordered]
    whole = [(index, found) for index, found in zip(indices, read, strict=False) if not isinstance(found, str)]
    counts = _completion_tokens([found for _, found in whole], answered)
    samples = [
        Sample(index, text, logprobs, reason, asked, count, len(ordered))
        for (index, (text, logprobs, reason)), count in zip(whole, counts, strict=True)
    ]
    problem = next((found for found in read if isinstance(found, str)), "")
    return samples, problem and f"{where}: {problem}"


_Choice = tuple[str, tuple[float, ...] | None, str]


def _parse_choice(choice: Any) -> _Choice | str:
    """Text, log-probs and finish reason of a choice; or what is wrong with it."""
    if not isinstance(choice, Mapping):
        return f"a choice is no object: {_as_json(choice)}"
    reason = str(choice.get("finish_reason") or "")
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if text is None and isinstance(message, Mapping) and (message.get("refusal") or message.get("tool_calls")):
        text = message.get("refusal") or ""  # a refusal is an answer; a tool call has no text to compare
    if text is None and reason == "content_filter":
        text = ""  # what was filtered away stays away however often it is asked
    if not isinstance(text, str):
        return f"a choice has no text (content is {text!r}, finish_reason {reason!r}); a larger max_tokens may help"
    found = _token_logprobs(choice.get("logprobs"))
    if any(not isinstance(value, int | float) or not math.isfinite(value) for value in found):
        return f"a token's log-prob is not a number: {_as_json(found)}"
    clean = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair could be kept nowhere
    return clean, tuple(float(value) for value in found) or None, reason


def _token_logprobs(logprobs: Any) -> list[Any]:
    """Per-token log-probs (nats) in the chat form or the legacy completions form; empty without any."""
    if not isinstance(logprobs, Mapping):
        return []
    if isinstance(logprobs.get("content"), list):
        return [token.get("logprob") if isinstance(token, Mapping) else token for token in logprobs["content"]]
    listed = logprobs.get("token_logprobs")
    return listed if isinstance(listed, list) else []


def _place(choice: Any) -> int:
    place = choice.get("index") if isinstance(choice, Mapping) else None
    return place if isinstance(place, int) else 0


def _count(usage: Any, name: str) -> int:
    """A token count of the usage; 0 where there is none, or none that can be believed."""
    found = usage.get(name) if isinstance(usage, Mapping) else None
    return found if isinstance(found, int) and found >= 0 else 0


def _completion_tokens(parsed: Sequence[_Choice], total: int) -> list[int]:
    """Tokens of each answer: its log-probs count them; otherwise the total by length of text."""
    if all(logprobs is not None for _, logprobs, _ in parsed):
        return [len(logprobs or ()) for _, logprobs, _ in parsed]
    characters = sum(len(text) for text, _, _ in parsed) or 1
    return [max(round(total * len(text) / characters), 1 if total and text else 0) for text, _, _ in parsed]


def _as_json(value: Any) -> str:
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
        """Sample a prompt: one sample for each of ``indices``, in that order. Raises EndpointError."""
        return [sample async for samples in self.sample(text, settings, indices) for sample in samples]

    async def sample(
        self, text: str, settings: SamplingSettings, indices: Sequence[int]
    ) -> AsyncIterator[list[Sample]]:
        """The same, a request's samples at a time: whoever keeps them loses none when a later request fails.

        Consecutive indices travel in one request (``n``); an endpoint that ignores or refuses n is asked once an
        index. Sample i is drawn with the same seed however the indices are grouped. Raises EndpointError, after what
        came with the same answer has been handed over.
        """
        path = "/chat/completions" if settings.chat else "/completions"
        left = sorted(indices)
        while left:
            group = _first_group(left, alone=self._one_by_one)
            answer = await self._post(path, request_body(self.endpoint.model, text, settings, group))
            samples, problem = read_completion(answer, group, self._where(path))
            yield samples
            if problem:
                raise EndpointError(f"{problem} (prompt {_as_json(text)[:60]!r})")
            self._one_by_one = self._one_by_one or len(samples) < len(group)
            left = left[len(samples) :]

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts; shape (n, d), float32. Raises EndpointError."""
        answer = await self._post("/embeddings", {"model": self.endpoint.model, "input": list(texts)})
        rows = answer.get("data") if isinstance(answer, Mapping) else None
        if not isinstance(rows, list) or len(rows) != len(texts):
            raise EndpointError(
                f"{self._where('/embeddings')}: {len(texts)} texts, not as many rows: {_as_json(answer)}"
            )
        try:
            ordered = sorted(rows, key=lambda row: int(row["index"]))
            found: FloatArray = np.array([row["embedding"] for row in ordered], dtype=np.float32)
        except (KeyError, TypeError, ValueError):
            found = np.empty(0, dtype=np.float32)
        if found.ndim != 2 or not np.isfinite(found).all():
            raise EndpointError(f"{self._where('/embeddings')}: rows without an embedding each: {_as_json(answer)}")
        return found

    def _where(self, path: str) -> str:
        return f"{self.endpoint.model} at {self.endpoint.base_url}{path}"

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Send; on a complaint about a field the endpoint does not know, leave that field out from now on."""
        while True:
            sent = _without_refused(body, self._refused)
            status, text = await self._send(path, sent)
            if status == 200:
                return self._decode(path, text)
            field = _refused_field(status, text, sent)
            if field is None:
                raise EndpointError(f"{self._where(path)} answered {status}: {_as_json(text)}{_advice(status)}")
            if field == "n":
                self._one_by_one = True
            self._refused.add(field)

    def _decode(self, path: str, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise EndpointError(
                f"{self._where(path)} answered 200 with something that is no JSON: {_as_json(text)}; is the URL right?"
            ) from None

    async def _send(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """One request with retries on overload, server errors and a lost connection."""
        assert self._session is not None, "use `async with EndpointClient(endpoint)`"
        headers, problem, hung = authorization(self.endpoint), "", 0
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
                    problem = f"answered {response.status}: {_as_json(text)}"
                    wait = _retry_after(response.headers.get("Retry-After")) or wait
            except TimeoutError:
                hung += 1
                problem = f"does not answer within {self.endpoint.timeout_seconds:g} s"
                if hung == TIMEOUTS:
                    break
            except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
                raise EndpointError(f"{self._where(path)}: no URL; write it as https://HOST/v1") from None
            except aiohttp.ClientError as error:
                problem = f"does not answer ({str(error)[:120] or type(error).__name__})"
            if attempt < RETRIES - 1:
                await asyncio.sleep(min(wait, LONGEST_WAIT_SECONDS))
        tries = f"{attempt + 1} times; check that it runs: demur doctor, or allow it more time: timeout_seconds"
        raise EndpointError(f"{self._where(path)} {problem}, {tries}")


def backoff_seconds(attempt: int) -> float:
    """Exponential backoff with full jitter: about .5, 1, 2, 4 s at most."""
    return random.uniform(0.1, 0.5 * 2**attempt)


def _retry_after(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:  # an HTTP date: rare enough that our own backoff will do
        return None


def _without_refused(body: Mapping[str, Any], refused: set[str]) -> dict[str, Any]:
    """The body without the fields that the endpoint does not know, the longest answer under its newer name."""
    sent = {key: value for key, value in body.items() if key not in refused}
    return sent | ({"max_completion_tokens": body["max_tokens"]} if "max_tokens" in refused else {})


def _refused_field(status: int, text: str, sent: Mapping[str, Any]) -> str | None:
    """The optional field that a refusal is about; None when it is about something else.

    ``stop`` is not optional: answers that run on are other answers.
    """
    said = text.replace("\\", "")  # before quotes within JSON
    if status == 403:  # a model that gives nobody its log-probs
        return "logprobs" if "logprobs" in sent and "logprobs" in said else None
    if status not in (400, 422):
        return None
    unknown = re.search(r"un(known|recogni[sz]ed|supported)|not (supported|permitted)", said, re.IGNORECASE)
    if "max_tokens" in sent and ("max_completion_tokens" in said or (unknown and _names(said, "max_tokens"))):
        return "max_tokens"  # not where it is too large
    optional = ["top_k", "min_p", "logprobs", "seed", "n"]
    optional += [name for name in ("temperature", "top_p") if sent.get(name) == 1.0]  # what they are without being sent
    known = [name for name in optional if name in sent]
    blamed = re.search(r'"param"\s*:\s*"(\w+)"', said)
    if blamed:
        return blamed.group(1) if blamed.group(1) in known else None
    return next((name for name in known if _names(said, name)), None)


def _names(said: str, field: str) -> bool:
    """Whether a complaint names a field, in quotes or after a colon; not as a key of a request that it repeats.

    An apostrophe inside a word ("isn't") is no quote.
    """
    quoted = rf"""["'`](?:\w+\.)*{field}["'`](?!\w)"""
    return bool(re.search(rf"(?<![{{,\w])(?<![{{,] ){quoted}|(?<!\w){quoted}(?!\s*:)|: {field}(?![\w-])", said))


def _advice(status: int) -> str:
    key = "; is the key right? Its variable is named MODEL@URL#VARIABLE, or api_key_env in the run file"
    return {401: key, 403: key, 404: "; are model and URL right?"}.get(status, "")


def _first_group(indices: Sequence[int], *, alone: bool) -> list[int]:
    """The first run of consecutive indices, or the first index alone; ``indices`` ascend."""
    end = 1
    while not alone and end < len(indices) and indices[end] == indices[end - 1] + 1:
        end += 1
    return list(indices[:end])
