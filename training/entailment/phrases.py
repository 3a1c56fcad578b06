"""Written pairs of names, places and statements: aliases, negations, roles, subsets, added details, yes and no."""

from __future__ import annotations

import random

from drawn import Drawn, capitalised, lowered, relation_of
from words import (
    ACRONYMS,
    ANIMALS,
    ANTONYMS,
    APPOSITIVES,
    CITIES,
    DOERS,
    FIRST,
    GROUPS,
    LAST,
    NICKNAMES,
    PARAPHRASES,
    PLACES,
    STATEMENTS,
    THINGS,
    TITLES,
    VERBS,
)


def negations(draw: random.Random) -> Drawn:
    subject, base, past, other = draw.choice(STATEMENTS)
    a_yes, b_yes = (draw.random() < 0.5 for _ in range(2))
    yes = [
        f"{subject} {past}.",
        f"{subject} did {base}.",
        f"It is true that {lowered(subject)} {past}.",
        f"Yes, {lowered(subject)} {past}.",
    ]
    no = [
        f"{subject} did not {base}.",
        f"{subject} didn't {base}.",
        f"{subject} never {past}.",
        f"{subject} {other}.",
        f"It is not true that {lowered(subject)} {past}.",
        f"No, {lowered(subject)} did not {base}.",
    ]
    a, b = draw.choice(yes if a_yes else no), draw.choice(yes if b_yes else no)
    question = draw.choice(["", f"Did {lowered(subject)} {base}?"])
    return question, a, b, relation_of(a_yes == b_yes)


def antonyms(draw: random.Random) -> Drawn:
    thing, (word, like, against) = draw.choice(THINGS), draw.choice(ANTONYMS)
    a = draw.choice([f"{thing} is {word}.", f"{thing} was {word}.", f"{word}"])
    be = "was" if " was " in a else "is"
    same = draw.random() < 0.5
    ways = (
        [f"{thing} {be} {like}.", f"{thing} {be} not {against}.", like, f"It {be} {like}.", f"not {against}"]
        if same
        else [
            f"{thing} {be} not {word}.",
            f"{thing} {be} {against}.",
            f"It {be} {against}.",
            f"not {word}",
            f"{thing} {be} hardly {word}.",
        ]
    )
    return draw.choice(["", f"What is {lowered(thing)} like?"]), a, draw.choice(ways), relation_of(same)


def roles(draw: random.Random) -> Drawn:
    people = draw.choice([DOERS, DOERS, ANIMALS, CITIES])
    x, y = draw.sample(people, 2)
    active, passive, inverse = draw.choice(VERBS)
    a = f"{x} {active} {y}"
    same = draw.random() < 0.5
    x2, y2 = (x, y) if same else (y, x)
    b = draw.choice(
        [
            f"{y2} {passive} by {x2}",
            f"{y2} {inverse} {x2}" if inverse else f"{y2} {passive} by {x2}",
            f"{x2} {active} {y2}",
        ]
    )
    if draw.random() < 0.5:
        a, b = b, a
    dot = draw.choice(["", "."])
    return (
        draw.choice(["", "What happened?", "Who did it to whom?"]),
        capitalised(a) + dot,
        capitalised(b) + dot,
        relation_of(same),
    )


def routes(draw: random.Random) -> Drawn:
    """From one place to another, one river into another, a gift from one to another: the order is the meaning."""
    x, y = draw.sample(draw.choice([CITIES, CITIES, LAST, FIRST]), 2)
    question, *frames = draw.choice(
        [
            ("Where did it go?", "from {} to {}", "It went from {} to {}.", "{} to {}", "It left {} for {}."),
            ("Which river joins which?", "the {} flows into the {}", "the {} empties into the {}"),
            ("Who gave what to whom?", "{} gave it to {}", "{} handed it over to {}", "{} let {} have it"),
            ("Who bought whom?", "{} acquired {}", "{} bought {}", "{} took {} over"),
            ("Which one became which?", "{} turned into {}", "{} was renamed {}", "{} became {}"),
            ("Which way is it translated?", "from {} into {}", "out of {} into {}"),
            ("Who taught whom?", "{} taught {}", "{} was the teacher of {}", "{} was {}'s teacher"),
            ("Which lies inside which?", "{} is part of {}", "{} belongs to {}", "{} lies within {}"),
        ]
    )
    same = draw.random() < 0.45
    a = draw.choice(frames).format(x, y)
    if same:
        b = draw.choice([frame for frame in frames if frame.format(x, y) != a]).format(x, y)
    else:
        b = draw.choice(frames).format(y, x)
    return draw.choice(["", question]), capitalised(a), capitalised(b), relation_of(same)


def comparisons(draw: random.Random) -> Drawn:
    more, less = draw.choice(
        [
            ("taller", "shorter"),
            ("older", "younger"),
            ("heavier", "lighter"),
            ("faster", "slower"),
            ("richer", "poorer"),
            ("deeper", "shallower"),
            ("hotter", "colder"),
            ("earlier", "later"),
            ("north of", "south of"),
            ("east of", "west of"),
            ("above", "below"),
        ]
    )
    x, y = draw.sample(draw.choice([DOERS, ANIMALS, CITIES]), 2)
    than, same = ("" if " " in more or more == "above" else " than"), draw.random() < 0.5
    options = [f"{y} is {less}{than} {x}"] if same else [f"{y} is {more}{than} {x}", f"{x} is {less}{than} {y}"]
    return (
        draw.choice(["", "How do they compare?"]),
        capitalised(f"{x} is {more}{than} {y}"),
        capitalised(draw.choice(options)),
        relation_of(same),
    )


def kinship(draw: random.Random) -> Drawn:
    x, y = draw.sample(FIRST, 2)
    parent, child, wrong = draw.choice(
        [
            ("mother", "son", "father"),
            ("father", "daughter", "mother"),
            ("uncle", "nephew", "nephew"),
            ("teacher", "pupil", "pupil"),
            ("employer", "employee", "employee"),
            ("grandfather", "grandson", "grandson"),
            ("master", "servant", "servant"),
        ]
    )
    same = draw.random() < 0.5
    b = (
        f"{y} is {x}'s {child}"
        if same
        else draw.choice([f"{y} is {x}'s {wrong}", f"{x} is {y}'s {child}", f"{y} is {x}'s {parent}"])
    )
    return draw.choice(["", "How are the two related?"]), f"{x} is {y}'s {parent}", b, relation_of(same)


def names(draw: random.Random) -> Drawn:
    first, middle, last = draw.choice(FIRST), draw.choice(FIRST), draw.choice(LAST)
    nick = NICKNAMES.get(first, first)
    same = draw.random() < 0.5
    forms = [
        f"{first} {last}",
        f"{first} {middle} {last}",
        f"{first[0]}. {last}",
        f"{first[0]}.{middle[0]}. {last}",
        f"{nick} {last}",
        last,
        f"{last}, {first}",
        f"{draw.choice(TITLES)} {first} {last}",
        f"It was {first} {last}.",
        f"{first} {middle[0]}. {last}",
        f"{first[0]} {middle[0]} {last}",
    ]
    a = draw.choice([*forms[:2], forms[7], forms[9]])
    if same:
        b = draw.choice([form for form in forms if form != a])
    else:
        first2 = draw.choice([name for name in FIRST if name[0] != first[0]])
        last2 = draw.choice([name for name in LAST if name != last])
        middle2 = draw.choice([name for name in FIRST if name[0] != middle[0]])
        b = draw.choice(
            [
                f"{first2} {last}",
                f"{first} {last2}",
                f"{first2} {last2}",
                f"{first2[0]}. {last}",
                last2,
                f"{first2} {middle} {last}",
                f"It was {first2} {last}.",
                f"{draw.choice(TITLES)} {first2} {last}",
                f"{first} {middle2[0]}. {last}" if a in (forms[1], forms[9]) else last2,
            ]
        )
    if draw.random() < 0.5:
        a, b = b, a
    return draw.choice(["", "Who was it?", "Who led the project?", "Who wrote it?"]), a, b, relation_of(same)


def rulers(draw: random.Random) -> Drawn:
    name = draw.choice(
        ["Louis", "Edward", "Frederick", "Philip", "Alexander", "Leopold", "Gustav", "Pius", "Otto", "Ivan"]
    )
    roman = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"]
    word = ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth", "Ninth", "Tenth"]
    n, same = draw.randrange(10), draw.random() < 0.5
    m = n if same else draw.choice([i for i in range(10) if i != n])
    forms = [f"{name} {roman[m]}", f"{name} the {word[m]}", f"King {name} {roman[m]}"]
    return (
        draw.choice(["", "Which king was it?"]),
        f"{name} {roman[n]}",
        draw.choice(forms[0 if not same else 1 :]),
        relation_of(same),
    )


def acronyms(draw: random.Random) -> Drawn:
    (short, full), same = draw.choice(ACRONYMS), draw.random() < 0.5
    other = draw.choice([pair for pair in ACRONYMS if pair[0] != short])
    near = short[:-1] + draw.choice([letter for letter in "ABCDEFGILNOPRSTU" if letter != short[-1]])
    a = draw.choice([short, f"the {short}"])
    b = full if same else draw.choice([*other, other[0], f"the {other[0]}", near])
    if draw.random() < 0.5:
        a, b = b, a
    return draw.choice(["", "Which body is responsible?"]), a, b, relation_of(same)


def subsets(draw: random.Random) -> Drawn:
    pool = draw.choice([DOERS, ANIMALS, CITIES, LAST, FIRST])
    chosen = draw.sample(pool, draw.choice([2, 2, 3]))
    a = _listed(chosen)
    if draw.random() < 0.35:
        order = chosen[::-1]
        return draw.choice(["", "Which ones were there?"]), a, _listed(order), "same"
    part = draw.sample(chosen, draw.randint(1, len(chosen) - 1))
    b = _listed(part) + draw.choice(["", "", " only", ""])
    return (
        draw.choice(["", "Which ones were there?", "Who took part?"]),
        a,
        b,
        "different" if "only" in b else "forward",
    )


def details(draw: random.Random) -> Drawn:
    question, answer, longer = draw.choice(APPOSITIVES)
    others = [row[1] for row in APPOSITIVES if row[0] == question and row[1] != answer]
    if others and draw.random() < 0.5:
        return question, draw.choice(others), longer, "different"
    return question, answer, longer, "same"


def added_details(draw: random.Random) -> Drawn:
    x, y = draw.sample(draw.choice([LAST, CITIES, DOERS]), 2)
    year = draw.randint(1500, 2020)
    tails = [
        ", who was born in {c}",
        ", which was built in {y}",
        " in {y}",
        ", the best known of them",
        " (since {y})",
        ", a name that goes back to {y}",
        ", as most people know",
        ", near {c}",
        ", according to the records",
    ]
    tail = draw.choice(tails).format(c=draw.choice(CITIES), y=year)
    same = draw.random() < 0.5
    frame = draw.choice(["{}{}", "It was {}{}.", "The answer is {}{}.", "{}{}."])
    return (
        draw.choice(["", "Which one was it?", "Who is meant?"]),
        x,
        frame.format(x if same else y, tail),
        relation_of(same),
    )


def places(draw: random.Random) -> Drawn:
    group, same = draw.choice(PLACES), draw.random() < 0.5
    a = draw.choice(group)
    b = (
        draw.choice([n for n in group if n != a])
        if same
        else draw.choice(draw.choice([g for g in PLACES if g is not group]))
    )
    return draw.choice(["", "Where was it?", "Which place is it?", "Where did they meet?"]), a, b, relation_of(same)


def located(draw: random.Random) -> Drawn:
    city, other = draw.sample(CITIES, 2)
    same = draw.random() < 0.5
    b = draw.choice(
        ["in {}", "It is in {}.", "the city of {}", "{}, in the old town", "near the centre of {}", "They met in {}."]
    )
    return draw.choice(["", "Where was it?"]), city, b.format(city if same else other), relation_of(same)


def near_misses(draw: random.Random) -> Drawn:
    """Another answer of the same kind, which the question fits as well."""
    question, *answers = draw.choice(GROUPS)
    a, other = draw.sample(answers, 2)
    same = draw.random() < 0.4
    frame = draw.choice(["It was {}.", "{}, I think", "The answer is {}.", "It is {}.", "{}."])
    b = frame.format(a) if same else draw.choice([other, other, frame.format(other)])
    return question, a, capitalised(b), relation_of(same)


def yes_no(draw: random.Random) -> Drawn:
    subject, base, past, other = draw.choice(STATEMENTS)
    yes = [
        "Yes",
        "yes.",
        "Yes, {s} did.",
        "{S} did.",
        "Yes, {s} {p}.",
        "{S} {p}.",
        "True",
        "That is correct.",
        "It is so.",
        "Indeed.",
    ]
    no = [
        "No",
        "no.",
        "No, {s} did not.",
        "{S} did not.",
        "No, {s} {o}.",
        "{S} {o}.",
        "False",
        "That is not correct.",
        "Not at all.",
        "No, never.",
    ]
    a_yes, b_yes = (draw.random() < 0.5 for _ in range(2))
    filled = [
        capitalised(draw.choice(yes if side else no).format(s=_pronoun(subject), S=subject, p=past, o=other))
        for side in (a_yes, b_yes)
    ]
    return f"Did {lowered(subject)} {base}?", filled[0], filled[1], relation_of(a_yes == b_yes)


def paraphrases(draw: random.Random) -> Drawn:
    question, answers = draw.choice(PARAPHRASES)
    group = draw.choice(answers)
    if len(group) > 1 and draw.random() < 0.6:
        a, b = draw.sample(group, 2)
        return draw.choice(["", question]), a, b, "same"
    other = draw.choice([g for g in answers if g is not group])
    return question, draw.choice(group), draw.choice(other), "different"


def _pronoun(subject: str) -> str:
    return "she" if subject.split()[0] in ("Maria", "Queen", "Julia") else "it" if subject.startswith("The ") else "he"


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
