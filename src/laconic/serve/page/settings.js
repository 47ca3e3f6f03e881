// Effort, method and sampling: the form's fields as what the API takes. What is left empty is the server's own.

import { byId, el, say } from "./dom.js";

const LEVELS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
const [OWN, OTHER] = ["", "+"];

export class Settings {
  #methods = new Map();
  #known = new Set();
  #cut = [];
  #can = {};

  constructor() {
    fill("effort", [[OWN, "the server's own"], ...LEVELS.map((level) => [level, level])]);
    fill("method", [[OWN, "the server's own"]]);
    for (const id of ["effort", "method", "spec", "temperature", "most", "seed", "compare"]) {
      byId(id).addEventListener("input", () => this.#changed(id));
    }
    this.#changed("effort");
  }

  /** Learn what the server has: its status and its list of methods. */
  learn(status, methods) {
    const { server, think, can, efforts } = status;
    [this.#can, this.#cut] = [can, efforts];
    this.#methods = new Map(methods.map((method) => [method.name, method]));
    this.#known = new Set(["none", ...efforts, ...levels(server.thinking?.effort)]);
    const own = think.join(" + ") || "none";
    fill("method", [
      [OWN, `the server's own: ${own}`],
      ["none", "none: think as long as it likes"],
      ...methods.map(({ name }) => [name, name]),
      [OTHER, "several, or with knobs"],
    ]);
    byId("temperature").placeholder = `the server's own: ${server.sampling?.temperature ?? "the model's"}`;
    byId("most").placeholder = `the server's own: ${server.sampling?.max_new_tokens ?? "the model's"}`;
    this.#changed("method");
  }

  /** How plain decoding is compared with: "", "together" or "after". */
  get compare() {
    return byId("compare").value;
  }

  /** The body of a request, for both lanes alike but for what makes one of them plain. */
  body(messages) {
    const body = { messages, seed: number("seed") ?? crypto.getRandomValues(new Uint32Array(1))[0] >>> 1 };
    const said = { temperature: number("temperature"), max_tokens: number("most"), reasoning_effort: byId("effort").value };
    for (const [name, value] of Object.entries(said)) if (value !== null && value !== "") body[name] = value;
    const spec = this.#spec();
    const mine = { ...body, laconic: { trace: true, ...(spec && { think: spec }) } };
    const plain = { ...body, laconic: { trace: true, think: "none", ...(this.#can.drafts && { draft: false }) } };
    if (this.#cut.includes(plain.reasoning_effort)) delete plain.reasoning_effort; // a budget, not the model's own
    return { mine, plain };
  }

  #spec() {
    const chosen = byId("method").value;
    return chosen === OWN || chosen === "none" ? chosen : byId("spec").value.trim();
  }

  #changed(id) {
    if (id === "method") this.#method();
    const level = byId("effort").value;
    const idle = level && this.#known.size && !this.#known.has(level);
    say(byId("effort-note"), idle ? "This server and its model know no such level; it will have no effect." : "");
    const said = [
      level && `effort ${level}`,
      this.#spec(),
      byId("temperature").value && `temperature ${byId("temperature").value}`,
      byId("most").value && `${byId("most").value} tokens`,
      byId("compare").value && "beside plain",
    ];
    say(byId("chosen"), said.filter(Boolean).join(", ") || "the server's own");
  }

  #method() {
    const chosen = byId("method").value;
    const method = this.#methods.get(chosen);
    const missing = method?.knobs.filter((knob) => knob.required) ?? [];
    byId("spec-field").hidden = !method && chosen !== OTHER;
    if (method) byId("spec").value = chosen + missing.map((knob, at) => `${at ? "," : ":"}${knob.name}=`).join("");
    const wanted = missing.map((knob) => `${knob.name} (${knob.type})`).join(", ");
    say(byId("method-note"), method ? unmarked(method.summary) + (wanted && ` Its spec must say ${wanted}.`) : "");
  }
}

/** The levels that a chat template knows, whatever shape they are told in. */
function levels(effort) {
  return Array.isArray(effort) ? effort : Object.keys(effort ?? {});
}

/** A method's summary without its marks for code. */
const unmarked = (text) => text.replaceAll("``", "");

function number(id) {
  const { value } = byId(id);
  return value === "" ? null : Number(value);
}

function fill(id, options) {
  byId(id).replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
}
