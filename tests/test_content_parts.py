"""Parts of the rule for other languages, by hand: what is read of an answer, and when two parts agree."""

from __future__ import annotations

import pytest

from demur.meaning.rules import content as rule
from demur.meaning.rules.content import Content, content, says_the_same, unify
from demur.meaning.rules.languages import LONGEST


def read(answer: str, question: str) -> Content:
    return content(answer, question)


def test_what_an_answer_says_beside_its_question() -> None:
    """Articles and the copula are function words; "Hauptstädte" is "Hauptstadt" in another form."""
    found = read("Die Hauptstädte Europas sind nicht Rom in Italien", "Was ist die Hauptstadt Europas?")
    assert found.own == ("rom", "italien")
    assert found.words == ("hauptstädte", "europas", "rom", "italien")
    assert found.inflected == {"hauptstädte"}
    assert found.negated
    assert found.prepositions == {"in"}
    plain = read("Rom", "Was ist die Hauptstadt Europas?")
    assert plain == Content(("rom",), ("rom",), frozenset(), False, frozenset())


@pytest.mark.parametrize(
    ("answer", "negated"),
    [("nicht hier", True), ("nein", True), ("Der Nein ist hier", False), ("hier", False), ("kein Haus", True)],
)
def test_a_negation_is_a_word_in_small_letters_or_the_first_one(answer: str, negated: bool) -> None:
    assert read(answer, "Wo?").negated is negated


@pytest.mark.parametrize(
    ("answer", "own"),
    [
        ("Nguyễn Du", ("nguyễn", "du")),  # "du" in small letters is an article elsewhere
        ("der Du", ("du",)),
        ("Die", ()),  # the first word has a capital whatever it is
        ("A. Einstein", ("a", "einstein")),  # a letter with a dot is a name's
        ("A Roma", ("roma",)),
        ("Das weiß Sie", ("weiss",)),  # a polite form names nobody
        ("ja genau Rom", ("rom",)),
    ],
)
def test_words_with_a_capital_are_names_unless_they_come_first(answer: str, own: tuple[str, ...]) -> None:
    assert read(answer, "Wo?").own == own


@pytest.mark.parametrize(
    ("asked", "word", "explained"),
    [
        ("haus", "haus", True),
        ("abc", "abc", True),
        ("abcde", "abcxy", True),  # three letters, and .6 of five
        ("abcdef", "abcxyz", False),  # three of six
        ("abcdef", "abcdxy", True),
        ("abx", "aby", False),  # two
        ("abcdef", "ab", False),  # two, all of the shorter one
        ("ab", "abcdef", False),
        ("abc", "abcdefghij", True),  # all of the shorter one
        ("1990", "19901", False),  # numbers are equal or not
        ("1990", "1990", True),
        ("abc1", "1abc", False),
    ],
)
def test_a_word_of_the_question_in_another_form(asked: str, word: str, explained: bool) -> None:
    assert rule._explains(asked, word) is explained


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("krakowie", "krakow"),
        ("města", "mest"),  # without accents first
        ("domy", "domy"),  # three letters would be left
        ("domky", "domk"),
        ("talossa", "talo"),
        ("москвой", "москв"),
        ("abcd", "abcd"),
    ],
)
def test_a_stem_has_four_letters_at_least(word: str, stem: str) -> None:
    assert rule._stem(word) == stem


def test_own_words_agree_in_order_and_in_another_case_where_prepositions_differ() -> None:
    assert rule._agree(["a", "b"], ["a", "b"], inflected=False)
    assert not rule._agree(["a", "b"], ["b", "a"], inflected=False)
    assert not rule._agree(["a"], ["a", "b"], inflected=False)
    assert not rule._agree(["krakowie"], ["krakow"], inflected=False)
    assert rule._agree(["krakowie"], ["krakow"], inflected=True)
    assert rule._agree(["열려있습니다"], ["열려있어요"], inflected=False)


def test_words_that_both_have_stand_in_one_order() -> None:
    assert rule._in_order(["a", "x", "b"], ["y", "a", "b"])
    assert not rule._in_order(["a", "b"], ["b", "a"])
    assert rule._in_order(["a"], ["b"])


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (["picasso"], ["pablo", "picasso"], True),
        (["pablo"], ["pablo", "picasso"], True),
        (["ruiz"], ["pablo", "ruiz", "picasso"], False),  # neither end
        (["p"], ["p", "picasso"], False),  # one letter names nobody
        (["napoleon"], ["napoleon", "iii"], False),
        (["paul"], ["paul", "2"], False),
        (["p", "picasso"], ["pablo", "picasso"], True),
        (["a", "s", "puschkin"], ["alexander", "sergejewitsch", "puschkin"], True),
        (["a", "n", "puschkin"], ["alexander", "sergejewitsch", "puschkin"], False),
        (["albert", "einstein"], ["alfred", "einstein"], False),
        (["pablo", "picasso"], ["pablo", "ruiz"], False),
        (["pablo"], ["picasso"], False),
        (["a", "b", "tolstoi"], ["a", "tolstoi"], True),
    ],
)
def test_a_person_named_in_part(a: list[str], b: list[str], same: bool) -> None:
    assert rule._named_in_part(a, b) is same
    assert rule._named_in_part(b, a) is same


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Ja.", "Ja, es ist offen", True),
        ("Nein", "Nein, nie", True),
        ("Ja", "Nein", False),
        ("Ja, nur montags", "Ja", False),
        ("Ja klar", "Ja gut", False),  # neither says nothing else
        ("offen", "offen heute", False),
        ("Ja", "Ja, aber nur montags", False),
    ],
)
def test_yes_or_no_alone_is_what_a_longer_answer_begins_with(a: str, b: str, same: bool) -> None:
    assert rule._only_polar(a, b) is same
    assert rule._only_polar(b, a) is same


@pytest.mark.parametrize(
    ("answer", "items"),
    [
        ("Rot, Blau und Gelb", {"rot", "blau", "gelb"}),
        ("- Rot\n- Blau.", {"rot", "blau"}),
        ("1. Rot\n2) Blau", {"rot", "blau"}),
        ("Rot", set()),
        ("Rot, rot", set()),
        ("eins zwei drei vier, Rot", {"eins zwei drei vier", "rot"}),
        ("eins zwei drei vier fünf, Rot", set()),
        ("北京、上海", {"北京", "上海"}),
    ],
)
def test_the_items_of_an_answer(answer: str, items: set[str]) -> None:
    assert rule._items(answer) == items


@pytest.mark.parametrize(
    ("short", "long", "question", "contained"),
    [
        ("東京", "首都は東京です", "日本の首都はどこ", True),
        ("東京", "首都は東京都です", "日本の首都はどこ", False),  # nothing explains 都
        ("京", "首都は京です", "日本の首都はどこ", False),  # one letter
        ("首都", "日本の首都です", "日本の首都はどこ", False),  # it stands in the question
        ("大阪", "首都は東京です", "日本の首都はどこ", False),
        ("不可", "可以不可", "可以吗", True),
        ("可以", "不可以", "行吗", False),  # one denies
        ("31", "131", "1と3", False),  # 31 in 131
        ("13", "131", "1と3", False),
        ("13", "番号13番", "番号", False),
        ("13人", "参加13人です", "参加は", True),
        ("スミス", "ジョン・スミス", "誰ですか", True),
        ("スミス", "ジョン・スミス", "どこですか", False),
    ],
)
def test_a_shorter_answer_stands_in_a_longer_one(short: str, long: str, question: str, contained: bool) -> None:
    assert rule._is_contained(short, long, question) is contained


@pytest.mark.parametrize(
    ("text", "question", "explained"),
    [
        ("", "首都", True),
        ("首都", "首都は", True),
        ("首都です", "首都は", True),
        ("首都首都", "首都は", True),
        ("都首", "首都は", False),
        ("首", "首都は", False),  # one letter is no run
        ("首都人", "首都は", False),
        ("です", "x", True),
        ("日本の首都", "日本。首都", True),
    ],
)
def test_what_question_and_grammar_explain(text: str, question: str, explained: bool) -> None:
    assert rule._is_explained(text, question) is explained


@pytest.mark.parametrize(
    ("text", "place", "splits"),
    [
        *(("131", place, 0 < place < 3) for place in range(4)),
        *(("a13", 1, False), ("13a", 1, True), ("1a", 1, False)),
    ],
)
def test_a_place_inside_a_number(text: str, place: int, splits: bool) -> None:
    assert rule._splits_number(text, place) is splits


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (" 東 京 です。", "東京です"),
        ("下午3点", "15点"),
        ("午後12時", "12時"),  # noon
        ("下午1点", "13点"),
        ("没有钱", "没钱"),
        ("三人!", "3人"),
    ],
)
def test_texts_without_spaces_are_compared_plainly(text: str, plain: str) -> None:
    assert rule._plain(text) == plain


def test_long_answers_and_those_without_a_question_are_left() -> None:
    long = "x" * (LONGEST + 1)
    assert says_the_same("x" * LONGEST, "x" * LONGEST, "Wer?")
    assert not says_the_same(long, long, "Wer?")
    assert not says_the_same("Rom", "Rom", "")
    assert says_the_same("Rom", "Rom", "Wo?")
    assert not says_the_same("Rom", "Rom", "Wer ist größer?")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("in Rom", "Rom", True),  # one says more of the same
        ("in Rom", "aus Rom", False),
        ("nicht Rom", "Rom", False),
        ("nicht Rom", "kein Rom", True),
    ],
)
def test_negation_and_prepositions_agree(a: str, b: str, same: bool) -> None:
    assert says_the_same(a, b, "Wo?") is same
    assert says_the_same(b, a, "Wo?") is same


def test_each_answer_has_the_place_of_the_first_that_says_the_same() -> None:
    assert unify(["Rom", "Es ist Rom", "Mailand", "Es ist Mailand"], "Wo ist es?") == [0, 0, 2, 2]
    assert unify([], "Wo?") == []


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (["einstein"], ["johann", "albert", "einstein"], True),  # the end of a longer name
        (["johann"], ["johann", "albert", "einstein"], True),
        (["albert", "einstein"], ["johann", "albert", "einstein"], True),
        (["johann", "albert"], ["johann", "albert", "einstein"], True),
        (["albert", "einstein"], ["hans", "jakob", "albert", "einstein"], True),
        (["albert"], ["johann", "albert", "einstein"], False),
        (["x", "y"], ["z", "x", "y"], False),  # letters alone name nobody
        (["ko", "y"], ["z", "ko", "y"], True),
        (["e"], ["johann", "albert", "e"], False),
        (["albert", "einstein"], ["albert", "einstein"], True),
        (["einstein"], ["einstein"], False),  # equal words are another rule's
    ],
)
def test_a_name_is_the_beginning_or_the_end_of_a_longer_one(a: list[str], b: list[str], same: bool) -> None:
    assert rule._named_in_part(a, b) is same
    assert rule._named_in_part(b, a) is same


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        ("abc", "abd", "ab"),
        ("abc", "abcd", "abc"),
        ("abcd", "abc", "abc"),
        ("abc", "xbc", ""),
        ("", "abc", ""),
        ("a", "a", "a"),
    ],
)
def test_the_common_start_of_two_words(a: str, b: str, common: str) -> None:
    assert rule._common_start(a, b) == common


@pytest.mark.parametrize(
    ("a", "b", "inflected", "agree"),
    [
        ([], [], False, True),
        (["rom"], [], True, False),
        (["rom", "paris"], ["rom", "paris"], False, True),
        (["rom", "paris"], ["paris", "rom"], True, False),
        (["rom", "oslo"], ["rom", "paris"], True, False),
    ],
)
def test_as_many_words_in_the_same_order_agree(a: list[str], b: list[str], inflected: bool, agree: bool) -> None:
    assert rule._agree(a, b, inflected=inflected) is agree
