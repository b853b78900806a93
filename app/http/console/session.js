/** Who is signed in, at which clinic; signing in and out. */

import { $, announce, h } from "./dom.js";
import { isRequired } from "./schema.js";
import { ask } from "./transport.js";

const VIEWER = {
  name: {},
  email: {},
  role: { name: {} },
  clinic: { name: {} },
};
const CLINIC = { name: {}, displayName: {}, subdomain: {}, timezone: {}, regional: { timezone: {} } };

const SAID = {
  UNAUTHENTICATED: "E-mail or password is not right.",
  TENANT_NOT_FOUND: "No active clinic answers on this host.",
  TENANT_MISMATCH: "You are signed in, but not at this clinic.",
  UNAVAILABLE: "The server is busy or cannot reach its database. Try again shortly.",
};

export class Session {
  /** @param {() => void} onChange called after every sign-in and sign-out */
  constructor(onChange) {
    this.onChange = onChange;
    this.schema = null;
    this.clinic = null;
    this.dialog = $("#sign-in");
    this.form = $("#sign-in form");
    this.listen();
    this.offerDemo();
  }

  /** The clinic's IANA zone; this browser's own until it is known. */
  get zone() {
    return (
      this.clinic?.timezone ??
      this.clinic?.regional?.timezone ??
      Intl.DateTimeFormat().resolvedOptions().timeZone
    );
  }

  listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.signIn();
    });
    $("#sign-in-cancel").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => this.form.reset());
  }

  /** Fills the form on a click; the server lists these accounts in development only. */
  offerDemo() {
    const accounts = JSON.parse($('meta[name="polyclinic-demo"]')?.content ?? "[]");
    $("#demo").hidden = accounts.length === 0;
    const fill = ({ email, password }) => {
      this.form.elements.email.value = email;
      this.form.elements.password.value = password;
      $("#sign-in-submit").focus();
    };
    const button = (account) =>
      h(
        "button",
        { type: "button", class: "demo", on: { click: () => fill(account) } },
        h("b", {}, account.label),
        h("span", {}, account.email),
      );
    $("#demo-accounts").replaceChildren(...accounts.map(button));
  }

  /** Asks the server who we are, shows it, and tells nobody else. */
  async refresh(schema = this.schema) {
    this.schema = schema;
    const query = schema?.root("query");
    this.clinic = await this.read(query?.fields.get("clinic"), CLINIC).catch(() => null);
    try {
      this.show(await this.read(query?.fields.get("viewer"), VIEWER), null);
    } catch (error) {
      this.show(null, error.code);
    }
  }

  async read(field, wanted) {
    if (!field) return null;
    return (await ask(`query Console { ${field.name} ${this.schema.pick(field, wanted)} }`))[field.name];
  }

  /** Calls a mutation by name; its `input`, if any, takes `input`. */
  async call(name, input) {
    const field = this.schema?.root("mutation")?.fields.get(name);
    if (!field) throw new Error(`This server has no ${name}.`);
    const argument = input && field.args.find((each) => each.name === "input");
    const body = this.schema.pick(field, {});
    if (!argument) return ask(`mutation Console { ${name} ${body} }`);
    const type = this.schema.typeOf(argument.type).name;
    return ask(`mutation Console($input: ${type}!) { ${name}(input: $input) ${body} }`, { input });
  }

  /* ---- display ---- */

  show(viewer, code) {
    const clinic = $("#clinic");
    clinic.textContent = this.clinic?.displayName ?? this.clinic?.name ?? location.host;
    clinic.title = this.clinic ? `${location.host} · ${this.zone}` : location.host;
    const outside = code === "TENANT_MISMATCH" || Boolean(viewer && this.clinic && viewer.clinic === null);
    $("#who").replaceChildren(...this.person(viewer, outside));
    $("#session-actions").replaceChildren(...this.actions(viewer, outside));
  }

  /** `outside`: signed in, but the session has not entered this host's clinic. */
  person(viewer, outside) {
    const role = outside ? "not in this clinic" : (viewer?.role?.name ?? viewer?.role)?.toLowerCase();
    const name = viewer ? (viewer.name ?? viewer.email) : outside ? "Signed in elsewhere" : null;
    if (!name) return [h("span", { class: "person-none" }, "Not signed in")];
    return [
      h("span", { class: "person", title: viewer?.email }, name),
      role && h("span", { class: "role" }, role),
    ].filter(Boolean);
  }

  actions(viewer, outside) {
    const button = (text, kind, click) => h("button", { type: "button", class: kind, on: { click } }, text);
    return [
      outside && this.canSwitch() && button("Enter this clinic", "primary", () => this.enter()),
      viewer && button("Sign out", "quiet", () => this.signOut()),
      !viewer && button("Sign in", outside ? "quiet" : "primary", () => this.open()),
    ].filter(Boolean);
  }

  canSwitch() {
    const field = this.schema?.root("mutation")?.fields.get("switchTenant");
    return Boolean(field) && !field.args.some(isRequired);
  }

  open() {
    const login = this.schema?.root("mutation")?.fields.get("login");
    const input = login?.args.find(({ name }) => name === "input");
    const withCode = Boolean(input && this.schema.typeOf(input.type).inputFields?.has("code"));
    $("#code-field").hidden = !withCode;
    this.fail("");
    this.dialog.showModal();
  }

  fail(text) {
    $("#sign-in-error").textContent = text;
    $("#sign-in-error").hidden = text === "";
  }

  /* ---- actions ---- */

  async signIn() {
    const { email, password, code } = this.form.elements;
    const input = {
      email: email.value.trim(),
      password: password.value,
      ...(code.value ? { code: code.value.trim() } : {}),
    };
    this.fail("");
    $("#sign-in-submit").disabled = true;
    try {
      await this.call("login", input);
      this.dialog.close();
      await this.changed("Signed in");
    } catch (error) {
      this.fail(said(error));
    } finally {
      $("#sign-in-submit").disabled = false;
    }
  }

  async signOut() {
    await this.call("logout").catch((error) => announce(said(error)));
    await this.changed("Signed out");
  }

  async enter() {
    await this.call("switchTenant").catch((error) => announce(said(error)));
    await this.changed("Entered this clinic");
  }

  async changed(text) {
    await this.refresh();
    announce(text);
    this.onChange();
  }
}

/** What a failed sign-in is told to a person. */
function said({ code, message, extensions = {} }) {
  if (code === "RATE_LIMITED")
    return `Too many tries. Try again in ${extensions.retryAfter ?? "a few"} seconds.`;
  if (code === "VALIDATION_FAILED" && extensions.fields?.length)
    return extensions.fields.map((each) => each.message).join(" ");
  return SAID[code] ?? (code ? `${message} (${code})` : `The server does not answer. ${message}`);
}
