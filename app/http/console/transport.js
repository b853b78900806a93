/** POST /graphql, the way the server wants it from a browser. */

const HEADERS = {
  "Content-Type": "application/json",
  Accept: "application/json",
  "X-Polyclinic-Client": "console",
};

/**
 * @param {{query: string, variables?: Object, operationName?: string}} request
 * @param {AbortSignal} [signal]
 * @returns {Promise<{status: number, text: string, body: Object|null, milliseconds: number, requestId: string|null}>}
 *   `body` is null when the answer is not JSON
 * @throws {Error} named `AbortError` when stopped; any other: nothing answered
 */
export async function send(request, signal) {
  const begun = performance.now();
  const response = await fetch("/graphql", {
    method: "POST",
    headers: HEADERS,
    credentials: "same-origin",
    body: JSON.stringify(request),
    signal,
  });
  const text = await response.text();
  const body = parse(text);
  const requestId = body?.errors?.[0]?.extensions?.requestId ?? response.headers.get("x-request-id");
  return { status: response.status, text, body, milliseconds: performance.now() - begun, requestId };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A failure that the server told of: its code, its words, and more in `extensions`. */
export class Refusal extends Error {
  constructor({ message, extensions = {} }, status) {
    super(message);
    this.code = extensions.code ?? `HTTP ${status}`;
    this.extensions = extensions;
  }
}

/** Sends and gives `data`. Throws a `Refusal` on the first error of the answer. */
export async function ask(query, variables = {}) {
  const { status, body } = await send({ query, variables });
  const [error] =
    body?.errors ?? (body?.error ? [{ message: body.error.message, extensions: body.error }] : []);
  if (error) throw new Refusal(error, status);
  if (!body?.data) throw new Refusal({ message: "The server’s answer is not GraphQL." }, status);
  return body.data;
}
