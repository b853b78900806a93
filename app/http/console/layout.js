/** Panes: the sidebar's tabs, the views of a narrow screen, and the handles between panes. */

import { $, arrowKeys } from "./dom.js";

const STEP = 24;
const LIMITS = { side: [200, 560], answer: [280, 1100], variables: [72, 600] };

/** @param {Record<string, number>} sizes pixels by pane; kept up to date */
export function layOut(sizes, onResize) {
  arrowKeys($(".side .tablist"));
  for (const tab of document.querySelectorAll('.side [role="tab"]'))
    tab.addEventListener("click", () => showPanel(tab));
  for (const button of document.querySelectorAll(".views button"))
    button.addEventListener("click", () => showView(button.dataset.view));
  for (const handle of document.querySelectorAll(".splitter")) new Splitter(handle, sizes, onResize);
}

function showPanel(chosen) {
  for (const tab of chosen.parentElement.children) {
    const active = tab === chosen;
    tab.setAttribute("aria-selected", String(active));
    tab.tabIndex = active ? 0 : -1;
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !active;
  }
}

/** On a narrow screen: which pane fills it (`side`, `write` or `answer`). */
export function showView(view) {
  $(".workbench").dataset.view = view;
  for (const button of document.querySelectorAll(".views button"))
    button.setAttribute("aria-pressed", String(button.dataset.view === view));
}

class Splitter {
  constructor(handle, sizes, onResize) {
    Object.assign(this, { handle, sizes, onResize, name: handle.dataset.size });
    this.flat = handle.getAttribute("aria-orientation") === "horizontal";
    this.grows = this.name === "side" ? 1 : -1;
    const [least, most] = LIMITS[this.name];
    handle.setAttribute("aria-valuemin", least);
    handle.setAttribute("aria-valuemax", most);
    if (sizes[this.name]) this.set(sizes[this.name]);
    handle.addEventListener("pointerdown", (event) => this.drag(event));
    handle.addEventListener("keydown", (event) => this.key(event));
  }

  get pane() {
    return $(`.${this.name}`);
  }

  get size() {
    const { width, height } = this.pane.getBoundingClientRect();
    return this.flat ? height : width;
  }

  set(pixels) {
    const [least, most] = LIMITS[this.name];
    const size = Math.round(Math.min(most, Math.max(least, pixels)));
    $(".workbench").style.setProperty(`--${this.name}`, `${size}px`);
    this.handle.setAttribute("aria-valuenow", size);
    this.sizes[this.name] = size;
  }

  drag(event) {
    event.preventDefault();
    const begun = { at: this.flat ? event.clientY : event.clientX, size: this.size };
    const move = (moved) =>
      this.set(begun.size + this.grows * ((this.flat ? moved.clientY : moved.clientX) - begun.at));
    this.handle.setPointerCapture(event.pointerId);
    this.handle.addEventListener("pointermove", move);
    const end = () => {
      this.handle.removeEventListener("pointermove", move);
      this.onResize();
    };
    this.handle.addEventListener("lostpointercapture", end, { once: true });
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.set(this.size + this.grows * step * STEP);
    this.onResize();
  }
}
