"""Prompts that a model refuses: the rest is sampled and labelled, each is asked once, and an outage is not a
refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import ModelConfig, RunConfig
from demur.errors import BudgetError, DemurError, EndpointError, InputError, PromptRefusedError, RefusalCause
from demur.models.endpoint import Endpoint, is_private
from demur.models.local import endpoint_of, parse_model
from demur.models.prices import LOCAL, PRIVATE
from demur.models.requests.cut_answers import remedy_words
from demur.records import ChatRequest, Prompt, Sample, SamplingSettings, key_of
from demur.sampling.budget import Budget
from demur.sampling.cost import PairEndpoints, PairSpend, cost_words, cut_sentences
from demur.sampling.earlier.asked_models import AskedModel
from demur.sampling.pair import PairSamples, estimate_pair, sample_pair, spend_of, stored_pair
from demur.sampling.refused_prompts import MOST_IN_A_ROW, refused_prompts
from demur.sampling.sample import estimate, sample_prompts, stored_samples
from demur.store import Store
from demur.testing import fake_endpoint

PROMPTS = [Prompt(f"p{i}", f"question {i}") for i in range(12)]
SETTINGS = SamplingSettings(n=2, max_tokens=10)
ENDPOINT = Endpoint("m", "https://cloud.example/v1", concurrency=1, usd_per_million_input=0, usd_per_million_output=1e6)


class Refusing:
    """Answers, but refuses some prompts for a cause."""

    def __init__(self, cause: RefusalCause, *refused: int) -> None:
        self._cause = cause
        self._refused = {f"question {i}" for i in refused}
        self.asked: list[str] = []

    async def sample(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int]
    ) -> AsyncIterator[list[Sample]]:
        text = key_of(asked)
        self.asked.append(text)
        await asyncio.sleep(0)
        if text in self._refused:
            raise PromptRefusedError(f"m answered 400: no (prompt {text!r})", self._cause)
        yield [Sample(i, f"{text} {i}", None, "stop", 2, 3, len(indices)) for i in indices]


def _spent(endpoint: Endpoint, settings: SamplingSettings, store: Store) -> float:
    return AskedModel.of(endpoint, settings, "").usd_paid(store)


@pytest.mark.parametrize("cause", ["prompt", "answer", "unknown"])
async def test_a_refused_prompt_is_left_out_and_never_asked_again(cause: RefusalCause) -> None:
    with Store(":memory:") as store:
        first = Refusing(cause, 0, 5)
        found = await sample_prompts(PROMPTS, first, ENDPOINT, SETTINGS, store)
        assert [key for key, samples in found.items() if not samples] == ["p0", "p5"]
        assert all(len(samples) == 2 for key, samples in found.items() if key not in ("p0", "p5"))
        again = Refusing(cause)
        assert await sample_prompts(PROMPTS, again, ENDPOINT, SETTINGS, store) == found
        assert again.asked == []
        assert set(refused_prompts(PROMPTS, ENDPOINT, SETTINGS, store)) == {"p0", "p5"}
        have = stored_samples(PROMPTS, ENDPOINT, SETTINGS, store)
        assert estimate(PROMPTS, ENDPOINT, SETTINGS, have).missing == 4
        assert estimate(PROMPTS, ENDPOINT, SETTINGS, have, refused={"p0", "p5"}).missing == 0
        warmer = replace(SETTINGS, max_tokens=20)  # other settings, another answer
        assert refused_prompts(PROMPTS, ENDPOINT, warmer, store) == {}
        store.forget_refusals(ENDPOINT.name, SETTINGS.key)
        await sample_prompts(PROMPTS, again, ENDPOINT, SETTINGS, store)
        assert again.asked == ["question 0", "question 5"]


async def test_a_failure_that_passes_is_asked_again_next_time() -> None:
    with Store(":memory:") as store:
        await sample_prompts(PROMPTS, Refusing("passing", 3), ENDPOINT, SETTINGS, store)
        again = Refusing("passing")
        await sample_prompts(PROMPTS, again, ENDPOINT, SETTINGS, store)
        assert again.asked == ["question 3"]


@pytest.mark.parametrize("cause", ["unknown", "passing"])
async def test_many_unexplained_refusals_in_a_row_are_the_endpoints_and_not_remembered(cause: RefusalCause) -> None:
    with Store(":memory:") as store:
        dead = Refusing(cause, *range(2, 12))
        with pytest.raises(EndpointError, match=rf"{MOST_IN_A_ROW} prompts in a row were refused in the same way"):
            await sample_prompts(PROMPTS, dead, ENDPOINT, SETTINGS, store)
        assert len(dead.asked) == 2 + MOST_IN_A_ROW
        assert refused_prompts(PROMPTS, ENDPOINT, SETTINGS, store) == {}


async def test_any_number_of_prompts_that_the_endpoint_blames_is_left_out() -> None:
    with Store(":memory:") as store:
        found = await sample_prompts(PROMPTS, Refusing("prompt", *range(11)), ENDPOINT, SETTINGS, store)
        assert len(found["p11"]) == 2
        assert len(refused_prompts(PROMPTS, ENDPOINT, SETTINGS, store)) == 11


async def test_a_model_that_refuses_every_prompt_is_an_error() -> None:
    everything = Refusing("prompt", *range(12))
    with Store(":memory:") as store, pytest.raises(EndpointError, match=r"m refused all 12 prompts, such as: m answer"):
        await sample_prompts(PROMPTS, everything, ENDPOINT, SETTINGS, store)


async def test_what_was_spent_counts_over_sessions_and_is_said() -> None:
    with Store(":memory:") as store:
        await sample_prompts(PROMPTS[:4], Refusing("prompt"), ENDPOINT, SETTINGS, store)
        assert _spent(ENDPOINT, SETTINGS, store) == pytest.approx(4 * 2 * 3)
        assert _spent(ENDPOINT, replace(SETTINGS, seed=1), store) == 0
        uncounted = [Sample(0, "x", None, "stop", 0, 0)]
        store.add_samples(ENDPOINT.name, "another prompt", SETTINGS.key, uncounted)
        assert _spent(ENDPOINT, SETTINGS, store) == pytest.approx(24 + 10)  # as long as it may be
        budget = Budget(60.0, spent=_spent(ENDPOINT, SETTINGS, store))
        budget.reserve(PROMPTS[0], 2, ENDPOINT, SETTINGS)
        with pytest.raises(BudgetError) as raised:
            budget.reserve(PROMPTS[0], 2, ENDPOINT, SETTINGS)
    for part in ("$34.00 spent on this run in all", "$20.00 reserved", "may cost $20.00", "limit is $60.00"):
        assert part in str(raised.value)


def run_of(weak: ModelConfig, strong: ModelConfig, max_usd: float | None = None) -> RunConfig:
    return RunConfig("p.jsonl", weak, strong, sampling=SETTINGS, max_usd=max_usd)


async def sampled(config: RunConfig, store: Store) -> PairSamples:
    """Both models' samples of the first four prompts, in a thread: the loop here serves them."""
    pair = PairEndpoints(endpoint_of(config.weak), endpoint_of(config.strong))
    have = stored_pair(pair, SETTINGS, PROMPTS[:4], store)
    return await asyncio.to_thread(sample_pair, config, pair, PROMPTS[:4], have, store)


async def test_where_one_model_is_down_the_other_is_not_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.models.requests.client.backoff_seconds", lambda attempt: 0.01)
    async with fake_endpoint(lambda prompt, seed: "one two") as paid:
        async with fake_endpoint(lambda prompt, seed: "one two") as down:
            pass
        ends = ModelConfig("w", down.base_url), ModelConfig("s", paid.base_url)
        with Store(tmp_path / "s.sqlite") as store:
            with pytest.raises(EndpointError, match=r"w at http://127.*5 times; is it running\? No model was asked"):
                await sampled(run_of(*ends), store)
            assert paid.requests == []
            alone = run_of(*ends[::-1])
            with pytest.raises(EndpointError, match="No model was asked"):
                await sampled(alone, store)
    assert paid.requests == []


async def test_a_model_that_is_down_and_has_all_its_samples_is_not_needed(tmp_path: Path) -> None:
    async with fake_endpoint(lambda prompt, seed: "one two") as strong:
        with Store(tmp_path / "s.sqlite") as store:
            async with fake_endpoint(lambda prompt, seed: "one two") as weak:
                ends = ModelConfig("w", weak.base_url), ModelConfig("s", strong.base_url)
                await sampled(run_of(*ends), store)
            asked = len(strong.requests)
            other = ModelConfig("other", strong.base_url)
            found = await sampled(run_of(ends[0], other), store)
    assert asked == len(strong.requests) - asked
    assert all(found.weak.values())


async def test_a_retry_loop_never_spends_the_limit_twice(tmp_path: Path) -> None:
    async with fake_endpoint(lambda prompt, seed: "one two") as fake:
        weak = ModelConfig("free", fake.base_url, usd_per_million_input=0, usd_per_million_output=0, concurrency=1)
        paid = replace(weak, model="paid", usd_per_million_output=1e6)  # 4 prompts: in truth 2 x 2 dollars each
        with Store(tmp_path / "s.sqlite") as store:
            for _ in range(5):
                with pytest.raises(BudgetError, match="raise max_usd"):
                    await sampled(run_of(weak, paid, max_usd=25.0), store)
            assert _spent(endpoint_of(paid), SETTINGS, store) <= 25


async def test_one_unknown_price_leaves_the_other_model_its_limit(tmp_path: Path) -> None:
    async with fake_endpoint(lambda prompt, seed: "one two") as fake:
        paid = ModelConfig("paid", fake.base_url, usd_per_million_input=0, usd_per_million_output=1e6, concurrency=1)
        endpoints = PairEndpoints(Endpoint("free-for-all", "https://cloud.example/v1"), endpoint_of(paid))
        with Store(":memory:") as store:
            have = stored_pair(endpoints, SETTINGS, PROMPTS[:4], store)
            weak = ModelConfig("free-for-all", fake.base_url)
            with pytest.raises(BudgetError, match="paid"):
                config = run_of(weak, paid, max_usd=25.0)
                await asyncio.to_thread(sample_pair, config, endpoints, PROMPTS[:4], have, store)
            both = PairEndpoints(endpoints.weak, Endpoint("nobody-knows-it", "https://cloud.example/v1"))
            with pytest.raises(BudgetError, match="free-for-all and nobody-knows-it: the price is unknown"):
                sample_pair(run_of(weak, paid, max_usd=1.0), both, PROMPTS[:4], have, store)


def test_the_known_part_of_a_cost_is_said() -> None:
    assert cost_words(("a", "b"), (1.0, 2.0)) == "cost $3.00"
    assert cost_words(("a", "b"), (None, 2.0), most=True) == "at most $2.00 without a, whose cost is unknown"
    assert cost_words(("a", "b"), (None, None)) == "the cost is unknown"


def test_answers_that_were_cut_are_said() -> None:
    cut, whole = Sample(0, "x", None, "length", 1, 64), Sample(0, "x", None, "stop", 1, 3)
    sides = [[cut] * 77 + [whole] * 23, [whole] * 99 + [cut]]
    assert cut_sentences(("weak", "strong"), sides, 64) == [
        f"77% of weak's answers were cut at 64 tokens: {remedy_words(64)}"
    ]
    longer = replace(cut, completion_tokens=1_024)
    (both,) = cut_sentences(("weak", "strong"), [[longer], [longer, whole]], 1_024)
    assert both.startswith("100% of weak's answers and 50% of strong's were cut at 1,024 tokens")


def test_notes_name_refused_and_missing_prompts() -> None:
    pair = PairEndpoints(ENDPOINT, replace(ENDPOINT, model="s"))
    answers = {prompt.id: [Sample(i, "x", None, "stop", 1, 1) for i in range(2)] for prompt in PROMPTS}
    with Store(":memory:") as store:
        store.add_refusal(pair.strong.name, "question 1", SETTINGS.key, "content filter")
        samples = PairSamples(answers | {"p2": []}, answers | {"p1": []})
        config = run_of(ModelConfig("m", "https://a.example"), ModelConfig("s", "https://a.example"))
        assert spend_of(config, pair, PROMPTS, samples, store).notes == (
            "1 prompt is left out, refused by s (--ask-refused asks again): p1: content filter",
            "1 prompt misses answers of m: the same command asks for them",
        )


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://192.168.1.4:11434/v1", True),
        ("http://10.0.0.7/v1", True),
        ("http://vllm:8000/v1", True),
        ("http://box.local/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://8.8.8.8/v1", False),
        ("", False),
    ],
)
def test_addresses_of_this_machine_and_of_private_networks_are_known(url: str, private: bool) -> None:
    assert is_private(url) == private


def test_a_private_address_costs_nothing_unless_its_model_has_a_price() -> None:
    own = Endpoint("our-own-7b", "http://10.0.0.7/v1")
    assert own.price is not None
    assert (own.price.charges, own.price.source) == (False, PRIVATE)
    assert "$0" in PRIVATE
    known = Endpoint("gpt-4o", "http://127.0.0.1:4000/v1").price  # perhaps a proxy to it
    assert known is not None
    assert known.charges
    assert Endpoint("our-own-7b", "https://cloud.example/v1").price is None
    assert LOCAL != PRIVATE


@pytest.mark.parametrize("url", ["http://127.0.0.1:9412/v1", "http://10.0.0.7/v1", "http://llm.internal/v1"])
def test_a_private_address_that_takes_a_key_has_an_unknown_price(url: str) -> None:
    """A company's proxy to a paid model stands on a private address, too: a key is the sign of one."""
    keyed = Endpoint("large-cloud", url, api_key_env="LARGE_KEY")
    assert keyed.price is None
    listed, given = replace(keyed, model="gpt-4o").price, endpoint_of(parse_model(f"m@{url}#LARGE_KEY#usd=0")).price
    assert listed is not None
    assert listed.charges
    assert given is not None
    assert (given.charges, given.source) == (False, "price as given")


@pytest.mark.parametrize(("usd", "limits"), [(None, False), (0.0, True), (2.5, True)])
def test_a_limit_beside_a_free_model_is_refused_where_the_other_price_is_unknown(
    usd: float | None, limits: bool
) -> None:
    """Of the two models the weak one is free, so a limit in USD would never stop anything."""
    strong = Endpoint(
        *("large-cloud", "http://127.0.0.1:9412/v1"),
        api_key_env="LARGE_KEY",
        usd_per_million_input=usd,
        usd_per_million_output=usd,
    )
    pair, config = PairEndpoints(Endpoint("small", "http://127.0.0.1:1/v1"), strong), ModelConfig("small")
    with Store(":memory:") as store:
        have = stored_pair(pair, SETTINGS, PROMPTS[:2], store)
        told = estimate_pair(run_of(config, config), pair, PROMPTS[:2], have, store)
        assert ("large-cloud, whose cost is unknown" in told.sentence) == (not limits)
        assert ("usd=IN/OUT in USD per million" in dict(told.facts)["large-cloud"]) == (not limits)
        limited = run_of(config, config, max_usd=1.0)
        if limits:
            assert estimate_pair(limited, pair, PROMPTS[:2], have, store).usd_left == 1.0
        else:
            with pytest.raises(BudgetError, match=r"^large-cloud: the price is unknown.*usd=0"):
                estimate_pair(limited, pair, PROMPTS[:2], have, store)


@pytest.mark.parametrize(
    ("named", "variable", "usd"),
    [
        ("m@http://h/v1", None, (None, None)),
        ("m@http://h/v1#KEY", "KEY", (None, None)),
        ("m@http://h/v1#usd=0", None, (0.0, 0.0)),
        ("m@http://h/v1#KEY#usd=.15/.6", "KEY", (0.15, 0.6)),
        ("m@http://h/v1#usd=3/15#KEY", "KEY", (3.0, 15.0)),
    ],
)
def test_a_key_and_a_price_stand_behind_a_models_address(named: str, variable: str | None, usd: object) -> None:
    found = parse_model(named)
    assert (found.model, found.base_url, found.api_key_env) == ("m", "http://h/v1", variable)
    assert (found.usd_per_million_input, found.usd_per_million_output) == usd


@pytest.mark.parametrize("wrong", ["", "x", "1/2/3", "-1", "nan", "1/inf"])
def test_a_price_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"m: the price is "):
        parse_model(f"m@http://h/v1#usd={wrong}")


@pytest.mark.parametrize(
    "command",
    [
        ["doctor", "m@http://me:xyzzyplugh@127.0.0.1:9/v1"],
        ["doctor", "m@http://xyzzyplugh@127.0.0.1:9/v1"],
        ["doctor", "m@me:xyzzyplugh@127.0.0.1:9/v1"],
        ["doctor", "m@http://me:xyzzy/plugh@127.0.0.1:9/v1"],
        ["run", "run.toml"],
        ["doctor", "m@http://me:" + 30 * "xyzzyplugh" + "@127.0.0.1:9/v1"],
        ["sample", "http://me:xyzzyplugh@127.0.0.1:9/p.jsonl", "--weak", "m@http://h/v1", "--strong", "s@http://h/v1"],
    ],
)
def test_no_error_shows_the_password_of_a_url(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "http://me:xyzzyplugh@127.0.0.1:9/v1"
    Path("run.toml").write_text(
        f'prompts = "p.jsonl"\nstrong.model = "s"\nstrong.base_url = "http://h/v1"\nweak.model = "w"\n'
        f'weak.base_url = "{url}"\n'
    )
    said = CliRunner().invoke(app, command)
    assert isinstance(said.exception, DemurError)
    assert "xyzzy" not in said.output + str(said.exception)
    assert "plugh" not in said.output + str(said.exception)
    assert "127.0.0.1:9/" in str(said.exception)
    assert not any("xyzzyplugh" in file.read_text() for file in tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "kept",
    [
        "m@http://127.0.0.1:80/v1, n@http://h:8000/v1",
        "m@http://h:80/v1#usd=1/2+images=n@http://h/v1",
        "postgresql://USER@HOST/DATABASE",
        "at ten: a@b",
    ],
)
def test_an_error_without_a_password_is_as_it_was(kept: str) -> None:
    assert str(InputError(kept)) == kept


def test_an_address_without_a_scheme_says_so() -> None:
    with pytest.raises(InputError, match=r"its URL has no scheme; write gpt-4o@https://127\.0\.0\.1:9/v1, or http://"):
        parse_model("gpt-4o@127.0.0.1:9/v1")


async def test_sample_takes_prices_and_concurrency_and_asks_again_for_what_was_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("".join(f'{{"prompt": "question {i}"}}\n' for i in range(4)), encoding="utf-8")
    async with fake_endpoint(lambda prompt, seed: "one two") as fake:
        fake.refusal = lambda body: (400, "content_filter") if "question 2" in str(body["messages"]) else None

        def sample(**given: object) -> PairSpend:
            names = [f"{name}@{fake.base_url}" for name in ("small", "large")]
            run = str(tmp_path / "run")
            return demur.sample(file, *names, run=run, n=2, weak_usd="0", strong_usd="1/2", **given)  # type: ignore[arg-type]

        spent = await asyncio.to_thread(sample, concurrency=2)
        assert spent.weak_usd == 0
        assert spent.strong_usd == pytest.approx(3 * (2 * 1 + 2 * 2 * 2) / 1e6)  # 2 words asked once, 2 x 2 answered
        assert len([note for note in spent.notes if note.startswith("1 prompt is left out, refused by ")]) == 2
        labels = await asyncio.to_thread(demur.label, run=str(tmp_path / "run"), entailment="exact")
        assert len(labels.preferences) == 3  # the rest is labelled
        assert len([note for note in labels.notes if note.startswith("1 prompt is left out, refused by ")]) == 2
        fake.refusal = None
        asked = len(fake.requests)
        await asyncio.to_thread(sample)
        assert len(fake.requests) == asked
        again = await asyncio.to_thread(sample, ask_refused=True)
        assert len(fake.requests) == asked + 2
        assert again.notes == ()
