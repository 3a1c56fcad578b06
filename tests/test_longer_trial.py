"""A run that is begun again for longer answers tries a few prompts first: an endpoint may cut the answers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import load_run
from demur.errors import EndpointError
from demur.models.encoders.encoder import LetterEncoder
from demur.models.requests.cut_answers import TRIED
from demur.runs import run as opened
from demur.sampling.cost import PairEstimate, PairSpend
from demur.testing import FakeEndpoint
from pairs import Pair, running_pair, write_questions

Sampled = Callable[..., PairSpend]
PROMPTS = 12


@pytest.fixture
def limits() -> dict[str, int]:
    """By model: the longest answer that its endpoint gives."""
    return {"small": 75, "large": 75}


@pytest.fixture
def pair(limits: Mapping[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """A pair whose answers to a sum would have 150 tokens."""
    whole = FakeEndpoint.completion

    def answer(fake: FakeEndpoint, body: Mapping[str, Any], chat: bool) -> dict[str, Any]:
        found = whole(fake, body, chat)
        most = min(limits[body["model"]], body["max_tokens"])
        ends = [choice | {"finish_reason": "length" if most < 150 else "stop"} for choice in found["choices"]]
        usage = {"prompt_tokens": 9, "completion_tokens": min(most, 150) * len(ends)}
        return found | {"choices": ends, "usage": usage} if "plus" in body["messages"][-1]["content"] else found

    monkeypatch.setattr(FakeEndpoint, "completion", answer)
    with running_pair() as found:
        yield found


@pytest.fixture
def sampled(pair: Pair, tmp_path: Path) -> Sampled:
    asked: dict[str, Any] = {"run": str(tmp_path / "run"), "n": "2..5", "weak_usd": "1/1", "strong_usd": "9/9"}
    prompts = write_questions(tmp_path / "prompts.jsonl", PROMPTS, gold=False)
    return lambda **given: demur.sample(prompts, **{**pair.names, **asked, **given})


def requests(pair: Pair) -> int:
    return len(pair.weak.requests) + len(pair.strong.requests)


def test_where_the_endpoints_cut_three_prompts_are_asked_and_the_run_stays(sampled: Sampled, pair: Pair) -> None:
    first, before = sampled(max_tokens=64), requests(pair)
    assert any("`--max-tokens 256 --again`" in note for note in first.notes)
    with pytest.raises(EndpointError, match=r"cuts small at about 75 and large at about 75, though 256 were asked for"):
        sampled(max_tokens=256, again=True)
    assert requests(pair) == before + 2 * TRIED
    with pytest.raises(EndpointError, match=r"\(3 prompts tried\)"):  # what they gave is known
        sampled(max_tokens=256, again=True)
    assert requests(pair) == before + 2 * TRIED
    assert first.usd
    same = sampled(max_tokens=64)  # not another run
    assert (same.usd, same.samples) == (first.usd, first.samples)
    assert same.unused_usd == pytest.approx(TRIED * (9 + 2 * 75) * (1 + 9) / 1e6)  # two answers a request
    assert not any("--again" in note for note in same.notes)
    assert "small's answers were cut at 64 tokens, and the endpoint itself cuts at about 75" in same.notes[0]


@pytest.mark.parametrize("limit", [150, 120])  # they end by themselves, or are cut later
def test_where_answers_become_longer_sampling_goes_on(
    sampled: Sampled, pair: Pair, limits: dict[str, int], tmp_path: Path, limit: int
) -> None:
    limits["large"] = limit  # of one model that is worth it
    sampled(max_tokens=64)
    pair.strong.requests.clear()
    said: list[PairEstimate] = []
    sampled(max_tokens=256, again=True, announce=said.append)
    assert len(said) == 1
    assert dict(said[0].facts)["first"].startswith("3 prompts whose answers were cut at 64 tokens; it stops if ")
    assert load_run(tmp_path / "run").sampling.max_tokens == 256
    asked = sum(body.get("n", 1) for body in pair.strong.requests)
    assert asked == 2 * PROMPTS + 3 * PROMPTS // 2  # the tried ones' answers are used: none is asked for twice


def test_a_dry_run_says_what_is_asked_first_and_asks_nothing(sampled: Sampled, pair: Pair) -> None:
    sampled(max_tokens=64)
    before, said = requests(pair), list[PairEstimate]()
    sampled(max_tokens=256, again=True, dry_run=True, announce=said.append)
    assert said[0].first
    sampled(max_tokens=32, again=True, dry_run=True, announce=said.append)
    sampled(max_tokens=64, temperature=0.5, again=True, dry_run=True, announce=said.append)
    assert [one.first for one in said[1:]] == ["", ""]
    assert requests(pair) == before


def test_a_run_without_cut_answers_tries_nothing(sampled: Sampled, limits: dict[str, int]) -> None:
    limits |= {"small": 200, "large": 200}
    sampled(max_tokens=160)
    said = list[PairEstimate]()
    sampled(max_tokens=256, again=True, announce=said.append)
    assert said[0].first == ""


def test_after_a_refused_trial_no_command_advises_longer_answers(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The router was trained before it; every second answer, those to sums, was cut."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.chdir(tmp_path)
    asked: dict[str, Any] = {**pair.names, "n": 3, "weak_usd": "1/1", "strong_usd": "9/9"}
    prompts = write_questions(Path("prompts.jsonl"))
    demur.sample(prompts, **asked, max_tokens=64)
    demur.label(source="accuracy")
    demur.train(methods="logistic", gate="off")
    share = ["calibrate", "prompts.jsonl", "--strong-share", "0.5", "--anyway"]
    assert " --max-tokens 256 --again`" in said(share)
    assert " --max-tokens 256 --again`" in said(["status"])
    with pytest.raises(EndpointError, match=r"the run keeps its answers; next: demur report$"):
        demur.sample(prompts, **asked, max_tokens=256, again=True)
    for command in (["status"], [*share, "--dry-run"], ["replay", "prompts.jsonl"], share, ["status"]):
        assert "--again" not in said(command)
        assert "large's answers were cut at 64 tokens, and the endpoint itself cuts at about 75" in said(command)
    page = demur.report().read_text(encoding="utf-8")
    assert "--again" not in page
    assert "the endpoint itself cuts at about 75" in page


def test_a_run_by_a_file_goes_on_with_the_earlier_limit_in_it(pair: Pair, tmp_path: Path) -> None:
    prompts, file = write_questions(tmp_path / "prompts.jsonl", PROMPTS, gold=False), tmp_path / "run.toml"
    sides = "".join(
        f'[{role}]\nmodel = "{name}"\nbase_url = "{of.base_url}"\n'
        for role, name, of in (("weak", "small", pair.weak), ("strong", "large", pair.strong))
    )
    head = f'prompts = "{prompts}"\nrun = "{tmp_path / "run"}"\n{sides}'
    file.write_text(f'{head}[label]\nentailment = "exact"\n[sampling]\nn = 2\nmax_tokens = 64\n', encoding="utf-8")
    config = demur.config.read_run_file(file)
    demur.sample(prompts, **pair.names, run=config.run, n=2, max_tokens=64)
    file.write_text(file.read_text(encoding="utf-8").replace("= 64", "= 256"), encoding="utf-8")
    with pytest.raises(EndpointError, match=r"set max_tokens = 64 in \S*run.toml again, then demur run \S*run.toml$"):
        demur.run(file, again=True)


def said(command: list[str]) -> str:
    """What a command prints in the folder at hand."""
    done = CliRunner().invoke(app, command)
    assert done.exit_code in (0, 1), done.output
    return " ".join(done.output.split())
