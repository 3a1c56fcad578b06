"""How prompts unlike any training prompt are decided, said where there are many of them."""

from __future__ import annotations

from demur.routing.known.known_prompts import Looked
from demur.routing.known.unknown_setting import UNLIKE
from demur.routing.prompt_router import UNLIKE_SETTING, PromptRouter

WORTH_SAYING = 0.05  # of the prompts


def unlike_setting_note(router: PromptRouter, looked: Looked) -> str:
    """That many prompts go by a score that is a guess, and which setting changes that; empty where few do."""
    share = float((~looked.familiar & ~looked.unknown).mean())
    if share < WORTH_SAYING:
        return ""
    return (
        f"{share:.0%} of the prompts are {UNLIKE}. They go by their score, which is a guess; `{UNLIKE_SETTING}` sends "
        "them to the strong model instead, beside the strong share that is asked for. Training on prompts like them is "
        "better than either"
    )
