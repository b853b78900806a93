/** The GraphQL and JSON languages as far as an editor needs them: tokens and a formatter. */

const GRAPHQL = new RegExp(
  [
    "(?<comment>#[^\\n\\r]*)",
    '(?<string>"""(?:\\\\"""|[^"]|"(?!""))*(?:"""|$)|"(?:[^"\\\\\\n]|\\\\.)*(?:"|(?=\\n)|$))',
    "(?<spread>\\.\\.\\.)",
    "(?<number>-?\\d+(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)",
    "(?<name>[_A-Za-z]\\w*)",
    "(?<punct>[!$&()\\[\\]{}:=@|])",
    "(?<blank>[\\s,\\uFEFF]+)",
    "(?<bad>[^])",
  ].join("|"),
  "gy",
);

const JSON_TOKENS = new RegExp(
  [
    '(?<key>"(?:[^"\\\\\\n]|\\\\.)*"(?=\\s*:))',
    '(?<string>"(?:[^"\\\\\\n]|\\\\.)*(?:"|(?=\\n)|$))',
    "(?<number>-?\\d+(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)",
    "(?<atom>\\b(?:true|false|null)\\b)",
    "(?<punct>[{}\\[\\]:,])",
    "(?<blank>\\s+)",
    "(?<bad>[^])",
  ].join("|"),
  "gy",
);

function scan(pattern, text) {
  const tokens = [];
  for (const match of text.matchAll(pattern)) {
    const kind = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
    if (kind !== "blank")
      tokens.push({ kind, text: match[0], start: match.index, end: match.index + match[0].length });
  }
  return tokens;
}

/** Tokens of a GraphQL document: `{kind, text, start, end}`; blanks and commas are left out. */
export const tokenize = (text) => scan(GRAPHQL, text);

/** Spans of a JSON text for highlighting: `{start, end, role}`. */
export const paintJson = (text) =>
  scan(JSON_TOKENS, text).map(({ kind, start, end }) => ({ start, end, role: kind }));

/** Offset of a 1-based line and column, as GraphQL errors give them. */
export function offsetOf(text, line, column) {
  const lines = text.split("\n");
  const before = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  return Math.min(before + column - 1, text.length);
}

/** 1-based line of an offset. */
export const lineOf = (text, offset) => text.slice(0, offset).split("\n").length;

/** The operations of a document: `{kind, name, start, end, variables: [{name, type, required}]}`. */
export function operations(text) {
  const tokens = tokenize(text).filter(({ kind }) => kind !== "comment");
  const found = [];
  let depth = 0;
  let head = [];
  for (const token of tokens) {
    if (depth === 0 && token.text === "{" && head.at(-1)?.text !== "=") depth = 1;
    else if ("({[".includes(token.text) && token.kind === "punct") depth += 1;
    else if (")}]".includes(token.text) && token.kind === "punct") depth -= 1;
    head.push(token);
    if (depth === 0 && token.text === "}" && token.kind === "punct") {
      found.push(operation(head));
      head = [];
    }
  }
  return found.filter(({ kind }) => kind !== "fragment");
}

function operation(tokens) {
  const [first, second] = tokens;
  const named = first.kind === "name";
  return {
    kind: named ? first.text : "query",
    name: named && second?.kind === "name" ? second.text : null,
    start: first.start,
    end: tokens.at(-1).end,
    variables: named ? variableDefinitions(tokens) : [],
  };
}

function variableDefinitions(tokens) {
  const open = tokens.findIndex(({ text }) => text === "(" || text === "{");
  if (open < 0 || tokens[open].text !== "(") return [];
  const close = tokens.findIndex(({ text }, index) => index > open && text === ")");
  const starts = [];
  for (let at = open; at < close; at += 1)
    if (tokens[at].text === "$" && tokens[at + 2]?.text === ":") starts.push(at);
  return starts.map((at, index) => {
    const own = tokens.slice(at + 3, starts[index + 1] ?? close);
    const equals = own.findIndex(({ text }) => text === "=" || text === "@");
    const type = own
      .slice(0, equals < 0 ? undefined : equals)
      .map(({ text }) => text)
      .join("");
    return {
      name: tokens[at + 1].text,
      type,
      required: type.endsWith("!") && !own.some(({ text }) => text === "="),
    };
  });
}

/* ---- formatter ---- */

const WIDTH = 88;
const CLOSING = { "(": ")", "{": "}", "[": "]" };

/** Formats a document, comments kept. Throws an Error with a message when brackets do not match. */
export function prettify(text) {
  const tokens = tokenize(text);
  const bad = tokens.find(({ kind }) => kind === "bad");
  if (bad) throw new Error(`Line ${lineOf(text, bad.start)}: “${bad.text}” does not belong here.`);
  const items = group(tokens, text);
  return definitions(items) + "\n";
}

/** Nests tokens by bracket: a group is `{open, items}`. */
function group(tokens, text) {
  const root = { open: "", items: [] };
  const stack = [root];
  for (const token of tokens) {
    const top = stack.at(-1);
    if (token.kind === "punct" && CLOSING[token.text]) {
      const inner = { open: token.text, items: [], start: token.start };
      top.items.push(inner);
      stack.push(inner);
    } else if (token.kind === "punct" && ")}]".includes(token.text)) {
      if (CLOSING[top.open] !== token.text)
        throw new Error(`Line ${lineOf(text, token.start)}: “${token.text}” closes nothing.`);
      stack.pop();
    } else top.items.push(token);
  }
  if (stack.length > 1) {
    const { open, start } = stack.at(-1);
    throw new Error(`Line ${lineOf(text, start)}: “${open}” is not closed.`);
  }
  return root.items;
}

const isText = (item, text) => item !== undefined && item.open === undefined && item.text === text;
const isName = (item) => item !== undefined && item.kind === "name";
const isComment = (item) => item !== undefined && item.kind === "comment";

function definitions(items) {
  const blocks = [];
  let head = [];
  let comments = [];
  for (const item of items) {
    if (isComment(item)) comments.push(item.text);
    else if (item.open === "{" && !isText(head.at(-1), "=")) {
      const opening = headline(head);
      blocks.push([...comments, `${opening}${opening ? " " : ""}${selection(item, "")}`].join("\n"));
      head = [];
      comments = [];
    } else head.push(item);
  }
  const rest = [...comments, ...(head.length ? [inline(head)] : [])].join("\n");
  return [...blocks, ...(rest ? [rest] : [])].join("\n\n");
}

/** `query Name($a: Int!) @dir`: variables go on lines of their own when they do not fit. */
function headline(items) {
  const flat = inline(items);
  const at = items.findIndex(({ open }) => open === "(");
  if (flat.length <= WIDTH || at < 0) return flat;
  return `${inline(items.slice(0, at))}${broken(items[at], "")}${at + 1 < items.length ? ` ${inline(items.slice(at + 1))}` : ""}`;
}

function selection({ items }, indent) {
  const inner = `${indent}  `;
  const lines = [];
  let at = 0;
  while (at < items.length) {
    if (isComment(items[at])) {
      lines.push(inner + items[at].text);
      at += 1;
      continue;
    }
    const { taken, comments, next } = takeField(items, at);
    lines.push(...comments.map((comment) => inner + comment), inner + field(taken, inner));
    at = next;
  }
  return lines.length ? `{\n${lines.join("\n")}\n${indent}}` : "{\n}";
}

/** One field, spread or inline fragment: everything up to where the next one starts. */
function takeField(items, from) {
  const taken = [];
  const comments = [];
  let at = from;
  const peek = () => {
    while (isComment(items[at])) comments.push(items[at++].text);
    return items[at];
  };
  const take = () => taken.push(items[at++]);
  take();
  if (taken[0].kind === "spread") {
    if (isText(peek(), "on")) take();
    if (isName(peek())) take();
  } else if (isText(peek(), ":")) {
    take();
    if (peek()) take();
  }
  if (items[at]?.open === "(") take();
  while (isText(items[at], "@")) {
    take();
    if (peek()) take();
    if (items[at]?.open === "(") take();
  }
  if (items[at]?.open === "{") take();
  return { taken, comments, next: at };
}

function field(items, indent) {
  const body = items.at(-1).open === "{" ? items.at(-1) : null;
  const head = body ? items.slice(0, -1) : items;
  const flat = inline(head);
  const at = head.findIndex(({ open }) => open === "(");
  const opening =
    indent.length + flat.length <= WIDTH || at < 0
      ? flat
      : `${inline(head.slice(0, at))}${broken(head[at], indent)}${head.length > at + 1 ? ` ${inline(head.slice(at + 1))}` : ""}`;
  return body ? `${opening} ${selection(body, indent)}` : opening;
}

/** Arguments, one to a line. */
function broken({ items }, indent) {
  const lines = entries(items).map((entry) => `${indent}  ${inline(entry)}`);
  return `(\n${lines.join("\n")}\n${indent})`;
}

/** Splits the inside of `(…)` or `{…}` values at each `name:` or `$name:`. */
function entries(items) {
  const found = [];
  items.forEach((item, at) => {
    const key = isName(item) && isText(items[at + 1], ":") && !isText(items[at - 1], "$");
    const variable = isText(item, "$") && isText(items[at + 2], ":");
    if (key || variable || isComment(item) || !found.length) found.push([item]);
    else found.at(-1).push(item);
  });
  return found;
}

function inline(items) {
  let text = "";
  items.forEach((item, at) => {
    const previous = items[at - 1];
    text +=
      (at && spaced(previous, item) ? " " : "") +
      (item.open ? bracketed(item) : item.text + (isComment(item) ? "\n" : ""));
  });
  return text;
}

function spaced(previous, item) {
  if (item.open === "(" || isText(item, ":") || isText(item, "!")) return false;
  if (isText(previous, "$") || isText(previous, "@")) return false;
  return !(previous.kind === "spread" && isName(item) && item.text !== "on");
}

function bracketed({ open, items }) {
  if (open === "[") return `[${listValues(items).map(inline).join(", ")}]`;
  const inside = entries(items).map(inline).join(", ");
  return open === "{" ? (inside ? `{ ${inside} }` : "{}") : `(${inside})`;
}

function listValues(items) {
  const values = [];
  items.forEach((item, at) => {
    if (isText(item, "!") || isText(items[at - 1], "$")) values.at(-1).push(item);
    else values.push([item]);
  });
  return values;
}
