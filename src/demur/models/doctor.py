"""`demur doctor`: probe an endpoint with a few short requests; report what it supports and what demur falls back to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import aiohttp

from demur.config import ModelConfig
from demur.errors import EndpointError
from demur.event_loop import run_to_end
from demur.models.abilities import EndpointAbilities, probe_abilities
from demur.models.endpoint import Endpoint, authorization
from demur.models.local import parse_model, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.records import Sample, SamplingSettings

QUESTION = "Name a colour. Answer with one word."
PROBE = SamplingSettings(n=3, max_tokens=4)


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What an endpoint supports; None = unknown."""

    model: str
    base_url: str
    several: bool  # answers n > 1 with n choices
    logprobs: bool
    seeds: bool  # the same seed gives the same answer
    streaming: bool
    embeddings: bool
    priced: str  # its price, and where that comes from; or that it is unknown
    abilities: EndpointAbilities  # what else it can do
    notes: tuple[str, ...] = ()  # deviations from the requests, one sentence each

    @property
    def lines(self) -> tuple[str, ...]:
        """One line per feature, with the fallback where it is missing."""

        def line(name: str, supported: bool, otherwise: str) -> str:
            return f"  {name:<11} {'yes' if supported else 'no: ' + otherwise}"

        seeds = line("seeds", self.seeds, "a run cannot be repeated exactly; the store keeps the answers")
        seeds += " (the same request gave the same answers twice)" if self.seeds else ""
        return (
            f"{self.model} at {self.base_url} answers",
            line("n", self.several, "demur sends one request per sample; the prompt is paid for each time"),
            line("logprobs", self.logprobs, "labels use the discrete form of semantic entropy"),
            seeds,
            line("streaming", self.streaming, "a gateway would have to wait for whole answers"),
            line("embeddings", self.embeddings, "demur embeds prompts itself, on the CPU"),
            *self.abilities.lines,
            f"  {'price':<11} {self.priced}",
            *(f"  note: {sentence}" for sentence in self.notes),
        )


def doctor(endpoint: str | ModelConfig) -> EndpointReport:
    """Probe a model, named as `demur sample` takes it; a local one is started for it. Raises EndpointError."""
    config = parse_model(endpoint) if isinstance(endpoint, str) else endpoint

    async def probe() -> EndpointReport:
        async with running_endpoint(config, parallel=PROBE.most) as found:
            return await _probe(found)

    return run_to_end(probe())


async def _probe(endpoint: Endpoint) -> EndpointReport:
    patient = replace(endpoint, timeout_seconds=60.0)
    async with EndpointClient(patient, tries=2) as client:  # a person is waiting
        first = await client.complete(QUESTION, PROBE, range(PROBE.most))
        again = await client.complete(QUESTION, PROBE, range(PROBE.most))
        embeddings = await _answers(client)
        streaming = await _streams(client)
        abilities = await probe_abilities(patient, client.fit)
    return EndpointReport(
        model=endpoint.model,
        base_url=endpoint.base_url,
        several=first[0].choices == PROBE.most,
        logprobs=all(sample.logprobs is not None for sample in first),
        seeds=_texts(first) == _texts(again),
        streaming=streaming,
        embeddings=embeddings,
        priced=_price_line(endpoint),
        abilities=abilities,
        notes=client.notes,
    )


def _price_line(endpoint: Endpoint) -> str:
    price = endpoint.price
    if price is None:
        return (
            "unknown: give it as MODEL@URL#usd=IN/OUT (USD per million tokens; usd=0 if it is free), or in the run file"
        )
    return f"{price.each} per million tokens ({price.source})"


def _texts(samples: list[Sample]) -> list[str]:
    return [sample.text for sample in samples]


async def _answers(client: EndpointClient) -> bool:
    try:
        return (await client.embed(["red"])).size > 0
    except EndpointError:
        return False


async def _streams(client: EndpointClient) -> bool:
    endpoint = client.endpoint
    asked = {"model": endpoint.model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 4}
    body, url = client.fit(asked), f"{endpoint.base_url}/chat/completions"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=endpoint.timeout_seconds)) as session,
            session.post(url, json=body | {"stream": True}, headers=authorization(endpoint)) as response,
        ):
            return response.status == 200 and (await response.content.readline()).startswith(b"data:")
    except (aiohttp.ClientError, TimeoutError):
        return False
