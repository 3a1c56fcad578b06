"""One client for any OpenAI-compatible endpoint: n samples of a prompt, or embeddings of texts.

It sends requests, retries, and falls back where an endpoint does not support a field. Requests, answers, refusals and
retries are pure functions in `request`, `completion`, `refusals` and `retries`. It does not know the store.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import numpy as np

from demur.errors import EndpointError, PromptRefusedError
from demur.models.endpoint import Endpoint, authorization
from demur.models.requests.completion import as_json, read_completion
from demur.models.requests.refusals import OPTIONAL, blames_prompt, error_inside, refused_field
from demur.models.requests.request import first_group, request_body, without_fields
from demur.models.requests.retries import (
    LONGEST_WAIT_SECONDS,
    RETRIED,
    RETRIES,
    TIMEOUTS,
    backoff_seconds,
    reason_of,
    retry_after,
)
from demur.records import ChatRequest, FloatArray, Sample, SamplingSettings, count_of, key_of

LARGEST_ANSWER = 32 * 2**20  # bytes, inflated


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back for a request."""

    status: int  # of an error inside a 200: the error's own
    text: str
    answer: Any = None  # the JSON of a success
    retry_after: float | None = None
    inside: bool = False  # the failure came with a status of success

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300


class EndpointClient:
    """Talks to one endpoint; use as an async context manager, which keeps the connections."""

    def __init__(self, endpoint: Endpoint, *, tries: int = RETRIES) -> None:
        self.endpoint = endpoint
        self._tries = tries
        self._refused: set[str] = set()  # request fields that this endpoint does not take
        self._one_by_one = False  # it ignores or refuses n
        self._answered = False  # a request in the form that is sent now
        self._thoughts = 0
        self._notes: dict[str, None] = {}
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._session: aiohttp.ClientSession | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Deviations from the request, one sentence each: fields left out, another model, thinking removed."""
        thinking = (
            f"{self.endpoint.model}: thinking was left out of {count_of(self._thoughts, 'answer')}, and is paid for"
        )
        return (*self._notes, *([thinking] if self._thoughts else []))

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self.endpoint.timeout_seconds, connect=15)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def reach(self) -> None:
        """Raise EndpointError where nothing answers, so that no other model is paid before; any answer will do."""
        assert self._session is not None, "use `async with EndpointClient(endpoint)`"
        url = f"{self.endpoint.base_url}/models"  # what every server of the protocol has, free of charge
        for attempt in range(self._tries):
            try:
                async with self._session.get(url, headers=authorization(self.endpoint), allow_redirects=False):
                    return
            except aiohttp.ClientConnectorError as error:
                problem = f"does not answer ({str(error)[:120]}), {attempt + 1} times"
            except (TimeoutError, aiohttp.ClientError, ValueError):
                return  # something is there: what is wrong with it the first prompt says
            if attempt < self._tries - 1:
                await asyncio.sleep(backoff_seconds(attempt))
        raise EndpointError(f"{self._where('')} {problem}; is it running? No model was asked")

    async def complete(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int]
    ) -> list[Sample]:
        """Sample a prompt: one sample for each of ``indices``, in that order. Raises EndpointError."""
        return [sample async for samples in self.sample(asked, settings, indices) for sample in samples]

    async def sample(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int]
    ) -> AsyncIterator[list[Sample]]:
        """As `complete`, but yields the samples of each request as it ends, so that none is lost if a later request
        fails.

        Consecutive indices travel in one request (``n``); an endpoint that ignores or refuses n is asked once per
        index. Sample i is drawn with the same seed however the indices are grouped. Raises PromptRefusedError where
        this prompt alone cannot be answered, EndpointError for any other failure, after what came with the same answer
        has been handed over.
        """
        path = "/chat/completions" if settings.chat or isinstance(asked, ChatRequest) else "/completions"
        text = key_of(asked)
        left = sorted(indices)
        while left:
            group = first_group(left, alone=self._one_by_one)
            effort = self.endpoint.reasoning_effort
            body = request_body(self.endpoint.model, asked, settings, group, reasoning_effort=effort)
            answer = await self._post(path, body, text)
            samples, problem = self._read(answer, group, path, settings, text)
            yield samples
            if problem:
                raise PromptRefusedError(f"{problem} (prompt {as_json(text)[:60]!r})", "answer")
            self._one_by_one = self._one_by_one or len(samples) < len(group)
            left = left[len(samples) :]

    def _read(
        self, answer: Any, group: Sequence[int], path: str, settings: SamplingSettings, text: str
    ) -> tuple[list[Sample], str]:
        """The samples of an answer and what is wrong with the rest; notes deviations from the request."""
        found = read_completion(
            answer,
            group,
            self._where(path),
            stop=settings.stop if "stop" in self._refused else (),
            sent_characters=len(text) + len(settings.template) + len(settings.system),
        )
        self._thoughts += found.thoughts
        if found.model and not _same_model(self.endpoint.model, found.model):
            self._note(f"{self.endpoint.model}: the answers say that they come from {found.model[:80]}")
        return found.samples, found.problem

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts; shape (n, d), float32. Raises EndpointError."""
        answer = await self._post("/embeddings", {"model": self.endpoint.model, "input": list(texts)})
        rows = answer.get("data") if isinstance(answer, Mapping) else None
        if not isinstance(rows, list) or len(rows) != len(texts):
            raise EndpointError(
                f"{self._where('/embeddings')}: {len(texts)} texts, not as many rows: {as_json(answer)}"
            )
        try:
            ordered = sorted(rows, key=lambda row: int(row["index"]))
            found: FloatArray = np.array([row["embedding"] for row in ordered], dtype=np.float32)
        except (KeyError, TypeError, ValueError):
            found = np.empty(0, dtype=np.float32)
        if found.ndim != 2 or not np.isfinite(found).all():
            raise EndpointError(f"{self._where('/embeddings')}: rows without an embedding each: {as_json(answer)}")
        return found

    def _where(self, path: str) -> str:
        return f"{self.endpoint.model} at {self.endpoint.base_url}{path}"

    def _note(self, sentence: str) -> None:
        self._notes[sentence] = None

    async def _post(self, path: str, body: dict[str, Any], prompt: str = "") -> Any:
        """Send; a field that the endpoint does not take is left out from now on."""
        while True:
            sent = self.fit(body)
            reply = await self._send(path, sent)
            if reply.succeeded:
                self._answered = True
                return reply.answer
            field = None if blames_prompt(reply.status, reply.text) else refused_field(reply.status, reply.text, sent)
            if field is None:
                answer = await self._suspect(path, sent, reply)
                if answer is not None:
                    return answer
                listed = await self._listed_models() if reply.status == 404 else []
                raise self._failure(path, reply, prompt, listed)
            self._leave_out({field}, sent)

    def fit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request without the fields that the endpoint is known not to take."""
        return without_fields(body, self._refused)

    def _leave_out(self, names: set[str], sent: Mapping[str, Any]) -> None:
        self._refused |= names
        self._one_by_one = self._one_by_one or "n" in names
        for name in names & {"temperature", "top_p"}:
            if sent.get(name) not in (None, 1.0):
                self._note(f"{self.endpoint.model} does not take {name} {sent[name]:g}: it is asked without it")
        if "reasoning_effort" in names:
            self._note(f"{self.endpoint.model} does not take reasoning_effort: it thinks as long as it does by itself")
        if "stop" in names and "stop" in sent:
            self._note(f"{self.endpoint.model} does not take stop strings: its answers are cut at them here")

    async def _suspect(self, path: str, sent: Mapping[str, Any], reply: _Reply) -> Any:
        """The answer to a request without the field that is behind a refusal that names none; None where none is.

        Asked only before the endpoint has answered anything: later a refusal cannot be the fields' fault.
        """
        fields = [name for name in OPTIONAL if name in sent]
        if self._answered or reply.status not in (400, 422) or not fields or blames_prompt(reply.status, reply.text):
            return None
        for names in [{name} for name in fields] + [set(fields)]:
            found = await self._send(path, without_fields(sent, names))
            if found.succeeded:
                self._answered = True
                self._leave_out(names, sent)
                self._note(
                    f"{self.endpoint.model} refuses requests with {', '.join(sorted(names))}: it is asked without"
                )
                return found.answer
        return None

    async def _listed_models(self) -> list[str]:
        """The models that the endpoint says it has; none where it does not say."""
        assert self._session is not None, "use `async with EndpointClient(endpoint)`"
        url, headers = f"{self.endpoint.base_url}/models", authorization(self.endpoint)
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                return [str(row["id"]) for row in json.loads(await self._body(response, "/models"))["data"]]
        except (EndpointError, aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError, RecursionError):
            return []

    def _failure(self, path: str, reply: _Reply, prompt: str, listed: Sequence[str]) -> EndpointError:
        advice = _advice(reply.status, self.endpoint, listed)
        said = f"{self._where(path)} answered {reply.status}: {as_json(reply.text)}{advice}"
        named = f"{said} (prompt {as_json(prompt)[:60]!r})"
        if blames_prompt(reply.status, reply.text):
            return PromptRefusedError(named, "prompt")
        if reply.inside:
            return PromptRefusedError(named, "passing")
        return PromptRefusedError(named, "unknown") if reply.status in (400, 422) and prompt else EndpointError(said)

    async def _send(self, path: str, body: Mapping[str, Any]) -> _Reply:
        """One request with retries on overload, server errors and a lost connection."""
        problem, hung = "", 0
        for attempt in range(self._tries):
            wait = backoff_seconds(attempt)
            try:
                async with self._slots:
                    reply = await self._request(path, body)
                hopeless = reply.status not in RETRIED or blames_prompt(reply.status, reply.text)
                if hopeless or attempt == self._tries - 1 or refused_field(reply.status, reply.text, body):
                    return reply
                problem, wait = f"answered {reply.status}", reply.retry_after or wait
            except TimeoutError:
                hung += 1
                problem = f"does not answer within {self.endpoint.timeout_seconds:g} s"
                if hung == TIMEOUTS:
                    break
            except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
                raise EndpointError(f"{self._where(path)}: no URL; write it as https://HOST/v1") from None
            except aiohttp.ClientError as error:
                problem = f"does not answer ({reason_of(error)})"
            if attempt < self._tries - 1:
                await asyncio.sleep(min(wait, LONGEST_WAIT_SECONDS))
        tries = "once" if attempt == 0 else f"{attempt + 1} times"
        raise EndpointError(f"{self._where(path)} {problem}, {tries}; is it running, or does it need more {_TIME}?")

    async def _request(self, path: str, body: Mapping[str, Any]) -> _Reply:
        """One request, once."""
        assert self._session is not None, "use `async with EndpointClient(endpoint)`"
        headers = authorization(self.endpoint)
        url = self.endpoint.base_url + path
        # A redirect would send the prompt elsewhere, or turn the POST into a GET: it is named, not followed.
        async with self._session.post(url, json=body, headers=headers, allow_redirects=False) as response:
            if 300 <= response.status < 400:
                target = as_json(response.headers.get("Location", "nowhere"))
                raise EndpointError(
                    f"{self._where(path)} answered {response.status}, a redirect to {target}; give the URL that it "
                    "points to, where that is right"
                )
            text = await self._body(response, path)
            if not 200 <= response.status < 300:
                return _Reply(response.status, text, retry_after=retry_after(response.headers.get("Retry-After")))
        return self._decode(path, response.status, text)

    async def _body(self, response: aiohttp.ClientResponse, path: str) -> str:
        """The text of an answer, which is UTF-8 whatever its header says; raises EndpointError for one without end."""
        held = bytearray()
        async for piece in response.content.iter_any():
            held += piece
            if len(held) > LARGEST_ANSWER:
                raise EndpointError(
                    f"{self._where(path)} sent more than {LARGEST_ANSWER // 2**20} MiB; is the URL right?"
                )
        return held.decode("utf-8-sig", "replace")

    def _decode(self, path: str, status: int, text: str) -> _Reply:
        """A success as JSON, or the error that it holds."""
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            found = f"something that is not JSON: {as_json(text)}" if text.strip() else "nothing"
            raise PromptRefusedError(
                f"{self._where(path)} answered {status} with {found}; is the URL right?", "passing"
            ) from None
        error = error_inside(answer)
        return _Reply(error, text, inside=True) if error else _Reply(status, text, answer)


_TIME = "time (timeout_seconds)"
LISTED_MODELS = 8  # of those that an endpoint has, in the error about one that it does not have


def _same_model(requested: str, answered: str) -> bool:
    """Whether an answer's model is the requested one, perhaps with its maker, date or file before or behind."""
    one, other = (name.casefold().rpartition("/")[2] for name in (requested, answered))
    return one in other or other in one


def _advice(status: int, endpoint: Endpoint, listed: Sequence[str]) -> str:
    """What to look at; ``listed``: the models that the endpoint says it has."""
    if status in (401, 403):
        if endpoint.api_key_env:
            return f"; it refuses the key that {endpoint.api_key_env} holds: is that a key of this endpoint?"
        return "; no key was sent: name the variable that holds it, MODEL@URL#VARIABLE (in a run file: api_key_env)"
    if status != 404:
        return ""
    if listed:
        names = ", ".join(as_json(name) for name in listed[:LISTED_MODELS])
        return f"; the models that it has: {names}{', ...' if len(listed) > LISTED_MODELS else ''}"
    if re.search(r"/v\d", urlsplit(endpoint.base_url).path):  # as nearly every base URL of OpenAI's protocol is
        return "; are model and URL right?"
    return f"; did you forget /v1? Try {endpoint.base_url.rstrip('/')}/v1"
