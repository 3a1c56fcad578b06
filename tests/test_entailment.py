"""Entailment models behind one callable: the shipped one, its files, the judge, the cache, and cutting long sides."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import demur
from demur.catalogue import models
from demur.cross_encoder import CONTEXT, OnnxEntailment, cut, kept_tokens, label_order
from demur.deciding import entail
from demur.endpoints import Endpoint, EndpointClient
from demur.entailment import SHIPPED, LLMEntailment, at_share, cached, open_entailment
from demur.errors import InputError, ModelError
from demur.records import FloatArray
from demur.store import Store
from demur.testing import fake_endpoint

WEIGHTS = Path(demur.__file__).parent / "weights"
MODEL, TOKENIZER, CONFIG = (WEIGHTS / name for name in SHIPPED)
Pairs = Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def shipped() -> OnnxEntailment:
    return demur.shipped_entailment()


def same(model: OnnxEntailment, question: str, a: str, b: str) -> bool:
    sides = f"{question} {a}", f"{question} {b}"
    return bool((model([sides, sides[::-1]]).argmax(axis=1) == 2).all())


def test_the_shipped_files_are_what_the_catalogue_and_the_card_promise() -> None:
    (promised,) = [known for known in models() if known.task == "entailment"]
    hashes = {file.file: file.sha256 for file in promised.files}
    assert set(hashes) == set(SHIPPED)
    card = (WEIGHTS / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name, promise in hashes.items():
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == promise
        assert promise in card
    assert sum((WEIGHTS / name).stat().st_size for name in SHIPPED) <= 25e6


def test_where_few_pairs_hold_more_is_asked_for() -> None:
    """Bayes' rule: even odds become the share; what is certain stays so."""
    given = np.array([[0.25, 0.25, 0.5], [0.0, 0.0, 1.0], [0.0, 0.01, 0.99]])
    found = at_share(lambda pairs: given, 0.1)([("", "")] * 3)
    assert np.allclose(found[0], [0.45, 0.45, 0.1])
    assert np.allclose(found[1], [0, 0, 1])
    assert found[2, 2] == pytest.approx(0.99 * 0.1 / (0.99 * 0.1 + 0.01 * 0.9))
    assert np.allclose(at_share(lambda pairs: given, 0.5)([("", "")] * 3), given)


@pytest.mark.parametrize(
    ("question", "a", "b", "expected"),
    [
        ("Who wrote it?", "Robert Baxter", "It was Robert Baxter.", True),
        ("Who wrote it?", "Robert Baxter", "Helen Fletcher", False),
        ("What is the capital of Norway?", "Oslo", "The capital is Oslo.", True),
        ("Where was it built?", "Oslo", "Prague", False),
        ("How many boats were there?", "seventeen boats", "There were 17.", True),
        ("How many boats were there?", "seventeen boats", "There were 70.", False),
        ("Did the court convict him?", "Yes.", "No, he was cleared.", False),
        ("Who won?", "Brazil defeated Norway", "Norway defeated Brazil", False),
    ],
)
def test_the_shipped_model_knows_the_plain_cases(
    shipped: OnnxEntailment, question: str, a: str, b: str, expected: bool
) -> None:
    assert same(shipped, question, a, b) is expected


def test_probabilities_do_not_depend_on_the_batch(shipped: OnnxEntailment) -> None:
    """int8 scales are of a whole batch, so every pair is scored by itself."""
    pairs = [
        ("Who? Bob", "Who? Robert"),
        ("Why? " + "rain " * 40, "Why? sun"),
        ("", ""),
        ("🎵", "?!"),
        ("Путин", "普京"),
    ]
    together = shipped(pairs)
    assert together.shape == (5, 3)
    assert np.allclose(together.sum(axis=1), 1)
    np.testing.assert_array_equal(together, np.concatenate([shipped([pair]) for pair in pairs]))
    assert shipped([]).shape == (0, 3)


def test_answers_of_100_kb_stay_different(shipped: OnnxEntailment) -> None:
    """The difference stands before a long tail that both share, and after a long question."""
    tail = " and so on" * 10_000
    assert not same(shipped, "Who wrote it?", "Robert Baxter" + tail, "Helen Fletcher" + tail)
    story = "Long ago a man walked by the river and saw a boat with many people in it who sang. " * 30
    assert not same(shipped, story + "Who wrote it?", "Robert Baxter", "Helen Fletcher")


@given(st.text("ab", max_size=60), st.text("ab", max_size=60), st.integers(CONTEXT + 1, 30))
def test_what_is_cut_stays_different(a: str, b: str, longest: int) -> None:
    first, second = cut(a, b, (longest, longest))
    assert max(len(first), len(second)) <= longest
    assert (first == second) is (a == b)
    assert first in a
    if len(a) <= longest:
        assert first == a


@given(st.integers(0, 300), st.integers(0, 300), st.integers(2, 256))
def test_tokens_fit_and_are_not_wasted(first: int, second: int, room: int) -> None:
    kept = kept_tokens(first, second, room)
    assert sum(kept) == min(room, first + second)
    assert kept[0] <= first
    assert kept[1] <= second


@pytest.mark.parametrize(
    "labels", [{}, {"0": "entailment", "1": "not_entailment"}, {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}]
)
def test_other_labels_are_listed(labels: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"id2label": labels}), encoding="utf-8")
    with pytest.raises(ModelError, match=re.escape(", ".join(labels.values()) or "not given")):
        OnnxEntailment(MODEL, TOKENIZER, config)


def test_label_order_is_the_models_own() -> None:
    assert label_order({"0": "ENTAILMENT", "1": "neutral", "2": "Contradiction"}, "x") == [2, 1, 0]


def test_files_that_are_no_model_are_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be opened"):
        OnnxEntailment(broken, TOKENIZER, CONFIG)
    with pytest.raises(ModelError, match=r"config\.json"):
        OnnxEntailment(MODEL, TOKENIZER, tmp_path / "config.json")
    with pytest.raises(ModelError, match="optimum-cli"), open_entailment(str(tmp_path / "..")):
        pass


def test_a_folder_is_known_by_its_content(tmp_path: Path) -> None:
    """Another model under the same folder name must not answer from the first one's verdicts."""
    for name, source in zip(("model.onnx", "tokenizer.json", "config.json"), (MODEL, TOKENIZER, CONFIG), strict=True):
        (tmp_path / name).write_bytes(source.read_bytes())
    before = OnnxEntailment(*(tmp_path / name for name in ("model.onnx", "tokenizer.json", "config.json"))).identity
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_length": 64}), encoding="utf-8")
    after = OnnxEntailment(*(tmp_path / name for name in ("model.onnx", "tokenizer.json", "config.json"))).identity
    assert before != after


def test_a_pair_is_asked_once_ever(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def ask(pairs: Pairs) -> FloatArray:
        asked.extend(pairs)
        return np.array([(0.2, 0.3, 0.5)] * len(pairs))

    pairs = [("a", "b"), ("b", "a"), ("a", "b")]
    for _ in range(2):  # opened anew: what was asked is in the file
        with Store(tmp_path / "verdicts.sqlite") as store:
            assert cached(ask, store, "one")(pairs).tolist() == [[0.2, 0.3, 0.5]] * 3
    assert asked == [("a", "b"), ("b", "a")]
    with Store(tmp_path / "verdicts.sqlite") as store:
        cached(ask, store, "two")(pairs[:1])
        with pytest.raises(InputError, match="NaN"):
            cached(lambda p: np.full((len(p), 3), np.nan), store, "three")(pairs)
        assert store.verdicts("three", pairs) == {}
    assert len(asked) == 3


async def test_a_judge_says_one_word() -> None:
    replies = {"Paris": "Yes.", "Lyon": "no, it", "Nice": "maybe"}

    def answer(prompt: str, seed: int) -> str:
        return next(reply for city, reply in replies.items() if f"Second: {city}" in prompt)

    async with fake_endpoint(answer) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        found = await LLMEntailment(client).score([("Paris", city) for city in replies])
        assert found.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
        assert all(body["max_tokens"] <= 4 and body["temperature"] == 0 for body in fake.requests)


def test_the_decision_says_what_decided() -> None:
    assert entail("How long?", "2 hours", "120 minutes").decided_by == "rule: numbers and units"
    assert entail("Q?", "", "Paris").lines == (
        "different meaning, decided by rule: an empty answer is its own meaning",
    )
    assert entail("Q?", " ", "").same
    asked = entail("Where was it built?", "Oslo", "Prague")
    assert not asked.same
    assert asked.decided_by == "model: shipped"
    assert asked.forward is not None
    assert sum(asked.forward) == pytest.approx(1)
    assert len(asked.lines) == 3


def test_unknown_entailments_name_the_known() -> None:
    with pytest.raises(InputError, match="exact, shipped, a folder"), open_entailment("bert"):
        pass
