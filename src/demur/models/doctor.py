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
from demur.models.prices import COUNTED_PRIVATE, GIVEN, PRIVATE, Price
from demur.models.requests.client import EndpointClient
from demur.records import Sample, SamplingSettings, fact_lines

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
    free: bool  # the price is $0
    private: bool  # that is counted for a private address alone
    abilities: EndpointAbilities  # what else it can do
    notes: tuple[str, ...] = ()  # deviations from the requests, one sentence each

    @property
    def lines(self) -> tuple[str, ...]:
        """One line per feature, with the fallback where it is missing; then deviations from the requests."""

        def yes_or(there: bool, otherwise: str) -> str:
            return "yes" if there else f"no: {otherwise}"

        repeats = "yes: the same request gave the same answers twice"
        facts = (
            ("n", yes_or(self.several, "demur sends one request per sample; the prompt is paid for each time")),
            ("logprobs", yes_or(self.logprobs, "labels use the discrete form of semantic entropy")),
            ("seeds", repeats if self.seeds else "no: a run cannot be repeated exactly; the store keeps the answers"),
            ("streaming", yes_or(self.streaming, "a gateway would have to wait for whole answers")),
            ("embeddings", yes_or(self.embeddings, "demur embeds prompts itself, on the CPU")),
            *self.abilities.facts,
            ("price", self.priced),
        )
        cautions = (f"- {sentence}" for sentence in self.notes)
        return (f"{self.model} at {self.base_url} answers", *fact_lines(facts), *cautions)


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
        priced=_price_words(endpoint.price),
        free=endpoint.price is not None and not endpoint.price.charges,
        private=endpoint.price is not None and endpoint.price.source == PRIVATE,
        abilities=abilities,
        notes=client.notes,
    )


def _price_words(price: Price | None) -> str:
    if price is None:
        return "unknown: give MODEL@URL#usd=IN/OUT in USD per million tokens (usd=0 if it is free), or the run file"
    if price.source in (PRIVATE, GIVEN):
        return price.told.replace(PRIVATE, COUNTED_PRIVATE).removeprefix("price ")  # the line's name says it
    return f"{price.each} per million tokens, {price.source}"


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
