"""Answers one prompt with a router: which models are called, and the result. The gateway does the same for its
clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from demur.config import ModelConfig
from demur.errors import ArtifactError
from demur.models.local import running_endpoint
from demur.models.requests.client import EndpointClient
from demur.prompts.pictures import ShownText, pictured_request, words_of
from demur.records import Role, Sample, SamplingSettings
from demur.routing.prompt_router import Decision, PromptRouter
from demur.routing.recorded_models import recorded_model

Ask = Callable[[str, int], Awaitable[Sample]]  # (prompt, index) -> the model's sample of that index


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and the calls that led to it."""

    prompt: str
    decision: Decision  # the last word
    answer: str
    calls: tuple[tuple[Role, Sample], ...]  # in this order; the answer is the last strong one, or the weak draft

    @property
    def path(self) -> str:
        """The stages that produced the answer, as lines of text."""
        weak = [sample for role, sample in self.calls if role == "weak"]
        if self.decision.stage == "unknown":
            return "the setting `unknown`: it is like prompts whose samples could not tell"
        if self.decision.stage == "prompt":
            return "the prompt alone"
        extra = len(weak) - 1
        beside = f" and {extra} extra sample{'s' if extra > 1 else ''}" if extra else ""
        kept = "kept" if self.decision.role == "weak" else "dropped, the strong model asked"
        return f"its draft: {weak[0].text.strip()!r}{beside} checked, {kept}"


@asynccontextmanager
async def asking_the_pair(router: PromptRouter) -> AsyncIterator[Callable[[Role], Ask]]:
    """Of each role a function that calls the model of a router's record, with the settings of its samples.

    A model is reached, or started, at its first call. Raises ArtifactError then where the record names none.
    """
    async with AsyncExitStack() as stack:
        asks: dict[Role, Ask] = {}
        yield lambda role: asks.setdefault(role, _asking(role, router, stack))


def _asking(role: Role, router: PromptRouter, stack: AsyncExitStack) -> Ask:
    client: EndpointClient | None = None

    async def ask(prompt: str, index: int) -> Sample:
        nonlocal client
        model, settings = _model_of(role, router)
        if client is None:
            endpoint = await stack.enter_async_context(running_endpoint(model, parallel=1))
            client = await stack.enter_async_context(EndpointClient(endpoint))
        pictures = prompt.pictures if isinstance(prompt, ShownText) else ()
        asked = pictured_request(words_of(prompt), pictures, "images") if pictures else prompt
        return (await client.complete(asked, settings, [index]))[0]

    return ask


def _model_of(role: Role, router: PromptRouter) -> tuple[ModelConfig, SamplingSettings]:
    try:
        sampling, model = dict(router.record["sampling"]), ModelConfig(**(recorded_model(router.record, role) or {}))
        settings = SamplingSettings(**sampling | {"stop": tuple(sampling["stop"])})
    except (LookupError, TypeError):
        raise ArtifactError(
            f"the router's record does not say how its {role} model is asked; give answer(prompt, {role}=)"
        ) from None
    return (model if router.endpoints is None else router.endpoints.model(model, "the router")), settings
