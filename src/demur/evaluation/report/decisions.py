"""The report's tables of single decisions of the served router, with both models' answers, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from demur.evaluation.results import Evaluation, Example
from demur.gate.explanation import scales
from demur.records import on_one_line
from demur.routing.decision import digits_apart

SHOWN_EXAMPLES = 12  # of each kind: right and wrong, or far from and near to the threshold
SHOWN = 160  # characters of a text in an example
HELD_OUT = (
    "By the prompt alone, before any gate, and by a fit that had not seen the prompt, as new prompts are decided. The "
    "served router has seen these prompts: `demur explain` and the gateway may give one of them another score and "
    "another model."
)


def decisions_html(found: Evaluation) -> str:
    """Single decisions in groups, with what they were made by; quality is graded or believed. A prompt that repeats is
    shown once, and how often it is there beside it."""
    times = Counter(map(_decision, found.examples))
    distinct = list({_decision(one): one for one in found.examples}.values())
    if found.believed:
        about = (
            f"{HELD_OUT} Each answer is the first that was sampled; beside it stands how far "
            "the samples of its prompt agree, the weak model's with the strong one's, the strong one's with each "
            "other. Quality is believed by this over many prompts; of one prompt's few samples it is no verdict."
        )
        groups = _by_distance(distinct, found.threshold)
    else:
        sides = {right: [one for one in distinct if one.right is right] for right in (False, True)}
        rightly = sum(one.right for one in found.examples)
        about = (
            f"For {rightly} of {len(found.examples)} prompts the right model was chosen: the strong one where "
            "its first answer is better than the weak one's, else the weak one. By the prompt alone, before any gate; "
            "unknown: samples of prompts like it did not show which model is needed, so a setting decided."
        )
        groups = {
            f"{name}, furthest from the threshold on either side": [
                one for side in _furthest(sides[right], found.threshold) for one in side
            ]
            for name, right in (("Wrong", False), ("Right", True))
        }
    columns = "; ".join(scales(chance=found.chance))
    parts, digits = [f"<p>{escape(about)}</p><p>The {escape(columns)}.</p>"], digits_of(found)
    worth = ("agreement with the strong samples", "agreement") if found.believed else ("quality", "quality")
    for name, chosen in groups.items():
        rows = "".join(_example(one, found, digits, times[_decision(one)]) for one in chosen)
        parts.append(
            f'<h3>{escape(name)}</h3><div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">'
            '<table class="decisions"><thead><tr><th scope="col">prompt</th><th scope="col" class="n">'
            f"{'score, a chance' if found.chance else 'score'}</th>"
            '<th scope="col">went to</th><th scope="col">'
            f'{escape(found.weak)} said ({worth[0]})</th><th scope="col">{escape(found.strong)} said ({worth[1]})</th>'
            "</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )
    return "".join(parts)


def _decision(one: Example) -> tuple[str, float, str, str]:
    """What rows that repeat a prompt have in common; one with other pictures is another prompt."""
    return one.prompt, one.score, one.weak_answer, one.strong_answer


def _by_distance(examples: Sequence[Example], threshold: float) -> dict[str, list[Example]]:
    """The examples furthest from the threshold on each of its sides, and of the others the nearest."""
    nearest_first = sorted(examples, key=lambda one: abs(one.score - threshold))
    far = _furthest(examples, threshold)
    shown = {id(one) for side in far for one in side}
    groups = {
        "Furthest above the threshold": far[0],
        "Furthest below the threshold": far[1],
        "Nearest to the threshold": [one for one in nearest_first if id(one) not in shown][:SHOWN_EXAMPLES],
    }
    return {name: chosen for name, chosen in groups.items() if chosen}


def _furthest(examples: Sequence[Example], threshold: float) -> tuple[list[Example], list[Example]]:
    """Those above the threshold and those below it, furthest first, so many of each side: where scores spread further
    on one, it would leave no room for the other."""
    furthest_first = sorted(examples, key=lambda one: -abs(one.score - threshold))
    above = [one for one in furthest_first if one.score >= threshold]
    below = [one for one in furthest_first if one.score < threshold]
    return above[: SHOWN_EXAMPLES // 2], below[: SHOWN_EXAMPLES // 2]


def digits_of(found: Evaluation) -> int:
    """Decimal places that tell every score from the threshold, three at least."""
    return max((digits_apart((one.score, found.threshold)) for one in found.examples), default=3)


def _example(one: Example, found: Evaluation, digits: int, times: int) -> str:
    near = "".join(
        f"<li>{escape(on_one_line(n.prompt, SHOWN))} <span class=faint>cosine {n.similarity:.2f}, target "
        f"{n.training.target:.2f}, semantic entropy: weak {_nats(n.training.weak_entropy)}, strong "
        f"{_nats(n.training.strong_entropy)}</span></li>"
        for n in one.neighbours
    )
    weak, strong = escape(found.weak), escape(found.strong)
    role = {"weak": weak, "strong": strong}.get(one.role, escape(one.role))
    went = f"{role} (unknown)" if one.unknown else role
    about = f"nearest training prompts<span class=hidden> of: {escape(on_one_line(one.prompt, 60))}</span>"
    repeated = f" <span class=faint>({times} times)</span>" if times > 1 else ""
    return (
        f"<tr><td>{escape(on_one_line(one.prompt, SHOWN))}{repeated}"
        f'<details class="near"><summary>{about}</summary><ul>{near}</ul>'
        f'</details></td><td class="n" data-name="score">{one.score:.{digits}f}</td><td data-name="went to">{went}</td>'
        f'<td data-name="{weak} said">{escape(on_one_line(one.weak_answer, SHOWN))} '
        f"({one.weak_worth})</td>"
        f'<td data-name="{strong} said">{escape(on_one_line(one.strong_answer, SHOWN))} '
        f"({one.strong_worth})</td></tr>"
    )


def _nats(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
