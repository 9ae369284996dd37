import assert from "node:assert/strict";

import { endpoint, fails, sends, test } from "../harness.mjs";

// waiting publishes messages that stay, and returns their ids in order.
async function waiting(client, ...requests) {
  const ids = [];
  for (const request of requests) {
    ids.push((await client.publish({ url: "http://127.0.0.1:1/", delay: "1h", ...request })).messageId);
  }
  return ids;
}

const gone = (sdk, client, id) => fails(sdk, 404, /./, () => client.messages.get(id));

test("messages.get", "Messages.get", async ({ sdk, client }) => {
  const at = endpoint();
  const [id] = await waiting(client, { url: `${at.url}/p?q=1`, body: "text", headers: { "Content-Type": "text/plain", "X-One": "1" } });
  const m = await sends(`GET /v2/messages/${id}`, "", () => client.messages.get(id));
  assert.deepEqual([m.messageId, m.url, m.method, m.body, m.maxRetries], [id, `${at.url}/p?q=1`, "POST", "text", 3]);
  assert.deepEqual(m.header, { "Content-Type": ["text/plain"], "X-One": ["1"] });
  assert.ok(Math.abs(m.createdAt - Date.now()) < 60_000);
  await client.messages.delete(id);
  await gone(sdk, client, id);
});

test("messages.get: of a URL group", "Messages.get", async ({ client }) => {
  await client.urlGroups.addEndpoints({ name: "sdk-get", endpoints: [{ name: "first", url: "http://127.0.0.1:1/" }] });
  const [{ messageId }] = await client.publish({ urlGroup: "sdk-get", delay: 3600 });
  const m = await client.messages.get(messageId);
  assert.deepEqual([m.urlGroup, m.endpointName], ["sdk-get", "first"]);
  await client.messages.delete(messageId);
  await client.urlGroups.delete("sdk-get");
});

test("messages.get: just delivered", "Messages.get", async ({ client }) => {
  const at = endpoint();
  const { messageId } = await client.publish({ url: at.url, body: "fast" });
  await at.next();
  assert.equal((await client.messages.get(messageId)).body, "fast");
});

test("messages.cancel(id)", "Messages.cancel", async ({ sdk, client }) => {
  const [id] = await waiting(client, {});
  assert.deepEqual(await sends(`DELETE /v2/messages/${id}`, "", () => client.messages.cancel(id)), { cancelled: 1 });
  await fails(sdk, 404, /./, () => client.messages.cancel(id));
});

test("messages.cancel(id): in flight", "Messages.cancel", async ({ client }) => {
  let answer;
  const at = endpoint((_, response) => { answer = () => response.writeHead(500).end(); });
  const { messageId } = await client.publish({ url: at.url, retries: 3 });
  await at.next();
  assert.deepEqual(await client.messages.cancel(messageId), { cancelled: 1 });
  answer();
});

test("messages.delete(id)", "Messages.delete", async ({ sdk, client }) => {
  const [id] = await waiting(client, {});
  await sends(`DELETE /v2/messages/${id}`, "", () => client.messages.delete(id));
  await gone(sdk, client, id);
  await fails(sdk, 404, /./, () => client.messages.delete(id));
});

test("messages.deleteMany", "Messages.deleteMany", async ({ sdk, client, since }) => {
  const [a, b, c] = await waiting(client, {}, {}, {});
  const [line, body] = since(2, 10)
    ? [`DELETE /v2/messages?messageIds=${a}&messageIds=${b}&messageIds=msg_none`]
    : ["DELETE /v2/messages", { messageIds: [a, b, "msg_none"] }];
  assert.equal(await sends(line, body, () => client.messages.deleteMany([a, b, "msg_none"])), 2);
  await gone(sdk, client, a);
  assert.equal((await client.messages.get(c)).messageId, c);
  await client.messages.delete(c);
});

test("messages.deleteMany: of none", "Messages.deleteMany", async ({ client, since }) => {
  const [id] = await waiting(client, {});
  if (since(2, 10)) assert.equal(await client.messages.deleteMany([]), 0);
  else assert.equal(await sends("DELETE /v2/messages", { messageIds: [] }, () => client.messages.deleteMany([])), 1);
  assert.equal(await client.messages.deleteMany([id]), since(2, 10) ? 1 : 0);
});

test("messages.deleteAll", "Messages.deleteAll", async ({ client, since }) => {
  await waiting(client, {}, {});
  const line = since(2, 10) ? "DELETE /v2/messages?count=100" : "DELETE /v2/messages";
  assert.equal(await sends(line, "", () => client.messages.deleteAll()), 2);
  assert.equal(await client.messages.deleteAll(), 0);
});

test("messages.cancel(ids)", "Messages.cancel", async ({ client }) => {
  const [a, b] = await waiting(client, {}, {});
  assert.deepEqual(await sends(`DELETE /v2/messages?messageIds=${a}`, "", () => client.messages.cancel([a])), { cancelled: 1 });
  assert.deepEqual(await sends(`DELETE /v2/messages?messageIds=${b}`, "", () => client.messages.cancel({ messageIds: [b] })), { cancelled: 1 });
  assert.deepEqual(await client.messages.cancel([]), { cancelled: 0 });
});

test("messages.cancel({filter})", "Messages.cancel", async ({ client }) => {
  const filter = {
    url: ["http://127.0.0.1:1/a,b", "http://127.0.0.1:1/c"], label: "sdk-x", flowControlKey: ["sdk-k", "sdk-l"],
    callerIp: "127.0.0.1", host: "127.0.0.1", path: ["/a,b", "/c"], fromDate: 1000, toDate: new Date(Date.now() + 60_000),
  };
  const flowControl = { key: "sdk-k", parallelism: 1 };
  await waiting(client, { url: filter.url[0], label: "sdk-x", flowControl }, { url: filter.url[1], label: ["sdk-y", "sdk-x"], flowControl });
  const [other] = await waiting(client, { url: filter.url[0], label: "sdk-y", flowControl });
  const line = "DELETE /v2/messages?url=http%3A%2F%2F127.0.0.1%3A1%2Fa%2Cb&url=http%3A%2F%2F127.0.0.1%3A1%2Fc&label=sdk-x" +
    "&flowControlKey=sdk-k&flowControlKey=sdk-l&callerIp=127.0.0.1&host=127.0.0.1&path=%2Fa%2Cb&path=%2Fc" +
    `&fromDate=1000&toDate=${filter.toDate.getTime()}&count=100`;
  assert.deepEqual(await sends(line, "", () => client.messages.cancel({ filter })), { cancelled: 2 });
  assert.equal((await client.messages.get(other)).label, "sdk-y");
  await client.messages.cancel(other);
});

test("messages.cancel({filter}): queue and URL group", "Messages.cancel", async ({ client }) => {
  await client.urlGroups.addEndpoints({ name: "sdk-cancel", endpoints: [{ url: "http://127.0.0.1:1/" }] });
  await client.queue({ queueName: "sdk-cancel" }).enqueue({ url: "http://127.0.0.1:1/", delay: "1h" });
  await client.publish({ urlGroup: "sdk-cancel", delay: "1h" });
  const cancel = (filter) => client.messages.cancel({ filter });
  assert.deepEqual(await sends("DELETE /v2/messages?queueName=sdk-cancel&count=100", "", () => cancel({ queueName: "sdk-cancel" })), { cancelled: 1 });
  assert.deepEqual(await sends("DELETE /v2/messages?topicName=sdk-cancel&count=100", "", () => cancel({ urlGroup: "sdk-cancel" })), { cancelled: 1 });
  assert.deepEqual(await cancel({ scheduleId: "sdk-none" }), { cancelled: 0 });
  await client.urlGroups.delete("sdk-cancel");
});

test("messages.cancel({filter}): more than a hundred", "Messages.cancel", async ({ client }) => {
  const item = { url: "http://127.0.0.1:1/", delay: "1h", label: "sdk-many" };
  await client.batch(Array.from({ length: 250 }, () => ({ ...item })));
  assert.deepEqual(await client.messages.cancel({ filter: { label: "sdk-many" } }), { cancelled: 250 });
});

test("messages.cancel({filter}): a misspelt name", "Messages.cancel", async ({ sdk, client }) => {
  const [id] = await waiting(client, {});
  await fails(sdk, 400, /labeel/, () => client.messages.cancel({ filter: { labeel: "x" } }));
  assert.deepEqual(await client.messages.cancel(id), { cancelled: 1 });
});

test("messages.cancel({all})", "Messages.cancel", async ({ client }) => {
  await waiting(client, {}, {}, {});
  assert.deepEqual(await sends("DELETE /v2/messages?count=2", "", () => client.messages.cancel({ all: true, count: 2 })), { cancelled: 2 });
  assert.deepEqual(await sends("DELETE /v2/messages?count=100", "", () => client.messages.cancel({ all: true })), { cancelled: 1 });
});

test("messages.deleteMany: one in flight", "Messages.deleteMany", async ({ sdk, client }) => {
  let answer;
  const at = endpoint((_, response) => { answer = () => response.end(); });
  const { messageId } = await client.publish({ url: at.url, retries: 0 });
  await at.next();
  await fails(sdk, 409, new RegExp(messageId), () => client.messages.deleteMany([messageId]));
  answer();
});
