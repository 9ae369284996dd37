import assert from "node:assert/strict";

import { answering, endpoint, eventually, fails, sends, test } from "../harness.mjs";

// dead publishes n messages that fail for good, one after the other, and
// returns their entries in the dead letter queue, in that order.
async function dead(client, n, request = {}) {
  const at = endpoint(answering(404));
  const entries = [];
  for (let i = 0; i < n; i++) {
    const { messageId } = await client.publish({ url: at.url, body: `${i}`, retries: 0, ...request });
    entries.push(await eventually(async () => {
      const { messages } = await client.dlq.listMessages({ filter: { messageId } });
      assert.equal(messages.length, 1);
      return messages[0];
    }));
  }
  return { at, entries, ids: entries.map((e) => e.dlqId) };
}

const left = async (client, url) => (await client.dlq.listMessages({ filter: { url } })).messages.map((m) => m.dlqId);

test("dlq.listMessages", "DLQ.listMessages", async ({ client }) => {
  const { at, entries: [entry], ids } = await dead(client, 1);
  assert.deepEqual([entry.url, entry.method, entry.body, entry.responseStatus, entry.responseBody], [at.url, "POST", "0", 404, "404 it is"]);
  assert.deepEqual(entry.responseHeader["X-Reply"], ["yes"]);
  const all = await sends("GET /v2/dlq", "", () => client.dlq.listMessages());
  assert.equal(all.messages[0].dlqId, ids[0]);
  await client.dlq.delete(ids[0]);
});

test("dlq.listMessages: pages and filters", "DLQ.listMessages", async ({ client }) => {
  const { at, ids } = await dead(client, 3);
  const filter = { url: at.url, responseStatus: 404 };
  const seen = [];
  let cursor;
  do {
    const page = await client.dlq.listMessages({ count: 2, cursor, filter });
    assert.ok(page.messages.length <= 2);
    seen.push(...page.messages.map((m) => m.dlqId));
    cursor = page.cursor;
  } while (cursor);
  assert.equal(cursor, undefined);
  assert.deepEqual(seen.sort(), ids.sort());
  const none = await client.dlq.listMessages({ filter: { ...filter, responseStatus: 500 } });
  assert.deepEqual(none.messages, []);
  await client.dlq.deleteMany({ dlqIds: ids });
});

test("dlq.listMessages: of a URL group", "DLQ.listMessages", async ({ client }) => {
  const at = endpoint(answering(500));
  await client.urlGroups.addEndpoints({ name: "sdk-dead", endpoints: [{ url: at.url }] });
  const [{ messageId }] = await client.publish({ urlGroup: "sdk-dead", retries: 0 });
  const entry = await eventually(async () => {
    const { messages } = await client.dlq.listMessages({ filter: { urlGroup: "sdk-dead" } });
    assert.equal(messages.length, 1);
    return messages[0];
  });
  assert.deepEqual([entry.messageId, entry.urlGroup], [messageId, "sdk-dead"]);
  await client.dlq.delete(entry.dlqId);
  await client.urlGroups.delete("sdk-dead");
});

test("dlq.listMessages({dlqIds})", "DLQ.retry", async ({ client }) => {
  const { ids: [a, , c] } = await dead(client, 3);
  const { messages } = await sends(`GET /v2/dlq?dlqIds=${a}&dlqIds=${c}`, "", () => client.dlq.listMessages({ dlqIds: [a, c] }));
  assert.deepEqual(messages.map((m) => m.dlqId).sort(), [a, c]);
});

test("dlq.delete(id)", "DLQ.delete", async ({ sdk, client }) => {
  const { at, ids: [id] } = await dead(client, 1);
  await sends(`DELETE /v2/dlq/${id}`, "", () => client.dlq.delete(id));
  assert.deepEqual(await left(client, at.url), []);
  await fails(sdk, 404, /./, () => client.dlq.delete(id));
});

test("dlq.deleteMany", "DLQ.deleteMany", async ({ client, since }) => {
  const { at: { url }, ids: [a, b, c] } = await dead(client, 3);
  const [line, body] = since(2, 10) ? [`DELETE /v2/dlq?dlqIds=${a}&dlqIds=${b}`, ""] : ["DELETE /v2/dlq", { dlqIds: [a, b] }];
  assert.deepEqual(await sends(line, body, () => client.dlq.deleteMany({ dlqIds: [a, b] })), { deleted: 2 });
  assert.deepEqual(await left(client, url), [c]);
  assert.deepEqual(await client.dlq.deleteMany({ dlqIds: [a, c] }), { deleted: 1 });
});

// The versions without retry take no more than one id.
test("dlq.delete(ids / {filter} / {all})", "DLQ.retry", async ({ sdk, client }) => {
  const { at, ids: [a] } = await dead(client, 4, { label: "sdk-dead" });
  const rest = `url=${encodeURIComponent(at.url)}&label=sdk-dead&count=2`;
  assert.deepEqual(await sends(`DELETE /v2/dlq?dlqIds=${a}`, "", () => client.dlq.delete([a])), { deleted: 1 });
  const filter = { url: at.url, label: "sdk-dead" };
  const page = await sends(`DELETE /v2/dlq?${rest}`, "", () => client.dlq.delete({ filter, count: 2 }));
  assert.equal(page.deleted, 2);
  const end = await client.dlq.delete({ filter, count: 2, cursor: page.cursor });
  assert.deepEqual([end.deleted, end.cursor], [1, undefined]);
  assert.deepEqual(await left(client, at.url), []);
  await fails(sdk, 400, /labeel/, () => client.dlq.delete({ filter: { labeel: "x" } }));
  await dead(client, 2);
  await sends("DELETE /v2/dlq?count=100", "", () => client.dlq.delete({ all: true }));
  assert.deepEqual((await client.dlq.listMessages()).messages, []);
});

test("dlq.retry", "DLQ.retry", async ({ client }) => {
  const { at, entries, ids: [a, b, c] } = await dead(client, 4);
  const next = async () => (await at.next()).headers["upstash-message-id"];
  const old = entries.map((e) => e.messageId);
  for (const _ of old) assert.ok(old.includes(await next()));
  const retried = async (line, request, n) => {
    const { responses, cursor } = await sends(line, "", () => client.dlq.retry(request));
    assert.deepEqual([responses.length, cursor], [n, undefined]);
    const ids = responses.map((r) => r.messageId).sort();
    const came = [];
    for (let i = 0; i < n; i++) came.push(await next());
    assert.deepEqual(came.sort(), ids);
    assert.ok(!ids.some((id) => old.includes(id)), "a retry is a new message");
  };
  await retried(`POST /v2/dlq/retry?dlqIds=${a}`, a, 1);
  await retried(`POST /v2/dlq/retry?dlqIds=${b}&dlqIds=${c}`, [b, c], 2);
  // What was retried dies again, so the filter finds all four.
  await eventually(async () => assert.equal((await left(client, at.url)).length, 4));
  await retried(`POST /v2/dlq/retry?url=${encodeURIComponent(at.url)}&count=100`, { filter: { url: at.url } }, 4);
  await eventually(async () => assert.equal((await left(client, at.url)).length, 4));
  await retried("POST /v2/dlq/retry?count=100", { all: true }, 4);
  await eventually(async () => assert.equal((await left(client, at.url)).length, 4));
  await client.dlq.delete({ all: true });
});
