"""Written pairs of wordings: titles and their sequels, converse verbs, opposites under a negation, first and second."""

from __future__ import annotations

import random

from drawn import Drawn, capitalised, relation_of
from words import CITIES, CONVERSES, FIRST, LAST, NAMED, SAYINGS, WORKS


def works(draw: random.Random) -> Drawn:
    """A title against itself in other dress, its sequel, its part, or another title with the same words."""
    title, same = draw.choice(WORKS)[0], draw.random() < 0.45
    n = draw.randint(2, 5)
    roman = {2: "II", 3: "III", 4: "IV", 5: "V"}[n]
    word = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}[n]
    kinds = ["book", "novel", "film", "song", "play"]
    dressed = [
        f"“{title}”",
        f"'{title}'",
        f"It is {title}.",
        f"the {draw.choice(kinds)} {title}",
        f"{title} ({draw.randint(1900, 2020)})",
        title.removeprefix("The ").removeprefix("A "),
        title.upper(),
        f"{title} by {draw.choice(FIRST)} {draw.choice(LAST)}",
    ]
    other = [
        f"{title} {n}",
        f"{title} {roman}",
        f"{title}, Part {word}",
        f"Return to {title}",
        f"{title} Returns",
        f"The Making of {title}",
        f"{title} Again",
        f"Beyond {title}",
        f"New {title}",
        f"{title}s" if not title.endswith("s") else title[:-1],
        draw.choice(WORKS)[0],
        " ".join(title.split()[:-1]) if len(title.split()) > 2 else draw.choice(WORKS)[0],
    ]
    a, b = title, draw.choice([form for form in dressed if form != title] if same else other)
    if not same and draw.random() < 0.3:
        a, b = f"{title}, Part {word}", f"{title}, Part {'One' if n > 2 else 'Three'}"
    if same and draw.random() < 0.25:
        a, b = f"{title} {n}", draw.choice([f"{title} {roman}", f"{title}, Part {word}", f"{title}: Part {n}"])
    same = same or a == b
    if draw.random() < 0.5:
        a, b = b, a
    question = draw.choice(["", "Which work is it?", "What is it called?", "Which one won the prize?"])
    return question, a, b, relation_of(same)


def converses(draw: random.Random) -> Drawn:
    """X sold it to Y is Y bought it from X, and not Y sold it to X."""
    there, back = draw.choice(CONVERSES)
    x, y = draw.sample(draw.choice([FIRST, LAST, CITIES]), 2)
    same = draw.random() < 0.5
    a = there.format(x=x, y=y)
    b = back.format(x=x, y=y) if same else draw.choice([back, there]).format(x=y, y=x)
    if draw.random() < 0.5:
        a, b = b, a
    return draw.choice(["", "What happened?", "Who did what?"]), capitalised(a), capitalised(b), relation_of(same)


def sayings(draw: random.Random) -> Drawn:
    """Short states in other words, against their opposites; a double negation is none."""
    like, against = draw.choice(SAYINGS)
    one, two = like.split(" / "), against.split(" / ")
    if draw.random() < 0.5:
        one, two = two, one
    same = draw.random() < 0.5 and len(one) > 1
    a = draw.choice(one)
    b = draw.choice([form for form in one if form != a]) if same else draw.choice(two)
    frame = draw.choice(["{}", "It is {}.", "It was {}.", "They say it is {}."])
    return draw.choice(["", "What is it like?", "What is said of it?"]), a, frame.format(b), relation_of(same)


def named(draw: random.Random) -> Drawn:
    """One thing under two names, or two that share a part of their name."""
    group, same = draw.choice(NAMED), draw.random() < 0.5
    names, others = group[0].split(" / "), group[1].split(" / ")
    a = draw.choice(names)
    rest = [name for name in names if name != a]
    b = draw.choice(rest) if same and rest else draw.choice(others)
    same = same and bool(rest)
    if draw.random() < 0.5:
        a, b = b, a
    return draw.choice(["", "Which one is it?", "What is meant?", "Where was it?"]), a, b, relation_of(same)


def short_sentences(draw: random.Random) -> Drawn:
    """A bare answer against the same in a sentence of its own, in every tense and voice."""
    x, y = draw.sample(draw.choice([FIRST, LAST, CITIES]), 2)
    verb = draw.choice(
        ["discovered", "invented", "wrote", "founded", "painted", "built", "composed", "named", "won", "described"]
    )
    done = {"wrote": "written", "built": "built", "won": "won"}.get(verb, verb)
    same = draw.random() < 0.5
    z = x if same else y
    frames = [
        f"It was {done} by {z}.",
        f"{z} {verb} it.",
        f"{z} did.",
        f"{z} was the one who {verb} it.",
        f"The person who {verb} it was {z}.",
        f"It was {z} who {verb} it.",
        f"Not {y}, but {x}." if same else f"Not {x}, but {y}.",
        f"I believe {z} {verb} it.",
        f"No one but {z} {verb} it.",
        f"Most sources say {z}.",
    ]
    return draw.choice([f"Who {verb} it?", f"Who {verb} it first?", ""]), x, draw.choice(frames), relation_of(same)
