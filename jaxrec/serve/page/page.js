// The page: a history is built by clicking, and every change asks the service anew. No library, no build.

const $ = (id) => document.getElementById(id);
const state = { history: [], next: [], influence: null, shown: 0, found: [], foundFor: null, marked: -1, eager: false };
const K = 10;
const ICONS = {
  up: "M8 13V3M4 7l4-4 4 4", down: "M8 3v10M4 9l4 4 4-4", remove: "M4 4l8 8M12 4l-8 8",
  similar: "M2 6c2-3 4-3 6 0s4 3 6 0M2 11c2-3 4-3 6 0s4 3 6 0",
};

// --- talking to the service

const PATIENCE = 15; // times that a service too busy is asked again

async function call(path, body, signal, patience = PATIENCE) {
  const headers = { "Content-Type": "application/json" };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body), signal } : { headers, signal });
  const answer = await response.json();
  if (response.ok) return answer;
  if (response.status === 503 && patience) {
    await new Promise((done) => setTimeout(done, 1000 * (response.headers.get("Retry-After") ?? 1)));
    signal.throwIfAborted();
    return call(path, body, signal, patience - 1);
  }
  if (response.status === 401) $("token").hidden = false;
  throw new Error(answer.errors.map((each) => (each.field ? `${each.field}: ` : "") + each.message).join("; "));
}

/** A function that runs `work(signal, …)` and gives up the run before: the last question is the one that is answered. */
function latest(work) {
  let running = new AbortController();
  return async (...args) => {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    try {
      await work(signal, ...args);
      if (!signal.aborted) $("trouble").hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      $("trouble").textContent = error.message;
      $("trouble").hidden = false;
    }
  };
}

const refresh = latest(async (signal) => {
  location.replace(`#${encodeURIComponent(JSON.stringify(state.history.map((item) => item.id)))}`);
  state.influence = null;
  state.shown = 0;
  if (!state.history.length) {
    state.next = [];
    draw();
    return;
  }
  const history = state.history.map((item) => item.id);
  const answer = await call("recommend", { history, k: K }, signal);
  state.next = answer.items;
  draw();
  const count = `${state.next.length} recommendations for ${plural(history.length, "item")}`;
  say(state.next.length ? `${count}, the first is ${name(state.next[0])}` : "Nothing is left to recommend");
  if (!state.next.length) return;
  const { influence } = await call("influence", { history, items: state.next.map((item) => item.id) }, signal);
  state.influence = influence;
  draw();
});

const search = latest(async (signal, text) => {
  const { items } = await call(`items?q=${encodeURIComponent(text)}&k=12`, null, signal);
  if (text !== $("search").value) return;
  state.found = items;
  state.foundFor = text;
  state.marked = items.length && text ? 0 : -1;
  drawFound(text);
  if (state.eager) choose(state.marked);
});

const similar = latest(async (signal, item) => {
  const { items } = await call("similar", { item: item.id, k: K }, signal);
  $("similar-title").textContent = `Similar to ${name(item)}`;
  $("similar").replaceChildren(...items.map((each, place) => ranked(each, place, Math.max(each.score, 0))));
  $("similar-section").hidden = false;
  $("similar-title").focus();
});

// --- changing the history; what has the focus keeps it, or hands it to its neighbour

function add(item) {
  state.history.push(item);
  changed(`${name(item)} added`);
}

function remove(place) {
  const [item] = state.history.splice(place, 1);
  changed(`${name(item)} removed`);
  const rows = $("history").children;
  if (rows.length) rows[Math.min(place, rows.length - 1)].querySelector("[data-act=remove]").focus();
  else $("search").focus();
}

function move(from, to, act) {
  const [item] = state.history.splice(from, 1);
  state.history.splice(to, 0, item);
  changed(`${name(item)} is now at ${to + 1} of ${state.history.length}`);
  const row = $("history").children[to];
  const button = act && row.querySelector(`[data-act=${act}]`);
  (button && !button.disabled ? button : row.querySelector("button:not(:disabled)")).focus();
}

function changed(said) {
  say(said);
  state.influence = null;
  drawHistory();
  refresh();
}

// --- drawing

const name = (item) => item.title ?? String(item.id);
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const say = (text) => { $("said").textContent = text; };
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** An element with these properties ("data-…" and "aria-…" are attributes) and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

function act(kind, label, onclick, disabled = false) {
  const button = make("button", { type: "button", "aria-label": label, title: label, "data-act": kind, onclick, disabled });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", ICONS[kind]);
  button.append(svg);
  return button;
}

function draw() {
  drawHistory();
  drawNext();
}

function drawHistory() {
  const kept = document.activeElement?.dataset?.act;
  const place = [...$("history").children].findIndex((row) => row.contains(document.activeElement));
  $("history").replaceChildren(...state.history.map(historyRow));
  $("start").hidden = state.history.length > 0;
  $("history-foot").hidden = !state.history.length;
  const shown = state.influence && state.next[state.shown];
  $("legend").textContent = shown ? `Bars: what each added to ${name(shown)}` : plural(state.history.length, "item");
  if (kept && place >= 0) $("history").children[place]?.querySelector(`[data-act=${kept}]`)?.focus();
}

function historyRow(item, place) {
  const last = state.history.length - 1;
  const row = make("li", { className: "row", draggable: true },
    make("span", { className: "place" }, String(place + 1)),
    make("span", { className: "name", title: name(item) }, name(item)),
    make("span", { className: "acts" },
      act("up", `Move ${name(item)} up`, () => move(place, place - 1, "up"), place === 0),
      act("down", `Move ${name(item)} down`, () => move(place, place + 1, "down"), place === last),
      act("similar", `Similar to ${name(item)}`, () => similar(item)),
      act("remove", `Remove ${name(item)}`, () => remove(place))));
  if (state.influence) row.append(moved(place));
  drags(row, place);
  return row;
}

function drags(row, place) {
  row.ondragstart = (event) => { event.dataTransfer.setData("text/plain", place); row.classList.add("dragged"); };
  row.ondragend = () => row.classList.remove("dragged");
  row.ondragover = (event) => { event.preventDefault(); row.classList.add("onto"); };
  row.ondragleave = () => row.classList.remove("onto");
  row.ondrop = (event) => { event.preventDefault(); move(Number(event.dataTransfer.getData("text/plain")), place); };
}

/** What an item of the history did to the recommendation that is shown: a bar from the middle, and the number. */
function moved(place) {
  const row = state.influence[state.shown];
  const value = row[place], width = 50 * Math.abs(value) / Math.max(...row.map(Math.abs), 1e-9);
  const bar = make("b", { className: value < 0 ? "less" : "more" });
  bar.style.width = `${width}%`;
  bar.style.left = `${value < 0 ? 50 - width : 50}%`;
  const said = `${signed(value)} to the score of ${name(state.next[state.shown])}`;
  return make("span", { className: "moved" },
    make("span", { "aria-hidden": "true" }, bar), make("em", { "aria-label": said, role: "note" }, signed(value)));
}

function drawNext() {
  const best = state.next[0]?.score;
  $("next").replaceChildren(...state.next.map((item, place) => nextRow(item, place, Math.exp(item.score - best))));
  $("next-empty").hidden = state.history.length > 0;
  $("next-foot").hidden = !state.next.length;
}

function nextRow(item, place, share) {
  const row = ranked(item, place, share);
  if (state.influence) row.append(strip(state.influence[place]));
  row.classList.toggle("shown", Boolean(state.influence) && place === state.shown);
  const show = () => {
    if (!state.influence || state.shown === place) return;
    state.shown = place;
    [...$("next").children].forEach((each, index) => each.classList.toggle("shown", index === place));
    drawHistory();
  };
  row.onmouseenter = show;
  row.addEventListener("focusin", show);
  return row;
}

/** A row of a ranking: its title adds it to the history. */
function ranked(item, place, share) {
  const bar = make("i");
  bar.style.width = `${100 * share}%`;
  return make("li", { className: "row" },
    make("span", { className: "place" }, String(place + 1)),
    make("button", {
      type: "button", className: "name", title: `Add ${name(item)}`, onclick: () => add(item),
      "aria-label": `Add ${name(item)}, score ${item.score.toFixed(2)}`,
    }, name(item)),
    make("span", { className: "score", "aria-hidden": "true" }, item.score.toFixed(2)),
    make("span", { className: "acts" }, act("similar", `Similar to ${name(item)}`, () => similar(item))),
    make("span", { className: "bar", "aria-hidden": "true" }, bar));
}

function strip(values) {
  const most = Math.max(...values.map(Math.abs), 1e-9);
  return make("span", { className: "strip", "aria-hidden": "true" }, ...values.map((value) => {
    const bar = make("b", { className: value < 0 ? "less" : "more" });
    bar.style.height = `${50 * Math.abs(value) / most}%`;
    bar.style[value < 0 ? "top" : "bottom"] = "50%";
    return make("i", {}, bar);
  }));
}

// --- the search: a combobox

function drawFound(text) {
  const options = state.found.map((item, place) => make("li", {
    id: `found-${place}`, role: "option", "aria-selected": place === state.marked,
    onmousedown: (event) => event.preventDefault(), onclick: () => choose(place),
  }, name(item)));
  const none = make("li", { className: "none", role: "option", "aria-disabled": "true", "aria-selected": "false" }, "Nothing found");
  $("found").replaceChildren(...(options.length ? options : [none]));
  open(document.activeElement === $("search"));
  if (text) say(`${plural(state.found.length, "item")} found`);
}

function mark(place) {
  state.marked = place;
  [...$("found").children].forEach((row, index) => row.setAttribute("aria-selected", index === place));
  $("found").children[place]?.scrollIntoView({ block: "nearest" });
  open(true);
}

function open(yes) {
  $("found").hidden = !yes;
  $("search").setAttribute("aria-expanded", yes);
  if (yes && state.marked >= 0) $("search").setAttribute("aria-activedescendant", `found-${state.marked}`);
  else $("search").removeAttribute("aria-activedescendant");
}

function choose(place) {
  state.eager = false;
  if (!state.found[place]) return;
  add(state.found[place]);
  $("search").value = "";
  state.foundFor = null;
  open(false);
}

/** Enter: the item that is marked, or, before the answer to what was typed is there, the first that it brings. */
function enter() {
  if (state.foundFor === $("search").value) choose(state.marked);
  else state.eager = Boolean($("search").value);
}

$("search").oninput = () => { state.eager = false; search($("search").value); };
$("search").onfocus = () => search($("search").value);
$("search").onblur = () => open(false);
$("search").onkeydown = (event) => {
  const count = state.found.length;
  if (event.key === "ArrowDown" && count) mark((state.marked + 1) % count);
  else if (event.key === "ArrowUp" && count) mark((state.marked + count - 1) % count);
  else if (event.key === "Enter") enter();
  else if (event.key === "Escape") open(false);
  else return;
  event.preventDefault();
};

// --- the start

$("clear").onclick = () => { state.history = []; changed("History cleared"); $("search").focus(); };
$("similar-close").onclick = () => { $("similar-section").hidden = true; $("search").focus(); };
$("token").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token-text").value);
  $("token").hidden = true;
  begin();
};

const begin = latest(async (signal) => {
  const ready = await call("readyz", null, signal);
  $("serving").textContent = `${ready.items.toLocaleString("en")} items, checkpoint ${ready.step}`;
  const { items } = await call("items?k=8", null, signal);
  $("popular").replaceChildren(...items.map((item) => make("li", {},
    make("button", { type: "button", onclick: () => { add(item); $("search").focus(); } }, name(item)))));
  state.history = await restored(signal);
  draw();
  if (state.history.length) refresh();
});

/** The history that the address names. */
async function restored(signal) {
  let ids;
  try { ids = JSON.parse(decodeURIComponent(location.hash.slice(1))); } catch { return []; }
  if (!Array.isArray(ids)) return [];
  const found = await Promise.all(ids.slice(-200).map(async (id) => {
    const { items } = await call(`items?q=${encodeURIComponent(id)}&k=1`, null, signal);
    return items.find((item) => String(item.id) === String(id));
  }));
  return found.filter(Boolean);
}

begin();
