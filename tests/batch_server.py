"""A fake of OpenAI's batch API on loopback, in a thread: /v1/files and /v1/batches, answered by fake endpoints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from demur.testing import FakeEndpoint, in_a_thread, on_loopback

Row = dict[str, Any]


@dataclass
class BatchServer:
    """What the fake does, and what it was asked to do."""

    models: Mapping[str, FakeEndpoint]
    address: str = ""
    looks: int = 1  # at a batch, before it has ended
    ends_as: Callable[[Row], str] = lambda batch: "completed"
    answered: Callable[[Row], bool] = lambda row: True  # whether an ended batch has a result of a request
    result: Callable[[Row, Row], Row] = lambda row, result: result  # of a request and the right result
    no_api: frozenset[str] = frozenset()  # paths that answer 404
    failures: list[int] = field(default_factory=list)  # statuses handed out first to POST /v1/batches, once done
    away: int = 0  # looks at a batch that are answered with 503
    files: dict[str, str] = field(default_factory=dict)
    batches: dict[str, Row] = field(default_factory=dict)  # deleted from it, a batch is unknown
    uploads: list[str] = field(default_factory=list)
    largest: int = 0  # lines of a file
    executed: Counter[str] = field(default_factory=Counter)  # by custom_id
    key: str | None = None

    def app(self) -> web.Application:
        """The API."""
        app = web.Application(client_max_size=300 * 10**6)
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{id}", self._look)
        app.router.add_post("/v1/chat/completions", self._complete)
        return app

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "bad key"}}, status=401)
        if request.path in self.no_api:
            return web.json_response({"detail": "Not Found"}, status=404)
        return None

    async def _upload(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request):
            return refused
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = f"file-{len(self.uploads)}"
        self.files[name] = file.file.read().decode()
        self.uploads.append(name)
        self.largest = max(self.largest, self.files[name].count("\n"))
        return web.json_response({"id": name, "object": "file", "purpose": "batch"})

    async def _content(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["id"])
        return web.Response(text=found) if found is not None else web.json_response({}, status=404)

    async def _create(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request):
            return refused
        body = await request.json()
        assert body["completion_window"] == "24h"
        name = f"batch_{len(self.batches)}"
        made = {"id": name, "object": "batch", "input_file_id": body["input_file_id"], "endpoint": body["endpoint"]}
        self.batches[name] = made | {"status": "validating", "looked": 0}
        if self.failures:  # it was made, and the answer is lost
            return web.json_response({"error": {"message": "overloaded"}}, status=self.failures.pop(0))
        return web.json_response(self.batches[name])

    async def _list(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request):
            return refused
        names = list(self.batches)
        start = names.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = names[start : start + 2]
        rows = [self.batches[name] for name in page]
        return web.json_response({"object": "list", "data": rows, "has_more": start + 2 < len(names)})

    async def _look(self, request: web.Request) -> web.Response:
        if self.away:
            self.away -= 1
            return web.json_response({"error": {"message": "try later"}}, status=503)
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return web.json_response({"error": {"message": "no such batch"}}, status=404)
        batch["looked"] += 1
        batch["status"] = "in_progress"
        if batch["looked"] >= self.looks and "output_file_id" not in batch:
            self._end(batch)
        elif "output_file_id" in batch:
            batch["status"] = batch["ended"]
        return web.json_response(batch)

    def _end(self, batch: Row) -> None:
        batch["status"] = batch["ended"] = self.ends_as(batch)
        rows = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        right: list[Row] = []
        wrong: list[Row] = []
        for row in rows if batch["status"] != "failed" else []:
            assert row["url"] == batch["endpoint"]
            if self.answered(row):
                self.executed[row["custom_id"]] += 1
                body = self.models[row["body"]["model"]].completion(row["body"], chat="chat" in row["url"])
                response = {"status_code": 200, "request_id": "r", "body": body}
                result = self.result(row, {"custom_id": row["custom_id"], "response": response, "error": None})
                (wrong if result.get("error") or result["response"]["status_code"] >= 400 else right).append(result)
            elif batch["status"] == "expired":
                error = {"code": "batch_expired", "message": "not executed before the window ended"}
                wrong.append({"custom_id": row["custom_id"], "response": None, "error": error})
        batch["request_counts"] = {"total": len(rows), "completed": len(right), "failed": len(wrong)}
        if batch["status"] == "failed":
            batch["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "too many tokens are enqueued"}]}
        for kind, some in (("output", right), ("error", wrong)):
            name = f"{batch['id']}_{kind}"
            self.files[name] = "".join(json.dumps(row) + "\n" for row in some)
            batch[f"{kind}_file_id"] = name if some else None

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.executed["directly"] += 1
        return web.json_response(self.models[body["model"]].completion(body, chat=True))


@contextmanager
def batch_server(models: Mapping[str, FakeEndpoint], **settings: Any) -> Iterator[BatchServer]:
    """Serve the fake for as long as the block runs."""
    found = BatchServer(models, **settings)
    with in_a_thread(on_loopback(found.app())) as address:
        found.address = f"{address}/v1"
        yield found
