"""A saved router names hosts and no key: what it may talk to, and with which key, its user says."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import demur
from demur.config import ModelConfig
from demur.errors import ArtifactError, DemurError, EndpointError, InputError
from demur.evaluation.signals import signals
from demur.gate.answer import asking_the_pair
from demur.gateway.reload import usable_router
from demur.gateway.settings import GatewaySettings, read_settings
from demur.methods import LogisticRegression
from demur.models import allowed_endpoints as allowed
from demur.models.allowed_endpoints import AllowedEndpoints, endpoint_names, without_keys
from demur.models.encoders.encoder import load_encoder
from demur.paper.overhead.quality import run_quality
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router
from pairs import Pair, running_pair, write_questions

SECRET = "MY_CLOUD_SECRET"


@dataclass
class Embedder:
    """An embeddings endpoint that keeps the keys and the prompts that it is sent."""

    host: str = ""
    keys: list[str | None] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)


@pytest.fixture
def embedder() -> Iterator[Embedder]:
    kept = Embedder()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            kept.keys.append(self.headers.get("Authorization"))
            kept.prompts.extend(texts)
            rows = [{"index": i, "embedding": [1.0, float(len(text))]} for i, text in enumerate(texts)]
            body = json.dumps({"data": rows}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "swordfish")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-mine")
    allowed._tell.cache_clear()  # each test hears what is said once a process


@pytest.fixture
def folder(tmp_path: Path, embedder: Embedder) -> Path:
    """A router whose encoder is the embedder, with its user's key."""
    rows = [TrainingPrompt("z" * i, float(i % 2), 1.0, 0.0) for i in range(1, 20)]
    record = {
        "models": {
            "weak": {"model": "small", "base_url": f"http://{embedder.host}/v1", "api_key_env": SECRET},
            "strong": {"model": "large", "base_url": "https://evil.example/v1", "api_key_env": SECRET},
        },
        "labels": {"entailment": f"llm:judge@https://evil.example/v1#{SECRET}"},
        "encoder": f"m@http://{embedder.host}/v1#{SECRET}",
        "sampling": {"stop": []},
    }
    encoder = load_encoder(f"m@http://{embedder.host}/v1#{SECRET}")
    router = train_router(encoder, LogisticRegression(), rows, weak="small", strong="large", record=record)
    router.save(tmp_path / "router")
    embedder.keys.clear()
    embedder.prompts.clear()
    return tmp_path / "router"


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    description = json.loads((folder / "router.json").read_text())
    change(description)
    (folder / "router.json").write_text(json.dumps(description))
    return folder


def test_what_is_saved_names_no_key(folder: Path) -> None:
    assert SECRET not in (folder / "router.json").read_text()
    assert "evil.example" in (folder / "router.json").read_text()


def test_a_key_that_a_folder_names_is_not_sent(
    folder: Path, embedder: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    spec = f"m@http://{embedder.host}/v1#{SECRET}"
    edited(folder, lambda found: found["encoder"].update(spec=spec))  # as every router was saved once
    with caplog.at_level(logging.WARNING, "demur.router"):
        demur.Router.load(folder).route("zzz")
    assert (embedder.keys, embedder.prompts) == ([None], ["zzz"])
    assert f"prompts go to {embedder.host} (m)" in caplog.text
    assert f"names the key {SECRET}, which is not read from a folder; --allow-endpoint {embedder.host}#" in caplog.text


def test_a_key_that_the_user_names_goes_to_its_host_alone(folder: Path, embedder: Embedder) -> None:
    demur.Router.load(folder, allow_endpoints=[f"{embedder.host}#{SECRET}"]).route("zzz")
    assert embedder.keys == ["Bearer swordfish"]
    demur.Router.load(folder, allow_endpoints=[f"127.0.0.1#{SECRET}"]).route("zzz")  # whatever the port
    assert embedder.keys[1:] == ["Bearer swordfish"]
    demur.Router.load(folder, allow_endpoints=[f"api.example#{SECRET}", f"127.0.0.1:1#{SECRET}"]).route("zzz")
    assert embedder.keys[2:] == [None]


@pytest.mark.parametrize(
    "url", ["http://evil.example/v1", "https://api.openai.com/v1", "http://127.0.0.1.evil.example"]
)
def test_prompts_go_to_no_host_that_a_folder_alone_names(folder: Path, url: str) -> None:
    edited(folder, lambda found: found["encoder"].update(spec=f"m@{url}#{SECRET}"))
    prompts = folder.parent / "p.jsonl"
    prompts.write_text('{"prompt": "zzz"}\n')
    for load in (
        lambda: demur.Router.load(folder),
        lambda: demur.replay(prompts, router=str(folder)),
        lambda: demur.calibrate(prompts, router=str(folder), anyway=True),
        lambda: usable_router(GatewaySettings(router=str(folder))),
    ):
        with pytest.raises(ArtifactError, match=r"would send prompts to .* not allowed; .*--allow-endpoint"):
            load()


async def test_the_pair_of_a_loaded_router_is_asked_only_where_it_is_allowed(folder: Path, embedder: Embedder) -> None:
    async with asking_the_pair(PromptRouter.load(folder)) as asks:
        with pytest.raises(ArtifactError, match=r"would send prompts to evil\.example"):
            await asks("strong")("zzz", 0)


def test_the_judge_of_a_loaded_router_is_asked_only_where_it_is_allowed(folder: Path) -> None:
    spec = AllowedEndpoints().spec
    with pytest.raises(ArtifactError, match=r"would send prompts to evil\.example"):
        spec("llm:judge@https://evil.example/v1", folder)
    named = AllowedEndpoints.parse(["evil.example"]).spec
    assert named(f"llm:judge@https://evil.example/v1#{SECRET}", folder) == "llm:judge@https://evil.example/v1"


def test_openais_key_goes_to_openai_where_that_is_allowed(folder: Path) -> None:
    wanted = ModelConfig("gpt", base_url="https://api.openai.com/v1", api_key_env=SECRET)
    assert AllowedEndpoints.parse(["api.openai.com"]).model(wanted, "r").api_key_env == "OPENAI_API_KEY"
    assert AllowedEndpoints.parse(["api.openai.com#MINE"]).model(wanted, "r").api_key_env == "MINE"
    local = AllowedEndpoints().model(ModelConfig("smollm2-135m", api_key_env=SECRET), "r")
    assert local.api_key_env is None


def test_the_settings_of_a_gateway_name_its_endpoints(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text(
        'allow_endpoints = ["judge.example#J"]\n'
        '[weak]\nmodel = "s"\nbase_url = "http://a.example:9/v1"\napi_key_env = "A"'
    )
    found = AllowedEndpoints.parse(read_settings(file).endpoints)
    assert found.keys == {"a.example:9": "A", "judge.example": "J"}
    assert endpoint_names(["bge-small", "llm:j@http://c/v1#K", None]) == ("http://c/v1#K",)


@pytest.mark.parametrize(
    "name",
    ["", "#K", "http://", "a@b", "http://a@b/v1", f"http://me:{30 * 'key'}@h", "a b", "a\\b", "host:99999", "[::1"],
)
def test_what_is_no_address_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not the address of an endpoint") as raised:
        AllowedEndpoints.parse([name])
    assert "key" not in str(raised.value)  # of a URL that has one


@given(
    st.text(max_size=40) | st.text("0127.evl@#/\\:[]?%", max_size=12),
    st.sampled_from(["http://{}", "https://{}/v1", "m@http://{}/v1", "http://127.0.0.1{}"]),
)
def test_no_url_of_a_folder_passes_for_loopback_that_is_none(text: str, form: str) -> None:
    url = form.format(text)
    try:
        allowed_model = AllowedEndpoints().model(ModelConfig("m", base_url=url), "r")
    except DemurError:
        return
    from yarl import URL  # what the client will connect by

    host = URL(allowed_model.base_url or "").host
    assert host == "localhost" or ip_address(host or "").is_loopback


def test_keys_are_cut_from_whatever_a_record_holds() -> None:
    record = {"a": [{"api_key_env": "K", "x": "llm:m@http://h/v1#K"}], "b": "no # key", "c": ("m@https://h#K",)}
    assert without_keys(record) == {"a": [{"x": "llm:m@http://h/v1"}], "b": "no # key", "c": ["m@https://h"]}


# -- a run's folder ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    """A run as its owner left it: sampled, labelled and trained without any endpoint but the pair's."""
    made = tmp_path_factory.mktemp("run")
    prompts = write_questions(made / "q.jsonl", 24)
    demur.sample(prompts, **pair.names, run=str(made / "run"), n=4)
    demur.label(run=str(made / "run"), entailment="exact")
    demur.train(run=str(made / "run"), encoder="letters", methods="logistic", gate="off")
    return made / "run"


@pytest.fixture
def foreign(sampled: Path, tmp_path: Path) -> Path:
    shutil.copytree(sampled, tmp_path / "foreign")
    return tmp_path / "foreign"


def recorded(run: Path, change: Callable[[dict[str, Any]], object]) -> str:
    record = json.loads((run / "run.json").read_text())
    change(record)
    (run / "run.json").write_text(json.dumps(record))
    return str(run)


def names_an_encoder(url: str) -> Callable[[dict[str, Any]], object]:
    return lambda record: record["router"].update(encoder=f"m@{url}#{SECRET}")


def names_a_judge(url: str) -> Callable[[dict[str, Any]], object]:
    return lambda record: record["label"].update(entailment=f"llm:j@{url}#{SECRET}", rules=False)


READERS: dict[str, tuple[Callable[[str], Callable[[dict[str, Any]], object]], Callable[..., object]]] = {
    "label": (names_an_encoder, lambda run: demur.label(run=run, kind="auto", entailment="exact")),
    "train": (names_a_judge, lambda run: demur.train(run=run, encoder="letters", methods="logistic", gate="on")),
    "signals": (names_a_judge, lambda run: signals(run=run)),
    "overhead": (names_an_encoder, run_quality),
}


@pytest.mark.parametrize("command", READERS)
def test_a_host_that_only_a_runs_record_names_gets_no_prompts(foreign: Path, command: str) -> None:
    names, read = READERS[command]
    run = recorded(foreign, names("https://evil.example/v1"))
    with pytest.raises(ArtifactError, match=r"run\.json: it would send prompts to evil\.example .* not allowed"):
        read(run)


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_runs_router_is_no_more_trusted_than_another(
    foreign: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What run.json names does not speak for the routers beside it."""
    run = recorded(foreign, names_an_encoder("https://evil.example/v1"))
    edited(foreign / "router", lambda found: found["encoder"].update(spec=f"m@https://evil.example/v1#{SECRET}"))
    with pytest.raises(ArtifactError, match=r"it would send prompts to evil\.example"):
        getattr(demur, command)(run=run)


def test_a_key_that_only_a_runs_record_names_is_not_sent(foreign: Path, embedder: Embedder) -> None:
    run = recorded(foreign, names_an_encoder(f"http://{embedder.host}/v1"))
    demur.label(run=run, kind="auto", entailment="exact")
    assert set(embedder.keys) == {None}
    assert embedder.prompts


def test_a_key_that_the_user_names_for_a_run_is_sent(foreign: Path, embedder: Embedder) -> None:
    run = recorded(foreign, names_an_encoder(f"http://{embedder.host}/v1"))
    demur.label(run=run, kind="auto", entailment="exact", allow_endpoints=[f"{embedder.host}#{SECRET}"])
    assert set(embedder.keys) == {"Bearer swordfish"}


def test_what_the_command_names_needs_no_second_permission(foreign: Path, embedder: Embedder) -> None:
    spec = f"m@http://{embedder.host}/v1#{SECRET}"
    demur.train(run=str(foreign), encoder=spec, methods="logistic", gate="off")
    assert set(embedder.keys) == {"Bearer swordfish"}


def test_the_pair_of_a_runs_record_is_not_asked_with_a_key_that_it_names(foreign: Path, pair: Pair) -> None:
    run = recorded(foreign, lambda record: [record[side].update(api_key_env=SECRET) for side in ("weak", "strong")])
    pair.weak.key = pair.strong.key = "swordfish"
    try:
        with pytest.raises(EndpointError, match="401"):
            signals(run=run, ask=True)
        hosts = [one.base_url.removeprefix("http://").partition("/")[0] for one in (pair.weak, pair.strong)]
        signals(run=run, ask=True, allow_endpoints=[f"{host}#{SECRET}" for host in hosts])
    finally:
        pair.weak.key = pair.strong.key = None
