// The search: a combobox. What is typed counts, not what is shown for what was typed before.

import { $, make, name, plural, say } from "./dom.js";
import { call, latest } from "./service.js";

const found = { items: [], of: null, marked: -1, eager: false }; // `of`: the text that the items are the answer to

/** Make the search work. @param add called with an item that was chosen. */
export function searches(add) {
  const input = $("search");

  const search = latest("search", $("found"), async (signal, text) => {
    const { items } = await call(`items?q=${encodeURIComponent(text)}`, null, signal);
    if (text !== input.value) return;
    Object.assign(found, { items, of: text, marked: items.length && text ? 0 : -1 });
    draw(text);
    if (found.eager) choose(found.marked);
  }, () => open(false));

  function draw(text) {
    const options = found.items.map((item, place) => make("li", {
      id: `found-${place}`, role: "option", dir: "auto", "aria-selected": place === found.marked,
      onmousedown: (event) => event.preventDefault(), onclick: () => choose(place),
    }, name(item)));
    const none = make("li", { className: "none", role: "option", "aria-disabled": "true", "aria-selected": "false" }, "Nothing found");
    $("found").replaceChildren(...(options.length ? options : [none]));
    open(document.activeElement === input);
    if (text) say(`${plural(found.items.length, "item")} found`);
  }

  function mark(place) {
    found.marked = place;
    [...$("found").children].forEach((row, index) => row.setAttribute("aria-selected", index === place));
    $("found").children[place]?.scrollIntoView({ block: "nearest" });
    open(true);
  }

  function open(yes) {
    $("found").hidden = !yes;
    input.setAttribute("aria-expanded", yes);
    if (yes && found.marked >= 0) input.setAttribute("aria-activedescendant", `found-${found.marked}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function choose(place) {
    found.eager = false;
    const item = found.items[place];
    if (!item) return;
    input.value = "";
    found.of = null;
    open(false);
    add(item);
  }

  /** Enter: the item that is marked, or, before the answer to what was typed is there, the first that it brings. */
  function enter() {
    if (found.of === input.value) choose(found.marked);
    else found.eager = Boolean(input.value);
  }

  input.oninput = () => { found.eager = false; search(input.value); };
  input.onclick = () => search(input.value);
  input.onblur = () => open(false);
  input.onkeydown = (event) => {
    const count = found.items.length;
    if (event.isComposing) return;
    if (event.key === "ArrowDown" && $("found").hidden) search(input.value);
    else if (event.key === "ArrowDown" && count) mark((found.marked + 1) % count);
    else if (event.key === "ArrowUp" && count) mark((Math.max(found.marked, 0) + count - 1) % count);
    else if (event.key === "Enter") enter();
    else if (event.key === "Escape") open(false);
    else return;
    event.preventDefault();
  };
}
