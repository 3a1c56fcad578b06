"""A model that joins a router of GraphRouter from a few graded prompts: the command, the router, the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.errors import InputError
from demur.gate.join_model import _with_tier, join_model
from demur.gateway.server import running
from demur.gateway.settings import GatewaySettings
from demur.methods.pools.pair_pools import PairGraphRouter
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.tiers import Tiers
from pairs import Answerer, Pair, running_pair, strong, weak

COLOUR, SUM, HILL = "Which colour has the sky in picture {}?", "What is {} plus 17?", "How tall would mountain {} be?"


def guessing(knows: Answerer) -> Answerer:
    """Knows no mountain: another guess with every seed."""
    return lambda prompt, seed: str(seed) if "mountain" in prompt else knows(prompt, seed)


def large(prompt: str, seed: int) -> str:
    """Knows mountains, too."""
    return f"{prompt.split()[-2]} thousand feet" if "mountain" in prompt else strong(prompt, seed)


def lookalike(prompt: str, seed: int) -> str:
    """Small's knowledge, and other guesses."""
    return guessing(weak)(prompt, seed + 1)


def write(path: Path, numbers: Sequence[int]) -> Path:
    rows = [{"prompt": kind.format(i)} for i in numbers for kind in (COLOUR, SUM, HILL)]
    graded = [row | {"answers": [large(row["prompt"], 0)]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in graded))
    return path


@pytest.fixture(scope="module")
def pairs() -> Iterator[tuple[Pair, Pair]]:
    """Small knows colours, large and middle everything; of the second pair's weak one nothing more is known."""
    small = guessing(weak)
    with running_pair(answers=(small, large)) as known, running_pair(answers=(lookalike, large)) as new:
        yield known, new


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, pairs: tuple[Pair, Pair]) -> Path:
    """A trained run of small and large, and a labelled one of small and middle on some of its prompts."""
    folder, (known, new) = tmp_path_factory.mktemp("join"), pairs
    prices: dict[str, Any] = {"weak_usd": "1/1", "n": 4}
    both, fewer = write(folder / "p.jsonl", range(10, 60)), write(folder / "few.jsonl", range(10, 35))
    demur.sample(both, **known.names, **prices, strong_usd="10/10", run=str(folder / "run"))
    demur.label(run=str(folder / "run"), entailment="exact")
    names = {"weak": known.names["weak"], "strong": f"middle@{new.strong.base_url}"}
    demur.sample(fewer, **names, **prices, strong_usd="2/2", run=str(folder / "new"))
    demur.label(run=str(folder / "new"), source="accuracy", kind="soft")
    return folder


def trained(folder: Path, **settings: object) -> str:
    given: dict[str, Any] = {"methods": "graphrouter", "hidden": 0.5} | settings
    demur.train(run=str(folder / "run"), encoder=LetterEncoder(), **given)
    return str(folder / "run/router")


async def test_a_model_that_joins_is_routed_to_and_served(runs: Path, pairs: tuple[Pair, Pair], tmp_path: Path) -> None:
    """Middle knows what large knows, at a fifth of its price: it takes its place."""
    router, asked = trained(runs), len(pairs[0].weak.requests) + len(pairs[0].strong.requests)
    to = str(tmp_path / "joined")
    shown = CliRunner().invoke(app, ["join", str(runs / "new"), "--router", router, "--to", to])
    assert shown.exit_code == 0, shown.output
    assert "small, middle, large by rising price" in shown.output
    assert "middle is worth its price" in shown.output
    before, after = demur.Router.load(router), demur.Router.load(to)
    nodes = [vars(one.prompt_router.method)["nodes_"] for one in (before, after)]
    np.testing.assert_array_equal(*nodes)  # not fitted again
    assert after.prompt_router.tiers is not None
    assert len(pairs[0].weak.requests) + len(pairs[0].strong.requests) == asked  # nobody was asked
    demur.calibrate(str(runs / "p.jsonl"), router=to, keep_quality=0.95)
    assert roles(to) == ["weak", "middle", "middle"]
    hosts = tuple(one.removeprefix("http://").removesuffix("/v1") for one in addresses(pairs))
    settings = GatewaySettings(router=to, port=0, ledger=str(tmp_path / "ledger.sqlite"), allow_endpoints=hosts)
    async with running(settings) as (_, address, _), aiohttp.ClientSession() as session:
        served = [await model_of(session, address, kind.format(92)) for kind in (COLOUR, SUM, HILL)]
    assert served == ["small", "middle", "middle"]


def roles(router: str) -> list[str]:
    loaded = demur.Router.load(router)
    return [loaded.route(kind.format(91)).role for kind in (COLOUR, SUM, HILL)]


def test_a_model_that_knows_no_more_than_the_weak_one_is_not_worth_its_price(
    runs: Path, pairs: tuple[Pair, Pair], tmp_path: Path
) -> None:
    names = {"weak": pairs[0].names["weak"], "strong": f"useless@{pairs[1].weak.base_url}"}
    run, to = str(tmp_path / "new"), str(tmp_path / "joined")
    demur.sample(runs / "few.jsonl", **names, weak_usd="1/1", strong_usd="2/2", n=4, run=run)
    demur.label(run=run, source="accuracy", kind="soft")
    with pytest.raises(InputError, match=r"useless is NOT shown to be worth its price: .* or say --anyway"):
        join_model(run, router=trained(runs), to=to)
    assert not Path(to).exists()
    found = join_model(run, router=str(runs / "run/router"), to=to, anyway=True)
    assert found.worth[1] <= 0
    assert demur.Router.load(to).prompt_router.tiers is not None


def addresses(pairs: tuple[Pair, Pair]) -> list[str]:
    return [pairs[0].weak.base_url, pairs[1].strong.base_url, pairs[0].strong.base_url]


async def model_of(session: aiohttp.ClientSession, address: str, prompt: str) -> str:
    body: Mapping[str, object] = {"model": "demur", "messages": [{"role": "user", "content": prompt}]}
    async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
        return answer.headers["x-demur-model"]


def test_what_a_model_cannot_join_is_named(runs: Path, tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    new, to = str(runs / "new"), str(tmp_path / "joined")
    with pytest.raises(InputError, match=r"its method is KNN, and models join GraphRouter alone: demur train"):
        join_model(new, router=trained(runs, methods="knn"), to=to)
    with pytest.raises(InputError, match=r"train again with hidden 0\.5"):
        join_model(new, router=trained(runs, hidden=0.0), to=to)
    router = trained(runs)
    other = tmp_path / "other"
    write(tmp_path / "other.jsonl", range(80, 90))
    demur.sample(tmp_path / "other.jsonl", **pairs[0].names, n=2, run=str(other))
    demur.label(run=str(other), source="accuracy", kind="soft")
    with pytest.raises(InputError, match=r"0 of its \d+ labelled prompts are training prompts of the router"):
        join_model(str(other), router=router, to=to)
    with pytest.raises(InputError, match="'large' already; give the new one a name"):
        join_model(str(runs / "run"), router=router, to=to)
    record = json.loads((runs / "new/run.json").read_text())
    dear = tmp_path / "dear"
    dear.mkdir()
    for name in ("store.sqlite", "preferences.jsonl"):
        (dear / name).write_bytes((runs / "new" / name).read_bytes())
    record["strong"] |= {"name": "another", "usd_per_million_input": 5.0, "usd_per_million_output": 5.0}
    (dear / "run.json").write_text(json.dumps(record))
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    join_model(new, router=router, to=one)
    assert join_model(str(dear), router=one, to=two, anyway=True).names == ("small", "middle", "another", "large")
    with pytest.raises(InputError, match="one holds a router; name another folder with --to, or --force"):
        join_model(new, router=router, to=one)
    record["strong"] |= {"usd_per_million_input": 20.0, "usd_per_million_output": 20.0}
    (dear / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"another at \$\S+ per 1,000 answers is not between small at"):
        join_model(str(dear), router=router, to=to)
    (dear / "preferences.jsonl").write_text(
        (runs / "new/preferences.jsonl").read_text().replace('"accuracy soft"', '"entropy hard"')
    )
    with pytest.raises(InputError, match="its labels are entropy hard, the router's entropy believed"):
        join_model(str(dear), router=router, to=to)
    (dear / "preferences.jsonl").write_text(
        (runs / "new/preferences.jsonl").read_text().replace('"model_a": "small"', '"model_a": "tiny"')
    )
    with pytest.raises(InputError, match="its weak model is tiny, and the router's is small; sample small beside"):
        join_model(str(dear), router=router, to=to)
    assert not Path(to).exists()


def test_the_node_of_a_new_model_is_that_of_graphrouters_formula() -> None:
    """Own node and mean message through the update, by hand: h = 1, three prompts of one number."""
    made = PairGraphRouter(hidden=0.5)
    made.mean_, made.scale_ = np.zeros(1), np.ones(1)
    made.prompt_, made.task_, made.own_ = np.ones((1, 1)), np.zeros((1, 1)), np.array([[0.25]])
    made.message_, made.update_, made.range_ = np.array([[2.0]]), np.array([[3.0]]), np.array([0.2, 0.8])
    made.nodes_, made.centres_, made.n_features_in_ = np.array([[0.5], [9.0]]), np.ones((1, 1)), 1
    grown = made.of_new_model(np.array([[1.0], [2.0], [3.0]]), np.array([0.5, 0.7, 0.8]), np.array([0.5, 0.6, 0.9]))
    # Quality .5, .3 + .2 and .2 + .8, beyond the scale: edges .5, .5 and 1; messages 2, 4 and 6, their mean 9 / 3 = 3.
    assert grown.nodes_.tolist() == [[0.5], [pytest.approx(0.25 + 3 * 3)]]
    assert grown.predict_proba(np.array([[0.1]]))[0, 1] == pytest.approx(1 / (1 + np.exp(-0.1 * 8.75)))
    assert made.nodes_.tolist() == [[0.5], [9.0]]


@pytest.mark.parametrize("at", [1, 2])
def test_a_model_between_others_is_put_at_its_price(at: int) -> None:
    """Weak, middle and strong; the new one comes before or after the middle one, and every part of them keeps order."""
    middle, new = PairGraphRouter(hidden=0.25), PairGraphRouter(hidden=0.5)
    before = Tiers(
        *(("weak", "middle", "strong"), ("w", "m", "s"), (middle,), (1.0, 3.0, 9.0)),
        qualities=np.array([[0.2, 0.5, 0.9], [0.9, 0.9, 0.9]]),
        training_values=np.array([[0.0, 0.3, 0.7], [0.0, 0.0, 0.0]]),
    )
    found = _with_tier(before, at, ("new", "n"), new, 2.0 if at == 1 else 5.0, np.array([0.4, 0.4]))
    order = [0, 3, 1, 2] if at == 1 else [0, 1, 3, 2]
    assert found.names == tuple(np.array(["weak", "middle", "strong", "new"])[order])
    assert found.models == tuple(np.array(["w", "m", "s", "n"])[order])
    assert found.usd == tuple(np.array([1.0, 3.0, 9.0, 2.0 if at == 1 else 5.0])[order])
    assert found.methods == ((new, middle) if at == 1 else (middle, new))
    quality = np.array([[0.2, 0.5, 0.9, 0.6], [0.9, 0.9, 0.9, 1.0]])  # .2 + .4, and at most 1
    np.testing.assert_allclose(found.qualities, quality[:, order])
    np.testing.assert_allclose(found.training_values, np.array([[0.0, 0.3, 0.7, 0.4], [0.0, 0.0, 0.0, 0.4]])[:, order])
