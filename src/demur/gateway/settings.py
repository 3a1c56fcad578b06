"""The gateway's settings: one frozen record, from a file and the command line. It holds no secrets.

Keys of upstreams are named by their environment variable; keys of clients are kept hashed in a file of their own.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from demur.config import ANYWAY, RUN_RECORD, ModelConfig, tier_name
from demur.config.tiers import IN_PLACE_OF_A_PAIR, check_names, with_tiers
from demur.errors import InputError
from demur.files import read_mapping
from demur.limits import from_mapping, setting
from demur.models.allowed_endpoints import ALLOW_HELP, endpoint_names
from demur.models.apis import Api
from demur.records import OnUnknown, Role, Side
from demur.serving_file import USUAL_PORT

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
    | {"weak_at_most"}
    | {"notice_seconds", "drain_seconds", "max_body_bytes", "max_inflated_bytes", "max_json_values"}
)
LONGEST_SECONDS = 1e6  # of any wait: eleven days
# What a request is: neither dropped nor renamed.
KEPT_MEMBERS = frozenset({"model", "messages", "prompt", "input", "stream"})
_SECONDS = {"above": 0, "at_most": LONGEST_SECONDS}
_SHARE = {"at_least": 0, "at_most": 1}

USUAL_KEYS = Path("run/keys.json")  # of client keys; its folder is made, since keys may be there before a run is
OPERATOR_PORTS = 1000  # the operator's port is so far above the service's, unless the settings name one


@dataclass(frozen=True, slots=True)
class ServedModel(ModelConfig):
    """One side of the pair as it is served. None: it is not known whether the model can, and refusals show it."""

    images: bool | None = setting("Takes pictures.", None)
    tools: bool | None = setting("Takes tools that are functions.", None)
    json_schema: bool | None = setting("Answers by a JSON schema.", None)
    other_tools: bool | None = setting("Takes other tools: the endpoint's own, such as web search, and grammars.", None)
    files: bool | None = setting("Takes documents and recordings.", None)
    context_tokens: int | None = setting("Longest request, in estimated tokens.", None, at_least=1)
    speaks: tuple[Api, ...] = setting("The APIs of its endpoint; empty: it is found out.", ())
    drop: tuple[str, ...] = setting("Members of a request that the endpoint refuses: they are left out.", ())
    rename: dict[str, str] = field(
        default_factory=dict, metadata={"about": "Members of a request that it takes under another name."}
    )


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How `demur learn` learns from the prompts that are served."""

    folder: str = setting("Samples, labels and routers.", "run/learn")
    usd_per_day: float = setting("For samples, by UTC day; of known prices.", 1.0, at_least=0)
    share_of_traffic: float = setting("Of new prompts, sampled.", 1.0, **_SHARE)
    shadow: Literal["both", "weak-only"] = setting(
        "Which models are asked for samples; weak-only: nothing more goes to the strong one, and only its answers to "
        "clients are learned from.",
        "both",
    )
    samples: int = setting("Per prompt, of each model.", 4, at_least=2, at_most=20)
    max_tokens: int = setting("Longest sample, in tokens.", 256, at_least=1)
    every: int = setting("New labels between two candidates.", 50, at_least=1)
    every_seconds: float = setting("Between two rounds.", 60.0, **_SECONDS)
    strong_share: float = setting("Of calls, for a promoted router.", 0.3, **_SHARE)
    system: str = setting("System message that prompts are sampled with: what your clients send.", "")
    template: str = setting("What your clients send around a prompt, which stands for {prompt}.", "{prompt}")
    chat: bool = setting("Your clients send chats; else plain completions of the template.", True)
    stop: tuple[str, ...] = setting("Stop strings that your clients send.", ())
    encoder: str = setting("What embeds the prompts; auto: by their languages.", "auto")
    canary: float = setting(
        "Share of conversations that a promoted router gets first; 0: it serves all of them at once.", 0.1, **_SHARE
    )
    canary_requests: int = setting("That it must have answered before it gets the rest.", 50, at_least=1)
    canary_seconds: float = setting("And that must have passed.", 600.0, at_least=0, at_most=LONGEST_SECONDS)
    missed_at_most: float = setting(
        "Largest share of answers for which the strong model would have been better, by the feedback of clients.",
        0.05,
        above=0,
        below=1,
    )
    retain_days: float = setting("Prompts are erased after so long.", 30.0, above=0)
    never: tuple[str, ...] = setting("Regular expressions: a prompt in which one is found is not kept.", ())
    never_keys: tuple[str, ...] = setting("Names of client keys whose prompts are not kept.", ())
    seed: int = setting("Of the first sample of every prompt.", 0)


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """What of a request is routed."""

    text: str = setting("MODULE:FUNCTION of your own that finds it; empty: demur's.", "")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """All settings of a gateway."""

    router: str = setting("Folder of a saved router.", "run/router")
    encoder: str = field(
        default="", metadata={"help": "MODULE:OBJECT of the encoder of your own that the router was trained on."}
    )
    method: str = setting("MODULE:OBJECT of the classifier of your own.", "")
    entailment: str = setting("MODULE:FUNCTION of your own that its labels were made with.", "")
    anyway: bool = field(default=False, metadata={"help": ANYWAY, "flag": "--anyway"})
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on."})  # loopback by default
    port: int = field(
        default=USUAL_PORT, metadata={"at_least": 0, "at_most": 65_535, "help": "Port; 0 is any free one."}
    )
    weak: ServedModel | None = setting("The weak model; without it the one that the router was trained on.", None)
    strong: ServedModel | None = setting("The strong model; without it the one that the router was trained on.", None)
    between: tuple[ServedModel, ...] = field(
        default=(),
        metadata={"about": "All models by rising price, in place of weak and strong.", **IN_PLACE_OF_A_PAIR},
    )
    pair_changed_anyway: bool = field(
        default=False,
        metadata={"help": "Serve another pair of models than the router was labelled with, without a warning."}
        | {"flag": "--pair-changed-anyway"},
    )
    allow_endpoints: tuple[str, ...] = field(  # beside the two models
        default=(), metadata={"help": ALLOW_HELP, "flag": "--allow-endpoint", "repeated": True}
    )
    unknown: Literal["", OnUnknown] = setting(
        "Where prompts go that are like those whose samples could not tell; empty: as it was trained.", ""
    )
    as_labelled: bool = field(
        default=False,
        metadata={"help": "Ask both models as for the labels: with the router's system message, template and stop."}
        | {"flag": "--as-labelled"},
    )
    target: str = field(
        default="",
        metadata={"help": 'Held while requests arrive: "30%", "5 USD/day", "p95 2 s" or "quality 95%".'},
    )
    default: Side = setting("Where a prompt without any text goes.", "strong")
    context_characters: int = setting(
        "Of the conversation before a short ask that are routed with it.", 500, at_least=0
    )
    sticky: bool = setting("A conversation stays with its model unless the router escalates.", True)
    route: RouteSettings = field(default_factory=RouteSettings, metadata={"about": "What of a request is routed."})
    conversation_headers: tuple[str, ...] = setting(
        "Headers that name a conversation; the first that a request has counts.",
        ("x-demur-conversation",),
    )
    prompt_cache_seconds: float = setting(
        "How long a provider keeps a conversation's prompt in its cache.", 300.0, at_least=0, at_most=LONGEST_SECONDS
    )
    # Only for requests that left the choice to demur.
    fallback: bool = setting("If one model is down, the other answers.", True)
    cannot_seconds: float = setting(
        "How long a kind of request that the weak model refused goes to the strong one.",
        600.0,
        at_least=0,
        at_most=LONGEST_SECONDS,
    )
    aliases: dict[str, str] = field(
        default_factory=dict,
        metadata={"about": "Names, or patterns of names, and what each stands for: demur, demur@THRESHOLD, a model."},
    )
    embedding_models: tuple[str, ...] = setting(
        "Names that /v1/embeddings passes to the weak model's endpoint, beside the two models' own.", ()
    )
    headers: bool = setting("x-demur-* on responses.", True)
    # Where it is not given: `ledger.sqlite` in the run folder of the router, as `read_settings` says.
    ledger: str = setting("SQLite file, postgresql:// URL, or empty for none.", "run/ledger.sqlite")
    record_prompts: bool = setting("Keep prompts in the ledger.", False)
    learn: LearnSettings | None = setting(
        "Learn from the traffic: prompts are kept in the ledger, and `demur learn` makes routers of them.", None
    )
    webhook_env: str = setting(
        "NAME of the variable with the URL that alarms and promotions are posted to; empty: none are.", ""
    )
    redact: str = setting("MODULE:FUNCTION that a prompt passes before it is kept.", "")
    keys: str = field(
        default="", metadata={"help": "File of hashed client keys (`demur key add`); without it no key is asked."}
    )
    admin_key_env: str = setting(
        "NAME of the variable with the key of /, /metrics and /admin; empty: they answer this machine only.", ""
    )
    admin_host: str = setting("Address of admin_port.", "127.0.0.1")
    # None: with an admin key the port of the service, without one a port of their own, `OPERATOR_PORTS` above it.
    admin_port: int | None = setting("Of /, /metrics and /admin; 0 is any free one.", None, at_least=0, at_most=65_535)
    allowed_origins: tuple[str, ...] = setting(
        "Origins of pages that may ask from a browser, such as https://app.example; * is every page.", ()
    )
    otel: bool = setting("Spans by OpenTelemetry's GenAI conventions; needs demur[otel].", False)
    retries: int = setting("Before the first byte only.", 1, at_least=0, at_most=10)
    connect_seconds: float = setting("Longest time to connect to an upstream.", 5.0, **_SECONDS)
    first_byte_seconds: float = setting("Longest wait for an answer's first byte, and between two.", 120.0, **_SECONDS)
    decide_seconds: float = setting("Longest decision; then the strong model answers.", 5.0, **_SECONDS)
    body_seconds: float = setting(
        "Longest time for a client to send a header, a body, or to read on in an answer.", 30.0, **_SECONDS
    )
    max_body_bytes: int = setting("Of a request.", 20 * 2**20, at_least=1)
    max_inflated_bytes: int = setting("Of a request that comes compressed, once it is inflated.", 2**20, at_least=1)
    max_json_values: int = setting(
        "Commas, colons and opening brackets of a request's JSON outside its texts.", 50_000, at_least=1
    )
    # Rather than kept in memory.
    max_in_flight: int = setting("Requests under way; more are answered 429 at once.", 2000, at_least=1)
    weak_at_most: int | None = setting(
        "Requests under way at the weak model; what would be routed to it beyond these goes to the strong one.",
        None,
        at_least=1,
    )
    breaker_failures: int = setting("In a row that suspect an upstream's outage.", 5, at_least=1)
    breaker_seconds: float = setting("Between two ordinary requests during an outage.", 10.0, **_SECONDS)
    notice_seconds: float = setting(
        "After SIGTERM requests are served for so long while /health says 503, so that proxies send no more.",
        0.0,
        at_least=0,
        at_most=LONGEST_SECONDS,
    )
    drain_seconds: float = setting(
        "Longest time for running answers after SIGTERM.", 30.0, at_least=0, at_most=LONGEST_SECONDS
    )
    local_slots: int = setting("Parallel slots of a local model.", 4, at_least=1)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every endpoint that these settings name, with its key."""
        return (*endpoint_names((self.weak, *self.between, self.strong)), *self.allow_endpoints)

    def served_model(self, role: Role) -> ServedModel | None:
        """The model of a role; None: as the router was trained."""
        if role in ("weak", "strong"):
            return self.weak if role == "weak" else self.strong
        return next((one for one in self.between if tier_name(one) == role), None)

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
    """Settings of a file (or none), with those overrides that are not None. Raises InputError naming file and key.

    A router of another run folder has its ledger there unless one is named: two routers would else have one bill.
    """
    values = dict(with_tiers(read_mapping(Path(path), "settings file"), str(path))) if path else {}
    values |= {name: value for name, value in overrides.items() if value is not None}
    found = from_mapping(GatewaySettings, values, where=str(path or "serve"))
    run = Path(found.router).parent
    if "ledger" not in values and (run / RUN_RECORD).exists():
        found = replace(found, ledger=str(run / Path(found.ledger).name))
    named = (("weak", found.weak), *((tier_name(one), one) for one in found.between), ("strong", found.strong))
    for role, side in named:
        if side is not None:
            _check_members(side, f"{path}: {role}")
    check_names([side for _, side in named if side is not None], str(path or "serve"))
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
