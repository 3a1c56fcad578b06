"""Encoders: the cut of long prompts, the cache, and the real model."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError, ModelError
from demur.methods import KernelRidge
from demur.models.catalogue import fetch
from demur.models.encoders import first_layers
from demur.models.encoders.encoder import (
    CachedEncoder,
    LetterEncoder,
    OnnxEncoder,
    WatchedEncoder,
    encoder_identity,
    load_encoder,
)
from demur.records import FloatArray
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router
from demur.runs.begin.preflight import check_encoder
from demur.store import Store
from pairs import running_pair


class Counting(LetterEncoder):
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        self.asked += texts
        return super().encode(texts)


def test_a_text_is_embedded_once() -> None:
    inner = Counting()
    with Store(":memory:") as store:
        first = CachedEncoder(inner, store).encode(["a", "b", "a"])
        again = CachedEncoder(inner, store).encode(["b", "c"])
    assert inner.asked == ["a", "b", "c"]
    np.testing.assert_array_equal(first[1], again[0])
    np.testing.assert_array_equal(first, LetterEncoder().encode(["a", "b", "a"]))


def test_of_many_texts_it_is_told_how_many_are_embedded_and_the_rows_are_the_same() -> None:
    told: list[tuple[str, int, int]] = []
    texts = [f"text {i}" for i in range(600)]
    watched = WatchedEncoder(LetterEncoder(), lambda *one: told.append(one))
    np.testing.assert_array_equal(watched.encode(texts), LetterEncoder().encode(texts))
    assert told == [("embedding prompts", done, 600) for done in (0, 256, 512, 600)]
    told.clear()
    np.testing.assert_array_equal(watched.encode(texts[:256]), LetterEncoder().encode(texts[:256]))
    assert told == []  # a moment's work


def test_an_object_of_ones_own_is_known_by_what_it_computes() -> None:
    class Mine:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        def encode(self, texts: Sequence[str], /) -> FloatArray:
            return np.full((len(texts), 2), self.scale)

    assert encoder_identity(Mine(1.0)) == encoder_identity(Mine(1.0)) != encoder_identity(Mine(2.0))


def test_an_embeddings_endpoint_is_an_encoder() -> None:
    with running_pair() as pair:
        encoder = load_encoder(f"embedder@{pair.weak.base_url}")
        rows = encoder.encode(["aaaa", "bbbb"])
        with pytest.raises(InputError, match="the prompt is empty"):
            encoder.encode([" "])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)


def test_the_prompts_length_may_stand_beside_its_vector(tmp_path: Path) -> None:
    encoder = load_encoder("letters+length")
    rows = encoder.encode(["ab", "ab" * 45])
    np.testing.assert_allclose(rows[:, :-1], LetterEncoder().encode(["ab", "ab" * 45]))
    np.testing.assert_allclose(rows[:, -1], [0.17 * (np.log(3) - 4.5), 0.17 * (np.log(91) - 4.5)], rtol=1e-5)
    np.testing.assert_array_equal(encoder.encode_together(["ab"]), rows[:1])  # type: ignore[union-attr]
    assert encoder_identity(encoder) != encoder_identity(LetterEncoder())
    training = [TrainingPrompt("ab" * n, float(n > 20), None, None) for n in range(1, 41)]
    train_router(encoder, KernelRidge(), training, weak="small", strong="large").save(tmp_path)
    short, long = PromptRouter.load(tmp_path).score(["ab" * 5, "ab" * 38])  # the letters alone are the same
    assert short < 0.3 < 0.7 < long
    check_encoder("bge-small+length")
    check_encoder("auto+length")


@pytest.mark.parametrize("spec", ["embedder@http://127.0.0.1:9/v1+length", "word2vec+length", "+length"])
def test_the_length_goes_with_encoders_of_the_catalogue(spec: str) -> None:
    with pytest.raises(InputError):
        load_encoder(spec)


def test_names_that_are_no_encoder() -> None:
    with pytest.raises(InputError, match="is not an encoder; use minilm"):
        load_encoder("word2vec")
    with pytest.raises(InputError, match="is a chat model"):
        load_encoder("smollm2-135m")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minilm", "bge-small", "bge-small-6"])
def test_real_encoders_put_like_with_like(name: str) -> None:
    encoder = load_encoder(name)
    assert isinstance(encoder, OnnxEncoder)
    texts = ["How do I bake bread?", "What is the recipe for a loaf of bread?", "Who won the 1966 World Cup?"]
    rows = encoder.encode(texts)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(alone, rows, atol=1e-6)  # who asks beside it changes nothing
    many = [*texts, *(f"{text} And {'so on ' * i}?" for i, text in enumerate(texts * 30))]
    np.testing.assert_allclose(encoder.encode(many)[:3], rows, atol=1e-6)
    assert (encoder.encode_together(many) * encoder.encode(many)).sum(axis=1).min() > 0.98  # int8: batches differ


@pytest.mark.slow
def test_long_prompts_keep_head_and_tail() -> None:
    encoder = load_encoder("minilm")
    filler = "and so on " * 5000
    ends = [f"What is a cat? {filler} What is a dog?", f"What is a cat? {filler * 4} What is a dog?"]
    other = f"{filler} What is a cat? What is a dog? {filler}"
    rows = encoder.encode([*ends, other])
    assert rows[0] @ rows[1] > 0.999
    assert rows[0] @ rows[2] < rows[0] @ rows[1]
    assert np.isfinite(encoder.encode(["🙂" * 300_000, "x" * 1_000_000])).all()


@pytest.mark.slow
def test_all_twelve_layers_are_those_of_the_whole_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """bge-small gives every token's state; the mean over a text's words is what the network of twelve layers gives."""
    import onnxruntime

    monkeypatch.setattr(first_layers, "LAYERS", 12)
    whole = fetch("bge-small") / "model.onnx"
    sessions = [onnxruntime.InferenceSession(file) for file in (whole, first_layers.network_file(whole.read_bytes()))]
    ids, short = [101, 2339, 2003, 1996, 3712, 2630, 1029, 102], [101, 3712, 102]
    given = {
        "input_ids": np.array([ids, [*short, 0, 0, 0, 0, 0]]),
        "attention_mask": np.array([[1] * 8, [1] * 3 + [0] * 5]),
    }
    states = sessions[0].run(None, {**given, "token_type_ids": np.zeros((2, 8), dtype=np.int64)})[0]
    expected = np.stack([states[0, 1:7].mean(axis=0), states[1, 1]])
    found = sessions[1].run(None, given)[0]
    for one, other in zip(found, expected, strict=True):  # 8-bit products round in another order
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99


@pytest.mark.parametrize("content", [b"", b"no network", b"\x3a\x02\x08\x01"])
def test_the_layers_of_another_file_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="not the ONNX file of bge-small"):
        first_layers.network_file(content)


@pytest.mark.slow
def test_in_another_process_an_encoder_of_the_catalogue_is_found_by_name_in_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's machine may keep its models elsewhere."""
    encoder, folder = load_encoder("bge-small-6+length"), fetch("bge-small-6")
    sent = pickle.dumps(encoder)
    shutil.copytree(folder, tmp_path / "demur" / "models" / "bge-small-6")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DEMUR_MODELS", raising=False)
    there = pickle.loads(sent)
    assert list((tmp_path / "demur" / "models" / "verified").iterdir())  # the copy was read
    assert there.encode(["Why is the sky blue?"]).tobytes() == encoder.encode(["Why is the sky blue?"]).tobytes()
