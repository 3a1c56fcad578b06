"""`demur ledger` and `demur status` beside a gateway: what a threshold promised to save, and what it saved so far."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from databases import Postgres
from demur.cli.main import app
from demur.cli.promise import promise_of
from demur.evaluation.report.headline_record import Headline
from demur.gateway.ledger.export import bill_page
from demur.gateway.ledger.ledger import open_backend
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.ledger.totals.saved_so_far import saved_so_far
from demur.runs.lineage import keep_headline, keep_made
from demur.serving_file import serving_file
from gateways import RECORD

LOCAL = replace(RECORD, score=0.2, threshold=0.5, role="weak", usd=0.0, usd_strong=1.0, prompt="")
LARGE = replace(LOCAL, score=0.7, role="strong", usd=1.0)
RUNNER = CliRunner()


def written(path: Path, rows: Sequence[LedgerRecord]) -> str:
    return kept(str(path), rows)


def kept(url: str, rows: Sequence[LedgerRecord]) -> str:
    backend = open_backend(url)
    backend.write([replace(one, id=f"{n}", at=1000.0 + n) for n, one in enumerate(rows)])
    backend.close()
    return url


def promised(saved: float, run: str = "run", threshold: float = 0.5) -> Path:
    """A run whose router has a threshold at which it is to save a part of the cost."""
    router = Path(run) / "router"
    router.mkdir(parents=True, exist_ok=True)
    (router / "router.json").write_text(json.dumps({"calibration": {"threshold": threshold}}))
    keep_made(Path(run), "samples", "")
    told = Headline(
        threshold, True, 480, "training prompts, each scored apart", 0.9, None, None, False, 1 - saved, 1.0, None
    )
    keep_headline(Path(run), asdict(told.block()))
    return router


def said(*arguments: str) -> str:
    return RUNNER.invoke(app, list(arguments)).output


@pytest.mark.parametrize(
    ("rows", "share", "deviation"),
    [
        # One more of each kind: a third of (4 + 2), whose deviation is sqrt(1/3 * 2/3 * 4) / 4; residuals are smaller.
        ([LOCAL, LARGE, LARGE, LARGE], 0.25, (2 / 9 * 4) ** 0.5 / 4),
        ([LARGE] * 5, 0.0, (1 / 7 * 6 / 7 * 5) ** 0.5 / 5),  # none saved: not as if that were known
        # A check made a local answer dear: residuals -1.5 and 1.5 of $2.
        ([replace(LOCAL, usd=3.0), LOCAL], -0.5, 4.5**0.5 / 2),
        # Each guess is off by .3 that they share and .4 of its own, the share by three quarters of that, of $4.
        (
            [replace(LOCAL, usd_strong_error=0.3, usd_strong_spread=0.4), LARGE, LARGE, LARGE],
            0.25,
            (2 / 9 * 4 + (0.75 * 0.5) ** 2) ** 0.5 / 4,
        ),
    ],
)
def test_the_interval_holds_the_errors_of_guesses_and_which_requests_came(
    tmp_path: Path, rows: Sequence[LedgerRecord], share: float, deviation: float
) -> None:
    others = [replace(LOCAL, threshold=0.4), replace(LOCAL, score=None), replace(LOCAL, usd=None)]
    found = saved_so_far(written(tmp_path / "l.sqlite", [*rows, *others]), 0.5)
    assert found is not None
    assert found.requests == len(rows)
    assert found.share == pytest.approx(share)
    assert found.margin == pytest.approx(1.96 * deviation)


@pytest.mark.parametrize(
    "instead",
    [
        replace(LARGE, role="weak", usd=0.0, usd_spared=1.0, outcome="fallback"),  # the large model is down
        replace(LOCAL, role="strong", usd=1.0, outcome="fallback"),  # the small one is
    ],
)
def test_an_outage_does_not_move_what_a_threshold_saved_so_far(tmp_path: Path, instead: LedgerRecord) -> None:
    """Of ten requests four are local, before and while a model is down."""
    rows = [replace(one, stage="prompt") for one in (*[LARGE] * 6, *[replace(LOCAL, usd=0.5)] * 4)]
    down = [instead if (one.role == "strong") == (instead.role == "weak") else one for one in rows]
    before = saved_so_far(written(tmp_path / "a.sqlite", rows), 0.5)
    after = saved_so_far(written(tmp_path / "b.sqlite", [*rows, *down]), 0.5)
    assert before is not None
    assert after is not None
    assert before.share == after.share == pytest.approx(0.2)
    assert not after.loses


@pytest.mark.parametrize("outcome", ["fallback", "ok"])  # an empty answer; one of another form than was asked for
def test_an_answer_of_no_use_counts_as_what_it_cost(tmp_path: Path, outcome: str) -> None:
    """The small model was up and was paid: one of five saved nothing and cost half more, two saved a half."""
    reason = "score 0.2 < threshold 0.5; the weak answer is of no use: it is empty, so the strong model answers"
    useless = replace(LOCAL, stage="prompt", role="strong", usd=1.5, outcome=outcome, reason=reason)
    rows = [replace(one, stage="prompt") for one in (*[LARGE] * 2, *[replace(LOCAL, usd=0.5)] * 2)] + [useless]
    found = saved_so_far(written(tmp_path / "a.sqlite", rows), 0.5)
    assert found is not None
    assert found.share == pytest.approx((0.5 + 0.5 - 0.5) / 5)
    assert found.loses
    # An outage counts as those did that asked the small model first: 0.5 of $3 saved.
    down = replace(useless, usd=1.0, outcome="fallback", reason="small: could not be reached")
    after = saved_so_far(written(tmp_path / "b.sqlite", [*rows, down]), 0.5)
    assert after is not None
    assert after.share == pytest.approx((0.5 + 0.5 / 3) / 6)


@pytest.mark.parametrize(
    ("empty", "down", "said"),
    [
        (2, 0, "2 of 3 requests were answered by another model than the chosen one, which gave an empty answer"),
        (0, 1, "1 of 2 requests was answered by another model than the chosen one, which failed"),
        (
            *(2, 1),
            "3 of 4 requests were answered by another model than the chosen one, which failed or gave an empty answer "
            "(2 of them)",
        ),
    ],
)
def test_the_ledger_tells_an_empty_answer_from_a_failure(tmp_path: Path, empty: int, down: int, said: str) -> None:
    instead = replace(LARGE, outcome="fallback", reason="small: could not be reached, so the strong model answers")
    useless = replace(instead, reason="the weak answer is of no use: it is empty, so the strong model answers")
    page = bill_page(written(tmp_path / "l.sqlite", [LOCAL, *[useless] * empty, *[instead] * down]), "day")
    assert page.lines[-1] == said


def test_nobody_may_save_more_than_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    promised(0.5)
    assert "so far 100%, where others like this one may save 8% to 100%" in said(
        "ledger", written(Path("run/ledger.sqlite"), [LOCAL])
    )


def test_guesses_of_unknown_error_are_not_compared(tmp_path: Path) -> None:
    assert saved_so_far(written(tmp_path / "l.sqlite", [replace(LOCAL, usd_strong_error=None), LARGE]), 0.5) is None


def test_the_ledger_sets_what_was_saved_beside_the_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    router = promised(0.15)
    url = written(Path("run/ledger.sqlite"), [*[LARGE] * 8, LOCAL])
    basis = "measured on 480 training prompts"
    line = (
        f"promised at threshold 0.5000: 15% saved ({basis}); so far 11%, where others like these 9 may save 0% to 36%"
    )
    for lines in (said("ledger", url).splitlines(), said("ledger", url, "--by", "day").splitlines()):
        assert line in lines
        assert not any("than promised" in one for one in lines)
    assert json.loads(said("ledger", url, "--json"))["promise"]["so_far"]["requests"] == 9
    found = promise_of(url, since=1008.0)  # the last one alone
    assert found is not None
    assert found.so_far.requests == 1
    assert promise_of(url, since=2000.0) is None
    (router / "router.json").write_text('{"calibration": {"threshold": 0.6}}')  # of which no headline is kept
    assert "promised" not in said("ledger", url)


def test_each_threshold_is_set_beside_the_promise_that_was_made_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of 0.5 stood beside the promise of 0.6 alone, which came after it. Of 0.7 nothing was promised."""
    monkeypatch.chdir(tmp_path)
    promised(0.15)
    promised(0.4, threshold=0.6)
    rows = [*[LARGE] * 8, LOCAL, *[replace(LOCAL, threshold=0.6), replace(LARGE, threshold=0.6)] * 2]
    url = written(Path("run/ledger.sqlite"), [*rows, replace(LARGE, threshold=0.7)])
    lines = [one for one in said("ledger", url, "--by", "threshold").splitlines() if one.startswith("promised")]
    starts = [one.partition(", where")[0] for one in lines]
    basis = "(measured on 480 training prompts)"
    assert starts == [
        f"promised at threshold 0.5000: 15% saved {basis}; so far 11%",
        f"promised at threshold 0.6000: 40% saved {basis}; so far 50%",
    ]
    for other in (("--by", "day"), ()):  # of all thresholds the last alone
        (line,) = [one for one in said("ledger", url, *other).splitlines() if one.startswith("promised")]
        assert line in lines[1:]
    asked = json.loads(said("ledger", url, "--by", "threshold", "--json"))
    assert [one["so_far"]["requests"] for one in asked["promises"]] == [9, 4]
    assert asked["promise"] == asked["promises"][1]
    promised(0.2)  # what is said of a threshold again counts
    assert "promised at threshold 0.5000: 20% saved" in said("ledger", url, "--by", "threshold")


def test_only_where_a_request_cost_more_than_always_strong_others_may_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of its answer made one dearer; where none lost, the interval ends at nothing saved."""
    monkeypatch.chdir(tmp_path)
    promised(0.15)
    url = written(Path("run/ledger.sqlite"), [*[LARGE] * 8, LOCAL, replace(LOCAL, usd=1.5)])
    (low,) = re.findall(r"may save (\S+)% to", said("ledger", url))
    assert int(low) < 0


@pytest.mark.parametrize(("promise", "word"), [(0.5, "less"), (0.02, "more")])
def test_a_promise_outside_the_interval_is_said_once_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: float, word: str
) -> None:
    """From 270 of 2,700 requests: 10% ± 1%; without prompts the next step is to keep them."""
    monkeypatch.chdir(tmp_path)
    promised(promise)
    url = written(Path("run/ledger.sqlite"), ([*[LARGE] * 9, LOCAL]) * 270)
    output = said("ledger", url, "--by", "day")
    assert "so far 10%, where others like these 2,700 may save 9% to 11%" in output
    assert output.count(f"- The requests save {word} than promised") == 1
    assert "add --record prompts" in output.splitlines()[-1]


@pytest.mark.parametrize("run", ["run", "mine"])
def test_a_ledger_outside_of_a_run_is_set_beside_the_promise_of_the_run_whose_threshold_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres, run: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("other", "mine"):
        promised(0.15 if name == run else 0.3, name, 0.5 if name == run else 0.6)
        (Path(name) / "run.json").write_text("{}")
    if run == "run":
        promised(0.15)
    for url in (kept(postgres.url, [*[LARGE] * 8, LOCAL]), written(Path("elsewhere.sqlite"), [*[LARGE] * 8, LOCAL])):
        for more in ((), ("--by", "day")):
            assert "promised at threshold 0.5000: 15% saved" in said("ledger", url, *more)
        found = promise_of(url)
        assert found is not None
        assert found.so_far.requests == 9
        assert found.so_far.share == pytest.approx(1 / 9)
    written(Path("other/ledger.sqlite"), [LARGE, LOCAL])  # of that run, which has another threshold
    assert "promised" not in said("ledger", "other/ledger.sqlite")
    promised(0.3, "other")
    assert "promised" not in said("ledger", "elsewhere.sqlite")  # two runs have this threshold


def test_the_status_says_it_beside_a_gateway_that_has_loaded_the_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    router = promised(0.5)
    url = written(Path("kept.sqlite"), ([*[LARGE] * 9, LOCAL]) * 270)
    with serving_file(Path("run"), "http://127.0.0.1:8111", lambda: router, 1234, ledger=url):
        assert "  so far       10%, where others like these 2,700 may save 9% to 11%, at this threshold\n" in said(
            "status"
        )
        assert said("status").count("save less than promised") == 1
        promised(0.1)
        assert "than promised" not in said("status")
        (router / "policy.json").write_text("{}")
        promised(0.1)  # kept for what is saved now, which the gateway has not loaded
        assert "so far" not in said("status")
    assert "so far" not in said("status")
