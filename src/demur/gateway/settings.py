"""What a gateway is told: one frozen record, from a file and the command line. No secret stands in it.

Keys of upstreams are named by their environment variable; keys of clients are kept hashed in a file of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from demur.config import ModelConfig, from_mapping, read_mapping
from demur.records import Role

# What a reload takes over; whatever else differs, only a restart can change.
RELOADED = frozenset(
    {"default", "context_characters", "sticky", "fallback", "headers", "record_prompts", "keys", "admin_key_env"}
    | {"embedding_models", "decide_seconds", "body_seconds", "max_in_flight", "drain_seconds"}
)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Everything that a gateway is told."""

    router: str = "run/router"  # folder of a saved router
    host: str = "127.0.0.1"  # loopback unless told otherwise
    port: int = 8111
    weak: ModelConfig | None = None  # None: the pair that the router was trained on
    strong: ModelConfig | None = None
    default: Role = "strong"  # where a prompt without any text goes: weak or strong
    context_characters: int = 500  # of the conversation before the last user text that are routed with it
    sticky: bool = True  # a conversation stays with its model unless the policy escalates
    fallback: bool = True  # weak <-> strong when one is down; only for requests that left the choice to demur
    # Names that /v1/embeddings passes to the weak model's endpoint, beside the two models' own.
    embedding_models: tuple[str, ...] = ()
    headers: bool = True  # x-demur-* on responses
    ledger: str = "run/ledger.sqlite"  # SQLite file, postgresql://... URL, or empty for none
    record_prompts: bool = False  # keep prompts in the ledger
    redact: str = ""  # module:function that a prompt passes before it is kept
    keys: str = ""  # file of hashed client keys; empty: no key is asked
    admin_key_env: str = ""  # NAME of the variable with the key of /admin and the dashboard; empty: loopback only
    admin_host: str = "127.0.0.1"  # of admin_port
    admin_port: int = 0  # /, /metrics and /admin on a port of their own; 0: on the same one
    otel: bool = False  # a span a request, by OpenTelemetry's GenAI conventions; needs demur[otel]
    retries: int = 1  # before the first byte only
    connect_seconds: float = 5.0
    first_byte_seconds: float = 120.0  # and between two bytes
    decide_seconds: float = 5.0  # a decision may take this long; then the strong model answers
    body_seconds: float = 30.0  # a client may take this long to send a header, a body, or to read on in an answer
    max_body_bytes: int = 20 * 2**20
    max_in_flight: int = 2000  # more are answered 429 at once, rather than kept in memory
    breaker_failures: int = 5  # in a row that open the circuit of an upstream
    breaker_seconds: float = 10.0  # how long it stays open
    drain_seconds: float = 30.0  # running streams may take this long to end after SIGTERM
    local_slots: int = 4  # parallel slots of a local model


def read_settings(path: str | Path | None, **overrides: object) -> GatewaySettings:
    """Settings of a file (or none), with those overrides that are not None. Raises InputError naming file and key."""
    values = dict(read_mapping(Path(path))) if path else {}
    values |= {name: value for name, value in overrides.items() if value is not None}
    return from_mapping(GatewaySettings, values, where=str(path or "serve"))


def needs_restart(held: GatewaySettings, fresh: GatewaySettings) -> str | None:
    """Name of a setting that differs and that only a restart can change; None without one."""
    differ = (one.name for one in fields(held) if getattr(held, one.name) != getattr(fresh, one.name))
    return next((name for name in differ if name not in RELOADED), None)
