// Joins the page's parts.

import { get, Refused } from "./api.js";
import { Conversation } from "./conversation.js";
import { byId, say } from "./dom.js";
import { Server } from "./server.js";
import { Settings } from "./settings.js";

const settings = new Settings();
const conversation = new Conversation(settings);
const server = new Server(byId("view-server"));
const [composer, question] = [byId("composer"), byId("question")];
const asks = composer.querySelector("[type=submit]");

async function learn() {
  try {
    const paths = ["v1/models", "v1/laconic/status", "v1/laconic/methods"];
    const [models, status, methods] = await Promise.all(paths.map((path) => get(path)));
    say(byId("model"), models.data[0].id);
    settings.learn(status, methods);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(byId("model"), error.message);
  }
}

/** The view that the address names. */
function view() {
  const name = location.hash === "#server" ? "server" : "ask";
  for (const other of ["ask", "server"]) {
    byId(`view-${other}`).hidden = other !== name;
    const link = document.querySelector(`nav a[href="#${other}"]`);
    if (other === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = name === "ask" ? "laconic" : "laconic: server";
  server.seen = name === "server";
}

/** As high as its text, up to what the style allows. */
function fit() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
}

async function submit(event) {
  event.preventDefault();
  const text = question.value.trim();
  if (!text || conversation.busy) return;
  asks.disabled = true;
  question.value = "";
  fit();
  const came = await conversation.ask(text);
  if (!came && !question.value) question.value = text;
  asks.disabled = conversation.busy;
}

composer.addEventListener("submit", submit);
// What is wrong in a closed part of the form could not be shown.
composer.addEventListener("invalid", () => (byId("settings").open = true), true);
question.addEventListener("input", fit);
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});
byId("anew").addEventListener("click", () => {
  conversation.clear();
  asks.disabled = false;
  question.focus();
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    question.value = example.textContent;
    fit();
    question.focus();
  });
}
window.addEventListener("hashchange", view);
view();
learn();
