"""`demur doctor`: ask an endpoint a few tiny questions and say what it supports, and what demur falls back to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import aiohttp

from demur.errors import EndpointError
from demur.event_loop import run_to_end
from demur.models.endpoint import Endpoint, EndpointClient, authorization
from demur.models.local import parse_model, running_endpoint
from demur.records import Sample, SamplingSettings

QUESTION = "Name a colour. Answer with one word."
PROBE = SamplingSettings(n=3, max_tokens=4)


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What an endpoint can do; None = it could not be told."""

    model: str
    base_url: str
    several: bool  # answers n > 1 with n choices
    logprobs: bool
    seeds: bool  # the same seed gives the same answer
    streaming: bool
    embeddings: bool
    priced: str  # where its price comes from, or that it is unknown

    @property
    def lines(self) -> tuple[str, ...]:
        """A line a feature, with the fallback where it is missing."""

        def line(name: str, supported: bool, otherwise: str) -> str:
            return f"  {name:<11} {'yes' if supported else 'no: ' + otherwise}"

        return (
            f"{self.model} at {self.base_url} answers",
            line("n", self.several, "demur asks once a sample, the prompt is paid for each time"),
            line("logprobs", self.logprobs, "labels use the discrete form of semantic entropy"),
            line("seeds", self.seeds, "a run cannot be repeated to the letter; the store keeps what came"),
            line("streaming", self.streaming, "a gateway would have to wait for whole answers"),
            line("embeddings", self.embeddings, "demur embeds prompts itself, on the CPU"),
            f"  {'price':<11} {self.priced}",
        )


def doctor(endpoint: str) -> EndpointReport:
    """Probe a model, named as `demur sample` takes it; a local one is started for it. Raises EndpointError."""

    async def probe() -> EndpointReport:
        async with running_endpoint(parse_model(endpoint), parallel=PROBE.n) as found:
            return await _probe(found)

    return run_to_end(probe())


async def _probe(endpoint: Endpoint) -> EndpointReport:
    patient = replace(endpoint, timeout_seconds=60.0)
    async with EndpointClient(patient) as client:
        first = await client.complete(QUESTION, PROBE, range(PROBE.n))
        again = await client.complete(QUESTION, PROBE, range(PROBE.n))
        embeddings = await _answers(client)
    return EndpointReport(
        model=endpoint.model,
        base_url=endpoint.base_url,
        several=first[0].choices == PROBE.n,
        logprobs=all(sample.logprobs is not None for sample in first),
        seeds=_texts(first) == _texts(again),
        streaming=await _streams(patient),
        embeddings=embeddings,
        priced=endpoint.price.source if endpoint.price else "unknown: give it in the run file",
    )


def _texts(samples: list[Sample]) -> list[str]:
    return [sample.text for sample in samples]


async def _answers(client: EndpointClient) -> bool:
    try:
        return (await client.embed(["red"])).size > 0
    except EndpointError:
        return False


async def _streams(endpoint: Endpoint) -> bool:
    body = {"model": endpoint.model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 4}
    url = f"{endpoint.base_url}/chat/completions"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=endpoint.timeout_seconds)) as session,
            session.post(url, json=body | {"stream": True}, headers=authorization(endpoint)) as response,
        ):
            return response.status == 200 and (await response.content.readline()).startswith(b"data:")
    except (aiohttp.ClientError, TimeoutError):
        return False
