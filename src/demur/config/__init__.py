"""The run file: one frozen record of everything that a run was asked to do, read from TOML, YAML or JSON.

Unknown keys and wrong types are errors that name file, key and value. The same record is kept in the run folder as
``run.json``, so that `label`, `train` and `evaluate` go on from what `sample` did.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from demur.config.kinds import ALL_KINDS, Need, kinds_help, kinds_of, options_of
from demur.config.kinds import KINDS as KINDS
from demur.config.kinds import LABEL_SOURCES as LABEL_SOURCES
from demur.config.names import CASCADE
from demur.config.names import DEFINITION_NAMES as DEFINITION_NAMES
from demur.config.names import EVERY_METHOD as EVERY_METHOD
from demur.config.names import METHOD_NAMES as METHOD_NAMES
from demur.config.presets import filled_in
from demur.config.store_url import check_store_url
from demur.config.test_sets import TestConfig as TestConfig
from demur.config.tiers import IN_PLACE_OF_A_PAIR, check_names, with_tiers
from demur.config.tiers import tier_name as tier_name
from demur.errors import InputError, without_passwords
from demur.files import read_mapping, write_whole
from demur.limits import from_mapping, setting
from demur.records import ON_UNKNOWN, OnUnknown, OnUnlike, SamplingSettings

RUN_RECORD = "run.json"
ROUTER, GRADED_FILE = "router", "graded.jsonl"  # of a run: the served router, and its graded test prompts
A_MODEL = (
    "a catalogue name (`demur models`), a .gguf file, or MODEL@BASE_URL[#KEY_VARIABLE][#usd=IN/OUT] of an "
    "OpenAI-compatible endpoint: KEY_VARIABLE names the environment variable with its key, IN/OUT are USD per million "
    "tokens"
)
A_JUDGE = f"{A_MODEL}; of the run's own models the name alone will do"
ANYWAY = "Even if the router was not shown to beat random."
MOST_EXTRA_SAMPLES = 8  # weak samples that a gate may ask for beside the answer itself

_NOT_NEGATIVE: dict[str, Any] = {"at_least": 0}
_FRACTION: dict[str, Any] = {"at_least": 0, "at_most": 1}
_VOTES: dict[str, Any] = {"at_least": 1, "at_most": 9}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One side of the pair. ``model`` alone: a catalogue name or a .gguf file, served on loopback."""

    # A text in place of the whole table is this field.
    model: str = field(metadata={"alone": True, "about": "A catalogue name, a .gguf file, or a name at the endpoint."})
    base_url: str | None = setting("An OpenAI-compatible endpoint, such as https://api.openai.com/v1.", None)
    api_key_env: str | None = setting("NAME of the environment variable that holds the key.", None)
    priced_as: str | None = setting("Look prices up under this model name.", None)
    usd_per_million_input: float | None = setting("USD per million prompt tokens.", None, **_NOT_NEGATIVE)
    usd_per_million_output: float | None = setting("USD per million answer tokens.", None, **_NOT_NEGATIVE)
    # A price that is given replaces the looked-up one. None, for tokens of a kind: the looked-up price, else that of
    # any other token.
    usd_per_million_cached: float | None = setting("Of prompt tokens read from the cache.", None, **_NOT_NEGATIVE)
    usd_per_million_cache_write: float | None = setting("Of those written to it for minutes.", None, **_NOT_NEGATIVE)
    usd_per_million_cache_write_hour: float | None = setting(
        "Of those written to it for an hour.", None, **_NOT_NEGATIVE
    )
    usd_per_million_reasoning: float | None = setting("Of tokens of reasoning.", None, **_NOT_NEGATIVE)
    service_tiers: dict[str, float] = field(
        default_factory=dict,
        metadata={"above": 0, "about": "Factors on all prices at other service tiers, such as {flex = 0.5}."},
    )
    name: str = setting("Of a tier in [[models]]; empty: its model's.", "")
    reasoning_effort: Literal["", "minimal", "low", "medium", "high"] = setting(
        "Sent with every request; empty: what the client or the endpoint chooses.", ""
    )
    votes: int = setting("Answers that are asked for; the one that most agree with is served.", 1, **_VOTES)
    concurrency: int = setting("Requests under way at once.", 4, at_least=1)
    timeout_seconds: float = setting("For one request and its whole answer.", 120.0, above=0)

    def __post_init__(self) -> None:
        if self.base_url and without_passwords(self.base_url) != self.base_url:
            raise InputError(
                f"{self.model}: its URL {self.base_url} names a user or holds a password, which records would keep; "
                "leave it out, and name the environment variable of a key: MODEL@URL#KEY_VARIABLE, or api_key_env"
            )


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """Where training targets come from, and how they are computed.

    An option that does not belong to the source keeps its default: `check_label` holds that.
    """

    source: str = field(
        default="entropy", metadata={"help": f"{', '.join(LABEL_SOURCES)}.", "flag": "--from", "choices": LABEL_SOURCES}
    )
    kind: str | None = field(default=None, metadata={"help": kinds_help(), "choices": ALL_KINDS})
    definition: str = field(
        default="rao_blackwell",
        metadata={"help": "entropy: its definition (docs/run-file.md lists all); discrete without log-probs."}
        | {"choices": DEFINITION_NAMES},
    )
    delta: Literal["symmetric", "paper"] = field(
        default="symmetric", metadata={"help": "entropy, kind hard: symmetric, or paper (Eq. 3)."}
    )
    tau: float = field(
        default=0.1,
        metadata=_NOT_NEGATIVE | {"help": "entropy, kind hard: relative difference up to which the models tie."},
    )
    file: str | None = field(
        default=None,
        metadata={"help": "preference: .jsonl, .jsonl.gz, .csv or .parquet with a winner, or scores by model."},
    )
    models: tuple[str, ...] = field(
        default=(), metadata={"help": "preference: WEAK,STRONG as the file names them; without it the run's own."}
    )
    tie_below: float = field(
        default=0.0, metadata=_NOT_NEGATIVE | {"help": "preference: scores that differ by at most this tie."}
    )
    tiers: int = field(
        default=0,
        metadata=_NOT_NEGATIVE | {"help": "preference: compare tiers of models, this many; 0: the two models alone."},
    )
    judge: str | None = field(default=None, metadata={"help": f"judge: {A_JUDGE}."})
    judge_tokens: int = field(
        default=24,
        metadata={"at_least": 1, "help": "judge: longest reply, thinking included; a reasoning judge needs 2000."},
    )
    judge_effort: str = setting("judge: reasoning_effort of a judge that thinks first, such as low.", "")
    max_usd: float | None = field(
        default=None,
        metadata=_NOT_NEGATIVE
        | {"help": "judge: stop before it has cost more than this many USD; the run's limit holds, too."},
    )
    entailment: str = field(
        default="shipped",
        metadata={"help": "What decides same meaning: exact, shipped, a folder, hub:NAME, llm:MODEL."},
    )
    rules: bool = field(default=True, metadata={"help": "Decide numbers, dates and units by rule first."})
    state_answers: Literal["auto", "on", "off"] = field(
        default="off",
        metadata={"help": "Each model states the final answer of its long texts: off, auto (where that is free), on."},
    )

    @property
    def chosen_kind(self) -> str:
        """The kind, or the source's first; "" for a source that has none."""
        return self.kind or next(iter(kinds_of(self.source)), "")

    @property
    def name(self) -> str:
        """Source and kind, as a row of preferences bears them: "accuracy soft", "judge"."""
        return f"{self.source} {self.chosen_kind}".strip()

    def needs(self, what: Need) -> bool:
        """True where these labels cannot be made without it."""
        return what in KINDS[self.name].needs


def check_label(label: LabelConfig, where: str = "label") -> None:
    """Raise InputError for an option that does not belong to the source, or one that it lacks."""
    if label.source not in LABEL_SOURCES:
        raise InputError(f"{where}: source: {label.source!r} is not one of {', '.join(map(repr, LABEL_SOURCES))}")
    for source in LABEL_SOURCES:
        for option in options_of(source) if source != label.source else ():
            if _is_given(label, option):
                takes = (*(["kind"] if kinds_of(label.source) else []), *options_of(label.source))
                raise InputError(
                    f"{where}: {option} {_as_written(getattr(label, option))} belongs to source {source!r}; "
                    f"source {label.source!r} takes {', '.join((*takes, 'entailment', 'rules'))}"
                )
    _check_kind(label, where)
    for name, kind in KINDS.items():
        foreign = [option for option in kind.options if option not in KINDS[label.name].options]
        if name.startswith(f"{label.source} ") and any(_is_given(label, option) for option in foreign):
            own = name.partition(" ")[2]
            raise InputError(
                f"{where}: {' and '.join(foreign)} belong to kind {own!r}, and the kind is {label.chosen_kind!r}"
            )
    if label.needs("file") and not label.file:
        raise InputError(f"{where}: source {label.source!r} needs a file of preferences (--file)")
    if label.needs("judge") and not label.judge:
        raise InputError(
            f"{where}: source {label.source!r} needs a judge (--judge): a catalogue name or MODEL@BASE_URL"
        )
    if label.models and (len(label.models) != 2 or len(set(label.models)) != 2):
        raise InputError(
            f"{where}: models are the weak and the strong one, two names; found {_as_written(label.models)}"
        )


def _check_kind(label: LabelConfig, where: str) -> None:
    known = kinds_of(label.source)
    if label.kind is None or label.kind in known:
        return
    elsewhere = [source for source in LABEL_SOURCES if label.kind in kinds_of(source)]
    if label.kind in LABEL_SOURCES:
        hint = f"; {label.kind!r} is a source of its own"
    else:
        hint = f"; it belongs to source {' and '.join(map(repr, elsewhere))}" if elsewhere else ""
    has = f"its kinds are {', '.join(known)}" if known else "it has no kinds"
    raise InputError(f"{where}: kind {label.kind!r} does not fit source {label.source!r}: {has}{hint}")


def _is_given(label: LabelConfig, option: str) -> bool:
    return bool(getattr(label, option) != getattr(LabelConfig(), option))


def _as_written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """Which routers are trained, on which embeddings, and which one is saved."""

    methods: tuple[str, ...] = field(
        default=METHOD_NAMES, metadata={"help": f"Comma-separated: {', '.join(EVERY_METHOD)}.", "choices": EVERY_METHOD}
    )
    serve: str | None = field(
        default=None,
        metadata={"help": "Method saved as run/router; kernel, or the first of the methods.", "choices": EVERY_METHOD},
    )
    encoder: str = field(
        default="auto",
        metadata={
            "help": "auto (bge-small-6, or multilingual-e5-small for prompts that are not mostly English), their "
            "names, bge-small, minilm, or MODEL@BASE_URL of an embeddings endpoint; +length after a name adds the "
            "prompt's length, +images=FILE.onnx, a folder or ORG/NAME of the hub encodes pictures, too, and "
            "+text-share after that tells how much of them is text."
        },
    )
    gate: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata={"help": "Check the weak answer near the threshold: auto (if that pays, label-free), on, off."},
    )
    extra_samples: int = field(
        default=3,
        metadata={"at_least": 0, "at_most": MOST_EXTRA_SAMPLES}
        | {"help": "Most weak samples that the gate may request beside the answer."},
    )
    unknown: OnUnknown = field(
        default=ON_UNKNOWN,
        metadata={
            "help": "Where unknown prompts go, which resemble ones that could not be labelled: strong, "
            "strong-unless-guessed (questions on which both models guess go by their score), weak, score."
        },
    )
    unlike: OnUnlike = field(
        default="language",
        metadata={
            "help": "Prompts unlike any training prompt, in meaning, length or language: decided by their score, "
            "unknown (they go where unknown says), or only those in another language are unknown (language)."
        },
    )
    k: int | None = field(
        default=None,
        metadata={"at_least": 1, "help": "knn: neighbours; not given, the root of the number of prompts; paper: 1."},
    )
    weighting: Literal["routellm", "paper"] = field(
        default="routellm",
        metadata={"help": "sw: similarity over its largest to the query (routellm), or Eq. 6 (paper)."},
    )
    gamma: float = field(default=10.0, metadata={"at_least": 1, "help": "sw: base of the weights."})
    hidden: float = field(
        default=0.0,
        metadata={"at_least": 0, "at_most": 1}
        | {"help": "graphrouter: share of the steps that hide which model is which; .5 lets models join (demur join)."},
    )

    @property
    def served(self) -> str:
        """Name of the router that serves. Raises InputError for one that is not trained."""
        if not self.methods:
            raise InputError(f"router.methods is empty; name at least one of {', '.join(EVERY_METHOD)}")
        if CASCADE in self.methods and (self.serve not in (None, CASCADE) or self.gate == "off"):
            other = "router.gate is off" if self.gate == "off" else f"router.serve is {self.serve!r}"
            raise InputError(
                f"router.methods has {CASCADE}, which serves and is measured with the weak model's answers, and "
                f"{other}; leave one of them out"
            )
        if CASCADE in self.methods:
            return CASCADE
        if self.serve is None:
            return "kernel" if "kernel" in self.methods else self.methods[0]
        if self.serve not in self.methods:
            raise InputError(f"router.serve is {self.serve!r}, which is not among methods {self.methods}")
        return self.serve


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A whole run."""

    prompts: str = field(metadata={"about": "A file of prompts, a named set such as nq-open:500, or a mix a+b."})
    weak: ModelConfig = field(metadata={"about": "The small model."})
    strong: ModelConfig = field(metadata={"about": "The large model."})
    run: str = setting("Folder of the run.", "run")
    sampling: SamplingSettings = field(
        default_factory=SamplingSettings, metadata={"about": "All but n is part of a sample's identity."}
    )
    label: LabelConfig = field(default_factory=LabelConfig, metadata={"about": "Where training targets come from."})
    router: RouterConfig = field(default_factory=RouterConfig, metadata={"about": "What is trained and served."})
    test: TestConfig = field(
        default_factory=TestConfig, metadata={"about": "Separate test sets (demur reproduce --run)."}
    )
    test_share: float = setting(
        "Of the prompts with gold answers, kept for measuring; by hash of id.", 0.5, at_least=0, at_most=1
    )
    strong_share: float | None = setting(
        "The threshold is set for this share of calls to the strong model; not given: for the one training proposes.",
        None,
        **_FRACTION,
    )
    max_usd: float | None = setting("Stop before the run has cost more than this many USD.", None, **_NOT_NEGATIVE)
    # Read, it has been filled in: it is empty then.
    preset: str = setting("paper: the paper's settings, for all keys that are not given.", "")
    between: tuple[ModelConfig, ...] = field(
        default=(),
        metadata={"about": "All models by rising price, in place of weak and strong.", **IN_PLACE_OF_A_PAIR},
    )
    store: str = setting("postgresql:// URL, without a password, of a store for many; empty: RUN/store.sqlite.", "")

    def __post_init__(self) -> None:
        check_store_url(self.store)

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """All of them, the weak one first and the strong one last."""
        return (self.weak, *self.between, self.strong)

    @property
    def folder(self) -> Path:
        return Path(self.run)

    @property
    def store_at(self) -> str | Path:
        """What was paid for: samples, scores of the entailment model, embeddings. A file, or the URL of a database."""
        return self.store or self.folder / "store.sqlite"

    @property
    def preferences(self) -> Path:
        """The labels."""
        return self.folder / "preferences.jsonl"

    @property
    def routers(self) -> Path:
        """One folder per trained method."""
        return self.folder / "routers"

    @property
    def served_router(self) -> Path:
        """The served router, with its gate."""
        return self.folder / ROUTER

    @property
    def outcomes(self) -> Path:
        """The separate test sets with both models' graded answers: a folder as `demur reproduce --from` takes it."""
        return self.folder / "paper"

    @property
    def graded(self) -> Path:
        """The test prompts with the quality of each model's first answer."""
        return self.folder / GRADED_FILE

    def save(self) -> None:
        """Keep the record in the run folder."""
        write_whole(self.folder / RUN_RECORD, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


def read_run_file(path: str | Path) -> RunConfig:
    """Read a run file (.toml, .yaml, .yml or .json); raises InputError naming file, key and value."""
    config = from_mapping(
        RunConfig, filled_in(with_tiers(read_mapping(Path(path)), str(path)), str(path)), where=str(path)
    )
    check_label(config.label, where=f"{path}: label")
    check_names(config.models, str(path))
    return config


def load_run(run: str | Path) -> RunConfig:
    """Read the record that an earlier `sample` left in the run folder."""
    path = Path(run) / RUN_RECORD
    if not path.exists():
        beside = f"; the runs beside it: {', '.join(found)}" if (found := runs_beside(Path(run))) else ""
        raise InputError(f"{path}: no run here yet; start with `demur sample` or `demur run FILE`{beside}")
    config = read_run_file(path)
    return config if config.folder == Path(run) else from_mapping(RunConfig, {**asdict(config), "run": str(run)})


def runs_beside(folder: Path) -> list[str]:
    """Other folders with a run in the folder that one is in: the one that was meant may be among them."""
    return sorted(str(one.parent) for one in folder.parent.glob(f"*/{RUN_RECORD}") if one.parent != folder)


def list_names(names: str | Sequence[str]) -> list[str]:
    """Names in a list, or in one text separated by commas."""
    return [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else list(names)
