import assert from "node:assert/strict";

import { answering, endpoint, eventually, sends, test } from "../harness.mjs";

// logged waits until a message has reached a state, and returns its entries,
// oldest first.
const logged = (client, messageId, state) => eventually(async () => {
  const { logs } = await client.logs({ filter: { messageId } });
  assert.ok(logs.some((l) => l.state === state), JSON.stringify(logs));
  return logs.reverse();
});

const states = (logs) => logs.map((l) => l.state);

test("logs", "Client.logs", async ({ client }) => {
  const at = endpoint(answering(500));
  const { messageId } = await client.publish({ url: at.url, body: "x", retries: 0, headers: { "X-One": "1" } });
  const logs = await logged(client, messageId, "FAILED");
  assert.deepEqual(states(logs), ["CREATED", "ACTIVE", "ERROR", "FAILED"]);
  for (const entry of logs) {
    assert.deepEqual([entry.messageId, entry.url, typeof entry.time], [messageId, at.url, "number"]);
  }
  const { logs: one } = await sends(`GET /v2/events?messageId=${messageId}&state=FAILED`, "", () => client.logs({ filter: { messageId, state: "FAILED" } }));
  assert.deepEqual(states(one), ["FAILED"]);
  const { logs: unfinished } = await client.logs({ filter: { messageId, state: "IN_PROGRESS" } });
  assert.deepEqual(states(unfinished), ["ERROR", "ACTIVE"]);
});

test("logs: delivered and cancelled", "Client.logs", async ({ client }) => {
  const at = endpoint();
  const { messageId } = await client.publish({ url: at.url });
  assert.deepEqual(states(await logged(client, messageId, "DELIVERED")), ["CREATED", "ACTIVE", "DELIVERED"]);
  const { messageId: other } = await client.publish({ url: at.url, delay: "1h" });
  await client.messages.delete(other);
  assert.deepEqual(states(await logged(client, other, "CANCELED")).filter((s) => s !== "CANCEL_REQUESTED"), ["CREATED", "CANCELED"]);
  const { logs } = await client.logs({ filter: { messageId: other, state: "CANCELED" } });
  assert.equal(logs.length, 1);
});

test("logs: pages", "Client.logs", async ({ client, since }) => {
  const at = endpoint();
  const { messageId } = await client.publish({ url: at.url });
  const whole = (await logged(client, messageId, "DELIVERED")).reverse();
  const seen = [];
  let cursor;
  do {
    const page = await client.logs(since(2, 10) ? { count: 2, cursor, filter: { messageId } } : { cursor, filter: { messageId, count: 2 } });
    assert.ok(page.logs.length <= 2);
    seen.push(...page.logs);
    cursor = page.cursor;
  } while (cursor);
  assert.equal(cursor, undefined);
  assert.deepEqual(seen, whole);
  const { logs } = await client.logs({ cursor: Date.now() + 1000, filter: { messageId } });
  assert.deepEqual(logs, whole);
});

test("logs: by messageIds", "Client.logs", async ({ client, since }) => {
  if (!since(2, 10)) return "absent";
  const to = endpoint();
  const ids = [];
  for (const _ of [1, 2, 3]) ids.push((await client.publish({ url: to.url })).messageId);
  for (const id of ids) await logged(client, id, "DELIVERED");
  const [a, , c] = ids;
  const { logs } = await sends(`GET /v2/events?messageIds=${a}&messageIds=${c}`, "", () => client.logs({ messageIds: [a, c] }));
  assert.deepEqual([...new Set(logs.map((l) => l.messageId))].sort(), [a, c].sort());
});

test("logs: of a URL group", "Client.logs", async ({ client }) => {
  const at = endpoint();
  await client.urlGroups.addEndpoints({ name: "sdk-logs", endpoints: [{ name: "first", url: at.url }] });
  const [{ messageId }] = await client.publish({ urlGroup: "sdk-logs" });
  const [entry] = await logged(client, messageId, "DELIVERED");
  assert.deepEqual([entry.urlGroup, entry.endpointName], ["sdk-logs", "first"]);
  await client.urlGroups.delete("sdk-logs");
});

test("events", "Client.events", async ({ client }) => {
  const at = endpoint();
  const { messageId } = await client.publish({ url: at.url });
  await logged(client, messageId, "DELIVERED");
  const { events } = await sends(`GET /v2/events?messageId=${messageId}`, "", () => client.events({ filter: { messageId } }));
  assert.equal(events.length, 3);
  const all = await sends("GET /v2/events", "", () => client.events());
  assert.ok(all.events.length >= 3);
});
