// Talking to the service: what goes wrong is said in words, and what is asked too late is not answered.

import { $, make } from "./dom.js";

const SECONDS = 30; // that an answer may take, and that the service may ask to wait
const PATIENCE = 15; // times that a service too busy is asked again

/** A question without an answer, and why, in words. `again`: whether the same question may be answered later. */
export class Trouble extends Error {
  constructor(why, again = true) {
    super(why);
    this.again = again;
  }
}

/** JSON, where integers too large for a number of JavaScript stay as they are written, as texts. */
export function parse(text) {
  const exact = (_key, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source) ? context.source : value;
  return JSON.parse(text, exact);
}

/**
 * The answer of the service to a question.
 * @param body what is posted; none: it is a GET. @param waiting called with the seconds until a busy service is asked again.
 */
export async function call(path, body, signal, waiting = () => {}) {
  for (let left = PATIENCE; ; left--) {
    const { response, text } = await reach(path, body, signal);
    const pause = response.status === 503 ? pauseOf(response) : null;
    if (pause === null || pause > SECONDS || !left) return understood(response, text, pause);
    waiting(pause);
    await new Promise((done) => setTimeout(done, 1000 * pause));
    signal.throwIfAborted();
  }
}

async function reach(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  const limit = AbortSignal.timeout(1000 * SECONDS);
  const asked = { headers, signal: AbortSignal.any([signal, limit]), ...(body && { method: "POST", body: JSON.stringify(body) }) };
  try {
    const response = await fetch(path, asked);
    const text = await response.text();
    signal.throwIfAborted();
    return { response, text };
  } catch {
    signal.throwIfAborted();
    if (limit.aborted) throw new Trouble(`No answer within ${SECONDS} seconds.`);
    if (!navigator.onLine) throw new Trouble("This device is offline.");
    throw new Trouble("The service can't be reached: it may have stopped, or the network between is down.");
  }
}

/** Seconds until a busy service wants to be asked again, null where it does not say. */
function pauseOf(response) {
  const said = response.headers.get("Retry-After");
  const seconds = /^\d+$/.test(said) ? Number(said) : (Date.parse(said) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.max(seconds, 0);
}

function understood(response, text, pause) {
  let answer;
  try { answer = parse(text); } catch { answer = null; }
  if (response.ok && answer) return answer;
  if (response.status === 401) throw askForToken();
  const errors = Array.isArray(answer?.errors) ? answer.errors : [];
  const words = errors.map(({ field, message }) => (field ? `${field}: ` : "") + message).join("; ");
  const again = response.status >= 500 || response.status === 408 || response.status === 429 || !words;
  throw new Trouble(words || unexplained(response, pause), again);
}

function unexplained({ status, ok }, pause) {
  if (pause) return `The service asks to try again in ${Math.ceil(pause)} seconds.`;
  if ([502, 503, 504].includes(status)) return `The service is not there just now: a proxy before it answered with status ${status}.`;
  return `Something other than the service answered${ok ? "" : ` (status ${status})`}: perhaps a proxy, or the login page of a network.`;
}

function askForToken() {
  const refused = sessionStorage.getItem("token") !== null;
  $("token-said").textContent = refused ? "The service does not accept this token: try another" : "This service asks for a token";
  $("token").hidden = false;
  return new Trouble("A token is needed.", false);
}

/**
 * A function that runs `work(signal, …)` and gives up the run before: the last question is the one that is answered.
 * Meanwhile `list` is busy; what goes wrong is said in the element `${part}-trouble`, with a button to try again.
 * @param failed called when there is no answer. The function's `stop` gives up what it asked last.
 */
export function latest(part, list, work, failed = () => {}) {
  let running = new AbortController();
  async function ask(...args) {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    list?.setAttribute("aria-busy", "true");
    complain(part, null);
    try {
      await work(signal, ...args);
    } catch (error) {
      if (signal.aborted) return;
      complain(part, error, () => ask(...args));
      failed();
      if (!(error instanceof Trouble)) throw error;
    } finally {
      if (!signal.aborted) list?.setAttribute("aria-busy", "false");
    }
  }
  ask.stop = () => { running.abort(); complain(part, null); };
  return ask;
}

function complain(part, error, again) {
  const place = $(`${part}-trouble`);
  place.hidden = !error || !$("token").hidden;
  const retry = error?.again !== false && make("button", { type: "button", onclick: again }, "Try again");
  place.replaceChildren(...(error ? [make("span", { dir: "auto" }, error.message), ...(retry ? [retry] : [])] : []));
}

window.addEventListener("online", () => {
  for (const button of document.querySelectorAll(".trouble:not([hidden]) button")) button.click();
});
