// A reply as it is shown: its text token by token, the answer, what drafts and probes did, what was decided and why.

import { ask, conclude, Refused } from "./api.js";
import { Belief } from "./belief.js";
import { el, say } from "./dom.js";
import { soon } from "./frame.js";
import { Passes } from "./passes.js";
import { Reply } from "./reply.js";
import { Tape } from "./tape.js";
import { count, many, percent, seconds } from "./words.js";

const STATES = {
  waiting: "waits for its turn",
  thinking: "thinks",
  answering: "answers",
  done: "done",
  stopped: "stopped",
  failed: "failed",
};
const ENDS = { length: "It was cut off at its limit of tokens.", cancelled: "It was cancelled." };

export class Lane {
  #abort = new AbortController();
  #concluding = false;
  #draw;

  /** `told` is called after each frame in which something changed. */
  constructor(title, told) {
    this.reply = new Reply();
    this.#build(title);
    this.#draw = () => {
      this.#show();
      told();
    };
    new ResizeObserver(() => soon(this.#draw)).observe(this.root);
  }

  #build(title) {
    this.state = el("span", { class: "state" });
    this.now = button("Answer now", () => this.#conclude());
    this.stop = button("Stop", () => this.#abort.abort());
    this.tape = new Tape(`Text of ${title}, token by token`);
    this.answer = el("p", { class: "answer" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.figures = el("dl", { class: "figures" });
    this.passes = new Passes();
    this.belief = new Belief();
    this.decisions = el("ul", { class: "decisions" });
    const buttons = el("span", { class: "buttons" }, this.now, this.stop);
    const head = el("header", {}, el("h3", {}, title), this.state, buttons);
    const text = el("div", { class: "text" }, this.tape.root, this.answer, this.problem);
    const beside = el("div", { class: "beside" }, this.figures, this.passes.root, this.belief.root, this.decisions);
    this.root = el("div", { class: "lane", role: "group", "aria-label": title }, head, text, beside);
  }

  /** Ask, and show what comes. Never throws: what went wrong is said in the lane. */
  async run(body) {
    this.reply.begun = performance.now();
    this.#draw();
    try {
      await ask(body, (chunk) => {
        this.reply.take(chunk);
        soon(this.#draw);
      }, this.#abort.signal);
      this.reply.end("done");
    } catch (error) {
      this.reply.end(error.name === "AbortError" ? "stopped" : "failed");
      if (error instanceof Refused) this.#tell(error.message);
      else if (error.name !== "AbortError") this.#failed(error);
    } finally {
      soon(this.#draw);
    }
  }

  async #conclude() {
    this.#concluding = this.now.disabled = true;
    try {
      if (!(await conclude(this.reply.id)) && !this.reply.over) this.#tell("There is no open thought to end now.");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!this.reply.over) this.#tell(error.message);
    }
  }

  /** A mistake of the page's own: said here, and told to whoever looks for it. */
  #failed(error) {
    console.error(error);
    this.#tell(`The page failed: ${error.message}`);
  }

  #tell(words) {
    this.problem.hidden = false;
    say(this.problem, words);
  }

  #show() {
    const { reply } = this;
    say(this.state, STATES[reply.phase]);
    this.root.dataset.phase = reply.phase;
    if (reply.over && [this.now, this.stop].includes(document.activeElement)) this.tape.root.focus();
    this.now.hidden = this.stop.hidden = reply.over;
    this.now.disabled = this.#concluding || reply.phase !== "thinking";
    this.tape.add(reply.fresh.splice(0));
    say(this.answer, reply.answer);
    this.#figures();
    this.passes.draw(reply);
    this.belief.draw(reply);
    if (reply.over) this.#decisions();
  }

  #figures() {
    const { tokens, thought, passes, drafted, accepted } = this.reply;
    const shown = [["Tokens", count(tokens)], ["Thought", count(thought)], ["Time", seconds(this.reply.seconds)]];
    if (passes) shown.push(["Passes", count(passes)], ["Tokens a pass", (tokens / passes).toFixed(1)]);
    if (drafted) shown.push(["Accepted", percent(accepted / drafted)]);
    if (this.figures.childElementCount !== shown.length) {
      this.figures.replaceChildren(...shown.map(([name]) => el("div", {}, el("dt", {}, name), el("dd"))));
    }
    shown.forEach(([, text], at) => say(this.figures.children[at].lastChild, text));
  }

  #decisions() {
    const { decided, finish } = this.reply;
    if (!decided) return;
    const lines = decided.events.map(({ method, action, tokens, reason }) =>
      `${method} (${action}) after ${many(tokens, "token")}: ${reason}`);
    if (ENDS[finish]) lines.push(ENDS[finish]);
    lines.push(...(decided.notes ?? []), `Methods: ${decided.think.join(" + ") || "none"}. Seed ${decided.seed}.`);
    if (decided.shadow) {
      lines.push(`Watched, not acted on: the thought would have ended after ${many(decided.shadow.tokens, "token")}, ` +
        `with “${decided.shadow.answer}”.`);
    }
    this.decisions.replaceChildren(...lines.map((line) => el("li", {}, line)));
  }
}

function button(text, press) {
  const made = el("button", { type: "button" }, text);
  made.addEventListener("click", press);
  return made;
}
