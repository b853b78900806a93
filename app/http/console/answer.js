/** The answer pane: what came back, how long it took, what went wrong and where. */

import { $, h } from "./dom.js";
import { foldAll, jsonView } from "./json-view.js";

export class AnswerPane {
  /** @param {{onGoTo: (location: {line: number, column: number}) => void, modifier: string}} options */
  constructor({ onGoTo, modifier }) {
    Object.assign(this, {
      onGoTo,
      modifier,
      host: $("#answer"),
      facts: $("#facts"),
      status: $("#status"),
      errors: $("#errors"),
    });
    this.open = true;
    $("#fold").addEventListener("click", () => this.fold(!this.open));
    $("#copy").addEventListener("click", () => this.copy());
  }

  /** Shows an answer, or what to do when there is none yet. */
  show(answer) {
    this.answer = answer ?? null;
    this.fold(true);
    $("#answer-tools").hidden = !answer;
    if (!answer) return this.invite();
    const { body, text } = answer;
    const failed = body?.errors ?? (body?.error ? [body.error] : []);
    this.judge(answer, failed);
    this.facts.replaceChildren(...this.describe(answer));
    this.list(failed);
    this.host.replaceChildren(body ? jsonView(body, text.length) : h("pre", { class: "raw" }, text));
    this.host.scrollTop = 0;
    return undefined;
  }

  invite() {
    const key = (keys, what, joint = " + ") => [
      h(
        "dt",
        {},
        keys.flatMap((each, at) => [at ? joint : "", h("kbd", {}, each)]),
      ),
      h("dd", {}, what),
    ];
    const { modifier } = this;
    this.status.hidden = true;
    this.facts.replaceChildren();
    this.list([]);
    this.host.replaceChildren(
      h(
        "div",
        { class: "invite" },
        h("p", {}, "Write a query, or open an example, and run it."),
        h(
          "dl",
          { class: "keys" },
          ...key([modifier, "Enter"], "Run"),
          ...key(["Ctrl", "Space"], "Complete"),
          ...key(["Shift", "Alt", "F"], "Prettify"),
          ...key([modifier, "/"], "Comment"),
          ...key(["Esc", "Tab"], "Leave the editor", " then "),
        ),
      ),
    );
  }

  waiting() {
    this.status.hidden = false;
    this.status.className = "status";
    this.status.textContent = "Running…";
  }

  /** Nothing answered at all. */
  unreachable(text) {
    this.show({ status: 0, body: null, text, milliseconds: 0, requestId: null });
  }

  /** The one word that says how it went: error codes first, else the HTTP status. */
  judge({ status }, failed) {
    const fine = status >= 200 && status < 300 && !failed.length;
    const codes = [...new Set(failed.map((error) => error.extensions?.code ?? error.code).filter(Boolean))];
    this.status.hidden = false;
    this.status.className = `status ${fine ? "good" : "bad"}`;
    this.status.textContent =
      status === 0 ? "No answer" : codes.join(" ") || (fine ? `${status} OK` : "Errors");
    this.status.title = status ? `HTTP ${status}` : "";
  }

  describe({ status, milliseconds, text, requestId, body }) {
    if (status === 0) return [];
    const cost = body?.extensions?.cost;
    const fact = (title, ...value) => h("span", { class: "fact", title }, ...value);
    return [
      fact("HTTP status", `HTTP ${status}`),
      fact("Time to the complete answer", duration(milliseconds)),
      fact("Size of the answer", size(new TextEncoder().encode(text).length)),
      cost !== undefined && fact("Cost of the query", `cost ${costText(cost)}`),
      requestId &&
        fact("Request id, as in the server’s log", "request ", h("span", { class: "request-id" }, requestId)),
    ].filter(Boolean);
  }

  list(failed) {
    this.errors.hidden = failed.length === 0;
    this.errors.replaceChildren(...failed.slice(0, 20).map((error) => this.error(error)));
  }

  error({ message, locations, extensions = {}, fields = extensions.fields, path }) {
    const place = locations?.[0];
    const where =
      place &&
      h(
        "button",
        { type: "button", class: "link", on: { click: () => this.onGoTo(place) } },
        `line ${place.line}`,
      );
    return h(
      "div",
      { class: "error" },
      h("p", {}, message, path && h("span", { class: "path" }, path.join(".")), where),
      fields?.length
        ? h(
            "ul",
            {},
            fields.map((each) => h("li", {}, h("code", {}, each.path), ` ${each.message}`)),
          )
        : null,
    );
  }

  fold(open) {
    this.open = open;
    $("#fold").textContent = open ? "Fold" : "Unfold";
    foldAll(this.host, open);
  }

  async copy() {
    const { body, text } = this.answer;
    await copyText(body ? JSON.stringify(body, null, 2) : text, $("#copy"));
  }
}

/** Copies, and says so on the button for a moment. */
export async function copyText(text, button) {
  const label = button.textContent;
  button.textContent = (await copied(text)) ? "Copied" : "Not copied";
  setTimeout(() => {
    button.textContent = label;
  }, 1200);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function costText(cost) {
  if (typeof cost !== "object" || cost === null) return String(cost);
  return String(cost.requested ?? cost.cost ?? cost.used ?? Object.values(cost)[0]);
}

function duration(milliseconds) {
  return milliseconds < 1000
    ? `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`
    : `${(milliseconds / 1000).toFixed(2)} s`;
}

function size(bytes) {
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} kB`;
}
