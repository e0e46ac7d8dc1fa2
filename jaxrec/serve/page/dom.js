// Elements, and how an item is named in them: always as text, each title apart from the direction of what is around it.

export const $ = (id) => document.getElementById(id);

const SEEN = /[^\p{Cc}\p{Cf}\p{Z}\p{M}]/u; // what shows: not only blanks and marks

export const name = (item) => (SEEN.test(item.title ?? "") ? item.title : String(item.id));
const LONG = 60; // characters of a title within a sentence

/** A title within a sentence, cut where it is long, apart from the sentence's direction. */
export const titled = (item) => {
  const letters = [...name(item)];
  return bdi(letters.length > LONG ? `${letters.slice(0, LONG).join("")}…` : name(item));
};
export const bdi = (text) => make("bdi", {}, text);
export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** Read out by screen readers. */
export const say = (text) => { $("said").textContent = text; };

/** An element with these properties ("data-…", "aria-…" and "role" are attributes) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

/** Put rows into a list; what had the focus in it keeps it, in the row of the same place, or the last. */
export function fill(list, rows) {
  const focused = document.activeElement, kind = focused?.dataset.act;
  const place = [...list.children].findIndex((row) => row.contains(focused));
  list.replaceChildren(...rows);
  if (place < 0 || !rows.length) return;
  const row = rows[Math.min(place, rows.length - 1)];
  const same = row.querySelector(`[data-act="${kind}"]:enabled`) ?? row.querySelector("button:enabled");
  same?.focus({ preventScroll: true });
}
