"""The operator's routes: who is let in, what a reload takes over and what it refuses."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.errors import ArtifactError, EndpointError, InputError
from demur.gate.router import Router
from demur.gateway import reload as reloading
from demur.gateway.clients.keys import ClientKey
from demur.gateway.decision.router_identity import trained_identity
from demur.gateway.learning.cold_start import cold_router
from demur.gateway.operator.dashboard import health, in_common, own_reason
from demur.gateway.operator.decision_page import gate_sentence
from demur.gateway.operator.in_force import InForce, changes_between
from demur.gateway.reload import usable_router
from demur.gateway.settings import GatewaySettings, needs_restart
from demur.measure.threshold import Calibration
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.artifact import save_calibration
from demur.routing.prompt_router import PromptRouter
from demur.serving_file import serving_gateways
from gateways import EASY, HARD, RECORD, Running, gateway, save_router


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8111"}, 200),
        ({"Host": "evil.example"}, 403),  # a name of another's that leads here
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"X-Forwarded-For": "203.0.113.9"}, 403),
        ({"Forwarded": "for=203.0.113.9"}, 403),
        ({"Via": "1.1 proxy"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_without_a_key_only_this_machine_itself_is_the_operator(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with gateway(tmp_path) as found:
        for method, path in (
            *(("GET", path) for path in ("/", "/metrics", "/admin/stats", "/admin/series", "/dashboard/dashboard.js")),
            ("POST", "/admin/reload"),
        ):
            async with found.session.request(method, f"{found.operator}{path}", headers=headers) as answer:
                assert answer.status == status, path


@pytest.mark.parametrize("path", ["/", "/dashboard/dashboard.js", "/dashboard/uPlot.min.css"])
async def test_the_pages_run_no_script_but_their_own_files(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path) as found:
        answer = await found.session.get(f"{found.operator}{path}")
        policy, text = answer.headers["Content-Security-Policy"], await answer.text()
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if path == "/":
        assert answer.content_type == "text/html"
        assert re.findall(r"<script[^>]*>(?!</script>)|<style| style=| on[a-z]+=", text) == []


async def test_only_files_of_the_page_are_served(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        for name in ("dashboard.html", "..%2f..%2fadmin.py", "nothing.js"):
            answer = await found.session.get(f"{found.operator}/dashboard/{name}")
            assert answer.status == 404, name


async def test_the_period_and_the_bills_are_of_the_requests_that_were_asked(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        for text in (EASY, HARD, HARD):
            await found.ask(text)
        got: dict[str, Any] = {}
        while got.get("whole", {}).get("requests") != 3:  # the ledger is half a second behind
            await asyncio.sleep(0.05)
            got = await (await found.session.get(f"{found.operator}/admin/series?period=day")).json()
        bill = (await (await found.session.get(f"{found.operator}/admin/bills")).json())["whole"]
        stats = await (await found.session.get(f"{found.operator}/admin/stats")).json()
        large = await (await found.session.get(f"{found.operator}/admin/series?period=day&model=large")).json()
        wrong = await found.session.get(f"{found.operator}/admin/series?period=year")
    assert {name: got["whole"][name] for name in bill} == bill
    for name in ("requests", "usd", "saved", "margin", "strong_share", "errors", "fallbacks", "routed"):
        assert got["whole"][name] == pytest.approx(stats[name]), name
    assert got["whole"]["strong_share"] == pytest.approx(2 / 3)
    assert (large["whole"]["requests"], len(large["recent"])) == (2, 2)
    assert got["points"][-1]["answered"] == {"small": 1, "large": 2}
    assert wrong.status == 400
    shared = "asked for: strong share 50%; 50% of your prompts (18) go to the strong model"
    assert stats["in_common"] == f"Each score is compared with the threshold of 0.5000 ({shared})."
    for recent in (stats["recent"], got["recent"]):  # a row says what is its own: score, sign, threshold
        signs = [re.match(r"score 0\.\d+ (<|>=) threshold 0\.500; unlike", row["reason"]) for row in recent]
        assert [sign and sign[1] for sign in signs] == [">=", ">=", "<"]


def test_a_rows_reason_is_without_what_all_have_in_common(tmp_path: Path) -> None:
    save_router(tmp_path)
    router = PromptRouter.load(tmp_path, encoder=LetterEncoder())
    router = replace(router, other_pair="another pair than it was trained for")
    shared = " (asked for: strong share 50%; 50% of your prompts (18) go to the strong model)"
    noted = "; another pair than it was trained for"
    rows = {
        f"score 0.3 < threshold 0.5{noted}": "score 0.3 < threshold 0.5",
        f"score 0.6 >= threshold 0.5 (weak answer checked){noted}": "score 0.6 >= threshold 0.5 (weak answer checked)",
        f"score 0.3 < threshold 0.5{noted}; small is down": "score 0.3 < threshold 0.5; small is down",
        "the request names this model": "the request names this model",
    }
    assert {reason: own_reason(reason, router) for reason in rows} == rows
    assert in_common(router) == f"Each score is compared with the threshold of 0.5000{shared}{noted}."


async def decision(found: Running, name: str) -> str:
    """The page of a decision, once the ledger has it."""
    while True:
        answer = await found.session.get(f"{found.operator}/decisions/{name}")
        if answer.status == 200:
            return await answer.text()
        assert answer.status == 404
        await asyncio.sleep(0.05)


async def test_a_decision_is_explained_with_prompts_like_it_where_the_ledger_has_the_prompt(tmp_path: Path) -> None:
    nasty = HARD + "<script>alert(1)</script>"
    async with gateway(tmp_path, record_prompts=True) as found:
        _, headers, _ = await found.ask(nasty)
        shown = await decision(found, headers["x-demur-decision-id"])
        score = headers["x-demur-score"]
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert f"In full, the score is {float(score):.6f}, at or above the threshold of 0.500000." in shown
    assert shown.count("cosine") == shown.count("showed: ") == 3
    assert "zzz zzz?" in shown  # the training prompt nearest to it
    assert "There is none: " in shown
    assert "always strong" in shown


async def test_a_decision_without_its_prompt_says_what_is_missing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        _, headers, _ = await found.ask(EASY)
        shown = await decision(found, headers["x-demur-decision-id"])
        answer = await found.session.get(f"{found.operator}/decisions/nothing")
    assert "record_prompts = false" in shown
    assert "small answered" in shown
    assert answer.status == 404


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"stage": "prompt"}, "It was not asked."),
        ({"extra_samples": 0}, "the weak model's answer for 50 ms, and kept it."),
        ({"usd_checks": 0.25}, "answer and 2 extra samples for 50 ms, which cost $0.25, and kept it."),
        (
            {"role": "strong", "calibration_void": True},
            "dropped it: the strong model answered. Its signals were missing",
        ),
    ],
)
def test_what_the_gate_did_in_words(changed: dict[str, Any], says: str) -> None:
    record = replace(RECORD, stage="gate", extra_samples=2, gate_seconds=0.05, usd_checks=0.0)
    assert says in gate_sentence(replace(record, **changed), None)


async def test_the_dashboards_own_page_may_ask(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        own = {"Origin": found.operator}
        async with found.session.post(f"{found.operator}/admin/reload", headers=own) as answer:
            assert answer.status == 200


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"operator:{key}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer admin-word"}, 200),
        ({"Authorization": "bearer admin-word"}, 200),
        (basic("admin-word"), 200),
        (basic("admin-word") | {"X-Forwarded-For": "203.0.113.9", "Host": "gateway.example"}, 200),
        (basic("wrong"), 401),
        ({"Authorization": "Basic %%%"}, 401),
        ({}, 401),
        (basic("admin-word") | {"Origin": "http://evil.example"}, 403),
    ],
)
async def test_with_a_key_its_holder_is_the_operator_in_a_browser_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], status: int
) -> None:
    monkeypatch.setenv("DEMUR_TEST_ADMIN", "admin-word")
    async with gateway(tmp_path, admin_key_env="DEMUR_TEST_ADMIN") as found:
        answer = await found.session.get(f"{found.operator}/admin/stats", headers=headers)
        assert answer.status == status
        assert ("WWW-Authenticate" in answer.headers) is (status == 401)


async def test_secrets_may_stand_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "word").write_text("admin-word\n")
    monkeypatch.setenv("DEMUR_TEST_ADMIN_FILE", str(tmp_path / "word"))
    async with gateway(tmp_path, admin_key_env="DEMUR_TEST_ADMIN") as found:
        answer = await found.session.get(f"{found.operator}/metrics", headers=basic("admin-word"))
        assert answer.status == 200


async def test_an_upstream_key_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    from demur.gateway.settings import ServedModel

    with pytest.raises(
        EndpointError, match="DEMUR_TEST_NOWHERE is not set or empty; export it, or DEMUR_TEST_NOWHERE_FILE"
    ):
        async with gateway(tmp_path, weak=ServedModel("small", "http://127.0.0.1:9/v1", "DEMUR_TEST_NOWHERE")):
            pass


class Wrong:
    """An encoder that gives what no router expects."""

    identity = LetterEncoder.identity

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def encode(self, texts: Any, /) -> Any:
        if isinstance(self.rows, Exception):
            raise self.rows
        return self.rows


@pytest.mark.parametrize(
    "rows", [[[1.0, 2.0]], [[float("nan")] * 26], ZeroDivisionError("no"), EndpointError("away"), None]
)
async def test_a_router_that_cannot_score_is_refused_and_the_old_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Any
) -> None:
    async with gateway(tmp_path) as found:
        monkeypatch.setattr("demur.routing.restoring.load_encoder", lambda spec: Wrong(rows))
        async with found.session.post(f"{found.operator}/admin/reload") as answer:
            assert answer.status == 409
            assert "the old stays" in (await answer.json())["error"]["message"]
        assert (await found.ask(EASY))[2]["model"] == "small"


async def test_each_reload_over_http_is_one_line_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by = "POST /admin/reload from 127.0.0.1"
    async with gateway(tmp_path) as found:
        capsys.readouterr()
        save_calibration(tmp_path / "router", Calibration(0.25, 0.5, 18, "strong share 50%"))
        for _ in range(2):
            async with found.session.post(f"{found.operator}/admin/reload") as answer:
                assert answer.status == 200
        given = found.gateway.settings
        found.gateway.read_again = lambda: replace(given, sticky=False)
        await found.session.post(f"{found.operator}/admin/reload")
        found.gateway.read_again = lambda: replace(given, port=9)
        await found.session.post(f"{found.operator}/admin/reload")
    refused = "what is new is refused, the old stays: port has changed, and only a restart can change it"
    assert capsys.readouterr().err.splitlines() == [
        f"demur: reloaded by {by}: threshold 0.5000 -> 0.2500",
        f"demur: reloaded by {by}: threshold 0.2500",
        f"demur: reloaded by {by}: settings: sticky; threshold 0.2500",
        f"demur: reload by {by}: {refused}",
    ]


async def test_a_reload_that_was_not_told_is_told_with_the_next_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of several workers one takes the request, and each reloads when their parent tells it to."""
    async with gateway(tmp_path) as found:
        capsys.readouterr()
        save_calibration(tmp_path / "router", Calibration(0.25, 0.5, 18, "strong share 50%"))
        await reloading.reload_all(found.gateway, "POST", say=False)
        assert not capsys.readouterr().err
        for told in ("threshold 0.5000 -> 0.2500", "threshold 0.2500"):
            await reloading.reload_all(found.gateway, "SIGHUP")
            assert capsys.readouterr().err == f"demur: reloaded by SIGHUP: {told}\n"


def test_a_router_that_has_learned_nothing_is_told_from_others_without_its_threshold() -> None:
    """A gateway that learns begins with it: its scores have no middle."""
    assert trained_identity(cold_router("small", "large")) != trained_identity(cold_router("small", "larger"))


def test_what_a_reload_has_changed_is_named() -> None:
    before = InForce(GatewaySettings(), None, "a", 0.5, 0, 0)
    key = ClientKey("x", "0" * 64)
    after = InForce(replace(GatewaySettings(), default="weak", sticky=False), [key], "b", 0.5, 0, 2)
    assert changes_between(before, after) == [
        "another router (run/router)",
        "canary version none -> 2",
        "settings: default, sticky",
        "keys: none -> 1",
        "threshold 0.5000",
    ]
    learned = replace(before, router="b", threshold=0.25, version=1)
    assert changes_between(before, learned) == ["learned version none -> 1", "threshold 0.5000 -> 0.2500"]


def test_at_the_start_too_a_router_must_score_but_its_encoder_may_be_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_router(tmp_path / "router")
    monkeypatch.setattr("demur.routing.restoring.load_encoder", lambda spec: Wrong(ZeroDivisionError("no")))
    with pytest.raises(ArtifactError, match="cannot score a prompt"):
        usable_router(GatewaySettings(router=str(tmp_path / "router")), starting=True)
    monkeypatch.setattr("demur.routing.restoring.load_encoder", lambda spec: Wrong(EndpointError("embedder: away")))
    assert usable_router(GatewaySettings(router=str(tmp_path / "router")), starting=True).prompt_router.weak == "small"
    assert "embedder: away; the strong model answers until it does" in capsys.readouterr().err


async def test_a_slow_reload_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(settings: GatewaySettings, *, starting: bool = False) -> Any:
        time.sleep(0.5)
        return usable_router(settings)

    async with gateway(tmp_path) as found:
        monkeypatch.setattr(reloading, "usable_router", slow)
        save_calibration(tmp_path / "router", Calibration(-1.0, 1.0, 5, "strong share 100%"))
        reload = asyncio.ensure_future(found.session.post(f"{found.operator}/admin/reload"))
        await asyncio.sleep(0.1)
        start = time.perf_counter()
        assert (await found.ask(EASY))[2]["model"] == "small"  # the old one
        assert time.perf_counter() - start < 0.3
        assert (await reload).status == 200
        assert (await found.ask(EASY))[2]["model"] == "large"


async def test_revoking_the_last_key_closes_the_door(tmp_path: Path) -> None:
    from demur.gateway.clients.keys import new_key

    keys = tmp_path / "keys.json"
    key = new_key(keys, "ann")
    async with gateway(tmp_path, keys=str(keys)) as found:
        held = {"Authorization": f"Bearer {key}"}
        assert [one.keyed for one in serving_gateways(tmp_path)] == [True]
        assert (await found.ask(EASY, headers=held))[0] == 200
        keys.write_text(json.dumps([]))
        async with found.session.post(f"{found.operator}/admin/reload") as answer:
            assert answer.status == 200
        assert (await found.ask(EASY, headers=held))[0] == 401
        assert (await found.ask(EASY))[0] == 401


def test_what_a_reload_cannot_take_over_is_named() -> None:
    held = GatewaySettings()
    assert needs_restart(held, held) is None
    assert needs_restart(held, replace(held, max_in_flight=1, drain_seconds=1.0, keys="k.json")) is None
    for changed in ({"retries": 3}, {"breaker_failures": 1}, {"first_byte_seconds": 1.0}, {"ledger": ""}):
        assert needs_restart(held, replace(held, **changed)) == next(iter(changed))


async def test_a_decision_that_takes_too_long_goes_to_the_strong_model(tmp_path: Path) -> None:
    async with gateway(tmp_path, decide_seconds=0.1) as found:
        router = found.gateway.decider.router.prompt_router

        class Slow(LetterEncoder):
            def encode(self, texts: Any, /) -> Any:
                time.sleep(0.4)
                return super().encode(texts)

        found.gateway.decider.router = replace(
            found.gateway.decider.router, prompt_router=replace(router, encoder=Slow())
        )
        start = time.perf_counter()
        answers = await asyncio.gather(*(found.ask(EASY) for _ in range(5)))
        assert time.perf_counter() - start < 0.4
        assert {body["model"] for _, _, body in answers} == {"large"}
        assert all("the router failed" in headers["x-demur-reason"] for _, headers, _ in answers)
        found.gateway.decider.router = replace(found.gateway.decider.router, prompt_router=router)
        await asyncio.sleep(0.5)
        assert (await found.ask(EASY))[2]["model"] == "small"  # and it is back


async def test_an_error_after_scoring_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        router = found.gateway.decider.router
        calibration = Calibration("high", 0.5, 5, "a")  # type: ignore[arg-type]  # no number
        found.gateway.decider.router = replace(
            router, prompt_router=replace(router.prompt_router, calibration=calibration)
        )
        for _ in range(2):
            assert (await asyncio.wait_for(found.ask(EASY), 2))[2]["model"] == "large"
        found.gateway.decider.router = router
        assert (await asyncio.wait_for(found.ask(EASY), 2))[2]["model"] == "small"


def test_workers_share_the_limits_of_so_many_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from demur.gateway.clients.keys import new_key
    from demur.gateway.server import serve

    monkeypatch.setattr("demur.gateway.server.SLOTS", 1)
    for name in ("ann", "bob"):
        new_key(tmp_path / "keys.json", name, usd=1.0)
    (tmp_path / "g.toml").write_text(f'keys = "{tmp_path / "keys.json"}"\n')
    with pytest.raises(InputError, match=r"keys\.json: 2 keys, and several workers share 1 at most"):
        serve(config=str(tmp_path / "g.toml"), workers=2)
    with pytest.raises(InputError, match="workers is 0"):
        serve(workers=0)


@pytest.mark.parametrize(("words", "kept"), [([], None), (["--record", "prompts"], True)])
def test_prompts_are_kept_when_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, words: list[str], kept: bool | None
) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("demur.gateway.server.serve", lambda *given, **named: seen.append(named))
    assert CliRunner().invoke(app, ["serve", *words]).exit_code == 0
    assert seen[0]["record_prompts"] is kept
    assert CliRunner().invoke(app, ["serve", "--record", "keys"]).exit_code == 2


@pytest.mark.parametrize(
    ("up", "said"),
    [
        ({"small": True, "large": True}, "All models answer."),
        (
            {"small": False, "middle": True, "large": True},
            "Failing, and not asked for a while: small. Still answering: middle, large.",
        ),
        ({"small": False, "large": False}, "No model answers. Failing, and asked again after a while: small, large."),
    ],
)
def test_the_dashboard_never_says_that_a_failing_model_answers(up: dict[str, bool], said: str) -> None:
    assert health(up) == said


async def test_a_path_that_a_port_lacks_is_answered_with_the_paths_of_that_port(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:

        async def said(method: str, url: str, **headers: str) -> str:
            async with found.session.request(method, url, headers=headers) as answer:
                assert answer.status == 404
                return str((await answer.json())["error"]["message"])

        chat = "/v1/chat/completions"
        assert f"POST {chat} is not served here, but on {found.address}; what is here: GET / (the dashboard), " in (
            await said("POST", f"{found.operator}{chat}")
        )
        assert "what is: GET / (the dashboard), /metrics, " in await said("GET", f"{found.operator}/nothing")
        assert f"GET /metrics is not served here, but on {found.operator}; what is here: POST {chat}, " in (
            await said("GET", f"{found.address}/metrics")
        )
        stranger = await said("GET", f"{found.address}/metrics", Via="1.1 proxy")
        assert found.operator not in stranger
        assert f"what is: POST {chat}, " in stranger


@pytest.mark.parametrize("recorded", [False, True])
async def test_explain_takes_the_id_of_an_answer_for_the_decision_that_the_ledger_has(
    tmp_path: Path, recorded: bool
) -> None:
    """It explained the id as though it were a prompt, without a word."""
    router = str(tmp_path / "router")
    async with gateway(tmp_path, record_prompts=recorded) as found:
        _, headers, _ = await found.ask(HARD)
    name = headers["x-demur-decision-id"]
    said = CliRunner().invoke(app, ["explain", name, "--router", router])
    assert said.exit_code == 0, said.output
    assert said.output.startswith("strong: large\n")
    gate = "There is none: " if recorded else "It was not asked."  # the record alone does not know why
    for words in (headers["x-demur-reason"], gate, str(tmp_path / "ledger.sqlite")):
        assert words in said.output
    assert ("strong share" in said.output) is recorded  # at which another model would answer, by the prompt
    shown = json.loads(CliRunner().invoke(app, ["explain", name, "--router", router, "--json"]).stdout)
    assert shown["id"] == name
    assert shown["total_seconds"] > shown["embed_seconds"] > 0
    # Where the time went, and the training prompts that are most like it, as its page says.
    assert re.search(r"^  time spent +[\d.]+ ms \w+$", said.output, re.M), said.output
    assert re.search(r"^ +[\d.]+ ms in all$", said.output, re.M), said.output
    nearest = Router.load(router).explain(HARD).decision.neighbours
    assert nearest
    for one in nearest:
        assert (f"{one.similarity:.2f}" in said.output and one.prompt[:40] in said.output) is recorded
    named = [one.prompt for one in nearest]
    assert (shown["neighbours"] and [one["training"]["prompt"] for one in shown["neighbours"]]) == (
        named if recorded else None
    )
    assert ("record_prompts = false" in said.output) is not recorded
    other = name[:-1] + "f"  # that no request has
    ledger = str(tmp_path / "ledger.sqlite")
    listed = f"{ledger}: `demur ledger {ledger} --json` lists the ids"
    hashed = (
        "d41d8cd98f00b204e9800998ecf8427e"  # of nothing: no gateway gives such an id, and somebody may ask about it
    )
    for command, asked, words in (
        (
            "explain",
            other,
            f"no decision with the id {other} is in {listed}",
        ),
        ("explain", hashed, f"no decision with the id {hashed} is in {listed}"),
        ("explain", hashed, f"to explain it as a prompt: `demur explain --prompt {hashed} --run {tmp_path}`"),
        ("route", name, f"`demur explain {name}"),
    ):
        missed = CliRunner().invoke(app, [command, asked, "--router", router])
        assert isinstance(missed.exception, InputError), missed.output
        assert words in str(missed.exception)
    routed = CliRunner().invoke(app, ["route", hashed, "--router", router])
    assert routed.exit_code == 0
    explain = shlex.split(routed.stderr.rpartition("next: demur ")[2])
    explained = CliRunner().invoke(app, explain)  # the next step that is proposed
    assert explained.exit_code == 0, explained.output
    assert "strong share" in explained.output
    page = CliRunner().invoke(app, ["ledger", ledger, "--json"])
    assert [one["id"] for one in json.loads(page.stdout)["records"]] == [name]
    (tmp_path / "ledger.sqlite").unlink()
    lost = str(CliRunner().invoke(app, ["explain", name, "--router", router]).exception)
    assert f"is in {ledger} (which is not there): " in lost
    assert "lists the ids" not in lost
    (tmp_path / "ledger.sqlite").write_text("no database")
    lost = str(CliRunner().invoke(app, ["explain", name, "--router", router]).exception)
    assert f"is in {ledger} (which cannot be read): " in lost
