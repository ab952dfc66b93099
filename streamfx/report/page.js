// Draws the page's charts with uPlot: which view they show, zoom by mouse, buttons and keys, readings, tables.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const DASHES = [[], [8, 4], [2, 3]];
  const COLOURS = 7;
  const HEIGHT = 240;
  const ROWS = 100;
  const charts = [];
  let playing = null; // what a film shows now, in seconds since 1970
  let shared = null; // the zoomed range of time, in seconds since 1970; null: each chart's whole

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (at) => css(`--c${at % COLOURS}`);
  const dash = (at) => DASHES[Math.floor(at / COLOURS) % DASHES.length];
  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  // Films are a script of their own: a `moment` of a chart is what they shall show, `playing` is what they show.
  const tell = (name, seconds) => document.dispatchEvent(new CustomEvent(name, { detail: seconds }));
  const utc = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC";
  const shown = (value, about) => {
    if (value === null || value === undefined) return "unknown";
    const digits = about.unit === "%" || about.unit === "px" ? 0 : 2;
    return value.toFixed(digits) + (about.unit ? "\u00a0" + about.unit : "");
  };

  // Labels of the time axis in UTC: the day below the time where it begins or changes.
  function times(u, splits, axis, space, step) {
    let before = "";
    return splits.map((seconds) => {
      const [day, time] = new Date(seconds * 1000).toISOString().split("T");
      const changed = day !== before;
      before = day;
      if (step >= 86400) return day;
      return time.slice(0, step < 60 ? 8 : 5) + (changed ? `\n${day}` : "");
    });
  }

  // The columns of uPlot: the middles of the bins, then the lines. Where bins are missing, a null interrupts the lines.
  function columns(source, lines, about) {
    const found = [[], ...lines.map(() => [])];
    let bin = source.first;
    const push = (time, at) => {
      found[0].push(time);
      lines.forEach((line, number) => {
        const value = at === null ? null : line[at];
        found[number + 1].push(value === null ? null : value * about.step);
      });
    };
    for (let at = 0; at <= source.bins.length; at++) {
      const step = at ? source.bins[at - 1] : 0;
      if (step > 1) push((bin + 1.5) * source.every, null);
      bin += step;
      push((bin + 0.5) * source.every, at);
    }
    return found;
  }

  // Points are drawn only where a value has no neighbour to draw a line to.
  function alone(u, series, show, gaps) {
    const values = u.data[series];
    const found = [];
    for (let at = 0; at < values.length; at++) {
      const lonely = (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null;
      if (values[at] !== null && lonely) found.push(at);
    }
    return found;
  }

  class Chart {
    constructor(about, figure) {
      this.about = about;
      this.figure = figure;
      this.on = new Set(about.on);
      this.plot = figure.querySelector(".plot");
      this.legend = figure.querySelector(".legend");
      this.reading = figure.querySelector(".reading");
      this.summary = figure.querySelector(".summary");
      this.details = figure.querySelector("details");
      this.buttons = about.names.map((name, at) => this.button(name, at));
      this.plot.addEventListener("mousedown", (event) => { this.pressed = event.clientX; });
      this.plot.addEventListener("click", (event) => this.click(event));
      this.plot.addEventListener("keydown", (event) => this.key(event));
      this.details.addEventListener("toggle", () => this.table());
      new ResizeObserver(() => this.fit()).observe(this.plot);
    }

    button(name, at) {
      const button = element("button", null, { type: "button", "aria-pressed": String(this.on.has(at)) });
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      const drawn = { x1: 0, y1: 5, x2: 30, y2: 5, "stroke-width": 3, "stroke-dasharray": dash(at).join(" ") };
      for (const [key, value] of Object.entries(drawn)) line.setAttribute(key, value);
      line.style.stroke = `var(--c${at % COLOURS})`;
      svg.setAttribute("viewBox", "0 0 30 10");
      svg.setAttribute("aria-hidden", "true");
      svg.append(line);
      const value = element("span", "");
      button.append(svg, document.createTextNode(name), value);
      button.addEventListener("click", () => {
        this.on.has(at) ? this.on.delete(at) : this.on.add(at);
        button.setAttribute("aria-pressed", String(this.on.has(at)));
        this.u?.setSeries(at + 1, { show: this.on.has(at) });
        this.say();
      });
      const item = element("li", null);
      item.append(button);
      this.legend.append(item);
      return value;
    }

    show(source, lines) {
      this.source = source;
      this.columns = lines && columns(source, lines, this.about);
      this.draw();
    }

    draw() {
      this.u?.destroy();
      this.u = this.playhead = null;
      this.figure.hidden = !this.columns;
      if (!this.columns) return;
      const ink = css("--ink");
      const grid = { stroke: css("--edge"), width: 1 };
      const axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui, sans-serif" };
      const about = this.about;
      this.u = new uPlot({
        width: this.plot.clientWidth,
        height: HEIGHT,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        legend: { show: false },
        cursor: {
          sync: { key: "time", scales: ["x", null], setSeries: false },
          drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => zoom(null) },
        },
        scales: { x: { time: true, range: () => this.range() }, y: { range: (u, low, high) => [0, about.top ?? Math.max(high * 1.05, about.step * 10)] } },
        axes: [{ ...axis, space: 90, values: times }, { ...axis, size: 56, values: (u, ticks) => ticks.map((tick) => `${+tick.toFixed(2)}${about.unit === "%" ? " %" : ""}`) }],
        series: [{}, ...about.names.map((name, at) => ({
          label: name, stroke: colour(at), dash: dash(at), width: 2, show: this.on.has(at),
          points: { show: true, size: 6, fill: colour(at), filter: alone },
        }))],
        hooks: {
          setSelect: [(u) => {
            if (u.select.width < 4) return;
            zoom([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]);
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          }],
          setCursor: [(u) => this.read(u.cursor.idx)],
          draw: [() => this.mark()],
        },
      }, this.columns, this.plot);
      this.playhead = element("div", null, { class: "playhead", hidden: "" });
      this.u.over.append(this.playhead);
      this.mark();
      this.say();
    }

    whole() {
      const times = this.columns[0];
      return [times[0] - this.source.every / 2, times[times.length - 1] + this.source.every / 2];
    }

    range() {
      return shared ?? this.whole();
    }

    // The numbers of the columns that are in view and not a gap.
    visible() {
      const [low, high] = this.range();
      const times = this.columns[0];
      const found = [];
      for (let at = 0; at < times.length; at++) {
        if (times[at] >= low && times[at] <= high && this.columns.slice(1).some((line) => line[at] !== null)) found.push(at);
      }
      return found;
    }

    zoomed() {
      if (!this.u) return;
      const [min, max] = this.range();
      this.u.setScale("x", { min, max });
      this.say();
    }

    fit() {
      if (this.u && this.plot.clientWidth && this.plot.clientWidth !== this.u.width) {
        this.u.setSize({ width: this.plot.clientWidth, height: HEIGHT });
      }
    }

    read(at, aloud = false) {
      const known = at !== null && at !== undefined;
      this.buttons.forEach((span, number) => {
        span.textContent = known ? ` ${shown(this.columns[number + 1][at], this.about)}` : "";
      });
      this.reading.setAttribute("aria-live", aloud ? "polite" : "off");
      const values = this.about.names.map((name, number) => `${name} ${known ? shown(this.columns[number + 1][at], this.about) : ""}`);
      const said = aloud ? `: ${values.filter((_, number) => this.on.has(number)).join(", ")}` : "";
      this.reading.textContent = known ? utc(this.columns[0][at]) + said : "";
    }

    // The line at the moment that a film shows.
    mark() {
      if (!this.playhead) return;
      const [low, high] = this.range();
      this.playhead.hidden = playing === null || playing < low || playing > high;
      if (!this.playhead.hidden) this.playhead.style.left = `${this.u.valToPos(playing, "x")}px`;
    }

    click(event) {
      const left = event.clientX - (this.u?.over.getBoundingClientRect().left ?? 0);
      const dragged = Math.abs(event.clientX - this.pressed) > 3;
      if (this.u?.over.contains(event.target) && !dragged) tell("moment", this.u.posToVal(left, "x"));
    }

    key(event) {
      const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      const [low, high] = this.range();
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in moves && !event.shiftKey) this.move(moves[event.key]);
      else if (event.key === "ArrowLeft" || event.key === "ArrowRight") pan(this, Math.sign(moves[event.key]));
      else if (event.key === "+" || event.key === "=") zoom(around(low, high, 0.5));
      else if (event.key === "-") zoom(around(low, high, 2));
      else if (event.key === "0" || event.key === "Escape") zoom(null);
      else if (event.key === "Enter" && this.at !== undefined) tell("moment", this.columns[0][this.at]);
      else return;
      event.preventDefault();
    }

    move(step) {
      const there = this.visible();
      if (!there.length) return;
      const before = there.indexOf(this.at);
      const next = before < 0 && step === -1 ? there.length - 1 : before + step;
      this.at = there[Math.min(there.length - 1, Math.max(0, next))];
      this.u.setCursor({ left: this.u.valToPos(this.columns[0][this.at], "x"), top: 10 });
      this.read(this.at, true);
    }

    say() {
      if (!this.columns) return;
      const there = this.visible();
      const parts = this.about.names.map((name, number) => {
        const line = this.columns[number + 1];
        const known = there.filter((at) => line[at] !== null);
        if (!this.on.has(number) || !known.length) return null;
        const highest = known.reduce((best, at) => (line[at] > line[best] ? at : best));
        return `${name} at most ${shown(line[highest], this.about)} (${utc(this.columns[0][highest])})`;
      });
      const span = this.range().map(utc).join(" to ");
      this.summary.textContent = there.length
        ? `${span}, in steps of ${spoken(this.source.every)}. In view: ${parts.filter(Boolean).join("; ") || "no line is switched on"}.`
        : `${span}: nothing is known of this time.`;
      this.table();
    }

    table() {
      const place = this.details.querySelector(".scroll");
      place.replaceChildren();
      if (!this.details.open || !this.columns) return;
      const there = this.visible();
      const made = element("table", null);
      made.append(element("caption", there.length > ROWS ? `The first ${ROWS} of ${there.length} steps in view; zoom in for others` : "Steps in view"));
      const head = made.createTHead().insertRow();
      for (const name of ["Middle of the step", ...this.about.names]) head.append(element("th", name, { scope: "col" }));
      const body = made.createTBody();
      for (const at of there.slice(0, ROWS)) {
        const row = body.insertRow();
        row.append(element("th", utc(this.columns[0][at]), { scope: "row" }));
        for (const line of this.columns.slice(1)) row.append(element("td", shown(line[at], this.about)));
      }
      place.append(made);
    }
  }

  const spoken = (seconds) => {
    for (const [name, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
      if (seconds >= length && seconds % length === 0) return `${seconds / length} ${name}${seconds === length ? "" : "s"}`;
    }
    return `${seconds} second${seconds === 1 ? "" : "s"}`;
  };
  const around = (low, high, factor) => [(low + high) / 2 - ((high - low) * factor) / 2, (low + high) / 2 + ((high - low) * factor) / 2];
  const pan = (chart, way) => {
    const [low, high] = chart.range();
    zoom([low + (way * (high - low)) / 4, high + (way * (high - low)) / 4]);
  };

  function zoom(range) {
    shared = range && range[1] - range[0] >= 2 ? range : range && shared;
    charts.forEach((chart) => chart.zoomed());
  }

  function select(number) {
    shared = null;
    for (const chart of charts) {
      const fixed = data.fixed[chart.about.id];
      if (fixed) {
        if (!chart.columns) chart.show(fixed, fixed.lines);
        else chart.zoomed();
      } else {
        const view = data.views[number];
        chart.show(view, view?.lines[chart.about.id]);
      }
    }
  }

  for (const about of data.charts) {
    const figure = document.getElementById(`chart-${about.id}`);
    if (figure) charts.push(new Chart(about, figure));
  }
  const chooser = document.getElementById("view");
  chooser?.addEventListener("change", () => select(Number(chooser.value)));
  const reference = () => charts.find((chart) => chart.u);
  const buttons = {
    "zoom-in": () => zoom(around(...reference().range(), 0.5)),
    "zoom-out": () => zoom(around(...reference().range(), 2)),
    earlier: () => pan(reference(), -1),
    later: () => pan(reference(), 1),
    reset: () => zoom(null),
  };
  for (const [id, act] of Object.entries(buttons)) document.getElementById(id)?.addEventListener("click", () => reference() && act());
  document.addEventListener("playing", (event) => { playing = event.detail; charts.forEach((chart) => chart.u && chart.mark()); });
  const drift = document.getElementById("drift-pair");
  const turn = () => document.querySelectorAll("[data-pair]").forEach((one) => { one.hidden = one.dataset.pair !== drift.value; });
  if (drift) { drift.addEventListener("change", turn); turn(); }
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", () => charts.forEach((chart) => chart.draw()));
  }
  select(0);
  document.documentElement.dataset.ready = "";
})();
