// What laconic saves against plain decoding of the same question: while both run, and in the end.

import { el, say } from "./dom.js";
import { count, less, many, seconds } from "./words.js";

const SHARED =
  "Both lanes share this machine and its passes, so each makes the other slower: these seconds measure neither alone.";
const APART = "The lanes run one after the other; other requests on this machine count into both.";
const SHOWN = { tokens: count, passes: count, seconds };

export class Saving {
  constructor(together) {
    this.title = el("h3");
    this.items = Object.keys(SHOWN).map((name) => el("div", {}, el("dt", {}, name), el("dd"), el("dd", { class: "muted" })));
    this.same = el("p");
    this.root = el("section", { class: "saving" }, this.title, el("dl", {}, ...this.items), this.same,
      el("p", { class: "muted" }, together ? SHARED : APART));
  }

  /** `mine` and `theirs` are replies; theirs may not have begun. */
  draw(mine, theirs) {
    const both = mine.over && theirs.over;
    const beyond = mine.over && theirs.tokens >= mine.tokens;
    const shared = Math.min(mine.tokens, theirs.tokens);
    const [a, b] = both || beyond ? [mine, theirs] : [mine.at(shared), theirs.at(shared)];
    const failed = [mine, theirs].some((reply) => ["failed", "stopped"].includes(reply.phase));
    const known = !failed && (both || shared > 0);
    const until = beyond ? "plain decoding goes on" : `at ${many(shared, "token")} of each`;
    say(this.title, failed ? "No saving to tell" : both ? "Saving, whole replies" : `Saving so far, ${until}`);
    Object.entries(SHOWN).forEach(([name, shown], at) => {
      const [item, x, y] = [this.items[at], known && a[name], known && b[name]];
      // Of as many tokens there is nothing to compare; and some servers do not tell their passes.
      item.hidden = name === "tokens" ? !(both || beyond) : known && !(x && y);
      say(item.children[1], known ? less(x, y) : "–");
      say(item.children[2], known ? `${shown(x)} against ${shown(y)}` : "");
    });
    say(this.same, failed ? "One of the replies did not come to its end." : both ? compared(mine, theirs) : "");
  }
}

function compared(mine, theirs) {
  return mine.answer.trim() === theirs.answer.trim() ? "Both give the same answer." : "The answers are not the same text.";
}
