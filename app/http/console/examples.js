/**
 * Example queries from `examples.json`. Their variables may hold `{{…}}`:
 *
 * - `{{today}}`, `{{tomorrow}}`, `{{day+7}}`: days of the clinic
 * - `{{now}}`, `{{start}}`, `{{start+1}}`: instants: this one, the beginning of today, of tomorrow
 * - `{{uuid}}`: a new one each time
 * - any name under `fill`: looked up by a query of its own just before the example is shown
 */

import { addDays, dayIn, startOf } from "./dates.js";
import { h } from "./dom.js";
import { ask } from "./transport.js";

export class Examples {
  /**
   * @param {HTMLElement} host
   * @param {Object} options
   * @param {() => string} options.zone the clinic's IANA time zone
   * @param {({query, variables}, notice: string|null) => void} options.onOpen
   */
  constructor(host, { zone, onOpen }) {
    Object.assign(this, { host, zone, onOpen });
  }

  /** Lists the examples. `welcome`: shows the one marked `opening` at once, for somebody who is here first. */
  async load(welcome) {
    const response = await fetch("/graphql/assets/examples.json", { credentials: "same-origin" });
    const groups = await response.json();
    this.host.replaceChildren(...groups.map((group) => this.group(group)));
    const opening = groups.flatMap(({ examples }) => examples).find((example) => example.opening);
    if (welcome && opening) this.onOpen(this.ready(opening), null);
  }

  group({ title, examples }) {
    const rows = examples.map((example) => {
      const button = h(
        "button",
        { type: "button", class: "row", on: { click: () => this.open(example, button) } },
        h("span", { class: "row-title" }, example.title),
        h("span", { class: "row-note" }, example.note),
      );
      return h("li", {}, button);
    });
    return h("section", { class: "group" }, h("h3", {}, title), h("ul", { class: "rows" }, rows));
  }

  async open(example, button) {
    button.setAttribute("aria-busy", "true");
    const known = {};
    let notice = null;
    for (const step of example.fill ?? []) {
      try {
        Object.assign(known, await this.lookUp(step, known));
      } catch (error) {
        notice ??= `Some variables could not be looked up: ${error.message}`;
      }
    }
    button.removeAttribute("aria-busy");
    this.onOpen(this.ready(example, known), notice);
  }

  ready({ query, variables = {} }, known) {
    return { query: `${query.join("\n")}\n`, variables: this.resolve(variables, known) };
  }

  /** Runs one look-up; `take` maps each name to a path in the answer's `data`. */
  async lookUp({ query, variables = {}, take }, known) {
    const data = await ask(query, this.resolve(variables, known));
    return Object.fromEntries(Object.entries(take).map(([name, path]) => [name, at(data, path, name)]));
  }

  /** `value` with every `{{…}}` filled in; an unknown name becomes an empty text. */
  resolve(value, known = {}) {
    if (Array.isArray(value)) return value.map((each) => this.resolve(each, known));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, this.resolve(each, known)]));
    }
    const name = typeof value === "string" && /^\{\{(.+)\}\}$/.exec(value)?.[1];
    return name ? (known[name] ?? this.computed(name)) : value;
  }

  computed(name) {
    const zone = this.zone();
    const today = dayIn(zone);
    const [, kind, days] = /^(day|start)(?:\+(\d+))?$/.exec(name) ?? [];
    if (kind === "day") return addDays(today, Number(days ?? 0));
    if (kind === "start") return startOf(addDays(today, Number(days ?? 0)), zone);
    const values = {
      today: () => today,
      tomorrow: () => addDays(today, 1),
      now: () => new Date().toISOString(),
      uuid: () => uuid(),
    };
    return values[name]?.() ?? "";
  }
}

function at(data, path, name) {
  const value = path.split(".").reduce((each, key) => each?.[key], data);
  if (value === undefined || value === null) throw new Error(`there is no ${name} to show here.`);
  return value;
}

/** A version 4 UUID; `crypto.randomUUID` itself exists on secure origins only. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
