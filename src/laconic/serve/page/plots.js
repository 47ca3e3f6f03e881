// Two plots of the server: tokens a second over the last minutes, and the draft lengths of the last passes.

import { el, say, svg } from "./dom.js";
import { count, percent } from "./words.js";

const HEIGHT = 110;
const KEPT = 120; // polls
const BINS = 24; // draft lengths that have a bar; the last is for all beyond

function panel(title) {
  const words = el("p");
  const chart = svg("svg", { height: HEIGHT, "aria-hidden": "true" });
  return { words, chart, root: el("section", { class: "panel", hidden: true }, el("h2", {}, title), chart, words) };
}

/** Tokens that the server has written a second, from one poll to the next. */
export class Rate {
  #rates = [];
  #last = null;

  constructor() {
    Object.assign(this, panel("Goodput, the last two minutes"));
  }

  /** `tokens` since the start, `uptime` in seconds. */
  draw(tokens, uptime) {
    if (tokens === undefined) return;
    this.root.hidden = false;
    const before = this.#last;
    this.#last = { tokens, uptime };
    if (!before || uptime <= before.uptime) return; // the first, or another server
    this.#rates.push((tokens - before.tokens) / (uptime - before.uptime));
    this.#rates = this.#rates.slice(-KEPT);
    const width = this.chart.clientWidth;
    const most = Math.max(1, ...this.#rates);
    const x = (at) => width - ((this.#rates.length - 1 - at) / (KEPT - 1)) * width;
    const y = (rate) => HEIGHT - 2 - (rate / most) * (HEIGHT - 8);
    const line = this.#rates.map((rate, at) => `${x(at).toFixed(1)} ${y(rate).toFixed(1)}`).join("L");
    this.chart.replaceChildren(
      svg("path", { class: "grid", d: `M0 ${HEIGHT - 1.5}H${width}` }),
      svg("path", { class: "area", d: `M${x(0)} ${HEIGHT - 2}L${line}V${HEIGHT - 2}z` }),
      svg("path", { class: "line", d: `M${line}` }),
    );
    say(this.words, `${count(this.#rates.at(-1))} tokens a second now, ${count(most)} at most; pauses included`);
  }
}

/** How often each draft length was chosen. */
export class Lengths {
  constructor() {
    Object.assign(this, panel("Draft lengths, the last passes"));
  }

  draw(lengths) {
    const drafts = lengths.filter((length) => length > 0).sort((a, b) => a - b);
    this.root.hidden = !drafts.length;
    if (this.root.hidden) return;
    const bins = new Array(BINS).fill(0);
    for (const length of drafts) bins[Math.min(length, BINS) - 1] += 1;
    const width = this.chart.clientWidth;
    const [top, step] = [Math.max(...bins), width / BINS];
    const bars = bins.map((often, at) => {
      const high = (often / top) * (HEIGHT - 24);
      return `M${(at * step + 1).toFixed(1)} ${HEIGHT - 18}v${-high.toFixed(1)}h${(step - 2).toFixed(1)}V${HEIGHT - 18}z`;
    });
    const name = (x, anchor, text) => svg("text", { x, y: HEIGHT - 3, "text-anchor": anchor }, text);
    this.chart.replaceChildren(
      svg("path", { class: "bars", d: bars.join("") }),
      name(1, "start", "1"), name((BINS / 2 - 0.5) * step, "middle", BINS / 2), name(width, "end", `${BINS} or more`),
    );
    const mean = drafts.reduce((sum, length) => sum + length, 0) / drafts.length;
    say(this.words, `mean ${mean.toFixed(1)}, median ${drafts[drafts.length >> 1]}, longest ${drafts.at(-1)} tokens; ` +
      `${percent(1 - drafts.length / lengths.length)} were written without a draft`);
  }
}
