"""Written pairs of quantities: numbers in words and figures, counts, dates, units."""

from __future__ import annotations

import random
from collections.abc import Callable

from drawn import Drawn, capitalised, relation_of
from words import COUNTED, MONTHS, ONES, TENS, UNITS


def words_of(n: int) -> str:
    """English words of 0 .. 999,999."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + ("-" + ONES[n % 10] if n % 10 else "")
    if n < 1000:
        return ONES[n // 100] + " hundred" + (" and " + words_of(n % 100) if n % 100 else "")
    return words_of(n // 1000) + " thousand" + (" " + words_of(n % 1000) if n % 1000 else "")


def _number(draw: random.Random) -> int:
    return draw.choice(
        [
            draw.randint(2, 20),
            draw.randint(2, 99),
            draw.randint(10, 99),
            draw.randint(100, 999),
            draw.randint(2, 99) * 100,
            draw.randint(1, 99) * 1000,
        ]
    )


def _near(n: int, draw: random.Random) -> int:
    """A number that is easily taken for n: a neighbour, teen for ty, digits swapped, ten times."""
    swapped = int(str(n)[::-1]) if n >= 10 else n + 2
    teen = n // 10 + 10 if n % 10 == 0 and 20 <= n < 100 else n * 10 - 100 if 13 <= n < 20 else n + 3
    other = draw.choice([n + 1, max(n - 1, 0), swapped, teen, n * 10, n + draw.randint(2, 9), draw.randint(1, 99)])
    return other if other != n and other > 0 else n + 1


def _said(n: int, draw: random.Random, form: str) -> str:
    if form == "word":
        if n % 100 == 0 and 1100 <= n < 2000 and draw.random() < 0.5:
            return words_of(n // 100) + " hundred"
        return words_of(n)
    return f"{n:,}" if draw.random() < 0.6 else str(n)


def _two_forms(draw: random.Random) -> tuple[str, str]:
    return draw.choice([("word", "figure"), ("figure", "word"), ("figure", "figure"), ("word", "word")])


def number_words(draw: random.Random) -> Drawn:
    n, (f, g), noun = _number(draw), _two_forms(draw), draw.choice(COUNTED)
    same = draw.random() < 0.5
    m = n if same else _near(n, draw)
    frames = ["{}", "{}", "{}", f"{{}} {noun}", "There are {}.", "It is {}.", "about {}" if same else "{}"]
    question = draw.choice(["", f"How many {noun} were there?", f"How many {noun} did they count?"])
    x, y = draw.choice(frames), draw.choice(frames)
    if "about" in x + y:
        x = y = draw.choice(["{}", f"{{}} {noun}"])
    return question, x.format(_said(n, draw, f)), y.format(_said(m, draw, g)), "same" if same else "different"


def counted_words(draw: random.Random) -> Drawn:
    """Dozens, decades, halves: words that hold a number, against figures."""
    n = draw.randint(2, 12)
    word, unit, each = draw.choice(
        [
            ("dozen", draw.choice(COUNTED), 12),
            ("decades", "years", 10),
            ("centuries", "years", 100),
            ("fortnights", "days", 14),
            ("pairs", draw.choice(COUNTED), 2),
            ("scores", draw.choice(COUNTED), 20),
        ]
    )
    lead = {"dozen": f"dozen {unit}", "pairs": f"pairs of {unit}", "scores": f"scores of {unit}"}.get(word, word)
    part, whole, value = draw.choice(
        [
            ("half a century", "years", 50),
            ("a quarter of a century", "years", 25),
            ("a year and a half", "months", 18),
            ("a quarter of an hour", "minutes", 15),
            ("half an hour", "minutes", 30),
            ("half a dozen", draw.choice(COUNTED), 6),
            ("a quarter of a year", "months", 3),
            ("half a minute", "seconds", 30),
        ]
    )
    fraction, percent = draw.choice(
        [("a quarter", "25%"), ("three quarters", "75%"), ("a fifth", "20%"), ("a tenth", "10%"), ("a third", "33%")]
    )
    same, options = draw.random() < 0.5, []
    m = n if same else draw.choice([k for k in range(2, 14) if k != n])
    options.append((f"{words_of(n)} {lead}", draw.choice([f"{m * each} {unit}", f"{words_of(m * each)} {unit}"])))
    options.append((part, f"{value if same else draw.choice([value * 2, value + 5, value // 2])} {whole}"))
    options.append((fraction, percent if same else draw.choice(["40%", "60%", "5%", "90%"])))
    a, b = draw.choice(options)
    return (
        draw.choice(["", "How much was it?", "How long did it last?", "How many were there?"]),
        a,
        b,
        relation_of(same),
    )


def temperatures(draw: random.Random) -> Drawn:
    """Degrees Celsius and Fahrenheit: the same figure is another heat."""
    celsius, same = draw.choice([t for t in range(-40, 300, 5) if t != 100]), draw.random() < 0.5  # 100: hard set
    fahrenheit = celsius * 9 // 5 + 32
    wrong = draw.choice([celsius, fahrenheit + draw.choice([-20, 10, 40])])
    c = draw.choice(["{} °C", "{} degrees Celsius", "{} C", "It is {} degrees Celsius."]).format(celsius)
    f = draw.choice(["{} °F", "{} degrees Fahrenheit", "{} F"]).format(
        fahrenheit if same or wrong == fahrenheit else wrong
    )
    return draw.choice(["", "How hot is it?", "At what temperature does it melt?"]), c, f, relation_of(same)


def large_numbers(draw: random.Random) -> Drawn:
    base = draw.choice([draw.randint(2, 99), draw.randint(11, 99) / 10])
    scale, name = draw.choice([(10**3, "thousand"), (10**6, "million"), (10**9, "billion")])
    a, value, same = f"{base:g} {name}", round(base * scale), draw.random() < 0.5
    if not same:
        value = draw.choice([value * 10, value // 10, value * 1000, value + scale])
    return (
        draw.choice(["", "How much was it worth?", "How many inhabitants has it?"]),
        a,
        f"{value:,}",
        relation_of(same),
    )


def ordinals(draw: random.Random) -> Drawn:
    special = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}
    n, same = draw.randint(1, 20), draw.random() < 0.5
    m = n if same else max(1, n + draw.choice([-2, -1, 1, 2, 10]))
    m = m if same or m != n else n + 1
    suffix = {1: "st", 2: "nd", 3: "rd"}
    figure = f"{m}{'th' if 10 <= m % 100 <= 20 else suffix.get(m % 10, 'th')}"
    word = special.get(n) or words_of(n) + "th"
    noun = draw.choice(["", " chapter", " floor", " amendment", " symphony", " edition", " century"])
    return draw.choice(["", "Which one was it?"]), f"the {word}{noun}", figure + noun, relation_of(same)


def counts(draw: random.Random) -> Drawn:
    n, noun, same = _number(draw), draw.choice(COUNTED), draw.random() < 0.5
    m = n if same else _near(n, draw)
    frames = [
        f"There were {{}} {noun} in all.",
        f"They found {{}} {noun} there.",
        f"A total of {{}} {noun} were counted.",
        f"He owned {{}} {noun}.",
        f"The place had {{}} {noun}.",
        f"{{}} {noun} were seen.",
        "{}",
        "There are {}.",
        f"In the end {{}} {noun} remained.",
        f"I think it was {{}} {noun}.",
        "She collected {} of them.",
    ]
    f, g = _two_forms(draw)
    x, y = draw.sample(frames, 2)
    question = draw.choice(["", f"How many {noun} were there?", f"What was the number of {noun}?"])
    return (
        question,
        capitalised(x.format(_said(n, draw, f))),
        capitalised(y.format(_said(m, draw, g))),
        relation_of(same),
    )


def dates(draw: random.Random) -> Drawn:
    day, month, year = draw.randint(1, 28), draw.randint(1, 12), draw.randint(1066, 2024)
    d, m, y = day, month, year
    same = draw.random() < 0.5
    if not same:
        kind = draw.randrange(5)
        d = day % 28 + 1 if kind == 0 else (day + 10) % 28 + 1 if kind == 4 else day
        m = month % 12 + 1 if kind == 1 else month
        y = year + draw.choice([-10, -1, 1, 2, 10, 100]) if kind == 2 else year
        if kind == 3:
            y = int(str(year)[:2] + str(year)[:1:-1])
            y = y if y != year else year + 1
    forms: list[Callable[[int, int, int], str]] = [
        lambda d, m, y: f"{d} {MONTHS[m - 1]} {y}",
        lambda d, m, y: f"{MONTHS[m - 1]} {d}, {y}",
        lambda d, m, y: f"{MONTHS[m - 1]} {d}{_th(d)}, {y}",
        lambda d, m, y: f"the {d}{_th(d)} of {MONTHS[m - 1]} {y}",
        lambda d, m, y: f"{y}-{m:02d}-{d:02d}",
        lambda d, m, y: f"{MONTHS[m - 1][:3]} {d} {y}",
        lambda d, m, y: f"It happened on {MONTHS[m - 1]} {d}, {y}.",
    ]
    if not any((d != day, m != month, y != year)) and not same:
        d = day % 28 + 1
    f, g = draw.sample(forms, 2)
    return (
        draw.choice(["", "When did it take place?", "When was she born?"]),
        f(day, month, year),
        g(d, m, y),
        relation_of(same),
    )


def parts_of_dates(draw: random.Random) -> Drawn:
    year, month, day, same = draw.randint(1066, 2024), draw.randrange(12), draw.randint(1, 28), draw.random() < 0.5
    other = year if same else year + draw.choice([-10, -1, 1, 2, 3, 10])
    number = draw.randint(1, 11)
    hour = number + 12 if same else draw.choice([number, number + 11, number + 13])
    decade = draw.choice([2, 3, 4, 5, 8, 9])
    other_decade = decade if same else decade % 9 + 1
    tens = {
        1: "tens",
        2: "twenties",
        3: "thirties",
        4: "forties",
        5: "fifties",
        6: "sixties",
        7: "seventies",
        8: "eighties",
        9: "nineties",
    }
    next_month = month if same else (month + draw.choice([1, 6])) % 12
    return draw.choice(
        [
            ("When was it founded?", f"in {year}", f"It was founded in {other}.", relation_of(same)),
            ("", str(year), f"the year {other}", relation_of(same)),
            ("What year was it?", str(year), str(other) if not same else f"In the year {year}.", relation_of(same)),
            ("When does it close?", f"{number} {'am' if same else 'pm'}", f"{number} a.m.", relation_of(same)),
            ("When does it open?", f"{number} pm", f"{hour}:00", relation_of(same)),
            ("When does it open?", f"{number}:30 p.m.", f"{hour}:30", relation_of(same)),
            ("In which decade?", f"the 19{other_decade}0s", f"the {tens[decade]}", relation_of(same)),
            ("Which month is it?", f"in {MONTHS[month]} {year}", f"{MONTHS[next_month]}, {year}", relation_of(same)),
            (
                "On which day?",
                f"{MONTHS[month]} {day}",
                f"the {day}{_th(day)} of {MONTHS[next_month]}",
                relation_of(same),
            ),
            (
                "When was it?",
                f"{year % 900 + 20} BC",
                f"{year % 900 + 20} {'BCE' if same else 'AD'}",
                relation_of(same),
            ),
            (
                "When was it?",
                f"early {MONTHS[month]}",
                f"{'early' if same else 'late'} in {MONTHS[month]}",
                relation_of(same),
            ),
        ]
    )


def units(draw: random.Random) -> Drawn:
    short, long, other, factor = draw.choice(UNITS)
    n, same = draw.choice([draw.randint(1, 20), draw.randint(1, 99), draw.randint(1, 90) * 10]), draw.random() < 0.5
    wrong = draw.choice([unit for unit in UNITS if unit[1] != long])
    converted = n * factor
    options = [
        (f"{n} {short}", f"{n} {long if same else wrong[1]}"),
        (f"{words_of(n)} {long}", f"{n} {short if same else wrong[0]}"),
        (f"{n} {long}", f"{converted if same else draw.choice([converted * 10, converted / 10, n]):g} {other}"),
        (f"{converted:g} {other}", f"{n if same else n + draw.choice([1, 2, 10])} {short}"),
        (f"It is {n} {long}.", f"{converted if same else converted * draw.choice([2, 10, 100]):g} {other}"),
    ]
    a, b = draw.choice(options)
    return draw.choice(["", "How much is it?", "What was measured?"]), a, b, relation_of(same)


def _th(day: int) -> str:
    return "th" if 10 <= day <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
