"""Prompts as vectors: ONNX encoders on the CPU, OpenAI-compatible embeddings, or any object with ``encode``.

Of a prompt longer than the encoder's window the head and the tail are kept, half each, in training and serving alike.
Vectors are cached by content. What the vectors are used for is not known here.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from demur.config.names import IMAGES, TEXT_SHARE
from demur.errors import InputError, ModelError
from demur.event_loop import run_to_end
from demur.mapping import Map, on_threads, portions_of
from demur.models.catalogue import catalogue, fetch, is_known, model
from demur.models.endpoint import Endpoint
from demur.models.images.image_encoder import open_image_encoder
from demur.models.images.joined_encoder import JoinedEncoder, sees_pictures
from demur.models.images.text_share import open_text_detector
from demur.models.local import endpoint_of, parse_model
from demur.models.requests.client import EndpointClient
from demur.prompts.pictures import ShownText, told_of
from demur.records import Encoder, FloatArray, Progress, content_hash, no_progress
from demur.store import Store

BATCH_TOKENS = 256  # of texts that are embedded together, padding included; more are slower on a CPU
BULK_TEXTS = 64  # from here on all cores embed, a text each; what serves never comes as many at once
KEPT_TEXTS = 256  # are embedded before they are written to the store, and before progress is told
LENGTH = "+length"  # ends the spec of an encoder whose vectors hold the prompt's length too
LENGTH_WEIGHT, USUAL_LENGTH = 0.17, 4.5  # of the log of characters; a prompt of 90 characters is of usual length
CHARACTERS_PER_TOKEN = 12  # more than any script needs on average: what lies beyond the window is cut before tokenising


class OnnxEncoder:
    """A sentence encoder in ONNX, one thread per text; unit-length float32 rows.
    ``folder`` holds model.onnx and tokenizer.json; ``prefix`` is what the encoder was trained to see before every text.
    Raises ModelError when they cannot be opened.
    """

    def __init__(
        self, folder: Path, *, pooling: Literal["mean", "cls"] | str, window: int, identity: str, prefix: str = ""
    ) -> None:
        import onnxruntime
        import tokenizers

        self._opened_by = partial(OnnxEncoder, folder, pooling=pooling, window=window, identity=identity, prefix=prefix)
        self.pooling = pooling
        self.window = window
        self.prefix = prefix
        self.identity = f"{identity} {pooling} window {window} head+tail{' ' if prefix else ''}{prefix.strip()}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the arena keeps the largest batch's memory for good
        options.enable_mem_pattern = False  # nor is memory planned for a whole run at once
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # both libraries raise bare Exceptions of their own
            raise ModelError(f"{folder}: the encoder cannot be opened: {str(error)[:160]}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._inputs = [given.name for given in self._session.get_inputs()]

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, maybe on another machine, it is opened again: there a model of the catalogue may lie
        elsewhere."""
        named = spec_of(self)
        return (load_encoder, (named,)) if named else (self._opened_by, ())

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed texts; shape (n, d), float32, rows of length 1. Raises InputError for an empty text.

        Each alone: in a batch an int8 model quantises all texts by one scale, and a row would depend on the others.
        """
        encoded = [[self._token_ids(text)] for text in texts]
        rows = list((map if len(texts) < BULK_TEXTS else on_threads)(self._embed, encoded))
        return np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def encode_together(self, texts: Sequence[str], /) -> FloatArray:
        """As `encode`, in batches: which is faster; rows differ slightly (cosine above .99)."""
        encoded = [self._token_ids(text) for text in texts]
        by_length = sorted(range(len(texts)), key=lambda i: len(encoded[i]))  # short with short: padding is wasted
        batches = _batches(by_length, [len(encoded[i]) for i in by_length])
        rows = np.concatenate([self._embed([encoded[i] for i in batch]) for batch in batches])
        return np.asarray(rows[np.argsort(by_length)])

    def _token_ids(self, text: str) -> list[int]:
        if not text.strip():
            raise InputError("the prompt is empty; there is nothing to route")
        room = self.window - 2  # the special tokens at both ends
        reach = room * CHARACTERS_PER_TOKEN
        cut = text if len(text) <= 2 * reach else f"{text[:reach]} {text[-reach:]}"
        ids = self._tokenizer.encode(self.prefix + cut).ids
        if len(ids) <= self.window:
            return list(ids)
        head = room - room // 2
        return [*ids[: head + 1], *ids[len(ids) - room // 2 - 1 :]]

    def _embed(self, batch: Sequence[Sequence[int]]) -> FloatArray:
        ids = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(batch):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = np.asarray(self._session.run(None, {name: given[name] for name in self._inputs})[0])
        if hidden.ndim == 2:  # pooled inside the graph
            pooled = hidden
        elif self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            pooled = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return np.asarray(pooled / np.linalg.norm(pooled, axis=1, keepdims=True), dtype=np.float32)


def _batches(ascending: Sequence[int], lengths: Sequence[int]) -> list[Sequence[int]]:
    """Neighbours together, as many as BATCH_TOKENS has room for; ``lengths`` ascend."""
    starts = [0]
    for i, length in enumerate(lengths):
        if i > starts[-1] and (i - starts[-1] + 1) * length > BATCH_TOKENS:
            starts.append(i)
    return [ascending[start:end] for start, end in zip(starts, [*starts[1:], len(ascending)], strict=True)]


class LengthEncoder:
    """An encoder of the catalogue with one more column, which grows with the log of a text's length.

    Which model a judge prefers on open-ended prompts depends on their length (docs/method.md). The column's weight was
    chosen on three pairs of AlpacaEval; on short questions it changes nothing.
    """

    def __init__(self, encoder: OnnxEncoder | LetterEncoder) -> None:
        self.encoder = encoder
        self.identity = f"{encoder.identity} {LENGTH}"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed texts; shape (n, d + 1), float32: unit rows, and the column. Raises InputError for an empty text."""
        return self._with_length(self.encoder.encode(texts), texts)

    def encode_together(self, texts: Sequence[str], /) -> FloatArray:
        """As `encode`, in batches where the encoder has them."""
        together = getattr(self.encoder, "encode_together", self.encoder.encode)
        return self._with_length(together(texts), texts)

    def _with_length(self, rows: FloatArray, texts: Sequence[str]) -> FloatArray:
        lengths = np.log1p(np.fromiter(map(len, texts), dtype=np.float32, count=len(texts)))
        return np.column_stack([rows, LENGTH_WEIGHT * (lengths - USUAL_LENGTH)]).astype(np.float32)


class EndpointEncoder:
    """Embeddings of an OpenAI-compatible endpoint; unit-length float32 rows."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.identity = f"endpoint {endpoint.name}"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed texts; shape (n, d). Raises EndpointError, and InputError for an empty text."""
        if any(not text.strip() for text in texts):
            raise InputError("the prompt is empty; there is nothing to route")

        async def ask() -> FloatArray:
            async with EndpointClient(self.endpoint) as client:
                return np.concatenate([await client.embed(texts[i : i + 256]) for i in range(0, len(texts), 256)])

        rows = run_to_end(ask())
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


class LetterEncoder:
    """Counts of letters and digits, as unit rows: an encoder without a model, for tests and first tries."""

    identity = "letters"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed texts; shape (n, 36), float32."""
        counts = [
            [1.0 + text.casefold().count(one) for one in string.ascii_lowercase + string.digits] for text in texts
        ]
        rows = np.array(counts).reshape(len(texts), -1)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


class CachedEncoder:
    """An encoder whose vectors are kept in a store: a text is embedded once.

    ``shown``: texts with their pictures, by themselves as strings: what is read from a file has the words alone.
    """

    def __init__(
        self,
        encoder: Encoder,
        store: Store,
        *,
        shown: Mapping[str, ShownText] = MappingProxyType({}),
        progress: Progress = no_progress,
        mapping: Map = map,
    ) -> None:
        self.encoder, self._store, self._shown, self._progress, self._map = encoder, store, shown, progress, mapping
        self.identity = encoder_identity(encoder)
        self.sees_pictures = sees_pictures(encoder)

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed texts; shape (n, d), float32."""
        texts = [self._shown.get(text, text) for text in texts] if self.sees_pictures else list(map(told_of, texts))
        known = self._store.embeddings(self.identity, texts)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        done = 0
        portions = list(portions_of(missing, KEPT_TEXTS))
        for portion, rows in zip(portions, self._map(self.encoder.encode, portions), strict=True):
            fresh = dict(zip(portion, np.asarray(rows, dtype=np.float32), strict=True))
            self._store.add_embeddings(self.identity, fresh)
            known |= fresh
            done += len(portion)
            self._progress("embedding prompts", done, len(missing))
        return np.stack([known[text] for text in texts])


class WatchedEncoder:
    """An encoder with progress while it embeds many texts, a portion at a time; the rows are the encoder's own."""

    def __init__(self, encoder: Encoder, progress: Progress) -> None:
        self.encoder, self._progress = encoder, progress
        self.sees_pictures = sees_pictures(encoder)

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed texts; shape (n, d), float32."""
        if len(texts) <= KEPT_TEXTS:
            return self.encoder.encode(texts)
        rows, done = list[FloatArray](), 0
        self._progress("embedding prompts", 0, len(texts))
        for portion in portions_of(texts, KEPT_TEXTS):
            rows.append(np.asarray(self.encoder.encode(portion), dtype=np.float32))
            done += len(portion)
            self._progress("embedding prompts", done, len(texts))
        return np.concatenate(rows)


def encoder_identity(encoder: Encoder) -> str:
    """What its vectors are kept under: its own ``identity``, or its class and the hash of a probe it embeds."""
    identity = getattr(encoder, "identity", None)
    if identity:
        return str(identity)
    probe = np.asarray(encoder.encode(["What does demur mean?"]), dtype=float).round(3).tolist()
    return f"{type(encoder).__module__}.{type(encoder).__qualname__} {content_hash(probe)[:16]}"


def load_encoder(
    spec: str, *, progress: Progress = no_progress
) -> OnnxEncoder | LengthEncoder | EndpointEncoder | LetterEncoder | JoinedEncoder:
    """An encoder of the catalogue by name, with the prompt's length beside it where ``+length`` ends the name;
    ``letters``; or ``MODEL@BASE_URL`` of an embeddings endpoint. ``+images=FILE`` after any of them, also with a folder
    or ORG/NAME of the hub, looks at pictures, and ``+text-share`` after that at how much of them is text. Raises
    InputError; ModelError for an image encoder that is not there.
    """
    words, joins, images = spec.partition(IMAGES)
    if joins:
        named = images.removesuffix(TEXT_SHARE)
        detector = None if named == images else open_text_detector(progress=progress)
        found = load_encoder(words, progress=progress)
        return JoinedEncoder(found, open_image_encoder(named), named, detector=detector)
    if spec.endswith(LENGTH):
        inner = load_encoder(spec.removesuffix(LENGTH), progress=progress)
        if not isinstance(inner, OnnxEncoder | LetterEncoder):
            raise InputError(f"{spec!r}: {LENGTH} goes with encoders of the catalogue: {', '.join(encoder_names())}")
        return LengthEncoder(inner)
    if spec == LetterEncoder.identity:
        return LetterEncoder()
    if is_known(spec):
        known = model(spec)
        if known.task != "encoder":
            raise InputError(f"{spec} is a {known.task} model; encoders are {', '.join(encoder_names())}")
        folder, identity = fetch(spec, progress=progress), known.files[0].sha256[:16]
        return OnnxEncoder(folder, pooling=known.pooling, window=known.window, identity=identity, prefix=known.prefix)
    if "@" in spec:
        return EndpointEncoder(endpoint_of(parse_model(spec)))
    raise InputError(f"{spec!r} is not an encoder; use {', '.join(encoder_names())}, or MODEL@BASE_URL")


def runs_here(encoder: Encoder) -> bool:
    """Whether an encoder answers within this process, in a few milliseconds."""
    return isinstance(encoder, OnnxEncoder | LetterEncoder | LengthEncoder)


def encoder_names() -> tuple[str, ...]:
    """Encoders of the catalogue."""
    return tuple(known.name for known in catalogue() if known.task == "encoder")


def spec_of(encoder: Any) -> str:
    """The spec under which `load_encoder` gives this encoder again, without its key; empty for a user's own object."""
    inner = encoder.encoder if isinstance(encoder, CachedEncoder) else encoder
    if isinstance(inner, JoinedEncoder):
        words = spec_of(inner.words)
        told = TEXT_SHARE if inner.detector else ""
        return f"{words}{IMAGES}{inner.named}{told}" if words and inner.named else ""
    if isinstance(inner, LengthEncoder):
        return f"{spec_of(inner.encoder)}{LENGTH}"
    if type(inner) is LetterEncoder:
        return inner.identity
    if isinstance(inner, EndpointEncoder):
        return f"{inner.endpoint.model}@{inner.endpoint.base_url}"
    if isinstance(inner, OnnxEncoder):
        return next((n for n in encoder_names() if inner.identity.startswith(model(n).files[0].sha256[:16])), "")
    return ""
