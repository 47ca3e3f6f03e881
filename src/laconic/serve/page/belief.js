// What the model would answer if it stopped now, and how sure it is: look by look, until the exit.

import { el, say, svg } from "./dom.js";
import { chance, count, many } from "./words.js";

const HEIGHT = 150;
const EDGE = { left: 60, right: 14, top: 26, bottom: 22 };
const NINES = 4; // what is surer than 99.99 % is drawn there
const MARKS = [0, 0.9, 0.99, 0.999, 0.9999];
const LETTER = 7; // pixels of a label's letter, at most
const LONGEST = 14; // letters of an answer on the chart

export class Belief {
  #drawn = "";

  constructor() {
    this.words = el("figcaption");
    this.chart = svg("svg", { class: "belief", height: HEIGHT, "aria-hidden": "true" });
    this.table = el("tbody");
    const head = el("tr", {}, ...["Tokens", "Answer", "Belief"].map((name) => el("th", { scope: "col" }, name)));
    const looks = el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), this.table));
    this.root = el("figure", { hidden: true }, this.words, this.chart,
      el("details", {}, el("summary", {}, "All looks as a table"), looks));
  }

  /** Draw what is new of a reply. */
  draw({ looks, thought, decided }) {
    if (!looks.length) return;
    this.root.hidden = false;
    const exit = decided?.events.find((event) => event.action === "conclude");
    const width = this.root.clientWidth;
    if (!width) return; // in a view that is not shown
    const state = [looks.length, thought, exit?.tokens, width].join();
    if (state === this.#drawn) return;
    this.#drawn = state;
    const last = looks.at(-1);
    const found = last.answer ? `“${last.answer}”` : "no answer";
    say(this.words, `Belief: after ${many(last.tokens, "token")} ${found}, ${chance(last.confidence)} sure`);
    for (const look of looks.slice(this.table.childElementCount)) this.table.append(row(look));
    this.chart.setAttribute("width", width);
    const drawn = looks.filter((look) => look.answer);
    this.chart.replaceChildren(...drawing(drawn, Math.max(thought, last.tokens), exit, width));
  }
}

function row({ tokens, answer, confidence }) {
  return el("tr", {}, ...[count(tokens), answer || "none", chance(confidence)].map((text) => el("td", {}, text)));
}

/** How many nines a belief has: doubt on a logarithmic scale, since near the exit all beliefs are close to one. */
const nines = (share) => Math.min(-Math.log10(1 - Math.min(share, 1 - 10 ** -NINES)), NINES);

function drawing(looks, most, exit, width) {
  const x = (tokens) => EDGE.left + (tokens / most) * (width - EDGE.left - EDGE.right);
  const y = (share) => EDGE.top + (1 - nines(share) / NINES) * (HEIGHT - EDGE.top - EDGE.bottom);
  const grid = MARKS.flatMap((share) => [
    svg("path", { class: "grid", d: `M${EDGE.left} ${y(share)}H${width - EDGE.right}` }),
    svg("text", { x: EDGE.left - 8, y: y(share) + 4, "text-anchor": "end" }, `${+(100 * share).toFixed(2)} %`),
  ]);
  const ends = [
    svg("text", { x: x(0), y: HEIGHT - 6, "text-anchor": "start" }, "0"),
    svg("text", { x: x(most), y: HEIGHT - 6, "text-anchor": "end" }, many(most, "token")),
  ];
  const along = looks.map((look, at) => `${at ? "L" : "M"}${x(look.tokens)} ${y(look.confidence)}`);
  const line = svg("path", { class: "line", d: along.join("") });
  const final = looks.at(-1)?.answer;
  const points = looks.map(({ tokens, answer, confidence }) =>
    svg("circle", { class: answer === final ? "look" : "look other", cx: x(tokens), cy: y(confidence), r: 3.5 }));
  const left = exit ? ending(x(exit.tokens), y(0), y(looks.at(-1)?.confidence ?? 1)) : [];
  return [...grid, ...ends, ...left, line, ...points, ...labels(looks, x, y)];
}

function ending(x, bottom, top) {
  const side = x > EDGE.left + 100 ? ["end", -7] : ["start", 7];
  return [
    svg("path", { class: "exit", d: `M${x} ${top}V${bottom}` }),
    svg("text", { class: "exit-name", x: x + side[1], y: bottom - 7, "text-anchor": side[0] }, "thought ended"),
  ];
}

/** Answers above their points where they change; from the last back, so that it is never the one left out. */
function labels(looks, x, y) {
  const shown = [];
  let free = Infinity;
  for (let at = looks.length - 1; at >= 0; at -= 1) {
    const { tokens, answer, confidence } = looks[at];
    if (answer === looks[at - 1]?.answer) continue;
    const text = answer.length > LONGEST ? `${answer.slice(0, LONGEST - 1)}…` : answer;
    const half = (text.length * LETTER) / 2 + 3;
    const middle = Math.max(Math.min(x(tokens), x(looks.at(-1).tokens) + EDGE.right - half), half);
    if (middle + half > free) continue;
    free = middle - half;
    shown.push(svg("text", { class: "found", x: middle, y: y(confidence) - 9, "text-anchor": "middle" }, text));
  }
  return shown;
}
