"""One upstream: send a request, retry before the first byte only, and stop asking one that is down for a while."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from demur.errors import DemurError
from demur.gateway.decision.abilities import is_refusal
from demur.gateway.http.json_edit import Body
from demur.gateway.http.key_mask import KeyMask
from demur.gateway.http.post import Poster, Reply
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.settings import GatewaySettings, ServedModel
from demur.gateway.upstreams.answers.answer import Answer, NoAnswerError, read_answer
from demur.gateway.upstreams.api_errors import is_of_api, lacks_api, operator_advice
from demur.gateway.upstreams.breaker import Breaker
from demur.gateway.upstreams.call_trace import TRACE, trace_answer
from demur.models.endpoint import Endpoint, authorization, secret
from demur.models.prices import Price
from demur.models.requests.retries import backoff_seconds, retry_after

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
LONGEST_RETRY_AFTER = 2.0  # seconds that a request waits for an upstream that asks for it
LONGEST_REST = 60.0  # seconds for which an upstream that asked for a pause gets no requests
AT_ONCE_BYTES = 2**20  # of a request; a longer one is written piece by piece, so that others are not held up
READY_SECONDS = 5.0  # seconds between two health checks of an upstream
ORDINARY_SECONDS = 10.0  # an ordinary request that takes longer has failed
UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)  # whatever is asked
ACCOUNT_STATUSES = (401, 402, 403, 404)  # problems of our account or model there, which no client can solve
PROBE_SECONDS, LONGEST_PROBE = 5.0, 4096  # of an answer to an empty request, in bytes
LONGEST_LIST = 2**20  # bytes of a list of models that are read
ANTHROPIC = "anthropic.com"
BROKEN = (aiohttp.ClientError, TimeoutError, OSError)
FAILURES: tuple[tuple[type[BaseException], str], ...] = (  # the narrower kinds first
    (aiohttp.ClientConnectorDNSError, "has a host name that is not found"),
    (aiohttp.ClientConnectorCertificateError, "has a certificate that is not accepted"),
    (aiohttp.ClientConnectorSSLError, "could not agree on encryption"),
    (aiohttp.ConnectionTimeoutError, "could not be reached in time"),
    (aiohttp.ClientConnectorError, "could not be reached"),
    (TimeoutError, "did not answer in time"),
    (aiohttp.ServerDisconnectedError, "closed the connection without an answer"),
    (aiohttp.ClientPayloadError, "broke off its answer"),
    (ConnectionError, "broke off the connection"),
)


class UpstreamDown(Exception):  # noqa: N818  # a state, caught by the gateway alone
    """The upstream cannot be reached, hangs, breaks off, asked for a pause, or its circuit is open."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, refused: bool = False, tried_every: float | None = None
    ) -> None:
        super().__init__(message)
        self.tried_every = tried_every  # seconds; None where it is not known to be down
        self.retry_after = retry_after  # seconds, where it asked for them
        self.refused = refused  # it is not down: it cannot answer this kind of request


class Upstream:
    """One model's endpoint; ``open`` and ``close`` within a running loop."""

    def __init__(self, endpoint: Endpoint, settings: GatewaySettings, served: ServedModel | None = None) -> None:
        self.under_way = 0  # requests that were sent and whose answer has not ended
        self.tier, self.votes = "", 1  # where there are more than two models: its name, and the answers it is asked for
        self.problem = ""  # what keeps it from answering, and what to do, as was last seen; "" where nothing does
        self.endpoint, self._retries = endpoint, settings.retries
        self._priced: tuple[Endpoint, Price | None] = (endpoint, endpoint.price)
        self._drop, self._rename = (served.drop, served.rename) if served else ((), {})
        self.breaker = Breaker(
            settings.breaker_failures,
            settings.breaker_seconds,
            self._answers_ordinary,
            lambda said: _say(f"{endpoint.model} {said}"),
        )
        self._path, self._protocol = CHAT.path, CHAT  # of the last request that failed
        self._ordinary_seconds = min(ORDINARY_SECONDS, settings.first_byte_seconds)
        # Told of each ordinary request that was answered, which may cost: its API, the answer.
        self.charge_ordinary: Callable[[Protocol, Answer], None] | None = None
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_seconds, sock_read=settings.first_byte_seconds
        )
        self._retry_at = 0.0  # of time.monotonic
        self._session: aiohttp.ClientSession | None = None
        self._poster: Poster | None = None
        self.chats = False  # it has answered a chat completion
        self._said: set[int] = set()  # statuses of our account that were reported to the operator
        self._lacks: set[str] = set()  # APIs whose errors were reported to the operator
        self._asking = asyncio.Lock()
        self._alive, self._asked_again = False, 0.0  # until then the last reply holds, of time.monotonic
        self._key_refused_until = 0.0  # of time.monotonic

    async def open(self) -> None:
        """Open the connection pool."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Close the connection pool."""
        await self.breaker.close()
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        protocol: Protocol,
        unanswered: Callable[[float], None],
        *,
        unproven: bool = False,
    ) -> Answer:
        """POST and return the answer, before any of it is sent to the client; raises UpstreamDown.

        Connection failures and overload are tried again; the last answer is returned, whatever its status.
        ``unanswered`` is told the seconds of each attempt that was sent, and then timed out, broke off or was cut.
        ``unproven``: it may be unable to answer such a request, so an error of its own does not count as an outage.
        """
        self._admit()
        self.under_way += 1
        try:
            return self._count_answer(await self._try(path, body, headers, protocol, unanswered, unproven=unproven))
        except BaseException:
            self.under_way -= 1
            raise

    def _count_answer(self, answer: Answer) -> Answer:
        """The answer, which is under way until it was read, or is closed."""
        if answer.whole is not None:
            self.under_way -= 1
            return answer
        open_ends = [answer.on_close]

        def end() -> None:
            if open_ends:  # closed for the first time
                self.under_way -= 1
                before = open_ends.pop()
                if before:
                    before()

        return replace(answer, on_close=end)

    def request(self, body: Body, **values: object) -> bytes:
        """A client's body with other values, and with its members as the settings say that the endpoint takes them."""
        if not self._drop and not self._rename:
            return body.replace_member(**values)
        taken = {self._rename.get(name, name): value for name, value in values.items() if name not in self._drop}
        return body.with_members(self._drop, self._rename).replace_member(**taken)

    def _admit(self) -> None:
        rest = self._retry_at - time.monotonic()
        if rest > 0:
            raise UpstreamDown(f"{self.endpoint.model}: not asked, Retry-After has {rest:.0f} s left", retry_after=rest)
        if self.breaker.open:
            failed = self.breaker.failures
            last = "its last request failed" if failed == 1 else f"its last {failed} requests failed"
            why = last if failed else "another machine finds it down"
            raise UpstreamDown(f"{self.endpoint.model}: not asked, {why}", tried_every=self.breaker.seconds)

    async def _try(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        protocol: Protocol,
        unanswered: Callable[[float], None],
        *,
        unproven: bool,
    ) -> Answer:
        for attempt in range(self._retries + 1):
            last, started = attempt == self._retries, time.monotonic()
            try:
                answer = await self._post(path, body, headers, protocol)
            except asyncio.CancelledError:
                unanswered(time.monotonic() - started)
                raise
            except BROKEN as error:
                if not isinstance(error, (NoAnswerError, *UNREACHABLE)):
                    unanswered(time.monotonic() - started)
                if last or isinstance(error, TimeoutError):  # a second try would make the client wait twice as long
                    raise self._count_failure(path, protocol, error, unproven=unproven) from error
                await asyncio.sleep(backoff_seconds(attempt) / 2)
                continue
            self._note_account(answer, protocol)
            asked = retry_after(answer.headers.get("Retry-After")) if answer.status in RETRIED else None
            if asked is not None and asked > LONGEST_RETRY_AFTER:
                self._retry_at = time.monotonic() + min(asked, LONGEST_REST)
                last = True
            if last or answer.status not in RETRIED:
                self._count(path, protocol, answer, unproven=unproven)
                return answer
            answer.close()
            await asyncio.sleep(backoff_seconds(attempt) / 2 if asked is None else asked)
        raise AssertionError("unreachable")

    def _count(self, path: str, protocol: Protocol, answer: Answer, *, unproven: bool) -> None:
        """Count a request that was answered."""
        status = answer.status
        if status < 500 or lacks_api(answer, protocol):
            self.breaker.record(True)
        elif not is_refusal(status, unproven=unproven):
            self._path, self._protocol = path, protocol
            self.breaker.record(False, f"answered {status}")

    def _count_failure(self, path: str, protocol: Protocol, error: BaseException, *, unproven: bool) -> UpstreamDown:
        """Count a request that was not answered; returns what to raise."""
        why, refused = self.explain(error), unproven and isinstance(error, NoAnswerError)
        if not refused:
            self._path, self._protocol = path, protocol
            # The address is for the operator alone: clients are told the rest.
            at = f"{why}, at {URL(self.endpoint.base_url).authority}"
            self.breaker.record(False, at, certain=isinstance(error, UNREACHABLE))
        return UpstreamDown(f"{self.endpoint.model}: {why}", refused=refused)

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str], protocol: Protocol) -> Answer:
        try:
            sent = CIMultiDict(headers)
            sent.update({**self._authorization(), "Accept-Encoding": "identity"})
        except DemurError as error:
            raise UpstreamDown(f"{self.endpoint.model}: its key is missing") from error
        trace = TRACE.get()
        if trace is None:
            return await self._ask(path, body, sent, protocol)
        call = trace.call(self.endpoint.model, self.endpoint.base_url, path)
        sent.update(call.headers)
        try:
            return trace_answer(await self._ask(path, body, sent, protocol), call)
        except BaseException as error:
            call.end(0, type(error).__name__, "", ())
            raise

    async def _ask(self, path: str, body: bytes, headers: CIMultiDict[str], protocol: Protocol) -> Answer:
        response: Reply | aiohttp.ClientResponse
        if len(body) <= AT_ONCE_BYTES:
            if self._poster is None or self._poster.base_url != self.endpoint.base_url:
                self._poster = Poster(self._pool, self.endpoint.base_url)
            response = await self._poster.post(path, headers, body)
        else:
            url = URL(self.endpoint.base_url + path, encoded=True)
            response = await self._pool.post(url, data=io.BytesIO(body), headers=headers, allow_redirects=False)
        try:
            return await read_answer(response, protocol)
        except BaseException:  # the client has gone: the answer goes too
            response.close()
            raise

    def _authorization(self) -> dict[str, str]:
        """The header with its key; Anthropic's own API takes it under another name. Raises DemurError."""
        found = authorization(self.endpoint)
        host = (URL(self.endpoint.base_url).host or "") if found else ""
        if host == ANTHROPIC or host.endswith(f".{ANTHROPIC}"):
            return {"x-api-key": found["Authorization"].removeprefix("Bearer ")}
        return found

    async def list_models(self) -> tuple[int, bytes]:
        """Status and body of its answer to a request for its models. Raises one of `BROKEN`, or UpstreamDown."""
        try:
            authorization = self._authorization()
        except DemurError as error:
            raise UpstreamDown(f"{self.endpoint.model}: its key is missing") from error
        async with self._pool.get(
            self.endpoint.base_url + "/models", headers=authorization, timeout=aiohttp.ClientTimeout(total=2)
        ) as response:
            return response.status, await response.content.read(LONGEST_LIST)

    async def probe(self, protocol: Protocol) -> tuple[int, bytes] | None:
        """Status and body of its answer to an empty request; None where it does not answer."""
        try:
            async with self._pool.post(
                self.endpoint.base_url + protocol.path,
                data=b"{}",
                headers={**protocol.own_headers, **self._authorization()},
                timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS),
                allow_redirects=False,
            ) as response:
                return response.status, await response.content.read(LONGEST_PROBE)
        except (*BROKEN, DemurError):
            return None

    @property
    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError(f"{self.endpoint.model} is asked before it was opened")
        return self._session

    @property
    def price(self) -> Price | None:
        """The endpoint's price, looked up once: a request asks for it several times."""
        if self._priced[0] is not self.endpoint:
            self._priced = self.endpoint, self.endpoint.price
        return self._priced[1]

    @property
    def healthy(self) -> bool:
        """False while no requests are sent to it: it is down, or it asked for a pause."""
        return not self.breaker.open and time.monotonic() >= self._retry_at

    async def alive(self) -> bool:
        """Whether it answers, and takes our key; checked every few seconds at most."""
        async with self._asking:
            if time.monotonic() >= self._asked_again:
                self._alive = await self._ask_alive()
                self._asked_again = time.monotonic() + READY_SECONDS
        return self._alive and time.monotonic() >= self._key_refused_until

    async def _ask_alive(self) -> bool:
        try:
            status, _ = await self.list_models()
        except (*BROKEN, UpstreamDown):
            return False
        return status < 500 and status != 401

    async def _answers_ordinary(self) -> bool:
        """Whether an ordinary request is answered, be it refused: the last one's kind, as short as can be."""
        TRACE.set(None)  # of this task: it belongs to no request
        try:
            async with asyncio.timeout(self._ordinary_seconds):
                answer = await self.ask_ordinary(self._protocol, self._path)
        except (*BROKEN, UpstreamDown):
            return False
        answer.close()
        return answer.status < 500

    async def ask_ordinary(self, protocol: Protocol, path: str) -> Answer:
        """The answer to the shortest request that any model can answer; charged where it is answered. Raises one of
        `BROKEN`, or UpstreamDown."""
        body = json.dumps({"model": self.endpoint.model, **protocol.ordinary}).encode()
        answer = await self._post(path, body, protocol.own_headers, protocol)
        if answer.status < 400 and self.charge_ordinary:
            self.charge_ordinary(protocol, answer)
        return answer

    def explain(self, error: BaseException) -> str:
        """Why it did not answer, after "it": its own message without the key, or the kind of the failure."""
        if not isinstance(error, NoAnswerError):
            return next(
                (words for kind, words in FAILURES if isinstance(error, kind)), f"failed ({type(error).__name__})"
            )
        return KeyMask([self.key]).mask(str(error).encode()).decode()

    def _note_account(self, answer: Answer, protocol: Protocol) -> None:
        """Report to the operator, once, a problem that no client can solve."""
        status = answer.status
        if is_of_api(answer, protocol, chats=self.chats):
            if (advice := operator_advice(answer, protocol)) and protocol.name not in self._lacks:
                self._lacks.add(protocol.name)
                at = f"{self.endpoint.model} at {self.endpoint.base_url}"
                _say(f"{at} answers {status} to POST {protocol.path}; {advice}")
            return
        if status < 400:
            self.chats |= protocol is CHAT
            self._said.clear()
            self.problem, self._key_refused_until = "", 0.0
        elif status == 401:  # for a while: where not ready means no requests, none would show that it is mended
            self._key_refused_until = time.monotonic() + LONGEST_REST
        if status in ACCOUNT_STATUSES and status not in self._said:
            self._said.add(status)
            said = f"{self.endpoint.model} at {self.endpoint.base_url} answers {status}"
            self.problem = self.problem or f"{said}: look at its key, account and name"
            _say(f"{said}; look at its key, account and name")

    @property
    def key(self) -> str:
        """The key that it is asked with; empty without one."""
        variable = self.endpoint.api_key_env
        try:
            return (secret(variable) or "") if variable else ""
        except DemurError:  # its file was removed: no requests are sent
            return ""


def _say(text: str) -> None:
    print(f"demur: upstream {text}", file=sys.stderr)


def unpriced_models(upstreams: Iterable[Upstream]) -> list[str]:
    """Names of the models whose price is unknown."""
    return [one.endpoint.model for one in upstreams if one.price is None]
