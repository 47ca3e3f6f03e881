// Work on the document is done once a frame, however many tokens have come.

const waiting = new Set();
let asked = false;

/** Run `task` in the next frame, once even if it is asked for many times. A hidden tab has no frames: a clock instead. */
export function soon(task) {
  waiting.add(task);
  if (asked) return;
  asked = true;
  if (document.hidden) setTimeout(run, 250);
  else requestAnimationFrame(run);
}

function run() {
  asked = false;
  const tasks = [...waiting];
  waiting.clear();
  for (const task of tasks) task();
}
