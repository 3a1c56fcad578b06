"""Battles of many models: ratings, tiers, what they say of a pair that never met, and RouteLLM's rows of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import demur
from demur.errors import InputError
from demur.evaluation.experiment.export_preferences import export_routellm
from demur.labels.battles.arena import (
    Arena,
    _least_variance,
    bradley_terry,
    rating_tiers,
    read_arena,
    tier_pair,
    tier_quality,
)
from demur.labels.battles.factorization import ArenaFactorization, _gradients
from demur.measure.curve import cost_quality_curve
from demur.models.encoders.encoder import LetterEncoder
from demur.paper.measures import Laboratory
from demur.paper.reproduction import reproduce
from demur.paper.sources.arena import SCORES, arena_pair
from demur.paper.systems import of_key
from demur.records import Preference
from pairs import Pair, running_pair, write_questions
from tiny_paper import tiny_paper

MODELS = {"ant": -2.0, "bee": -1.9, "cow": 0.0, "dog": 0.1, "elk": 2.0, "fox": 2.1}  # ratings: three tiers


def battles(path: Path, count: int = 900, seed: int = 0) -> Path:
    """Prompts of zzz are those where the better model wins by its rating; on others all are alike. No ant meets fox."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    names = list(MODELS)
    while len(rows) < count:
        a, b = random.choice(names, 2, replace=False)
        if {a, b} == {"ant", "fox"}:
            continue
        hard = random.random() < 0.5
        gap = (MODELS[a] - MODELS[b]) * (2.0 if hard else 0.0)
        won = random.random() < 1 / (1 + np.exp(-gap))
        text = f"question {len(rows)} {'zzz zebra puzzle' if hard else 'plain easy answer'}"
        rows.append(row(str(a), str(b), text, "model_a" if won else "model_b"))
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def row(a: str, b: str, prompt: str, winner: str) -> dict[str, Any]:
    """With the fields of lmsys-arena-human-preference-55k."""
    flags = {f"winner_{who}": int(who == winner) for who in ("model_a", "model_b", "tie")}
    answers = {name: json.dumps(["An answer."]) for name in ("response_a", "response_b")}
    return {"id": 1, "model_a": a, "model_b": b, "prompt": json.dumps([prompt, "a second turn"]), **answers, **flags}


def test_ratings_fit_the_wins() -> None:
    """Three wins of four are log-odds of log 3, but for a weak prior."""
    sides, won = np.array([[0, 1]] * 400), np.array([1.0, 1.0, 1.0, 0.0] * 100)
    found = bradley_terry(sides, won, 2)
    assert found[0] - found[1] == pytest.approx(np.log(3), abs=0.01)


def test_tiers_are_the_split_of_least_variance() -> None:
    assert rating_tiers(MODELS, 3) == {"ant": 0, "bee": 0, "cow": 1, "dog": 1, "elk": 2, "fox": 2}
    assert rating_tiers({"a": 1.0, "b": 0.0}, 10) == {"b": 0, "a": 1}
    with pytest.raises(InputError, match="0 tiers; give at least 1"):
        rating_tiers(MODELS, 0)


def test_battles_between_tiers_tell_of_a_pair_that_never_met(tmp_path: Path) -> None:
    arena = read_arena(battles(tmp_path / "arena.jsonl"))
    assert rating_tiers(arena.ratings, 3) == rating_tiers(MODELS, 3)
    found = tier_pair(arena, "ant", "fox", 3)
    assert {(one.model_a, one.model_b) for one in found.preferences} == {("ant", "fox")}
    hard = np.mean([one.target for one in found.preferences if "zzz" in one.prompt])
    easy = np.mean([one.target for one in found.preferences if "zzz" not in one.prompt])
    assert hard > 0.95  # by 4 in rating, doubled
    assert easy == pytest.approx(0.5, abs=0.15)
    assert len(found.preferences) + sum(found.left_out.values()) == 900


def test_a_file_of_other_models_and_a_pair_of_one_tier_are_named(tmp_path: Path) -> None:
    arena = read_arena(battles(tmp_path / "arena.jsonl", 200))
    with pytest.raises(
        InputError, match=r"no battle is of a model called 'gpt-4'; it holds 6 models, such as ant, bee"
    ):
        tier_pair(arena, "gpt-4", "fox", 3)
    with pytest.raises(InputError, match="ant and bee are of one tier of 3"):
        tier_pair(arena, "ant", "bee", 3)
    (tmp_path / "own.jsonl").write_text(json.dumps(row("a", "a", "A question of length", "tie")) + "\n")
    with pytest.raises(InputError, match="no battles of two models"):
        read_arena(tmp_path / "own.jsonl")


def test_a_name_may_be_the_beginning_of_one(tmp_path: Path) -> None:
    arena = read_arena(battles(tmp_path / "arena.jsonl", 200))
    assert arena.find_model("do") == "dog"
    with pytest.raises(InputError, match="called 'o'; it holds 6 models, such as cow, dog, fox"):
        arena.find_model("o")


def test_every_battle_teaches_the_factorization() -> None:
    """Model 0 beats the others where the first number is positive; it is asked about against one it never met."""
    random = np.random.default_rng(0)
    X = random.normal(size=(3000, 4))
    sides = np.array([[0, 1], [1, 2], [2, 0]])[random.integers(0, 2, 3000)]
    skill = np.stack([2 * X[:, 0], np.zeros(3000), np.full(3000, -0.5)], axis=1)
    gap = skill[np.arange(3000), sides[:, 0]] - skill[np.arange(3000), sides[:, 1]]
    won = (random.random(3000) < 1 / (1 + np.exp(-gap))).astype(float)
    found = ArenaFactorization().fit(X, sides, won, 3).gap(X, 0, 2)
    assert np.corrcoef(found, 1 / (1 + np.exp(-2 * X[:, 0] - 0.5)))[0, 1] > 0.95


@pytest.mark.parametrize("key", SCORES)
def test_routellms_rows_learn_from_all_battles(tmp_path: Path, key: str) -> None:
    pair = arena_pair(str(battles(tmp_path / "arena.jsonl")), "ant", "fox")
    lab = Laboratory(tiny_paper(tmp_path / "data"), LetterEncoder(), tmp_path, arena=pair)
    asked = lab.benchmark("gsm8k")
    hard = np.array(["zzz" in question for question in asked.questions])
    best = cost_quality_curve(hard, asked.weak, asked.strong).apgr
    assert lab.curve(of_key(key), asked).apgr - 0.5 > 0.8 * (best - 0.5)


def test_the_file_is_an_option_of_reproduce(tmp_path: Path) -> None:
    folder = tiny_paper(tmp_path / "data")
    options: dict[str, Any] = {"out": tmp_path / "out", "encoder": LetterEncoder(), "only": ("table-2", "routellm-sw")}
    arena = str(battles(tmp_path / "arena.jsonl", 200))
    found = reproduce(folder, arena=arena, arena_models=("bee", "elk"), **options)
    assert "200 battles of 6 models (arena.jsonl), SW over 10 tiers" in " ".join(found.lines)
    assert "not a fair comparison" not in " ".join(found.lines)
    assert "AlpacaEval" not in " ".join(found.lines)
    with pytest.raises(InputError, match="no battle is of a model called 'mixtral-8x7b-instruct'"):
        reproduce(folder, arena=arena, **options)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def test_an_arena_labels_a_run_and_its_preferences_go_to_routellm(tmp_path: Path, pair: Pair) -> None:
    run = str(tmp_path / "run")
    demur.sample(write_questions(tmp_path / "prompts.jsonl"), **pair.names, run=run, n=2)
    file = str(battles(tmp_path / "arena.jsonl"))
    labels = demur.label(run=run, source="preference", file=file, models=("ant", "fox"), tiers=3)
    assert len(labels.preferences) > 100
    assert "of other tiers than ant (0) and fox (2)" in dict(labels.facts)["rows"]
    shown = export_routellm(run=run, to=str(tmp_path / "battles.json"), models=("mixtral", "gpt-4")).lines
    rows = json.loads((tmp_path / "battles.json").read_text())
    assert {(one["model_a"], one["model_b"]) for one in rows} == {("mixtral", "gpt-4")}
    assert json.loads(rows[0]["prompt"])[0] == labels.preferences[0].prompt
    assert rows[0][f"winner_{rows[0]['winner']}"] == 1
    assert shown[-1].endswith(f"{len(rows)} preferences")
    with pytest.raises(InputError, match=r"battles\.json exists; give another name, or --force to replace a file"):
        export_routellm(run=run, to=str(tmp_path / "battles.json"))
    with pytest.raises(InputError, match="two names; found one"):
        export_routellm(run=run, to=str(tmp_path / "x.json"), models=("one",))


@pytest.mark.parametrize("won", [3, 4])
def test_newtons_method_ends_where_the_gradient_is_zero(won: int) -> None:
    """Each rating's pull to 0, .1 of it, is what its wins exceed the expected ones by; also of one that always wins."""
    first, second = bradley_terry(np.array([[0, 1]] * 4), (np.arange(4) < won).astype(float), 2)
    surplus = won - 4 / (1 + np.exp(second - first))
    assert 0.1 * first == pytest.approx(surplus, abs=1e-8)
    assert second == pytest.approx(-first, abs=1e-8)


def test_the_gradient_by_hand() -> None:
    """A prompt (1, 2) with an identity as projection; model 0 at (2, 0), model 1 at (0, 1): 2 * 1 - 1 * 2 is even odds.

    So the error of a win is 1/2 - 1. By the projection it is that, times the prompt, times (2, -1).
    """
    rows, vectors = np.array([[1.0, 2.0]]), np.array([[2.0, 0.0], [0.0, 1.0], [7.0, 7.0]])
    of = (vectors, np.eye(2), np.zeros(3))
    expected = [[[-0.5, -1.0], [0.5, 1.0], [0.0, 0.0]], [[-1.0, 0.5], [-2.0, 1.0]], [-0.5, 0.5, 0.0]]
    found = _gradients(rows, np.array([[0, 1]]), np.array([1.0]), *of)
    assert [each.tolist() for each in found] == expected
    both = _gradients(np.repeat(rows, 2, axis=0), np.array([[0, 1], [1, 0]]), np.array([1.0, 0.0]), *of)
    assert [each.tolist() for each in both] == expected  # the same battle told by the other side: the mean is the same
    bias = np.array([np.log(3), 0.0, 0.0])  # odds of three to one
    _, _, to_bias = _gradients(rows, np.array([[0, 1]]), np.array([1.0]), vectors, np.eye(2), bias)
    assert to_bias == pytest.approx([-0.25, 0.25, 0.0])


def test_a_gap_is_the_chance_that_the_strong_model_wins() -> None:
    model = ArenaFactorization()
    model.mean_, model.scale_ = np.array([1.0, 1.0]), np.array([2.0, 2.0])
    model.vectors_, model.projection_ = np.array([[2.0, 0.0], [0.0, 1.0]]), np.eye(2)
    model.bias_ = np.array([np.log(3), 0.0])
    even, two_ahead = [3.0, 5.0], [3.0, 1.0]  # (1, 2) and (1, 0) in units of the scale
    assert model.gap(np.array([even]), 0, 1) == pytest.approx([0.75])  # the biases alone
    assert model.gap(np.array([even]), 1, 0) == pytest.approx([0.25])
    assert model.gap(np.array([two_ahead]), 0, 1) == pytest.approx([3 * np.e**2 / (1 + 3 * np.e**2)])


def test_a_factorization_has_its_defaults_and_a_draw_of_its_seed() -> None:
    made = ArenaFactorization()
    assert (made.dimension, made.epochs, made.learning_rate, made.decay, made.seed) == (32, 10, 2e-3, 1e-4, 0)
    X, sides, won = np.eye(3), np.array([[0, 1], [1, 2], [2, 0]]), np.array([1.0, 0.5, 0.0])
    one, same, other = (ArenaFactorization(4, 2, seed=seed).fit(X, sides, won, 3).gap(X, 0, 1) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()


def test_one_tier_holds_all_models_and_less_is_refused() -> None:
    assert set(rating_tiers(MODELS, 1).values()) == {0}
    assert rating_tiers({"a": 1.0}, 1) == {"a": 0}
    for count in (0, -1):
        with pytest.raises(InputError, match=f"^{count} tiers; give at least 1, RouteLLM has 10$"):
            rating_tiers(MODELS, count)


@pytest.mark.parametrize(("count", "ends"), [(1, [4]), (2, [3, 4]), (3, [1, 3, 4]), (4, [1, 2, 3, 4])])
def test_groups_have_the_least_sum_of_variances(count: int, ends: list[int]) -> None:
    """Of 0 4 5 | 10 the variances are 14/3 and 0; of 0 | 4 5 10 they are 0 and 62/9."""
    assert _least_variance(np.array([0.0, 4.0, 5.0, 10.0]), count) == ends


def fought(*battles: tuple[str, str, float]) -> Arena:
    """Battles of model_a, model_b, and what model_b has won."""
    rows = [Preference("1", a, b, "q", "x", "y", won, "tie", "preference") for a, b, won in battles]
    return Arena(Path("arena"), tuple(rows))


def test_a_tie_is_half_a_win_of_either_side() -> None:
    """Alone, two models that tie are rated 0; a win of b over a rates them -r and r: .1 r = 1 - sigmoid(2 r)."""
    assert fought(("a", "b", 0.5)).ratings == pytest.approx({"a": 0.0, "b": 0.0})
    found = fought(("a", "b", 1.0)).ratings
    assert found["b"] == pytest.approx(-found["a"])
    assert 0.1 * found["b"] == pytest.approx(1 / (1 + np.exp(2 * found["b"])))
    assert fought(("b", "a", 0.0)).ratings == pytest.approx(found)


def test_the_quality_of_tiers_is_what_their_models_won() -> None:
    """c has beaten both others and tied with b once, so b is above a, too: three tiers; then a and b are one."""
    arena = fought(("a", "c", 1.0), ("c", "b", 0.0), ("b", "a", 0.5), ("b", "c", 0.5))
    assert (arena.models, arena.sides.tolist()) == (("a", "b", "c"), [[0, 2], [2, 1], [1, 0], [1, 2]])
    nan = np.nan
    quality, tiers, places = tier_quality(arena, 3)
    assert tiers == {"a": 0, "b": 1, "c": 2}
    assert places.tolist() == [0, 1, 2, 3]
    np.testing.assert_equal(quality, [[0.0, nan, 1.0], [nan, 0.0, 1.0], [0.5, 0.5, nan], [nan, 0.5, 0.5]])
    quality, tiers, places = tier_quality(fought(("a", "b", 0.5), ("a", "c", 1.0), ("c", "b", 0.0)), 2)
    assert (tiers, places.tolist(), quality.tolist()) == ({"a": 0, "b": 0, "c": 1}, [1, 2], [[0.0, 1.0], [0.0, 1.0]])
    quality, _, places = tier_quality(arena, 1)
    assert (quality.shape, places.tolist()) == ((0, 1), [])


def test_a_file_whose_models_met_only_themselves_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arena.jsonl"
    path.write_text(json.dumps(row("ant", "ant", "q", "model_a")) + "\n")
    with pytest.raises(InputError, match=r"arena\.jsonl: no battles of two models in it$"):
        read_arena(path)
