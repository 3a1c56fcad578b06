"""OpenAI's batch API: a file of requests goes up, a batch of it is worked on for hours, files of results come down.

A batch is found again by its file, so that one whose creation was not answered is not created twice. It does not know
what the requests ask for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from demur.errors import BatchRefusedError, EndpointError
from demur.files import replace_whole
from demur.models.endpoint import Endpoint, authorization
from demur.models.requests.completion import as_json
from demur.models.requests.retries import (
    LONGEST_WAIT_SECONDS,
    RETRIED,
    RETRIES,
    backoff_seconds,
    reason_of,
    retry_after,
)

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
NO_API = frozenset({404, 405, 501})
PAGES, PER_PAGE = 20, 100  # of the list of batches in which one is looked for
PIECE = 2**16  # bytes
LOOK_TRIES = 12  # to learn how far a batch is, which takes hours: about five minutes without a connection


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is, as the API tells it."""

    id: str
    status: str
    done: int  # requests, failed ones too
    files: tuple[str, ...]  # of results and of errors, as far as there are any
    said: str  # why it failed as a whole; else empty

    @property
    def ended(self) -> bool:
        """Whether no further result will come."""
        return self.status in ENDED


class BatchApi:
    """The batch API of an endpoint; use as an async context manager. Every method raises EndpointError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # A large file may take long, as long as it moves.
        timeout = aiohttp.ClientTimeout(total=None, connect=15, sock_read=self.endpoint.timeout_seconds)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def upload(self, lines: Sequence[str]) -> str:
        """Send a file of requests; returns the API's id of it. It costs nothing before a batch is made of it."""
        form = {"purpose": "batch"}
        answer = await self._ask("POST", "/files", form=form, file="".join(lines).encode())
        return self._id(answer, "/files")

    async def create(self, file: str, url: str, *, look_first: bool = False) -> BatchState:
        """Start a batch of a file, once: where an answer is missing, it is looked for before it is started again.

        Raises BatchRefusedError where it was certainly not started.
        """
        body = {"input_file_id": file, "endpoint": url, "completion_window": "24h"}
        for attempt in range(RETRIES):
            found = await self.find(file) if look_first or attempt else None
            if found is not None:
                return found
            try:
                status, text, wait = await self._once("POST", "/batches", body=body)
            except (TimeoutError, aiohttp.ClientError) as error:
                status, text, wait = 0, reason_of(error), None
            if 200 <= status < 300:
                return self._state(self._json("/batches", status, text))
            if status and status not in RETRIED:
                raise BatchRefusedError(str(self._failure("/batches", status, text)))
            await asyncio.sleep(min(wait or backoff_seconds(attempt), LONGEST_WAIT_SECONDS))
        raise self._failure("/batches", status, text)

    async def find(self, file: str) -> BatchState | None:
        """The batch of a file, in the API's list of them; None where there is none."""
        after = ""
        for _ in range(PAGES):
            page = await self._ask("GET", f"/batches?limit={PER_PAGE}{after}")
            rows = page.get("data")
            rows = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
            for row in rows:
                if row.get("input_file_id") == file:
                    return self._state(row)
            if not rows or not page.get("has_more"):
                break
            after = f"&after={rows[-1].get('id')}"
        return None

    async def look(self, batch: str) -> BatchState | None:
        """How far a batch is; None where the API does not know it."""
        found = await self._ask("GET", f"/batches/{batch}", unknown_is_none=True, tries=LOOK_TRIES)
        return None if found is None else self._state(found)

    async def download(self, file: str, to: Path) -> bool:
        """Write a file of results, whole or not at all; False where the API does not know it."""
        path, problem = f"/files/{file}/content", ""
        to.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(RETRIES):
            try:
                async with self._request("GET", path) as response:
                    if response.status == 404:
                        return False
                    if 200 <= response.status < 300:
                        with replace_whole(to) as part, part.open("wb") as held:
                            async for piece in response.content.iter_chunked(PIECE):
                                held.write(piece)
                        return True
                    problem, status = (await response.text(errors="replace"))[:2000], response.status
                if status not in RETRIED:
                    break
            except (TimeoutError, aiohttp.ClientError) as error:
                problem, status = reason_of(error), 0
            await asyncio.sleep(min(backoff_seconds(attempt), LONGEST_WAIT_SECONDS))
        raise self._failure(path, status, problem)

    def _request(self, method: str, path: str, **given: Any) -> Any:
        assert self._session is not None, "use `async with BatchApi(endpoint)`"
        headers = authorization(self.endpoint)
        url = self.endpoint.base_url + path
        return self._session.request(method, url, headers=headers, allow_redirects=False, **given)

    async def _once(
        self, method: str, path: str, body: Any = None, form: Mapping[str, str] | None = None, file: bytes | None = None
    ) -> tuple[int, str, float | None]:
        """Status, text, and the seconds to wait that it names."""
        data = None
        if file is not None:
            data = aiohttp.FormData(dict(form or {}))
            data.add_field("file", file, filename="requests.jsonl", content_type="application/jsonl")
        given = {"json": body} if body is not None else {"data": data} if data is not None else {}
        async with self._request(method, path, **given) as response:
            text = await response.text(encoding="utf-8", errors="replace")
            return response.status, text, retry_after(response.headers.get("Retry-After"))

    async def _ask(
        self, method: str, path: str, *, unknown_is_none: bool = False, tries: int = RETRIES, **given: Any
    ) -> Any:
        """The JSON of a request that may be repeated."""
        status, text = 0, ""
        for attempt in range(tries):
            wait = None
            try:
                status, text, wait = await self._once(method, path, **given)
            except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
                raise EndpointError(f"{self._where(path)}: no URL; write it as https://HOST/v1") from None
            except (TimeoutError, aiohttp.ClientError) as error:
                status, text = 0, reason_of(error)
            if 200 <= status < 300:
                return self._json(path, status, text)
            if status == 404 and unknown_is_none:
                return None
            if status and status not in RETRIED:
                break
            if attempt < tries - 1:
                await asyncio.sleep(min(wait or backoff_seconds(attempt), LONGEST_WAIT_SECONDS))
        raise self._failure(path, status, text)

    def _json(self, path: str, status: int, text: str) -> Mapping[str, Any]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, Mapping):
            raise self._failure(path, status, f"no JSON object: {text}")
        return found

    def _id(self, answer: Mapping[str, Any], path: str) -> str:
        found = answer.get("id")
        if not isinstance(found, str) or not found.replace("-", "").replace("_", "").isalnum() or len(found) > 200:
            raise EndpointError(f"{self._where(path)}: an answer without an id: {as_json(answer)}")
        return found  # it is part of URLs and of a file's name

    def _state(self, row: Mapping[str, Any]) -> BatchState:
        counts = row.get("request_counts")
        counts = counts if isinstance(counts, Mapping) else {}
        numbers = [counts.get(name) for name in ("completed", "failed")]
        files = [row.get(name) for name in ("output_file_id", "error_file_id")]
        errors = row.get("errors")
        rows = errors.get("data") if isinstance(errors, Mapping) else None
        said = [str(one.get("message")) for one in rows if isinstance(one, Mapping)] if isinstance(rows, list) else []
        return BatchState(
            self._id(row, "/batches"),
            str(row.get("status")),
            sum(number for number in numbers if isinstance(number, int)),
            tuple(self._id({"id": one}, "/batches") for one in files if one),
            as_json("; ".join(said)),
        )

    def _where(self, path: str) -> str:
        return f"{self.endpoint.model} at {self.endpoint.base_url}{path.partition('?')[0]}"

    def _failure(self, path: str, status: int, text: str) -> EndpointError:
        if status in NO_API:
            return EndpointError(
                f"{self._where(path)} answered {status}: it has no batch API; write files with --batch-out FOLDER, for "
                "`vllm run-batch` or another way to send them, or sample without --batch"
            )
        said = f"answered {status}: {as_json(text)}" if status else f"does not answer ({as_json(text)[:120]})"
        return EndpointError(
            f"{self._where(path)} {said}; what was sent before goes on, and the same command reads its results"
        )
