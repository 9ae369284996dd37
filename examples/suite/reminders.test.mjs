// A test suite that is not written in Go. It needs a Recall that lets it move the
// time, and finds it by the environment: QSTASH_URL and QSTASH_TOKEN, as
// "recall dev --test-api" prints them. Run it with: node --test
import { strict as assert } from "node:assert";
import { beforeEach, test } from "node:test";

// The program under test: it reminds customers with a queue.
async function call(method, path, headers = {}, body) {
  const resp = await fetch(process.env.QSTASH_URL + path, {
    method,
    headers: { Authorization: `Bearer ${process.env.QSTASH_TOKEN}`, ...headers },
    body,
  });
  assert.ok(resp.ok, `${method} ${path}: ${resp.status}`);
  return resp.json();
}

const remind = (order) =>
  call("POST", "/v2/publish/https://shop.test/remind", { "Upstash-Delay": "1d", "Upstash-Label": order }, order);
const paid = (order) => call("DELETE", `/v2/messages?label=${order}`);

// The queue, as its tests steer it.
const steer = (path, body) => call("POST", `/recall/v1/test/${path}`, {}, JSON.stringify(body));
const look = (path) => call("GET", `/recall/v1/test/${path}`);

beforeEach(() => steer("reset"));

test("who does not pay is reminded, also when the shop is down at first", async () => {
  await steer("endpoints", { url: "https://shop.test", script: [{ status: 503 }, { status: 200 }] });
  await remind("order-7");
  await steer("clock/advance", { by: "23h" });
  assert.deepEqual(await look("deliveries"), []);
  await steer("clock/drain");
  const tries = await look("deliveries");
  assert.deepEqual(tries.map((d) => d.status), [503, 200]);
  assert.deepEqual(await look("problems"), []);
});

test("who has paid is not", async () => {
  await steer("endpoints", { url: "https://shop.test", script: [{ status: 200 }] });
  await remind("order-7");
  await remind("order-8");
  await paid("order-7");
  await steer("clock/drain");
  const fates = (await look("messages")).map((m) => m.fate);
  assert.deepEqual(fates.sort(), ["cancelled", "delivered"]);
  assert.deepEqual(await look("problems"), []);
});
