"""Entailment models behind one callable: the shipped one, its files, the judge, the cache, and cutting long sides."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import demur
from demur.errors import EndpointError, InputError, ModelError
from demur.meaning.compare import entail
from demur.meaning.cross_encoder import OnnxEntailment, _is_confused, _plain, _Side, _window, label_order
from demur.meaning.entailment import (
    NOTHING,
    SHIPPED,
    LLMEntailment,
    at_share,
    cache_scores,
    exact_match,
    open_entailment,
    open_plain,
)
from demur.meaning.long_pairs import BESIDE, LONGEST_SIDE, balance, kept_tokens, shared_ends, shorten
from demur.models.catalogue import catalogue
from demur.models.endpoint import Endpoint
from demur.models.requests.client import EndpointClient
from demur.records import FloatArray
from demur.store import Store
from demur.testing import fake_endpoint

WEIGHTS = Path(demur.__file__).parent / "meaning" / "weights"
MODEL, TOKENIZER, CONFIG = (WEIGHTS / name for name in SHIPPED)
Pairs = Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def shipped() -> OnnxEntailment:
    return demur.shipped_entailment()


def same(model: OnnxEntailment, question: str, a: str, b: str) -> bool:
    sides = f"{question} {a}", f"{question} {b}"
    return bool((model([sides, sides[::-1]]).argmax(axis=1) == 2).all())


def test_the_shipped_files_are_what_the_catalogue_and_the_card_promise() -> None:
    (promised,) = [known for known in catalogue() if known.task == "entailment"]
    hashes = {file.file: file.sha256 for file in promised.files}
    assert set(hashes) == set(SHIPPED)
    card = (WEIGHTS / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name, promise in hashes.items():
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == promise
        assert promise in card
    assert sum((WEIGHTS / name).stat().st_size for name in SHIPPED) <= 25e6


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("use", [demur.shipped_entailment, lambda: entail("Who?", "a", "b", entailment="shipped")])
def test_a_shipped_file_that_was_changed_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, use: Callable[[], object]
) -> None:
    """One byte of it, as a disk or another hand may change it; the length stays."""
    folder = tmp_path / "meaning" / "weights"
    folder.mkdir(parents=True)
    for one in SHIPPED:
        (folder / one).symlink_to(WEIGHTS / one)
    data = bytearray((WEIGHTS / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).unlink()
    (folder / name).write_bytes(data)
    monkeypatch.setattr("demur.meaning.entailment.files", lambda package: tmp_path)
    with pytest.raises(ModelError) as refused:
        use()
    found = hashlib.sha256(data).hexdigest()[:16]
    assert str(refused.value).startswith(f"{folder / name}: sha256 is {found}..., the catalogue has ")
    assert "\n" not in str(refused.value)


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


APRIL = (
    "In April Natalia sold 48 clips to her friends. In May she sold half as many clips, so that is 48 divided by 2, "
    "which equals 24 clips. To find out how many she sold altogether in both months we add the two numbers together, "
    "48 plus 24. The answer is 72."
)
REWORDED = APRIL.replace("In April Natalia sold 48 clips", "Natalia sold 48 clips in April")


@pytest.mark.parametrize("question", ["", "How many clips did Natalia sell altogether in April and May?"])
def test_a_chain_of_thought_is_judged_by_its_end(shipped: OnnxEntailment, question: str) -> None:
    """Over 110 tokens, most of which both have: what differs is the beginning's words and the answer."""
    assert same(shipped, question, APRIL, REWORDED)
    assert not same(shipped, question, APRIL, REWORDED.replace("72.", "96."))


def test_where_something_unseen_was_cut_other_ends_never_entail(shipped: OnnxEntailment) -> None:
    one, other = ("".join(f"{word} number {i} went by the river. " for i in range(400)) for word in ("Boat", "Ship"))
    for end in ("It was Paris.", "It was London."):
        found = shipped([(one + "It was Paris.", other + end)])[0]
        assert bool(found[2] == 0) is (end != "It was Paris.")
        assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("a", "b"),
    [("👍", "👎"), ("🇫🇷", "🇩🇪"), ("♀", "♂"), ("It is 🎵", "It is 🔥"), ("x" * 150, "y" * 150),
     ("http://a.example/" + "q" * 120, "http://a.example/" + "z" * 120), ("\ud83d", "\ud83e"), ("🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿")],
)  # fmt: skip
def test_what_the_vocabulary_cannot_tell_apart_is_not_the_same(shipped: OnnxEntailment, a: str, b: str) -> None:
    assert not same(shipped, "Which one? 🙂", a, b)
    assert same(shipped, "Which one? 🙂", a, a)


def test_case_accents_and_spaces_are_no_other_words(shipped: OnnxEntailment) -> None:
    assert same(shipped, "Who?", "Émile Zola", "emile  zola")
    assert same(shipped, "Who?", "Ԙ", "ԙ")  # a letter that the vocabulary does not have


@given(st.text("ab", max_size=9000), st.text("ab", max_size=9000), st.text("cd ", max_size=6000))
def test_what_is_shortened_stays_different(a: str, b: str, both: str) -> None:
    for first, second in ((a, b), (both + a, both + b), (a + both, b + both)):
        *found, lost = shorten(first, second)
        assert max(map(len, found)) <= LONGEST_SIDE + 1
        assert (found[0] == found[1]) is (first == second)
        assert not lost or max(len(first), len(second)) > LONGEST_SIDE - 2 * BESIDE
        if max(len(first), len(second)) <= LONGEST_SIDE:
            assert found == [first, second]


tokens = st.lists(st.integers(0, 3), max_size=90)


@given(tokens, tokens, tokens, st.integers(20, 60), st.integers(60, 120))
def test_kept_tokens_fit_and_hold_what_differs(
    a: list[int], b: list[int], both: list[int], short: int, room: int
) -> None:
    first, second = both + a, both + b
    *keep, lost = kept_tokens(first, second, short=short, room=room)
    kept = [
        [x for x, stays in zip(side, where, strict=True) if stays]
        for side, where in zip((first, second), keep, strict=True)
    ]
    assert len(kept[0]) + len(kept[1]) <= room
    if len(first) + len(second) <= short:
        assert kept == [first, second]
    if first == second:
        assert kept[0] == kept[1]
        assert not lost or len(first) > room // 2
    question, _ = shared_ends(first, second)
    if not lost and first != second:
        assert all(where[question] for where in keep if question < len(where))


@given(st.integers(0, 300), st.integers(0, 300), st.integers(2, 256))
def test_lengths_are_balanced_and_not_wasted(first: int, second: int, room: int) -> None:
    kept = balance(first, second, room)
    assert sum(kept) == min(room, first + second)
    assert kept[0] <= first
    assert kept[1] <= second


@given(st.integers(0, 90), st.integers(0, 90), st.integers(2, 120))
def test_sides_that_share_nothing_keep_both_their_ends_at_balanced_lengths(n: int, m: int, room: int) -> None:
    *keep, lost = kept_tokens(range(n), range(1000, 1000 + m), short=0, room=room)
    assert lost is (n + m > room)
    for side, most in zip(keep, balance(n, m, room), strict=True):
        assert side.sum() == most
        assert side[: most - most // 2].all()
        assert side[len(side) - most // 2 :].all()


@pytest.mark.parametrize(
    "labels", [{}, {"0": "entailment", "1": "not_entailment"}, {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}]
)
def test_other_labels_are_listed(labels: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"id2label": labels}), encoding="utf-8")
    with pytest.raises(ModelError, match=re.escape(", ".join(labels.values()) or "not given as an object")):
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
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="optimum-cli"), open_plain(str(tmp_path / "empty")):
        pass
    (tmp_path / "empty" / "model.onnx").write_bytes(MODEL.read_bytes())
    with pytest.raises(ModelError, match=r"no tokenizer\.json beside model\.onnx"), open_plain(str(tmp_path / "empty")):
        pass


LABELS = {"0": "contradiction", "1": "neutral", "2": "entailment"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([1], "JSON list"),
        ({"id2label": list(LABELS.values())}, "not given as an object"),
        ({"id2label": LABELS | {"0": None}}, "None, neutral, entailment"),
        ({"id2label": {"0": 0, "1": 1, "2": 2}}, "labels are 0, 1, 2"),
        ({"id2label": {"0": "contradiction", "1": "neutral", "5": "entailment"}}, "(at 0, 1, 5)"),
        ({"id2label": {"a": "contradiction", "b": "neutral", "c": "entailment"}}, "(at a, b, c)"),
        ({"id2label": LABELS | {"3": "other"}}, "entailment, other"),
        ({"id2label": LABELS, "max_length": 2}, "max_length is 2"),
        ({"id2label": LABELS, "max_length": "lots"}, "max_length is 'lots'"),
        ({"id2label": LABELS, "max_length": -1}, "max_length is -1"),
        ({"id2label": LABELS, "max_position_embeddings": "lots"}, "max_position_embeddings is 'lots'"),
    ],
)
def test_a_config_that_cannot_be_used_is_one_line(config: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match=re.escape(said)):
        OnnxEntailment(MODEL, TOKENIZER, path)


def test_a_file_with_other_outputs_than_its_config_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two or four columns would be read as if they were the three labels."""
    for columns in (2, 4):
        model = demur.shipped_entailment()
        outputs = [np.zeros((1, columns))]
        monkeypatch.setattr(model, "_session", type("Session", (), {"run": lambda self, names, feed, o=outputs: o})())
        with pytest.raises(ModelError, match=re.escape(f"(1, {columns})")):
            model([("a", "b")])


def test_a_roberta_has_two_positions_fewer(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    given = {"id2label": LABELS, "model_type": "roberta", "max_position_embeddings": 66}
    config.write_text(json.dumps(given), encoding="utf-8")
    model, seen = OnnxEntailment(MODEL, TOKENIZER, config), []
    logits = model._logits
    model._logits = lambda columns: seen.append(columns.shape[1]) or logits(columns)  # type: ignore[method-assign, func-returns-value]
    model([("cat dog " * 200, "fish bird " * 200)])
    assert seen == [64]


def test_an_onnx_file_alone_can_be_named(tmp_path: Path) -> None:
    """As optimum lays it out: the file in onnx/, tokenizer and config above it."""
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model_quantized.onnx").write_bytes(MODEL.read_bytes())
    for name, source in (("tokenizer.json", TOKENIZER), ("config.json", CONFIG)):
        (tmp_path / name).write_bytes(source.read_bytes())
    pair = [("Who? Bob", "Who? Robert")]
    for spec in (tmp_path, tmp_path / "onnx" / "model_quantized.onnx"):
        with open_plain(str(spec)) as ask:
            np.testing.assert_array_equal(ask(pair), demur.shipped_entailment()(pair))


@pytest.mark.parametrize("pairs", [(pair for pair in [("a", "b")]), zip(["a"], ["b"], strict=True)])
def test_pairs_may_come_once(pairs: Pairs) -> None:
    assert at_share(lambda given: exact_match(given), 0.5)(pairs).tolist() == [[0, 1, 0]]


def test_a_share_lies_between_none_and_all() -> None:
    with pytest.raises(InputError, match="share is 1"):
        at_share(exact_match, 1)


def test_the_shipped_window_holds_long_answers() -> None:
    assert json.loads(CONFIG.read_text(encoding="utf-8"))["max_length"] >= 256


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
            assert cache_scores(ask, store, "one")(pairs).tolist() == [[0.2, 0.3, 0.5]] * 3
    assert asked == [("a", "b"), ("b", "a")]
    with Store(tmp_path / "verdicts.sqlite") as store:
        cache_scores(ask, store, "two")(pairs[:1])
        with pytest.raises(InputError, match="NaN"):
            cache_scores(lambda p: np.full((len(p), 3), np.nan), store, "three")(pairs)
        assert store.entailment_scores("three", pairs) == {}
    assert len(asked) == 3


async def test_a_judge_says_one_word() -> None:
    replies = {"Paris": "Yes.", "Lyon": "no, it", "Nice": "Maybe, if"}

    def answer(prompt: str, seed: int) -> str:
        return next(reply for city, reply in replies.items() if f"Second: {city}" in prompt)

    async with fake_endpoint(answer) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        found = await LLMEntailment(client).score([("Paris", city) for city in replies])
        assert found.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
        assert all(body["max_tokens"] <= 4 and body["temperature"] == 0 for body in fake.requests)
        assert all("messages" in body for body in fake.requests)  # by its chat template: it is asked, not continued


async def test_a_judge_that_says_neither_is_an_error_and_not_kept() -> None:
    """Up to a tenth of such replies are verdicts that say nothing; more are an error."""
    said = {"0": "", "1": "<think>"}

    def answer(prompt: str, seed: int) -> str:
        return said.get(prompt.partition("Second: ")[2].partition("\n")[0], "no")

    async with fake_endpoint(answer) as fake, EndpointClient(Endpoint("judge", fake.base_url)) as client:
        judge = LLMEntailment(client)
        many = await judge.score([("Paris", str(i)) for i in range(20)])
        assert [tuple(row) == NOTHING for row in many] == [True, True, *[False] * 18]
        for pairs, refused in ([("Paris", "1")], "1 of 1"), ([("Paris", str(i)) for i in range(19)], "2 of 19"):
            with pytest.raises(EndpointError, match=rf"replied '' where yes or no was asked for \({refused} pairs\)"):
                await judge.score(pairs)
    with Store(":memory:") as store:
        pairs = [("a", str(i)) for i in range(20)]
        cache_scores(lambda asked: many, store, "judge")(pairs)
        assert set(store.entailment_scores("judge", pairs)) == set(pairs[2:])


def test_half_an_emoji_is_a_text_of_its_own() -> None:
    with Store(":memory:") as store:
        store.add_entailment_scores("m", {("\ud83d", "a"): (0.2, 0.3, 0.5)})
        assert store.entailment_scores("m", [("\ud83d", "a"), ("\ud83e", "a")]) == {("\ud83d", "a"): (0.2, 0.3, 0.5)}


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


def test_a_pair_alone_is_decided_at_even_odds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entailment .7 both ways: the same; among sampled answers, of which a tenth hold, .7 becomes .2."""
    monkeypatch.setattr("demur.meaning.entailment.shipped_entailment", lambda: Even())
    found = entail("Q?", "Bob", "Robert")
    assert found.same
    assert not found.same_when_sampled
    assert found.lines[-1].strip().startswith("a labelling run decides: different")
    with open_entailment("shipped") as ask:
        assert ask([("Q? Bob", "Q? Robert")])[0, 2] == pytest.approx(0.7 / 9 / (0.7 / 9 + 0.3))


class Even:
    identity = "even"

    def __call__(self, pairs: Pairs) -> FloatArray:
        return np.array([(0.1, 0.2, 0.7)] * len(pairs))


def test_unknown_entailments_name_the_known() -> None:
    with pytest.raises(InputError, match="exact, shipped, a folder"), open_entailment("bert"):
        pass


def test_long_texts_that_differ_in_their_first_letter_alone_still_do_when_shortened() -> None:
    first, second, lost = shorten("x" + "a" * 9_000, "y" + "a" * 9_000)
    assert first[0] + second[0] == "xy"
    assert first[1:] == second[1:]
    assert not lost


def test_what_both_share_is_cut_before_what_differs() -> None:
    """3,000 letters before and 1,000 after are shared: 200 of each stay beside the 500 that differ."""
    first, second = (3000 * "s" + 500 * letter + 1000 * "e" for letter in "ab")
    assert shorten(first, second) == (
        200 * "s" + 500 * "a" + 200 * "e",
        200 * "s" + 500 * "b" + 200 * "e",
        False,
    )


def test_then_the_middle_of_what_differs_is_cut() -> None:
    first, second = (100 * "s" + 4000 * letter + 100 * "e" for letter in "ab")
    assert shorten(first, second) == (
        100 * "s" + 1900 * "a" + " " + 1900 * "a" + 100 * "e",
        100 * "s" + 1900 * "b" + " " + 1900 * "b" + 100 * "e",
        True,
    )
    assert shorten(4000 * "a", 4000 * "b") == (4000 * "a", 4000 * "b", False)
    assert shorten(4000 * "a", 5000 * "b") == (4000 * "a", 2000 * "b" + " " + 2000 * "b", True)


def test_what_two_texts_share_is_counted_once() -> None:
    assert shared_ends("abcxde", "abcyyde") == (3, 2)
    assert shared_ends("aa", "aaa") == shared_ends("aaa", "aa") == (2, 0)


def kept(first: list[int], second: list[int], short: int, room: int) -> tuple[str, str, bool]:
    """The masks as texts: x for a token that is kept."""
    one, other, lost = kept_tokens(first, second, short=short, room=room)
    return "".join(".x"[int(k)] for k in one), "".join(".x"[int(k)] for k in other), lost


def test_tokens_that_both_share_are_cut_in_their_middle() -> None:
    """A question of 20 tokens and an answer of one: four of the question stay at each end, more where there is room."""
    asked = list(range(20))
    one, other = [*asked, 100], [*asked, 101]
    assert kept(one, other, 42, 100) == ("x" * 21, "x" * 21, False)
    assert kept(one, other, 10, 100) == (f"xxxx{12 * '.'}xxxxx", f"xxxx{12 * '.'}xxxxx", False)
    assert kept(one, other, 30, 100) == (f"xxxx{6 * '.'}{11 * 'x'}", f"xxxx{6 * '.'}{11 * 'x'}", False)
    assert kept(one, other, 10, 10) == (f"xxx{16 * '.'}xx", f"xxx{16 * '.'}xx", True)
    assert kept(one, other, 10, 18) == (f"xxxx{12 * '.'}xxxxx", f"xxxx{12 * '.'}xxxxx", False)


def test_what_is_left_of_short_goes_to_the_question() -> None:
    """Of a run of 30 at the end 22 go, so that there is room for all of the question."""
    asked, end = list(range(10)), list(range(50, 80))
    mask = 11 * "x" + f"xxxx{22 * '.'}xxxx"
    assert kept([*asked, 100, *end], [*asked, 101, *end], 80, 100) == (mask, mask, False)


@pytest.mark.parametrize(
    ("first", "second", "room", "found"),
    [
        (3, 4, 7, (3, 4)),
        (3, 4, 6, (3, 3)),
        (10, 3, 9, (6, 3)),
        (3, 10, 9, (3, 6)),
        (4, 10, 9, (4, 5)),
        (10, 10, 9, (5, 4)),
    ],
)
def test_room_is_shared_by_hand(first: int, second: int, room: int, found: tuple[int, int]) -> None:
    assert balance(first, second, room) == found


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({}, 512),
        ({"max_length": 0}, 512),  # as if it were not given
        ({"max_length": 0, "max_position_embeddings": 66}, 66),
        ({"max_length": 64, "max_position_embeddings": 128}, 64),
        ({"max_length": 16}, 16),  # the shortest
        ({"max_length": 512}, 512),
        ({"max_length": 513}, 512),
        ({"max_position_embeddings": 66, "model_type": "bert"}, 66),
        ({"max_position_embeddings": 66, "model_type": "roberta"}, 64),
        ({"max_position_embeddings": 66, "model_type": "camembert"}, 64),
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta"}, 512),
        ({"max_position_embeddings": 515, "model_type": "xlm-roberta-xl"}, 512),
        ({"max_length": 66, "model_type": "roberta"}, 66),  # tokens, not positions
    ],
)
def test_the_window_is_what_the_config_leaves(settings: dict[str, object], tokens: int) -> None:
    assert _window(settings, "config.json") == tokens


@pytest.mark.parametrize("name", ["max_length", "max_position_embeddings"])
@pytest.mark.parametrize("given", [15, 64.0, [64], True])
def test_a_window_is_a_whole_number_of_16_or_more(name: str, given: object) -> None:
    said = f"config.json: {name} is {given!r}; a pair needs a whole number of at least 16"
    with pytest.raises(ModelError, match=f"^{re.escape(said)}$"):
        _window({name: given}, "config.json")


@pytest.mark.parametrize(
    ("first", "second", "confused"),
    [
        ([1, 2], [1, 2], True),  # the tokenizer sees no difference
        ([], [], True),
        ([1, 2], [1, 3], False),
        ([1, "ß"], [1, "ø"], True),  # unknown words are all that differs
        ([1, "ß", 4], [1, "ø", 4], True),
        ([1, "ß"], [1, 2], False),  # one side's words are known
        ([1, 2], [1, "ß"], False),
        ([1, "ß", "æ"], [1, 2, "æ"], False),  # an unknown word that both end with tells nothing apart
        (["ß", 2], ["ß", 3], False),  # both have the same unknown word
        ([5, "ß", 2], [6, "ß", 3], False),  # the same one between what differs
    ],
)
def test_sides_that_differ_in_unknown_words_alone_are_confused(
    first: list[int | str], second: list[int | str], confused: bool
) -> None:
    assert _is_confused(_Side(None, first), _Side(None, second)) is confused


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("É t\u00e9", "ete"),
        ("a\tb\n", "ab"),
        ("a\u0301", "a"),
        ("so\u00adft", "soft"),
        ("STRASSE", "strasse"),
        ("", ""),
    ],
)
def test_what_tokenizers_drop_is_dropped(text: str, plain: str) -> None:
    assert _plain(text) == plain


LETTERS = "the " + " ".join(
    "abcdefgh"[i % 8] for i in range(700)
)  # more tokens than a window has, fewer than 4,000 characters
OTHERS = "the " + " ".join("ijklmnop"[i % 8] for i in range(700))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"a{6000 * ' '}b", f"c{3000 * ' '}d"),  # characters alone are cut
        (LETTERS, OTHERS),  # tokens alone
        (f"a{6000 * ' '}{LETTERS}", f"c{3000 * ' '}{OTHERS}"),  # both
    ],
)
def test_whatever_is_cut_entailment_holds_only_where_the_last_four_tokens_are_one(
    first: str, second: str, shipped: OnnxEntailment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "_logits", lambda columns: np.array([0.0, 1.0, 9.0]))  # the model says yes to all
    for end, holds in (("", False), (" w x y", False), (" w x y z", True)):
        found = shipped([(first + end, second + end)])[0]
        assert found.sum() == pytest.approx(1)
        assert bool(found[2] > 0.99) is holds, end
        assert holds or found[2] == 0
    assert shipped([("a b", "c d")])[0][2] > 0.99  # nothing is cut
