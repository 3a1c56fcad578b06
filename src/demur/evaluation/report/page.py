"""The report of a run: one self-contained HTML file, and the curve as PNG and SVG. It measures nothing itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from demur.config import ROUTER
from demur.evaluation.report import figures
from demur.evaluation.report.decisions import decisions_html, digits_of
from demur.evaluation.report.headline_record import short
from demur.evaluation.report.kinds_table import HEAD, SEE_TABLE, columns_of, meaning_of
from demur.evaluation.report.tables import (
    COLUMNS,
    choice_columns,
    choice_rows,
    reference_rows,
    router_rows,
    served_share,
    terms,
)
from demur.evaluation.results import Evaluation
from demur.files import write_whole
from demur.gate.quality.extra_samples import COLUMNS as COLUMNS_OF_GATE
from demur.labels.targets import needs_in_words
from demur.records import count_of, dollars
from demur.runs.lineage import REPORT, keep_report
from demur.runs.steps import in_its_words

PICTURES = "curve.png", "curve.svg"
COMMAND = re.compile(r"`([^`]+)`")
OPTION = re.compile(r"--[a-z]+(?:-[a-z]+)*")
WIDE, NARROW = (10.0, 5.2), (4.4, 5.4)  # inches of the curve on a page that is wide, or narrow


def write_report(found: Evaluation, folder: Path) -> Path:
    """Write report.html, curve.png and curve.svg; returns the page's path. Raises MissingExtraError."""
    figures.check_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    curve = figures.curve_figure(found)
    for name in PICTURES:
        figures.save(curve, folder / name)
    path = folder / REPORT
    write_whole(path, page(found))
    keep_report(folder)
    return path


def page(found: Evaluation) -> str:
    """The whole page; every text of a user's is escaped."""
    title = f"demur: {found.strong} and {found.weak}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="headline">{prose(found.headline.brief)}.</p>',
        _cards(found),
        _block(found),
        *(f"<p>{prose(line)}</p>" for line in _lead(found)),
        _curve(found),
        f"<h2>What other shares of calls to {escape(found.strong)} would give</h2>",
        f'<p class="faint">{prose(_about_choices(found))}</p>',
        table(choice_columns(found), choice_rows(found), served=served_share(found)),
        _list(_sentence(line) for line in (*found.told, found.pricing, found.payback) if line),
        _kinds(found),
        "<h2>Routers</h2>" + _routers(found) + _terms(found),
        _gate(found),
        "<h2>What they learned from</h2>",
        f'<div class="pair">{_entropies(found)}'
        f"{figure_html(figures.target_figure(found.preferences), _balance(found))}</div>",
        _reliability(found),
        "<h2>Decisions of the served router</h2>" + decisions_html(found),
        "<h2>How this was made</h2>",
        f"<pre>{escape(json.dumps(_notes(found), indent=2, ensure_ascii=False))}</pre>",
    ]
    return document(title, parts)


def _notes(found: Evaluation) -> dict[str, object]:
    """What the run's record says, with the threshold that serves and the share that it gives."""
    line = found.headline
    return {**found.notes, "threshold": line.threshold, "strong_share": round(line.strong_share, 4)}


def document(title: str, parts: Sequence[str]) -> str:
    """A self-contained page in demur's style from pieces of HTML."""
    body = "\n".join(parts)
    style = (files("demur") / "evaluation" / "report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def prose(text: str) -> str:
    """A sentence as HTML; options of commands are not broken at their hyphens, nor numbers before their sign."""
    kept = COMMAND.sub(r"<code>\g<1></code>", escape(text).replace(" %", "\u00a0%"))
    return OPTION.sub(r"<span class=option>\g<0></span>", kept)


def _block(found: Evaluation) -> str:
    """The headline in the words of the commands: the result, what it rests on, what to be careful about."""
    block = found.block
    router = found.folder / ROUTER
    facts = ((name, in_its_words(fact, router)) for name, fact in block.notes)
    notes = "".join(f"<dt>{escape(name)}</dt><dd>{prose(fact)}</dd>" for name, fact in facts)
    told = (in_its_words(one.replace(SEE_TABLE, "See the table below"), router) for one in found.block.cautions)
    cautions = _list(map(_sentence, told)) if block.cautions else ""
    return f'<p>{prose(block.sentence)}.</p><dl class="notes">{notes}</dl>{cautions}'


def _cards(found: Evaluation) -> str:
    """The headline's figures, large: calls, quality, money. What is not known has no card."""
    line, weak, strong = found.headline, escape(found.weak), escape(found.strong)
    cards = [("calls that stay local", f"{1 - line.strong_share:.0%}", f"of {line.prompts:,} {line.on}")]
    if line.quality is not None and line.strong_quality is not None:
        routed, low, high = map(short, line.quality)
        about = f"95 % interval {low} to {high}; always {strong}: {short(line.strong_quality)}"
        if line.judged is not None:
            about += f"; {'measured on' if line.by_grades else 'of'} {line.judged_prompts}"
        cards.append((line.quality_name, routed, about))
    if line.usd is not None:
        cards.append(("cost per 1,000 calls", dollars(line.usd), f"always {strong}: {dollars(line.usd_strong or 0.0)}"))
    if line.saved is not None and line.usd is not None and line.usd_strong is not None:
        word = "saved" if round(line.saved, 2) >= 0 else "lost"
        million = dollars(1000 * abs(line.usd_strong - line.usd))
        cards.append((word, f"{abs(line.saved):.0%}", f"{million} per million calls; {weak} answers what stays local"))
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{more}</dd></div>" for name, value, more in cards)
    return f'<dl class="cards">{rows}</dl>'


def _kinds(found: Evaluation) -> str:
    """What is known of each kind of prompt; empty where nothing is recorded."""
    if found.kinds is None:
        return ""
    said = f"<p>{prose(found.kinds.sentence)}</p>" if found.kinds.sentence else ""
    rows = table(columns_of(found.kinds), found.kinds.rows)
    return f'<h2>{HEAD}</h2>{said}{rows}<p class="faint">{prose(meaning_of(found.kinds))}</p>'


def _about_choices(found: Evaluation) -> str:
    """What the table of other shares counts."""
    line, by = found.drawn, "By the served router's score alone"
    if line.judged is None:
        return f"{by}; choose a share with demur calibrate --strong-share."
    least = (
        f" Unknown prompts go there whatever the threshold: at least {line.least_share:.0%}."
        if line.least_share
        else ""
    )
    return (
        f"Shares and costs are of all {line.prompts:,} prompts, as demur calibrate --strong-share counts them; quality "
        f"is of {line.judged_prompts}.{least}"
    )


def _set_of_curve(found: Evaluation) -> str:
    """Which prompts the curve is of, where the headline's share is of more of them."""
    line = found.drawn
    if line.judged is None or line.judged_share is None:
        return ""
    whole, fixed = "", found.strong if line.setting == "strong" else found.weak
    if found.headline.weighed and not found.believed:
        whole = (
            f" The first line's quality is of all prompts: also of the {line.by_setting:.0%} that go to {fixed} "
            "whatever their score."
        )
    return (
        f" All of it is of {line.judged_prompts}: {line.judged_share:.0%} of these go to "
        f"{found.strong}, and {line.strong_share:.0%} of all {line.prompts:,}, as the first line says.{whole}"
    )


def _curve(found: Evaluation) -> str:
    """The curve twice, for wide and narrow pages: text in a picture does not wrap."""
    about = (
        f"{'Believed quality' if found.believed else 'Quality'} against calls to {found.strong}: the thick line is the "
        "served router with its 95 % interval; the diamond is where it stands now. Above the line "
        "from always to always (random routing) calls are well chosen."
        f"{_set_of_curve(found)}"
    )
    if found.drawn.by_setting and found.drawn.judged is None:
        about += (
            f" It stands off the line, because {found.drawn.by_setting:.0%} of the prompts go to one model "
            "whatever their score, because samples do not show which model they need (the setting `unknown`)."
        )
    wide, narrow = (_svg(figures.curve_figure(found, *size)) for size in (WIDE, NARROW))
    pictures = f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
    return f"<figure>{pictures}<figcaption>{prose(about)}</figcaption></figure>"


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{prose(line)}</li>' for line in lines)}</ul>"


def _sentence(line: str) -> str:
    """With a capital letter, but for names, and a full stop."""
    first = line.partition(" ")[0].rstrip(":")
    capital = line[:1].upper() if first.isalpha() else line[:1]
    return f"{capital}{line[1:]}{'' if line.endswith('.') else '.'}" if line else ""


def _reliability(found: Evaluation) -> str:
    """The reliability diagram of the served router's scores; empty where they are not probabilities."""
    if found.reliability is None:
        return ""
    caption = f"{found.reliability.sentence}; a point per tenth of the prompts."
    return "<h2>What a score means</h2>" + figure_html(figures.reliability_figure(found.reliability), caption)


def _lead(found: Evaluation) -> tuple[str, ...]:
    """How it works, and what it was measured on, for a reader who knows neither."""
    curve, threshold = found.rows[0].curve, f"{found.threshold:.{digits_of(found)}f}"
    works = (
        f"Each prompt gets a score before any model is asked. Where it is at least {threshold}, "
        f"{found.strong} (the large, or strong, model) answers, else {found.weak} (the small, or weak, one). "
        f"The served router ({found.served}) was trained on {count_of(len(found.preferences), 'prompt')} "
        f"{_labelled_by(found.preferences[0].kind)}."
    )
    alone = f"{found.weak} alone reaches {curve.weak_quality:.3f}, {found.strong} alone {curve.strong_quality:.3f}."
    if found.believed:
        return works, (
            f"{_why_believed(found)}, so quality is believed: how often an answer means the same as the strong model's "
            f"own samples say. On {_believed_prompts(found)}, each scored by a fit that did not see it, {alone}"
        )
    on = f"{found.n_test:,} {found.headline.on}"
    if found.drawn.by_grades:
        on = f"{found.drawn.judged_prompts}, each scored by a fit that did not see it"
    return works, f"Measured on {on}: {alone}"


def _why_believed(found: Evaluation) -> str:
    """Why the curve and the tables go by belief."""
    if not found.headline.by_grades:
        return "No prompt is graded"
    given = count_of(found.headline.judged or 0, "graded prompt is", "graded prompts are")
    return f"{given} too few for the curve and the tables"


def _believed_prompts(found: Evaluation) -> str:
    """The training prompts that quality is believed of, in the words of the first line."""
    line = found.drawn
    among = f"the {line.judged:,} of {line.prompts:,}" if line.judged is not None else f"{found.n_test:,}"
    return f"{among} training prompts{f' {line.decided}' if line.judged is not None else ''}"


def _terms(found: Evaluation) -> str:
    return "".join(f'<p class="faint">{prose(line)}</p>' for line in terms(found))


def _gate(found: Evaluation) -> str:
    """What the gate on the weak model's answers was found to be worth, folded."""
    if not found.trials and not found.remarks:
        return ""
    rows = table(COLUMNS_OF_GATE, [trial.cells for trial in found.trials]) if found.trials else ""
    remarks = "".join(f"<p>{prose(line)}</p>" for line in found.remarks)
    return f"<details><summary>The gate: what checking weak answers is worth</summary>{rows}{remarks}</details>"


def _labelled_by(kind: str) -> str:
    """A description of where the labels of a kind come from."""
    sources = {
        "accuracy": "labelled by their gold answers",
        "quality-gap": "labelled by their gold answers",
        "preference": "labelled by a file of preferences",
        "judge": "labelled by a judge",
    }
    return sources.get(kind.partition(" ")[0], "labelled by how the answers of both models agree")


def figure_html(figure: object, caption: str) -> str:
    """A drawing and its caption, in the page's colours."""
    return f"<figure>{_svg(figure)}<figcaption>{prose(caption)}</figcaption></figure>"


def _svg(figure: object) -> str:
    """A drawing in the page's colours; its caption says what it shows."""
    svg = figures.svg_of(figure).replace(figures.INK, "currentColor")
    return svg.replace("<svg", '<svg role="img" aria-label="picture, described below"', 1)


def _routers(found: Evaluation) -> str:
    alone = {"always weak": f"always {found.weak}", "always strong": f"always {found.strong}"}
    beside = [(alone.get(row[0], row[0]), *row[1:]) for row in reference_rows(found)]
    return table(COLUMNS, [*router_rows(found), *beside], served=f"{found.served} (served)")


NARROWER = ",\u00a0"  # where a cell is not broken
LONG_NAME = 30  # characters; a first column of longer ones gets room for several words per line


def table(names: Sequence[str], rows: Iterable[Sequence[str]], served: str = "") -> str:
    """A table that scrolls by itself; the row named ``served`` stands out."""

    def cells(values: Sequence[str], tag: str) -> str:
        first, *rest = values
        scope = ' scope="col"' if tag == "th" else ""
        if not any(rest):  # a heading within the table, or why a row cannot be computed
            return f'<{tag} colspan="{len(names)}" class="faint">{escape(first)}</{tag}>'
        others = "".join(f'<{tag}{scope} class="n">{escape(v)}</{tag}>' for v in rest)
        return f"<{tag}{scope}>{escape(first)}</{tag}>{others}"

    rows = [[row[0], *(value.replace(", ", NARROWER).replace(" %", "\u00a0%") for value in row[1:])] for row in rows]
    body = "".join(f"<tr{' class=served' if row[0] == served else ''}>{cells(row, 'td')}</tr>" for row in rows)
    head = f"<thead><tr>{cells(names, 'th')}</tr></thead>"
    long = " class=long" if any(len(row[0]) > LONG_NAME and any(row[1:]) for row in rows) else ""
    place = f'<div class="scroll" tabindex="0" role="region" aria-label="table by {escape(names[0])}">'
    return f"{place}<table{long}>{head}<tbody>{body}</tbody></table></div>"


def _entropies(found: Evaluation) -> str:
    """Their histograms; nothing where the labels came from elsewhere."""
    if all(row.entropy_a is None for row in found.preferences):
        return ""
    caption = f"Semantic entropy ({found.preferences[0].definition}) of both models on the training prompts."
    return figure_html(figures.entropy_figure(found.preferences), caption)


def _balance(found: Evaluation) -> str:
    needs = needs_in_words([row.target for row in found.preferences])
    return f"Targets ({found.preferences[0].kind}): {needs}."
