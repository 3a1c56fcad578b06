"""A whole run on prompts of twelve languages in ten scripts, mixed; answers come as models dress them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import demur
from demur.labels.preference_files import read_preferences
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.prompt_router import PromptRouter
from demur.runs import run as opened
from pairs import Pair, running_pair

EASY = {  # the weak model knows the number of a house, and guesses at sums
    "en": "Which number has house {a}?",
    "de": "Welche Nummer hat Haus {a}?",
    "es": "¿Qué número tiene la casa {a}?",
    "ru": "Какой номер у дома {a}?",
    "el": "Ποιον αριθμό έχει το σπίτι {a};",
    "ar": "ما هو رقم البيت {a}؟",
    "he": "מה המספר של בית {a}?",
    "hi": "मकान {a} का नंबर क्या है?",
    "th": "บ้าน {a} มีเลขที่เท่าไร",
    "ja": "家{a}の番号は何ですか?",
    "ko": "집 {a}의 번호는 무엇입니까?",
    "zh": "房子{a}的号码是多少?",
}
HARD = {  # plus signs are of every script
    "en": "What is {a} + {b}, altogether?",
    "de": "Was ergibt {a} + {b} zusammen?",
    "es": "¿Cuánto es {a} + {b} en total?",
    "ru": "Сколько будет всего {a} + {b}?",
    "el": "Πόσο κάνει συνολικά {a} + {b};",
    "ar": "كم يساوي مجموع {a} + {b}؟",
    "he": "כמה זה ביחד {a} + {b}?",
    "hi": "{a} + {b} कुल कितना होता है?",
    "th": "{a} + {b} รวมเป็นเท่าไร",
    "ja": "{a} + {b} は合計いくつですか?",
    "ko": "{a} + {b} 는 모두 얼마입니까?",
    "zh": "{a} + {b} 一共是多少?",
}
DRESSES = ("{n}", "**{n}**", "$\\boxed{{{n}}}$", "<think>\nLet me see.\n</think>\n{n}")


def numbers(prompt: str) -> list[int]:
    return [int(digits) for digits in re.findall("[0-9]+", prompt)]


def right(prompt: str) -> int:
    return sum(numbers(prompt)) if "+" in prompt else numbers(prompt)[0] + 500


def strong(prompt: str, seed: int) -> str:
    return DRESSES[seed % len(DRESSES)].format(n=right(prompt))


def weak(prompt: str, seed: int) -> str:
    if "+" not in prompt:
        return strong(prompt, seed)
    guess = random.Random(f"{prompt} {seed}").randrange(10**6)
    odd = {0: "", 1: "I'm sorry, I can't help with that.", 2: f"{guess} " * 5000}
    return odd.get(guess % 40, str(guess))


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair(answers=(weak, strong)) as found:
        yield found


@pytest.fixture(scope="module")
def folder(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that is trained, its prompts embedded by their Latin letters and digits."""
    path = tmp_path_factory.mktemp("mixed")
    rows = [
        {"prompt": text, "answers": [str(right(text))]}
        for i in range(4)
        for kind in (EASY, HARD)
        for text in (form.format(a=i + 11, b=2 * i + 7) for form in kind.values())
    ]
    (path / "prompts.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
        run = str(path / "run")
        demur.sample(path / "prompts.jsonl", **pair.names, run=run, n=4)
        demur.label(run=run)
        demur.train(run=run, methods="logistic", gate="off")
        yield path / "run"


def test_every_prompt_of_every_language_is_told(folder: Path) -> None:
    rows = read_preferences(folder / "preferences.jsonl")
    assert {row.prompt[-2] for row in rows}  # they are read back as they were written
    hard = [row.target for row in rows if "+" in row.prompt]
    easy = [row.target for row in rows if "+" not in row.prompt]
    assert len(hard) + len(easy) == len(rows) >= 40
    assert min(hard) > max(easy)  # whatever dress an answer wears, it is one meaning
    assert {row.meanings_b for row in rows} == {1}  # of the strong model


def test_the_router_says_which_encoder_it_has_and_why(folder: Path) -> None:
    router = PromptRouter.load(folder / "router")
    assert router.record["encoder"] == "multilingual-e5-small"
    assert router.record["encoder_choice"].startswith("encoder multilingual-e5-small: prompts are ")
    assert set(router.record["languages"]) >= {"en", "de", "es", "ru", "el", "ar", "he", "hi", "th", "ja", "ko", "zh"}


def test_it_routes_text_from_right_to_left_and_is_measured(folder: Path) -> None:
    router = PromptRouter.load(folder / "router")
    assert router.route("כמה זה ביחד 14 + 23?").score > router.route("מה המספר של בית 14?").score
    found = demur.evaluate(run=str(folder))
    assert found.rows[0].curve.apgr > 0.6
