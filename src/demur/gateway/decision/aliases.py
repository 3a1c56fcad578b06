"""Names of the settings' `[aliases]`: what clients call a model that their maker has named for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from demur.errors import InputError
from demur.gateway.http.openai_bodies import ApiError, share_of, threshold_of

DEMUR = "demur"
_WILDCARDS = frozenset("*?[")


def resolve(name: str, aliases: Mapping[str, str], direct: Collection[str]) -> str:
    """The name that an alias stands for, or the name itself.

    An alias spelt out goes before a model's own name, a pattern after it; of several patterns the first.
    """
    if name in aliases:
        return aliases[name]
    if name in direct or is_routed(name):
        return name
    return next((target for pattern, target in aliases.items() if fnmatchcase(name, pattern)), name)


def is_routed(name: str) -> bool:
    """`demur`, or a name with a threshold or a share in it. Raises ApiError for one that is not a number."""
    return name == DEMUR or threshold_of(name) is not None or share_of(name) is not None


def plain_aliases(aliases: Mapping[str, str]) -> list[str]:
    """Those that can be asked for as they stand."""
    return [name for name in aliases if not _WILDCARDS & set(name)]


def check_aliases(aliases: Mapping[str, str], direct: Collection[str]) -> None:
    """Raise InputError for an alias of nothing, or of a name that has a meaning already."""
    for name, target in aliases.items():
        if _means_something(name):
            raise InputError(f"aliases: {name!r} has a meaning of its own; choose another name for {target!r}")
        if target not in direct and not _means_something(target):
            known = ", ".join([DEMUR, f"{DEMUR}@0.5", f"{DEMUR}@30%", *direct])
            raise InputError(f"aliases: {name!r} stands for {target!r}, which is not a model here; known: {known}")


def _means_something(name: str) -> bool:
    try:
        return is_routed(name)
    except ApiError:
        return False
