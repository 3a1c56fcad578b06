"""What decides whether one answer entails another: exact match, an ONNX cross-encoder, an LLM; all the same callable.

(premise, hypothesis) pairs in, probabilities of contradiction, neutral, entailment out, shape (n, 3). Which pairs are
asked is clustering's business. Heavy libraries are imported when a model is opened, not before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from demur.clustering import checked
from demur.endpoints import Endpoint, EndpointClient
from demur.errors import InputError, ModelError, require
from demur.local import opened, parse_model
from demur.records import Entailment, FloatArray, Progress, SamplingSettings, no_progress
from demur.rules import exact_key
from demur.store import Pair, Store, Verdict

LABELS = ("contradiction", "neutral", "entailment")
LONGEST_SIDE_CHARACTERS = 4000  # of a side's end, before tokenising: 100 kB answers cost no more than these
SHIPPED = ("entailment.onnx", "entailment_tokenizer.json", "entailment.json")


def exact_match(pairs: Sequence[Pair]) -> FloatArray:
    """Entailment as equality after normalisation; no model."""
    same = [exact_key(premise) == exact_key(hypothesis) for premise, hypothesis in pairs]
    return np.array([(0.0, 0.0, 1.0) if equal else (0.0, 1.0, 0.0) for equal in same]).reshape(-1, 3)


class OnnxEntailment:
    """A natural-language-inference cross-encoder on the CPU, one thread.

    ``model``, ``tokenizer`` and ``config`` are an ONNX file, its tokenizer.json and a config.json with ``id2label``,
    from which the order of the labels is taken. A side that is too long loses its beginning (the question), never its
    end (the answer). Raises ModelError for files that cannot be used and for labels other than the three.
    """

    def __init__(self, model: Path, tokenizer: Path, config: Path) -> None:
        import onnxruntime
        import tokenizers

        settings = json.loads(config.read_text(encoding="utf-8"))
        self._order = label_order(settings.get("id2label") or {}, str(config))
        self._window = int(settings.get("max_length") or settings.get("max_position_embeddings") or 512)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # both libraries raise bare Exceptions of their own
            raise ModelError(f"{model}: cannot be opened: {str(error)[:160]}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._inputs = [given.name for given in self._session.get_inputs()]

    def __call__(self, pairs: Sequence[Pair]) -> FloatArray:
        """Probabilities of contradiction, neutral, entailment; shape (n, 3)."""
        encoded = [self._encode(premise, hypothesis) for premise, hypothesis in pairs]
        found = np.empty((len(pairs), 3))
        by_length = sorted(range(len(pairs)), key=lambda i: len(encoded[i].ids))
        for start in range(0, len(pairs), 32):  # short with short: padding is wasted work
            batch = by_length[start : start + 32]
            found[batch] = self._score([encoded[i] for i in batch])
        return checked(found, len(pairs))

    def _encode(self, premise: str, hypothesis: str) -> Any:
        """Token ids of the pair, each side cut from the left to what fits."""
        room = self._window - self._tokenizer.num_special_tokens_to_add(True)
        sides = [
            self._tokenizer.encode(side[-LONGEST_SIDE_CHARACTERS:], add_special_tokens=False)
            for side in (premise, hypothesis)
        ]
        lengths = [len(side.ids) for side in sides]
        if sum(lengths) > room:
            shorter = min(*lengths, room // 2)  # the shorter side keeps its length if it is under half
            kept = [shorter if length == min(lengths) else room - shorter for length in lengths]
            for side, keep in zip(sides, kept, strict=True):
                side.truncate(max(1, keep), direction="left")
        return self._tokenizer.post_process(sides[0], sides[1])

    def _score(self, batch: Sequence[Any]) -> FloatArray:
        longest = max(len(row.ids) for row in batch)
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        feed = {name: np.zeros((len(batch), longest), dtype=np.int64) for name in self._inputs}
        for i, row in enumerate(batch):
            for name in self._inputs:
                feed[name][i, : len(row.ids)] = getattr(row, columns[name])
        logits = np.asarray(self._session.run(None, feed)[0], dtype=float)[:, self._order]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def label_order(id2label: dict[str, str], where: str) -> list[int]:
    """Columns of contradiction, neutral, entailment in a model's output; raises ModelError listing what it found."""
    column = {str(name).casefold().replace(" ", "_"): int(index) for index, name in id2label.items()}
    missing = [label for label in LABELS if label not in column]
    if missing or len(column) != len(LABELS):
        raise ModelError(
            f"{where}: labels are {', '.join(id2label.values()) or 'not given'}; entailment needs {', '.join(LABELS)}"
        )
    return [column[label] for label in LABELS]


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


def shipped_entailment() -> OnnxEntailment:
    """The small entailment model that comes with demur, alone (no rules)."""
    weights = Path(str(files("demur"))) / "weights"
    model, tokenizer, config = (weights / name for name in SHIPPED)
    if not model.is_file():
        raise ModelError(f"{model}: this build of demur ships no entailment model; use entailment='exact'")
    return OnnxEntailment(model, tokenizer, config)


def is_shipped() -> bool:
    """True when this build carries the small entailment model."""
    return (Path(str(files("demur"))) / "weights" / SHIPPED[0]).is_file()


@contextmanager
def open_entailment(spec: str, store: Store | None = None, progress: Progress = no_progress) -> Iterator[Entailment]:
    """The entailment that ``spec`` names, its verdicts cached in ``store``.

    ``exact``; ``shipped``; a folder with model.onnx, tokenizer.json and config.json; ``hub:ORG/NAME``; ``llm:MODEL``
    with a model as `demur sample` takes it. Raises InputError for anything else.
    """
    if spec == "exact":
        yield exact_match
    elif spec == "shipped":
        yield _kept(shipped_entailment(), store, f"shipped {_file_hash(SHIPPED[0])}")
    elif spec.startswith("llm:"):
        with _judge(spec.removeprefix("llm:"), progress) as (judge, identity):
            yield _kept(judge, store, identity)
    elif spec.startswith("hub:"):
        yield _kept(_from_hub(spec.removeprefix("hub:")), store, spec)
    elif Path(spec).is_dir():
        yield _kept(_from_folder(Path(spec)), store, f"folder {Path(spec).resolve().name}")
    else:
        raise InputError(f"{spec!r} is no entailment; use exact, shipped, a folder, hub:ORG/NAME or llm:MODEL")


def _kept(entailment: Entailment, store: Store | None, identity: str) -> Entailment:
    return cached(entailment, store, identity) if store is not None else entailment


def _file_hash(name: str) -> str:
    from demur.catalogue import sha256_of

    return sha256_of(Path(str(files("demur"))) / "weights" / name)[:16]


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
            yield (lambda pairs: runner.run(judge.score(pairs))), f"llm {endpoint.name}"
        finally:
            runner.run(client.__aexit__(None, None, None))
            runner.run(session.__aexit__(None, None, None))
