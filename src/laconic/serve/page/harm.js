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

  /** `acts` is whether the server has methods that end thoughts. */
  draw(audit, acts) {
    say(this.mode, acts ? MODES[audit.mode] : "The server has no method that ends thoughts.");
    this.mode.dataset.mode = audit.mode;
    this.chart.toggleAttribute("hidden", !audit.compared);
    if (audit.compared) this.#interval(audit);
    say(this.words, found(audit));
    say(this.counts, audit.watched ? counts(audit) : "");
  }

  #interval({ harm, low, high, limit }) {
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

function found({ mode, share, compared, harm, low, high, limit }) {
  if (compared) {
    const range = `${percent(low, 1)} to ${percent(high, 1)} with ${percent(0.95)} confidence`;
    return `${percent(harm, 1)} of answers would change (${range}); the line is the limit, ${percent(limit)}`;
  }
  if (share || mode === "shadow") return "Nothing has been compared yet.";
  return "No request is watched: --audit 0.02 would watch 2 % of them.";
}

function counts({ watched, ended, compared, changed, saved }) {
  const kept = saved === null ? "" : `; acting saves ${percent(saved)} of the thought where it acts`;
  return `${many(watched, "request")} watched, ${ended} with an early end, ${compared} compared, ${changed} changed${kept}`;
}
