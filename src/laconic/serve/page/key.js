// The API key, where the server wants one: asked for once, kept in this tab alone.

import { byId, say } from "./dom.js";

const NAME = "laconic-key";
let asking = null;
let declined = false;

export const key = () => sessionStorage.getItem(NAME) ?? "";

/**
 * Ask for a key after `used` was refused. Resolves to whether there is another one to try. `quietly` is for requests
 * that nobody made by hand: they do not ask again where the dialog was closed without a key.
 */
export function another(used, quietly) {
  if (key() !== used) return Promise.resolve(true);
  if (quietly && declined) return Promise.resolve(false);
  asking ??= dialog(used).finally(() => (asking = null));
  return asking;
}

function dialog(used) {
  const box = byId("key");
  const [form, input] = [box.querySelector("form"), byId("key-value")];
  say(byId("key-note"), used ? "The key that was used is not taken." : "");
  sessionStorage.removeItem(NAME);
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(NAME, input.value.trim());
      box.close();
    };
    form.querySelector("[value=cancel]").onclick = () => box.close();
    box.onclose = () => {
      input.value = "";
      declined = !key();
      resolve(!declined);
    };
    box.showModal();
  });
}
