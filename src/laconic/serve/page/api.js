// The server's API: JSON, and chat completions as they are written.

import { another, key } from "./key.js";
import { events } from "./sse.js";

/** What the server refused or failed at, in its own words. */
export class Refused extends Error {}

async function request(path, options = {}, quietly = false) {
  for (;;) {
    const used = key();
    const headers = { ...options.headers, ...(used && { authorization: `Bearer ${used}` }) };
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused("The server cannot be reached.");
    }
    if (response.ok) return response;
    if (response.status === 401 && (await another(used, quietly))) continue;
    throw new Refused(await words(response));
  }
}

async function words(response) {
  const plain = `The server answered ${response.status} ${response.statusText}.`;
  const body = await response.json().catch(() => null);
  const said = body?.error?.message;
  return said ? said.charAt(0).toUpperCase() + said.slice(1) : plain;
}

export const get = async (path, quietly = false) => (await request(path, {}, quietly)).json();

function post(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** Ask for a chat completion; each chunk is given to `take` as it comes. Ends when the reply does, or throws. */
export async function ask(body, take, signal) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await post("v1/chat/completions", asked, signal);
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(chunk.error.message);
      take(chunk);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Refused) throw error;
    throw new Refused("The connection to the server was lost.");
  }
  throw new Refused("The connection ended before the reply did.");
}

/** End the thought of a reply now; says whether there was one to end. */
export async function conclude(id) {
  const response = await post(`v1/requests/${encodeURIComponent(id)}/conclude`, {});
  return (await response.json()).concluded > 0;
}
