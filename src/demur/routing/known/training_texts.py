"""The prompts that a router was to learn from."""

from __future__ import annotations

from demur.routing.prompt_router import PromptRouter


def training_texts(router: PromptRouter) -> list[str]:
    """All prompts that a router was to learn from: those that it did, then those that could not be labelled."""
    untold = [one.prompt for one in router.unknown.prompts] if router.unknown else []
    return [*(one.prompt for one in router.training), *untold]
