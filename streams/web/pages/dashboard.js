// Asks the worker every two seconds, and shows what it says.
"use strict";

const EVERY_MS = 2000;
const MOST_POINTS = 360;
const KEY = "streamscore-token";
const at = id => document.getElementById(id);

const whole = value => Math.round(value).toLocaleString("en");
const number = value => value >= 100 ? whole(value) : value >= 10 ? value.toFixed(1).replace(".0", "") : String(+value.toFixed(2));
const percent = value => `${(100 * value).toFixed(value < .1 ? 1 : 0).replace(/\.0$/, "")} %`;
const loss = value => value.toFixed(3);
const ms = value => value >= 1000 ? `${number(value / 1000)} s` : `${number(value)} ms`;
const signed = value => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
const list = words => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

function span(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

let started = null, points = {}, latest = 0, flow = null;
const panels = new Map();

// ---------------------------------------------------------------- what is shown

function makeFlow() {
  const empty = "The first point comes after five seconds.";
  const chart = (title, lines, say, more = {}) => new Chart({ title, lines, say, zero: true, empty, ...more });
  flow = {
    rates: chart("Throughput, per second", [{ name: "events", style: "model" }, { name: "scores", style: "second" }], number),
    lag: chart("Lag, records that wait", [{ name: "lag", style: "third" }], number),
    latency: chart("Latency, until the score is published",
      [{ name: "p50", style: "model" }, { name: "p95", style: "second" }, { name: "p99", style: "third" }], ms, { empty: "Nothing was scored yet." }),
  };
  at("flow-charts").replaceChildren(...Object.values(flow).map(one => one.figure));
}

function tile(name, value, small = "") {
  return element("div", {}, element("dt", { textContent: name }), element("dd", {}, `${value} `, element("small", { textContent: small })));
}

function showFlow(told) {
  const last = name => points[name]?.at(-1);
  const rate = value => value == null ? "–" : number(value);
  at("tiles").replaceChildren(
    tile("events/s", rate(last("events")), `${whole(told.totals.events)} so far`),
    tile("scores/s", rate(last("scores")), `${whole(told.totals.scores)} so far`),
    tile("lag", whole(told.lag), "records"),
    tile("latency p99", last("p99_ms") == null ? "–" : ms(last("p99_ms")), last("p50_ms") == null ? "" : `p50 ${ms(last("p50_ms"))}`),
    tile("wait for a label", whole(told.open_attributions), "triggers"),
    tile("dead letters", whole(told.totals.dead), told.totals.events ? `of ${whole(told.totals.events)}` : ""),
  );
  const x = points.t ?? [];
  const columns = (...names) => [x, ...names.map(name => points[name] ?? [])];
  flow.rates.show(columns("events", "scores"));
  flow.lag.show(columns("lag"));
  flow.latency.show(columns("p50_ms", "p95_ms", "p99_ms"));
}

function changed(what, change, level) {
  return `${what} ${change.worse ? "rose" : "fell"} at ${clock(change.t)}; it was ${loss(change.before)} and is ${loss(level)} since.`;
}

class Objective {
  constructor(name, ruled) {
    Object.assign(this, { name, ruled });
    this.changes = [];
    const rule = ruled ? [{ name: "rule", style: "rule", dashed: true }] : [];
    const lines = base => [{ name: "model", style: "model" }, { name: base, style: "base", dashed: true }, ...rule];
    const empty = "No label is known yet. It comes when a window closes.";
    const marks = () => this.changes;
    this.loss = new Chart({ title: "Log loss", lines: lines("base rate"), say: loss, empty, marks });
    this.auc = new Chart({ title: "AUC", lines: lines("no model"), say: loss, empty });
    this.curve = new Chart({
      title: "Calibration",
      lines: [{ name: "observed rate", style: "model" }, { name: "as promised", style: "base", dashed: true, thin: true }],
      say: percent, sayX: value => `at a score of ${percent(value)}`, empty, time: false, dots: true, zero: true,
    });
    this.verdict = element("p", { className: "verdict" });
    this.drift = element("p", { className: "drift" });
    this.model = element("p");
    this.rows = element("tbody");
    const titles = ["mean score", "observed", "scores"].map(text => element("th", { scope: "col", textContent: text }));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...titles)), this.rows);
    this.curve.figure.append(element("details", {}, element("summary", { textContent: "Figures of the calibration" }), table));
    this.features = element("ul", { className: "bars" });
    const features = element("h4", {}, "Top features ", element("small", { textContent: "mean share of the logit" }));
    this.section = element("section", { className: "objective", "aria-label": `Objective ${name}` },
      element("header", {}, element("h3", { textContent: name }), this.model, this.verdict, this.drift),
      element("div", { className: "charts" }, this.loss.figure, this.auc.figure, this.curve.figure,
        element("div", { className: "panel" }, features, this.features)));
  }

  end() {
    for (const chart of [this.loss, this.auc, this.curve]) chart.end();
  }

  show(told, models) {
    const mine = metric => points[`${this.name}.${metric}`] ?? [];
    const x = points.t ?? [];
    this.changes = told.changes;
    const auc = mine("auc");
    this.loss.show([x, mine("log_loss"), mine("base_log_loss"), ...(this.ruled ? [mine("rule_log_loss")] : [])]);
    this.auc.show([x, auc, auc.map(value => value == null ? null : .5), ...(this.ruled ? [mine("rule_auc")] : [])]);
    const groups = told.calibration, scores = groups.map(one => one.mean_score);
    // The diagonal from corner to corner: a point before and one behind the groups, which have no rate.
    const end = scores.length ? Math.max(scores.at(-1), ...groups.map(one => one.rate)) : 1;
    const diagonal = [0, ...scores, end * 1.001];
    this.curve.show(groups.length ? [diagonal, [null, ...groups.map(one => one.rate), null], diagonal] : [[], [], []]);
    this.rows.replaceChildren(...groups.map(one => element("tr", {},
      ...[percent(one.mean_score), percent(one.rate), whole(one.n)].map(text => element("td", { textContent: text })))));
    this.model.textContent = models.map(one =>
      `${one.variant || one.model}${one.served ? "" : " (shadow)"}, version ${whole(one.version)}`).join(" · ");
    this.say(told, mine);
    const features = told.features.filter(one => one.mean_share >= .005);
    const most = features.length ? features[0].mean_share : 1;
    if (!features.length) features.push({ feature: "nothing is learned yet", mean_share: 0, named_by: 0 });
    this.features.replaceChildren(...features.map(one => {
      const bar = element("i");
      bar.style.width = `${100 * one.mean_share / most}%`;
      return element("li", { title: `among the reasons of ${percent(one.named_by)} of the scores` },
        element("span", { textContent: one.feature }), element("span", {}, bar), element("b", { textContent: one.mean_share.toFixed(2) }));
    }));
  }

  say(told, mine) {
    const now = metric => mine(metric).at(-1);
    const model = now("log_loss");
    if (model == null) {
      this.verdict.textContent = "Nothing is judged yet.";
    } else {
      const beside = [["base rate", now("base_log_loss")], ["rule", now("rule_log_loss")]].filter(one => one[1] != null)
        .map(([name, value]) => `${Math.abs(100 * (1 - model / value)).toFixed(1)} % ${model <= value ? "below" : "above"} the ${name}’s`);
      this.verdict.textContent = `Log loss is ${list(beside)}. ${whole(now("positives"))} of the last ${whole(now("n"))} were positive.`;
    }
    const last = told.changes.at(-1);
    this.drift.className = told.drifting ? "drift bad" : "drift";
    const none = told.judged ? "No drift was found." : "";
    this.drift.textContent = last ? `${told.drifting ? "Drift: " : ""}${changed("The log loss", last, told.level)}` : none;
  }
}

// The worker may have started anew with other objectives.
function makePanels(declared) {
  for (const panel of panels.values()) panel.end();
  panels.clear();
  for (const [name, ruled] of declared) panels.set(name, new Objective(name, ruled));
  at("objectives").replaceChildren(...[...panels.values()].map(panel => panel.section));
}

function showObjectives(told) {
  const declared = Object.entries(told.objectives).map(([name, one]) => [name, one.ruled]);
  if (String(declared) !== String([...panels.values()].map(panel => [panel.name, panel.ruled]))) makePanels(declared);
  for (const [name, panel] of panels) panel.show(told.objectives[name], told.models.filter(model => model.objective === name));
  const drifting = Object.entries(told.objectives).filter(([, one]) => one.drifting);
  at("alarms").hidden = !drifting.length;
  const said = drifting.map(([name, one]) => {
    return changed(`Drift in ${name}: the log loss of its scores`, one.changes.at(-1), one.level);
  }).join(" ");
  if (at("alarms").textContent !== said) at("alarms").textContent = said;
}

function row(...cells) {
  return element("li", {}, ...cells.map(([style, ...content]) => element("span", { className: style }, ...content)));
}

function reasons(told) {
  if (told.flags.includes("cold")) return ["nothing is learned yet"];
  if (!told.reasons.length) return ["no single reason"];
  return told.reasons.flatMap(([name, share], place) => [
    place ? ", " : "", `${name} `, element("span", { className: share < 0 ? "down" : "up", textContent: signed(share) })]);
}

function showRows(told) {
  at("scores").replaceChildren(...told.scores.map(one => row(
    ["faint", clock(one.ts / 1000)], ["", one.ranking ? `${one.objective}, ${one.ranking}` : one.objective], ["amount", percent(one.score)],
    ["who", `${one.user_id}${one.item_id ? ` · ${one.item_id}` : ""}${one.shown > 1 ? ` and ${one.shown - 1} more` : ""}`], ["why", ...reasons(one)])));
  const { by_reason, last } = told.dead_letters;
  const all = Object.entries(by_reason), most = Math.max(1, ...all.map(([, count]) => count));
  at("dead-said").textContent = all.length ? "What they held stands on their topic; `streamscore dead list` shows it." : "None since the start.";
  at("dead-reasons").replaceChildren(...all.map(([reason, count]) => {
    const bar = element("i");
    bar.style.width = `${100 * count / most}%`;
    return element("li", {}, element("span", { textContent: reason }), element("span", {}, bar), element("b", { textContent: whole(count) }));
  }));
  at("dead-last").replaceChildren(...last.map(one => row(["faint", clock(one.ts / 1000)], ["", one.reason], ["", one.source])));
  at("models").replaceChildren(...told.models.map(one => row(
    ["", one.objective], ["", one.variant || "declared"], ["faint", `${one.model}, version ${whole(one.version)}`], ["", one.served ? "served" : "in the shadow"])));
  at("segments").hidden = !told.segments.length;
  at("segment-list").replaceChildren(...told.segments.map(one => element("li", { textContent: `${one.id}: ${one.name}, ${percent(one.share)} of the visits` })));
}

function showBidding(bidding) {
  at("bidding").hidden = !bidding;
  if (!bidding) return;
  const counted = counts => list(Object.entries(counts).map(([name, count]) => `${whole(count)} ${name}`));
  const away = bidding.ledger_open ? "" : " The ledger of budgets is away or waits for partitions: nothing is granted.";
  at("bids-said").textContent = `Requests here by what became of them: ${counted(bidding.bids) || "none"}. Money and multipliers are those of all workers.${away}`;
  at("campaigns").tBodies[0].replaceChildren(...bidding.shown.map(one => element("tr", {},
    element("th", { scope: "row", textContent: one.campaign }),
    ...[one.status, ...one.day ? [number(one.spent), number(one.budget), percent(one.spent / one.budget), number(one.multiplier)] : ["", "", "", ""]]
      .map(text => element("td", { textContent: text })))));
}

// ---------------------------------------------------------------- asking

function take(told) {
  if (told.started !== started) { started = told.started; points = {}; latest = 0; }
  const fresh = told.points.t ?? [];
  for (const [name, column] of Object.entries(told.points)) points[name] = [...(points[name] ?? []), ...column].slice(-MOST_POINTS);
  if (fresh.length) latest = fresh.at(-1);
}

function show(told) {
  take(told);
  at("asks").hidden = true;
  at("all").hidden = false;
  document.body.classList.remove("stale");
  at("app").textContent = told.app;
  document.title = `${told.app} · streamscore`;
  const does = told.role === "all" ? "scores and learns" : told.role, parts = told.partitions.length;
  at("about").textContent = `${does} · ${parts} partition${parts === 1 ? "" : "s"} · up ${span(told.now - told.started)}`;
  if (!flow) makeFlow();
  state(told.not_ready ? "unready" : "ready", told.not_ready ? `Not ready: ${told.not_ready}` : "Ready");
  showFlow(told);
  showObjectives(told);
  showRows(told);
  showBidding(told.bidding);
}

function state(style, text) {
  at("state").className = style;
  if (at("state").textContent !== text) at("state").textContent = text;
}

function wantsToken(refused) {
  at("all").hidden = true;
  const first = at("asks").hidden;
  at("asks").hidden = false;
  at("forget").hidden = true;
  at("refusal").textContent = refused ? "The worker does not know this token." : "";
  state("", "Waiting for a token");
  if (first || refused) at("token").focus();
}

let asking = null;

async function ask() {
  clearTimeout(asking);
  const token = sessionStorage.getItem(KEY);
  let told = null;
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(`/dashboard.json?since=${latest}`, { headers, cache: "no-store" });
    if (answer.status === 401) { sessionStorage.removeItem(KEY); wantsToken(token !== null); return; }
    if (answer.ok) told = await answer.json();
  } catch { /* it is away, or something else answers in its place */ }
  if (told) {
    at("forget").hidden = !token;
    show(told);
  } else {
    document.body.classList.add("stale");
    state("away", "The worker does not answer. Asking again …");
  }
  asking = setTimeout(ask, EVERY_MS);
}

at("asks").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("token").value.trim());
  at("token").value = "";
  ask();
});
at("forget").addEventListener("click", () => { sessionStorage.removeItem(KEY); location.reload(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && at("asks").hidden) ask(); });
ask();
