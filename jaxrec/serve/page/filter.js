// Filters by attributes: a form that adds one condition, and a chip for each that takes it away. They are kept as the
// service takes them: {"year": 1994, "price": {"below": 50}, "in_stock": true, "genres": ["Drama"]}.

import { $, bdi, fill, make } from "./dom.js";

const BOUNDS = ["below", "above", "at_least", "at_most"];
const HOW = { number: ["is", ...BOUNDS], date: [...BOUNDS, "is"], text: ["is"], boolean: ["is"] };
const FEW = 40; // values of a text that are chosen from a list; of more, one is typed

/** Make the form. @param facets what GET /attributes says. @param get, set the filters that hold. */
export function filters(facets, get, set) {
  const chosen = () => facets[$("filter-name").selectedIndex];
  $("filter").hidden = !facets.length;
  $("filter-name").replaceChildren(...facets.map(({ name }) => make("option", { dir: "auto" }, name)));

  $("filter-name").onchange = () => {
    const facet = chosen();
    if (!facet) return;
    $("filter-how").replaceChildren(...HOW[facet.kind].map((how) => make("option", { value: how }, words(how))));
    $("filter-how").hidden = HOW[facet.kind].length === 1;
    $("filter-value").replaceChildren(...control(facet));
  };
  $("filter-name").onchange();

  $("filter-form").onsubmit = (event) => {
    event.preventDefault();
    const facet = chosen(), text = $("filter-value").firstElementChild.value;
    const value = facet.kind === "number" ? Number(text) : facet.kind === "boolean" ? text === "yes" : text;
    set(added(get(), facet.name, $("filter-how").value, value), `filtered by ${facet.name}`);
    $("filter-value").querySelectorAll("input").forEach((input) => { input.value = ""; });
  };
}

function control({ kind, values, more, least, most, name }) {
  const label = { "aria-label": `Value of ${name}`, required: true };
  if (kind === "number") return [make("input", { type: "number", step: "any", placeholder: `${least} to ${most}`, ...label })];
  if (kind === "date") return [make("input", { type: "date", min: least.slice(0, 10), max: most.slice(0, 10), ...label })];
  const options = (kind === "boolean" ? ["yes", "no"] : values).map((value) => make("option", { value, dir: "auto" }, value));
  if (kind === "boolean" || (!more && values.length <= FEW)) return [make("select", label, ...options)];
  const input = make("input", { type: "text", dir: "auto", autocomplete: "off", placeholder: "exactly", ...label });
  input.setAttribute("list", "filter-values");
  return [input, make("datalist", { id: "filter-values" }, ...options)];
}

/** The filters with one condition more: values of one attribute are alternatives, bounds of a number hold together. */
function added(where, attribute, how, value) {
  const before = Object.hasOwn(where, attribute) ? where[attribute] : undefined;
  if (how !== "is") return { ...where, [attribute]: { ...(bounded(before) ? before : {}), [how]: value } };
  if (before === undefined || bounded(before) || typeof value === "boolean") return { ...where, [attribute]: value };
  return { ...where, [attribute]: [...new Set([before, value].flat())] };
}

const words = (how) => how.replace("_", " ");
const bounded = (wanted) => typeof wanted === "object" && !Array.isArray(wanted);

/** Every condition: its attribute, how it compares, its value, and what of the attribute is left without it. */
function conditions(where) {
  return Object.entries(where).flatMap(([attribute, wanted]) => {
    if (bounded(wanted)) {
      return Object.keys(wanted).map((how) => {
        const { [how]: value, ...left } = wanted;
        return { attribute, how, value, left: Object.keys(left).length ? left : undefined };
      });
    }
    const values = [wanted].flat();
    return values.map((value) => {
      const left = values.filter((each) => each !== value);
      return { attribute, how: "is", value, left: left.length > 1 ? left : left[0] };
    });
  });
}

export function drawFilters(where, set) {
  const shown = (value) => ({ true: "yes", false: "no" })[value] ?? String(value);
  fill($("filters"), conditions(where).map(({ attribute, how, value, left }) => {
    const rest = { ...where, [attribute]: left };
    if (left === undefined) delete rest[attribute];
    return make("li", {}, make("button", {
      type: "button", "aria-label": `Remove the filter: ${attribute} ${words(how)} ${shown(value)}`, "data-act": "unfilter",
      onclick: () => set(rest, `filter by ${attribute} removed`),
    }, bdi(attribute), ` ${how === "is" ? "" : `${words(how)} `}`, bdi(shown(value)), make("span", { "aria-hidden": "true" }, " ×")));
  }));
}
