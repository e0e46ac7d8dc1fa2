// The rows of the three lists, and the marks in them that say what moved a score. They know of no state.

import { make, name, signed } from "./dom.js";

export const STROKES = 60; // of a strip: more could not be told apart on a phone
const ICONS = {
  up: "M8 13V3M4 7l4-4 4 4", down: "M8 3v10M4 9l4 4 4-4", remove: "M4 4l8 8M12 4l-8 8",
  similar: "M2 6c2-3 4-3 6 0s4 3 6 0M2 11c2-3 4-3 6 0s4 3 6 0",
};

/** A row of the history. @param acts functions up, down, similar, remove; null where it can't be done. */
export function historyRow(item, place, acts, unknown) {
  const labels = { up: `Move ${name(item)} up`, down: `Move ${name(item)} down`, similar: `Similar to ${name(item)}`, remove: `Remove ${name(item)}` };
  const title = make("span", { className: "name", title: hint(item) }, twoLines(item)), what = happened(item);
  return make("li", { className: "row", draggable: true },
    make("span", { className: "place" }, String(place + 1)),
    make("span", { className: "titled" }, title, ...(what ? [make("small", { className: "happened", dir: "auto" }, what)] : []),
      ...(unknown ? [make("small", {}, "not in the catalogue: left out")] : [])),
    make("span", { className: "acts" }, ...Object.keys(labels).map((kind) => button(kind, labels[kind], acts[kind]))));
}

/** What is known of an event beside its item: "purchase, 2026-03-02 20:15 UTC"; empty where nothing is. */
function happened({ time, type, weight }) {
  const date = Number.isFinite(time) ? new Date(1000 * time) : null;
  const when = date && !Number.isNaN(date.getTime()) ? `${date.toISOString().slice(0, 16).replace("T", " ")} UTC` : null;
  return [type, weight == null ? null : `weight ${weight}`, when].filter(Boolean).join(", ");
}

/** A row of a ranking: its title adds it. @param share of the bar that is full, null for a row without bar and score. */
export function rankedRow(item, place, share, add, similar) {
  const score = share === null ? "" : item.score.toFixed(2);
  const row = make("li", { className: "row" },
    make("span", { className: "place" }, String(place + 1)),
    make("button", {
      type: "button", className: "name", title: `Add ${hint(item)}`, onclick: add, "data-act": "add",
      "aria-label": `Add ${name(item)}${score && `, score ${score}`}`,
    }, twoLines(item)),
    make("span", { className: "acts" }, button("similar", `Similar to ${name(item)}`, similar)));
  if (share === null) return row;
  const bar = make("i");
  bar.style.width = `${100 * share}%`;
  row.append(make("span", { className: "bar", "aria-hidden": "true" }, bar), make("span", { className: "score", "aria-hidden": "true" }, score));
  return row;
}

/** One stroke for each of the newest items of the history: up where it raised the score, down where it lowered it. */
export function strip(values, items) {
  const shown = values.slice(-STROKES), first = values.length - shown.length;
  const most = Math.max(...shown.map(Math.abs), 1e-9);
  return make("span", { className: "strip", "aria-hidden": "true" }, ...shown.map((value, place) => {
    const bar = make("b", { className: value < 0 ? "less" : "more" });
    bar.style.height = `${50 * Math.abs(value) / most}%`;
    bar.style[value < 0 ? "top" : "bottom"] = "50%";
    return make("i", { title: `${name(items[first + place])}: ${signed(value)}` }, bar);
  }));
}

/** What an item of the history did to a score: a bar from the middle, and the number; empty where it is not known yet. */
export function moved(value, most, next) {
  if (value === null) return make("span", { className: "moved", "aria-hidden": "true" }, make("span"), make("em", {}, " "));
  const width = 50 * Math.abs(value) / Math.max(most, 1e-9);
  const bar = make("b", { className: value < 0 ? "less" : "more" });
  bar.style.width = `${width}%`;
  bar.style.left = `${value < 0 ? 50 - width : 50}%`;
  const said = `${signed(value)} to the score of ${name(next)}`;
  return make("span", { className: "moved" },
    make("span", { "aria-hidden": "true" }, bar), make("em", { "aria-label": said, role: "note" }, signed(value)));
}

const twoLines = (item) => make("span", { className: "clamp", dir: "auto" }, name(item));

/** A title is cut after two lines: the whole of it, and the id that tells items of one title apart. */
const hint = (item) => (name(item) === String(item.id) ? name(item) : `${name(item)} (id ${item.id})`);

function button(kind, label, onclick) {
  const element = make("button", { type: "button", "aria-label": label, title: label, "data-act": kind, onclick, disabled: !onclick });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", ICONS[kind]);
  element.append(svg);
  return element;
}
