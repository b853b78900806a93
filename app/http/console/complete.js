/** What can be typed at the cursor, by the schema. */

import { operations, tokenize } from "./language.js";
import { isRequired, named, typeText } from "./schema.js";
import { Walker } from "./walker.js";

const LIMIT = 60;

/**
 * @param {string} text the document
 * @param {number} offset the cursor
 * @param {import("./schema.js").Schema|null} schema
 * @returns {{start: number, items: {label, insert, detail, description, deprecated}[]}} `start` is where the typed prefix begins
 */
export function complete(text, offset, schema) {
  const tokens = tokenize(text);
  const typed = tokens.find(({ kind, start, end }) => kind === "name" && start < offset && offset <= end);
  const start = typed ? typed.start : offset;
  const inside = tokens.some(
    ({ kind, start: from, end }) =>
      (kind === "comment" || kind === "string") && from < offset && offset <= end,
  );
  if (!schema || inside) return { start, items: [] };
  const walker = new Walker(schema);
  const before = tokens.filter((token) => token.end <= start);
  before.forEach((token, at) => walker.feed(token, before[at + 1]));
  const prefix = text.slice(start, offset).toLowerCase();
  return { start, items: ranked(candidates(walker, schema, text, offset), prefix) };
}

function ranked(items, prefix) {
  const rank = ({ label }) => {
    const name = label.toLowerCase();
    return name.startsWith(prefix) ? 0 : name.includes(prefix) ? 1 : 2;
  };
  return items
    .map((item) => ({ item, rank: rank(item) }))
    .filter((each) => each.rank < 2)
    .sort((a, b) => a.rank - b.rank)
    .slice(0, LIMIT)
    .map(({ item }) => item);
}

function candidates(walker, schema, text, offset) {
  const frame = walker.top;
  if (walker.after("@"))
    return [...schema.directives.values()].map((each) => item(each.name, "directive", each));
  if (walker.after("$")) return frame.kind === "variables" ? [] : variables(text, offset, walker.expected);
  if (frame.kind === "document") return documentItems(walker, schema);
  if (frame.kind === "selection") return selectionItems(walker, schema);
  if (frame.kind === "variables" || frame.kind === "typeList")
    return frame.assigning || walker.after("(") ? [] : inputTypes(schema);
  if (frame.kind === "list" || frame.giving) return values(walker, schema, text, offset);
  return keys(frame);
}

function item(label, detail, { description, isDeprecated, deprecationReason } = {}, insert = label) {
  return {
    label,
    insert,
    detail,
    description: isDeprecated ? `Deprecated: ${deprecationReason}` : description,
    deprecated: Boolean(isDeprecated),
  };
}

function documentItems(walker, schema) {
  if (walker.after("on")) return composite(schema);
  if (walker.top.begun) return [];
  const kinds = ["query", "mutation", "subscription"].filter((kind) => schema.root(kind));
  return [...kinds, "fragment"].map((kind) => item(kind, "operation"));
}

function selectionItems(walker, schema) {
  const { type, conditional } = walker.top;
  if (conditional) return composite(schema);
  if (walker.previous?.kind === "spread") return [item("on", "inline fragment")];
  if (!type) return [];
  const fields = [...(type.fields?.values() ?? [])].map((field) =>
    item(field.name, typeText(field.type), field),
  );
  return [...fields, item("__typename", "String!", { description: "The name of this object's type." })];
}

function composite(schema) {
  return schema.published
    .filter(({ kind }) => ["OBJECT", "INTERFACE", "UNION"].includes(kind))
    .map((type) => item(type.name, type.kind.toLowerCase(), type));
}

function inputTypes(schema) {
  return schema.published
    .filter(({ kind }) => ["SCALAR", "ENUM", "INPUT_OBJECT"].includes(kind))
    .map((type) => item(type.name, type.kind.toLowerCase().replace("_", " "), type));
}

function keys({ fields, used }) {
  const free = [...(fields?.values() ?? [])].filter(({ name }) => !used.has(name));
  const order = (input) => (isRequired(input) ? 0 : 1);
  return free
    .sort((a, b) => order(a) - order(b))
    .map((input) => item(input.name, typeText(input.type), input, `${input.name}: `));
}

function values(walker, schema, text, offset) {
  const type = walker.expected && schema.typeOf(walker.expected);
  const own = (type?.enumValues ?? []).map((value) => item(value.name, type.name, value));
  const booleans = type?.name === "Boolean" ? ["true", "false"].map((value) => item(value, "Boolean")) : [];
  return [
    ...own,
    ...booleans,
    ...variables(text, offset, walker.expected).map((each) => ({
      ...each,
      label: `$${each.label}`,
      insert: `$${each.insert}`,
    })),
  ];
}

function variables(text, offset, expected) {
  const here = operations(text).find(({ start, end }) => start <= offset && offset <= end);
  const wanted = expected && named(expected);
  const fits = ({ type }) => !wanted || type.replace(/[[\]!]/g, "") === wanted;
  return (here?.variables ?? []).filter(fits).map(({ name, type }) => item(name, type));
}
