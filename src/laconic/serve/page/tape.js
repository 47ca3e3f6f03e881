// The text as it was written, token by token, each marked with where it came from.

import { el } from "./dom.js";

const LONGEST = 1000; // characters of a span, so that a frame never lays out much text again
const NEAR = 32; // pixels from the end within which a reader counts as following

export class Tape {
  #block = null;
  #span = null;
  #follows = true;
  #hidden = false;

  constructor(label) {
    this.root = el("div", { class: "tape", tabindex: "0", role: "group", "aria-label": label });
  }

  /** Add tokens; the end stays in view unless the reader has scrolled up. */
  add(tokens) {
    const root = this.root;
    const shown = root.clientHeight > 0;
    if (shown && !this.#hidden) this.#follows = root.scrollHeight - root.scrollTop - root.clientHeight < NEAR;
    for (const token of tokens) if (token.text) this.#write(token);
    if (shown && this.#follows) root.scrollTop = root.scrollHeight;
    this.#hidden = !shown; // what is not shown may forget how far it was scrolled
  }

  #write({ text, origin }) {
    if (!this.#block) this.root.append((this.#block = el("div", { class: "step" })));
    const same = this.#span?.classList.contains(origin) && this.#span.firstChild.length < LONGEST;
    if (same) {
      this.#span.firstChild.appendData(text);
    } else {
      this.#span = el("span", { class: `token ${origin}` }, text);
      this.#block.append(this.#span);
    }
    // A block for each step: what is above the last one is laid out once.
    if (/\n\s*\n$/.test(text)) this.#block = this.#span = null;
  }
}
