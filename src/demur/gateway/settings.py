"""The gateway's settings: one frozen record, from a file and the command line. It holds no secrets.

Keys of upstreams are named by their environment variable; keys of clients are kept hashed in a file of their own.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from demur.config import ANYWAY, ModelConfig, from_mapping
from demur.errors import InputError
from demur.files import read_mapping
from demur.models.allowed import ALLOW_HELP, endpoint_names
from demur.models.apis import Api
from demur.records import Role

# What a reload takes over; whatever else differs, only a restart can change.
RELOADED = frozenset(
    {
        "default",
        "unknown",
        "anyway",
        "context_characters",
        "sticky",
        "conversation_headers",
        "prompt_cache_seconds",
        "fallback",
        "headers",
        "record_prompts",
        "keys",
        "admin_key_env",
    }
    | {"allow_endpoints", "allowed_origins", "embedding_models", "decide_seconds", "body_seconds", "max_in_flight"}
    | {"drain_seconds", "max_body_bytes", "max_inflated_bytes", "max_json_values"}
)
LONGEST_SECONDS = 1e6  # of any wait: eleven days
# What a request is: neither dropped nor renamed.
KEPT_MEMBERS = frozenset({"model", "messages", "prompt", "input", "stream"})
_SECONDS = {"above": 0, "at_most": LONGEST_SECONDS}

OPERATOR_PORTS = 1000  # the operator's port is so far above the service's, unless the settings name one


@dataclass(frozen=True, slots=True)
class ServedModel(ModelConfig):
    """One side of the pair as it is served. None: it is not known whether the model can, and refusals show it."""

    images: bool | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    other_tools: bool | None = None  # that are not functions: web search and others that the endpoint runs, grammars
    files: bool | None = None  # documents and recordings
    context_tokens: int | None = field(default=None, metadata={"at_least": 1})  # of a request, estimated
    speaks: tuple[Api, ...] = ()  # the APIs of its endpoint; empty: it is found out
    drop: tuple[str, ...] = ()  # members of a request that the endpoint refuses: it is asked without them
    rename: dict[str, str] = field(default_factory=dict)  # and such as it takes under another name


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How `demur learn` learns from the prompts that are served."""

    folder: str = "run/learn"  # samples, labels and routers
    usd_per_day: float = field(default=1.0, metadata={"at_least": 0})  # for samples, by UTC day; of known prices
    share_of_traffic: float = field(default=1.0, metadata={"at_least": 0, "at_most": 1})  # of new prompts, sampled
    samples: int = field(default=4, metadata={"at_least": 2, "at_most": 20})  # per prompt, of each model
    max_tokens: int = field(default=256, metadata={"at_least": 1})  # of a sample
    every: int = field(default=50, metadata={"at_least": 1})  # new labels between two candidates
    every_seconds: float = field(default=60.0, metadata={"above": 0, "at_most": LONGEST_SECONDS})  # between two rounds
    strong_share: float = field(default=0.3, metadata={"at_least": 0, "at_most": 1})  # of a promoted router
    system: str = ""  # system message that prompts are sampled with: what your clients send
    encoder: str = "bge-small"
    # Watched by the feedback of clients: the share of answers for which the strong model would have been better.
    missed_at_most: float = field(default=0.05, metadata={"above": 0, "below": 1})
    retain_days: float = field(default=30.0, metadata={"above": 0})  # prompts are erased after so long
    never: tuple[str, ...] = ()  # regular expressions: a prompt in which one is found is not kept
    never_keys: tuple[str, ...] = ()  # names of client keys whose prompts are not kept
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """What of a request is routed."""

    text: str = ""  # module:function of your own that finds it; empty: demur's


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """All settings of a gateway."""

    router: str = "run/router"  # folder of a saved router
    encoder: str = field(
        default="", metadata={"help": "MODULE:OBJECT of the encoder of your own that the router was trained on."}
    )
    method: str = ""  # module:object of the classifier of your own
    entailment: str = ""  # module:function of your own that its labels were made with
    anyway: bool = field(default=False, metadata={"help": ANYWAY, "flag": "--anyway"})
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on."})  # loopback by default
    port: int = field(default=8111, metadata={"at_least": 0, "at_most": 65_535, "help": "Port; 0 is any free one."})
    weak: ServedModel | None = None  # None: the pair that the router was trained on
    strong: ServedModel | None = None
    pair_changed_anyway: bool = field(
        default=False,
        metadata={"help": "Serve another pair of models than the router was labelled with, without a warning."}
        | {"flag": "--pair-changed-anyway"},
    )
    allow_endpoints: tuple[str, ...] = field(  # beside the two models
        default=(), metadata={"help": ALLOW_HELP, "flag": "--allow-endpoint", "repeated": True}
    )
    # Where prompts go that are like those whose samples could not tell: strong, weak, score; empty: as it was trained.
    unknown: Literal["", "strong", "weak", "score"] = ""
    default: Role = "strong"  # where a prompt without any text goes: weak or strong
    context_characters: int = field(
        default=500, metadata={"at_least": 0}
    )  # of the conversation before the last user text that are routed with it
    sticky: bool = True  # a conversation stays with its model unless the router escalates
    route: RouteSettings = field(default_factory=RouteSettings)
    # Headers that name a conversation by themselves; the first that a request has counts.
    conversation_headers: tuple[str, ...] = ("x-demur-conversation",)
    # So long a provider keeps a conversation's prompt in its cache.
    prompt_cache_seconds: float = field(default=300.0, metadata={"at_least": 0, "at_most": LONGEST_SECONDS})
    fallback: bool = True  # weak <-> strong when one is down; only for requests that left the choice to demur
    # So long a kind of request that the weak model refused goes to the strong one.
    cannot_seconds: float = field(default=600.0, metadata={"at_least": 0, "at_most": LONGEST_SECONDS})
    # Name, or pattern of names, that clients use -> demur, demur@THRESHOLD or a model's own name.
    aliases: dict[str, str] = field(default_factory=dict)
    # Names that /v1/embeddings passes to the weak model's endpoint, beside the two models' own.
    embedding_models: tuple[str, ...] = ()
    headers: bool = True  # x-demur-* on responses
    ledger: str = "run/ledger.sqlite"  # SQLite file, postgresql://... URL, or empty for none
    record_prompts: bool = False  # keep prompts in the ledger
    # Learn from the traffic: prompts are kept in the ledger, and `demur learn` makes routers of them. None: off.
    learn: LearnSettings | None = None
    redact: str = ""  # module:function that a prompt passes before it is kept
    keys: str = ""  # file of hashed client keys; empty: no key is asked
    admin_key_env: str = ""  # NAME of the variable with the key of the operator's routes; empty: this machine only
    admin_host: str = "127.0.0.1"  # of admin_port
    # Port of /, /metrics and /admin: 0 is any free one. None: with an admin key the port of the service, without one
    # a port of their own, `OPERATOR_PORTS` above it.
    admin_port: int | None = field(default=None, metadata={"at_least": 0, "at_most": 65_535})
    # Origins of pages that may ask from a browser, such as https://app.example; "*" is every page.
    allowed_origins: tuple[str, ...] = ()
    otel: bool = False  # one span per request, by OpenTelemetry's GenAI conventions; needs demur[otel]
    retries: int = field(default=1, metadata={"at_least": 0, "at_most": 10})  # before the first byte only
    connect_seconds: float = field(default=5.0, metadata=_SECONDS)
    first_byte_seconds: float = field(default=120.0, metadata=_SECONDS)  # and between two bytes
    # A decision may take this long; then the strong model answers.
    decide_seconds: float = field(default=5.0, metadata=_SECONDS)
    # A client may take this long to send a header, a body, or to read on in an answer.
    body_seconds: float = field(default=30.0, metadata=_SECONDS)
    max_body_bytes: int = field(default=20 * 2**20, metadata={"at_least": 1})
    max_inflated_bytes: int = field(default=2**20, metadata={"at_least": 1})  # of a body that comes compressed
    # Of a body's JSON: commas, colons and opening brackets outside its texts.
    max_json_values: int = field(default=50_000, metadata={"at_least": 1})
    # More are answered 429 at once, rather than kept in memory.
    max_in_flight: int = field(default=2000, metadata={"at_least": 1})
    breaker_failures: int = field(default=5, metadata={"at_least": 1})  # in a row that suspect an upstream's outage
    breaker_seconds: float = field(default=10.0, metadata=_SECONDS)  # between two ordinary requests during one
    # Running streams may take this long to end after SIGTERM.
    drain_seconds: float = field(default=30.0, metadata={"at_least": 0, "at_most": LONGEST_SECONDS})
    local_slots: int = field(default=4, metadata={"at_least": 1})  # parallel slots of a local model

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every endpoint that these settings name, with its key."""
        return (*endpoint_names((self.weak, self.strong)), *self.allow_endpoints)

    def operator_port(self, port: int) -> int | None:
        """The operator's own port beside the service's ``port``; None where they share it."""
        if self.admin_port is not None or self.admin_key_env:
            return self.admin_port
        return port + OPERATOR_PORTS if self.port and port + OPERATOR_PORTS < 2**16 else 0


def import_object(name: str, key: str) -> Any:
    """What ``module:object`` names, for the setting ``key``; raises InputError."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{key}: {name!r} cannot be imported ({error}); give module:object") from None


def read_settings(path: str | Path | None, **overrides: object) -> GatewaySettings:
    """Settings of a file (or none), with those overrides that are not None. Raises InputError naming file and key."""
    values = dict(read_mapping(Path(path))) if path else {}
    values |= {name: value for name, value in overrides.items() if value is not None}
    found = from_mapping(GatewaySettings, values, where=str(path or "serve"))
    for role, side in (("weak", found.weak), ("strong", found.strong)):
        if side is not None:
            _check_members(side, f"{path}: {role}")
    return found


def _check_members(side: ServedModel, where: str) -> None:
    """Raise InputError for members of a request that must reach the model as they are."""
    named = {"drop": side.drop, "rename": (*side.rename, *side.rename.values())}
    for key, members in named.items():
        kept = sorted(KEPT_MEMBERS & {*members})
        if kept:
            raise InputError(f"{where}: {key}: {kept[0]!r} is what is asked; it can neither be dropped nor renamed")


def needs_restart(held: GatewaySettings, fresh: GatewaySettings) -> str | None:
    """Name of a setting that differs and that only a restart can change; None without one."""
    differ = (one.name for one in fields(held) if getattr(held, one.name) != getattr(fresh, one.name))
    return next((name for name in differ if name not in RELOADED), None)
