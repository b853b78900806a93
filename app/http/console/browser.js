/** The schema browser: a search over everything, and a page for each operation and type. */

import { h, icon } from "./dom.js";
import { isRequired, named, typeText } from "./schema.js";

const ROOTS = [
  ["query", "Queries"],
  ["mutation", "Mutations"],
  ["subscription", "Subscriptions"],
];
const KINDS = {
  OBJECT: "type",
  INPUT_OBJECT: "input",
  ENUM: "enum",
  SCALAR: "scalar",
  INTERFACE: "interface",
  UNION: "union",
};
const RESULTS = 80;

export class SchemaBrowser {
  /**
   * @param {HTMLElement} host
   * @param {(skeleton: {query: string, variables: Object}) => void} onInsert
   */
  constructor(host, onInsert) {
    this.onInsert = onInsert;
    this.schema = null;
    this.trail = [];
    this.search = h("input", {
      type: "search",
      class: "search",
      placeholder: "Search fields and types",
      "aria-label": "Search the schema",
      on: { input: () => this.draw() },
    });
    this.page = h("div", { class: "page" }, h("p", { class: "hint" }, "Reading the schema…"));
    host.replaceChildren(h("div", { class: "search-box" }, this.search), this.page);
  }

  load(schema) {
    this.schema = schema;
    this.trail = [];
    this.draw();
  }

  fail(text) {
    this.page.replaceChildren(h("p", { class: "hint" }, text));
  }

  go(place) {
    this.trail.push(place);
    this.search.value = "";
    this.draw();
    this.page.querySelector("h3")?.focus();
  }

  back() {
    this.trail.pop();
    this.draw();
    (this.page.querySelector("h3") ?? this.search).focus();
  }

  draw() {
    if (!this.schema) return;
    const words = this.search.value.trim().toLowerCase();
    const place = this.trail.at(-1);
    const content = words ? this.results(words) : place ? this.place(place) : this.home();
    this.page.replaceChildren(...content);
    this.page.scrollTop = 0;
  }

  /* ---- lists ---- */

  home() {
    const roots = ROOTS.filter(([kind]) => this.schema.root(kind)).map(([kind, title]) => {
      const fields = [...this.schema.root(kind).fields.values()];
      return this.section(
        `${title} · ${fields.length}`,
        fields.map((field) => this.operationRow(kind, field)),
        kind !== "subscription",
      );
    });
    const types = Object.entries(KINDS).flatMap(([kind, title]) => {
      const own = this.schema.published.filter((type) => type.kind === kind);
      return own.length
        ? [
            this.section(
              `${plural(title)} · ${own.length}`,
              own.map((type) => this.typeRow(type)),
              false,
            ),
          ]
        : [];
    });
    return [...roots, ...types];
  }

  section(title, rows, open) {
    return h(
      "details",
      { class: "section", open },
      h("summary", {}, title),
      h("ul", { class: "rows" }, rows),
    );
  }

  operationRow(kind, field) {
    return this.row(field.name, named(field.type), field, () => this.go({ kind, field: field.name }));
  }

  typeRow(type) {
    return this.row(type.name, KINDS[type.kind], type, () => this.go({ type: type.name }));
  }

  row(title, detail, { description, isDeprecated }, click) {
    const button = h(
      "button",
      { type: "button", class: "row", on: { click } },
      h(
        "span",
        { class: "row-title code" },
        h("span", { class: isDeprecated ? "deprecated" : null }, title),
        h("span", { class: "row-detail" }, detail),
      ),
      description && h("span", { class: "row-note" }, firstSentence(description)),
    );
    return h("li", {}, button);
  }

  results(words) {
    const hit = (name) => name.toLowerCase().includes(words);
    const operations = ROOTS.flatMap(([kind]) =>
      [...(this.schema.root(kind)?.fields.values() ?? [])]
        .filter(({ name }) => hit(name))
        .map((field) => this.operationRow(kind, field)),
    );
    const types = this.schema.published.filter(({ name }) => hit(name)).map((type) => this.typeRow(type));
    const members = this.schema.published.flatMap((type) =>
      [...(type.fields ?? type.inputFields ?? new Map()).values(), ...(type.enumValues ?? [])]
        .filter(({ name }) => hit(name))
        .map((member) =>
          this.row(`${type.name}.${member.name}`, member.type ? typeText(member.type) : "", member, () =>
            this.go({ type: type.name }),
          ),
        ),
    );
    const rows = [...operations, ...types, ...members].slice(0, RESULTS);
    return [
      rows.length
        ? h("ul", { class: "rows" }, rows)
        : h("p", { class: "hint" }, `Nothing is called “${words}”.`),
    ];
  }

  /* ---- pages ---- */

  place({ kind, field, type }) {
    const body = kind
      ? this.operation(kind, this.schema.root(kind).fields.get(field))
      : this.type(this.schema.types.get(type));
    const up = h(
      "button",
      { type: "button", class: "back", on: { click: () => this.back() } },
      icon("back"),
      "Back",
    );
    return [up, ...body];
  }

  operation(kind, field) {
    const insert = h(
      "button",
      {
        type: "button",
        class: "insert",
        on: { click: () => this.onInsert(this.schema.skeleton(kind, field)) },
      },
      "Insert this operation",
    );
    return [
      this.heading(field.name, kind),
      ...this.notes(field),
      insert,
      ...this.inputs("Arguments", field.args),
      h("h4", {}, "Returns"),
      h("p", { class: "code" }, this.reference(field.type)),
    ];
  }

  type(type) {
    const members = [...(type.fields?.values() ?? [])].map((field) => this.member(field, field.args));
    const values = (type.enumValues ?? []).map((value) => this.member(value, []));
    const possible = (type.possibleTypes ?? []).map(({ name }) =>
      h("li", { class: "member code" }, this.link(name)),
    );
    const list = (title, items) =>
      items.length ? [h("h4", {}, title), h("ul", { class: "members" }, items)] : [];
    return [
      this.heading(type.name, KINDS[type.kind]),
      ...this.notes(type),
      ...list("Fields", members),
      ...this.inputs("Fields", [...(type.inputFields?.values() ?? [])]),
      ...list("Values", values),
      ...list("Is one of", possible),
    ];
  }

  heading(name, kind) {
    return h(
      "h3",
      { tabindex: "-1" },
      h("span", { class: "code" }, name),
      h("span", { class: "kind" }, kind),
    );
  }

  notes({ description, isDeprecated, deprecationReason }) {
    return [
      description && h("p", { class: "description" }, description),
      isDeprecated && h("p", { class: "deprecation" }, h("b", {}, "Deprecated. "), deprecationReason),
    ].filter(Boolean);
  }

  inputs(title, inputs) {
    if (!inputs.length) return [];
    return [
      h("h4", {}, title),
      h(
        "ul",
        { class: "members" },
        inputs.map((input) => this.input(input)),
      ),
    ];
  }

  input(input) {
    return h(
      "li",
      { class: "member" },
      h(
        "div",
        { class: "code" },
        name(input),
        ": ",
        this.reference(input.type),
        input.defaultValue !== null && h("span", { class: "default" }, ` = ${input.defaultValue}`),
        isRequired(input) && h("span", { class: "required" }, "required"),
      ),
      ...this.notes(input),
    );
  }

  member(field, args) {
    const inside = args.flatMap((arg, at) => [
      at ? ", " : "",
      h("span", { class: "t-argument" }, arg.name),
      ": ",
      this.reference(arg.type),
    ]);
    const type = field.type ? [": ", this.reference(field.type)] : [];
    return h(
      "li",
      { class: "member" },
      h("div", { class: "code" }, name(field), args.length ? ["(", ...inside, ")"] : "", type),
      ...this.notes(field),
    );
  }

  /** A type reference whose name is a link. */
  reference(reference) {
    const base = named(reference);
    const [before, after] = typeText(reference).split(base);
    return h("span", { class: "reference" }, before, this.link(base), after);
  }

  link(typeName) {
    return h(
      "button",
      { type: "button", class: "link t-type", on: { click: () => this.go({ type: typeName }) } },
      typeName,
    );
  }
}

const name = ({ name: text, isDeprecated }) =>
  h("span", { class: `t-field${isDeprecated ? " deprecated" : ""}` }, text);
const firstSentence = (text) => /^.*?[.!?](?=\s|$)/s.exec(text)?.[0] ?? text;
const plural = (word) => word[0].toUpperCase() + word.slice(1) + "s";
