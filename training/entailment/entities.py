"""Pairs around real names: who is the same person, and which part of a list is not the whole.

Names come from the answers of the shared question sets, so that they are as varied as what users ask; the pairs are
made by rule. A surname alone tells nothing: two people may share it, and so may their first names.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from drawn import Drawn, relation_of
from words import FIRST, NICKNAMES, TITLES

ITEMS = [
    group.split()
    for group in (
        "red orange yellow green blue purple black white brown pink grey gold silver",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        "English French German Spanish Italian Dutch Swedish Finnish Danish Polish Czech Greek Turkish Arabic Hindi",
        "flour water salt sugar butter eggs milk rice beans lentils onions garlic honey yeast vinegar oil",
        "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune",
        "iron copper zinc nickel lead tin cobalt lithium helium neon argon oxygen nitrogen hydrogen carbon",
        "violin viola cello flute oboe clarinet trumpet trombone harp piano guitar drums",
        "January February March April May June July August September October November December",
        "football tennis golf rowing cycling boxing archery fencing judo hockey cricket rugby",
    )
]
ASKED = (
    "Which ones were they?",
    "Who took part?",
    "Which are named?",
    "What does it consist of?",
    "Who shares it?",
    "",
)
LISTS = ("{}", "{}", "{}", "They are {}.", "It was {}.", "the {}")


def person(draw: random.Random, question: str, name: Sequence[str], others: Sequence[Sequence[str]]) -> Drawn:
    """The same person in another form, or another person of nearly the same name; ``name`` has two words or more."""
    first, *middles, last = name
    same = draw.random() < 0.45
    middles = middles or draw.sample(FIRST, draw.choice([0, 1, 1, 2] if not same else [1, 1, 2]))
    if not same:
        short = " ".join(f"{word[0]}." for word in [first, *middles])
        a = draw.choice([" ".join([first, *middles, last]), f"{short} {last}", f"{first} {last}"])
        return question, a, _other_person(draw, first, middles, last, others), "different"
    initials = [f"{word[0]}." for word in middles]
    full = " ".join([first, *middles, last])
    forms = [
        f"{first} {last}",
        full,
        " ".join([first, *initials, last]),
        "".join([f"{first[0]}.", *initials]) + f" {last}",
        " ".join([f"{first[0]}.", *initials, last]),
        f"{first[0]}. {last}",
        last,
        f"{last}, {first}",
        f"{draw.choice(TITLES)} {first} {last}",
        f"It was {first} {last}.",
        f"{NICKNAMES.get(first, first)} {last}",
        first if draw.random() < 0.2 else last,
        "".join(word[0] for word in [first, *middles, last]),
        f"{draw.choice(TITLES)} {last}",
        f"{first} {middles[-1]}-{last}",
    ]
    a = draw.choice([forms[0], forms[0], full, forms[2], forms[3], forms[4]])
    return question, a, draw.choice([form for form in forms if form != a]), "same"


def _other_person(
    draw: random.Random, first: str, middles: Sequence[str], last: str, others: Sequence[Sequence[str]]
) -> str:
    named = [one for one in others if one[0] != first and one[-1] != last and not one[0].startswith(first[:3])]
    other = draw.choice(named)
    near = [one[-1] for one in draw.sample(others, 200) if one[-1][:2] == last[:2] and one[-1] != last]
    second = draw.choice([one for one in FIRST if one[0] not in {other[0][0], *(word[0] for word in middles)}])
    initials = " ".join(f"{word[0]}." for word in middles)
    return draw.choice(
        [
            f"{other[0]} {last}",
            f"{other[0]} {last}",
            f"{other[0]} {second} {last}",
            f"{draw.choice([o for o in named if o[0][0] != first[0]])[0][0]}. {last}",
            f"{first} {other[-1]}",
            f"{first} {draw.choice(near or [other[-1]])}",
            f"{first} {draw.choice(near or [other[-1]])}",
            f"It was {other[0]} {last}.",
            " ".join([first, second, last]) if middles else f"{other[0]} {last}",
            f"{first} {second[0]}. {last}" if middles else f"{draw.choice(TITLES)} {other[0]} {last}",
            f"{first} {second[0]}. {initials} {last}" if middles else f"{other[0][0]}. {last}",
            " ".join(other),
            other[-1],
        ]
    )


def part_of_list(draw: random.Random, names: Sequence[str]) -> Drawn:
    """A list and a part of it, the same list in another order, or another list of as many."""
    pool = names if draw.random() < 0.6 else draw.choice(ITEMS)
    chosen = draw.sample(list(pool), draw.choice([2, 2, 3, 3, 4]))
    question, frame, kind = draw.choice(ASKED), draw.choice(LISTS), draw.random()
    a = frame.format(_listed(draw, chosen))
    if kind < 0.25:
        return question, a, _listed(draw, draw.sample(chosen, len(chosen))), "same"
    if kind < 0.35:
        spare = draw.choice([name for name in draw.sample(list(pool), min(len(pool), 6)) if name not in chosen] or [""])
        return question, a, _listed(draw, [*chosen[:-1], spare]) if spare else "none", relation_of(False)
    part = draw.sample(chosen, draw.randint(1, len(chosen) - 1))
    return question, a, draw.choice(["{}", "{}", frame]).format(_listed(draw, part)), "forward"


def one_with_details(draw: random.Random, question: str, name: str) -> Drawn:
    """One name with a remark beside it is still the same answer: what a list's part is not."""
    year = draw.randint(1500, 2020)
    tail = draw.choice(
        [
            f", who was born in {year}",
            f", founded in {year}",
            f" in {year}",
            f" (since {year})",
            ", which is also well known for its history",
            ", the best known of its kind",
            ", and nothing else",
            f", first named in {year} and famous since",
        ]
    )
    return question, name, draw.choice(["{}", "It is {}.", "The answer is {}."]).format(name + tail), "same"


def _listed(draw: random.Random, names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    last = draw.choice([" and ", " and ", " and ", " & ", ", "])
    return ", ".join(names[:-1]) + last + names[-1]
