"""A local GGUF file as one more OpenAI-compatible endpoint: llama.cpp's server, in a child process, on loopback.

The child prints its address and ends when its standard input closes, so it never outlives its parent. Model names of
the command line (``MODEL@BASE_URL``, a catalogue name, a .gguf file) are parsed here as well.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from demur.config import ModelConfig
from demur.errors import EndpointError, InputError, ModelError, require
from demur.limits import check_number
from demur.models.catalogue import fetch, is_known, model, sha256_of
from demur.models.endpoint import OPENAI_HOST, Endpoint
from demur.records import Progress, no_progress

PROMPT_TOKENS, CONTEXT_TOKENS = 2048, 4096  # the longest prompt; at least so many, shared by all slots (kv_unified)
START_SECONDS = 120
# The longest answer to a chat asked as a plain completion, where its request sets no limit: what a model writes on
# from a template need not end.
CONTINUED_TOKENS = 128
SLOWEST_TOKEN = 2.0  # seconds, on a machine that does much else
OPENAI_KEY = "OPENAI_API_KEY"


def parse_model(text: str) -> ModelConfig:
    """``NAME``, ``FILE.gguf`` or ``MODEL@BASE_URL[#KEY_VARIABLE][#usd=IN/OUT]`` as a record; raises InputError.

    USD are per million tokens; one number is both.
    """
    named, *marks = text.split("#")
    usd = [mark.removeprefix("usd=") for mark in marks if mark.startswith("usd=")]
    if found := re.fullmatch(r"(.*)@(\w+://.*)", named, re.DOTALL):
        name, url = found.groups()
        variable = next((mark for mark in marks if not mark.startswith("usd=")), None)
        # A key goes to whom it was given for: OpenAI's own to OpenAI, any other where its variable is named.
        usual = OPENAI_KEY if urlsplit(url).hostname == OPENAI_HOST and OPENAI_KEY in os.environ else None
        config = ModelConfig(model=name, base_url=url.rstrip("/"), api_key_env=variable or usual)
        return with_price(config, usd[-1] if usd else None)
    if is_known(text) or text.endswith(".gguf"):
        return ModelConfig(model=text)
    name, at, url = named.rpartition("@")
    if at and "/" in url:
        raise InputError(f"{text!r} is not a model: its URL has no scheme; write {name}@https://{url}, or http://")
    raise InputError(f"{text!r} is not a model: give a catalogue name (demur models), a .gguf file, or MODEL@BASE_URL")


def model_spec(config: ModelConfig) -> str:
    """The text that `parse_model` reads a model from, without its price."""
    if config.base_url is None:
        return config.model
    return f"{config.model}@{config.base_url}{f'#{config.api_key_env}' if config.api_key_env else ''}"


def own_spec(name: str, models: Sequence[ModelConfig]) -> str:
    """What `parse_model` reads of one of ``models``, its price too, where ``name`` is its name alone; else ``name``."""
    own = next((one for one in reversed(models) if one.model == name), None)
    return name if own is None or own.base_url is None else priced_spec(own)


def priced_spec(config: ModelConfig) -> str:
    """The text that `parse_model` reads a model of an endpoint from, with its price where that was given."""
    usd = config.usd_per_million_input, config.usd_per_million_output
    return model_spec(config) + ("" if None in usd else f"#usd={usd[0]:g}/{usd[1]:g}")


def with_price(config: ModelConfig, usd: str | None) -> ModelConfig:
    """The model with a price of ``IN/OUT`` or one number for both, in USD per million tokens; raises InputError."""
    if usd is None:
        return config
    try:
        prices = [float(part) for part in usd.split("/")]
    except ValueError:
        prices = []
    if len(prices) not in (1, 2):
        raise InputError(
            f"{config.model}: the price is {usd!r}; write IN/OUT in USD per million tokens, such as .15/.6"
        )
    for price in prices:
        check_number(price, f"{config.model}: the price", at_least=0)
    return replace(config, usd_per_million_input=prices[0], usd_per_million_output=prices[-1])


def endpoint_of(config: ModelConfig) -> Endpoint:
    """The endpoint of a model, not running yet when it is a local one; enough to look its samples up."""
    base_url, identity = (config.base_url or "").rstrip("/"), ""
    if config.base_url is None:
        identity = _local_identity(config.model)
    return Endpoint(
        model=config.model if base_url or is_known(config.model) else Path(config.model).stem,
        base_url=base_url,
        api_key_env=config.api_key_env,
        identity=identity,
        concurrency=config.concurrency,
        timeout_seconds=config.timeout_seconds,
        usd_per_million_input=config.usd_per_million_input,
        usd_per_million_output=config.usd_per_million_output,
        usd_per_million_cached=config.usd_per_million_cached,
        usd_per_million_cache_write=config.usd_per_million_cache_write,
        usd_per_million_cache_write_hour=config.usd_per_million_cache_write_hour,
        usd_per_million_reasoning=config.usd_per_million_reasoning,
        service_tiers=config.service_tiers,
        priced_as=config.priced_as,
        local=not base_url,
        reasoning_effort=config.reasoning_effort,
    )


def _local_identity(name: str) -> str:
    if is_known(name):
        return f"{name}#{model(name).files[0].sha256[:16]}"
    if not Path(name).is_file():
        raise ModelError(f"{name}: no such file, nor a name of the catalogue (demur models)")
    return f"{Path(name).stem}#{sha256_of(Path(name))[:16]}"


@asynccontextmanager
async def running_endpoint(
    config: ModelConfig,
    *,
    parallel: int,
    threads: int = 1,
    progress: Progress = no_progress,
    max_tokens: int = 64,
    pooling: Literal["mean", "last"] | None = None,
    chat_template: str = "",
) -> AsyncIterator[Endpoint]:
    """An endpoint that answers: a remote one unchanged, a local one started for the duration of the block.

    ``parallel`` samples of a prompt, each of up to ``max_tokens``, are drawn at once and share the prompt's KV cache.
    More than one of ``threads`` is for a model that runs alone: on a busy two-core machine they stall each other. With
    ``pooling`` it embeds texts by its own hidden state, and answers nothing. ``chat_template``: in Jinja, in place of
    the model's own. A local one is waited for at least SLOWEST_TOKEN seconds per token: it is slow on a busy machine,
    and its process would end if it failed. Raises EndpointError.
    """
    endpoint = endpoint_of(config)
    if not endpoint.local:
        yield endpoint
        return
    require("xllamacpp", extra="local", purpose="running a local model")
    path = fetch(config.model, progress=progress) if is_known(config.model) else Path(config.model)
    context = max(CONTEXT_TOKENS, PROMPT_TOKENS + parallel * max_tokens)
    sizes, kind = (parallel, threads, context), (pooling or "", chat_template)
    async with _server(path, endpoint.model, sizes, kind) as address:
        # One request at a time: its `parallel` choices fill the slots, and one thread decodes them together.
        patience = max(config.timeout_seconds, SLOWEST_TOKEN * parallel * max_tokens)
        yield replace(endpoint, base_url=f"{address}/v1", concurrency=1, timeout_seconds=patience)


@asynccontextmanager
async def _server(path: Path, name: str, sizes: tuple[int, int, int], kind: tuple[str, str]) -> AsyncIterator[str]:
    """Run llama.cpp's server in a child process; yields its address."""
    with tempfile.TemporaryFile() as log:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "demur.models.local", str(path), name),
            *(*map(str, sizes), *kind),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            yield await _address(child, path, log)
        finally:
            if child.stdin is not None:
                child.stdin.close()  # its signal to end
            try:
                await asyncio.wait_for(child.wait(), timeout=10)
            except TimeoutError:
                child.kill()
                await child.wait()


async def _address(child: asyncio.subprocess.Process, path: Path, log: object) -> str:
    assert child.stdout is not None
    try:
        line = await asyncio.wait_for(child.stdout.readline(), timeout=START_SECONDS)
    except TimeoutError:
        raise EndpointError(f"{path.name}: the local server did not start within {START_SECONDS} s") from None
    if not line.startswith(b"http"):
        log.seek(0)  # type: ignore[attr-defined]
        said = log.read().decode(errors="replace").strip().splitlines()  # type: ignore[attr-defined]
        why = next((row for row in reversed(said) if "rror" in row or "failed" in row), "it said nothing")
        raise EndpointError(f"{path.name}: the local server ended at once ({why[-160:]}); is it a GGUF file?")
    return line.decode().strip()


def _serve(
    path: str, name: str, parallel: int, threads: int, context: int, pooling: str = "", chat_template: str = ""
) -> None:
    """The child: serve one model until standard input closes."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.model_alias = {name}  # what its answers call it: no path of this machine
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0  # any free one
    settings.n_ctx = context
    settings.n_parallel = parallel  # n of a request must not be larger
    settings.kv_unified = True  # the slots share the prompt's KV cache
    settings.cpuparams.n_threads = threads
    settings.cpuparams_batch.n_threads = threads
    settings.warmup = False
    settings.ui = False
    if chat_template:
        settings.chat_template, settings.use_jinja = chat_template, True
        settings.n_predict = CONTINUED_TOKENS
    if pooling:
        settings.embedding = True
        settings.pooling_type = xllamacpp.llama_pooling_type[f"LLAMA_POOLING_TYPE_{pooling.upper()}"]
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    _serve(*sys.argv[1:3], *map(int, sys.argv[3:6]), *sys.argv[6:8])  # type: ignore[arg-type]
