"""The report: self-contained, escaped, readable where figures are missing."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import missing, needed
from demur.evaluation.report.figures import INK, PALETTE, curve_figure, target_figure
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.report.kinds_table import HEAD
from demur.evaluation.report.page import page, prose
from demur.evaluation.report.tables import choice_columns, choice_rows, reference_rows, router_rows, terms
from demur.evaluation.results import Evaluation, EvaluationRow, Example, KindsTable
from demur.gate.gate import GateVerdict
from demur.gate.quality.extra_samples import ExtraSamplesTrial
from demur.measure.curve import cost_quality_curve
from demur.measure.reliability import reliability
from demur.measure.threshold import KeptPoint
from demur.records import Preference
from demur.routing.prompt_router import Neighbour, TrainingPrompt

NASTY = '<script>alert("x")</script> & so'


HEADLINE = Headline(0.5, True, 30, "test prompts", 0.3, (0.8, 0.7, 0.9), 0.9, False, 0.07, 0.22, 0.05)


def evaluation(strong_is_better: bool = True) -> Evaluation:
    random = np.random.default_rng(0)
    weak, strong = np.zeros(30), random.random(30) * (1 if strong_is_better else -1)
    curve = cost_quality_curve(random.random(30), weak, strong, weak_cost=weak, strong_cost=weak + 0.01)
    near = Neighbour(TrainingPrompt(NASTY, 0.5, 1.0, None), 0.9)
    examples = [Example(f"{NASTY} {n}", 0.7, "strong", NASTY, NASTY, 0.0, 1.0, (near,)) for n in range(30)]
    row = Preference(
        *("1", "small", "large", NASTY, NASTY, NASTY),
        target=0.3,
        winner="model_a",
        kind="hard",
        entropy_a=0.5,
        entropy_b=None,
        definition="discrete",
    )
    return Evaluation(
        weak="small", strong=NASTY, rows=(EvaluationRow("sw", curve),), served="sw", preferences=(row,),
        examples=tuple(examples), warnings=(NASTY,), pricing="", payback="", usd_alone=(None, 1.5), findings=(NASTY,),
        headline=HEADLINE, notes={"x": NASTY},
    )  # fmt: skip


def test_user_text_is_escaped_everywhere() -> None:
    html = page(evaluation())
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 5


KINDS = KindsTable("", tuple(
    (name, "10,000", "5,000 (50%)", "2,500 (25%)", "2,500 (25%)", "100%", "0.69 of 0.85, measured on 1,300", "100%")
    for name in ("short answers", "other languages (German 40%, French 31%)", "prompts with pictures")
))  # fmt: skip


def test_the_curve_stands_before_the_table_of_kinds() -> None:
    html = page(replace(evaluation(), kinds=KINDS))
    assert html.index('class="headline"') < html.index("<figure>") < html.index(HEAD)


async def test_no_table_scrolls_from_800_pixels_on_and_on_a_phone_each_does_by_itself(tmp_path: Path) -> None:
    playwright = needed("playwright.async_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("chromium (apt-get install chromium)")
    verdict, money = GateVerdict(0.123, 0.0246, 0.0112, 0.0358), (0.0125, -0.0105, 0.0255)
    trial = ExtraSamplesTrial(2, verdict, 0.4, 1.25, 0.25, (12_345.0, 1234.0), money)
    file = tmp_path / "report.html"
    file.write_text(page(replace(evaluation(), kinds=KINDS, trials=(trial,))), encoding="utf-8")
    beyond = "all => all.map(one => one.scrollWidth - one.clientWidth)"
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scrolls in ((1200, False), (1000, False), (800, False), (400, True)):
            shown = await browser.new_page(viewport={"width": width, "height": 900})
            await shown.goto(file.as_uri())
            await shown.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert await shown.evaluate("document.documentElement.scrollWidth") == width
            assert any(await shown.locator(".scroll").evaluate_all(beyond)) == scrolls
        await browser.close()


def test_the_report_says_what_the_labels_were_made_of() -> None:
    found = evaluation()
    by = {
        kind: page(replace(found, preferences=(replace(found.preferences[0], kind=kind),)))
        for kind in ("entropy margin", "accuracy soft", "judge", "preference")
    }
    assert "trained on 1 prompt labelled by how the answers of both models agree." in by["entropy margin"]
    assert "trained on 1 prompt labelled by their gold answers." in by["accuracy soft"]
    assert "trained on 1 prompt labelled by a judge." in by["judge"]
    assert "trained on 1 prompt labelled by a file of preferences." in by["preference"]


def test_nothing_is_loaded_from_elsewhere() -> None:
    html = re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", page(evaluation()))
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#)", html)
    assert "url(http" not in html
    assert "@import" not in html


@pytest.mark.parametrize("better", [True, False])
def test_a_strong_model_that_is_no_better_still_gives_a_report(better: bool) -> None:
    html = page(evaluation(better))
    assert html.count("<svg") == 4  # the curve for wide and for narrow pages, entropies, targets
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL).casefold().replace("nanum", "")


def test_pictures_follow_the_pages_colours() -> None:
    html = page(evaluation())
    assert "currentColor" in html
    assert "prefers-color-scheme: dark" in html


def test_every_router_is_drawn_and_the_served_one_wherever_it_stands() -> None:
    found = evaluation()
    names = [f"router {i}" for i in range(9)]
    rows = tuple(EvaluationRow(name, found.rows[0].curve) for name in names)
    drawn = curve_figure(replace(found, rows=rows, served=names[-1]))
    shown = [text.get_text() for text in drawn.legends[0].get_texts()]
    named = ["other routers (in the table)", "router 0 (the best other)", "router 8 (served)", "as it is served"]
    assert shown == ["oracle", "random", *named]
    assert len(drawn.axes[0].get_lines()[2:11]) == 9


def test_one_unknown_price_does_not_hide_what_the_other_model_costs_alone() -> None:
    rows = {row[0]: row[-1] for row in reference_rows(evaluation())}
    assert (rows["always weak"], rows["always strong"]) == ("unknown", "$1.50")


def test_random_costs_what_a_straight_line_between_the_models_costs() -> None:
    """Along the curve of a router that keeps dear prompts it was another figure."""
    rows = {row[0]: row[-1] for row in reference_rows(replace(evaluation(), usd_alone=(0.5, 1.5)))}
    assert rows["random (chord)"] == "$1.30"


def test_the_served_router_and_the_best_other_have_colours_and_the_rest_are_grey() -> None:
    """Nine routers in nine colours and dashes could not be followed; the table has them all."""
    found = evaluation()
    rows = tuple(EvaluationRow(name, found.rows[0].curve) for name in ("sw", *map(str, range(8))))
    drawn = curve_figure(replace(found, rows=rows)).axes[0].get_lines()[2:11]
    looks = [(line.get_color(), line.get_linestyle()) for line in drawn]
    assert looks == [(INK, "-")] * 7 + [(PALETTE[1], "--"), (PALETTE[0], "-")]


def luminance(colour: str) -> float:
    """WCAG's relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("colour", PALETTE)
@pytest.mark.parametrize("page_colour", ["#ffffff", "#17171c"])
def test_every_line_stands_out_from_a_light_and_a_dark_page(colour: str, page_colour: str) -> None:
    low, high = sorted((luminance(colour), luminance(page_colour)))
    assert (high + 0.05) / (low + 0.05) >= 3.0  # WCAG 1.4.11


def test_calls_quality_and_money_stand_large() -> None:
    html = page(evaluation())
    cards = re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd><dd>(.*?)</dd></div>", html)
    assert [(name, value) for name, value, _ in cards] == [
        *(("calls that stay local", "70%"), ("quality", ".80"), ("cost per 1,000 calls", "$0.07"), ("saved", "68%")),
    ]
    assert "$150.00 per million calls" in cards[3][2]  # .22 - .07 USD per 1,000


def test_what_the_headline_rests_on_and_what_to_be_careful_about_stand_below_it() -> None:
    caution = "Do not trust it on code <b>: samples rarely show which model they need. See `demur report`"
    html = page(replace(evaluation(), verdict="sw is better", cautions=(caution, "cut at 64: `--max-tokens 256`")))
    notes = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html.partition('<dl class="notes">')[2]))
    assert (notes["measured on"], notes["verdict"]) == ("30 test prompts", "sw is better")
    assert "large model&#x27;s quality" in notes["kept"]  # .8 of .9
    assert "Do not trust it on code &lt;b&gt;: " in html
    assert "See the table below.</li>" in html  # the reader has the report
    assert "<code><span class=option>--max-tokens</span> 256</code>" in html


def test_a_loss_is_called_one_and_what_is_unknown_has_no_card() -> None:
    dear, unknown = replace(HEADLINE, usd=0.275), replace(HEADLINE, usd=None, quality=None)
    lost = page(replace(evaluation(), headline=dear))
    assert "<dt>lost</dt><dd>25%</dd><dd>$55.00 per million calls" in lost
    assert page(replace(evaluation(), headline=unknown)).count("<div><dt>") == 1


def test_other_shares_by_hand() -> None:
    """Half of the prompts need the strong model and come first: half the calls close the gap, at half the price."""
    weak, strong = np.repeat([0.0, 1.0], 10), np.ones(20)
    curve = cost_quality_curve(1.0 - weak, weak, strong, weak_cost=np.zeros(20), strong_cost=np.full(20, 0.002))
    found = replace(evaluation(), rows=(EvaluationRow("sw", curve),))
    rows = {row[0]: row[1:] for row in choice_rows(found)}
    assert rows["0%"] == ("0.500", "0%", "$0", "100%")
    assert rows["50%"] == ("1.000", "100%", "$1.00", "50%")
    assert rows["100%"] == ("1.000", "100%", "$2.00", "0%")
    unpriced = replace(found, rows=(EvaluationRow("sw", cost_quality_curve(1.0 - weak, weak, strong)),))
    assert choice_rows(unpriced)[6][2:] == ("100%", "unknown", "unknown")
    assert choice_rows(found)[0] == ("30%, as served", "0.800", "60%", "$0.07", "68%")  # the first line's own figures


def test_other_shares_count_the_prompts_of_the_headline() -> None:
    """Where quality is of some prompts: shares and money of all, as in the first line and as calibrate counts."""
    points = (KeptPoint(0.2, 0.5, 0.75), KeptPoint(1.0, 1.0, 0.0))
    line = replace(HEADLINE, judged=20, judged_share=0.45, by_setting=0.2)
    found = replace(evaluation(), headline=line, choices=points)
    rows = choice_rows(found)
    assert (rows[0][0], *rows[0][3:]) == ("30%, as served", "$0.07", "68%")  # the first line's own figures
    strong = found.rows[0].curve.strong_quality
    assert [row[0] for row in rows[1:]] == ["20%", "100%"]
    assert rows[1][1] == f"{0.5 * strong:.3f}" and rows[1][3:] == ("$0.055", "75%")  # of $0.22
    assert rows[2][3:] == ("$0.22", "0%")
    told = page(found)
    assert "of all 30 prompts" in told and "at least 20%" in told
    assert choice_columns(found)[1] == "quality, of 20 prompts"
    assert "of the 20 prompts that could" in told


def test_every_cell_of_a_router_has_its_interval() -> None:
    """Three in ten of 1,000 prompts gain and come first: CPT50 is half of that share, 1.96 sqrt(.3 x .7 / 1,000) / 2 =
    .0142 around it, CPT80 four fifths, .0227 around, and APGR one less a half of it."""
    strong = np.repeat([1.0, 0.0], [300, 700])
    row = EvaluationRow("sw", cost_quality_curve(strong, np.zeros(1000), strong))
    ((name, half, most, apgr, usd),) = router_rows(replace(evaluation(), rows=(row,)))
    assert (name, half, most, usd) == ("sw (served)", "15 [14, 16]", "24 [22, 26]", "unknown")
    value, low, high = (float(part) for part in re.findall(r"\.\d+", apgr))
    assert (value, low, high) == pytest.approx((0.85, 0.8358, 0.8642), abs=0.002)
    never = EvaluationRow("sw", cost_quality_curve(strong, np.zeros(1000), np.zeros(1000)))
    assert router_rows(replace(evaluation(), rows=(never,)))[0][1:4] == ("-", "-", "-")


def test_what_goes_by_a_setting_explains_why_the_served_point_is_off_the_line() -> None:
    html = page(replace(evaluation(), headline=replace(HEADLINE, by_setting=0.25)))
    assert "because 25% of the prompts" in html
    assert "because" not in page(evaluation())


def test_the_reliability_of_scores_is_drawn_where_they_are_probabilities() -> None:
    assert "What a score means" not in page(evaluation())
    known = reliability(np.linspace(0, 1, 30), np.linspace(0, 1, 30))
    shown = page(replace(evaluation(), reliability=known))
    assert "What a score means" in shown
    assert "ECE 0.000" in shown
    assert "strong right and weak wrong (share)" in shown


def decisions_of(html: str) -> dict[str, list[tuple[str, str]]]:
    """Score and model of each row, by the heading above them."""
    found = re.findall(r"<h3>([^<]*)</h3><div class=\"scroll\"(.*?)</table>", html, flags=re.DOTALL)
    cells = r'data-name="score">([^<]*)</td><td data-name="went to">([^<]*)<'
    return {name: re.findall(cells, rows) for name, rows in found}


def believed(scores: list[float]) -> Evaluation:
    found = evaluation()
    made = [replace(found.examples[0], score=one, role="strong" if one >= 0.5 else "weak") for one in scores]
    return replace(found, believed=True, strong="large", examples=tuple(made))


def test_decisions_are_of_both_sides_of_the_threshold_and_the_nearest_come_first() -> None:
    """Of 30 scores all but 8 are below .5: those above are not crowded out, though others are further away."""
    below, above = [0.01 * i for i in range(1, 23)], [0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57, 0.58]
    groups = decisions_of(page(believed(below + above)))
    furthest = [[float(score) for score, _ in groups[f"Furthest {side} the threshold"]] for side in ("above", "below")]
    assert furthest == [[0.58, 0.57, 0.56, 0.55, 0.54, 0.53], [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]]
    nearest = groups["Nearest to the threshold"]
    assert nearest[:3] == [("0.510", "large"), ("0.520", "large"), ("0.220", "small")]
    distances = [abs(float(score) - 0.5) for score, _ in nearest]
    assert len(distances) == 12
    assert distances == sorted(distances)


@pytest.mark.parametrize("graded", [False, True])
def test_a_decision_about_a_prompt_that_repeats_is_shown_once(graded: bool) -> None:
    """Three rows of one prompt would be three of the six that a list has room for."""
    scores = [0.9, 0.9, 0.9, *(0.6 + 0.01 * i for i in range(10)), 0.2]
    html = page(replace(believed(scores), believed=not graded))
    shown = [score for rows in decisions_of(html).values() for score, _ in rows]
    assert shown.count("0.900") == 1
    assert len(shown) == len(set(shown))
    assert html.count("(3 times)") == 1
    assert " times)" not in html.replace("(3 times)", "")
    if graded:
        assert "For 13 of 14 prompts the right model was chosen" in html  # each row counts


def test_a_score_just_below_the_threshold_is_told_from_it() -> None:
    html = page(believed([0.49996, 0.3, 0.7]))
    assert "Where it is at least 0.50000, " in html
    assert ("0.49996", "small") in decisions_of(html)["Furthest below the threshold"]


def test_a_believed_quality_is_not_taken_for_that_of_the_answer_beside_it() -> None:
    assert "small said (agreement with the strong samples)" in page(believed([0.4, 0.6]))
    assert "by a fit that had not seen the prompt" in page(believed([0.4, 0.6]))  # explain scores it as served
    assert "small said (quality)" in page(evaluation())


def test_two_samples_that_agree_are_shown_as_such_and_not_as_a_certain_quality() -> None:
    one = replace(evaluation().examples[0], weak_quality=1.0, strong_quality=1.0)
    assert (one.weak_worth, one.strong_worth) == ("1.0", "1.0")  # a grade
    two = replace(one, samples=2)
    assert (two.weak_worth, two.strong_worth) == ("all 2 agree", "all 2 agree")
    none = replace(one, samples=5, weak_quality=0.0, strong_quality=0.0)
    assert (none.weak_worth, none.strong_worth) == ("no sample agrees", "all 5 differ")
    some = replace(one, samples=4, weak_quality=0.25, strong_quality=0.5)
    assert (some.weak_worth, some.strong_worth) == ("25% of pairs agree", "50% of pairs agree")
    html = page(replace(believed([0.4]), examples=(replace(two, strong_answer="nonsense"),)))
    assert "nonsense (all 2 agree)" in html


def test_the_cost_of_a_router_says_at_which_share_it_is() -> None:
    assert "USD/1,000: what 1,000 calls cost at CPT80, not at the served threshold" in page(evaluation())


@pytest.mark.parametrize(
    ("judged", "share", "by_grades", "label", "caption"),
    [
        (None, None, False, "as it is served: 30 %", ""),
        (20, 0.3, False, "as it is served: 30 %", "the 20 prompts that could be judged: 30% of"),
        (
            20,
            0.25,
            False,
            "as it is served: 25 %\n(of all 30: 30 %)",
            "and 30% of all 30, as the first line says",
        ),
        (9, 0.25, True, "as it is served: 25 %\n(of all 30: 30 %)", "of the 9 graded prompts: 25% of these"),
    ],
)
def test_where_the_curve_is_of_fewer_prompts_than_the_headline_both_shares_are_said(
    judged: int | None, share: float | None, by_grades: bool, label: str, caption: str
) -> None:
    line = replace(HEADLINE, judged=judged, judged_share=share, by_grades=by_grades)
    found = replace(evaluation(), headline=line)
    assert label in [text.get_text() for text in curve_figure(found).axes[0].texts]
    html = page(found)
    assert caption in html
    assert ("as the first line says" in html) == bool(caption)


def test_graded_decisions_are_of_both_sides_of_the_threshold() -> None:
    """Threshold .5: scores above reach .99, those below only .45, which were crowded out."""
    above, below = [0.8 + 0.01 * i for i in range(20)], [0.45, 0.46]
    one = evaluation().examples[0]
    right = [replace(one, score=s, role="strong", weak_quality=0.0, strong_quality=1.0) for s in above]
    right += [replace(one, score=s, role="weak", weak_quality=1.0, strong_quality=1.0) for s in below]
    groups = decisions_of(page(replace(evaluation(), strong="large", examples=tuple(right))))
    shown = groups["Right, furthest from the threshold on either side"]
    assert shown == [
        *(("0.990", "large"), ("0.980", "large"), ("0.970", "large"), ("0.960", "large"), ("0.950", "large")),
        *(("0.940", "large"), ("0.450", "small"), ("0.460", "small")),
    ]


def test_the_table_says_which_prompts_it_counts_where_the_first_line_counts_more() -> None:
    found = evaluation()
    assert "Shares and costs of the table" not in page(found)
    fewer = replace(found, headline=replace(HEADLINE, prompts=50, judged=30))
    said = "Shares and costs of the table are of its 30 prompts, those of the first line of all 50."
    assert said in page(fewer)
    assert said in terms(fewer)


def test_an_option_of_a_command_is_not_broken_over_a_line() -> None:
    assert prose("see <demur> --strong-share .3") == ("see &lt;demur&gt; <span class=option>--strong-share</span> .3")
    assert "<span class=option>--strong-share</span>" in page(evaluation())


def test_how_it_was_made_names_the_threshold_and_the_share_that_serve() -> None:
    made = page(evaluation()).partition("How this was made")[2]
    assert f"&quot;threshold&quot;: {HEADLINE.threshold:g}," in made
    assert "&quot;strong_share&quot;: 0.3" in made


def test_one_page_calls_each_model_by_one_name_in_its_tables_and_pictures() -> None:
    html = page(replace(evaluation(), strong="large"))
    assert "<td>always small</td>" in html
    assert "<td>always large</td>" in html
    assert ">always weak<" not in html
    assert "calls to large (%)" in html
    assert 'data-name="large said"' in html
    assert "large (the large, or strong, model) answers, else small (the small, or weak, one)" in html


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.89, 1.0])
@pytest.mark.parametrize("size", [(10.0, 5.2), (4.4, 5.4)])
def test_the_name_of_the_served_point_lies_on_no_curve(share: float, size: tuple[float, float]) -> None:
    line = replace(HEADLINE, strong_share=0.94, judged=246, judged_share=share, quality=(0.4, 0.3, 0.5))
    figure = curve_figure(replace(evaluation(), headline=line), *size)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (name,) = (text for text in axes.texts if text.get_text().startswith("as it is served"))
    box = name.get_window_extent()
    others = [text.get_window_extent() for text in axes.texts if text is not name]
    assert not any(box.overlaps(one) for one in others)
    for drawn in axes.get_lines():
        if list(drawn.get_xdata())[:1] != list(drawn.get_xdata())[1:]:  # all but the line from the name to the point
            ends = drawn.get_transform().transform(np.column_stack([drawn.get_xdata(), drawn.get_ydata()]))
            across = np.interp(np.linspace(box.x0, box.x1, 50), ends[:, 0], ends[:, 1])
            assert not ((across > box.y0) & (across < box.y1)).any()


def test_long_names_of_models_are_whole_in_the_picture_of_the_targets() -> None:
    small, large = "qwen2.5-7b-instruct-awq", "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    figure = target_figure([replace(evaluation().preferences[0], model_a=small, model_b=large)])
    figure.draw_without_rendering()
    label = figure.axes[0].xaxis.label
    assert all(name in label.get_text() for name in (small, large))
    box, page_box = label.get_window_extent(), figure.bbox
    assert page_box.x0 <= box.x0 and box.x1 <= page_box.x1 and page_box.y0 <= box.y0
