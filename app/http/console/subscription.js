/** The clinic's subscription in development: what it has, buying a plan, and coming back from PayPal. */

import { h } from "./dom.js";
import { ask } from "./transport.js";

const SHOW = `query Subscription {
  subscriptionDashboard {
    subscription { plan status expiresAt renewalAt works }
    usage { seats seatsTaken }
    payments { paidAt plan billingCycle state amount { amount currency } }
    plans { name seats monthly { amount currency } yearly { amount currency } renewable }
  }
}`;
const ORDER = `mutation Order($input: CreateSubscriptionOrderInput!) {
  createSubscriptionOrder(input: $input) { id approveUrl }
}`;
const CAPTURE = `mutation Capture($input: CaptureSubscriptionOrderInput!) {
  captureSubscriptionOrder(input: $input) { id status }
}`;
const CANCEL = `mutation Cancel { cancelSubscription(input: {}) { status } }`;

const said = h("p", { role: "status" });
const place = h("div");
document.body.append(h("h1", {}, "Subscription"), said, place);

function say(text, bad = false) {
  said.textContent = text;
  said.className = bad ? "bad" : "";
}

/** Does a piece of work, and tells how it failed. */
async function tried(work) {
  try {
    await work();
  } catch (error) {
    say(`${error.code ?? "Failed"}: ${error.message}`, true);
    if (error.code === "UNAUTHENTICATED") place.replaceChildren(h("a", { href: "/graphql" }, "Sign in first"));
  }
}

async function buy(plan, billingCycle, renews) {
  const input = { plan, billingCycle, renews, idempotencyKey: crypto.randomUUID() };
  const { createSubscriptionOrder: order } = await ask(ORDER, { input });
  location.assign(order.approveUrl);
}

async function show() {
  const { subscriptionDashboard: all } = await ask(SHOW);
  const { subscription: now, usage, plans, payments } = all;
  const day = (text) => (text ? text.slice(0, 10) : "none");
  place.replaceChildren(h("div", {},
    h("p", {}, `${now.plan}, ${now.status}; until ${day(now.expiresAt)}; renews on ${day(now.renewalAt)}; ` +
      `${usage.seatsTaken} of ${usage.seats} seats taken.`),
    now.works ? null : h("p", { class: "bad" }, "The clinic can read, export and pay, and nothing else."),
    h("table", {}, ...plans.map(planRow)),
    h("p", {}, button("End the subscription", async () => {
      await ask(CANCEL);
      await show();
    })),
    h("h2", {}, "Payments"),
    h("table", {}, ...payments.map((one) => row([day(one.paidAt), one.plan, one.billingCycle, money(one.amount), one.state]))),
  ));
}

function planRow(plan) {
  const offers = [["MONTHLY", plan.monthly], ["YEARLY", plan.yearly]].map(([cycle, price]) => [
    button(`${money(price)} ${cycle.toLowerCase()}`, () => buy(plan.name, cycle, false)),
    plan.renewable.includes(cycle) ? button("renewing itself", () => buy(plan.name, cycle, true)) : null,
  ]);
  return row([plan.name, `${plan.seats} seats`, ...offers]);
}

const money = ({ amount, currency }) => `${amount} ${currency}`;
const row = (cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, cell)));
const button = (text, work) => h("button", { type: "button", on: { click: () => tried(work) } }, text);

async function begin() {
  const orderId = new URLSearchParams(location.search).get("order");
  if (location.pathname === "/subscription/paid" && orderId) {
    say("Taking the payment…");
    const { captureSubscriptionOrder: order } = await ask(CAPTURE, { input: { orderId } });
    say(`The order is ${order.status}.`);
  } else if (location.pathname === "/subscription/cancelled") {
    say("Nothing was paid.");
  }
}

await tried(begin);
await tried(show);
