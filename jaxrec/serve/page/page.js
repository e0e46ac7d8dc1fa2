// The page: a history is built by clicking, and every change asks the service anew. No library, no build.

import { asking, drawAsking } from "./asking.js";
import { $, fill, make, name, plural, say, signed, titled } from "./dom.js";
import { drawFilters, filters } from "./filter.js";
import { historyRow, moved, rankedRow, strip, STROKES } from "./rows.js";
import { searches } from "./search.js";
import { call, latest, parse } from "./service.js";

const state = {
  history: [], // items: {id, title}, and time, type, weight of an event where known; a title not asked for yet is undefined
  where: {}, // filters, as the service takes them
  now: null, // seconds since 1970 when the next item is asked for, where that is known
  user: null, // {column: value} of what is known of the user, where anything is
  alone: false, // whether the model answers by that without a history
  next: [], // what comes next, of this history and these filters
  none: false, // the service has answered that nothing is left
  fallback: false, // it is only what is most popular
  unknown: new Set(), // ids of the history that the catalogue lacks, as texts
  influence: null, // of each item of `next`, what each item of the history did to its score; null: not known
  explaining: false, // it is being asked for
  shown: 0, // the place in `next` whose influence the history shows
  before: null, // the history before it was cut: what Undo brings back
};

// --- asking

const NOTHING = { items: [], unknown: [] };
const KNOWN = ["time", "type", "weight"]; // what may be known of an event beside its item

/** When is asked and for whom, as the service takes it. */
const whenAndWho = () => ({ ...(state.now !== null && { now: state.now }), ...(state.user && { user_columns: state.user }) });

/** Whether there is something to ask by. */
const known = () => state.history.length > 0 || (state.alone && state.user !== null);

/** The history as the service takes it: events where more is known of one than its item, else ids. */
function given() {
  const { history } = state;
  if (!history.some((item) => KNOWN.some((each) => item[each] != null))) return { history: history.map((item) => item.id) };
  return { events: history.map((item) => ({ item: item.id, ...Object.fromEntries(KNOWN.filter((each) => item[each] != null).map((each) => [each, item[each]])) })) };
}

const refresh = latest("next", $("next"), async (signal) => {
  const asked = { ...given(), ...whenAndWho(), where: state.where };
  if (!known()) {
    answered(NOTHING);
    return;
  }
  const answer = await call("recommend", asked, signal, waits);
  answered(answer, !answer.items.length);
  const count = `${plural(state.next.length, "recommendation")} for ${plural(state.history.length, "item")}`;
  say(state.next.length ? `${count}, the first is ${name(state.next[0])}` : "Nothing is left to recommend");
  if (state.next.length && !state.fallback && state.history.length) explain();
}, () => answered(NOTHING));

const explain = latest("influence", null, async (signal) => {
  state.explaining = true;
  const asked = { history: state.history.map((item) => item.id), items: state.next.map((item) => item.id), ...whenAndWho() };
  for (const each of KNOWN.filter((each) => state.history.some((item) => item[each] != null))) {
    asked[`${each}s`] = state.history.map((item) => item[each] ?? null);
  }
  const { influence } = await call("influence", asked, signal);
  Object.assign(state, { influence, explaining: false });
  draw();
}, () => { state.explaining = false; draw(); });

const similar = latest("similar", $("similar"), async (signal, item) => {
  $("similar-title").replaceChildren("Similar to ", titled(item));
  $("similar").replaceChildren();
  $("similar-section").hidden = false;
  $("similar-title").focus();
  const { items } = await call("similar", { item: item.id }, signal);
  $("similar").replaceChildren(...items.map((each, place) =>
    rankedRow(each, place, Math.max(each.score, 0), () => add(each), () => similar(each))));
});

/** Titles of a history that came by its ids alone. */
const entitle = latest("history", null, async (signal) => {
  const bare = state.history.filter((item) => item.title === undefined);
  if (!bare.length) return;
  const { items } = await call("titles", { items: [...new Set(bare.map((item) => item.id))] }, signal);
  const titles = new Map(items.map((item) => [String(item.id), item.title]));
  for (const item of bare) item.title = titles.get(String(item.id)) ?? null;
  keep("replaceState");
  drawHistory();
});

const begin = latest("start", null, async (signal) => {
  const [ready, { items }, { attributes }, shown] =
    await Promise.all(["readyz", "items", "attributes", "context"].map((path) => call(path, null, signal)));
  $("serving").textContent = `${plural(ready.items, "item")}, checkpoint ${ready.step}`;
  $("popular").replaceChildren(...items.slice(0, 8).map((item) => make("li", {},
    make("button", { type: "button", dir: "auto", onclick: () => { add(item); $("search").focus({ preventScroll: true }); } }, name(item)))));
  filters(attributes, () => state.where, filter);
  asking(shown, () => ({ now: state.now, user: state.user }), ask);
  state.alone = shown.alone;
  if (!state.history.length && known()) refresh();
});

function waits(seconds) {
  $("next-state").textContent = `the service is busy: asking again in ${plural(Math.ceil(seconds), "second")} …`;
}

function answered({ items, unknown, fallback = false }, none = false) {
  Object.assign(state, { next: items, none, fallback, unknown: new Set(unknown.map(String)), influence: null, shown: 0 });
  state.explaining = items.length > 0 && !fallback && state.history.length > 0;
  draw();
}

// --- changing the history; what has the focus keeps it, or hands it to its neighbour

function add(item) {
  state.history.push({ id: item.id, title: item.title });
  changed(`${name(item)} added`);
  $("history").lastElementChild.scrollIntoView({ block: "nearest" });
}

function remove(place) {
  const before = [...state.history], [item] = state.history.splice(place, 1);
  changed(`${name(item)} removed`, before, titled(item), " is removed.");
  if (!state.history.length) $("search").focus();
}

function move(from, to, act) {
  const [{ time, ...item }] = state.history.splice(from, 1); // when it happened is not known of where it is now
  state.history.splice(to, 0, item);
  changed(`${name(item)} is now at ${to + 1} of ${state.history.length}`);
  const row = $("history").children[to];
  (row.querySelector(`[data-act="${act}"]:enabled`) ?? row.querySelector("button:enabled")).focus();
}

function clear() {
  const before = state.history;
  state.history = [];
  changed("History cleared", before, `The history of ${plural(before.length, "item")} is cleared.`);
  $("search").focus();
}

function undo() {
  state.history = state.before;
  changed(`History of ${plural(state.history.length, "item")} restored`);
  newest();
  $("search").focus();
}

function filter(where, said) {
  state.where = where;
  changed(said);
}

function ask(holds, said) {
  Object.assign(state, holds);
  changed(said);
}

/** @param before the history that Undo brings back, where something was lost. @param told what was lost. */
function changed(said, before = null, ...told) {
  say(said);
  offerUndo(before, told);
  keep("pushState");
  renew();
}

/** Ask anew. Until the answer is there, what was said of another history is dimmed, and its influence gone. */
function renew() {
  explain.stop();
  Object.assign(state, { influence: null, explaining: false });
  drawHistory();
  for (const each of document.querySelectorAll("#next .strip")) each.replaceChildren();
  $("next-state").textContent = "asking …";
  refresh();
}

function offerUndo(before, told) {
  state.before = before;
  $("undo").hidden = !before;
  $("undo-said").replaceChildren(...told);
}

function newest() {
  $("history").scrollTop = $("history").scrollHeight;
}

// --- the address: it names the history and the filters, and the browser's Back and Forward go through them

function keep(how) {
  const rest = { ...whenAndWho(), ...(Object.keys(state.where).length && { where: state.where }) }, more = Object.keys(rest).length > 0;
  const named = more ? { ...given(), ...rest } : given().history ?? given();
  const address = state.history.length || more ? `#${encodeURIComponent(JSON.stringify(named))}` : location.pathname;
  const { history, where, now, user } = state;
  window.history[how]({ history, where, now, user }, "", address);
}

function restore() {
  const kept = window.history.state ?? named();
  Object.assign(state, { history: [...kept.history], where: kept.where, now: kept.now ?? null, user: kept.user ?? null });
  offerUndo(null, []);
  renew();
  newest();
  if (state.history.some((item) => item.title === undefined)) entitle();
}

/** What the address names: ids, or {"history": ids, "where": filters, "now": seconds, "user_columns": {…}}, or events in the place of the history. */
function named() {
  const nothing = { history: [], where: {}, now: null, user: null };
  if (location.hash.length < 2) return nothing;
  try {
    const said = parse(decodeURIComponent(location.hash.slice(1)));
    const { history, events, where = {}, now = null, user_columns: user = null } = Array.isArray(said) ? { history: said } : said;
    const items = (events ?? history).map((each) => (events ? eventOf(each) : { id: each }));
    const fine = items.every(({ id }) => typeof id === "string" || Number.isSafeInteger(id)) && typeof where === "object" && where
      && (now === null || (Number.isFinite(now) && Math.abs(now) < 8e12)) && typeof user === "object";
    if (fine) return { history: items, where, now, user };
  } catch { /* said below */ }
  say("The address names no history that could be read");
  $("next-note").textContent = "The address names no history that could be read: it was cut or changed.";
  $("next-note").hidden = false;
  return nothing;
}

/** An event of the address as an item of the history. */
const eventOf = ({ item, ...rest }) => ({ id: item, ...Object.fromEntries(KNOWN.filter((each) => rest[each] != null).map((each) => [each, rest[each]])) });

// --- drawing

function draw() {
  drawHistory();
  drawNext();
}

function drawHistory() {
  const { history, influence, explaining } = state, last = history.length - 1;
  const list = $("history"), atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 2;
  const values = influence?.[state.shown], most = values && Math.max(...values.map(Math.abs));
  const strange = (item) => state.unknown.has(String(item.id));
  fill(list, history.map((item, place) => {
    const row = historyRow(item, place, {
      up: place > 0 && (() => move(place, place - 1, "up")), down: place < last && (() => move(place, place + 1, "down")),
      similar: !strange(item) && (() => similar(item)), remove: () => remove(place),
    }, strange(item));
    row.append(moved(values ? values[place] : null, most, state.next[state.shown]));
    drags(row, place);
    return row;
  }));
  list.classList.toggle("explained", Boolean(values));
  list.style.setProperty("--digits", String(history.length).length);
  if (atEnd) newest(); // titles and amounts that come later make rows higher
  $("start").hidden = last >= 0;
  $("history-foot").hidden = last < 0;
  $("legend").replaceChildren(...(values ? legend(values) : [plural(history.length, "item"), explaining ? ": asking what each of them did …" : ""]));
  drawFilters(state.where, filter);
  drawAsking(state);
}

/** What the bars of the history mean, and the most of them in words. */
function legend(values) {
  const [high, low] = [Math.max(...values), Math.min(...values)];
  const named = (value) => [titled(state.history[values.indexOf(value)]), ` (${signed(value)})`];
  return [
    "What each item added to the score of ", make("strong", {}, titled(state.next[state.shown])), ", or took from it.",
    ...(high > 0 ? [" Most for it: ", ...named(high)] : []), ...(low < 0 ? [`${high > 0 ? "; m" : " M"}ost against it: `, ...named(low)] : []),
    high > 0 || low < 0 ? "." : "",
  ];
}

function drags(row, place) {
  row.ondragstart = (event) => { event.dataTransfer.setData("text/plain", name(state.history[place])); state.dragged = place; row.classList.add("dragged"); };
  row.ondragend = () => { state.dragged = undefined; row.classList.remove("dragged"); };
  row.ondragover = (event) => { if (state.dragged !== undefined) { event.preventDefault(); row.classList.add("onto"); } };
  row.ondragleave = () => row.classList.remove("onto");
  row.ondrop = (event) => { event.preventDefault(); if (state.dragged !== undefined) move(state.dragged, place); };
}

function drawNext() {
  const { next, history, fallback, none, where } = state, best = next[0]?.score;
  fill($("next"), next.map((item, place) => nextRow(item, place, fallback ? null : Math.exp(item.score - best))));
  $("next-empty").hidden = known();
  $("next-state").textContent = "";
  $("next-foot").hidden = !next.length || fallback || !history.length;
  const strokes = Math.min(history.length, STROKES), which = strokes < history.length ? `the newest ${strokes} items` : "each item";
  $("strokes").textContent = `A stroke for ${which} of the history, the oldest at the left: up, it raised the score; down, `
    + "it lowered it. The history shows the amounts for the row that is marked: point at another, or tap it.";
  if (!known() && !$("next-note").hidden) return;
  $("next-note").hidden = !fallback && !none;
  $("next-note").textContent = fallback
    ? "Nothing of this history is known to the model: these are simply the most popular items."
    : `Nothing is left to recommend${Object.keys(where).length ? ": no other item fits the filters" : ""}.`;
}

function nextRow(item, place, share) {
  const row = rankedRow(item, place, share, () => add(item), () => similar(item));
  if (state.influence) row.append(strip(state.influence[place], state.history));
  else if (state.explaining) row.append(strip([], []));
  row.classList.toggle("shown", Boolean(state.influence) && place === state.shown);
  const show = () => {
    if (!state.influence || state.shown === place) return;
    state.shown = place;
    [...$("next").children].forEach((each, index) => each.classList.toggle("shown", index === place));
    drawHistory();
  };
  row.onmouseenter = show;
  row.onclick = show;
  row.addEventListener("focusin", show);
  return row;
}

// --- the start

$("clear").onclick = clear;
$("undo-it").onclick = undo;
$("similar-close").onclick = () => { $("similar-section").hidden = true; $("search").focus(); };
$("token").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token-text").value);
  $("token").hidden = true;
  begin();
  restore();
};
window.onpopstate = restore;

searches(add);
begin();
restore();
