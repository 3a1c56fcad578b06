"""What a long answer states in the end, read by rule; and texts of which nothing is to be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.meaning.clusters import meaning_clusters
from demur.meaning.entailment import exact_match
from demur.meaning.rules import final_answer as rule
from demur.meaning.rules.decide import ruling
from demur.meaning.rules.final_answer import (
    final_answer,
    is_long,
    is_unread,
    read_final_answer,
    stands_in,
    without_thinking,
)
from demur.meaning.rules.values.programs import program_value

HOW_MANY = "How many eggs does she sell?"
OPTIONS = "Which metal is liquid at room temperature?\nA. iron\nB. mercury\nC. gold"


@pytest.mark.parametrize(
    ("text", "question", "rule", "stated"),
    [
        ("She has 16 - 7 = 9 eggs left.\n#### 9", "", "marked", "9"),
        ("We add both sides.\nThus \\[ x = \\boxed{\\frac{1}{2}} \\].", "", "boxed", "\\frac{1}{2}"),
        ("Answer: she uses 3 + 4 = <<3+4=7>>7 eggs.\n16 - 7 = <<16-7=9>>9 are left.\nans = 9", "", "stated", "9"),
        (
            "France has many cities. The capital was moved more than once. So the answer is Paris.",
            "",
            "stated",
            "Paris",
        ),
        ("Let me think about this for a moment first.\n**Answer:** Paris", "", "stated", "Paris"),
        ("Zuerst rechnen wir 3 mal 4, das ist 12.\nDie Antwort lautet 12.", "", "stated", "12"),
        ("Primero sumamos las dos cantidades que se dan.\nLa respuesta es 12.", "", "stated", "12"),
        ("先计算总数，然后减去三个。\n答案是12。", "", "stated", "12"),
        ("Mercury is the one that melts lowest of all three.\nThe answer is (B).", OPTIONS, "stated", "B"),
        ("(B) mercury, since its melting point lies far below room temperature.", OPTIONS, "option", "B"),
        ("She eats three of the 16 eggs that her ducks lay. So she sells 13 eggs.", HOW_MANY, "number", "13"),
        ("She starts with 16 eggs and eats three of them: 16 - 3 = 13", HOW_MANY, "equation", "13"),
    ],
)
def test_what_is_stated_is_read(text: str, question: str, rule: str, stated: str) -> None:
    found = final_answer(text, question)
    assert found is not None
    assert (found.rule, found.text) == (rule, stated)


@pytest.mark.parametrize(
    "text",
    [
        "Paris",
        "The answer is Paris.",  # short: normalisation has its own rule
        "Answer: There are twice as many boys as girls in this school, which has many more pupils than the other one.",
        "Rayleigh scattering sends blue light in all directions, which is why the sky looks blue to us.",
        "I wrote 3 emails to her in 2019, and she did not answer any of them until the year after.",
        "Dear customer, we are sorry that your parcel is late. We will refund 5 dollars to you.",
        "",
    ],
)
def test_what_states_no_result_stays_whole(text: str) -> None:
    assert read_final_answer(text, "Write a short email.") == text


def test_of_two_numbers_neither_is_the_answer() -> None:
    """Both texts end in 1945, and say different things."""
    texts = [
        "The war in Europe lasted six years and ended in May 1945, 6 in all.",
        "It lasted 5 years, until May 1945.",
    ]
    found = meaning_clusters(["How long did the war last?"], [texts], entailment=exact_match)
    assert found.ids[0].tolist() == [0, 1]


def test_thinking_is_not_part_of_the_answer() -> None:
    assert without_thinking("<think>Lyon? No.</think>\nParis") == "Paris"
    assert without_thinking("Lyon? No.</think> Paris") == "Paris"
    assert read_final_answer("<think>Is it Lyon or Paris? It is Paris.</think>Paris") == "Paris"
    assert without_thinking("I think Paris") == "I think Paris"


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("a = 60\nb = a * 2\nans = (a + b) / 5", 36.0),
        ("ans = 0\nfor i in range(10):\n    if i % 2 == 0:\n        ans += i", 20.0),
        ("total = 10\nwhile total > 3:\n    total -= 2\nprint('left:', total)", 2.0),
        ("def solution():\n    eggs = 16\n    return (eggs - 3 - 4) * 2", 18.0),
        ("def twice(x):\n    return 2 * x\nresult = twice(4) + 1", 9.0),
        ("import math\nans = math.ceil(7 / 2)", 4.0),
        ("Here is the code:\n```python\nx = 3\nx ** 2\n```", 9.0),
    ],
)
def test_small_programs_have_a_value(program: str, value: float) -> None:
    assert program_value(program) == value


@pytest.mark.parametrize(
    "program",
    [
        "ans = 60 / girls",  # a name that it did not set
        "import os\nans = os.getpid()",
        "ans = (1).__class__.__mro__",
        "ans = __import__('os')",
        "ans = open('x')",
        "while True:\n    ans = 1",
        "ans = 9 ** 9 ** 9",
        "ans = 'a' * 10 ** 9",
        "ans = [0] * 10 ** 9",
        "ans = max(range(10 ** 12))",
        "def f(x):\n    return f(x)\nans = f(1)",
        "ans = 1 / 0",
        "x = " + "(" * 400 + "1" + ")" * 400,
        "Paris",
    ],
)
def test_programs_that_need_more_have_none(program: str) -> None:
    assert program_value(program) is None


def test_long_answers_cluster_by_what_they_state() -> None:
    answers = [
        "She eats 3 and bakes with 4, so 16 - 7 = <<16-7=9>>9 are left.\nans = 18",
        "eggs = 16 - 3 - 4\nans = eggs * 2",
        "First we subtract the seven eggs.\nThen we multiply by two dollars.\nThe answer is 18.",
        "Janet sells 8 eggs.\nThe answer is 16.",
    ]
    found = meaning_clusters([HOW_MANY], [answers], entailment=exact_match)
    assert found.ids[0].tolist() == [0, 0, 0, 1]
    assert found.pairs_scored == 0
    whole = meaning_clusters([HOW_MANY], [answers], entailment=exact_match, rules=False)
    assert whole.ids[0].tolist() == [0, 1, 2, 3]


@given(st.text(max_size=200), st.text(max_size=40))
def test_any_text_is_read_or_left_whole(text: str, question: str) -> None:
    found = final_answer(text, question)
    assert found is None or (found.text and (found.rule == "program" or found.text in text or "<<" in text))


@pytest.mark.parametrize(
    "text",
    [
        *("B", "(B)", "B.", "B) mercury", "B. Mercury", "(B) mercury.", "mercury", "Mercury.", "b", "(b)", "Answer: B"),
        *("The answer is (B).", "Option B", "The correct option is B) mercury.", "It is mercury"),
    ],
)
def test_an_option_is_its_letter_its_text_or_both_where_the_question_lists_it(text: str) -> None:
    assert read_final_answer(text, OPTIONS) == "B"
    assert read_final_answer(text) == text  # without the question nothing says what B stands for


@pytest.mark.parametrize(
    "text", ["B) gold", "A) mercury", "D", "D) mercury", "mercury and gold", "d", "not B", "The answer is D", ""]
)
def test_what_chooses_no_option_or_two_stays_as_it_is(text: str) -> None:
    assert read_final_answer(text, OPTIONS) == text


@pytest.mark.parametrize("text", ["c", "(c)", "C", "(c) gold", "gold", "Answer: C", "Option c"])
def test_options_may_have_small_letters(text: str) -> None:
    assert read_final_answer(text, "Which is yellow?\n(a) iron\n(b) mercury\n(c) gold") == "C"
    assert read_final_answer(text, "Which is yellow? b) iron c) mercury") == text  # not in order: no list of options


def test_a_small_letter_that_is_an_options_text_is_that_option() -> None:
    assert read_final_answer("b", "Which letter is silent in knee?\nA) b\nB) k") == "A"


def test_two_letters_of_options_are_no_question_for_the_model() -> None:
    assert ruling("C", "D") == ("letters that differ", False)
    assert ruling("c", "d") is None  # variables, notes


@given(st.permutations(["iron", "mercury", "gold", "a mixture"]), st.sampled_from("ABCD"), st.sampled_from("ABCD"))
def test_two_options_are_never_one_meaning(names: list[str], one: str, other: str) -> None:
    question = "Which?\n" + "\n".join(f"{letter}) {name}" for letter, name in zip("ABCD", names, strict=True))
    texts = dict(zip("ABCD", names, strict=True))
    answers = [one, f"{one}) {texts[one]}", texts[one], other, f"{other}. {texts[other]}", texts[other]]
    ids = meaning_clusters([question], [answers], entailment=exact_match).ids[0].tolist()
    assert ids == ([0] * 6 if one == other else [0, 0, 0, 1, 1, 1])


def test_two_options_are_enough_to_choose_from() -> None:
    found = final_answer("B) no", "Is it open?\nA) yes\nB) no")
    assert found is not None
    assert found.text == "B"


@pytest.mark.parametrize(
    ("text", "question", "found"),
    [
        ("We add up so the answer is 12", "", None),  # eight words are their own answer
        ("We add them up so the answer is 12", "", ("12", "stated")),
        ("It is \\boxed{5}", "", ("5", "boxed")),  # a box states a result however short the text
        ("Paris", "", None),
        ("<Think>Lyon?\nNo.</Think> Paris", "", ("Paris", "thinking removed")),
        ("<think>Lyon?</think>", "", None),  # a thought without an answer
        ("First \\boxed{3}, and then\nthe sum \\boxed{{4}}.", "", ("{4}", "boxed")),
        ("A box that \\boxed{never ends, like\nthis one does", "", None),
        ("#### 3\nNo, that was wrong.\n#### 4", "", ("4", "marked")),
        ("The answer is 5. No, let me check that again.\nThe answer is 6.", "", ("6", "stated")),
        ("The answer is " + "very " * 15 + "good", "", ("very " * 15 + "good", "stated")),  # 16 words
        ("The answer is " + "very " * 16 + "good", "", None),
        ("Mercury melts lowest of these metals, far below zero.\n(B)", OPTIONS, ("B", "option")),
        ("D) because it melts lowest of all of these metals.", OPTIONS, None),  # not listed
        ("A) because the doors are closed on every other day.", "Is it open?\nA) yes", None),  # one is no choice
        ("A) because the doors are closed on every other day.", "Is it?\nA) yes\nB) no", ("A", "option")),
        ("She had 16 eggs to begin with.\nSo 16 - 7 = <<16-7=9>>9", "", ("9", "equation")),
        ("The two sides are known: x = 3, and y = 4", "", None),  # no quantity is asked
        ("The first side is 3 + 4 = 7, so the second is 16 - 7 = 9", HOW_MANY, ("9", "equation")),
        ("She eats 3 of them. So she sells 13 of her eggs.", "Who sells eggs?", None),
        ("Here is how to compute it:\n```python\na = 2\nans = a * 3", "", ("6", "program")),  # cut before the fence
        ("ans = 1\nresult = ans + 1", "Write Python code that adds one.", None),  # code was asked for
        ("eggs = 3\nans = eggs * eels", "", None),  # a program without a value
        ("First it is said in a few words here.\nThe answer is 12.", "Write a function", None),
        ("ls -a\nls -b", "", None),  # code is compared as code
    ],
)
def test_each_rule_reads_what_it_is_for(text: str, question: str, found: tuple[str, str] | None) -> None:
    read = final_answer(text, question)
    assert (read and (read.text, read.rule)) == found


def test_a_result_is_looked_for_in_the_last_4000_characters() -> None:
    text = "#### 9\n" + "x" * 3993
    assert final_answer(text) is not None
    assert final_answer(f"{text}x") is None


def test_two_options_of_one_text_are_not_told_apart() -> None:
    assert read_final_answer("yes", "Which?\nA) yes\nB) yes") == "yes"


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("x = abs(-3)\nans = max(x, 2) + min(1, 5) + math.floor(2.5)", 6.0),
        ("ans = round(2.6) + int(3.9) + len([1, 2]) + sum([4, 5]) + math.sqrt(16)", 21.0),
        ("a, b = 2, 5\nans = a if a > b else b", 5.0),
        ("ans = 1 if 2 < 1 and 1 < 2 else 2", 2.0),
        ("ans = 1 if 2 < 1 or 1 < 2 else 2", 1.0),
        ("ans = 1 if not 2 < 1 else 2", 1.0),
        ("answer = 3\nans = 7\nx = 9", 7.0),  # the first of the names for results
        ("x = 4\nprint('x')\nx", 4.0),
        ("x = 4\nx + 1", 5.0),  # what it shows, before what it set last
        ("x = 4\ny = 6", 6.0),
        ("ans = True\nx = 5", 5.0),  # a truth is no number
        ("ans = True\nresult = 3\nx = 5", 3.0),  # the first of the names that holds one
        ("def f():\n    return 2\ndef g():\n    return 3\nx = f() + g()", 5.0),
        ("def f(x):\n    'Twice.'\n    y: int = 2 * x\n    return y\nans = f(f(3))", 12.0),
        ("x = [3, 4, 5]\nans = x[1]", 4.0),
        ("ans = 0\nfor x in [1, 2]:\n    ans += x", 3.0),
        ("ans = -2 ** 2 + 7 % 4 + 7 // 2", 2.0),
        ("ans = 1000000 ** 2", 1e12),
        ("ans = 1.0 ** 64", 1.0),
        ("ans = 1e15", 1e15),
        ("ans = 1e14 * 10", 1e15),
        ("x = 1\nif x > 1:\n    ans = 2\nelse:\n    ans = 3", 3.0),
        ("```\nans = 1\n```\nNo:\n```\nans = 2\n```", 2.0),  # the last block counts
        ("```\nans = 1\n```\nIn words:\n```\nno program\n```", 1.0),
    ],
)
def test_what_a_program_sets_last_is_its_value(program: str, value: float) -> None:
    assert program_value(program) == value


@pytest.mark.parametrize(
    "program",
    [
        "def f():\n    return 2\ndef g():\n    return 3",  # which of them?
        "def f(x):\n    return x",
        "ans = 1 ** 65",
        "ans = 1000001 ** 2",
        "ans = 1e15 + 1",
        "ans = (-8) ** .5",  # no real number
        "ans = 2 ** 'a'",
        "ans = 'a' + 'b'",
        "a, b = 1, 2, 3",
        "a, b = 3",
        "for x in 'abc':\n    ans = 1",
        "for x in 5:\n    ans = 1",
        "for x in range(20001):\n    pass\nans = 1",
        "ans = 'five'",
        "x = 4\nx = y",
        "ans = eval('1')",
        "ans = math.exp(1)",
        "with x:\n    ans = 1",
    ],
)
def test_what_does_more_than_a_small_program_has_no_value(program: str) -> None:
    assert program_value(program) is None


def test_a_program_has_20000_steps() -> None:
    """An assignment takes two steps and a pass takes one, so 19,998 of them are the most."""
    assert program_value("x = 1\n" + "pass\n" * 19_998) == 1.0
    assert program_value("x = 1\n" + "pass\n" * 19_999) is None


@pytest.mark.parametrize(
    ("text", "question", "unread"),
    [
        ("It lies on the Seine, and many people visit it every single year.", "", True),
        ("<think>Which city?</think>It lies on the Seine, and many people visit it every single year.", "", True),
        ("It lies on the Seine", "", False),  # short
        ("", "", False),
        ("<think>Which city?</think>", "", False),
        ("It lies on the Seine, and many people visit it.\nThe answer is Paris.", "", False),
        ("I don't know. It lies on the Seine or on some other river of that land.", "", False),
        ("It lies on the Seine, and many people visit it every single year.", "Write a function.", False),
        ("import os\nos.remove('a')", "", False),
        ("x = girls / 2\nans = x", "", False),  # a program, if one without a value
    ],
)
def test_a_text_whose_result_no_rule_reads_is_left_to_a_model(text: str, question: str, unread: bool) -> None:
    assert is_unread(text, question) is unread


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        ("Paris.", "Paris"),
        ("**Paris**\nThe text says so.", "Paris"),
        ("Lyon", ""),
        ("", ""),
        (" ".join(["very"] * 16), " ".join(["very"] * 16)),
        (" ".join(["very"] * 17), ""),
    ],
)
def test_a_model_states_only_what_stands_in_the_text(statement: str, kept: str) -> None:
    text = "They say that it is Paris, which is " + "very " * 20 + "large."
    assert stands_in(statement, text) == kept
    assert stands_in("Lyon", f"<think>Lyon?</think>{text}") == ""


@pytest.mark.parametrize(
    "program", ["x = [1]\nx[0] = [1, 2]\nans = 1", "x = [1]\nx[0] = 5\nans = 1", "x.y = [1]\nans = 1"]
)
def test_a_program_sets_names_alone(program: str) -> None:
    assert program_value(program) is None


@pytest.mark.parametrize(
    ("question", "text", "polarity"),
    [
        ("Is 91 a prime number?", "No, 91 = 7 x 13.", "No"),
        ("Is 91 a prime number?", "**No**", "No"),
        ("Are bats mammals?", "Yes - they feed their young with milk.", "Yes"),
        ("Are bats mammals?", "Yes, but they fly.", "Yes, but they fly."),
        ("Are bats mammals?", "No one knows", "No one knows"),
        ("Do you know the capital of France?", "Yes, Paris.", "Yes, Paris."),
        ("Can it be told who wrote it?", "Yes, Marlowe.", "Yes, Marlowe."),
        ("Is it Oslo or Bergen?", "No, Bergen.", "No, Bergen."),
        ("Who wrote it?", "No, Marlowe.", "No, Marlowe."),
    ],
)
def test_the_answer_to_a_question_of_yes_or_no(question: str, text: str, polarity: str) -> None:
    assert read_final_answer(text, question) == polarity


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>Lyon", ""),  # a thought that does not end
        ("<THINK>Lyon", ""),
        ("<thinking>Lyon", ""),
        (" \n<think>Lyon\nor Paris</think>\n\nParis", "Paris"),
        ("Lyon?</THINKING> Paris", "Paris"),  # one whose beginning the server took off
        ("</think>Paris", "Paris"),
        ("<think>a</think>Paris <think>b</think>", "Paris <think>b</think>"),  # the first one alone
        ("I think <b>Paris</b>", "I think <b>Paris</b>"),
        ("Paris, see <think", "Paris, see <think"),
        (" Paris ", " Paris "),
        ("", ""),
    ],
)
def test_thoughts_begin_or_end_with_a_mark(text: str, left: str) -> None:
    assert without_thinking(text) == left


@pytest.mark.parametrize(
    ("text", "long"),
    [
        ("one two three four five six seven eight", False),
        ("one two three four five six seven eight nine", True),
        ("one\ntwo", True),
        ("one\n", False),
        ("\\boxed{4}", True),
        ("", False),
    ],
)
def test_more_than_eight_words_or_a_line_is_long(text: str, long: bool) -> None:
    assert is_long(text) is long


@pytest.mark.parametrize(
    ("words", "kept"),
    [(1, True), (16, True), (17, False)],
)
def test_a_statement_has_sixteen_words_at_most(words: int, kept: bool) -> None:
    said = " ".join(f"w{i}" for i in range(words))
    assert stands_in(said, f"So {said} it is") == (said if kept else "")
    assert stands_in("", "So it is") == ""
    assert stands_in(f"{said}\nand more", f"So {said} it is") == (said if kept else "")


# -- parts of the rules, by hand --------------------------------------------------------------------------------------

COLOURS = "Which colour? A) red B) blue"


@pytest.mark.parametrize(
    ("text", "question", "read"),
    [
        ("3 + 4 = 7", "How many?", "7"),
        ("3 + 4 = 7", "Why?", ""),  # no quantity is asked for
        ("<<3+4=7>> so 3 + 4 = 7", "Why?", "7"),  # sums in marks
        ("3 + 4 = <<3+4=7>>7", "Why?", "7"),
        ("a = 5, b = 6", "How many?", "6"),  # the last
        ("3 + 4 = 7. So it is", "How many?", ""),  # of the last sentence
        ("So it is. 3 + 4 = 7", "How many?", "7"),
        ("x = 3 + 4", "How many?", ""),  # a sum that is not done
        ("it costs = $1,200, at least", "How much?", "$1,200"),
        ("x = -2.5", "How much?", "-2.5"),
        ("", "How many?", ""),
    ],
)
def test_the_right_side_of_the_last_equation(text: str, question: str, read: str) -> None:
    assert rule._equation(text, question) == read


@pytest.mark.parametrize(
    ("text", "question", "read"),
    [
        ("It is 7.", "How many?", "7"),
        ("It is 7.", "Why?", ""),
        ("3 to 4 of them", "How many?", ""),  # either may be the answer
        ("3 of 3", "How many?", "3"),
        ("Of 5. It is 7", "How many?", "7"),
        ("It costs $1,200, at least", "How much?", "$1,200"),
        ("It is <<3*4=12>>12", "How many?", "12"),
        ("none", "How many?", ""),
        ("", "How many?", ""),
    ],
)
def test_the_only_number_of_the_last_sentence(text: str, question: str, read: str) -> None:
    assert rule._number(text, question) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"\boxed{4}", "4"),
        (r"\fbox { 4 }", "4"),
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{3} or \boxed{4}", "4"),
        (r"\boxed{3", ""),
        (r"\boxed{{3}", ""),
        (r"\boxed{}", ""),
        ("4", ""),
    ],
)
def test_what_stands_in_the_last_box(text: str, read: str) -> None:
    assert rule._read_boxed(text, "") == read


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (COLOURS, {"A": "red", "B": "blue"}),
        ("Which?\nA. Red\nB. blue.\nC. green", {"A": "red", "B": "blue", "C": "green"}),
        ("Which? a) red b) blue", {"A": "red", "B": "blue"}),
        ("Which? b) red a) blue", {}),  # not in order
        ("Which? b) red c) blue", {}),  # not from a
        ("Which? A) red", {}),  # one is no choice
        ("Which? A) red B) Red", {}),  # two with one text
        ("Which?", {}),
        ("", {}),
    ],
)
def test_the_options_of_a_question(question: str, options: dict[str, str]) -> None:
    assert rule._options(question) == options


@pytest.mark.parametrize(
    ("stated", "question", "letter"),
    [
        ("B", COLOURS, "B"),
        ("(B)", COLOURS, "B"),
        ("B) blue", COLOURS, "B"),
        ("B: because", COLOURS, "B"),
        ("C", COLOURS, ""),  # no option
        ("But", COLOURS, ""),
        ("b", COLOURS, ""),
        ("A", "Which? A) red", ""),  # one is no choice
        ("A", "", ""),
        ("", COLOURS, ""),
    ],
)
def test_a_letter_is_one_of_the_questions_options(stated: str, question: str, letter: str) -> None:
    assert rule._letter(stated, question) == letter


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("**Paris.**", "Paris"),
        ('"Paris"', "Paris"),
        ("$x$", "x"),
        (" `x` ", "x"),
        ("東京。", "東京"),
        ("$5", "$5"),
        ("", ""),
    ],
)
def test_emphasis_and_the_end_of_a_sentence_are_taken_off(text: str, bare: str) -> None:
    assert rule._bare(text) == bare


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a. b", ["a.", " b"]), ("a\n\nb", ["a", "b"]), ("3.5", ["3.5"]), ("a.", ["a."]), ("", [""]), ("  ", ["  "])],
)
def test_the_sentences_of_a_text(text: str, parts: list[str]) -> None:
    assert rule._sentences(text) == parts
