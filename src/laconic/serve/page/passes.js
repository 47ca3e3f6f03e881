// The draft length chosen, pass by pass: an outline for what was drafted, filled as far as it was accepted.

import { el, say, svg } from "./dom.js";
import { count } from "./words.js";

const HEIGHT = 56;
const [STEP, BAR] = [6, 4];
const LEAST = 8; // tokens at the top of the scale, if none is higher

export class Passes {
  constructor() {
    this.words = el("figcaption");
    this.chart = svg("svg", { class: "strip", height: HEIGHT, "aria-hidden": "true" });
    this.root = el("figure", { hidden: true }, this.words, this.chart);
  }

  draw({ rounds, drafted }) {
    if (!rounds.length) return;
    this.root.hidden = false;
    const last = rounds.at(-1);
    say(
      this.words,
      `Draft length, pass by pass: last ${count(last.drafted)}, mean ${(drafted / rounds.length).toFixed(1)}`,
    );
    const shown = rounds.slice(-Math.max(Math.floor(this.root.clientWidth / STEP), 1));
    const top = Math.max(LEAST, ...shown.map((round) => round.drafted));
    const high = (tokens) => Math.round((tokens / top) * (HEIGHT - 2));
    const path = (of) =>
      shown.map((round, at) => `M${at * STEP + 0.5} ${HEIGHT - 0.5}v${-high(round[of])}h${BAR}V${HEIGHT - 0.5}z`).join("");
    this.chart.setAttribute("width", shown.length * STEP);
    this.chart.replaceChildren(
      svg("path", { class: "drafted", d: path("drafted") }),
      svg("path", { class: "accepted", d: path("accepted") }),
    );
  }
}
