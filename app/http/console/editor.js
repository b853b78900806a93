/**
 * A code editor: a plain textarea, so that selection, undo, spelling of keys, screen readers and phones work as they do
 * everywhere, over a painted copy of its text.
 */

import { announce, h } from "./dom.js";

const PAIRS = { "{": "}", "(": ")", "[": "]", '"': '"' };
const INDENT = "  ";
let count = 0;

export class Editor {
  /**
   * @param {HTMLElement} host
   * @param {Object} options
   * @param {string} options.label what it edits, for screen readers
   * @param {(text: string) => {start, end, role}[]} options.paint spans to colour
   * @param {() => void} options.onInput
   * @param {() => void} options.onRun Ctrl/Cmd+Enter
   * @param {() => void} options.onFormat Shift+Alt+F
   * @param {(text: string, offset: number) => {start, items}} [options.complete]
   * @param {string} [options.comment] what starts a comment line
   */
  constructor(host, options) {
    this.options = options;
    this.id = `editor-${(count += 1)}`;
    this.marks = [];
    this.suggestions = null;
    this.leaving = false;
    this.build(host);
    this.listen();
    this.paint();
  }

  build(host) {
    this.gutter = h("pre", { class: "gutter", "aria-hidden": "true" });
    this.painted = h("pre", { class: "painted", "aria-hidden": "true" });
    this.list = h("ul", {
      class: "suggestions",
      id: `${this.id}-list`,
      role: "listbox",
      "aria-label": "Suggestions",
      hidden: true,
    });
    this.area = h("textarea", {
      "aria-label": this.options.label,
      "aria-description": "Tab indents. Press Escape, then Tab, to leave the editor.",
      "aria-autocomplete": this.options.complete ? "list" : null,
      "aria-controls": this.options.complete ? this.list.id : null,
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      autocorrect: "off",
      wrap: "off",
    });
    host.classList.add("editor");
    host.append(this.gutter, h("div", { class: "layers" }, this.painted, this.area), this.list);
  }

  listen() {
    const { area } = this;
    area.addEventListener("input", (event) => {
      this.marks = [];
      this.changed();
      if (event.inputType === "insertText" || event.inputType === "deleteContentBackward")
        this.suggest(false);
      else this.dismiss();
    });
    area.addEventListener("scroll", () => this.follow());
    area.addEventListener("keydown", (event) => this.key(event));
    area.addEventListener("blur", () => this.dismiss());
    area.addEventListener("pointerdown", () => this.dismiss());
  }

  get text() {
    return this.area.value;
  }

  /** Replaces the whole text as a new document: nothing to undo. */
  set text(value) {
    this.area.value = value;
    this.area.setSelectionRange(0, 0);
    this.area.scrollTop = this.area.scrollLeft = 0;
    this.marks = [];
    this.dismiss();
    this.changed();
  }

  get offset() {
    return this.area.selectionStart;
  }

  changed() {
    this.paint();
    this.options.onInput();
  }

  /** Replaces a range as if typed, so that undo knows of it. */
  replace(start, end, text, caret = start + text.length) {
    this.area.setSelectionRange(start, end);
    this.area.focus();
    const typed =
      text === ""
        ? start === end || document.execCommand("delete")
        : document.execCommand("insertText", false, text);
    if (!typed) {
      this.area.setRangeText(text, start, end, "end");
      this.area.dispatchEvent(new InputEvent("input"));
    }
    this.area.setSelectionRange(caret, caret);
  }

  /** Underlines ranges until the next edit: `{start, end, message}`. */
  mark(marks) {
    this.marks = marks;
    this.paint();
  }

  /** Puts the cursor at an offset and scrolls there. */
  reveal(offset) {
    this.area.focus();
    this.area.setSelectionRange(offset, offset);
    const line = this.text.slice(0, offset).split("\n").length;
    const height = parseFloat(getComputedStyle(this.area).lineHeight);
    this.area.scrollTop = Math.max(0, line * height - this.area.clientHeight / 2);
  }

  /* ---- painting ---- */

  paint() {
    const { text } = this;
    const parts = [];
    let at = 0;
    for (const { start, end, role } of this.options.paint(text)) {
      if (start > at) parts.push(text.slice(at, start));
      const wrong = this.marks.some((mark) => mark.start < end && start < mark.end);
      parts.push(h("span", { class: `t-${role}${wrong ? " wrong" : ""}` }, text.slice(start, end)));
      at = end;
    }
    this.painted.replaceChildren(...parts, text.slice(at), "\n");
    this.number(text);
    this.follow();
  }

  number(text) {
    const wrong = new Set(this.marks.map(({ start }) => text.slice(0, start).split("\n").length));
    const lines = text
      .split("\n")
      .map((_, index) => h("span", { class: wrong.has(index + 1) ? "wrong" : null }, `${index + 1}\n`));
    this.gutter.replaceChildren(...lines);
  }

  follow() {
    this.painted.scrollTop = this.gutter.scrollTop = this.area.scrollTop;
    this.painted.scrollLeft = this.area.scrollLeft;
    if (this.suggestions) this.place();
  }

  /* ---- keys ---- */

  key(event) {
    if (event.isComposing) return;
    const command = event.ctrlKey || event.metaKey;
    const handled =
      (this.suggestions && !command && this.suggestionKey(event.key)) ||
      (command && this.commandKey(event)) ||
      (event.altKey && event.shiftKey && event.code === "KeyF" && (this.options.onFormat(), true)) ||
      (!command && !event.altKey && this.typingKey(event));
    if (handled) event.preventDefault();
    if (event.key !== "Tab" && event.key !== "Shift") this.leaving = event.key === "Escape";
  }

  commandKey({ key, code }) {
    if (key === "Enter") this.options.onRun();
    else if (code === "Space") this.suggest(true);
    else if (key === "/" && this.options.comment) this.toggleComment();
    else return false;
    return true;
  }

  typingKey({ key, shiftKey }) {
    const { selectionStart: start, selectionEnd: end } = this.area;
    if (key === "Tab") return !this.leaving && this.indent(start, end, shiftKey);
    if (key === "Enter") return this.newline(start, end);
    if (key === "Backspace" && start === end) return this.unpair(start);
    if (Object.values(PAIRS).includes(key) && start === end && this.text[start] === key) {
      this.area.setSelectionRange(start + 1, start + 1);
      return true;
    }
    return key in PAIRS && this.pair(key, start, end);
  }

  pair(open, start, end) {
    const { text } = this;
    const close = PAIRS[open];
    if (start !== end) {
      this.replace(start, end, open + text.slice(start, end) + close, end + 2);
      return true;
    }
    const roomy = !text[end] || /[\s)}\],]/.test(text[end]);
    if (!roomy || (open === '"' && /["\w]/.test(text[start - 1] ?? ""))) return false;
    this.replace(start, end, open + close, start + 1);
    this.dismiss();
    return true;
  }

  unpair(start) {
    if (PAIRS[this.text[start - 1]] !== this.text[start] || this.text[start] === undefined) return false;
    this.replace(start - 1, start + 1, "");
    return true;
  }

  newline(start, end) {
    const before = this.text.slice(0, start);
    const indent = /[^\S\n]*/.exec(before.slice(before.lastIndexOf("\n") + 1))[0];
    const open = /([{([])\s*$/.exec(before)?.[1];
    const inner = `\n${indent}${open ? INDENT : ""}`;
    const split = open !== undefined && this.text[end] === PAIRS[open];
    this.replace(start, end, split ? `${inner}\n${indent}` : inner, start + inner.length);
    return true;
  }

  indent(start, end, back) {
    if (start === end && !back) {
      this.replace(start, end, INDENT);
      return true;
    }
    this.editLines(start, end, (line) => (back ? line.replace(/^ {1,2}/, "") : INDENT + line));
    return true;
  }

  toggleComment() {
    const { selectionStart: start, selectionEnd: end } = this.area;
    const sign = this.options.comment;
    const first = this.text.lastIndexOf("\n", start - 1) + 1;
    const off = this.text.slice(first).trimStart().startsWith(sign);
    const strip = new RegExp(`^(\\s*)${sign} ?`);
    this.editLines(start, end, (line) =>
      off ? line.replace(strip, "$1") : line.replace(/^(\s*)/, `$1${sign} `),
    );
  }

  editLines(start, end, change) {
    const first = this.text.lastIndexOf("\n", start - 1) + 1;
    const newline = this.text.indexOf("\n", Math.max(end - 1, first));
    const last = newline < 0 ? this.text.length : newline;
    const changed = this.text.slice(first, last).split("\n").map(change).join("\n");
    const single = start === end;
    const caret = Math.max(first, start + changed.length - (last - first));
    this.replace(first, last, changed, caret);
    if (!single) this.area.setSelectionRange(first, first + changed.length);
  }

  /* ---- suggestions ---- */

  suggest(asked) {
    const { complete } = this.options;
    if (!complete || this.area.selectionStart !== this.area.selectionEnd) return;
    const { start, items } = complete(this.text, this.offset);
    const typed = this.text.slice(start, this.offset);
    const worthwhile = asked || typed !== "" || /[$@]/.test(this.text[start - 1] ?? "");
    const done = items.length === 1 && items[0].insert === typed;
    if (!worthwhile || !items.length || done) return this.dismiss();
    this.suggestions = { start, items, at: 0 };
    this.showSuggestions();
  }

  showSuggestions() {
    const { items } = this.suggestions;
    this.list.replaceChildren(...items.map((item, index) => this.option(item, index)));
    this.list.hidden = false;
    this.select(0);
    this.place();
    announce(`${items.length} suggestions. ${items[0].label}`);
  }

  option(item, index) {
    const choose = (event) => {
      event.preventDefault();
      this.accept(index);
    };
    return h(
      "li",
      {
        id: `${this.id}-option-${index}`,
        role: "option",
        class: item.deprecated ? "deprecated" : null,
        on: { pointerdown: choose },
      },
      h("span", { class: "label" }, item.label),
      h("span", { class: "detail" }, item.detail),
      item.description && h("span", { class: "description" }, item.description),
    );
  }

  select(index) {
    const { suggestions, list } = this;
    suggestions.at = (index + suggestions.items.length) % suggestions.items.length;
    [...list.children].forEach((option, at) =>
      option.setAttribute("aria-selected", String(at === suggestions.at)),
    );
    const chosen = list.children[suggestions.at];
    chosen.scrollIntoView({ block: "nearest" });
    this.area.setAttribute("aria-activedescendant", chosen.id);
  }

  suggestionKey(key) {
    const { at } = this.suggestions;
    if (key === "ArrowDown") this.select(at + 1);
    else if (key === "ArrowUp") this.select(at - 1);
    else if (key === "Enter" || key === "Tab") this.accept(at);
    else if (key === "Escape") this.dismiss();
    else {
      if (/^(Arrow|Home|End|Page)/.test(key)) this.dismiss();
      return false;
    }
    return true;
  }

  accept(index) {
    const { start, items } = this.suggestions;
    const { insert } = items[index];
    this.dismiss();
    this.replace(start, this.offset, insert);
    if (insert.endsWith(": ")) this.suggest(true);
    else this.dismiss();
  }

  dismiss() {
    this.suggestions = null;
    this.list.hidden = true;
    this.area.removeAttribute("aria-activedescendant");
  }

  /** Puts the list under the word being typed, or above it when there is no room. */
  place() {
    const caret = this.caret(this.suggestions.start);
    const box = this.list.parentElement.getBoundingClientRect();
    const { offsetHeight: height, offsetWidth: width } = this.list;
    const below = caret.bottom + height + 4 < window.innerHeight;
    this.list.style.top = `${(below ? caret.bottom + 4 : Math.max(4, caret.top - height - 4)) - box.top}px`;
    this.list.style.left = `${Math.max(4, Math.min(caret.left, window.innerWidth - width - 8) - box.left)}px`;
  }

  /** Where an offset is on the screen, measured on the painted copy. */
  caret(offset) {
    const range = document.createRange();
    const walker = document.createTreeWalker(this.painted, NodeFilter.SHOW_TEXT);
    let left = offset;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (left <= node.length) {
        range.setStart(node, left);
        range.collapse(true);
        const rectangle = range.getClientRects()[0];
        if (rectangle) return rectangle;
        break;
      }
      left -= node.length;
    }
    return this.painted.getBoundingClientRect();
  }
}
