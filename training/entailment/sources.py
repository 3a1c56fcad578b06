"""Training and held-out rows from the shared data and the project's own written pairs.

A row is (premise, hypothesis, label), each side exactly as the runtime sees it: ``f"{question} {answer}"``, or the bare
answer. Labels: 0 contradiction, 1 neutral, 2 entailment, 3 "not entailment" where the source does not say which of the
two. Held out: the questions of a fifth of the human-judged answers (by hash), and every question of the samples on
which the end effect is measured. Nothing here is written into the repository.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from entities import one_with_details, part_of_list, person
from written import Written, written

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("DEMUR_SHARED", ROOT.parent / "shared" / "data"))
HARD, SECOND = (ROOT / "benchmarks" / "data" / f"entailment_{name}.jsonl" for name in ("hard", "second"))
CONTRADICTION, NEUTRAL, ENTAILMENT, NOT_ENTAILMENT = range(4)
NLI_LABELS = {"contradiction": 0, "neutral": 1, "entailment": 2, "not_entailment": 3}
SYSTEMS = ("fid", "gpt35", "chatgpt", "gpt4", "newbing")

Row = tuple[str, str, int]
Judged = tuple[str, str, str, bool]  # question, gold alternatives joined by "/", answer, same meaning


def shared_rows(name: str) -> list[dict[str, Any]]:
    """Rows of a gzip JSON-lines file of the shared data."""
    with gzip.open(SHARED / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def held_out(question: str) -> bool:
    """True for a fixed fifth of all questions."""
    return hashlib.sha256(_plain(question).encode()).digest()[0] % 5 == 0


def judged(*, held: bool) -> list[Judged]:
    """Human judgements of answers to NQ-Open, the training or the held-out questions."""
    rows = []
    for row in shared_rows("outcomes/nq_open_human_judged"):
        if row["improper"] or held_out(row["question"]) != held:
            continue
        for system in SYSTEMS:
            answer, verdict = row["answer"].get(system), row["human_correct"].get(system)
            if answer and verdict is not None:
                rows.append((row["question"], row["gold"], answer, bool(verdict)))
    return rows


def judged_rows(seed: int) -> list[Row]:
    """Gold against each system's answer, training questions that are in no sample set."""
    draw, seen = random.Random(seed), measured_questions()
    rows = []
    for question, gold, answer, same in judged(held=False):
        if _plain(question) in seen:
            continue
        options = [part.strip() for part in gold.split("/") if part.strip()] or [gold]
        gold = max(options, key=lambda option: _shared(option, answer)) if same else draw.choice(options)
        rows.append(_row(question, gold, answer, ENTAILMENT if same else NOT_ENTAILMENT, draw))
    return rows


def alias_rows(seed: int) -> list[Row]:
    """Two aliases of one answer, or aliases of two answers to questions of one form."""
    draw, seen = random.Random(seed), measured_questions()
    by_form: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for name in ("questions/popqa_full", "questions/triviaqa_3610"):
        for row in shared_rows(name):
            answers = [a for a in dict.fromkeys(row["answers"]) if 1 < len(a) <= 60 and not re.search(r"[(%:/]", a)]
            if answers and _plain(row["question"]) not in seen and len(row["question"]) < 110:
                form = " ".join(row["question"].split()[:3]) if "popqa" in name else "trivia"
                by_form[form].append((row["question"], answers))
    rows = []
    for group in by_form.values():
        for question, answers in group:
            a = draw.choice(answers)
            alike = [b for b in answers if b != a and _alike(question, a, b)]
            if alike and draw.random() < 0.6:
                rows.append(_row(question, a, draw.choice(alike), ENTAILMENT, draw))
            other = draw.choice(group)[1]
            if not {_plain(x) for x in other} & {_plain(x) for x in answers}:
                b = draw.choice(other)
                if not any(_shared(b, x) for x in answers):
                    rows.append(_row(question, a, b, CONTRADICTION, draw))
    return rows


def nli_rows() -> list[Row]:
    """Short premise and hypothesis pairs, Breaking NLI's many contradictions thinned."""
    rows = []
    for row in shared_rows("nli/nli_pairs"):
        short = len(row["premise"]) + len(row["hypothesis"]) < 180
        if short and (row["source"] != "breaking-nli" or row["label"] != "contradiction" or held_out(row["premise"])):
            rows.append((row["premise"], row["hypothesis"], NLI_LABELS[row["label"]]))
    return rows


def written_rows(seed: int, n: int) -> list[Row]:
    """The project's own pairs, without any that the hard set holds."""
    draw, hard = random.Random(seed + 1), hard_pairs()
    return [
        _written_row(pair, draw) for pair in written(seed, n) if frozenset((_plain(pair.a), _plain(pair.b))) not in hard
    ]


def entity_rows(seed: int, n: int) -> list[Row]:
    """Pairs around the names in the answers of the shared question sets, without any that the hard set holds."""
    draw, seen, hard = random.Random(seed + 2), measured_questions(), hard_pairs()
    people, things = [], []
    for name in ("questions/popqa_full", "questions/triviaqa_3610"):
        for row in shared_rows(name):
            answer = row["answers"][0] if row["answers"] else ""
            words = answer.split()
            if _plain(row["question"]) in seen or not 2 < len(answer) < 32 or not answer.replace(" ", "").isalpha():
                continue
            things.append((row["question"], answer))
            if row["question"].startswith("Who ") and 2 <= len(words) <= 3 and all(w[0].isupper() for w in words):
                people.append((row["question"], words))
    rows: list[Row] = []
    while len(rows) < n:
        kind = draw.random()
        if kind < 0.5:
            question, words = draw.choice(people)
            drawn = person(draw, draw.choice([question, question, ""]), words, [name for _, name in people])
        elif kind < 0.82:
            drawn = part_of_list(draw, [answer for _, answer in things])
        else:
            drawn = one_with_details(draw, *draw.choice(things))
        pair = Written("entities", *drawn)
        if pair.a != pair.b and frozenset((_plain(pair.a), _plain(pair.b))) not in hard:
            rows.append(_written_row(pair, draw))
    return rows


def hand_written(path: Path) -> list[dict[str, Any]]:
    """The pairs of a held-out set that was written by hand."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def hard_pairs() -> set[frozenset[str]]:
    """The held-out written pairs, as unordered pairs of plain answers."""
    rows = [*hand_written(HARD), *hand_written(SECOND)]
    return {frozenset((_plain(row["a"]), _plain(row["b"]))) for row in rows}


def measured_questions() -> set[str]:
    """Questions of the samples on which the end effect is measured, and of the hard pairs: never trained on."""
    names = ("samples/local_pair", "samples/triviaqa_llama2_7b_chat")
    questions = [row["question"] for name in names for row in shared_rows(name)]
    return {_plain(question) for question in questions + [row["question"] for row in hand_written(HARD)]}


def stream(seed: int, shares: dict[str, float]) -> Iterator[Row]:
    """Endless rows: sources in their shares, each gone through in random order before it repeats."""
    draw = random.Random(seed)
    make: dict[str, Callable[[int], list[Row]]] = {
        "judged": judged_rows,
        "alias": alias_rows,
        "nli": lambda _: nli_rows(),
        "written": lambda seed: written_rows(seed, 20_000),
        "entities": lambda seed: entity_rows(seed, 8_000),
    }
    left: dict[str, list[Row]] = {name: [] for name in shares}
    rounds = dict.fromkeys(shares, 0)
    while True:
        name = draw.choices(list(shares), list(shares.values()))[0]
        if not left[name]:
            left[name] = make[name](seed * 1000 + rounds[name])
            draw.shuffle(left[name])
            rounds[name] += 1
        yield left[name].pop()


def _written_row(pair: Written, draw: random.Random) -> Row:
    if pair.relation != "forward":
        label = ENTAILMENT if pair.relation == "same" else CONTRADICTION
        return _row(pair.question, pair.a, pair.b, label, draw)
    a, b, label = (pair.a, pair.b, ENTAILMENT) if draw.random() < 0.4 else (pair.b, pair.a, NEUTRAL)
    return _side(pair.question, a), _side(pair.question, b), label


def _row(question: str, a: str, b: str, label: int, draw: random.Random) -> Row:
    a, b = (a, b) if draw.random() < 0.5 else (b, a)
    return _side(question, a), _side(question, b), label


def _side(question: str, answer: str) -> str:
    return f"{question} {answer}" if question else answer


def _alike(question: str, a: str, b: str) -> bool:
    """Aliases worth trusting: people must share a name (lists mix several people), trivia a longer word."""
    if question.startswith(("Who ", "In what city")) or len(question.split()) > 8:
        return bool(_shared(a, b))
    return True


def _shared(a: str, b: str) -> int:
    return len({w for w in _plain(a).split() if len(w) > 2} & {w for w in _plain(b).split() if len(w) > 2})


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or text
    return " ".join(re.sub(r"[^\w\s]", " ", text.casefold()).split())


def calibration_rows(seed: int, n: int) -> list[Row]:
    """Rows never trained on, for fitting the temperature: the other held-out judged half, and written ones."""
    draw = random.Random(seed)
    others = [row for row in judged(held=True) if not measured_half(row[0])]
    chosen = draw.sample(others, min(n // 2, len(others)))
    found = [_row(q, gold, a, ENTAILMENT if same else NOT_ENTAILMENT, draw) for q, gold, a, same in chosen]
    return found + written_rows(seed, n - len(found))


def measured_half(question: str) -> bool:
    """Of the held-out questions, those whose figures are reported (the others calibrate)."""
    return hashlib.sha256(_plain(question).encode()).digest()[1] % 2 == 0
