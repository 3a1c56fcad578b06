"""What decides whether one answer entails another: exact match, an ONNX cross-encoder, an LLM; all the same callable.

(premise, hypothesis) pairs in, probabilities of contradiction, neutral, entailment out, shape (n, 3). Which pairs are
asked is clustering's business, how a cross-encoder runs is `cross_encoder`'s. Heavy libraries are imported when a model
is opened, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from demur.clustering import checked
from demur.cross_encoder import OnnxEntailment
from demur.endpoints import Endpoint, EndpointClient
from demur.errors import InputError, ModelError, require
from demur.local import opened, parse_model
from demur.normalising import exact_key
from demur.records import Entailment, FloatArray, Progress, SamplingSettings, content_hash, no_progress
from demur.store import Pair, Store, Verdict

SHIPPED = ("entailment.onnx", "entailment_tokenizer.json", "entailment.json")
SAMPLED_SHARE = 0.1  # of the pairs of sampled answers that clustering asks about, those that hold


def exact_match(pairs: Sequence[Pair]) -> FloatArray:
    """Entailment as equality after normalisation; no model."""
    same = [exact_key(premise) == exact_key(hypothesis) for premise, hypothesis in pairs]
    return np.array([(0.0, 0.0, 1.0) if equal else (0.0, 1.0, 0.0) for equal in same]).reshape(-1, 3)


JUDGE_TEMPLATE = (
    "Two answers to the same question. Do they say the same thing?\n\nFirst: {premise}\nSecond: {hypothesis}\n\n"
    "If the first is true, is the second true as well? Answer with one word, yes or no:"
)


class LLMEntailment:
    """Any OpenAI-compatible LLM as entailment judge: one word a pair, pairs asked concurrently.

    ``yes`` is entailment, ``no`` contradiction, anything else neutral (probabilities 0 or 1).
    """

    def __init__(self, client: EndpointClient, *, template: str = JUDGE_TEMPLATE) -> None:
        self._client, self._template = client, template
        self._settings = SamplingSettings(n=1, temperature=0.0, max_tokens=4, chat=True)

    async def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """Probabilities of contradiction, neutral, entailment; shape (n, 3). Raises EndpointError."""
        import asyncio

        return np.array(await asyncio.gather(*(self._judge(*pair) for pair in pairs))).reshape(-1, 3)

    async def _judge(self, premise: str, hypothesis: str) -> Verdict:
        filled = self._template.replace("{premise}", premise).replace("{hypothesis}", hypothesis)
        (reply,) = await self._client.complete(filled, self._settings, [0])
        word = exact_key(reply.text).partition(" ")[0]
        return {"yes": (0.0, 0.0, 1.0), "no": (1.0, 0.0, 0.0)}.get(word, (0.0, 1.0, 0.0))


def cached(entailment: Entailment, store: Store, identity: str) -> Entailment:
    """The same entailment, asked once a pair ever: verdicts are kept in the store under ``identity``."""

    def ask(pairs: Sequence[Pair]) -> FloatArray:
        known = store.verdicts(identity, pairs)
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        if missing:
            scored = checked(entailment(missing), len(missing))
            fresh = {pair: (float(c), float(n), float(e)) for pair, (c, n, e) in zip(missing, scored, strict=True)}
            store.add_verdicts(identity, fresh)
            known |= fresh
        return np.array([known[pair] for pair in pairs]).reshape(-1, 3)

    return ask


def at_share(entailment: Entailment, share: float) -> Entailment:
    """The same entailment where ``share`` of the pairs hold, and not the half that it was calibrated on: Bayes' rule.

    Sampled answers of a wavering model rarely mean the same: without this, what is hard to tell apart is merged, and a
    model that guesses looks sure.
    """
    odds = np.array([1.0, 1.0, share / (1 - share)])

    def ask(pairs: Sequence[Pair]) -> FloatArray:
        weighed = np.asarray(entailment(pairs)) * odds
        return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))

    return ask


def shipped_entailment() -> OnnxEntailment:
    """The small entailment model that comes with demur, alone (no rules), calibrated for pairs of which half hold."""
    model, tokenizer, config = (_weights() / name for name in SHIPPED)
    if not model.is_file():
        raise ModelError(f"{model}: this build of demur ships no entailment model; use entailment='exact'")
    return OnnxEntailment(model, tokenizer, config)


def _weights() -> Path:
    return Path(str(files("demur"))) / "weights"


@contextmanager
def open_entailment(spec: str, store: Store | None = None, progress: Progress = no_progress) -> Iterator[Entailment]:
    """The entailment that ``spec`` names, its verdicts cached in ``store``.

    ``exact``; ``shipped``; a folder with model.onnx, tokenizer.json and config.json; ``hub:ORG/NAME``; ``llm:MODEL``
    with a model as `demur sample` takes it. Raises InputError for anything else.
    """
    if spec == "exact":
        yield exact_match
    elif spec == "shipped":
        yield at_share(_kept(shipped_entailment(), store), SAMPLED_SHARE)
    elif spec.startswith("llm:"):
        with _judge(spec.removeprefix("llm:"), progress) as (judge, identity):
            yield judge if store is None else cached(judge, store, identity)
    elif spec.startswith("hub:"):
        yield _kept(_from_hub(spec.removeprefix("hub:")), store)
    elif Path(spec).is_dir():
        yield _kept(_from_folder(Path(spec)), store)
    else:
        raise InputError(f"{spec!r} is no entailment; use exact, shipped, a folder, hub:ORG/NAME or llm:MODEL")


def _kept(entailment: OnnxEntailment, store: Store | None) -> Entailment:
    """Verdicts are kept by the model's content: another model in the same folder is another model."""
    return entailment if store is None else cached(entailment, store, entailment.identity)


def _from_folder(folder: Path) -> OnnxEntailment:
    model = next((path for path in (folder / "model.onnx", folder / "onnx" / "model.onnx") if path.is_file()), None)
    if model is None:
        raise ModelError(f"{folder}: no model.onnx in it; export one with `optimum-cli export onnx`")
    return OnnxEntailment(model, folder / "tokenizer.json", folder / "config.json")


def _from_hub(name: str) -> OnnxEntailment:
    hub = require("huggingface_hub", extra="hub", purpose=f"loading {name} from the hub")
    wanted = ["onnx/model.onnx", "model.onnx", "tokenizer.json", "config.json"]
    try:
        return _from_folder(Path(hub.snapshot_download(name, allow_patterns=wanted)))
    except OSError as error:
        raise ModelError(f"{name}: cannot be had from the hub: {str(error)[:160]}") from error


@contextmanager
def _judge(model: str, progress: Progress) -> Iterator[tuple[Entailment, str]]:
    """An LLM judge behind a plain callable: its own event loop, open as long as the block runs."""
    import asyncio

    async def begin() -> tuple[Any, Endpoint, EndpointClient]:
        session = opened(parse_model(model), parallel=1, progress=progress)
        endpoint = await session.__aenter__()
        return session, endpoint, await EndpointClient(endpoint).__aenter__()

    with asyncio.Runner() as runner:
        session, endpoint, client = runner.run(begin())
        try:
            judge = LLMEntailment(client)
            yield (lambda pairs: runner.run(judge.score(pairs))), f"llm {endpoint.name} {content_hash(JUDGE_TEMPLATE)}"
        finally:
            runner.run(client.__aexit__(None, None, None))
            runner.run(session.__aexit__(None, None, None))
