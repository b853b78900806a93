/**
 * Follows the tokens of a GraphQL document and knows, at each one, where it stands: the type being selected from,
 * the argument being given. It never fails: a half-written document is its normal input.
 */

import { named } from "./schema.js";

const OPERATIONS = { query: "query", mutation: "mutation", subscription: "subscription" };
const CLOSE = new Set([")", "}", "]"]);

export class Walker {
  /** @param {import("./schema.js").Schema|null} schema without one, roles are told but no types */
  constructor(schema) {
    this.schema = schema;
    this.stack = [{ kind: "document", root: null }];
    this.previous = null;
  }

  get top() {
    return this.stack.at(-1);
  }

  after(text) {
    return this.previous !== null && this.previous.text === text && this.previous.kind !== "string";
  }

  /**
   * Takes the next token.
   * @returns {{role: string, problem?: string}} what it is, and what the schema says against it
   */
  feed(token, next) {
    if (token.kind === "comment") return { role: "comment" };
    let note;
    if (token.kind === "punct") note = this.punctuation(token.text);
    else if (token.kind === "spread") note = { role: "punct" };
    else if (token.kind === "bad") note = { role: "bad" };
    else if (this.after("@")) note = this.directive(token.text);
    else if (this.after("$")) note = this.variable(token.text);
    else note = this[this.top.kind](token, next);
    if (token.kind === "spread") this.top.field = this.top.condition = null;
    this.previous = token;
    return note;
  }

  /* ---- names and values, by the frame they stand in ---- */

  document(token) {
    const frame = this.top;
    if (this.after("on")) {
      frame.root = this.type(token.text);
      return { role: "type" };
    }
    if (!frame.begun && (OPERATIONS[token.text] || token.text === "fragment")) {
      frame.begun = true;
      frame.root = this.schema?.root(token.text) ?? null;
      frame.operation = token.text;
      return { role: "keyword" };
    }
    return { role: token.text === "on" ? "keyword" : "definition" };
  }

  selection(token, next) {
    const frame = this.top;
    if (this.previous?.kind === "spread") {
      frame.conditional = token.text === "on";
      return { role: frame.conditional ? "keyword" : "definition" };
    }
    if (frame.conditional) {
      frame.conditional = false;
      frame.condition = this.type(token.text);
      return { role: "type" };
    }
    frame.condition = null;
    if (next?.text === ":") return { role: "alias" };
    frame.field =
      frame.type?.fields?.get(token.text) ?? (token.text === "__typename" ? { args: [], type: null } : null);
    const unknown = frame.type && !frame.field;
    return {
      role: "field",
      problem: unknown ? `${frame.type.name} has no field “${token.text}”.` : undefined,
    };
  }

  arguments(token) {
    const frame = this.top;
    if (frame.giving || token.kind !== "name") return this.value(token);
    frame.entry = frame.fields?.get(token.text) ?? null;
    frame.used.add(token.text);
    const unknown = frame.fields && !frame.entry;
    return { role: "argument", problem: unknown ? `There is no argument “${token.text}” here.` : undefined };
  }

  object(token) {
    return this.arguments(token);
  }

  list(token) {
    return { role: valueRole(token) };
  }

  variables(token) {
    return { role: this.top.assigning ? valueRole(token) : "type" };
  }

  typeList() {
    return { role: "type" };
  }

  value(token) {
    this.top.giving = false;
    return { role: valueRole(token) };
  }

  directive(name) {
    this.top.directive = this.schema?.directives.get(name) ?? null;
    return { role: "directive" };
  }

  variable() {
    this.top.giving = false;
    return { role: "variable" };
  }

  /* ---- brackets ---- */

  punctuation(text) {
    const frame = this.top;
    if (text === "{") this.push(this.openBrace(frame));
    else if (text === "(") this.push(this.openParen(frame));
    else if (text === "[") this.push(this.openBracket(frame));
    else if (CLOSE.has(text)) this.pop();
    else if (text === ":") frame.giving = true;
    else if (text === "=") frame.assigning = true;
    else if (text === "$") frame.assigning = false;
    return { role: text === "$" ? "variable" : text === "@" ? "directive" : "punct" };
  }

  openBrace(frame) {
    if (frame.kind === "document")
      return selectionOf(frame.begun ? frame.root : (this.schema?.root("query") ?? null));
    if (frame.kind === "selection") {
      const bare = this.previous?.kind === "spread";
      return selectionOf(frame.condition ?? (bare ? frame.type : this.typeOf(frame.field?.type)));
    }
    return { kind: "object", fields: this.typeOf(this.expected)?.inputFields ?? null, used: new Set() };
  }

  openParen(frame) {
    if (frame.kind === "document" && !frame.directive) return { kind: "variables" };
    const args = (frame.directive ?? frame.field)?.args ?? null;
    frame.directive = null;
    return {
      kind: "arguments",
      fields: args && new Map(args.map((arg) => [arg.name, arg])),
      used: new Set(),
    };
  }

  openBracket(frame) {
    const typing = frame.kind === "typeList" || (frame.kind === "variables" && !frame.assigning);
    return typing ? { kind: "typeList" } : { kind: "list", type: this.expected };
  }

  /** The type reference a value must have here, or null. */
  get expected() {
    const frame = this.top;
    return (frame.kind === "list" ? frame.type : frame.entry?.type) ?? null;
  }

  push(frame) {
    this.stack.push(frame);
  }

  pop() {
    if (this.stack.length === 1) return;
    const closed = this.stack.pop();
    const frame = this.top;
    if (closed.kind === "selection") {
      frame.field = frame.condition = frame.directive = null;
      if (frame.kind === "document") Object.assign(frame, { begun: false, root: null });
    } else if (closed.kind === "object" || closed.kind === "list") frame.giving = false;
  }

  type(name) {
    return this.schema?.types.get(name) ?? null;
  }

  typeOf(reference) {
    return reference ? this.type(named(reference)) : null;
  }
}

const selectionOf = (type) => ({ kind: "selection", type, field: null, condition: null });

function valueRole({ kind }) {
  return kind === "name" ? "enum" : kind;
}

/** Spans for highlighting and what the schema says against the document. */
export function annotate(tokens, schema) {
  const walker = new Walker(schema);
  const spans = [];
  const problems = [];
  tokens.forEach((token, at) => {
    const { role, problem } = walker.feed(token, tokens[at + 1]);
    spans.push({ start: token.start, end: token.end, role });
    if (problem) problems.push({ start: token.start, end: token.end, message: problem });
  });
  return { spans, problems };
}
