/** The query page: puts the parts together. */

import { AnswerPane, copyText } from "./answer.js";
import { SchemaBrowser } from "./browser.js";
import { complete } from "./complete.js";
import { $, announce, h } from "./dom.js";
import { Editor } from "./editor.js";
import { Examples } from "./examples.js";
import { layOut, showView } from "./layout.js";
import { lineOf, offsetOf, operations, paintJson, prettify, tokenize } from "./language.js";
import { INTROSPECTION, Schema } from "./schema.js";
import { Session } from "./session.js";
import { load, save } from "./store.js";
import { History, Tabs } from "./tabs.js";
import { ask, send } from "./transport.js";
import { annotate } from "./walker.js";

const MODIFIER = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
const SAVE_AFTER = 400;

class Console {
  constructor() {
    this.schema = null;
    this.running = null;
    this.store = load();
    this.answer = new AnswerPane({ onGoTo: (place) => this.goTo(place), modifier: MODIFIER });
    this.session = new Session(() => this.signedInOrOut());
    this.examples = new Examples($("#examples"), {
      zone: () => this.session.zone,
      onOpen: (found, notice) => this.open(found, notice),
    });
    this.browser = new SchemaBrowser($("#schema"), (skeleton) =>
      this.open({ ...skeleton, variables: this.examples.resolve(skeleton.variables) }),
    );
    this.history = new History(this.store, (entry) => this.reopen(entry));
    this.tabs = new Tabs(this.store, () => this.showTab());
    this.makeEditors();
    this.listen();
    layOut(this.store.sizes, () => save(this.store));
    this.tabs.draw();
    this.showTab();
  }

  makeEditors() {
    const shared = { onRun: () => this.run(), onFormat: () => this.format() };
    this.variables = new Editor($("#variables"), {
      ...shared,
      label: "Variables, JSON",
      paint: paintJson,
      onInput: () => this.edited(),
    });
    this.query = new Editor($("#query"), {
      ...shared,
      label: "Query, GraphQL",
      paint: (text) => annotate(tokenize(text), null).spans,
      onInput: () => this.edited(),
      complete: (text, offset) => complete(text, offset, this.schema),
      comment: "#",
    });
  }

  listen() {
    $("#run").addEventListener("click", () => (this.running ? this.running.abort() : this.run()));
    $("#run").title = `${MODIFIER}+Enter`;
    $("#prettify").addEventListener("click", () => this.format());
    $("#copy-curl").addEventListener("click", () => copyText(this.curl(), $("#copy-curl")));
    for (const event of ["keyup", "click"]) this.query.area.addEventListener(event, () => this.showTarget());
    window.addEventListener("pagehide", () => save(this.store));
  }

  /** Reads the schema, then who is here, then the examples. */
  async start() {
    try {
      this.schema = new Schema(await ask(INTROSPECTION));
      this.browser.load(this.schema);
    } catch (error) {
      this.browser.fail(`The schema could not be read: ${error.message}`);
    }
    await this.session.refresh(this.schema);
    await this.examples.load(
      this.store.tabs.every(({ query }) => !query.trim()) && !this.store.history.length,
    );
    this.check();
  }

  /* ---- tabs ---- */

  /** Puts `{query, variables}` into a tab; `notice` is what could not be done for it. */
  open({ query, variables }, notice = null) {
    const text = Object.keys(variables).length ? JSON.stringify(variables, null, 2) : "";
    this.tabs.open({ query, variables: text });
    if (notice) this.say(notice, true);
    showView("write");
    this.query.area.focus();
  }

  reopen(entry) {
    save(this.store);
    if (!entry) return;
    this.tabs.open({ query: entry.query, variables: entry.variables });
    showView("write");
  }

  showTab() {
    const { query, variables, answer } = this.tabs.current;
    this.loading = true;
    this.query.text = query;
    this.variables.text = variables;
    this.loading = false;
    this.answer.show(answer);
    this.edited();
  }

  edited() {
    if (this.loading || !this.query) return;
    Object.assign(this.tabs.current, { query: this.query.text, variables: this.variables.text });
    this.tabs.rename();
    this.showTarget();
    this.checkVariables();
    clearTimeout(this.saving);
    this.saving = setTimeout(() => {
      save(this.store);
      this.check();
    }, SAVE_AFTER);
  }

  /* ---- checks ---- */

  /** Underlines what the schema does not know, once typing pauses. */
  check() {
    const { text, area, offset } = this.query;
    const { problems } = annotate(tokenize(text), this.schema);
    const typing = ({ end }) => document.activeElement === area && end === offset;
    this.showProblems(problems.filter((problem) => !typing(problem)));
  }

  showProblems(problems) {
    const { text } = this.query;
    this.query.mark(problems);
    const row = ({ start, message }) =>
      h(
        "button",
        { type: "button", class: "problem", on: { click: () => this.query.reveal(start) } },
        h("b", {}, `Line ${lineOf(text, start)}`),
        message,
      );
    $("#problems").hidden = problems.length === 0;
    $("#problems").replaceChildren(...problems.slice(0, 8).map(row));
  }

  /** Marks the places that the server's errors name. */
  markErrors(errors) {
    const { text } = this.query;
    const tokens = tokenize(text);
    const marks = (errors ?? []).flatMap(({ message, locations, path }) => {
      if (!locations?.length || path) return [];
      const start = offsetOf(text, locations[0].line, locations[0].column);
      const token = tokens.find((each) => each.start <= start && start < each.end) ?? tokens.at(-1);
      return token ? [{ start: token.start, end: token.end, message }] : [];
    });
    if (marks.length) this.showProblems(marks);
  }

  checkVariables() {
    const { values, problem } = this.parsedVariables();
    const operation = this.operation();
    const missing = (operation?.variables ?? []).filter(
      ({ name, required }) => required && (values?.[name] ?? null) === null,
    );
    const text =
      problem ??
      (missing.length ? `Needs ${missing.map(({ name, type }) => `${name} (${type})`).join(", ")}` : "");
    this.say(text, Boolean(problem));
  }

  say(text, bad) {
    const message = $("#variables-message");
    message.textContent = text;
    message.title = text;
    message.classList.toggle("bad", bad);
  }

  /** The variables, or what is wrong with them. */
  parsedVariables() {
    const text = this.variables.text.trim();
    if (!text) return { values: {} };
    try {
      const values = JSON.parse(text);
      const object = values !== null && typeof values === "object" && !Array.isArray(values);
      return object ? { values } : { problem: "Variables are one JSON object: { … }" };
    } catch (error) {
      return {
        problem: `Not JSON: ${error.message.replace(/^JSON\.parse: |, .* is not valid JSON$/gs, "")}`,
      };
    }
  }

  /** The operation at the cursor, else the first. */
  operation() {
    const all = operations(this.query.text);
    const { offset } = this.query;
    return all.find(({ start, end }) => start <= offset && offset <= end) ?? all[0];
  }

  showTarget() {
    const all = operations(this.query.text);
    const chosen = this.operation();
    $("#target").textContent = all.length > 1 ? `${chosen.kind} ${chosen.name ?? ""}` : "";
  }

  /* ---- running ---- */

  request() {
    const { values = {} } = this.parsedVariables();
    const operation = this.operation();
    return {
      query: this.query.text,
      variables: values,
      ...(operation?.name ? { operationName: operation.name } : {}),
    };
  }

  async run() {
    const { problem } = this.parsedVariables();
    if (this.running || !this.query.text.trim()) return;
    if (problem) {
      this.variables.area.focus();
      announce(problem);
      return;
    }
    const tab = this.tabs.current;
    this.begin(new AbortController());
    try {
      this.finish(tab, await send(this.request(), this.running.signal));
    } catch (error) {
      if (error.name === "AbortError") this.answer.show(tab.answer);
      else this.answer.unreachable(`The server does not answer. ${error.message}`);
    } finally {
      this.begin(null);
    }
  }

  begin(controller) {
    this.running = controller;
    $("#run").textContent = controller ? "Stop" : "Run";
    $("#run").classList.toggle("running", controller !== null);
    if (!controller) return;
    this.answer.waiting();
    this.query.dismiss();
    showView("answer");
  }

  finish(tab, answer) {
    tab.answer = answer;
    const code = answer.body?.errors?.[0]?.extensions?.code;
    const outcome = code ?? (answer.body?.errors ? "errors" : String(answer.status));
    this.history.add({ query: tab.query, variables: tab.variables, at: Date.now(), outcome });
    save(this.store);
    if (tab !== this.tabs.current) return;
    this.answer.show(answer);
    this.markErrors(answer.body?.errors);
    announce(`Answer: ${outcome}`);
    if (
      /^\s*mutation\b/.test(tab.query) &&
      /\b(login|logout|switchTenant|signOutEverywhere)\b/.test(tab.query)
    )
      this.session.refresh();
  }

  goTo({ line, column }) {
    showView("write");
    this.query.reveal(offsetOf(this.query.text, line, column));
  }

  format() {
    try {
      this.replaceAll(this.query, prettify(this.query.text));
    } catch (error) {
      this.say(`Not prettified. ${error.message}`, true);
      return;
    }
    const { values, problem } = this.parsedVariables();
    if (!problem && this.variables.text.trim())
      this.replaceAll(this.variables, JSON.stringify(values, null, 2));
    this.query.area.focus();
  }

  replaceAll(editor, text) {
    if (editor.text !== text)
      editor.replace(0, editor.text.length, text, Math.min(editor.offset, text.length));
  }

  curl() {
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const lines = [
      `curl ${quoted(`${location.origin}/graphql`)}`,
      "-H 'Content-Type: application/json'",
      "-H 'X-Polyclinic-Client: curl'",
      `--data-raw ${quoted(JSON.stringify(this.request()))}`,
    ];
    return lines.join(" \\\n  ");
  }

  /** What was shown to the one who left is not for the one who comes. */
  signedInOrOut() {
    for (const tab of this.store.tabs) tab.answer = null;
    this.answer.show(null);
  }
}

new Console().start();
