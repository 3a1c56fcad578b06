"""Written pairs of measures in everyday words: the clock, money, fractions, spans, ratios, signs, limits."""

from __future__ import annotations

import random
from collections.abc import Sequence

from drawn import Drawn, capitalised, relation_of
from quantities import words_of
from words import COUNTED, CURRENCIES

MINUTES = [0, 0, 5, 10, 15, 15, 20, 30, 30, 40, 45, 45, 50]


def clock(draw: random.Random) -> Drawn:
    """Times of day: figures, half past, quarter to, noon; a time a little off, or the other half of the day."""
    hour, minute, same = (
        draw.randint(1, 12),
        draw.choice([0, 0, 5, 10, 15, 15, 20, 30, 30, 40, 45, 45, 50]),
        _even(draw),
    )
    morning = draw.random() < 0.5
    h, m, early = hour, minute, morning
    if not same:
        change = draw.randrange(4)
        if change == 0:
            early = not morning
        elif change == 1:
            h = hour % 12 + 1
        elif change == 2 and minute not in (0, 30):
            m = 60 - minute
        else:
            m = draw.choice([x for x in (0, 10, 15, 30, 45) if x != minute])
    a, b = _time(draw, hour, minute, morning), _time(draw, h, m, early)
    if draw.random() < 0.12:
        noon = draw.random() < 0.5
        a = draw.choice(["noon", "midday", "12 noon", "at noon"] if noon else ["midnight", "at midnight"])
        later = noon if same else not noon
        b = draw.choice(["12 p.m.", "12:00 in the day", "twelve o'clock midday"] if later else ["12 a.m.", "0:00"])
    frame = draw.choice(["{}", "{}", "at {}", "It was {}.", "It starts at {}."])
    question = draw.choice(["", "What time was it?", "When does it start?", "At what time did they meet?"])
    return question, a.removeprefix("at "), capitalised(frame.format(b.removeprefix("at "))), relation_of(same)


def _time(draw: random.Random, hour: int, minute: int, morning: bool) -> str:
    half = draw.choice(["a.m.", "am", "AM", "in the morning"] if morning else ["p.m.", "pm", "PM"])
    if not morning and hour < 12 and half == "p.m." and draw.random() < 0.5:
        half = "in the afternoon" if hour < 6 else "in the evening"
    words = {
        0: f"{words_of(hour)} o'clock",
        15: f"quarter past {words_of(hour)}",
        30: f"half past {words_of(hour)}",
        45: f"a quarter to {words_of(hour % 12 + 1)}",
        10: f"ten past {words_of(hour)}",
        20: f"twenty past {words_of(hour)}",
        50: f"ten to {words_of(hour % 12 + 1)}",
        40: f"twenty to {words_of(hour % 12 + 1)}",
    }
    whole = (hour % 12) + (0 if morning else 12)
    forms = [f"{hour}:{minute:02d} {half}", f"{whole:02d}:{minute:02d}", f"{hour}:{minute:02d} {half}"]
    if minute in words and (minute, hour) not in (
        (45, 11),
        (50, 11),
        (40, 11),
    ):  # a quarter to twelve is of which half?
        forms.append(f"{words[minute]} {half if half.startswith('in') else 'in the morning' if morning else 'p.m.'}")
    if minute == 0:
        forms += [f"{hour} {half}", f"{words_of(hour)} {half}"]
    return draw.choice(forms)


def money(draw: random.Random) -> Drawn:
    """Amounts: signs, names, abbreviations; another amount, another currency, ten times as much."""
    sign, code, *names = draw.choice(CURRENCIES)
    others = [row for row in CURRENCIES if row[1] != code]
    scale, long, short = draw.choice(
        [(1, "", ""), (1, "", ""), (1, "", ""), (10**3, "thousand", "k"), (10**6, "million", "m"),
         (10**9, "billion", "bn")]
    )  # fmt: skip
    amount = draw.choice(
        [draw.randint(2, 99), draw.randint(2, 99), draw.randint(11, 99) / 10, draw.randint(1, 40) * 25]
    )
    same = _even(draw)
    a = _amount(draw, amount, scale, long, short, sign, code, names)
    if same:
        b = _amount(draw, amount, scale, long, short, sign, code, names)
    else:
        change = draw.randrange(3)
        if change == 0:
            other = draw.choice(others)
            b = _amount(draw, amount, scale, long, short, other[0], other[1], other[2:])
        elif change == 1:
            b = _amount(draw, draw.choice([amount * 10, amount + 1, amount * 2]), scale, long, short, sign, code, names)
        else:
            up, long, short = draw.choice([row for row in _SCALES if row[0] != scale])
            b = _amount(draw, amount, up, long, short, sign, code, names)
    if draw.random() < 0.15 and code in ("USD", "EUR"):
        whole, cents = draw.randint(1, 20), draw.choice([5, 10, 25, 50, 75, 99])
        coin = names[0]
        a = draw.choice([f"{sign}{whole}.{cents:02d}", f"{whole}.{cents:02d} {coin}"])
        b = f"{whole if same else whole + 1} {coin} and {cents} cents"
        if not same and draw.random() < 0.5:
            b = f"{cents} {coin} and {whole} cents"
    question = draw.choice(["", "How much did it cost?", "What was the price?", "How much is it worth?"])
    return question, a, draw.choice(["{}", "{}", "It cost {}.", "It was {}."]).format(b), relation_of(same)


_SCALES = [(1, "", ""), (10**3, "thousand", "k"), (10**6, "million", "m"), (10**9, "billion", "bn")]


def _amount(
    draw: random.Random, amount: float, scale: int, long: str, short: str, sign: str, code: str, names: Sequence[str]
) -> str:
    full = round(amount * scale, 2)
    figure = f"{full:,.0f}" if full == int(full) else f"{full:,.2f}"
    name = draw.choice(names)
    forms = [f"{sign}{figure}", f"{figure} {name}", f"{figure} {code}", f"{code} {figure}"]
    if long:
        forms += [f"{sign}{amount:g} {long}", f"{amount:g} {long} {name}", f"{sign}{amount:g}{short}"] * 2
    elif amount == int(amount) and amount < 1000:
        forms.append(f"{words_of(int(amount))} {name}")
    return draw.choice(forms)


def fractions(draw: random.Random) -> Drawn:
    """Halves and quarters of numbers and units, percentages, multiples."""
    part, value = draw.choice(
        [("half a", 0.5), ("a quarter of a", 0.25), ("three quarters of a", 0.75), ("one and a half", 1.5),
         ("two and a half", 2.5), ("a tenth of a", 0.1), ("three and a half", 3.5)]
    )  # fmt: skip
    whole, inner, factor = draw.choice(
        [("million", "", 10**6), ("billion", "", 10**9), ("dozen", "", 12), ("kilogram", "grams", 1000),
         ("kilometre", "metres", 1000), ("litre", "millilitres", 1000), ("hour", "minutes", 60),
         ("minute", "seconds", 60), ("day", "hours", 24), ("century", "years", 100), ("decade", "years", 10),
         ("year", "months", 12), ("tonne", "kilograms", 1000), ("metre", "centimetres", 100), ("mile", "miles", 1)]
    )  # fmt: skip
    same = _even(draw)
    if value > 1 and inner and not whole.endswith("s"):
        whole = {"century": "centuries"}.get(whole, whole + "s")
    count = value * factor
    other = draw.choice([count * 2, count / 2, count * 10, count + factor, factor])
    said = count if same or other == count else other
    figure = f"{said:,.0f}" if said == int(said) else f"{said:g}"
    b = f"{figure} {inner}".strip()
    if draw.random() < 0.3:
        share, percent = draw.choice(
            [("one in four", 25), ("one in ten", 10), ("half", 50), ("two thirds", 67), ("a fifth", 20),
             ("three in five", 60), ("nine out of ten", 90), ("one in a hundred", 1), ("a half", 50)]
        )  # fmt: skip
        wrong = draw.choice([p for p in (25, 10, 50, 67, 20, 60, 90, 1, 40, 4) if p != percent])
        part, whole, b = share, "", draw.choice(["{}%", "{} percent", "{} per cent"]).format(percent if same else wrong)
    question = draw.choice(["", "How much was it?", "How large is it?", "What share was it?" if not whole else ""])
    return question, f"{part} {whole}".strip(), b, relation_of(same)


CONVERTED = (  # of one system into the other: names, shorter names, factor
    ("miles", "mi", "kilometres", "km", 1.609344),
    ("feet", "ft", "metres", "m", 0.3048),
    ("inches", "in", "centimetres", "cm", 2.54),
    ("yards", "yd", "metres", "m", 0.9144),
    ("pounds", "lb", "kilograms", "kg", 0.45359237),
    ("ounces", "oz", "grams", "g", 28.349523),
    ("gallons", "gal", "litres", "l", 3.785412),
    ("acres", "acres", "hectares", "ha", 0.404686),
    ("miles per hour", "mph", "kilometres per hour", "km/h", 1.609344),
    ("stone", "st", "kilograms", "kg", 6.350293),
    ("square miles", "sq mi", "square kilometres", "km²", 2.589988),
)


def conversions(draw: random.Random) -> Drawn:
    """A length, weight or speed in the other system, rounded; the same figure is another measure there."""
    long, short, other, brief, factor = draw.choice(CONVERTED)
    n, same = draw.choice([draw.randint(1, 20), draw.randint(2, 99), draw.randint(1, 60) * 10]), _even(draw)
    value = n * factor
    wrong = draw.choice([n, value * 2, value / 2, value * 10, value / factor / factor])
    said = value if same or abs(wrong / value - 1) < 0.15 else wrong
    figure = f"{said:.3g}" if said < 1000 else f"{round(said, -1):,.0f}"
    a = draw.choice([f"{n} {long}", f"{n} {short}", f"{words_of(n)} {long}"])
    b = draw.choice(["{} {}", "about {} {}" if said == value else "{} {}", "It is {} {}."])
    question = draw.choice(["", "How far is it?", "How much does it weigh?", "How large is it?"])
    return question, a, b.format(figure, draw.choice([other, brief])), relation_of(said == value)


def scales(draw: random.Random) -> Drawn:
    """One large number in figures, in words, shortened, as so many thousands; against ten or a thousand times it."""
    value = draw.choice(
        [draw.randint(2, 99) * 10**5, draw.randint(2, 99) * 500, draw.randint(11, 99) * 100,
         draw.randint(2, 20) * 10**6, draw.randint(2, 19) * 25 * 10**4, draw.randint(2, 9) * 10**9,
         draw.randint(11, 95) * 10**8]
    )  # fmt: skip
    same = _even(draw)
    other = draw.choice([value * 10, value // 10, value * 1000, value + value // 2, value * 2, value + 10**5])
    a, b = _scaled(draw, value), _scaled(draw, value if same else other)
    frame = draw.choice(["{}", "{}", "It is {}.", "about {}", "There were {} of them."])
    frame = "{}" if "about" in frame and not same else frame
    question = draw.choice(["", "How many people live there?", "How many were sold?", "How large is the number?"])
    return question, a, frame.format(b), relation_of(same or a == b)


def _scaled(draw: random.Random, value: int) -> str:
    forms = [f"{value:,}", f"{value:,}", str(value)]
    for scale, word, shorts in (
        (10**3, "thousand", ("k", "K")), (10**6, "million", ("m", "M", " mn")), (10**9, "billion", ("bn", "B", " bn")),
    ):  # fmt: skip
        if scale // 10 <= value < scale * 2000 and value * 1000 % scale == 0:
            part = f"{value / scale:g}"
            forms += [f"{part} {word}", f"{part}{draw.choice(shorts)}"] if "e" not in part else []
        if value % scale == 0 and value // scale < 1000:
            forms += [f"{words_of(value // scale)} {word}"] * 2
        if value * 2 % scale == 0 and value % scale and value // scale in range(10):
            forms.append(f"{words_of(value // scale)} and a half {word}" if value > scale else f"half a {word}")
        if value * 4 == 3 * scale:
            forms.append(f"three quarters of a {word}")
    if value < 10**6:
        forms.append(words_of(value))
    if value % 100 == 0 and 1100 <= value < 10000 and value % 1000:
        forms.append(f"{words_of(value // 100)} hundred")
    return draw.choice(forms)


SAID = [
    ["0", "zero", "none", "nil", "not one", "nothing"],
    ["1", "one", "a single one", "just one"],
    ["2", "two", "a pair", "a couple", "both of them"],
    ["12", "twelve", "a dozen", "one dozen"],
    ["6", "six", "half a dozen"],
    ["24", "two dozen", "twenty-four"],
    ["100", "a hundred", "one hundred"],
    ["20", "a score", "twenty"],
    ["1,000", "a thousand", "one thousand", "ten hundred"],
    ["1,000,000", "a million", "one million", "a thousand thousand"],
    ["144", "a gross", "twelve dozen"],
]


def romans(draw: random.Random) -> Drawn:
    """Roman numerals, none and nil, small numbers in words of their own."""
    n, same = draw.randint(1, 39), _even(draw)
    m = n if same else draw.choice([k for k in (n - 2, n - 1, n + 1, n + 2, n + 5, n + 10) if k > 0])
    roman = "X" * (n // 10) + ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"][n % 10]
    noun = draw.choice(["", "", "chapter ", "volume ", "part ", "act "])
    a, b = f"{noun}{roman}", f"{noun}{draw.choice([str(m), words_of(m)])}"
    if draw.random() < 0.3:
        group = draw.choice(SAID)
        others = draw.choice([["3", "three"], ["5", "five"], ["10", "ten"], ["13", "thirteen"], ["200", "two hundred"]])
        a = draw.choice(group)
        b = draw.choice([x for x in group if x != a]) if same else draw.choice(others)
        same = same or b in group
    return draw.choice(["", "How many were there?", "Which number is it?"]), a, b, relation_of(same)


def ratios(draw: random.Random) -> Drawn:
    """Ratios, scores and fractions, whose two numbers must not change places."""
    x, y = draw.sample(range(1, 13), 2)
    same = _even(draw)
    forms = draw.choice(
        [("{}:{}", "{} to {}", "a ratio of {} to {}"), ("{}-{}", "{} to {}", "{}–{}"),
         ("{}/{}", "{} over {}", "{} out of {}", "{} of {}")]
    )  # fmt: skip
    x2, y2 = (x, y) if same else draw.choice([(y, x), (x, y + 1), (x + 1, y)])
    a, b = draw.sample(forms, 2) if same or draw.random() < 0.6 else [forms[0]] * 2
    question = draw.choice(["", "What was the score?", "What is the ratio?", "How many?"])
    return question, a.format(x, y), b.format(x2, y2), relation_of(same)


def signs(draw: random.Random) -> Drawn:
    """Minus, plus and multiples: the sign is the meaning."""
    n, same = draw.randint(1, 90), _even(draw)
    minus, plus = ["-{}", "minus {}", "negative {}"], ["{}", "plus {}", "+{}", "positive {}"]
    below, above = ["{} degrees below zero", "-{} degrees"], ["{} degrees above zero", "+{} degrees"]
    groups = draw.choice([(minus, plus), (minus, plus), (below, above)])
    side = draw.randrange(2)
    a = draw.choice(groups[side]).format(n)
    rest = [form.format(n) for form in groups[side if same else 1 - side] if form.format(n) != a]
    question = draw.choice(["", "What is the result?", "What is the value?"])
    return question, a, draw.choice(rest or [a + "."]), relation_of(same)


def limits(draw: random.Random) -> Drawn:
    """At least, at most, before, after, since, between: the side of the limit is the meaning."""
    n, noun, same = draw.randint(3, 90), draw.choice(COUNTED), _even(draw)
    year = draw.randint(1600, 2020)
    kinds = [
        (["at least {n} {w}", "no fewer than {n} {w}", "{n} {w} or more"],
         ["at most {n} {w}", "no more than {n} {w}", "up to {n} {w}", "{n} {w} or fewer"]),
        (["more than {n} {w}", "over {n} {w}", "above {n} {w}"],
         ["fewer than {n} {w}", "under {n} {w}", "below {n} {w}", "less than {n} {w}"]),
        (["before {y}", "earlier than {y}", "prior to {y}"], ["after {y}", "later than {y}", "in {y}", "since {y}"]),
        (["x > {n}", "x is greater than {n}", "x exceeds {n}"], ["x < {n}", "x is less than {n}", "x = {n}"]),
        (["almost {n}", "nearly {n}", "just under {n}"], ["slightly over {n}", "just above {n}", "a little over {n}"]),
        (["by {y}", "no later than {y}"], ["from {y} on", "not before {y}"]),
    ]  # fmt: skip
    one, two = draw.choice(kinds)
    if draw.random() < 0.5:
        one, two = two, one
    a = draw.choice(one)
    if same and set(one) & {"in {y}", "x = {n}", "since {y}"}:
        one = [form for form in one if form not in ("in {y}", "x = {n}", "since {y}")]
        a = one[0]
    b = draw.choice([form for form in one if form != a]) if same else draw.choice(two)
    a, b = (form.format(n=n, w=noun, y=year) for form in (a, b))
    return draw.choice(["", "How many were there?", "When was it?", "What is known?"]), a, b, relation_of(same)


OFTEN = [
    ["daily", "every day", "once a day", "each day"],
    ["weekly", "every week", "once a week"],
    ["every two weeks", "every other week", "once a fortnight", "fortnightly"],
    ["monthly", "every month", "12 times a year", "once a month"],
    ["quarterly", "four times a year", "every three months"],
    ["twice a year", "every six months", "two times a year"],
    ["annually", "every year", "yearly", "once a year"],
    ["every two years", "every other year", "biennially"],
    ["every four years", "once in four years", "every fourth year"],
    ["every ten years", "once a decade", "every decade"],
    ["hourly", "every hour", "once an hour", "24 times a day"],
    ["every second day", "every other day", "every two days"],
    ["never", "not once", "at no time", "not a single time"],
    ["always", "every time", "without exception"],
    ["once", "one time", "a single time"],
    ["twice", "two times"],
    ["three times", "thrice", "on three occasions"],
]


def frequencies(draw: random.Random) -> Drawn:
    """How often: daily, every second day, twice a year."""
    (group, other), same = draw.sample(OFTEN, 2), _even(draw)
    a = draw.choice(group)
    b = draw.choice([x for x in group if x != a] if same else other)
    frame = draw.choice(["{}", "{}", "It happens {}."])
    return draw.choice(["", "How often?", "How often does it take place?"]), a, frame.format(b), relation_of(same)


def _even(draw: random.Random) -> bool:
    return draw.random() < 0.5
