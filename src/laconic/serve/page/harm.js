// The audit: how often ending a thought would have changed its answer, with the interval of what is known.

import { el, say, svg } from "./dom.js";
import { many, percent } from "./words.js";

const HEIGHT = 46;
const MODES = {
  acting: "Thoughts are ended early.",
  shadow: "The server watches and acts on nothing (shadow).",
  stopped: "The server has stopped ending thoughts: too many answers would change.",
};

export class Harm {
  constructor() {
    this.mode = el("p", { class: "mode" });
    this.chart = svg("svg", { height: HEIGHT, "aria-hidden": "true" });
    this.words = el("p");
    this.counts = el("p", { class: "muted" });
    this.root = el("section", { class: "panel" }, el("h2", {}, "Audit"), this.mode, this.chart, this.words, this.counts);
  }

  draw({ mode, share, limit, watched, ended, compared, changed, harm, low, high, saved }) {
    say(this.mode, MODES[mode]);
    this.mode.dataset.mode = mode;
    this.chart.toggleAttribute("hidden", !compared);
    if (compared) {
      this.#interval(harm, low, high, limit);
      say(this.words, `${percent(harm, 1)} of answers would change (${percent(low, 1)} to ${percent(high, 1)} with 95\u00a0% confidence); ` +
        `the line is the limit, ${percent(limit)}`);
    } else {
      say(this.words, share || mode === "shadow" ? "Nothing has been compared yet." : "No request is watched: --audit 0.02 would watch 2 % of them.");
    }
    const kept = saved === null ? "" : `; acting saves ${percent(saved)} of the thought where it acts`;
    say(this.counts, watched ? `${many(watched, "request")} watched, ${ended} with an early end, ${compared} compared, ${changed} changed${kept}` : "");
  }

  #interval(harm, low, high, limit) {
    const width = this.chart.clientWidth;
    const most = Math.min(1, Math.max(2.5 * limit, 1.2 * high, 0.1));
    const x = (share) => 6 + (share / most) * (width - 12);
    const middle = 14;
    this.chart.replaceChildren(
      svg("path", { class: "grid", d: `M${x(0)} ${middle}H${x(most)}` }),
      svg("path", { class: "interval", d: `M${x(low)} ${middle}H${x(high)}` }),
      svg("path", { class: "limit", d: `M${x(limit)} 2V26` }),
      svg("circle", { class: "look", cx: x(harm), cy: middle, r: 4.5 }),
      svg("text", { x: x(0), y: HEIGHT - 4, "text-anchor": "start" }, "0 %"),
      svg("text", { x: x(most), y: HEIGHT - 4, "text-anchor": "end" }, percent(most)),
    );
  }
}
