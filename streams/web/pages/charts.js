// Charts by uPlot, with what a canvas lacks: the latest values as text, arrow keys, and the colours of the page.
"use strict";

const SYNC = uPlot.sync("time");
const HEIGHT = 150;
const charts = [];

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const MINUTES = { hour: "2-digit", minute: "2-digit", hour12: false };
const clock = seconds => new Date(seconds * 1000).toLocaleTimeString([], { ...MINUTES, second: "2-digit" });
const clockShort = seconds => new Date(seconds * 1000).toLocaleTimeString([], MINUTES);

// lines: [{name, style, dashed}]; say, sayX: value to text; time: x is a time, and hovering moves all such charts;
// dots: points are marked; zero: y begins at 0; marks: () => [{t, worse}].
class Chart {
  constructor({ title, lines, say, sayX = clock, empty, time = true, dots = false, zero = false, marks = () => [] }) {
    Object.assign(this, { title, lines, say, sayX, time, dots, zero, marks });
    this.values = lines.map(line => element("b"));
    const legend = element("ul", { className: "legend" }, ...lines.map((line, number) =>
      element("li", { className: `${line.style}${line.dashed ? " dashed" : ""}` }, `${line.name} `, this.values[number])));
    this.at = element("span");
    this.spoken = element("p", { className: "spoken", "aria-live": "polite" });
    this.empty = element("p", { className: "empty", textContent: empty });
    this.plot = element("div", { className: "plot", tabIndex: 0, role: "img" }, this.empty);
    const caption = element("figcaption", {}, element("b", { textContent: title }), " ", this.at);
    this.figure = element("figure", {}, caption, legend, this.plot, this.spoken);
    this.plot.addEventListener("keydown", event => this.key(event));
    this.plot.addEventListener("blur", () => this.leave());
    this.columns = null;
    this.drawn = null;
    charts.push(this);
    new ResizeObserver(() => this.fit()).observe(this.plot);
  }

  show(columns) {
    this.columns = columns;
    const any = columns.slice(1).some(column => column.some(value => value != null));
    this.empty.hidden = any;
    if (!any) { this.drop(); this.label(); return; }
    if (this.drawn) this.drawn.setData(columns); else this.draw();
    this.label();
  }

  drop() {
    if (this.drawn) this.drawn.destroy();
    this.drawn = null;
  }

  end() {
    this.drop();
    charts.splice(charts.indexOf(this), 1);
  }

  draw() {
    this.drop();
    if (!this.columns || this.plot.clientWidth === 0) return;
    const grid = { stroke: colour("line"), width: 1 };
    const axis = { stroke: colour("faint"), font: "11px system-ui, sans-serif", grid, ticks: { show: false } };
    const range = this.zero ? (_, __, high) => [0, high > 0 ? high * 1.08 : 1] : (_, low, high) => {
      const margin = (high - low) * .1 || Math.abs(high) * .05 || 1;
      return [low - margin, high + margin];
    };
    this.drawn = new uPlot({
      width: this.plot.clientWidth, height: HEIGHT, legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, ...(this.time ? { sync: { key: SYNC.key } } : {}) },
      scales: { x: { time: false, ...(this.time ? {} : { range: (_, low, high) => [0, high * 1.05] }) }, y: { range } },
      axes: [
        { ...axis, size: 24, space: 56, values: (_, all) => all.map(this.time ? clockShort : this.say),
          ...(this.time ? { incrs: [60, 120, 300, 600, 900] } : {}) },
        { ...axis, size: 46, space: 26, values: (_, all) => all.map(this.say) },
      ],
      series: [{}, ...this.lines.map(line => ({
        stroke: colour(line.style), width: line.thin ? 1 : 1.75, dash: line.dashed ? [5, 4] : undefined,
        spanGaps: line.dashed || this.dots,
        points: { show: this.dots && !line.dashed, size: 6, fill: colour(line.style) },
      }))],
      hooks: { setCursor: [drawn => this.hover(drawn.cursor.idx)], draw: [drawn => this.mark(drawn)] },
    }, this.columns, this.plot);
  }

  fit() {
    if (!this.drawn) { if (this.columns) this.show(this.columns); return; }
    if (this.drawn.width !== this.plot.clientWidth) this.drawn.setSize({ width: this.plot.clientWidth, height: HEIGHT });
  }

  mark(drawn) {
    const { ctx, bbox } = drawn;
    for (const one of this.marks()) {
      if (one.t < drawn.scales.x.min) continue;
      const x = drawn.valToPos(one.t, "x", true);
      ctx.save();
      ctx.strokeStyle = colour(one.worse ? "bad" : "base");
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([2, 3]);
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
      ctx.setLineDash([]);
      ctx.fillStyle = ctx.strokeStyle;
      const size = 4 * devicePixelRatio, up = one.worse ? 1 : -1, y = bbox.top + size;
      ctx.beginPath(); ctx.moveTo(x - size, y + up * size); ctx.lineTo(x + size, y + up * size); ctx.lineTo(x, y - up * size); ctx.fill();
      ctx.restore();
    }
  }

  // The latest value of each line: it may be some points back, where nothing came since.
  last(column) {
    for (let place = column.length - 1; place >= 0; place--) if (column[place] != null) return column[place];
    return null;
  }

  text(value) { return value == null ? "–" : this.say(value); }

  label() {
    const now = this.columns.slice(1).map(column => this.text(this.last(column)));
    if (this.time && this.reading == null) now.forEach((value, number) => { this.values[number].textContent = value; });
    const said = this.lines.map((line, number) => `${line.name} ${now[number]}`).join(", ");
    const what = this.empty.hidden ? (this.time ? `over time. Latest: ${said}.` : this.points()) : this.empty.textContent;
    this.plot.setAttribute("aria-label", `${this.title}, ${what} Arrow keys read it out.`);
  }

  points() {
    const [xs, ys] = this.columns;
    return `as points: ${xs.map((x, place) => ys[place] == null ? "" : `${this.sayX(x)} ${this.say(ys[place])}`).filter(Boolean).join("; ")}.`;
  }

  hover(place) {
    this.reading = place ?? null;
    const known = place != null;
    this.at.textContent = known ? this.sayX(this.columns[0][place]) : "";
    this.values.forEach((one, number) => { one.textContent = known ? this.text(this.columns[number + 1][place]) : ""; });
    if (!known && this.columns) this.label();
  }

  key(event) {
    const length = this.columns ? this.columns[0].length : 0;
    const from = this.reading ?? length;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 12, PageDown: from + 12, Home: 0, End: length - 1 }[event.key];
    if (event.key === "Escape") { this.leave(); return; }
    if (to === undefined || !this.drawn) return;
    event.preventDefault();
    const place = Math.min(Math.max(to, 0), length - 1);
    this.drawn.setCursor({ left: this.drawn.valToPos(this.columns[0][place], "x"), top: HEIGHT / 3 });
    this.hover(place);
    const said = this.lines.map((line, number) => `${line.name} ${this.text(this.columns[number + 1][place])}`);
    this.spoken.textContent = `${this.sayX(this.columns[0][place])}: ${said.join(", ")}`;
  }

  leave() {
    if (this.drawn) this.drawn.setCursor({ left: -10, top: -10 });
    this.hover(null);
    this.spoken.textContent = "";
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(chart => { if (chart.drawn) chart.draw(); }));
