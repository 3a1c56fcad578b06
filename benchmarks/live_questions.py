"""The traffic of `make live`: short questions of several kinds, made from our own lists with a fixed seed.

Some kinds the demo's small model answers as well as its large one (opposites, colours, well-known capitals), some the
large one alone (sums, word problems), some neither (years of little-known events). Each question comes once; nobody
tells demur which kind it is of.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

OPPOSITES = (
    "hot big fast happy light open early rich full young strong clean high wide hard wet near soft loud sweet "
    "sharp deep heavy thick true safe cheap empty brave polite"
)
COLOURS = (
    "a ripe banana, the sky on a clear day, fresh grass, snow, coal, a ripe tomato, an orange, milk, blood, a lemon, "
    "chocolate, an elephant, a flamingo, emerald, a ruby, a fire engine, a sunflower, a carrot, spinach, salt"
)
PLACES = (
    "France Spain Italy Germany Japan China Russia Egypt Greece Portugal Canada Australia Brazil Argentina India "
    "Poland Sweden Norway Finland Denmark Austria Hungary Ireland Turkey Kenya Peru Cuba Chile Mexico Iran Iraq Nepal "
    "Thailand Vietnam Morocco Ethiopia Nigeria Ghana Mongolia Indonesia"
)
BOOKS = (
    "Hamlet, Moby-Dick, Emma, Faust, Ulysses, Dracula, Frankenstein, Don Quixote, The Divine Comedy, Crime and "
    "Punishment, Anna Karenina, Great Expectations, The Trial, The Stranger, Lolita, The Hobbit, Les Misérables, "
    "Madame Bovary, Brave New World, Jane Eyre"
)
BATTLES = (
    "Waterloo, Marathon, Cannae, Actium, Agincourt, Lepanto, Austerlitz, Gettysburg, Poltava, Mohács, Bannockburn, "
    "Zama, Issus, Tannenberg, Rocroi, Blenheim, Sekigahara, Tours, Naseby, Trafalgar"
)
NAMES = "Anna Ben Carla David Ella Finn Greta Hugo Ines Jonas Karin Leo Maya Nils Olga Paul Rosa Sam Tina Victor"
THINGS = "apples pencils books marbles stamps cookies tickets shells coins cards"


def questions(seed: int = 0) -> list[str]:
    """All of them, mixed: 300 different questions."""
    drawn = random.Random(seed)
    found = list(dict.fromkeys(_every(drawn)))
    drawn.shuffle(found)
    return found[:300]


def _every(drawn: random.Random) -> Iterator[str]:
    yield from (f"What is the opposite of {word}?" for word in OPPOSITES.split())
    yield from (f"What colour is {thing}?" for thing in COLOURS.split(", "))
    yield from (f"What is the capital of {place}?" for place in PLACES.split())
    yield from (f"On which continent is {place}?" for place in PLACES.split()[::2])
    yield from (f"Who wrote {book}?" for book in BOOKS.split(", "))
    yield from (f"In which year was the Battle of {battle}?" for battle in BATTLES.split(", "))
    for _ in range(45):
        a, b = drawn.randint(12, 89), drawn.randint(12, 89)
        yield f"What is {a} plus {b}?"
        yield f"What is {a + b} minus {b}?"
    for i in range(70):
        name, thing = drawn.choice(NAMES.split()), drawn.choice(THINGS.split())
        a, b = drawn.randint(5, 30), drawn.randint(3, 20)
        yield (
            f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?",
            f"{name} has {a + b} {thing} and gives {b} away. How many {thing} are left?",
            f"A box holds {b} {thing}. How many {thing} are in {a} boxes?",
        )[i % 3]
