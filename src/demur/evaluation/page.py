"""The report of a run: one self-contained HTML file, and the curve as PNG and SVG. It measures nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from demur.evaluation import figures
from demur.evaluation.results import Evaluation, Example
from demur.evaluation.tables import COLUMNS, reference_rows, router_rows, terms
from demur.files import write_whole
from demur.gate.extra_samples import COLUMNS as COLUMNS_OF_GATE

PAGE, PICTURES = "report.html", ("curve.png", "curve.svg")
SHOWN_EXAMPLES = 12  # right, and as many wrong

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c22; --faint: #6a6a75; --line: #d9d9e0; --paper: #fff; --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ee; --faint: #a0a0ac; --line: #3a3a44; --paper: #17171c; --mark: #56b4e9; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 74rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p, figcaption, pre { max-width: 60rem; }
p.headline { font-size: 1.15rem; font-weight: 600; }
p.lead, figcaption, .faint { color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; } .n { text-align: right; } td.n { white-space: nowrap; }
td:first-child { min-width: 12rem; }
tr.served td { font-weight: 600; }
figure { margin: 1rem 0; color: var(--faint); } figure svg { max-width: 100%; height: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
summary { cursor: pointer; color: var(--mark); } summary:focus-visible { outline: 2px solid var(--mark); }
pre { white-space: pre-wrap; background: color-mix(in srgb, var(--line) 35%, transparent); padding: .8rem; }
"""


def write_report(found: Evaluation, folder: Path) -> Path:
    """Write report.html, curve.png and curve.svg; returns the page's path. Raises MissingExtraError."""
    figures.check_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    curve = figures.curve_figure(found)
    for name in PICTURES:
        figures.save(curve, folder / name)
    path = folder / PAGE
    write_whole(path, page(found))
    return path


def page(found: Evaluation) -> str:
    """The whole page; every text of a user's is escaped."""
    title = f"demur: {found.strong} and {found.weak}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="headline">{escape(found.headline.sentence)}.</p>',
        f'<p class="lead">{escape(_lead(found))}</p>',
        figure_html(
            figures.curve_figure(found),
            f"{'Believed quality' if found.believed else 'Quality'} against calls to the strong model; the band is the "
            "served router's 95 % interval, the diamond where it stands at its threshold.",
        ),
        "<h2>Routers</h2>" + _routers(found) + _terms(found),
        "".join(f"<p>{escape(line)}</p>" for line in (*found.told, found.pricing, found.payback) if line),
        _gate(found),
        "<h2>What they learned from</h2>",
        f'<div class="pair">{_entropies(found)}'
        f"{figure_html(figures.target_figure(found.preferences), _balance(found))}</div>",
        _reliability(found),
        "<h2>Decisions of the served router</h2>" + _decisions(found),
        "<h2>How this was made</h2>",
        f"<pre>{escape(json.dumps(dict(found.notes), indent=2, ensure_ascii=False))}</pre>",
    ]
    return document(title, parts)


def document(title: str, parts: Sequence[str]) -> str:
    """A self-contained page in demur's style from pieces of HTML."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _reliability(found: Evaluation) -> str:
    """The reliability diagram of the served router's scores; empty where they are not probabilities."""
    if found.reliability is None:
        return ""
    caption = f"{found.reliability.sentence}; a point per tenth of the prompts."
    return "<h2>What a score means</h2>" + figure_html(figures.reliability_figure(found.reliability), caption)


def _lead(found: Evaluation) -> str:
    curve = found.rows[0].curve
    about = (
        f"No prompt is graded, so quality is believed: how often an answer means the same as the strong model's own "
        f"samples say. On {found.n_test} training prompts, each scored by a fit that did not see it,"
        if found.believed
        else f"On {found.n_test} {found.headline.on}"
    )
    return (
        f"{about} the weak model scores {curve.weak_quality:.3f} alone, the strong one "
        f"{curve.strong_quality:.3f}. The served router ({found.served}) was trained on {len(found.preferences)} "
        f"prompts {_labelled_by(found.preferences[0].kind)}; it calls the strong model where its score is at least "
        f"{found.threshold:.3f}."
    )


def _terms(found: Evaluation) -> str:
    return "".join(f'<p class="faint">{escape(line)}</p>' for line in terms(found))


def _gate(found: Evaluation) -> str:
    """What the gate on the weak model's answers was found to be worth, folded."""
    if not found.trials and not found.remarks:
        return ""
    rows = table(COLUMNS_OF_GATE, [trial.cells for trial in found.trials]) if found.trials else ""
    remarks = "".join(f"<p>{escape(line)}</p>" for line in found.remarks)
    return f"<details><summary>The gate: what checking weak answers is worth</summary>{rows}{remarks}</details>"


def _labelled_by(kind: str) -> str:
    """A description of where the labels of a kind come from."""
    sources = {
        "accuracy": "labelled by their gold answers",
        "quality-gap": "labelled by their gold answers",
        "preference": "labelled by a file of preferences",
        "judge": "labelled by a judge",
    }
    return sources.get(kind.partition(" ")[0], "without a label")


def figure_html(figure: object, caption: str) -> str:
    """A drawing and its caption, in the page's colours."""
    svg = figures.svg_of(figure).replace(figures.INK, "currentColor")
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _routers(found: Evaluation) -> str:
    return table(COLUMNS, [*router_rows(found), *reference_rows(found)], served=f"{found.served} (served)")


def table(names: Sequence[str], rows: Iterable[Sequence[str]], served: str = "") -> str:
    """A table that scrolls by itself; the row named ``served`` stands out."""

    def cells(values: Sequence[str], tag: str) -> str:
        first, *rest = values
        if not any(rest):  # a heading within the table, or why a row cannot be computed
            return f'<{tag} colspan="{len(names)}" class="faint">{escape(first)}</{tag}>'
        return f"<{tag}>{escape(first)}</{tag}>" + "".join(f'<{tag} class="n">{escape(v)}</{tag}>' for v in rest)

    body = "".join(f"<tr{' class=served' if row[0] == served else ''}>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells(names, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _entropies(found: Evaluation) -> str:
    """Their histograms; nothing where the labels came from elsewhere."""
    if all(row.entropy_a is None for row in found.preferences):
        return ""
    caption = f"Semantic entropy ({found.preferences[0].definition}) of both models on the training prompts."
    return figure_html(figures.entropy_figure(found.preferences), caption)


def _balance(found: Evaluation) -> str:
    n = len(found.preferences)
    counts = {who: sum(row.winner == who for row in found.preferences) for who in ("model_a", "tie", "model_b")}
    shares = {who: count / n for who, count in counts.items()}
    return (
        f"Targets ({found.preferences[0].kind}): weak preferred {shares['model_a']:.0%}, tie {shares['tie']:.0%}, "
        f"strong {shares['model_b']:.0%}."
    )


def _decisions(found: Evaluation) -> str:
    if found.believed:
        by_distance = sorted(found.examples, key=lambda one: -abs(one.score - found.threshold))
        about = "By the prompt alone, before any gate; qualities are believed."
        groups = {
            "Furthest from the threshold": by_distance[:SHOWN_EXAMPLES],
            "Nearest to the threshold": by_distance[SHOWN_EXAMPLES:][-SHOWN_EXAMPLES:],
        }
    else:
        sides = {right: [one for one in found.examples if one.right is right] for right in (False, True)}
        about = (
            f"For {len(sides[True])} of {len(found.examples)} prompts the right model was chosen: the strong one where "
            "its first answer is better than the weak one's, else the weak one (by the prompt alone, before any gate)."
        )
        groups = {
            f"{name}, furthest from the threshold first": sorted(
                sides[right], key=lambda one: -abs(one.score - found.threshold)
            )[:SHOWN_EXAMPLES]
            for name, right in (("Wrong", False), ("Right", True))
        }
    parts = [f"<p>{escape(about)}</p>"]
    for name, chosen in groups.items():
        rows = "".join(_example(one) for one in chosen)
        parts.append(
            f'<h3>{escape(name)}</h3><div class="scroll"><table><thead><tr><th>prompt</th>'
            '<th class="n">score</th><th>went to</th><th>weak said (quality)</th><th>strong said (quality)</th></tr>'
            f"</thead><tbody>{rows}</tbody></table></div>"
        )
    return "".join(parts)


def _example(one: Example) -> str:
    near = "".join(
        f"<li>{escape(_short(n.prompt))} <span class=faint>cosine {n.similarity:.2f}, target {n.training.target:.2f}, "
        f"SE weak {_nats(n.training.weak_entropy)}, strong {_nats(n.training.strong_entropy)}</span></li>"
        for n in one.neighbours
    )
    return (
        f"<tr><td>{escape(_short(one.prompt))}<details><summary>nearest training prompts</summary><ul>{near}</ul>"
        f'</details></td><td class="n">{one.score:.3f}</td><td>{one.role}</td>'
        f"<td>{escape(_short(one.weak_answer))} ({one.weak_quality:.1f})</td>"
        f"<td>{escape(_short(one.strong_answer))} ({one.strong_quality:.1f})</td></tr>"
    )


def _short(text: str, length: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _nats(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
