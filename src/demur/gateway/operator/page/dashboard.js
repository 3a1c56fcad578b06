"use strict";
const $ = id => document.getElementById(id);
const ALL = "*", POLL_MS = 2000, SLOW_POLLS = { hour: 2, day: 15, week: 30 };
const percent = x => x === null ? "–" : (100 * x).toFixed(1) + " %";
// An amount as demur.records.dollars writes it: three significant digits or to the cent, whichever shows more.
function money(x) {
  if (x === null) return "unknown";
  if (!x) return "$0";
  const size = Math.abs(+x.toPrecision(3)), places = Math.min(20, Math.max(2, 2 - Math.floor(Math.log10(size))));
  return (x < 0 ? "-$" : "$") + Math.abs(x).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: places });
}
const wholePercent = x => (100 * x).toFixed(x && x < 0.01 ? 1 : 0) + " %";
const milliseconds = x => x === null ? "–" : x === 0 ? "0 ms" : x >= 1000 ? (x / 1000).toFixed(1) + " s" : x.toFixed(x < 10 ? 1 : 0) + " ms";
const count = x => x.toLocaleString("en");
const clock = (at, options) => new Date(1000 * at).toLocaleString([], { hour12: false, ...options });
const TIME = { hour: "2-digit", minute: "2-digit" }, DAY = { day: "numeric", month: "short" };
const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
let stats = null, series = null, touched = false, polls = 0;
const period = () => document.querySelector("input[name=period]:checked").value;

function cell(row, text, kind) { const td = row.insertCell(); td.textContent = text; if (kind) td.className = kind; return td; }
function label(at) { return clock(at, series.period === "hour" ? TIME : { ...DAY, ...TIME }); }

// -- over time ---------------------------------------------------------------------------------------------------
// Each chart: its name, its lines (name, colour, dashes, the value of a point), how a value is written, what it says in words.
const MODELS = stats => [[stats.weak, "weak", []], [stats.strong, "strong", [6, 3]]];
const CHARTS = {
  requests: { name: "Requests by the model that answered", steps: true, whole: true, write: x => x === null ? "–" : count(x),
    lines: () => [...MODELS(stats).map(([name, ...look]) => [name, ...look, p => p.answered[name] || 0]), ["none", "none", [2, 2], p => p.answered[""] || 0]],
    words: w => count(w.requests) + " requests in all" },
  share: { name: "Strong share of what demur decided", write: percent, tick: wholePercent, from: 0, to: 1, lines: () => [["strong share", "strong", [], p => p.strong_share]], words: w => percent(w.strong_share) + " in all" },
  money: { name: "USD spent, and saved against always-strong", steps: true, write: money, signed: true,
    lines: () => [["spent", "strong", [6, 3], p => p.usd], ["saved", "weak", [], p => p.requests ? p.saved : 0]], words: w => money(w.usd) + " spent and " + money(w.saved) + " saved in all" },
  p95: { name: "95 % of requests answered within", write: milliseconds, from: 0, lines: () => [["p95", "weak", [], p => p.p95_ms]], words: w => milliseconds(w.p95_ms) + " over all" },
  errors: { name: "Errors and fallbacks, share of requests", write: percent, tick: wholePercent, from: 0,
    lines: () => [["errors", "strong", [6, 3], p => p.errors], ["fallbacks", "weak", [], p => p.fallbacks]], words: w => percent(w.errors) + " errors and " + percent(w.fallbacks) + " fallbacks over all" },
  failed: { name: "Upstream health: share of its requests that a model failed", write: percent, tick: wholePercent, from: 0,
    lines: () => MODELS(stats).map(([name, ...look]) => [name, ...look, p => p.failed[name] ?? null]),
    words: () => MODELS(stats).map(([name]) => name + (series.points.some(p => p.failed[name]) ? " failed some requests" : " failed none")).join("; ") },
};
const drawn = {};
const WHOLE = [...Array(10).keys()].flatMap(i => [1, 2, 5].map(x => x * 10 ** i));  // steps of an axis that counts

const legend = { markers: { dash: (u, i) => u.series[i].dash?.length ? "dashed" : "solid" } };  // as the line is drawn
function options(chart, width) {
  const axis = { stroke: colour("faint"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const times = (u, ticks) => ticks.map(at => clock(at, series.period === "week" ? DAY : TIME));
  const lines = chart.lines().map(([name, ink, dash]) => ({ label: name, stroke: colour(ink), dash, width: 2, spanGaps: false, points: { show: true, size: 9, fill: colour(ink), filter: (u, i) => isolated(u.data[i]) },
    paths: chart.steps ? uPlot.paths.stepped({ align: 1 }) : undefined, value: (u, x, line, at) => at === null ? "" : chart.write(x ?? null) }));
  return { width, height: 190, legend, series: [{ label: "", value: (u, at) => at === null ? "" : "from " + label(at) }, ...lines], scales: { y: { range: (u, low, high) => ends(chart, low, high) } },
    axes: [{ ...axis, values: times, space: 60, size: 32 }, { ...axis, size: 72, incrs: chart.whole ? WHOLE : undefined, values: (u, ticks) => ticks.map(x => (chart.tick || chart.write)(x)) }], cursor: { drag: { x: false, y: false } }, padding: [8, 22, 0, 0] };
}
// A value between two gaps is no line: it is drawn as a point.
function isolated(values) { return [...values.keys()].filter(i => values[i] !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null); }
function ends(chart, low, high) {
  if (low === null) return [0, 1];
  if (chart.to !== undefined) return [chart.from - 0.02 * chart.to, 1.02 * chart.to];
  const top = Math.max(high, 0), bottom = Math.min(low, 0), room = 0.08 * (top - bottom) || (chart.write === percent ? 0.01 : 1);
  return [chart.signed && bottom < 0 ? bottom - room : bottom, top + room];
}
function addFigure(id, chart) {
  const figure = document.createElement("figure"), name = document.createElement("h3"), place = document.createElement("div");
  figure.id = "chart_" + id; name.textContent = chart.name; place.setAttribute("role", "img");
  figure.append(name, place); $("charts").append(figure);
}
function drawCharts() {
  if (!$("charts").children.length) for (const id in CHARTS) addFigure(id, CHARTS[id]);  // all, before any takes its width
  for (const [id, chart] of Object.entries(CHARTS)) {
    const place = $("chart_" + id).lastElementChild, data = [series.points.map(p => p.at), ...chart.lines().map(line => series.points.map(line[3]))];
    place.setAttribute("aria-label", chart.name + ": " + chart.words(series.whole));
    if (drawn[id]) drawn[id].setData(data); else drawn[id] = new uPlot(options(chart, place.clientWidth), data, place);
  }
}
let curve = null, curveDrawn = "";
const signed = x => (x < 0 ? "−" : "") + Math.abs(x).toFixed(1);
// Each version: [prompts that it learned from, believed gain per prompt, its interval's ends, whether it was promoted].
function showCurve(points) {
  $("curve").hidden = !points.length;
  const wanted = JSON.stringify([points, colour("weak"), innerWidth]);
  if (!points.length || wanted === curveDrawn) return;
  curveDrawn = wanted;
  const place = $("curve_chart"), [n, gain, low, high] = [p => p[0], p => 100 * p[1], p => 100 * p[2], p => 100 * p[3]];
  const promoted = points.filter(p => p[4]).length, last = points[points.length - 1];
  const words = count(points.length) + (points.length === 1 ? " router was" : " routers were") + " learned, " + (promoted || "none") + " promoted. The newest, from " + count(last[0]) + " prompts, is believed to give " + signed(gain(last)) + " right answers more per 100 prompts than choosing at random (95 % interval " + signed(low(last)) + " to " + signed(high(last)) + ").";
  $("curve_words").textContent = words; place.setAttribute("aria-label", "Learning curve. " + words);
  const axis = { stroke: colour("faint"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 20 };
  const line = (name, ink, width, size, more) => ({ label: name, stroke: colour(ink), width, points: { show: true, size, ...more } });
  const bottom = Math.min(0, ...points.map(low)), top = Math.max(0, ...points.map(high)), room = 0.08 * (top - bottom) || 1;
  const stroke = (u, parts, ink, dash) => { u.ctx.save(); u.ctx.strokeStyle = colour(ink); u.ctx.lineWidth = 2 * devicePixelRatio; u.ctx.setLineDash(dash); u.ctx.beginPath(); for (const [x0, y0, x1, y1] of parts) { u.ctx.moveTo(x0, y0); u.ctx.lineTo(x1, y1); } u.ctx.stroke(); u.ctx.restore(); };
  const bars = u => { const x = v => u.valToPos(v, "x", true), y = v => u.valToPos(v, "y", true); stroke(u, points.map(p => [x(n(p)), y(low(p)), x(n(p)), y(high(p))]), "weak", []); stroke(u, [[u.bbox.left, y(0), u.bbox.left + u.bbox.width, y(0)]], "none", [6, 4]); };
  if (curve) curve.destroy();
  curve = new uPlot({ width: place.clientWidth, height: 260, legend: { ...legend, live: false }, cursor: { show: false }, padding: [8, 22, 0, 0], hooks: { draw: [bars] },
    scales: { x: { time: false, range: [0, 1.05 * Math.max(...points.map(n))] }, y: { range: [bottom - room, top + room] } },
    series: [{ label: "prompts" }, line("learned (bar: 95 % interval)", "weak", 1, 8, { fill: colour("paper") }), line("promoted", "strong", 0, 12, { fill: colour("strong") })],
    axes: [{ ...axis, size: 34, label: "prompts learned from" }, { ...axis, size: 52, label: "right answers per 100" }] }, [points.map(n), points.map(gain), points.map(p => p[4] ? gain(p) : null)], place);
}
function redraw() { for (const id in drawn) { drawn[id].destroy(); delete drawn[id]; } if (series) drawCharts(); }
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", redraw);
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });

function fillSelect(select, names, nothing) {
  const chosen = select.value, every = [ALL, ...names.map(one => one.name)];
  if (!every.includes(chosen)) every.push(chosen);
  select.replaceChildren(...every.map(name => new Option(name === ALL ? "all" : name || nothing, name, false, name === chosen)));
}
function showSeries() {
  fillSelect($("key"), series.keys, "without a key"); fillSelect($("model"), series.models, "none answered");
  $("told").textContent = "Since " + clock(series.points[0].at, { ...DAY, ...TIME }) + "; a point is " + { 60: "a minute", 900: "15 minutes", 3600: "an hour" }[series.seconds] + ".";
  drawCharts();
  const rows = $("points"); rows.replaceChildren();
  for (const p of series.points.filter(p => p.requests || p.tests).reverse()) {
    const row = rows.insertRow(); cell(row, label(p.at), "t");
    for (const text of [count(p.requests), percent(p.strong_share), money(p.usd), money(p.saved), milliseconds(p.p95_ms), percent(p.errors), percent(p.fallbacks)]) cell(row, text, "n");
  }
  $("by_key").hidden = !series.keys.some(one => one.name);
  const keys = $("keys"); keys.replaceChildren();
  for (const one of series.keys) { const row = keys.insertRow(); cell(row, one.name || (one.requests ? "without a key" : "demur's own")); cell(row, count(one.requests), "n"); cell(row, money(one.usd), "n"); cell(row, saved(one), "n wrap"); }
}
function tests(one) { return money(one.usd_tests) + " of it for " + count(one.tests) + (one.tests === 1 ? " test request" : " test requests") + " of demur's own"; }
function saved(one) { return money(one.saved) + (one.margin ? " ± " + money(one.margin) : ""); }

// -- now ---------------------------------------------------------------------------------------------------------
function addSmall(id, text) { const more = document.createElement("small"); more.textContent = text; $(id).append(more); }
function showCards(one) {
  $("requests").textContent = count(one.requests); $("share").textContent = percent(one.strong_share); $("usd").textContent = money(one.usd);
  if (one.usd_estimated) addSmall("usd", money(one.usd_estimated) + " of it estimated: " + count(one.estimated) + (one.estimated === 1 ? " answer" : " answers") + " came without usage");
  if (one.tests) addSmall("usd", tests(one));
  $("saved_name").textContent = one.saved < 0 ? "lost" : "saved";
  $("saved").textContent = money(one.saved);
  const part = one.saved_share === null ? "" : (100 * one.saved_share).toFixed(0) + " % of always-strong";
  addSmall("saved", [one.margin ? "± " + money(one.margin) : one.margin === null ? "a guess" : "", part].filter(Boolean).join(", "));
  const p95 = one.p95_ms === undefined ? one.latency_ms.total && one.latency_ms.total[1] : one.p95_ms;
  $("p95").textContent = milliseconds(p95 ?? null); $("errors").textContent = percent(one.errors); $("fallbacks").textContent = percent(one.fallbacks);
}
function why(td, text) { const short = document.createElement("div"); short.className = "short"; short.textContent = text; td.append(short); }
function showDecisions(decisions) {
  const recent = $("recent"); recent.replaceChildren();
  for (const r of decisions) {
    const row = recent.insertRow(), when = cell(row, "", "t"), link = document.createElement(stats.kept ? "a" : "span");
    link.textContent = clock(r.at, series && series.period !== "hour" ? { ...DAY, ...TIME, second: "2-digit" } : { ...TIME, second: "2-digit" });
    if (stats.kept) link.href = "/decisions/" + encodeURIComponent(r.id);
    when.append(link);
    cell(row, r.asked, "model"); cell(row, r.model, "model " + r.role);
    cell(row, r.score === null ? "–" : r.score.toFixed(3), "n"); cell(row, r.status, "n"); cell(row, r.ms.toFixed(1), "n");
    cell(row, money(r.usd), "n"); why(cell(row, "", "why"), r.reason + (r.outcome === "ok" ? "" : " [" + r.outcome.replace("_", " ") + "]"));
  }
}

// -- another threshold -------------------------------------------------------------------------------------------
function range() {
  const known = [stats.threshold, ...stats.scores.map(bin => bin[0])], low = Math.min(...known), high = Math.max(...known);
  const margin = 0.05 * (high - low) || 0.05;
  return [Math.min(low, Math.max(0, low - margin)), Math.max(high, Math.min(1, high + margin))];
}
// Each bin, of the requests that a threshold moves: [score, requests, of them answered by the weak model, their USD, USD of always-strong].
function sum(bins, column) { return bins.reduce((total, bin) => total + bin[column], 0); }
function draw() {
  if (!stats) return;
  const svg = $("histogram"), [low, high] = range(), bars = new Array(40).fill(0), at = touched ? +$("threshold").value : stats.threshold;
  for (const bin of stats.scores) bars[Math.min(39, Math.floor(40 * (bin[0] - low) / (high - low)))] += bin[1];
  const top = Math.max(1, ...bars);
  svg.replaceChildren();
  const part = (name, values) => { const e = document.createElementNS("http://www.w3.org/2000/svg", name); for (const k in values) e.setAttribute(k, values[k]); svg.append(e); };
  bars.forEach((count, i) => part("rect", { x: 15 * i + 1, width: 13, y: 118 - 110 * count / top, height: 110 * count / top,
    fill: low + (i + .5) * (high - low) / 40 >= at ? "var(--strong)" : "var(--weak)" }));
  const x = 600 * (at - low) / (high - low);
  part("line", { x1: x, x2: x, y1: 0, y2: 120, stroke: "var(--ink)", "stroke-width": 2, "vector-effect": "non-scaling-stroke" });
  $("low").textContent = low.toFixed(2); $("high").textContent = high.toFixed(2);
  $("threshold_value").textContent = at.toFixed(3) + (touched ? " (in force: " + stats.threshold.toFixed(3) + ")" : " (in force)");
  if (!stats.routed) { $("whatif").textContent = "No request was routed in the last hour."; return; }
  const strong = stats.scores.filter(bin => bin[0] >= at - 1e-9), weak = stats.scores.filter(bin => bin[0] < at - 1e-9);
  const mean = sum(stats.scores, 3) / (sum(stats.scores, 2) || 1), settled = stats.settled;
  const cost = settled.usd + sum(strong, 4) + sum(weak, 3) + (sum(weak, 1) - sum(weak, 2)) * mean;
  $("whatif").textContent = "At " + at.toFixed(3) + ", " + percent((settled.strong + sum(strong, 1)) / stats.routed) + " of the " + count(stats.routed) +
    " requests that this service has routed in the last hour would have gone to the strong model" + (stats.priced ? ", for about " + money(cost) : "; a price is unknown") + ". In fact the strong model answered " + percent(stats.strong_share) + " of them." + unmoved(settled.requests, stats.unknown);
}
// The requests that no threshold moves, and why.
function unmoved(all, unknown) {
  if (!all) return "";
  const others = all - unknown, why = [];
  if (unknown) why.push(count(unknown) + (unknown === 1 ? " unknown prompt, which goes" : " unknown prompts, which go") + " by the setting `unknown`");
  if (others) why.push(count(others) + " by a threshold of the client's own, a conversation, a failure, or what a model or a budget cannot do");
  return " Whatever the threshold, " + count(all) + (all === 1 ? " keeps its model: " : " keep their model: ") + why.join("; ") + ".";
}

// -- what is asked of the gateway --------------------------------------------------------------------------------
async function get(path) { try { const answer = await fetch(path); return answer.ok ? await answer.json() : null; } catch (error) { return null; } }
async function refreshSeries() {
  if (!stats.kept) { $("over_time").hidden = true; $("filters").hidden = true; $("told").textContent = "The last hour of this service. No ledger is kept, so there is nothing older."; return; }
  const asked = new URLSearchParams({ period: period() });
  for (const name of ["key", "model"]) if ($(name).value !== ALL) asked.set(name, $(name).value);
  const found = await get("/admin/series?" + asked);
  if (!found || found.period !== period()) return;
  if (series && series.period !== found.period) { series = found; redraw(); } else series = found;
  showSeries();
}
async function refresh(changed) {
  stats = await get("/admin/stats") || stats;
  if (!stats) return;
  if (changed || !(polls++ % SLOW_POLLS[period()])) await refreshSeries();
  showCards(series ? series.whole : stats);
  showDecisions(series ? series.recent : stats.recent);
  $("in_flight").textContent = stats.in_flight;
  $("upstreams").textContent = stats.health; $("in_common").textContent = stats.in_common;
  const [low, high] = range(), slider = $("threshold");
  slider.min = low; slider.max = high;
  if (!touched) slider.value = stats.threshold;
  const latency = $("latency"); latency.replaceChildren();
  for (const [stage, values] of Object.entries(stats.latency_ms)) { const row = latency.insertRow(); cell(row, stage.replace("_", " ")); cell(row, count(stats.measured[stage]), "n"); (values || ["–", "–", "–"]).forEach(v => cell(row, values ? v.toFixed(2) : v, "n")); }
  $("target").textContent = stats.target ? stats.target[0].toUpperCase() + stats.target.slice(1) + "." : "";
  $("learning").textContent = stats.learning ? "Learning: " + stats.learning + "." : "";
  showCurve(stats.curve || []);
  draw();
}
$("filters").addEventListener("change", () => refresh(true));
$("filters").addEventListener("submit", event => event.preventDefault());
$("threshold").addEventListener("input", () => { touched = true; draw(); });
function drag(event) {
  if (!stats || !(event.buttons & 1)) return;
  const box = $("histogram").getBoundingClientRect(), [low, high] = range();
  $("threshold").value = low + (high - low) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  touched = true; draw();
}
$("histogram").addEventListener("pointerdown", event => { $("histogram").setPointerCapture(event.pointerId); drag(event); });
$("histogram").addEventListener("pointermove", drag);
refresh(); setInterval(refresh, POLL_MS);
