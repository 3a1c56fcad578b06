"""What the gateway adds to a request of each API: chat completions, Messages, Responses; one upstream, one run.

Every round asks each API once directly and once through the gateway, plain and streamed, in an order that is drawn
anew: whatever else the machine does meets all of them alike. One request is under way at a time. First the model is
named, then it is `demur`. What is added is a quantile of the times through the gateway minus the same quantile of the
direct ones: the median, and the fastest tenth and fiftieth, which other work on the machine disturbs least. Intervals
are 95 %, by bootstrap over rounds. Then, in blocks that alternate, the processor time of the gateway's process per
request.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demur.records import FloatArray
from environment import describe
from gateway import DEMUR, UPSTREAM
from gateway_load import process
from served_gateway import demur_command

WARM = 40
LEVELS = (0.02, 0.1, 0.5)
DRAWS = 400  # of the bootstrap
BLOCKS, BLOCK = 10, 100  # of requests, for processor time
APIS = ("chat", "messages", "responses")
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
AIM = 0.1  # ms that Messages and Responses may add beyond chat completions

# Fixed answers of the three APIs, plain or streamed; it is run by itself, so it has imports of its own.
UPSTREAM_CODE = """
import json, sys
from aiohttp import web
said = "Because it is."
usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
later = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
chat = {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
first = {"index": 0, "delta": {"content": "a"}}
chunk = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [first]}
message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": said}], "usage": later}
item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": said, "annotations": []}]}
response = {"id": "resp_1", "object": "response", "status": "completed", "error": None, "model": "m", "output": [item],
    "usage": later}
def events(*values):
    return [b"event: %s\\ndata: %s\\n\\n" % (one["type"].encode(), json.dumps(one).encode()) for one in values]
delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}
piece = {"type": "response.output_text.delta", "output_index": 0, "delta": "a"}
answers = {
    "/v1/chat/completions": (chat, [b"data: " + json.dumps(chunk).encode() + b"\\n\\n"] * 5 + [b"data: [DONE]\\n\\n"]),
    "/v1/messages": (message, events({"type": "message_start", "message": message}, *[delta] * 5,
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": later}, {"type": "message_stop"})),
    "/v1/responses": (response, events({"type": "response.created", "response": response}, *[piece] * 5,
        {"type": "response.completed", "response": response})),
}
whole = {path: json.dumps(one).encode() for path, (one, _) in answers.items()}
async def answer(request):
    body = await request.read()
    if body == b"{}":
        return web.json_response({}, status=400)
    if b'"stream": true' not in body:
        return web.Response(body=whole[request.path], content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in answers[request.path][1]:
        await response.write(piece)
    return response
app = web.Application()
for path in answers:
    app.router.add_post(path, answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request; ``port`` and ``model`` say which way it goes."""

    api: str
    way: str  # direct, passed or routed
    port: int
    model: str
    stream: bool

    @property
    def body(self) -> bytes:
        text = "Why is the sky blue?"
        said = {"input": text} if self.api == "responses" else {"messages": [{"role": "user", "content": text}]}
        more = {"max_tokens": 64} if self.api == "messages" else {}
        return json.dumps({"model": self.model, "stream": self.stream, **said, **more}).encode()


def kinds(*only: str) -> list[Kind]:
    """Those of a round that goes these ways."""
    every = (("direct", UPSTREAM, "large"), ("passed", DEMUR, "large"), ("routed", DEMUR, "demur"))
    ways = [one for one in every if one[0] in only]
    return [
        Kind(api, way, port, model, stream) for stream in (False, True) for way, port, model in ways for api in APIS
    ]


def milliseconds(connection: http.client.HTTPConnection, kind: Kind) -> float:
    """Of one request: to the whole answer, or to a stream's first byte."""
    start = time.perf_counter()
    connection.request("POST", PATHS[kind.api], kind.body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    first = answer.read(1) if kind.stream else b""
    stop = time.perf_counter() if kind.stream else 0.0
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"{kind} answered {answer.status}")
    assert first or not kind.stream
    return 1000 * ((stop or time.perf_counter()) - start)


Times = dict[tuple[str, str, bool], FloatArray]


def added(times: Times, way: str, stream: bool, api: str, level: float, rows: Any) -> float:
    """Milliseconds that a way adds at a quantile, over these rounds."""
    through, direct = (np.quantile(times[api, one, stream][rows], level) for one in (way, "direct"))
    return float(through - direct)


def report(times: Times, way: str, stream: bool, level: float, rng: np.random.Generator) -> None:
    """One line: what is added to chat, and what Messages and Responses add beyond that."""
    count = len(times["chat", way, stream])
    draws = [rng.integers(0, count, count) for _ in range(DRAWS)]

    def interval(measure: Callable[[Any], float]) -> str:
        drawn = [measure(rows) for rows in draws]
        return f"{measure(slice(None)):6.3f} [{np.quantile(drawn, 0.025):6.3f}, {np.quantile(drawn, 0.975):6.3f}]"

    def beyond(api: str) -> Callable[[Any], float]:
        def measure(rows: Any) -> float:
            own, chat = (added(times, way, stream, one, level, rows) for one in (api, "chat"))
            return own - chat

        return measure

    cells = [f"chat {interval(lambda rows: added(times, way, stream, 'chat', level, rows))}"]
    cells += [f"{api} - chat {interval(beyond(api))}" for api in APIS[1:]]
    name = f"{way}, {'first byte' if stream else 'whole'}, p{100 * level:.0f}"
    print(f"{name:<26} {'   '.join(cells)}")


def cpu_milliseconds(pid: int) -> float:
    """Processor time of a process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report_cpu(connection: http.client.HTTPConnection, pid: int) -> None:
    """Processor time of the gateway per request, in blocks that alternate."""
    every = kinds("passed", "routed")
    spent: dict[Kind, list[float]] = {kind: [] for kind in every}
    for _ in range(BLOCKS):
        for kind in every:
            before = cpu_milliseconds(pid)
            for _ in range(BLOCK):
                milliseconds(connection, kind)
            spent[kind].append((cpu_milliseconds(pid) - before) / BLOCK)
    print(f"\nprocessor time of the gateway per request, ms: mean of {BLOCKS} blocks of {BLOCK} +- 2 standard errors")
    for way in ("passed", "routed"):
        for stream in (False, True):
            rows = [spent[kind] for kind in every if (kind.way, kind.stream) == (way, stream)]
            cells = [f"{np.mean(one):.3f} +- {2 * np.std(one, ddof=1) / len(one) ** 0.5:.3f}" for one in rows]
            named = "   ".join(f"{api} {cell}" for api, cell in zip(APIS, cells, strict=True))
            print(f"{way + (', streamed' if stream else ''):<26} {named}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=600)
    rounds = parser.parse_args().rounds
    print(describe())
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stack.enter_context(process([sys.executable, "-c", UPSTREAM_CODE, str(UPSTREAM)], 0))
        served = stack.enter_context(process(demur_command(Path(name), upstream=UPSTREAM, port=DEMUR), 1))
        wait(DEMUR)
        connections = {port: http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in (UPSTREAM, DEMUR)}
        print(f"ms added; aim: at most {AIM} ms beyond chat completions")
        for way, count in (("passed", 4 * rounds), ("routed", rounds)):
            every = kinds("direct", way)
            found: dict[Kind, list[float]] = {kind: [] for kind in every}
            for turn in range(WARM + count):
                for i in rng.permutation(len(every)):
                    taken = milliseconds(connections[every[i].port], every[i])
                    if turn >= WARM:
                        found[every[i]].append(taken)
            times = {(kind.api, kind.way, kind.stream): np.array(values) for kind, values in found.items()}
            for stream in (False, True):
                for level in LEVELS:
                    report(times, way, stream, level, rng)
        report_cpu(connections[DEMUR], served.pid)


def wait(port: int, seconds: float = 120) -> None:
    """Until the gateway answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"the gateway did not answer within {seconds:.0f} s")


if __name__ == "__main__":
    main()
