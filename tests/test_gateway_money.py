"""Money: every kind of token at its own price, savings that are signed, and one sum for every view of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demur.errors import InputError
from demur.gateway.decision.choose_model import Choice
from demur.gateway.decision.conversations import Identity
from demur.gateway.decision.request.question import read_question
from demur.gateway.decision.request.routed_text import RoutedText
from demur.gateway.exchange import Arrived, Ended, Exchange, ledger_record
from demur.gateway.ledger.export import bill_page, ledger
from demur.gateway.ledger.ledger import SqliteBackend
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.ledger.totals.bills import Bill, bill_of, bills, parse_since
from demur.gateway.ledger.totals.series import series
from demur.gateway.protocols.openai import CHAT
from demur.gateway.settings import GatewaySettings
from demur.gateway.upstreams.ask_upstreams import Sent
from demur.gateway.upstreams.calls import Call
from demur.gateway.upstreams.token_counts import whole_tokens
from demur.gateway.upstreams.token_estimates import TokenEstimate, TokenEstimates
from demur.gateway.upstreams.upstream import Upstream
from demur.models.endpoint import Endpoint
from demur.models.prices import LengthRatio, Tokens, length_ratio, price_of
from demur.records import Role
from demur.routing.known.length_ratios import FEWEST, KEY, length_ratio_at, length_ratios
from gateways import EASY, HARD, gateway, wire

WEAK = Endpoint(
    "small", "http://127.0.0.1:1/v1", usd_per_million_input=1, usd_per_million_output=2, usd_per_million_cached=0.1
)
STRONG = Endpoint(
    "large",
    "https://cloud.example/v1",
    usd_per_million_input=10,
    usd_per_million_output=30,
    usd_per_million_cached=1,
    usd_per_million_cache_write=12.5,
    usd_per_million_cache_write_hour=20,
    usd_per_million_reasoning=40,
    service_tiers={"flex": 0.5, "priority": 2.0},
)
UPSTREAMS: dict[Role, Upstream] = {
    "weak": Upstream(WEAK, GatewaySettings()),
    "strong": Upstream(STRONG, GatewaySettings()),
}
RATIO = LengthRatio(1.5, 0.1, 0.5, prompts=40)  # a strong answer is half as long again as a weak one


@dataclass(frozen=True)
class Case:
    """A request, and its bill in millionths of a dollar, computed by hand from the prices above."""

    role: Role
    said: dict[str, Any]  # the answer's members beside its text
    usd: float | None
    always_strong: float | None
    beside: tuple[Tokens, ...] = ()  # weak drafts and samples
    named: bool = False  # by the client
    status: int = 200


def openai(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    tier = more.pop("service_tier", None)
    found = {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}
    return found | ({"service_tier": tier} if tier else {})


def anthropic(plain: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"usage": {"input_tokens": plain, "output_tokens": completion, **more}}


def cached(count: int) -> dict[str, Any]:
    return {"prompt_tokens_details": {"cached_tokens": count}}


DRAFT = Tokens(100, 50)  # 100 + 2 x 50 = 200
EXTRA = Tokens(100, 40, cached=90)  # 10 + 9 + 80 = 99
CASES = [
    Case("weak", openai(100, 50), 200, 1000 + 1.5 * 50 * 30),  # 3,250
    Case("weak", openai(1000, 100, **cached(900)), 100 + 90 + 200, 1000 + 900 + 4500),
    Case("strong", openai(100, 50), 2500, 2500),
    Case("strong", openai(1000, 100, **cached(800)), 2000 + 800 + 3000, 5800),
    Case("strong", openai(500, 10, **cached(500)), 500 + 300, 800),
    Case("strong", openai(100, 300, completion_tokens_details={"reasoning_tokens": 200}), 12_000, 12_000),
    Case(
        "strong",
        anthropic(50, 20, cache_read_input_tokens=400, cache_creation_input_tokens=100),
        500 + 400 + 1250 + 600,
        2750,
    ),
    Case(
        "strong",
        anthropic(50, 20, cache_creation_input_tokens=100, cache_creation={"ephemeral_1h_input_tokens": 40}),
        500 + 60 * 12.5 + 40 * 20 + 600,
        2650,
    ),
    Case("strong", openai(100, 50, service_tier="flex"), 1250, 1250),
    Case("strong", openai(1000, 10, **cached(500), service_tier="priority"), 2 * (5000 + 500 + 300), 11_600),
    Case("strong", openai(100, 50, service_tier="default"), 2500, 2500),
    Case("strong", openai(100, 50, service_tier="turbo"), None, None),  # no price is known for this tier
    Case("strong", openai(120, 60), 200 + 1200 + 1800, 3000, beside=(DRAFT,)),  # a loss of 200
    Case("weak", openai(100, 50), 2 * 99 + 200, 3250, beside=(EXTRA, EXTRA)),
    Case("weak", openai(100, 50), 200, 200, named=True),  # demur had no choice: nothing is saved
    Case("strong", openai(100, 50), 200, 0, beside=(DRAFT,), status=502),
    Case("strong", openai(100, 50, total_tokens=250), 1000 + 50 * 30 + 100 * 40, 6500),  # reasoning in the total alone
    Case("strong", openai(100, 10, prompt_cache_hit_tokens=60), 400 + 60 + 300, 760),
    Case("strong", openai(100, 10, **cached(150)), 100 + 300, 400),  # more cached than there are: all of them
    Case("strong", {}, 32 * 10 + 10 * 30, 620),  # no usage: 3 + (16 + 100) / 4 asked, 40 / 4 answered
]
PAID, ALWAYS_STRONG = 54_718, 66_230  # the sums of the two columns without the request whose cost is unknown


def record_of(case: Case, number: int = 0) -> LedgerRecord:
    asked = {"model": "demur", "messages": [{"role": "user", "content": "q" * 100}]}
    question = read_question(
        *(json.dumps(asked).encode(), CHAT, lambda name: True, GatewaySettings()),
        key="team",
        identity=Identity(),
        texts=RoutedText(),
        estimates=TokenEstimates(UPSTREAMS),
    )
    exchange = Exchange(Arrived(f"id{number}", "/v1/chat/completions", 0.0, 86_400.0 * number), CHAT, key="team")
    exchange.question, exchange.choice = question, Choice(case.role, "", named=case.named)
    exchange.sent = Sent(case.role, UPSTREAMS[case.role].endpoint.model, None, "", 0.0)  # type: ignore[arg-type]
    exchange.calls = [Call("weak", tokens) for tokens in case.beside]
    body = {"choices": [{"message": {"content": "a" * 40}}], **case.said}
    exchange.passed.set_whole(json.dumps(body).encode())
    exchange.ended = Ended(case.status)
    return ledger_record(exchange, UPSTREAMS, "", RATIO)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_request_costs_what_the_bill_by_hand_says(number: int) -> None:
    record, case = record_of(CASES[number]), CASES[number]
    for found, wanted in ((record.usd, case.usd), (record.usd_strong, case.always_strong)):
        assert found == (None if wanted is None else pytest.approx(wanted / 1e6, abs=1e-12))


def test_twenty_requests_saved_what_the_bill_by_hand_says() -> None:
    assert len(CASES) == 20
    found = bill_of(map(record_of, CASES))
    assert (found.requests, found.unpriced) == (20, 1)
    assert found.usd_compared == pytest.approx(PAID / 1e6)
    assert found.usd_strong == pytest.approx(ALWAYS_STRONG / 1e6)
    assert found.saved == pytest.approx(11_512 / 1e6)
    assert found.usd_checks == pytest.approx((200 + 2 * 99 + 200) / 1e6)
    # Three weak answers of 50, 100 and 50 tokens: .1 x 30 x 200 in common; .5 x 1.5 x 30 x (50, 100, 50) each its own.
    assert found.margin == pytest.approx(1.96 * (600**2 + 1125**2 + 2250**2 + 1125**2) ** 0.5 / 1e6)


def test_a_loss_is_shown_as_a_loss() -> None:
    found = bill_of([record_of(CASES[12]), record_of(CASES[15])])
    assert found.saved == pytest.approx(-400e-6)
    assert found.sentence == ("$0.0034 paid, $0.0004 of it for checks, $0.003 always strong: $0.0004 lost (loses 13%)")


def test_a_saving_that_is_not_told_from_none_has_no_percentage() -> None:
    """$.0002 less than always strong: the error of the guess is larger in one case, and smaller in the other."""
    one = replace(record_of(CASES[0]), usd=0.0010, usd_strong=0.0012, usd_strong_error=0.0, usd_strong_spread=0.00011)
    assert bill_of([one]).sentence.endswith("$0.0002 saved ± $0.000216, which is not told from 0: too few requests")
    told = bill_of([replace(one, usd_strong_spread=0.0001)]).sentence
    assert told.endswith("$0.0002 saved ± $0.000196 (saves 17%)")


def test_what_is_estimated_is_said(tmp_path: Path) -> None:
    """Of $.0076, $.0042 are of two answers without usage; one for $0 and one of unknown cost are not told."""
    counted = replace(record_of(CASES[0]), id="a", usd=0.0034, tokens_counted=True)
    without = [
        replace(counted, id=name, usd=usd, tokens_counted=False)
        for name, usd in (("b", 0.003), ("c", 0.0012), ("d", 0.0), ("e", None))
    ]
    found = bill_of([counted, *without])
    assert found.estimated == 2
    assert found.usd_estimated == pytest.approx(0.0042)
    assert found.sentence.startswith("$0.0076 paid, $0.0042 of it estimated (2 answers came without usage), ")
    assert "(1 answer came without usage)" in bill_of(without[:1]).sentence
    assert "estimated" not in bill_of([counted]).sentence
    path = str(tmp_path / "l.sqlite")
    SqliteBackend(path).write([counted, *without])
    assert bills(path)[0].sentence == found.sentence  # by the database
    assert ledger(path).lines[-1].endswith(found.sentence)


def test_without_known_lengths_a_guess_has_no_interval() -> None:
    known = record_of(CASES[0])
    found = bill_of([replace(known, usd_strong_error=None, usd_strong_spread=None)])
    assert found.margin is None
    assert "a guess of unknown error" in found.sentence
    assert bill_of([known]).margin


def test_the_ledgers_bills_are_those_of_its_records(tmp_path: Path) -> None:
    path = str(tmp_path / "l.sqlite")
    records = [replace(record_of(case, n), key=f"team {n % 2}") for n, case in enumerate(CASES)]
    backend = SqliteBackend(path)
    backend.write(records)
    backend.close()

    def close(found: Bill, wanted: Bill) -> None:
        assert found.as_dict() == pytest.approx(wanted.as_dict())

    close(bills(path)[0], bill_of(records))
    by_key = {one.name: one for one in bills(path, by="key")}
    close(by_key["team 1"], bill_of(records[1::2], "team 1"))
    by_day = bills(path, by="day", since=18 * 86_400)
    assert [one.name for one in by_day] == ["1970-01-19", "1970-01-20"]
    close(by_day[1], bill_of(records[19:], "1970-01-20"))
    assert [one.name for one in bills(path, by="model")] == ["large", "small"]
    (conversation,) = bills(path, by="conversation")  # of one key, all begin with the same words
    assert conversation.requests == 20
    lines = bill_page(path, "key").lines
    assert lines[1].startswith("team 1")
    assert "1 of 20 is unknown" in lines[-1]


async def test_requests_that_stayed_with_their_conversation_against_the_score_are_counted(tmp_path: Path) -> None:
    said = [{"role": "user", "content": HARD}, {"role": "assistant", "content": "yes"}]
    async with gateway(tmp_path, context_characters=0) as found:
        assert (await found.ask(HARD))[2]["model"] == "large"
        for easy in (EASY, "aaa aaaa?"):
            turn = [*said, {"role": "user", "content": easy}]
            assert (await found.ask(messages=turn))[2]["model"] == "large"  # what its cache is worth is unknown
        hard = [*said, {"role": "user", "content": HARD}]
        assert (await found.ask(messages=hard))[2]["model"] == "large"  # as the score says
        assert (await found.ask("aa a?"))[2]["model"] == "small"
    path = str(tmp_path / "ledger.sqlite")
    (whole,) = bills(path)
    assert (whole.requests, whole.strong, whole.held) == (5, 4, 2)
    assert bill_of(read_ledger(path)).held == 2
    for lines in (ledger(path).lines, ledger(path, last=1).lines, bill_page(path, "day").lines):
        assert "of these 5 requests 2 stayed with their conversation's model" in lines[-1]
    small = [one for one in read_ledger(path) if one.role == "weak"]
    assert not bill_of(small).held_note


def test_thresholds_stand_in_order_with_the_share_that_each_sent_to_the_strong_model(tmp_path: Path) -> None:
    path = str(tmp_path / "l.sqlite")
    weak = replace(record_of(CASES[0]), role="weak", usd=0.001, usd_strong=0.004)
    strong = replace(weak, role="strong", usd=0.004)
    made = [(weak, 0.25), (weak, 0.25), (weak, 0.25001), (strong, 0.25), (strong, -1.0), (weak, None)]
    rows = [replace(one, id=f"{n}", threshold=at, score=at and 0.3) for n, (one, at) in enumerate(made)]
    SqliteBackend(path).write(rows)
    found = bills(path, by="threshold")
    assert [one.name for one in found] == ["-1.0000", "0.2500", ""]
    assert [(one.requests, one.strong, one.saved) for one in found] == [
        (1, 1, 0.0),
        (4, 1, pytest.approx(0.009)),
        (1, 0, pytest.approx(0.003)),
    ]
    _, _, row, none, _ = bill_page(path, "threshold").lines
    assert row.split()[:3] == ["0.2500", "4", "25%"]
    assert none.startswith("(none) ")


def test_each_row_of_a_bill_tells_the_share_that_was_saved_unless_it_is_noise(tmp_path: Path) -> None:
    path = str(tmp_path / "l.sqlite")
    saved = replace(record_of(CASES[0]), usd=0.003, usd_strong=0.004, usd_strong_error=0.0, usd_strong_spread=0.0)
    noise = replace(saved, usd_strong_spread=0.001)  # $0.001 saved, give or take nearly twice as much
    lost = replace(saved, usd=0.005)
    made = {"a": saved, "b": replace(saved, usd_strong_spread=0.0001), "c": noise, "d": lost}
    SqliteBackend(path).write([replace(one, id=name, key=name) for name, one in made.items()])
    rows = {row[0]: row.split("  ")[-1] for row in bill_page(path, "key").lines[1:-1]}
    assert rows == {
        "a": "$0.001 (25%)",
        "b": "$0.001 ± $0.000196 (25%)",
        "c": "$0.001 ± $0.00196",
        "d": "-$0.001 (-25%)",
    }


def test_the_strong_share_is_of_the_requests_that_were_routed(tmp_path: Path) -> None:
    path = str(tmp_path / "l.sqlite")
    weak = replace(record_of(CASES[0]), at=time.time(), role="weak", model="small", score=0.2, threshold=0.5)
    strong = replace(weak, role="strong", model="big", score=0.8)
    named = replace(strong, role="direct", score=None, threshold=None)  # the client named the large model
    failed = replace(named, role="strong")  # the router failed: no score decided
    made = [replace(one, id=f"{n}") for n, one in enumerate([weak, strong, strong, strong, named, named, failed])]
    SqliteBackend(path).write(made)

    def shares(by: str) -> dict[str, tuple[str, str]]:
        return {row.split()[0]: (row.split()[1], row.split()[2]) for row in bill_page(path, by).lines[1:-1]}

    assert "routed strong" in bill_page(path, "day").lines[0]
    assert list(shares("day").values()) == [("7", "75%")]
    assert shares("model") == {"big": ("6", "100%"), "small": ("1", "0%")}
    assert shares("threshold") == {"0.5000": ("4", "75%"), "(none)": ("3", "-")}
    assert "75% of those routed strong" in ledger(path).lines[-1]
    (whole,) = bills(path)
    assert (
        (whole.requests, whole.routed, whole.strong) == (7, 4, 3) == (bill_of(made).requests, bill_of(made).routed, 3)
    )
    summed = series(path, "week").whole
    assert (summed.bill.routed, summed.bill.strong, summed.as_dict()["strong_share"]) == (4, 3, 0.75)


def test_a_request_that_no_model_answered_is_named_and_counted_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "l.sqlite")
    answered = record_of(CASES[0], 0)
    backend = SqliteBackend(path)
    refused = replace(answered, id="x", model="", role="", status=404, usd=0.0, usd_strong=0.0, outcome="refused")
    backend.write([answered, refused])
    backend.close()
    lines = bill_page(path, "model").lines
    assert sum(line.startswith("(no answer)  ") for line in lines) == 1
    assert lines[-1].endswith("; 1 of 2 requests was answered by no model")
    by_key = bill_page(path, "key").lines
    assert by_key[1].startswith("(no key)  ") is (answered.key == "")
    assert "by no model" not in by_key[-1]


def test_a_bill_by_something_else_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are added up by 'week'; it can be key, conversation, model, day, threshold"):
        bills(str(tmp_path / "l.sqlite"), by="week")


def test_a_time_to_begin_from_is_a_day_or_so_long_ago() -> None:
    assert parse_since("1970-01-02", now=0) == 86_400
    assert parse_since("36h", now=200_000) == 200_000 - 36 * 3600
    assert parse_since("30m", now=200_000) == 200_000 - 1800
    assert parse_since("7d", now=700_000) == 700_000 - 7 * 86_400
    with pytest.raises(InputError, match="'soon'; give a day"):
        parse_since("soon", now=0)


def test_the_ratio_of_lengths_and_its_errors_by_hand() -> None:
    # Prompt means 10, 20 and 15, 45: ratio 60 / 30 = 2; residuals 15 - 20 = -5, 45 - 40 = 5.
    found = length_ratio([[10, 10], [15, 25]], [[15, 15], [45, 45]])
    assert found
    assert found.ratio == pytest.approx(2)
    assert found.error == pytest.approx((50 / (2 * 1)) ** 0.5 / 15)
    # Single pairs: 15 - 20, 15 - 20, 45 - 30, 45 - 50 -> squares 25 + 25 + 225 + 25, over 4; the mean is 30.
    assert found.spread == pytest.approx((300 / 4) ** 0.5 / 30)
    assert length_ratio([[10]], [[15]]) is None
    assert length_ratio([[0], [0]], [[5], [5]]) is None


def test_list_prices_hold_every_kind_of_token() -> None:
    price = price_of("claude-sonnet-4-5")
    assert price
    found = (price.usd_per_cached_token, price.usd_per_written_token, price.usd_per_hour_written_token)
    assert found == pytest.approx((0.3e-6, 3.75e-6, 6e-6))
    assert price.usd_per_reasoning_token == pytest.approx(price.usd_per_output_token)


def test_the_tier_that_answered_is_read_outside_texts() -> None:
    said = {"choices": [{"message": {"content": '"service_tier": "flex"'}}], "service_tier": "priority"}
    assert whole_tokens(json.dumps(said).encode(), TokenEstimate(1)).tier == "priority"
    assert whole_tokens(json.dumps({"choices": said["choices"]}).encode(), TokenEstimate(1)).tier == ""


async def test_a_streams_tier_and_cache_reach_the_operators_bills(tmp_path: Path) -> None:
    chunk = {"choices": [{"delta": {"content": "hi"}}], "service_tier": "flex"}
    usage = {"choices": [], "usage": openai(1000, 10, **cached(900))["usage"]}
    data = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in (chunk, usage)) + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(data)
    async with gateway(tmp_path) as found:
        strong = found.gateway.upstreams["strong"]
        strong.endpoint = replace(STRONG, base_url=strong.endpoint.base_url)
        async with wire(found, head + data, roles=("strong",)):
            await found.ask(HARD, stream=True)
        await found.ask(EASY)
        await _committed(found, 2)
        async with found.session.get(f"{found.operator}/admin/bills?by=model") as answer:
            told = await answer.json()
        async with found.session.get(f"{found.operator}/admin/stats") as answer:
            shown = await answer.json()
        async with found.session.get(f"{found.operator}/admin/bills?by=week") as answer:
            assert answer.status == 400
    (large,) = [one for one in told["bills"] if one["name"] == "large"]
    assert large["usd"] == pytest.approx((100 * 10 + 900 * 1 + 10 * 30) / 2 / 1e6)
    assert large["cached_tokens"] == 900
    for name in ("requests", "usd", "usd_strong", "saved", "margin", "unpriced"):
        assert shown[name] == pytest.approx(told["whole"][name])


async def _committed(found: Any, count: int) -> None:
    import asyncio

    for _ in range(100):
        async with found.session.get(f"{found.operator}/admin/bills") as answer:
            if (await answer.json())["whole"]["requests"] >= count:
                return
        await asyncio.sleep(0.05)
    raise AssertionError("the records were not committed")


def test_what_stays_local_is_counted_by_its_own_ratio_of_lengths() -> None:
    """A hundred short answers, three tokens of the strong model to one, score below .5; of a hundred texts, as long by
    either model, twenty go to the strong model whatever their score."""
    scores = np.r_[np.linspace(0.1, 0.4, 100), np.linspace(0.6, 0.9, 80), np.full(20, np.inf)]
    weak, strong = [[2.0, 2.0]] * 100 + [[200.0]] * 100, [[6.0, 6.0]] * 100 + [[200.0]] * 100
    record = json.loads(json.dumps(length_ratios(scores, weak, strong)))
    of_all = (600 + 20_000) / (200 + 20_000)
    assert one_ratio(record, None) == pytest.approx(of_all)  # as where the client named the model
    assert one_ratio(record, 0.2) == one_ratio(record, 0.3) == pytest.approx(3)
    assert one_ratio(record, 0.41) == pytest.approx(3)  # nothing of the texts, which begin in the next part
    assert one_ratio(record, 0.95) == pytest.approx((600 + 16_000) / (200 + 16_000))  # no threshold leaves the others
    assert one_ratio({"answer_lengths": record["answer_lengths"]}, 0.2) == pytest.approx(of_all)  # an earlier router's
    assert length_ratio_at({}, 0.2) is None
    exact = length_ratio_at(record, 0.2)
    assert exact and exact.error == pytest.approx(0, abs=1e-6) and exact.spread == pytest.approx(0, abs=1e-6)


def one_ratio(record: Mapping[str, Any], threshold: float | None) -> float:
    found = length_ratio_at(record, threshold)
    assert found
    return found.ratio


def test_few_prompts_have_no_ratio_of_their_own() -> None:
    scores = np.linspace(0.0, 1.0, FEWEST)
    parts = length_ratios(scores, [[1.0]] * FEWEST, [[2.0]] * FEWEST)[KEY]
    assert [one["prompts"] for one in parts] == [FEWEST]
    assert length_ratios(np.full(3, np.inf), [[1.0]] * 3, [[2.0]] * 3)[KEY] == []
