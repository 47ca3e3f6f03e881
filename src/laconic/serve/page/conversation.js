// Turns of a conversation: a question, its reply, and on request the same by plain decoding beside it.

import { byId, el, say } from "./dom.js";
import { Lane } from "./lane.js";
import { Saving } from "./saving.js";
import { many } from "./words.js";

export class Conversation {
  #messages = [];
  #turn = null;

  constructor(settings) {
    this.settings = settings;
    this.turns = byId("turns");
  }

  get busy() {
    return this.#turn !== null;
  }

  /** Ask the next question. Resolves, once all about it has ended, to whether anything came of it. */
  async ask(question) {
    const mode = this.settings.compare;
    const messages = [...this.#messages, { role: "user", content: question }];
    const { mine, plain } = this.settings.body(messages);
    const turn = (this.#turn = new Turn(question, mode));
    this.#welcome(false);
    this.turns.append(turn.root);
    turn.root.scrollIntoView({ block: "start" });
    await turn.run(mine, plain);
    if (this.#turn !== turn) return true;
    this.#turn = null;
    const answer = turn.mine.reply.answer;
    if (answer) this.#messages = [...messages, { role: "assistant", content: answer }];
    return turn.mine.reply.tokens > 0;
  }

  /** Forget all turns; what still runs is stopped. */
  clear() {
    this.#turn?.stop();
    this.#turn = null;
    this.#messages = [];
    this.turns.replaceChildren();
    this.#welcome(true);
  }

  #welcome(shown) {
    byId("welcome").hidden = !shown;
    byId("over").hidden = shown;
  }
}

class Turn {
  #said = "";

  constructor(question, mode) {
    this.mode = mode;
    const changed = () => this.#changed();
    this.mine = new Lane("laconic", changed);
    this.plain = mode ? new Lane("plain decoding", changed) : null;
    this.saving = mode ? new Saving(mode === "together") : null;
    const lanes = el("div", { class: mode ? "lanes two" : "lanes" }, this.mine.root, ...(mode ? [this.plain.root] : []));
    this.root = el("article", { class: "turn" }, el("h2", {}, question), ...(mode ? [this.saving.root] : []), lanes);
  }

  async run(mine, plain) {
    const first = this.mine.run(mine);
    if (this.mode === "after") await first;
    if (this.mine.reply.phase === "failed") return;  // what was wrong with it is wrong for both, as a rule
    await Promise.all([first, this.plain?.run(plain)]);
  }

  stop() {
    this.mine.stop.click();
    this.plain?.stop.click();
  }

  #changed() {
    this.saving?.draw(this.mine.reply, this.plain.reply);
    const { phase, answer, thought } = this.mine.reply;
    const words = {
      thinking: "The model thinks.",
      answering: "The thought has ended.",
      done: `After ${many(thought, "thinking token")}, the answer: ${answer}`,
      stopped: "Stopped.",
    }[phase];
    if (!words || words === this.#said) return;
    this.#said = words;
    say(byId("said"), words);
  }
}
