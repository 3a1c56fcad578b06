"""Learning from traffic: what is kept and taken, what is promoted, and the whole of it on a planted world."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demur.cli.commands.gateway import learning_table
from demur.errors import InputError
from demur.gateway.learning.cold_start import NOTHING_LEARNED, check_learning, cold_router
from demur.gateway.ledger.feedback import Feedback, keep_feedback, losses
from demur.gateway.ledger.ledger import Ledger, open_backend
from demur.gateway.ledger.read import read_ledger
from demur.gateway.operator.dashboard import statistics
from demur.gateway.server import running
from demur.gateway.settings import GatewaySettings, LearnSettings, ServedModel
from demur.learning.choice import DUPLICATE, choose
from demur.learning.forget import forget
from demur.learning.process import rollback, tried_routers
from demur.learning.promotion import Looks, better_by_kind, chance_of, compare
from demur.learning.round import learn_round, promise_text
from demur.learning.traffic import seen_prompts, taken_prompts
from demur.learning.versions import Version, keep_version, promote, serving_version, version_before, versions
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.models.encoders.encoder import LetterEncoder
from demur.testing import FakeEndpoint, fake_endpoint
from gateways import EASY, RECORD, gateway, save_router

NOW = 1_800_000_000.0


# -- what is taken ---------------------------------------------------------------------------------------------------


def unit(*rows: tuple[float, float]) -> np.ndarray:
    found = np.array(rows, dtype=np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def test_near_duplicates_are_taken_once() -> None:
    seen = unit((1, 0), (1, 0.001), (1, 0.002), (0, 1))
    chosen = choose(seen, np.empty((0, 2)), 4, np.random.default_rng(0))
    assert sorted({0 if one < 3 else 1 for one in chosen}) == [0, 1]
    assert len(chosen) == 2


def test_what_is_like_a_learned_prompt_is_not_taken_again() -> None:
    assert choose(unit((1, 0.001)), unit((1, 0)), 1, np.random.default_rng(0)) == []
    assert unit((1, 0.001)) @ unit((1, 0)).T > DUPLICATE


def test_every_fourth_prompt_taken_is_the_rarest() -> None:
    around = [(1.0, 0.3 * i) for i in range(8)]  # angles between them are larger than duplicates'
    seen = unit(*around, (-1, 0.2))  # the last is unlike all others
    for seed in range(20):
        assert 8 in choose(seen, unit((1, -0.3)), 4, np.random.default_rng(seed))


def write_records(path: Path, *records: Mapping[str, Any]) -> str:
    with closing(Ledger(open_backend(str(path)))) as ledger:
        for i, given in enumerate(records):
            ledger.add(replace(RECORD, id=f"id{i}", **given))
    return str(path)


def test_prompts_are_seen_once_and_never_those_that_the_settings_exclude(tmp_path: Path) -> None:
    ledger = write_records(
        tmp_path / "ledger.sqlite",
        {"prompt": "Who?", "at": NOW},
        {"prompt": "Who?", "at": NOW + 1},
        {"prompt": "My card is 4111", "at": NOW + 2},
        {"prompt": "Of another team", "at": NOW + 3, "key": "legal"},
        {"prompt": "Named a model", "at": NOW + 4, "role": "direct"},
        {"prompt": "", "at": NOW + 5},
        {"prompt": "When?", "at": NOW + 6},
        {"prompt": "Which colour?\n[image 0123456789abcdef]", "at": NOW + 7},  # the picture is not kept
    )
    settings = LearnSettings(never=(r"\b4111",), never_keys=("legal",))
    assert [one.prompt for one in seen_prompts(ledger, settings, 0)] == ["Who?", "When?"]
    assert [one.prompt for one in seen_prompts(ledger, settings, NOW + 1)] == ["When?"]


def test_forgetting_a_key_erases_its_prompts_everywhere_and_keeps_what_they_cost(tmp_path: Path) -> None:
    ledger = write_records(
        tmp_path / "ledger.sqlite",
        {"prompt": "of anna", "key": "anna", "usd": 0.25},
        {"prompt": "of ben", "key": "ben"},
    )
    taken = [{"id": name, "prompt": f"of {name}", "at": NOW, "key": name} for name in ("anna", "ben")]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in taken))
    assert forget(str(tmp_path), ledger, key="anna") == 1
    assert {one.key: (one.prompt, one.usd) for one in read_ledger(ledger)} == {
        "anna": ("", 0.25),
        "ben": ("of ben", RECORD.usd),
    }
    assert [one.prompt for one in taken_prompts(tmp_path)] == ["of ben"]
    assert b"of anna" not in b"".join(file.read_bytes() for file in tmp_path.glob("ledger.sqlite*"))


def test_forgetting_by_age_keeps_what_is_younger(tmp_path: Path) -> None:
    ledger = write_records(
        tmp_path / "ledger.sqlite", {"prompt": "old", "at": NOW - 100}, {"prompt": "young", "at": NOW}
    )
    assert forget(str(tmp_path), ledger, before=NOW - 50) == 1
    assert sorted(one.prompt for one in read_ledger(ledger)) == ["", "young"]


# -- what is promoted ------------------------------------------------------------------------------------------------


def gains_and_scores(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A router that knows half of what the gains are made of."""
    random = np.random.default_rng(seed)
    known, other = random.normal(size=(2, n))
    return np.clip((known + other) / 4, -1, 1), known


def test_a_candidate_that_knows_more_than_random_is_promoted() -> None:
    gains, scores = gains_and_scores(200, 0)
    assert compare(scores, None, gains).better


def test_a_candidate_whose_labels_were_shuffled_is_not_promoted() -> None:
    promoted = 0
    for seed in range(200):
        gains, scores = gains_and_scores(200, seed)
        promoted += compare(np.random.default_rng(seed + 1000).permutation(scores), None, gains).better
    assert promoted <= 2


def test_a_candidate_is_not_promoted_over_one_that_knows_more() -> None:
    gains, known = gains_and_scores(400, 0)
    worse = known + np.random.default_rng(1).normal(size=400) * 2
    assert not compare(worse, known, gains).better
    assert compare(known, worse, gains).better


def test_after_a_change_of_the_traffic_the_recent_prompts_alone_can_promote() -> None:
    gains, known = gains_and_scores(600, 0)
    recent = np.arange(600) >= 500
    noise = np.random.default_rng(1).normal(size=600)
    in_force = np.where(recent, noise, known)  # knows the earlier traffic alone
    candidate = np.where(recent, known, known + 0.5 * noise)  # is a little worse there
    assert not compare(candidate[~recent], in_force[~recent], gains[~recent]).better
    found = compare(candidate, in_force, gains, recent)
    assert found.better
    assert "on 100 recent prompts" in found.sentence


def near_prompts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors, and gains of which a tenth of the variance is told by them."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, 8))
    told = vectors[:, 0] / 3
    return vectors, np.clip((told + random.normal(size=n)) / 4, -1, 1)


def test_shuffled_labels_beat_chance_in_one_of_a_hundred_runs_at_most() -> None:
    found = []
    for seed in range(200):
        vectors, gains = near_prompts(80, seed)
        found.append(chance_of(vectors, np.random.default_rng(seed + 1000).permutation(gains)))
    assert np.mean(np.array(found) <= 0.01) <= 0.02
    assert 0.4 < np.mean(found) < 0.6  # as uniform as it should be


def test_chance_tells_with_fewer_prompts_than_held_out_scores_do() -> None:
    told = {"chance": 0, "held out": 0}
    for seed in range(20):
        vectors, gains = near_prompts(150, seed)
        scores = held_out_scores(KernelRidge(), vectors, (1 + gains) / 2)
        told["chance"] += compare(scores, None, gains, vectors=vectors).better
        told["held out"] += compare(scores, None, gains).better
    assert told["chance"] > told["held out"]


def test_a_candidate_that_orders_worse_than_random_is_not_promoted_whatever_the_chance() -> None:
    vectors, gains = near_prompts(400, 0)
    found = compare(-gains, None, gains, vectors=vectors)
    assert found.chance is not None
    assert found.chance <= 0.01
    assert not found.better


def test_looks_spend_one_per_cent_in_all_and_wait_until_the_labels_have_doubled() -> None:
    looks, spent = Looks(), []
    assert looks.level(59) == 0.0
    assert looks.after(59) == looks
    labels = 60
    for _ in range(40):
        assert looks.level(labels - 1) == 0.0
        spent.append(looks.level(labels))
        looks, labels = looks.after(labels), 2 * labels
    assert spent[:5] == pytest.approx([0.001, 0.002, 0.004, 0.0015, 0.00075])
    assert sum(spent) == pytest.approx(0.01)
    assert looks.done == 40


def test_shuffled_labels_are_told_from_random_at_any_look_in_one_of_a_hundred_runs_at_most() -> None:
    promoted = 0
    for seed in range(100):
        vectors, gains = near_prompts(240, seed)
        gains, looks = np.random.default_rng(seed + 1000).permutation(gains), Looks()
        for n in (60, 120, 240):
            told = chance_of(vectors[:n], gains[:n], looks.level(n)) <= looks.level(n)
            promoted, looks = promoted + told, looks.after(n)
        assert looks.done == 3
    assert promoted <= 2  # .7 are expected


def test_between_two_looks_nothing_is_tested_and_the_sentence_says_so() -> None:
    vectors, gains = near_prompts(400, 0)
    found = compare(gains, None, gains, vectors=vectors, level=Looks(2, 300).level(400))
    assert not found.better
    assert found.chance is None
    assert found.sentence.startswith("NOT tested yet against random")


def test_a_later_candidate_of_shuffled_labels_is_not_promoted_though_it_looks_better_on_them() -> None:
    """Labels that all belong to other prompts: the router in force knows nothing of them, a lucky order a little."""
    vectors, gains = near_prompts(400, 0)
    shuffled = np.random.default_rng(1).permutation(gains)
    lucky = shuffled + np.random.default_rng(2).normal(size=400)
    assert compare(lucky, gains, shuffled).better
    found = compare(lucky, gains, shuffled, vectors=vectors)
    assert found.chance is not None
    assert not found.better
    assert compare(gains, lucky, gains, vectors=vectors).better


def test_kinds_are_learned_apart_only_where_that_orders_what_came_since_better() -> None:
    gains, known = gains_and_scores(200, 0)
    worse, recent = np.random.default_rng(1).normal(size=200), np.arange(200) >= 150
    assert better_by_kind(worse, known, gains, recent)
    assert not better_by_kind(known, worse, gains, recent)
    assert not better_by_kind(worse, known, gains, np.arange(200) >= 170)  # too few to tell


def test_few_prompts_promote_nothing_however_clear_they_are() -> None:
    gains = np.linspace(-1, 1, 39)
    assert not compare(gains, None, gains).better


def a_version(number: int, *, promoted: bool = True) -> Version:
    return Version(number, NOW, 100, promoted, "better", 0.5, 0.3)


def test_a_version_serves_only_when_promoted_and_rolls_back_to_the_promoted_one_before(tmp_path: Path) -> None:
    save_router(tmp_path / "candidate")
    for number, promoted in ((1, True), (2, False), (3, True)):
        keep_version(tmp_path, tmp_path / "candidate", a_version(number, promoted=promoted))
    assert serving_version(tmp_path) is None
    promote(tmp_path, 3)
    assert serving_version(tmp_path) == 3
    assert (tmp_path / "serving" / "router.json").is_file()
    assert rollback(str(tmp_path)) == 1
    assert tried_routers(str(tmp_path)) == ([a_version(1), a_version(2, promoted=False), a_version(3)], 1, None)
    with pytest.raises(InputError, match="no version was promoted before"):
        version_before(tmp_path)
    with pytest.raises(InputError, match=r"version 9 is there; versions: 1, 2, 3"):
        promote(tmp_path, 9)


def test_a_version_that_a_kill_left_half_copied_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "versions" / "000001.part" / "router").mkdir(parents=True)
    (tmp_path / "versions" / "000001.part" / "version.json").write_text("{}")
    save_router(tmp_path / "candidate")
    assert versions(tmp_path) == []
    keep_version(tmp_path, tmp_path / "candidate", a_version(1))
    assert [one.number for one in versions(tmp_path)] == [1]


# -- the cold start --------------------------------------------------------------------------------------------------


def test_before_anything_is_learned_the_strong_model_answers_and_the_reason_says_why() -> None:
    decision = cold_router("small", "large").route("Anything at all")
    assert (decision.role, decision.model) == ("strong", "large")
    assert NOTHING_LEARNED in decision.reason


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weak": None}, "both models"),
        ({"ledger": ""}, "ledger is empty"),
        ({"learn": LearnSettings(never=("(",))}, "not a regular expression"),
    ],
)
def test_settings_that_could_learn_nothing_are_refused(changed: dict[str, Any], said: str) -> None:
    both = {"weak": ServedModel("small", "http://127.0.0.1:1/v1"), "strong": ServedModel("large", "http://[::1]:1/v1")}
    with pytest.raises(InputError, match=said):
        check_learning(GatewaySettings(**({"learn": LearnSettings()} | both | changed)))


async def test_prompts_are_kept_only_while_learning_is_on(tmp_path: Path) -> None:
    for name, learn in (("off", None), ("on", LearnSettings(str(tmp_path / "learn"), never=("secret",)))):
        async with gateway(tmp_path / name, learn=learn) as found:
            await found.ask("aaa aa?")
            await found.ask("a secret aa?")
        kept = sorted(one.prompt for one in read_ledger(str(tmp_path / name / "ledger.sqlite")))
        assert kept == (["", ""] if learn is None else ["", "aaa aa?"])


def test_the_flag_switches_learning_on_as_the_settings_file_wants_it(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("port = 1\n[learn]\nevery = 25\n")
    assert learning_table(str(file)) == {"every": 25}
    file.write_text("port = 1\n")
    assert learning_table(str(file)) == learning_table(None) == {}


# -- feedback --------------------------------------------------------------------------------------------------------


async def test_feedback_is_kept_and_the_last_verdict_of_a_client_counts(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        _, headers, _ = await found.ask(EASY)
        body = {"id": headers["x-demur-decision-id"], "verdict": "good"}
        url = f"{found.address}/v1/feedback"
        async with found.session.post(url, json=body) as answer:
            assert answer.status == 200
        async with found.session.post(url, json=body | {"verdict": "bad"}) as answer:
            assert answer.status == 200
    assert headers["x-demur-model"] == "small"
    assert losses(str(tmp_path / "ledger.sqlite")) == [1.0]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"id": 1, "verdict": "good"}', b'{"id": "x", "verdict": "good"}', b" " * 5000]
    + [json.dumps({"id": "0" * 32, "verdict": verdict}).encode() for verdict in ("", None, "GOOD", 1)],
)
async def test_feedback_that_names_no_decision_or_no_verdict_is_refused(tmp_path: Path, body: bytes) -> None:
    async with gateway(tmp_path) as found, found.session.post(f"{found.address}/v1/feedback", data=body) as answer:
        assert answer.status == 400
        assert "error" in await answer.json()


def test_only_the_client_that_asked_can_judge_and_only_what_was_demurs_choice(tmp_path: Path) -> None:
    ledger = write_records(
        tmp_path / "ledger.sqlite",
        {"key": "anna", "role": "weak"},
        {"key": "anna", "role": "strong", "at": NOW},
        {"key": "anna", "role": "direct"},
    )
    assert losses(ledger) == []
    for id, key in (("id0", "anna"), ("id0", "ben"), ("id1", "anna"), ("id2", "anna"), ("id9", "anna")):
        keep_feedback(ledger, Feedback(id, key, NOW, "bad"))
    assert losses(ledger) == [1.0, 0.0]


def test_what_is_watched_is_said_only_where_something_was_judged() -> None:
    assert promise_text([], 0.05) == ""
    assert "in force (0 lost of 100" in promise_text([0.0] * 100, 0.05)
    assert "not shown (10 lost of 100" in promise_text([1.0] * 10 + [0.0] * 90, 0.05)


# -- the whole -------------------------------------------------------------------------------------------------------


def planted_prompt(i: int) -> str:
    """Letters of which none is a p (easy) or a third are (hard)."""
    random = np.random.default_rng(i)
    letters = [*random.choice(list("abcdefghijklm"), 24), *("p" * (12 * (i % 2)))]
    return f"{''.join(random.permutation(letters))} {i}?"


def weak_answer(prompt: str, seed: int) -> str:
    return "right" if "p" not in prompt else f"guess {np.random.default_rng(seed).integers(1000)}"


def settings_of(tmp_path: Path, weak: FakeEndpoint, strong: FakeEndpoint) -> GatewaySettings:
    return GatewaySettings(
        router=str(tmp_path / "none"),
        port=0,
        weak=ServedModel("small", weak.base_url, usd_per_million_input=0.0, usd_per_million_output=0.0),
        strong=ServedModel("large", strong.base_url, usd_per_million_input=1.0, usd_per_million_output=2.0),
        ledger=str(tmp_path / "ledger.sqlite"),
        learn=LearnSettings(
            str(tmp_path / "learn"),
            encoder=f"letters@{weak.base_url}",
            every=40,
            max_tokens=8,
            strong_share=0.35,
            canary=0.0,
        ),
    )


async def test_a_gateway_without_a_router_learns_one_from_its_traffic_and_serves_it(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(80)))
        async with running(settings) as (found, *_):
            assert (await found.decider.decide("aaa aa?")).decision.role == "strong"
            half = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
            assert half.seen == 40  # a round takes as many as a refit waits for, so that it says how far it is
            status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 150)
            assert (status.seen, status.serving) == (80, 1), status.sentence
            assert statistics(found, None)["learning"] == status.sentence
            asked, until = len(weak.requests), time.monotonic() + 10
            while (easy := await found.decider.decide(planted_prompt(1000))).decision.role == "strong":
                assert time.monotonic() < until, easy.decision.reason
                await asyncio.sleep(0.1)
            assert (await found.decider.decide(planted_prompt(1001))).decision.role == "strong"
            assert easy.decision.role == "weak"
            again = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 200)
        assert again.sampled == status.sampled > 60
        chat = [one for one in weak.requests[asked:] if "messages" in one]
        assert chat == []  # nothing is paid for twice


async def test_prompts_of_one_moment_are_all_seen_though_a_round_takes_no_more_than_a_refit_waits_for(
    tmp_path: Path,
) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        assert settings.learn is not None
        settings = replace(settings, learn=replace(settings.learn, every=2))
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW} for i in range(5)))
        for _ in range(2):
            status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
    assert status.seen == 5


async def test_the_days_budget_ends_sampling_and_the_next_day_goes_on(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        assert settings.learn is not None
        settings = replace(settings, learn=replace(settings.learn, usd_per_day=0.0002))
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(40)))
        first = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        same_day = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 200)
        next_day = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 86_400)
    assert first.usd_today <= 0.0002
    assert "goes on tomorrow" in first.said
    assert same_day.usd_today <= 0.0002
    assert same_day.sampled < 35
    assert next_day.sampled > same_day.sampled


async def test_models_that_never_differ_promote_nothing_and_the_status_says_why(tmp_path: Path) -> None:
    async with (
        fake_endpoint(lambda prompt, seed: "right") as weak,
        fake_endpoint(lambda prompt, seed: "right") as strong,
    ):
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(50)))
        for _ in range(2):
            status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
    assert status.serving is None
    assert "nothing to learn" in status.said


async def test_without_a_named_encoder_the_prompts_languages_choose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []

    def load(name: str, **more: Any) -> LetterEncoder:
        named.append(name)
        return LetterEncoder()

    for module in ("demur.learning.round", "demur.runs.run"):
        monkeypatch.setattr(f"{module}.load_encoder", load)
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        assert settings.learn is not None
        settings = replace(settings, learn=replace(settings.learn, encoder="auto", every=5))
        german = (
            "Wie heißt die Hauptstadt von Frankreich, und wer lebt dort?",
            "Wer schrieb den Faust?",
        )
        write_records(tmp_path / "ledger.sqlite", *({"prompt": text, "at": NOW + i} for i, text in enumerate(german)))
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
    assert status.sampled == 2
    assert set(named) == {"multilingual-e5-small"}
