"""Published gateways, each as it passes requests through fastest: no log, no history, no retries, on one process.

RouteLLM's server routes (MF router with random weights of its own shape, embeddings from the upstream's stub); the
others pass on. LiteLLM is written in Python, Portkey runs on Node, TensorZero, SMG and vllm-router are compiled from
Rust. TensorZero's wheel holds the gateway as a library that chooses a port itself, so a line of Python starts it.

Bifrost is not among them: its package on npm fetches the program from a site of its publisher when it is first run.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from environment import peer_modules, peer_python
from gateway_load import PLACE, Target

ROUTELLM, LITELLM, PORTKEY, SMG, VLLM_ROUTER = 8303, 8304, 8308, 8309, 8310
SMG_METRICS, VLLM_ROUTER_METRICS = 8313, 8314
ROUTED, PASSED, STREAMED = "demur routed", "demur pass-through", "demur passed, streamed"
ROUTELLM_NEEDS = (
    *("torch==2.13.0", "routellm==0.2.0", "numpy==2.2.6", "pandas==2.3.3"),
    *("fastapi", "uvicorn", "shortuuid"),
)
MF_CODE = (
    "import sys; from routellm.routers.matrix_factorization.model import MFModel; "
    "MFModel(dim=128, num_models=64, text_dim=1536, num_classes=1, use_proj=True).save_pretrained(sys.argv[1], "
    "config=dict(dim=128, num_models=64, text_dim=1536, num_classes=1, use_proj=True))"
)
# The version of 2025 that Portkey's gateway was written against: with later ones its streams are answered with 500.
PORTKEY_HELD = {"hono": "4.9.7", "@hono/node-server": "1.13.8"}
# Node listens on every interface unless told otherwise, and Portkey's gateway has no option for it.
LOOPBACK_CODE = """
const { Server } = require("net"), listen = Server.prototype.listen;
Server.prototype.listen = function (port, host, ...rest) {
  return listen.call(this, port, "127.0.0.1", ...(typeof host === "function" ? [host] : rest));
};
"""
TENSORZERO_CODE = """
import pathlib, signal, sys, tensorzero, types
started = tensorzero.patch_openai_client(types.SimpleNamespace(), config_file=sys.argv[1], async_setup=False)
pathlib.Path(sys.argv[2]).write_text(started.base_url.partition("/openai")[0].rpartition(":")[2])
signal.pause()
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to start, and the rows to load it for."""

    command: list[str]
    rows: list[Target]
    environment: Mapping[str, str] = field(default_factory=dict)
    told: Path | None = None  # where it writes the port that it has chosen


def routellm(folder: Path, upstream: str) -> Peer:
    """The published server with an MF checkpoint of its own shape and random weights."""
    python = peer_python("routellm-server", ROUTELLM_NEEDS)
    checkpoint = folder / "mf"
    subprocess.run([str(python), "-c", MF_CODE, str(checkpoint)], check=True, env=os.environ | {"OPENAI_API_KEY": "x"})
    (folder / "routellm.yaml").write_text(f"mf:\n  checkpoint_path: {checkpoint}\n")
    command = [str(python), "-m", "routellm.openai_server", "--routers", "mf"]
    command += ["--config", str(folder / "routellm.yaml"), "--port", str(ROUTELLM)]
    command += ["--strong-model", "openai/large", "--weak-model", "openai/small"]
    command += ["--base-url", upstream, "--api-key", "sk-none"]
    rows = [Target("RouteLLM server, routed", ROUTELLM, "router-mf-0.5", share=0.1, beside=ROUTED)]
    return Peer(command, rows, {"OPENAI_BASE_URL": upstream})


def litellm(folder: Path, upstream: str) -> Peer:
    """The proxy with one OpenAI-compatible model; its prices come from the package, not from the network."""
    python = peer_python("litellm", ["litellm[proxy]==1.108.7"])
    given = {"model": "openai/large", "api_base": upstream, "api_key": "sk-none"}
    (folder / "litellm.yaml").write_text(json.dumps({"model_list": [{"model_name": "large", "litellm_params": given}]}))
    command = [str(python.with_name("litellm")), "--config", str(folder / "litellm.yaml")]
    alone = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}  # without keys, as demur is here
    alone |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    command += ["--port", str(LITELLM), "--host", "127.0.0.1"]
    return Peer(command, passing("LiteLLM proxy", LITELLM, share=0.2), alone)


def portkey(folder: Path, upstream: str) -> Peer:
    """The gateway for Node, without its page of logs; the upstream is named by each request, as its guide shows."""
    modules = peer_modules("portkey", {"@portkey-ai/gateway": "1.15.2"}, held=PORTKEY_HELD)
    (folder / "loopback.cjs").write_text(LOOPBACK_CODE)
    command = ["node", "--require", str(folder / "loopback.cjs")]
    command += [str(modules / "@portkey-ai" / "gateway" / "build" / "start-server.js"), "--headless"]
    command += [f"--port={PORTKEY}"]
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": upstream}
    rows = passing("Portkey", PORTKEY, share=0.5, headers=headers)
    return Peer(command, rows, {"NODE_ENV": "production"})


def tensorzero(folder: Path, upstream: str) -> Peer:
    """The gateway that the Python package holds, without a database."""
    python = peer_python("tensorzero", ["tensorzero==2026.6.0"])
    provider = f'type = "openai"\napi_base = "{upstream}/"\nmodel_name = "large"\napi_key_location = "none"\n'
    models = f'[models.large]\nrouting = ["only"]\n[models.large.providers.only]\n{provider}'
    (folder / "tensorzero.toml").write_text(f"[gateway]\nobservability.enabled = false\n{models}")
    told = folder / "tensorzero.port"
    command = [str(python), "-c", TENSORZERO_CODE, str(folder / "tensorzero.toml"), str(told)]
    rows = passing("TensorZero", 0, model="tensorzero::model_name::large", path="/openai/v1/chat/completions")
    return Peer(command, rows, {"RUST_LOG": "error"}, told)


def smg(folder: Path, upstream: str) -> Peer:
    """The SGLang project's gateway before an OpenAI-compatible server."""
    python = peer_python("smg", ["smg==1.13.0"])
    command = [
        str(python.with_name("smg")),
        "launch",
        "--backend",
        "openai",
        "--worker-urls",
        without_version(upstream),
    ]
    command += ["--host", "127.0.0.1", "--port", str(SMG), "--prometheus-host", "127.0.0.1"]
    command += ["--prometheus-port", str(SMG_METRICS), "--log-level", "error", "--policy", "passthrough"]
    command += ["--history-backend", "none", "--disable-health-check", "--disable-load-monitoring"]
    command += ["--disable-retries", "--disable-circuit-breaker", "--shutdown-grace-period-secs", "1"]
    return Peer(command, passing("SMG", SMG))


def vllm_router(folder: Path, upstream: str) -> Peer:
    """The vLLM project's router with one worker."""
    python = peer_python("vllm-router", ["vllm-router==0.1.17"])
    command = [str(python.with_name("vllm-router")), "--worker-urls", without_version(upstream)]
    command += ["--host", "127.0.0.1", "--port", str(VLLM_ROUTER), "--prometheus-host", "127.0.0.1"]
    command += ["--prometheus-port", str(VLLM_ROUTER_METRICS), "--log-level", "error", "--policy", "round_robin"]
    command += ["--disable-retries", "--disable-circuit-breaker"]
    return Peer(command, passing("vllm-router", VLLM_ROUTER))


def passing(
    name: str,
    port: int,
    *,
    share: float = 1.0,
    model: str = "large",
    path: str = PLACE,
    headers: Mapping[str, str] | None = None,
) -> list[Target]:
    """The rows of a peer that passes on: whole answers and streams."""
    return [
        Target(f"{name}, {said}", port, model, stream, share, beside, path, headers or {})
        for said, stream, beside in (("pass", False, PASSED), ("streamed", True, STREAMED))
    ]


def without_version(upstream: str) -> str:
    """The address to which a peer adds /v1 itself."""
    return upstream.removesuffix("/v1")


PEERS: dict[str, Callable[[Path, str], Peer]] = {
    "routellm": routellm,
    "litellm": litellm,
    "portkey": portkey,
    "tensorzero": tensorzero,
    "smg": smg,
    "vllm-router": vllm_router,
}
