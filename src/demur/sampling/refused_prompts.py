"""Prompts that a model refuses while others are answered: left out, counted, named, and remembered in the store.

A refusal that names a reason in the prompt (filtered, too long) concerns that prompt. A refusal without a reason may
concern the endpoint, which would refuse every prompt; it is attributed to the prompt once another prompt is answered,
and many in a row end the sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from demur.errors import EndpointError, PromptRefusedError
from demur.models.endpoint import Endpoint
from demur.records import Prompt, SamplingSettings, count_of
from demur.store import Store

MOST_IN_A_ROW = 5  # refusals without a reason in them and without an answer between them
NAMED = 3  # prompts in a sentence


class Refusals:
    """The refusals of one model during one session; ``answered``: it has answered a prompt under these settings."""

    def __init__(self, endpoint: Endpoint, settings: SamplingSettings, store: Store, *, answered: bool) -> None:
        self._endpoint, self._settings, self._store = endpoint, settings, store
        self._answered = answered
        self._held: list[tuple[Prompt, PromptRefusedError]] = []  # not yet known to be the prompts' own
        self.found: dict[str, str] = {}  # prompt id -> reason

    def add(self, prompt: Prompt, error: PromptRefusedError) -> None:
        """Leave a prompt out; raises the error if it concerns the endpoint."""
        self.found[prompt.id] = str(error)
        if error.cause == "prompt" or (error.cause == "answer" and self._answered):
            self._remember(prompt, error)
            return
        self._held.append((prompt, error))
        if len(self._held) >= MOST_IN_A_ROW:
            raise EndpointError(
                f"{error}; {len(self._held)} prompts in a row were refused in the same way; sampling stops"
            )

    def answer(self) -> None:
        """Record that the endpoint answered a prompt: earlier refusals concern their prompts."""
        self._answered = True
        for prompt, error in self._held:
            if error.cause != "passing":
                self._remember(prompt, error)
        self._held.clear()

    def finish(self) -> None:
        """Raise EndpointError where the model has refused every prompt it was ever asked."""
        if self.found and not self._answered:
            first = next(iter(self.found.values()))
            raise EndpointError(f"{self._endpoint.model} refused all {len(self.found)} prompts, such as: {first}")

    def _remember(self, prompt: Prompt, error: PromptRefusedError) -> None:
        self._store.add_refusal(self._endpoint.name, prompt.key, self._settings.key, str(error))


def refused_prompts(
    prompts: Sequence[Prompt], endpoint: Endpoint, settings: SamplingSettings, store: Store
) -> dict[str, str]:
    """Prompt id -> why a model refused it under these settings, of those that it is not asked again."""
    reasons = store.refusals(endpoint.name, (prompt.key for prompt in prompts), settings.key)
    return {prompt.id: reasons[prompt.key] for prompt in prompts if prompt.key in reasons}


def refused_sentence(model: str, reasons: Mapping[str, str]) -> str:
    """Which prompts are left out, and why."""
    named = ", ".join(f"{name}: {reason[:160]}" for name, reason in list(reasons.items())[:NAMED])
    more = ", ..." if len(reasons) > NAMED else ""
    left_out = count_of(len(reasons), "prompt is", "prompts are")
    return f"{left_out} left out, refused by {model} (--ask-refused asks again): {named}{more}"
