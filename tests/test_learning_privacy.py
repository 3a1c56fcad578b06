"""What learning keeps of prompts and answers, what leaves the machine, and what is erased: everywhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demur.errors import InputError
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.totals.bills import bills
from demur.gateway.settings import GatewaySettings, LearnSettings
from demur.learning.forget import ERASED, forget
from demur.learning.round import learn_round, learning_run
from demur.learning.traffic import seen_prompts, taken_prompts
from demur.learning.versions import router_folder, serving_version
from demur.records import Sample
from demur.routing.prompt_router import PromptRouter
from demur.runs.lock import lock_run
from demur.runs.run import open_run
from demur.store import Store
from demur.testing import FakeEndpoint, fake_endpoint
from gateways import gateway
from test_learning import NOW, planted_prompt, settings_of, weak_answer, write_records


def raises(text: str) -> str:
    raise RuntimeError(text)


def shortened(text: str) -> str:
    return text.replace("secret", "***")


async def kept_by(tmp_path: Path, *asked: dict[str, object], **settings: Any) -> list[tuple[str, str]]:
    """(prompt, answer) of every record, oldest first, after these requests."""
    learn = settings.pop("learn", LearnSettings(str(tmp_path / "learn")))
    async with gateway(tmp_path, learn=learn, **settings) as found:
        for one in asked:
            status, _, _ = await found.ask(**one)  # type: ignore[arg-type]
            assert status == 200
    return [(one.prompt, one.answer) for one in reversed(read_ledger(str(tmp_path / "ledger.sqlite")))]


async def test_the_strong_models_answer_to_a_prompt_alone_is_kept_and_no_other(tmp_path: Path) -> None:
    hard = "zzz zz zzzz?"
    earlier = [{"role": "user", "content": "aaa"}, {"role": "assistant", "content": "b"}]
    kept = await kept_by(
        tmp_path,
        {"text": hard},
        {"text": "aaa aa aaaa?"},  # the weak model's
        {"text": "zzz z?", "messages": [*earlier, {"role": "user", "content": "zzz z?"}]},
        {
            "text": "zz zz?",
            "messages": [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "zz zz?"}],
        },
        {"text": "zzz zzz?", "stream": True},
        {"text": "z zzz z?", "n": 2},
    )
    assert kept[0] == (hard, f"large says {hard}")
    assert [answer for _, answer in kept[1:]] == [""] * 5


async def test_with_the_system_message_of_the_settings_an_answer_counts(tmp_path: Path) -> None:
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "zzz zz?"}]
    learn = LearnSettings(str(tmp_path / "learn"), system="Be brief.")
    kept = await kept_by(tmp_path, {"text": "zzz zz?", "messages": asked}, {"text": "zz z?"}, learn=learn)
    assert [answer for _, answer in kept] == ["large says zzz zz?", ""]


async def test_the_answer_to_a_completion_of_the_settings_template_counts(tmp_path: Path) -> None:
    template = "Answer in a word, please.\n{prompt}"
    learn = LearnSettings(str(tmp_path / "learn"), template=template, chat=False)
    async with gateway(tmp_path, learn=learn) as found:
        for text, sent in (("zzz zz?", template.replace("{prompt}", "zzz zz?")), ("zzz z?", "Say: zzz z?")):
            body = {"model": "demur", "prompt": sent, "metadata": {"demur_text": text}}
            async with found.session.post(f"{found.address}/v1/completions", json=body) as answer:
                assert answer.status == 200
    kept = [(one.prompt, one.answer) for one in reversed(read_ledger(str(tmp_path / "ledger.sqlite")))]
    assert kept[0][0] == "zzz zz?"
    assert kept[0][1].startswith("large says")
    assert kept[1] == ("zzz z?", "")  # another template


async def test_a_prompt_whose_redaction_raises_is_not_kept_nor_is_its_answer(tmp_path: Path) -> None:
    redact = f"{__name__}:raises"
    assert await kept_by(tmp_path, {"text": "zzz secret zz?"}, redact=redact) == [("", "")]
    assert b"secret" not in texts_in(tmp_path)


async def test_what_redaction_has_changed_is_kept_without_its_answer(tmp_path: Path) -> None:
    kept = await kept_by(tmp_path, {"text": "zzz secret zz?"}, redact=f"{__name__}:shortened")
    assert kept == [("zzz *** zz?", "")]  # the answer is to another text


async def test_patterns_and_keys_of_never_keep_neither_prompt_nor_answer(tmp_path: Path) -> None:
    learn = LearnSettings(str(tmp_path / "learn"), never=(r"zz\b",))
    kept = await kept_by(tmp_path, {"text": "zzz zz?"}, {"text": "zzzx?"}, learn=learn)
    assert kept == [("", ""), ("zzzx?", "large says zzzx?")]


def served(i: int, answer: str = "right") -> dict[str, object]:
    return {"prompt": planted_prompt(i), "at": NOW + i, "role": "strong", "answer": answer}


def in_force(settings: GatewaySettings, **learn: object) -> GatewaySettings:
    assert settings.learn is not None
    return replace(settings, learn=replace(settings.learn, **learn))  # type: ignore[arg-type]


async def test_a_served_answer_is_one_of_the_strong_models_samples_and_costs_nothing_again(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *(served(i) for i in range(10)))
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        asked = sum(one.get("n", 1) for one in strong.requests)
    assert status.sampled == 10
    assert asked == 10 * 3  # of four samples each
    assert status.usd_today > 0
    assert settings.learn is not None
    with Store(tmp_path / "learn" / "store.sqlite") as store, open_run(learning_run(settings, settings.learn)) as run:
        first = store.samples(run.pair.strong.name, run.prompts[0].key, run.config.sampling.key)[0]
    assert first == Sample(0, "right", None, "served", 0, 0)


async def test_weak_only_sends_nothing_to_the_strong_model_and_still_learns(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = in_force(settings_of(tmp_path, weak, strong), shadow="weak-only")
        write_records(tmp_path / "ledger.sqlite", *(served(i, "right" if i < 80 else "") for i in range(90)))
        for _ in range(3):
            status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        chat = [one for one in strong.requests if "messages" in one]
    assert chat == []
    assert (status.seen, status.sampled) == (80, len(taken_prompts(tmp_path / "learn")))  # of ten no answer is known
    assert status.sampled > 60  # without near duplicates
    assert status.serving is not None, status.sentence


async def test_samples_stand_in_the_ledger_as_a_line_of_their_own_once(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "usd": 0.0} for i in range(10)))
        first = await asyncio.to_thread(learn_round, settings)
        again = await asyncio.to_thread(learn_round, settings)
    lines = [one for one in read_ledger(settings.ledger, last=None) if one.role == "learning"]
    assert [one.usd for one in lines] == [pytest.approx(first.usd_today)]
    assert again.usd_today == pytest.approx(first.usd_today)
    assert sum(one.usd for one in bills(settings.ledger, by="day", since=0.0)) == pytest.approx(first.usd_today)


async def test_the_learning_folder_is_its_owners_alone(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", served(0))
        await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
    assert (tmp_path / "learn").stat().st_mode & 0o777 == 0o700


# -- erasing -----------------------------------------------------------------------------------------------------------


def texts_in(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in folder.rglob("*") if one.is_file() and not one.is_symlink())


async def learned(tmp_path: Path, weak: FakeEndpoint, strong: FakeEndpoint) -> GatewaySettings:
    settings = settings_of(tmp_path, weak, strong)
    records = ({**served(i, "right"), "key": "anna" if i < 10 else "ben"} for i in range(80))
    write_records(tmp_path / "ledger.sqlite", *records)
    for _ in range(2):
        await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
    return settings


async def test_what_a_key_asked_is_erased_from_samples_labels_and_the_router_that_serves(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = await learned(tmp_path, weak, strong)
        assert serving_version(tmp_path / "learn") is not None
        before = PromptRouter.load(tmp_path / "learn" / "serving", allow_endpoints=settings.endpoints)
        taken = taken_prompts(tmp_path / "learn")
        gone = [one.prompt for one in taken if one.key == "anna"]
        assert gone
        assert any(text.encode() in texts_in(tmp_path) for text in gone)
        assert forget(str(tmp_path / "learn"), settings.ledger, key="anna") == 10
        assert not any(text.encode() in texts_in(tmp_path) for text in gone)
        after = PromptRouter.load(tmp_path / "learn" / "serving", allow_endpoints=settings.endpoints)
        assert [one.prompt for one in after.training].count(ERASED) == len(gone)
        assert after.threshold == before.threshold
        kept = planted_prompt(30)
        both = [await asyncio.to_thread(one.score, [kept]) for one in (before, after)]
        assert float(both[0][0]) == pytest.approx(float(both[1][0]))
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 200)
    assert status.sampled == len(taken) - len(gone)
    assert serving_version(tmp_path / "learn") is not None


async def test_prompts_are_erased_everywhere_after_retain_days_and_what_they_cost_stays(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = await learned(tmp_path, weak, strong)
        spent = (await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 150)).usd_today
        forget(str(tmp_path / "learn"), settings.ledger, before=NOW + 1000)
        assert taken_prompts(tmp_path / "learn") == []
        assert seen_prompts(settings.ledger, LearnSettings(), 0) == []
        assert planted_prompt(30).encode() not in texts_in(tmp_path)
        write_records(tmp_path / "later.sqlite", served(1000))
        settings = replace(settings, ledger=str(tmp_path / "later.sqlite"))
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 300)
    assert status.usd_today >= spent > 0


def test_nothing_is_erased_while_a_round_is_at_work_and_the_next_step_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "learn"
    folder.mkdir()
    (folder / "prompts.jsonl").write_text("")
    with lock_run(folder, "learn"), pytest.raises(InputError, match="at work"):
        forget(str(folder), "", key="anna")


async def test_an_erasure_that_was_killed_half_way_is_finished_by_the_next(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = await learned(tmp_path, weak, strong)
        folder = tmp_path / "learn"
        number = serving_version(folder)
        assert number is not None
        old = router_folder(folder, number)
        forget(str(folder), settings.ledger, key="anna")
        assert not old.exists()
        assert serving_version(folder) == number
        (router_folder(folder, number).with_name("router.part")).mkdir()  # that a kill has left
        forget(str(folder), settings.ledger, key="ben")
    assert serving_version(folder) == number
    assert (folder / "serving" / "router.json").is_file()
