"""The models that a router's record names, by their role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demur.records import Role


def recorded_model(record: Mapping[str, Any], role: Role) -> Mapping[str, Any] | None:
    """What the record says of a role's model; None where it says nothing."""
    models = record.get("models", {})
    between = [one for one in models.get("between", ()) if role in (one.get("name"), one.get("model"))]
    found = models.get(role) or (between[0] if between else None)
    return found if isinstance(found, Mapping) else None
