"""More than two models: the choice by gain minus price, and a whole run of three."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import ModelConfig, RunConfig, read_run_file, tier_name
from demur.errors import InputError
from demur.evaluation.device.simulate_run import simulate
from demur.evaluation.report.kept_point import kept_tier_point
from demur.gate.join_model import join_model
from demur.labels.beliefs.unknown import UnknownPrompt
from demur.measure.threshold import KeptPoint
from demur.measure.tiers import choose_models, cost_parts, step_scores, take_chosen, threshold_keeping, threshold_within
from demur.models.encoders.encoder import LetterEncoder
from demur.models.prices import ServingCost
from demur.records import dollars
from demur.routing import restoring
from demur.routing.known.remembered_prompts import Remembered
from demur.routing.prompt_router import PromptRouter
from demur.routing.tiers import Tiers
from demur.runs import run as opened
from pairs import Answerer, running_pair, strong, weak
from test_artifact import TRAINING, make

# -- the choice ------------------------------------------------------------------------------------------------------

COSTS = np.array([0.0, 0.2, 1.0])
VALUES = np.array([[0.0, 0.3, 0.4], [0.0, 0.0, 0.5], [0.0, -0.1, -0.2]])


@pytest.mark.parametrize("price", [-0.5, -0.1, 0.0, 0.05, 0.2, 0.3, 0.51, 0.75, 2.0])
def test_the_choice_is_the_largest_gain_minus_price(price: float) -> None:
    found = choose_models(step_scores(VALUES, COSTS), 0.5 + price / 2)
    assert found.tolist() == np.argmax(VALUES - price * COSTS, axis=1).tolist()


def test_random_choices_are_the_largest_gain_minus_price() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        costs = np.sort(np.concatenate([[0.0, 1.0], random.random(3)]))
        values = np.column_stack([np.zeros(20), random.normal(size=(20, 4))])
        price = random.normal()
        expected = np.argmax(values - price * costs, axis=1)
        assert choose_models(step_scores(values, costs), 0.5 + price / 2).tolist() == expected.tolist()


def test_of_equal_models_the_dearest_is_chosen_as_in_a_pair() -> None:
    steps = step_scores(np.array([[0.0, 0.2, 1.0]]), COSTS)  # each step gains 1 for its whole cost
    assert choose_models(steps, 1.0).tolist() == [2]
    assert choose_models(steps, np.nextafter(1.0, 2)).tolist() == [0]


def test_a_pair_is_the_case_of_two() -> None:
    scores = np.random.default_rng(1).random(300)
    values = np.column_stack([np.zeros(300), 2 * scores - 1])
    steps = step_scores(values, np.array([0.0, 1.0]))
    assert steps[:, 0] == pytest.approx(scores, abs=1e-15)
    ordered = np.sort(scores)
    for threshold in (0.0, *(ordered[1:] + ordered[:-1]) / 2, 1.0):
        assert (choose_models(steps, threshold) == (scores >= threshold)).all()


def test_prices_must_rise() -> None:
    assert cost_parts(np.array([1.0, 3.0, 11.0]), ("a", "b", "c")).tolist() == [0.0, 0.2, 1.0]
    with pytest.raises(InputError, match=r"b at \$3,000\.00 per 1,000 answers does not cost less than c at \$3,000"):
        cost_parts(np.array([1.0, 3.0, 3.0]), ("a", "b", "c"))


def test_a_budget_takes_the_lowest_threshold_that_keeps_it() -> None:
    usd, steps = np.array([1.0, 3.0, 11.0]), step_scores(VALUES, COSTS)

    def mean(threshold: float) -> float:
        return float(take_chosen(usd, choose_models(steps, threshold)).mean())

    for budget in (1.0, 2.0, 4.0, 5.0, 8.0, 11.0):
        found = threshold_within(steps, mean, 1000 * budget, "prompts")
        assert mean(found.threshold) <= budget
        lower = [float(level) for level in steps.ravel() if level < found.threshold]
        assert all(mean(level) > budget for level in lower)
    with pytest.raises(InputError, match=r"costs least they cost \$1,000"):
        threshold_within(steps, mean, 999.0, "prompts")


def test_a_quality_takes_the_highest_threshold_that_keeps_it() -> None:
    steps = step_scores(VALUES, COSTS)

    def mean(threshold: float) -> float:
        return 0.5 + float(take_chosen(VALUES, choose_models(steps, threshold)).mean())

    found = threshold_keeping(steps, mean, 0.9, "prompts")  # always-strong has .5 + .7/3 = .733
    assert mean(found.threshold) >= 0.9 * (0.5 + 0.7 / 3)
    assert all(mean(float(level)) < 0.9 * (0.5 + 0.7 / 3) for level in steps.ravel() if level > found.threshold)


def test_what_a_budget_and_a_quality_say_and_count() -> None:
    """Of three prompts one is worth the dearest model at prices up to .5: the share is that of the last step."""
    steps, usd = step_scores(VALUES, COSTS), np.array([0.5, 1.5, 5.5])
    assert steps[:, -1] == pytest.approx([0.5 + 0.125 / 2, 0.75, 0.5 - 0.2 / 2])

    def mean(threshold: float) -> float:
        return float(take_chosen(usd, choose_models(steps, threshold)).mean())

    found = threshold_within(steps, mean, 1000 * (1.5 + 5.5 + 0.5) / 3, "some prompts")
    assert (found.n, found.on, found.gate) == (3, "some prompts", True)
    assert found.asked == "at most $2,500.00 expected per 1,000 prompts"
    assert found.strong_share == pytest.approx(1 / 3)
    with pytest.raises(
        InputError,
        match=r"\$499\.00 per 1,000 prompts is not enough: .* costs least they cost \$500\.00",
    ):
        threshold_within(steps, mean, 499.0, "p")
    assert threshold_within(steps, mean, 500.0, "p").strong_share == 0.0
    kept = threshold_keeping(steps, lambda threshold: 1.0, 0.95, "some prompts")
    assert kept.asked == "95% of the strong model's quality (estimated without labels)"
    assert (kept.threshold, kept.strong_share, kept.n) == (np.nextafter(steps.max(), 9), 0.0, 3)
    only = threshold_keeping(steps, lambda threshold: float(threshold == -np.inf), 1.0, "p")
    assert only.threshold == steps.min()  # nothing below the lowest score differs
    for keep in (0.0, 1.001):
        with pytest.raises(InputError, match="keep_quality is"):
            threshold_keeping(steps, lambda threshold: 1.0, keep, "p")


def test_at_most_401_thresholds_are_tried_both_ends_among_them() -> None:
    steps, tried = np.linspace(0.0, 1.0, 1000)[:, None], list[float]()

    def quality(threshold: float) -> float:
        tried.append(threshold)
        return 1.0

    threshold_keeping(steps, quality, 0.5, "p")
    inside = [one for one in tried if np.isfinite(one)]
    assert len(inside) == 402
    assert (inside[0], inside[-2], inside[-1]) == (0.0, 1.0, np.nextafter(1.0, 2))
    for bad in (np.empty((0, 2)), np.array([[np.nan, 0.5]])):
        with pytest.raises(InputError, match=f"{len(bad)} prompts have a score that is a number; calibrate on some"):
            threshold_keeping(bad, quality, 0.5, "p")


# -- the run file ------------------------------------------------------------------------------------------------------

THREE = """
prompts = "p.jsonl"
[[models]]
name = "small"
model = "s"
base_url = "http://127.0.0.1:1/v1"
[[models]]
name = "vote"
model = "s"
base_url = "http://127.0.0.1:1/v1"
votes = 3
[[models]]
name = "large"
model = "l"
base_url = "http://127.0.0.1:1/v1"
"""


def test_a_list_of_two_models_is_the_pair(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text('prompts = "p"\n[[models]]\nmodel = "a"\n[[models]]\nmodel = "b"\n')
    assert read_run_file(tmp_path / "two.toml") == RunConfig("p", ModelConfig("a"), ModelConfig("b"))


def test_models_between_are_kept_in_the_record(tmp_path: Path) -> None:
    (tmp_path / "three.toml").write_text(THREE)
    config = read_run_file(tmp_path / "three.toml")
    assert list(map(tier_name, config.models)) == ["small", "vote", "large"]
    demur.config.RunConfig.save(config)
    (tmp_path / "record.json").write_text(json.dumps(json.loads((config.folder / "run.json").read_text())))
    assert read_run_file(tmp_path / "record.json") == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[[models]]", '[weak]\nmodel = "w"\n[[models]]'), "both models and weak are given"),
        (('name = "vote"', 'name = "small"'), "two of the models are called 'small'"),
        (('name = "vote"', 'name = "strong"'), "is called 'strong', which has a meaning"),
    ],
)
def test_models_that_cannot_be_told_apart_are_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    (tmp_path / "three.toml").write_text(THREE.replace(*change, 1))
    with pytest.raises(InputError, match=said):
        read_run_file(tmp_path / "three.toml")


def test_one_model_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('prompts = "p"\n[[models]]\nmodel = "a"\n')
    with pytest.raises(InputError, match="is not a list of two or more"):
        read_run_file(tmp_path / "one.toml")


# -- a whole run of three ----------------------------------------------------------------------------------------------


def large(prompt: str, seed: int) -> str:
    """Knows mountains, too."""
    return f"{prompt.split()[-2]} thousand" if "mountain" in prompt else strong(prompt, seed)


def guessing(knows: Answerer) -> Answerer:
    """Knows no mountain: another guess with every seed."""
    return lambda prompt, seed: str(seed) if "mountain" in prompt else knows(prompt, seed)


def unsteady(prompt: str, seed: int) -> str:
    """Small, and wrong about colours with every third seed."""
    return "grey" if "colour" in prompt and seed % 3 == 0 else guessing(weak)(prompt, seed)


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No encoder is fetched, and each test has a folder of its own."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def three() -> Iterator[list[str]]:
    """Base URLs: small knows colours, middle sums as well, large everything."""
    with ExitStack() as stack:
        one = stack.enter_context(running_pair(None, (guessing(weak), guessing(strong))))
        other = stack.enter_context(running_pair(None, (large, large)))
        yield [one.weak.base_url, one.strong.base_url, other.strong.base_url]


def write_run(three: list[str], *, more: str = "", method: str = "knn") -> Path:
    rows = []
    for i in range(40):
        rows.append({"id": f"s{i}", "prompt": f"What is {i + 11} plus {2 * i + 7}?", "answers": [str(3 * i + 18)]})
        colour = f"sky in picture {i}"
        rows.append({"id": f"c{i}", "prompt": f"Which colour has the {colour}?", "answers": [f"colour of {colour}"]})
        hill = f"How tall, in feet, would mountain number {i} be?"
        rows.append({"id": f"m{i}", "prompt": hill, "answers": [f"{i} thousand"]})
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables = "".join(
        f'[[models]]\nname = "{name}"\nmodel = "{name}"\nbase_url = "{url}"\n'
        f"usd_per_million_input = {usd}\nusd_per_million_output = {usd}\n{more if name == 'middle' else ''}"
        for name, url, usd in zip(("small", "middle", "large"), three, (1.0, 2.0, 10.0), strict=True)
    )
    head = 'prompts = "p.jsonl"\nstrong_share = 0.34\n[sampling]\nn = 4\n[label]\nentailment = "exact"\n'
    Path("run.toml").write_text(f'{head}[router]\nmethods = ["{method}"]\nencoder = "minilm"\n{tables}')
    return Path("run.toml")


def test_a_run_of_three_models_sends_each_kind_to_the_cheapest_that_knows(three: list[str]) -> None:
    demur.run(write_run(three))
    tiers = demur.Router.load("run/router", encoder=LetterEncoder()).prompt_router.tiers
    assert tiers is not None
    assert tiers.qualities.mean(axis=0) == pytest.approx([1 / 3, 2 / 3, 1.0], abs=0.1)
    budget = 1500 * float(np.mean(tiers.usd))  # half more than each kind at the cheapest model that knows
    calibration = demur.calibrate("p.jsonl", usd_per_1k=budget, encoder=LetterEncoder())
    assert f"at most {dollars(budget)} " in calibration.asked
    router = demur.Router.load("run/router", encoder=LetterEncoder())
    asked = {
        "weak": "Which colour has the sky in picture 77?",
        "middle": "What is 34 plus 61?",
        "strong": "How tall, in feet, would mountain number 77 be?",
    }
    for role, prompt in asked.items():
        decision = router.route(prompt)
        assert decision.role == role, decision.reason
    assert router.route(asked["middle"]).model == "middle"
    assert "tier middle: gain minus price of small / middle / large" in router.route(asked["middle"]).reason
    found = demur.evaluate(run="run", encoder=LetterEncoder())
    assert found.tiers is not None
    at = next(use for use in found.tiers.uses if use.about.startswith("at threshold"))
    assert at.shares == pytest.approx((1 / 3,) * 3, abs=0.12)
    assert at.quality is not None
    assert at.quality[0] > 0.93
    assert found.headline.shares[1][0] == "middle"
    assert found.headline.usd == pytest.approx(at.usd)
    assert at.usd <= 1.02 * budget
    replayed = demur.replay("p.jsonl", encoder=LetterEncoder())
    assert replayed.usd is not None
    assert 1000 * replayed.usd[0] / 120 == pytest.approx(replayed.headline.usd)
    assert replayed.headline.usd is not None
    assert replayed.headline.usd <= 1.02 * budget
    assert "small answers" in replayed.lines[0]
    shown = "\n".join(router.explain(asked["middle"]).lines)
    assert re.match(r"middle: middle\n +why +score", shown)
    answered = router.answer(asked["middle"])
    assert (answered.decision.role, answered.answer) == ("middle", "95")
    kept = demur.calibrate("p.jsonl", keep_quality=0.95, encoder=LetterEncoder())
    assert kept.strong_share == pytest.approx(1 / 3, abs=0.12)
    with pytest.raises(InputError, match="a promise of risk compares two models"):
        demur.calibrate("run/graded.jsonl", risk=0.2, encoder=LetterEncoder())
    with pytest.raises(InputError, match="is two models, and this router chooses among 3"):
        simulate("run", encoder=LetterEncoder())


@pytest.mark.parametrize("method", ["routerdc", "graphrouter"])
def test_a_run_of_three_models_has_one_router_over_all(three: list[str], method: str) -> None:
    demur.run(write_run(three, method=method))
    router = demur.Router.load("run/router", encoder=LetterEncoder())
    one, tiers = router.prompt_router.method, router.prompt_router.tiers
    assert tiers is not None
    (between,) = tiers.methods
    shared, of_models = ("projection_", "vectors_") if method == "routerdc" else ("prompt_", "nodes_")
    assert np.array_equal(getattr(one, shared), getattr(between, shared))  # one space of prompts
    (weak, middle), (first, last) = getattr(between, of_models), getattr(one, of_models)
    assert np.array_equal(weak, first)
    assert not np.array_equal(middle, last)
    demur.calibrate("p.jsonl", usd_per_1k=1500 * float(np.mean(tiers.usd)), encoder=LetterEncoder())
    router = demur.Router.load("run/router", encoder=LetterEncoder())
    found = demur.evaluate(run="run", encoder=LetterEncoder())
    assert found.tiers is not None
    use = next(use for use in found.tiers.uses if use.about.startswith("at threshold"))
    tested = [json.loads(line)["prompt"] for line in Path("run/graded.jsonl").read_text().splitlines()]
    roles = [router.route(prompt).role for prompt in tested]
    shares = [roles.count(role) / len(roles) for role in tiers.roles]
    assert use.shares == pytest.approx(shares, abs=1.1 / len(roles))  # the threshold is the score of one of them
    told = "it is one router over all of" if method == "graphrouter" else "models join GraphRouter alone"
    with pytest.raises(InputError, match=f"^run/router: .*{told}"):
        join_model("run", encoder=LetterEncoder())


def test_training_of_three_models_says_what_share_of_the_dearest_keeps_quality(three: list[str]) -> None:
    """A third of the prompts are of mountains, which the dearest alone knows; the run file asks for 34 %."""
    demur.run(write_run(three))
    done = CliRunner().invoke(app, ["train"])
    said = re.search(
        r"a strong share of (\d+)% keeps (\d+)% of the large model's quality \(believed\) and saves "
        r"\d+% of its cost\n(?: .*\n)* +the run file asks for a strong share of 34%",
        done.stderr,
    )
    assert said is not None, done.stderr
    assert int(said[1]) == pytest.approx(100 / 3, abs=12)
    assert int(said[2]) >= 95


def test_the_least_share_of_the_dearest_of_three_models_by_hand() -> None:
    """Of four prompts the middle model knows two, the dearest one more, and every model the last."""

    def found(router: PromptRouter) -> tuple[float, float, float | None]:
        point = kept_tier_point(router)
        assert isinstance(point, KeptPoint)
        return point.strong_share, point.kept, point.saved

    values = np.array([[0.0, 0.9, 0.9], [0.0, 0.9, 0.9], [0.0, 0.0, 0.9], [0.0, 0.0, 0.0]])
    quality = np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    usd = {"weak": 1.0, "b": 2.0, "strong": 10.0}
    costs = {role: asdict(ServingCost(0.0, 1.0, 0.0, tokens, "test")) for role, tokens in usd.items()}
    tiers = Tiers(("a", "b", "c"), ("a", "b", "c"), (), tuple(usd.values()), quality, values)
    router = replace(make(), training=tuple(TRAINING[:4]), tiers=tiers, record={"serving_cost": costs})
    assert found(router) == pytest.approx((1 / 4, 1.0, 1 - 15 / 40))
    alike = replace(router, tiers=replace(tiers, qualities=np.ones((4, 3))))
    assert found(alike) == pytest.approx((0.0, 1.0, 1 - 6 / 40))  # the dearest is not needed
    told = Remembered((UnknownPrompt("x", "unknown", "why"),), np.zeros((1, 36), dtype=np.float32))
    assert found(replace(router, unknown=told, on_unknown="strong")) == pytest.approx((2 / 5, 1.0, 1 - 25 / 50))
    assert found(replace(router, unknown=told, on_unknown="weak")) == pytest.approx((1 / 5, 1.0, 1 - 16 / 50))
    assert found(replace(router, unknown=told, on_unknown="score")) == pytest.approx((1 / 4, 1.0, 1 - 15 / 40))


def test_three_models_without_prices_are_refused_before_a_router_is_saved(three: list[str]) -> None:
    file = write_run(three)
    text = file.read_text().replace("usd_per_million_input = 2.0", "usd_per_million_input = 200.0")
    file.write_text(text.replace("usd_per_million_output = 2.0", "usd_per_million_output = 200.0"))
    with pytest.raises(InputError, match=r"middle at .* does not cost less than large"):
        demur.run(file)
    assert not Path("run/router/router.json").exists()


def test_votes_of_a_model_are_asked_for_once(three: list[str]) -> None:
    with running_pair(None, (unsteady, unsteady)) as pair:
        file = write_run([pair.weak.base_url, pair.weak.base_url, three[2]], more="votes = 3\n")
        file.write_text(file.read_text().replace('model = "middle"', 'model = "small"').replace("= 2.0", "= 1.0"))
        spend = demur.run(file).spend
    assert spend.models == ("small", "large")
    assert spend.samples == 2 * 4 * 120  # of the votes none of their own
    tiers = demur.Router.load("run/router", encoder=LetterEncoder()).prompt_router.tiers
    assert tiers is not None
    assert tiers.usd[1] == pytest.approx(3 * tiers.usd[0])
    assert (
        tiers.qualities[:, 1].mean() > tiers.qualities[:, 0].mean() + 0.02
    )  # of colours alone, a third of the prompts


def test_a_model_that_gains_the_same_everywhere_is_refused(three: list[str]) -> None:
    file = write_run([three[0], three[0], three[2]], more="votes = 3\n")
    file.write_text(file.read_text().replace('model = "middle"', 'model = "small"').replace("= 2.0", "= 1.0"))
    with pytest.raises(InputError, match=r"middle gains the same \(0.000\) over small on all 64 prompts"):
        demur.run(file)


def test_demur_route_names_the_tier(three: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    demur.run(write_run(three))
    monkeypatch.setattr(restoring, "load_encoder", lambda spec: LetterEncoder())
    shown = CliRunner().invoke(app, ["route", "What is 34 plus 61?"])
    assert "middle" in shown.output


def test_a_ladder_decides_of_two_as_the_pairs_router_does() -> None:
    """The same router, once as a pair and once as tiers of two, at every threshold that its scores have."""
    from demur.methods.kernel import KernelRidge
    from demur.routing.prompt_router import TrainingPrompt
    from demur.routing.train import train_router

    words = ["".join(letters) for letters in product("abcde", repeat=3)]
    training = [TrainingPrompt(word, float("a" in word) * 0.9, None, None) for word in words]
    pair = train_router(LetterEncoder(), KernelRidge(), training, weak="w", strong="s")
    held = 2 * np.column_stack([np.full(len(words), 0.5), pair.training_scores]) - 1
    tiers = Tiers(("w", "s"), ("w", "s"), (), (1.0, 2.0), np.ones_like(held), held)
    two = PromptRouter(**{name: getattr(pair, name) for name in pair.__dataclass_fields__} | {"tiers": tiers})
    asked = [word[::-1] + "x" for word in words]
    first, second = pair.look_at(asked), two.look_at(asked)
    ordered = np.unique(first.scores)
    for threshold in (0.0, *(ordered[1:] + ordered[:-1]) / 2, 1.0):
        for row in range(0, len(asked), 7):
            one = pair.decide(float(first.scores[row]), threshold=threshold)
            other = two.decide(float(second.scores[row]), threshold=threshold, values=second.values_of(row))
            assert (one.role, one.model) == (other.role, other.model)
