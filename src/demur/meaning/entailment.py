"""Decides whether one answer entails another: exact match, an ONNX cross-encoder, or an LLM, behind one callable.

It takes (premise, hypothesis) pairs and returns probabilities of contradiction, neutral and entailment, shape (n, 3).
Pairs are chosen in `clusters`; cross-encoders run in `cross_encoder`. Heavy libraries are imported when a model is
opened, not before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from demur.config.names import LLM
from demur.errors import EndpointError, InputError, ModelError, PromptRefusedError, require
from demur.event_loop import one_loop
from demur.meaning.clusters import checked_probabilities
from demur.meaning.cross_encoder import SHORT, OnnxEntailment, onnx_identity
from demur.meaning.rules.languages import is_english
from demur.meaning.rules.normalise import exact_key
from demur.models.catalogue import catalogue, sha256_of
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of, parse_model, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.records import (
    ChatRequest,
    Entailment,
    EntailmentModel,
    FloatArray,
    Progress,
    Prompt,
    Sample,
    SamplingSettings,
    content_hash,
    no_progress,
)
from demur.sampling.budget import Budget
from demur.sampling.sample import sample_prompts
from demur.store import EntailmentScores, Pair, Store

SHIPPED = ("entailment.onnx", "entailment_tokenizer.json", "entailment.json")
MODEL_NAMES = ("model.onnx", "model_quantized.onnx")  # in a folder or its onnx/, the first that is there
EXPORT = "`optimum-cli export onnx --model {name} --task text-classification {folder}`"
TRAINED_LENGTH = 48  # tokens of a pair, up to which the shipped model was trained
Files = tuple[Path, Path, Path]  # of a cross-encoder: model, tokenizer, config
SAMPLED_SHARE = 0.1  # of the pairs of sampled answers that clustering asks about, those that hold


def exact_match(pairs: Sequence[Pair]) -> FloatArray:
    """Entailment as equality after normalisation; no model."""
    pairs = list(pairs)
    keys = {text: exact_key(text) for text in {text for pair in pairs for text in pair}}
    same = [keys[premise] == keys[hypothesis] for premise, hypothesis in pairs]
    return np.array([(0.0, 0.0, 1.0) if equal else (0.0, 1.0, 0.0) for equal in same]).reshape(-1, 3)


OWN = "own:"  # begins the name of an entailment of the user's own
NOTHING: EntailmentScores = (1 / 3, 1 / 3, 1 / 3)
_DOUBT = ("maybe", "perhaps", "partly", "partially", "possibly", "unsure", "unclear", "unknown")
WORDS: dict[str, EntailmentScores] = {
    "yes": (0.0, 0.0, 1.0),
    "no": (1.0, 0.0, 0.0),
    **dict.fromkeys(_DOUBT, (0.0, 1.0, 0.0)),
}
UNREAD_SHARE = 0.1  # of a call's replies that may say neither
LLM_TEMPLATE = (
    "Two answers to the same question. Do they say the same thing?\n\nFirst: {premise}\nSecond: {hypothesis}\n\n"
    "If the first is true, is the second true as well? Answer with one word, yes or no:"
)
LLM_SETTINGS = SamplingSettings(n=1, temperature=0.0, max_tokens=4, chat=True)


class LLMEntailment:
    """Any OpenAI-compatible LLM as entailment judge: one request per pair, one word in reply, many requests at a time.

    ``yes`` is entailment, ``no`` contradiction, a word of doubt neutral (probabilities 0 or 1). Another reply prefers
    none of the three and is asked for again; many of them are an error. Replies are kept in the ``store``, which knows
    what they cost, and are asked for within the ``budget``.
    """

    def __init__(self, client: EndpointClient, store: Store | None = None, budget: Budget | None = None) -> None:
        self._client, self._store, self._budget = client, store, budget

    async def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """Probabilities of contradiction, neutral, entailment; shape (n, 3). Raises EndpointError, BudgetError."""
        with Store(":memory:") if self._store is None else nullcontext(self._store) as store:
            return await self._score([_question(*pair) for pair in pairs], store)

    async def _score(self, questions: Sequence[str], store: Store) -> FloatArray:
        prompts = [Prompt(str(i), question) for i, question in enumerate(questions)]
        found = await sample_prompts(prompts, self, self._client.endpoint, LLM_SETTINGS, store, budget=self._budget)
        replies = [found[one.id][0].text if found[one.id] else "" for one in prompts]
        scores = [WORDS.get(exact_key(reply).partition(" ")[0], NOTHING) for reply in replies]
        unread = [reply for reply, one in zip(replies, scores, strict=True) if one == NOTHING]
        if unread:
            store.forget([prompt.key for prompt, one in zip(prompts, scores, strict=True) if one == NOTHING])
        if len(unread) > UNREAD_SHARE * len(replies):
            raise EndpointError(
                f"the entailment judge replied {unread[0][:40]!r} where yes or no was asked for ({len(unread)} of "
                f"{len(replies)} pairs); use a model that answers without reasoning first"
            )
        return np.array(scores).reshape(-1, 3)

    async def sample(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int]
    ) -> AsyncIterator[list[Sample]]:
        """The reply to one question; an empty one where the judge gives none that can be used."""
        try:
            async for found in self._client.sample(asked, settings, indices):
                yield found
        except PromptRefusedError as error:
            if error.cause not in ("prompt", "answer"):
                raise
            yield [Sample(index, "", None, "refused", 0, 0) for index in indices]


def _question(premise: str, hypothesis: str) -> str:
    return LLM_TEMPLATE.replace("{premise}", premise).replace("{hypothesis}", hypothesis)


def cache_scores(entailment: Entailment, store: Store, identity: str) -> EntailmentModel:
    """The same entailment, asked once per pair: its scores are kept in the store under ``identity``.

    A score without a preference (`NOTHING`) is not stored.
    """

    def ask(pairs: Sequence[Pair]) -> FloatArray:
        pairs = list(pairs)
        known = store.entailment_scores(identity, pairs)
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        if missing:
            scored = checked_probabilities(entailment(missing), len(missing))
            fresh = {pair: (float(c), float(n), float(e)) for pair, (c, n, e) in zip(missing, scored, strict=True)}
            store.add_entailment_scores(identity, {pair: one for pair, one in fresh.items() if one != NOTHING})
            known |= fresh
        return np.array([known[pair] for pair in pairs]).reshape(-1, 3)

    return ask


def at_share(entailment: Entailment, share: float) -> EntailmentModel:
    """The same entailment with a prior of ``share`` instead of the one half that it was calibrated on, by Bayes' rule.

    Sampled answers of an uncertain model rarely mean the same: without this, similar answers are merged, and a model
    that guesses looks certain.
    """
    if not 0 < share < 1:
        raise InputError(f"share is {share}; of the pairs that are asked, the part that holds is between 0 and 1")
    odds = np.array([1.0, 1.0, share / (1 - share)])

    def ask(pairs: Sequence[Pair]) -> FloatArray:
        pairs = list(pairs)
        weighed = checked_probabilities(entailment(pairs), len(pairs)) * odds
        return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))

    return ask


def shipped_entailment() -> OnnxEntailment:
    """The small entailment model that comes with demur, alone (no rules), calibrated for pairs of which half hold.

    It was trained on English: for texts in other languages no entailment is reported.
    """
    return OnnxEntailment(*_shipped_files(), short=TRAINED_LENGTH, reads=is_english)


def reads_any(text: str) -> bool:
    """Of an entailment model that is not known to be of one language."""
    return True


def reader_of(entailment: str) -> Callable[[str], bool]:
    """Is a text in a language that the named entailment model was made for? Of the shipped one that is English."""
    return is_english if entailment == "shipped" else reads_any


def _shipped_files() -> Files:
    model, tokenizer, config = (Path(str(files("demur"))) / "meaning" / "weights" / name for name in SHIPPED)
    if not model.is_file():
        raise ModelError(f"{model}: this build of demur ships no entailment model; use entailment='exact'")
    for path in (model, tokenizer, config):
        _check_shipped(path)
    return model, tokenizer, config


@cache
def _check_shipped(path: Path) -> None:
    """Once per process: the file is the one that was measured. Raises ModelError for another content."""
    (wanted,) = (one.sha256 for known in catalogue() for one in known.files if one.file == path.name)
    found = sha256_of(path)
    if found != wanted:
        raise ModelError(f"{path}: sha256 is {found[:16]}..., the catalogue has {wanted[:16]}...; install demur again")


@contextmanager
def open_entailment(
    spec: str, store: Store | None = None, progress: Progress = no_progress, budget: Budget | None = None
) -> Iterator[EntailmentModel]:
    """The entailment that ``spec`` names, for sampled answers, its scores cached in ``store``; ``budget``: what an LLM
    may cost.

    As `open_plain`, but the shipped model gets a lower prior: sampled answers rarely mean the same (`at_share`).
    """
    with open_plain(spec, store, progress, budget) as plain:
        yield for_samples(spec, plain)


class LaterEntailment:
    """The entailment that ``spec`` names, as `open_entailment` gives it, opened when it is first asked.

    Known meanings need none. In another process, as a worker's, it is opened again.
    """

    def __init__(
        self,
        spec: str,
        store: Store | None = None,
        progress: Progress = no_progress,
        budget: Budget | None = None,
    ) -> None:
        self._spec, self._store, self._progress, self._budget = spec, store, progress, budget
        self._ask: EntailmentModel | None = None
        self._closing = ExitStack()

    def __call__(self, pairs: Sequence[Pair]) -> FloatArray:
        """Probabilities of contradiction, neutral and entailment; shape (n, 3)."""
        if self._ask is None:
            opened = open_entailment(self._spec, self._store, self._progress, self._budget)
            self._ask = self._closing.enter_context(opened)
        return self._ask(pairs)

    def close(self) -> None:
        """End what was opened."""
        self._ask = None
        self._closing.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return LaterEntailment, (self._spec, self._store, no_progress, self._budget)


def for_samples(spec: str, plain: EntailmentModel) -> EntailmentModel:
    """The entailment of a labelling run for ``spec``."""
    return at_share(plain, SAMPLED_SHARE) if spec == "shipped" else plain


def meaning_identity(spec: str) -> str:
    """Identifies the entailment of a labelling run; part of the key under which its meanings are stored."""
    identity = entailment_identity(spec)
    return f"{identity} at {SAMPLED_SHARE}" if spec == "shipped" else identity


def own_name(entailment: Entailment) -> str:
    """The name of a user's own entailment in a record: where it is defined."""
    defined = entailment if hasattr(entailment, "__qualname__") else type(entailment)
    return f"{OWN}{defined.__module__}.{defined.__qualname__}"


def entailment_identity(spec: str) -> str:
    """The key of the stored scores of the entailment ``spec``, without opening it.

    By the model's content: another model in the same folder is another model; "" for one of the user's own, whose
    content is not known. Raises InputError, ModelError.
    """
    if spec.startswith(OWN):
        return ""
    if spec == "exact":
        return spec
    if spec.startswith(LLM):
        return _llm_identity(endpoint_of(parse_model(spec.removeprefix(LLM))))
    return onnx_identity(_model_files(spec), TRAINED_LENGTH if spec == "shipped" else SHORT)


def _llm_identity(endpoint: Endpoint) -> str:
    return f"llm {endpoint.name} {content_hash(LLM_TEMPLATE)}"


@contextmanager
def open_plain(
    spec: str, store: Store | None = None, progress: Progress = no_progress, budget: Budget | None = None
) -> Iterator[EntailmentModel]:
    """The entailment that ``spec`` names, for single pairs; its scores cached in ``store``; ``budget``: what an LLM may
    cost.

    ``exact``; ``shipped``; an ONNX file with tokenizer.json and config.json beside it, or a folder of these;
    ``hub:ORG/NAME``; ``llm:MODEL`` with a model as `demur sample` takes it. Raises InputError for anything else.
    """
    if spec == "exact":
        yield exact_match
    elif spec.startswith(LLM):
        with _open_llm(spec.removeprefix(LLM), store, progress, budget) as judge:
            yield judge if store is None else cache_scores(judge, store, entailment_identity(spec))
    else:
        model = shipped_entailment() if spec == "shipped" else OnnxEntailment(*_model_files(spec))
        yield model if store is None else cache_scores(model, store, model.identity)


def _model_files(spec: str) -> Files:
    """The files of a cross-encoder; raises InputError where ``spec`` names none, ModelError where one is missing."""
    if spec == "shipped":
        return _shipped_files()
    if spec.startswith(OWN):
        raise InputError(
            f"the meanings were decided by an entailment of your own, {spec.removeprefix(OWN)}; give it again "
            "(entailment=)"
        )
    if spec.startswith("hub:"):
        return _from_hub(spec.removeprefix("hub:"))
    if Path(spec).is_dir() or spec.endswith(".onnx"):
        return _from_folder(Path(spec))
    raise InputError(f"{spec!r} is not an entailment; use exact, shipped, a folder, hub:ORG/NAME or llm:MODEL")


def _from_folder(path: Path) -> Files:
    """An ONNX file, or the one in a folder; tokenizer.json and config.json are beside it, or a folder above."""
    model = path
    if path.is_dir():
        names = [Path(folder, name) for name in MODEL_NAMES for folder in ("", "onnx")]
        model = next((path / name for name in names if (path / name).is_file()), path / MODEL_NAMES[0])
    if not model.is_file():
        raise ModelError(f"{path}: no {model.name} in it; make one with {EXPORT.format(name='MODEL', folder=path)}")
    return model, _beside(model, "tokenizer.json"), _beside(model, "config.json")


def _beside(model: Path, name: str) -> Path:
    for folder in (model.parent, model.parent.parent):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{model.parent}: no {name} beside {model.name}; it comes with the model")


def _from_hub(name: str) -> Files:
    hub = require("huggingface_hub", extra="hub", purpose=f"loading {name} from the hub")
    wanted = [f"{folder}{model}" for model in (MODEL_NAMES[0], f"{MODEL_NAMES[0]}_data") for folder in ("", "onnx/")]
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=[*wanted, "tokenizer.json", "config.json"]))
    except OSError as error:
        raise ModelError(f"{name}: cannot be fetched from the hub: {str(error)[:160]}") from error
    try:
        return _from_folder(folder)
    except ModelError as error:
        line = EXPORT.format(name=name, folder="FOLDER")
        raise ModelError(f"{name}: cannot be used as it is on the hub ({error}); {line}, then name FOLDER") from error


@contextmanager
def _open_llm(model: str, store: Store | None, progress: Progress, budget: Budget | None) -> Iterator[EntailmentModel]:
    """An LLM judge behind a plain callable: its own event loop, open as long as the block runs."""

    async def begin() -> tuple[Any, EndpointClient]:
        session = running_endpoint(parse_model(model), parallel=1, progress=progress)
        return session, await EndpointClient(await session.__aenter__()).__aenter__()

    with one_loop() as run:
        session, client = run(begin())
        try:
            judge = LLMEntailment(client, store, budget)
            yield lambda pairs: run(judge.score(pairs))
        finally:
            run(client.__aexit__(None, None, None))
            run(session.__aexit__(None, None, None))
