// The server's load, goodput and audit. It is asked every second, while somebody looks.

import { get, Refused } from "./api.js";
import { el, say } from "./dom.js";
import { Harm } from "./harm.js";
import { Lengths, Rate } from "./plots.js";
import { bytes, count, many, percent } from "./words.js";

const EVERY = 1000;

export class Server {
  #timer = 0;
  #round = 0;
  #seen = false;

  constructor(root) {
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.figures = el("dl", { class: "figures large" });
    this.rate = new Rate();
    this.lengths = new Lengths();
    this.memory = el("meter", { min: "0", "aria-label": "Memory of the cache that requests take" });
    this.held = el("p");
    this.harm = new Harm();
    this.runs = el("dl", { class: "facts" });
    const memory = el("section", { class: "panel" }, el("h2", {}, "Memory of the cache"), this.memory, this.held);
    const runs = el("section", { class: "panel wide" }, el("h2", {}, "What runs"), this.runs);
    const panels = [this.rate.root, this.lengths.root, this.harm.root, memory, runs];
    root.append(this.problem, this.figures, el("div", { class: "panels" }, ...panels));
    document.addEventListener("visibilitychange", () => this.#watch());
  }

  /** Whether this view is the one that is shown. */
  set seen(seen) {
    this.#seen = seen;
    this.#watch();
  }

  #watch() {
    clearTimeout(this.#timer);
    this.#round += 1;
    if (this.#seen && !document.hidden) this.#poll(this.#round);
  }

  /** Ask, and again after a while, unless another round has begun meanwhile. */
  async #poll(round) {
    try {
      this.#show(await get("v1/laconic/status", true));
      this.problem.hidden = true;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.problem.hidden = false;
      say(this.problem, error.message);
    }
    if (this.#round === round) this.#timer = setTimeout(() => this.#poll(round), EVERY);
  }

  #show(status) {
    const { load, pulse, audit, server, think, uptime } = status;
    const recent = pulse.recent ?? [];
    const sum = (name) => recent.reduce((total, pass) => total + pass[name], 0);
    const shown = [["Running", `${count(load.running)} of ${count(load.places)}`], ["Waiting", count(load.waiting)]];
    if (recent.length) {
      shown.push(["Goodput, tokens a second", count(sum("tokens") / sum("seconds"))]);
      shown.push(["Tokens a pass and request", (sum("tokens") / sum("together")).toFixed(1)]);
    }
    if (pulse.drafted) shown.push(["Drafts accepted", percent(pulse.accepted / pulse.drafted)]);
    if (pulse.paused) shown.push(["Paused for memory", count(pulse.paused)]);
    facts(this.figures, shown);
    this.rate.draw(pulse.tokens, uptime);
    this.lengths.draw(recent.flatMap((pass) => pass.lengths));
    this.harm.draw(audit, think.length > 0);
    this.#memory(load);
    facts(this.runs, running(server, think, uptime));
  }

  #memory({ nbytes, kept, budget }) {
    this.memory.parentElement.hidden = !budget;
    this.memory.max = budget;
    this.memory.value = nbytes;
    say(this.held, `${bytes(nbytes)} of ${bytes(budget)} for requests under way, ${bytes(kept)} kept of earlier texts`);
  }
}

function running(server, think, uptime) {
  const model = typeof server.model === "string" ? server.model : about(server.model);
  const { drafter, length } = server.methods;
  const drafts = !drafter || drafter === "none" ? drafter : `${drafter}, length ${length}`;
  const facts = [["Backend", server.backend], ["Model", model], ["Draft model", about(server.draft_model)], ["Drafts", drafts],
    ["Thinking", think.join(" + ") || "no method"], ["Up for", many(Math.floor(uptime / 60), "minute")]];
  return facts.filter(([, value]) => value);
}

function about(model) {
  if (!model) return "";
  const size = model.parameters >= 1e9 ? `${(model.parameters / 1e9).toFixed(1)} B` : `${(model.parameters / 1e6).toFixed(1)} M`;
  return [model.model_type, `${size} parameters`, model.dtype, model.device].filter(Boolean).join(", ");
}

function facts(list, shown) {
  if (list.childElementCount !== shown.length) {
    list.replaceChildren(...shown.map(() => el("div", {}, el("dt"), el("dd"))));
  }
  shown.forEach(([name, value], at) => {
    say(list.children[at].firstChild, name);
    say(list.children[at].lastChild, value);
  });
}
