/** Tabs, history and pane sizes, kept in this browser for this clinic's host alone. Secrets are left out. */

const KEY = "polyclinic.console";
const HISTORY = 50;
const SECRET = /password|secret|token/i;
const SECRET_LITERAL = /(\w*(?:password|secret|token)\w*\s*:\s*)"(?:[^"\\\n]|\\.)*"/gi;

const EMPTY = { tabs: [], active: 0, history: [], sizes: {} };

/** What was kept, or an empty store when there is nothing readable. */
export function load() {
  try {
    return { ...EMPTY, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
  } catch {
    return { ...EMPTY };
  }
}

/** Keeps `state`; a browser that stores nothing is no failure. */
export function save({ tabs, active, history, sizes }) {
  const kept = { tabs: tabs.map(clean), active, history: history.slice(0, HISTORY).map(clean), sizes };
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    /* private mode or a full store: the page works, it only forgets */
  }
}

function clean({ query, variables, at, outcome }) {
  return { query: query.replace(SECRET_LITERAL, '$1""'), variables: cleanVariables(variables), at, outcome };
}

function cleanVariables(text) {
  if (!SECRET.test(text)) return text;
  try {
    return JSON.stringify(
      JSON.parse(text, (key, value) => (SECRET.test(key) ? "" : value)),
      null,
      2,
    );
  } catch {
    return "";
  }
}
