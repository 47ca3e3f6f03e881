// What is known of a reply that is being written: counted from the chunks, nothing of the document here.

/** `phase` is waiting, thinking, answering, done, stopped or failed. */
export class Reply {
  constructor() {
    this.phase = "waiting";
    this.id = null;
    this.answer = "";
    this.thought = 0;
    this.tokens = 0;
    this.passes = 0;
    this.seconds = 0;
    this.rounds = []; // { drafted, accepted } of each piece of news with a draft
    this.drafted = 0;
    this.accepted = 0;
    this.looks = []; // { tokens, answer, confidence }: what probes have found
    this.fresh = []; // tokens that are not shown yet
    this.curve = []; // { tokens, passes, seconds } after each piece of news
    this.decided = null; // laconic's own account, with the last piece of news
    this.finish = null;
    this.begun = performance.now();
  }

  get over() {
    return ["done", "stopped", "failed"].includes(this.phase);
  }

  /** Count a chunk of the API's. */
  take(chunk) {
    this.id ??= chunk.id;
    const [choice] = chunk.choices;
    if (!choice) return;
    this.answer += choice.delta.content ?? "";
    if (choice.finish_reason) this.finish = choice.finish_reason;
    if (chunk.laconic?.trace) this.#count(chunk.laconic.trace);
    if (choice.delta.content) this.phase = "answering";
    if (chunk.laconic?.usage) {
      this.decided = chunk.laconic;
      this.passes = this.decided.usage.target_passes;
    }
  }

  #count({ tokens, drafted, accepted, beliefs, passes }) {
    this.thought += tokens.filter((token) => token.kind === "thinking").length;
    if (this.phase === "waiting" && tokens.length) this.phase = tokens[0].kind === "answer" ? "answering" : "thinking";
    this.fresh.push(...tokens);
    this.tokens += tokens.length;
    this.looks.push(...beliefs);
    this.drafted += drafted;
    this.accepted += accepted;
    if (drafted) this.rounds.push({ drafted, accepted });
    this.passes = passes;
    this.seconds = (performance.now() - this.begun) / 1000;
    this.curve.push({ tokens: this.tokens, passes, seconds: this.seconds });
  }

  /** What the first `tokens` tokens took; null where so many are not there yet. */
  at(tokens) {
    let [low, high] = [0, this.curve.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.curve[middle].tokens < tokens) low = middle + 1;
      else high = middle;
    }
    return this.curve[low] ?? null;
  }

  /** The reply is over, for whatever reason. */
  end(phase) {
    this.phase = phase;
  }
}
