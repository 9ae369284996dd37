// What the cases need: the requests that the SDK sends, endpoints that receive
// deliveries, and waiting with a deadline.
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";

const patience = 10_000; // ms that anything may take

// Nothing leaves the machine: a connection to anywhere else is an error of the
// case that made it, before a name is even looked up.
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const options = Array.isArray(args[0]) ? args[0][0] : args[0];
  const host = options?.host ?? "localhost";
  if (!options?.path && !["127.0.0.1", "::1", "localhost"].includes(host)) {
    throw new Error(`a connection to ${host} was refused: only the loopback is allowed`);
  }
  return connect.apply(this, args);
};

// sent holds what went through fetch, the way of every SDK call.
const sent = [];
const fetch = globalThis.fetch;
globalThis.fetch = (target, options = {}) => {
  const url = new URL(String(target));
  sent.push({
    line: `${options.method ?? "GET"} ${String(target).slice(url.origin.length)}`,
    headers: new Headers(options.headers),
    body: options.body ?? "",
  });
  return fetch(target, options);
};

// sends runs an SDK call, checks that it made exactly this request, and
// returns what the SDK made of the answer. body is JSON, a string, or
// undefined for none.
export async function sends(line, body, call) {
  sent.length = 0;
  const result = await call();
  assert.deepEqual(sent.map((r) => r.line), [line]);
  const [{ body: got }] = sent;
  if (typeof body === "object") assert.deepEqual(JSON.parse(got), body);
  else assert.equal(got, body ?? "");
  return result;
}

// lastHeaders are those of the request that was made last.
export const lastHeaders = () => sent.at(-1).headers;

const endpoints = new Map();
const server = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const endpoint = endpoints.get(request.url.split("/")[1]);
  if (!endpoint) return response.writeHead(404).end("404 Not Found");
  endpoint.take({
    method: request.method,
    path: request.url.slice(1 + request.url.split("/")[1].length),
    headers: request.headers,
    body: Buffer.concat(chunks).toString(),
    request,
  }, response);
});

export const listen = () => new Promise((ready) => server.listen(0, "127.0.0.1", ready));
export const close = () => server.close().closeAllConnections();

// Endpoint answers deliveries with respond(arrival, response), by default 200,
// and hands them on in order. Its url has no slash at the end.
class Endpoint {
  #arrived = [];
  #waiting = [];
  #respond;

  constructor(respond) {
    this.#respond = respond ?? ((_, response) => response.end("ok"));
    const name = `e${endpoints.size + 1}`;
    endpoints.set(name, this);
    this.url = `http://127.0.0.1:${server.address().port}/${name}`;
  }

  async take(arrival, response) {
    (this.#waiting.shift() ?? ((a) => this.#arrived.push(a)))(arrival);
    await this.#respond(arrival, response);
  }

  // next returns the delivery after the one that it returned before.
  next() {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift());
    return within("a delivery", new Promise((resolve) => this.#waiting.push(resolve)));
  }

  // count of deliveries that nobody has asked for yet.
  get unread() {
    return this.#arrived.length;
  }
}

export const endpoint = (respond) => new Endpoint(respond);

// answering responds with the statuses in turn, then with the last again, and
// lets retries follow at once.
export const answering = (...statuses) => {
  let i = 0;
  return (_, response) => {
    const status = statuses[Math.min(i++, statuses.length - 1)];
    response.writeHead(status, { "Retry-After": "0", "X-Reply": "yes" }).end(`${status} it is`);
  };
};

export function within(what, promise, ms = patience) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// eventually repeats a check as long as an assertion of it fails.
export async function eventually(check) {
  for (const end = Date.now() + patience; ; ) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end || error.code !== "ERR_ASSERTION") throw error;
    }
    await new Promise((r) => setTimeout(r, 20));
  }
}

// fails checks that a call throws an error of the SDK with this status and a
// JSON body that has a text.
export async function fails(sdk, status, text, call) {
  const error = await call().then((r) => assert.fail(`no error but ${JSON.stringify(r)}`), (e) => e);
  assert.ok(error instanceof sdk.QstashError, `${error.stack}`);
  if (error.status !== undefined) assert.equal(error.status, status, error.message);
  assert.match(JSON.parse(error.message).error, text);
}

const cases = [];

// test adds a case. The name is that of a row of the matrix, which may be
// followed by a colon and what is special. uses names a method, like
// "Messages.cancel": a version that lacks it has no such case. Nor has one for
// which run returns "absent".
export const test = (name, uses, run) => cases.push({ name, uses, run });
export { cases };
