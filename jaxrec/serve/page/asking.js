// When is asked, and for whom: fields for what the model is shown of that, where it is shown any.

import { $, make } from "./dom.js";

const FEW = 40; // values of a column that are chosen from a list; of more, one is typed
let fields = []; // of the form: {input, read: () => what it adds to what holds, write: (what holds) => its text}

/** Make the form. @param said what GET /context says. @param get, set what holds: {now, user}, each null where unknown. */
export function asking({ now, user_columns: columns }, get, set) {
  $("asking").hidden = !now && !columns.length;
  fields = [...(now ? [when()] : []), ...columns.map(column)];
  $("asking-form").replaceChildren(...fields.map(({ label, input, more = [] }) => make("label", {}, label, " ", input, ...more)));
  $("asking-form").onsubmit = (event) => event.preventDefault();
  for (const { input, read } of fields) {
    input.onchange = () => { if (input.validity.valid) set(read(get(), input.value), "asked anew"); };
  }
  drawAsking(get());
}

/** Show in the fields what holds. */
export function drawAsking(holds) {
  if (holds.now !== null || holds.user) $("asking").open = true;
  for (const { input, write } of fields) if (input !== document.activeElement) input.value = write(holds);
}

/** A field for the time of asking, which is kept in seconds since 1970. */
function when() {
  const input = make("input", { type: "datetime-local", min: "1970-01-01T00:00", max: "9999-12-31T23:59" });
  return {
    label: "Asked at (UTC)", input,
    read: (holds, text) => ({ ...holds, now: text ? Date.parse(`${text}Z`) / 1000 : null }),
    write: ({ now }) => (now === null ? "" : new Date(1000 * now).toISOString().slice(0, 16)),
  };
}

/** A field for a column of users. */
function column({ name, kind, values, more }, place) {
  const read = ({ now, user }, text) => {
    const { [name]: _, ...rest } = user ?? {};
    const left = text === "" ? rest : { ...rest, [name]: kind === "number" ? Number(text) : text };
    return { now, user: Object.keys(left).length ? left : null };
  };
  const field = { label: make("bdi", {}, name), read, write: ({ user }) => String(user?.[name] ?? "") };
  if (kind === "number") return { ...field, input: make("input", { type: "number", step: "any" }) };
  const options = values.map((value) => make("option", { value, dir: "auto" }, value));
  if (!more && values.length <= FEW) {
    return { ...field, input: make("select", {}, make("option", { value: "" }, "not known"), ...options) };
  }
  const id = `asking-values-${place}`, input = make("input", { type: "text", dir: "auto", autocomplete: "off" });
  input.setAttribute("list", id);
  return { ...field, input, more: [make("datalist", { id }, ...options)] };
}
