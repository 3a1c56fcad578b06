"""Writes a network as an ONNX file without the onnx package: the few protobuf messages that an encoder needs.

Field numbers are those of onnx.proto3 (IR version 10). The same network always gives the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IR_VERSION = 10  # the first with 4-bit integers
OPSET, CONTRIBUTED = 17, "com.microsoft"  # onnxruntime's own operators, version 1
FLOAT, UINT8, INT8, INT32, INT64, FLOAT16, INT4 = 1, 2, 3, 6, 7, 10, 22  # TensorProto.DataType
_TYPES = {
    np.dtype(np.float32): FLOAT,
    np.dtype(np.uint8): UINT8,
    np.dtype(np.int8): INT8,
    np.dtype(np.int64): INT64,
    np.dtype(np.float16): FLOAT16,
}


@dataclass(slots=True)
class Network:
    """A graph while it is put together; `add` returns the name of what a node computes."""

    _nodes: list[bytes] = field(default_factory=list)
    _weights: list[bytes] = field(default_factory=list)

    def weight(self, name: str, values: np.ndarray[Any, Any]) -> str:
        """A constant; returns its name."""
        return self.pack(name, values.shape, _TYPES[values.dtype], values.tobytes())

    def pack(self, name: str, shape: Sequence[int], kind: int, content: bytes) -> str:
        """A constant of a type that numpy does not have, such as two 4-bit integers per byte."""
        dims = b"".join(_number(1, size) for size in shape)
        self._weights.append(dims + _number(2, kind) + _text(8, name) + _bytes(9, content))
        return name

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: object) -> Any:
        """A node; returns the name of its output, or a list of names where it has several.

        ``domain`` among the attributes names the set of operators that it is of.
        """
        domain = str(attributes.pop("domain", ""))
        names = [f"n{len(self._nodes)}.{i}" for i in range(outputs)]
        given = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in names)
        settings = b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())
        self._nodes.append(given + _text(4, operator) + settings + (_text(7, domain) if domain else b""))
        return names[0] if outputs == 1 else names

    def serialise(
        self, inputs: Mapping[str, Sequence[str | int]], output: str, shape: Sequence[str | int], *, reads: int = INT64
    ) -> bytes:
        """The file's content. ``inputs`` are of type ``reads`` and these dimensions, ``output`` is float32."""
        graph = b"".join(_bytes(1, node) for node in self._nodes) + _text(2, "encoder")
        graph += b"".join(_bytes(5, weight) for weight in self._weights)
        graph += b"".join(_bytes(11, _value(name, reads, dims)) for name, dims in inputs.items())
        graph += _bytes(12, _value(output, FLOAT, shape))
        operators = [_text(1, "") + _number(2, OPSET), _text(1, CONTRIBUTED) + _number(2, 1)]
        return (
            _number(1, IR_VERSION)
            + _text(2, "demur")
            + _bytes(7, graph)
            + b"".join(_bytes(8, one) for one in operators)
        )


def _attribute(name: str, value: object) -> bytes:
    """A whole number, a float, or a list of whole numbers."""
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    if isinstance(value, float):
        return _text(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1)
    assert isinstance(value, list)
    return _text(1, name) + b"".join(_number(8, one) for one in value) + _number(20, 7)


def _value(name: str, kind: int, dims: Sequence[str | int]) -> bytes:
    """The name, type and shape of an input or output; a dimension is a number, or a name where it varies."""
    sizes = (_text(2, size) if isinstance(size, str) else _number(1, size) for size in dims)
    shape = b"".join(_bytes(1, size) for size in sizes)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are in two's complement
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _bytes(tag: int, content: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def _text(tag: int, content: str) -> bytes:
    return _bytes(tag, content.encode())
