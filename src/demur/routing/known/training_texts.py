"""The prompts that a router was to learn from."""

from __future__ import annotations

from demur.routing.prompt_router import PromptRouter


def labelled_part(router: PromptRouter) -> str:
    """Which of the prompts that a router was to learn from have a label, after a comma; empty where all have."""
    labelled, unknown = len(router.training), len(router.unknown.prompts) if router.unknown else 0
    return f", of the {labelled:,} of {labelled + unknown:,} with a label" if unknown else ""


def training_texts(router: PromptRouter) -> list[str]:
    """All prompts that a router was to learn from: those that it did, then those that could not be labelled."""
    untold = [one.prompt for one in router.unknown.prompts] if router.unknown else []
    return [*(one.prompt for one in router.training), *untold]
