"""The first layers of bge-small as an encoder of their own: half the work, and prompts are told apart as well.

The vector of a text is the mean over its words of what the sixth of twelve layers computes; the later layers fit the
first token to search. Weights stay the 8-bit numbers of bge-small's own file, so nothing is trained or shipped, and the
same file always gives the same bytes. docs/method.md has quality against latency of other numbers of layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from demur.errors import ModelError
from demur.models.encoders.onnx_file import CONTRIBUTED, FLOAT, INT32, Network

LAYERS, HEADS, EPSILON = 6, 12, 1e-12
_TYPES: dict[int, Any] = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}
Array = np.ndarray[Any, Any]


def network_file(content: bytes) -> bytes:
    """model.onnx of the first layers from bge-small's model.onnx. Raises ModelError for another file."""
    try:
        return as_onnx(*read_onnx(content))
    except (KeyError, IndexError, ValueError, StopIteration, TypeError) as error:
        raise ModelError(f"not the ONNX file of bge-small: {type(error).__name__} {str(error)[:80]}") from error


def read_onnx(content: bytes) -> tuple[dict[str, Array], list[str]]:
    """The constants of an ONNX file by name, and the names of its products' 8-bit matrices in order."""
    graph = next(value for number, value in _fields(content) if number == 7)
    arrays, products = {}, []
    for number, value in _fields(graph):
        if number == 5:
            name, array = _constant(value)
            arrays[name] = array
        elif number == 1:
            node = list(_fields(value))
            if (4, b"MatMulInteger") in node:
                products.append([text.decode() for kind, text in node if kind == 1][1])
    return arrays, products


def _constant(tensor: bytes) -> tuple[str, Array]:
    found = list(_fields(tensor))
    name = next(value for number, value in found if number == 8).decode()
    kind = _TYPES.get(next(value for number, value in found if number == 2))
    content = b"".join(value for number, value in found if number == 9 or (number == 4 and kind is np.float32))
    dims = [value for number, value in found if number == 1]
    if kind is None:
        return name, np.empty(0)
    if not content:  # a few whole numbers stand as such
        numbers = [one for number, value in found if number == 5 for one in _numbers(value)]
        return name, np.array(numbers, dtype=kind).reshape(dims)
    return name, np.frombuffer(content, kind).reshape(dims)


def _numbers(packed: bytes | int) -> Iterator[int]:
    if isinstance(packed, int):
        yield packed
        return
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protobuf message: whole numbers, or bytes. Raises IndexError where it is cut."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
        else:
            size, at = (8, at) if tag & 7 == 1 else (4, at) if tag & 7 == 5 else _varint(message, at)
            yield tag >> 3, message[at : at + size]
            at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def as_onnx(arrays: dict[str, Array], products: list[str]) -> bytes:
    """Token ids and attention mask, (batch, tokens) -> the mean over each text's words, (batch, d)."""
    network = Network()
    for name, number in (("zero", 0), ("one", 1), ("two", 2), ("last", -1)):
        network.weight(name, np.array([number], dtype=np.int64))
    network.weight("few", np.array([1e-9], dtype=np.float32))  # of a text without words
    x = _norm(network, arrays, _add_embeddings(network, arrays), "embeddings.LayerNorm")
    mask = network.add("Cast", ["attention_mask"], to=INT32)
    for i in range(LAYERS):
        x = _layer(network, arrays, x, mask, i, products[6 * i : 6 * i + 6])
    # A token between two others is a word: the first and the last one are special.
    words = network.add("Cast", [network.add("Slice", ["attention_mask", "two", "end", "one"])], to=FLOAT)
    inner = network.add("Slice", [x, "one", "last", "one"])
    said = network.add("Mul", [inner, network.add("Unsqueeze", [words, "two"])])
    sums = network.add("ReduceSum", [said, "one"], keepdims=0)
    counts = network.add("Add", [network.add("ReduceSum", [words, "one"], keepdims=1), "few"])
    network.weight("end", np.array([2**31], dtype=np.int64))
    sizes = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "tokens"))
    return network.serialise(sizes, network.add("Div", [sums, counts]), ("batch", 384))


def _add_embeddings(network: Network, arrays: dict[str, Array]) -> str:
    """The vectors of the tokens and of their places, added up."""
    name = "embeddings.word_embeddings.weight"
    rows = network.add("Gather", [network.weight(name, arrays[f"{name}_quantized"]), "input_ids"], axis=0)
    scale, zero = arrays[f"{name}_scale"].reshape(()), arrays[f"{name}_zero_point"].reshape(())
    known = [network.weight("words.scale", scale), network.weight("words.zero", zero)]
    words = network.add("DequantizeLinear", [rows, *known])
    places = _whole(arrays, "embeddings.position_embeddings.weight")
    network.weight("places", places + _whole(arrays, "embeddings.token_type_embeddings.weight")[0])
    length = network.add("Slice", [network.add("Shape", ["input_ids"]), "one", "two"])
    return str(network.add("Add", [words, network.add("Slice", ["places", "zero", length, "zero"])]))


def _whole(arrays: dict[str, Array], name: str) -> Array:
    """8-bit numbers as what they stand for."""
    zero = arrays[f"{name}_zero_point"].astype(np.float32)
    return np.asarray((arrays[f"{name}_quantized"].astype(np.float32) - zero) * arrays[f"{name}_scale"])


def _layer(network: Network, arrays: dict[str, Array], x: str, mask: str, i: int, matrices: list[str]) -> str:
    """One layer of BERT on (batch, tokens, d); ``matrices``: its products' six, in order."""
    of = f"encoder.layer.{i}"
    own = [f"{of}.attention.self.{side}.bias" for side in ("query", "key", "value")]
    sides = network.add("Split", [_product(network, arrays, x, matrices[:3], own)], 3, axis=-1)
    seen = network.add("MultiHeadAttention", [*sides, "", mask], domain=CONTRIBUTED, num_heads=HEADS)
    attended = _product(network, arrays, seen, matrices[3:4], [f"{of}.attention.output.dense.bias"])
    x = _norm(network, arrays, network.add("Add", [x, attended]), f"{of}.attention.output.LayerNorm")
    inner = _product(network, arrays, x, matrices[4:5], [f"{of}.intermediate.dense.bias"])
    inner = network.add("Gelu", [inner], domain=CONTRIBUTED)
    rest = _product(network, arrays, inner, matrices[5:6], [f"{of}.output.dense.bias"])
    return _norm(network, arrays, network.add("Add", [x, rest]), f"{of}.output.LayerNorm")


def _product(network: Network, arrays: dict[str, Array], x: str, matrices: list[str], biases: list[str]) -> str:
    """X times 8-bit matrices side by side, plus their biases."""
    whole = np.concatenate([arrays[name] for name in matrices], axis=1)
    scales = np.concatenate([arrays[name.replace("_quantized", "_scale")] for name in matrices])
    bias = np.concatenate([arrays[name] for name in biases])
    inputs = [network.weight(f"{biases[0]}.w", whole), network.weight(f"{biases[0]}.s", scales)]
    added = network.weight(f"{biases[0]}.b", bias)
    return str(network.add("DynamicQuantizeMatMul", [x, *inputs, "", added], domain=CONTRIBUTED))


def _norm(network: Network, arrays: dict[str, Array], x: str, name: str) -> str:
    own = [network.weight(f"{name}.{part}", arrays[f"{name}.{part}"]) for part in ("weight", "bias")]
    return str(network.add("LayerNormalization", [x, *own], axis=-1, epsilon=EPSILON))
