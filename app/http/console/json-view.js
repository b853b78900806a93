/** JSON as a foldable tree of native disclosure elements. */

import { h } from "./dom.js";

const CHUNK = 200;
const LONG_LIST = 50;
const OPEN_ALL_BELOW = 60_000;

/**
 * @param {unknown} value parsed JSON
 * @param {number} size length of its text; small ones open fully, large ones only at the top
 */
export function jsonView(value, size) {
  const openTo = size < OPEN_ALL_BELOW ? Infinity : 3;
  return h("div", { class: "json" }, node(value, null, 0, openTo, true));
}

/** Opens or closes every fold that has been drawn; the outermost stays open. */
export function foldAll(root, open) {
  const folds = [...root.querySelectorAll("details")];
  folds.slice(open ? 0 : 1).forEach((fold) => {
    fold.open = open;
  });
}

function node(value, key, depth, openTo, last) {
  const label = key === null ? [] : [h("span", { class: "t-key" }, JSON.stringify(key)), ": "];
  const comma = last ? "" : ",";
  const entries = value !== null && typeof value === "object" ? Object.entries(value) : null;
  if (entries?.length) return fold(value, entries, label, comma, depth, openTo);
  return h("div", { class: "leaf" }, ...label, scalar(value, entries), comma);
}

function scalar(value, entries) {
  if (entries) return Array.isArray(value) ? "[]" : "{}";
  const role = { string: "string", number: "number" }[typeof value] ?? "atom";
  return h("span", { class: `t-${role}` }, JSON.stringify(value));
}

function fold(value, entries, label, comma, depth, openTo) {
  const list = Array.isArray(value);
  const [open, close] = list ? ["[", "]"] : ["{", "}"];
  const count = `${entries.length} ${list ? "item" : "field"}${entries.length === 1 ? "" : "s"}`;
  const children = h("div", { class: "children" });
  const details = h(
    "details",
    {},
    h("summary", {}, ...label, open, h("span", { class: "folded" }, ` ${count} ${close}${comma}`)),
    children,
    h("div", { class: "closing" }, close + comma),
  );
  const fill = () => !children.hasChildNodes() && append(children, entries, list, depth, openTo, 0);
  details.addEventListener("toggle", () => details.open && fill());
  if (depth < openTo && !(list && entries.length > LONG_LIST && openTo !== Infinity)) {
    fill();
    details.open = true;
  }
  return details;
}

function append(children, entries, list, depth, openTo, from) {
  const upTo = Math.min(from + CHUNK, entries.length);
  for (let at = from; at < upTo; at += 1) {
    const [key, value] = entries[at];
    children.append(node(value, list ? null : key, depth + 1, openTo, at === entries.length - 1));
  }
  if (upTo === entries.length) return;
  const more = h(
    "button",
    { type: "button", class: "more" },
    `Show ${Math.min(CHUNK, entries.length - upTo)} more of ${entries.length}`,
  );
  more.addEventListener("click", () => {
    more.remove();
    append(children, entries, list, depth, openTo, upTo);
  });
  children.append(more);
}
