/** The open queries as tabs, and the history of what ran. */

import { $, arrowKeys, h, icon } from "./dom.js";
import { operations, tokenize } from "./language.js";

/** What a query is called on its tab: its operation's name, else its first field. */
export function titleOf(query) {
  const [first] = operations(query);
  if (first?.name) return first.name;
  const tokens = tokenize(query);
  const brace = tokens.findIndex(({ text }) => text === "{");
  return tokens.slice(brace + 1).find(({ kind }) => kind === "name")?.text ?? "New query";
}

export class Tabs {
  /**
   * @param {Object} store holds `tabs` (`{query, variables}`) and `active`
   * @param {() => void} onChange another tab is active, or the tabs are others
   */
  constructor(store, onChange) {
    Object.assign(this, { store, onChange, host: $("#tabs") });
    if (!store.tabs.length) store.tabs.push(blank());
    store.active = Math.min(store.active, store.tabs.length - 1);
    arrowKeys(this.host);
    $("#new-tab").addEventListener("click", () => this.open(blank()));
  }

  get current() {
    return this.store.tabs[this.store.active];
  }

  /** Opens `{query, variables}` in a tab of its own, or in the current one when that is empty or has the same query. */
  open(tab) {
    const { tabs } = this.store;
    const reused = tab.query && (!this.current.query.trim() || this.current.query === tab.query);
    if (reused) Object.assign(this.current, tab, { answer: null });
    else tabs.push(tab);
    this.activate(reused ? this.store.active : tabs.length - 1);
  }

  activate(index) {
    this.store.active = index;
    this.draw();
    this.onChange();
  }

  close(index) {
    const { tabs } = this.store;
    tabs.splice(index, 1);
    if (!tabs.length) tabs.push(blank());
    const before = index < this.store.active ? 1 : 0;
    this.activate(Math.min(this.store.active - before, tabs.length - 1));
  }

  draw() {
    this.host.replaceChildren(...this.store.tabs.map((tab, index) => this.tab(tab, index)));
    this.host.children[this.store.active]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Gives the active tab the name of what it now holds. */
  rename() {
    const label = this.host.children[this.store.active]?.firstElementChild;
    if (label) label.textContent = titleOf(this.current.query);
  }

  tab(tab, index) {
    const active = index === this.store.active;
    const title = titleOf(tab.query);
    const select = {
      type: "button",
      role: "tab",
      "aria-controls": "query",
      "aria-selected": String(active),
      tabindex: active ? "0" : "-1",
    };
    return h(
      "div",
      { class: `tab${active ? " active" : ""}`, role: "presentation" },
      h("button", { ...select, on: { click: () => this.activate(index) } }, title),
      h(
        "button",
        {
          type: "button",
          class: "tab-close",
          "aria-label": `Close ${title}`,
          on: { click: () => this.close(index) },
        },
        icon("close"),
      ),
    );
  }
}

const blank = () => ({ query: "", variables: "" });

export class History {
  /** @param {Object} store holds `history`; @param {(entry) => void} onOpen */
  constructor(store, onOpen) {
    Object.assign(this, { store, onOpen, host: $("#history") });
    this.draw();
  }

  /** Notes a run; the same query and variables again only move to the top. */
  add(entry) {
    const others = this.store.history.filter(
      ({ query, variables }) => query !== entry.query || variables !== entry.variables,
    );
    this.store.history = [entry, ...others];
    this.draw();
  }

  clear() {
    this.store.history = [];
    this.draw();
    this.onOpen(null);
  }

  draw() {
    const rows = this.store.history.map((entry) => h("li", {}, this.row(entry)));
    const empty = h("p", { class: "hint" }, "What you run is listed here, in this browser only.");
    const clear = h(
      "button",
      { type: "button", class: "quiet clear", on: { click: () => this.clear() } },
      "Clear history",
    );
    this.host.replaceChildren(...(rows.length ? [h("ul", { class: "rows" }, rows), clear] : [empty]));
  }

  row(entry) {
    const when = new Date(entry.at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    return h(
      "button",
      { type: "button", class: "row", on: { click: () => this.onOpen(entry) } },
      h("span", { class: "row-title code" }, titleOf(entry.query)),
      h("span", { class: "row-note" }, `${when} · ${entry.outcome}`),
    );
  }
}
