import assert from "node:assert/strict";

import { endpoint, fails, sends, test } from "../harness.mjs";

const named = (client, queueName) => client.queue({ queueName });

test("queue.upsert", "Queue.upsert", async ({ client }) => {
  const queue = named(client, "sdk-upsert");
  await sends("POST /v2/queues", { queueName: "sdk-upsert", parallelism: 1, paused: false }, () => queue.upsert({}));
  await sends("POST /v2/queues", { queueName: "sdk-upsert", parallelism: 3, paused: true }, () => queue.upsert({ parallelism: 3, paused: true }));
  const { parallelism, paused } = await queue.get();
  assert.deepEqual([parallelism, paused], [3, true]);
  await queue.delete();
});

test("queue.upsert: a bad name", "Queue.upsert", ({ sdk, client }) =>
  fails(sdk, 400, /queue/i, () => named(client, "no such/name").upsert({})));

test("queue.get", "Queue.get", async ({ sdk, client }) => {
  const queue = named(client, "sdk-get");
  await queue.upsert({ parallelism: 2 });
  const got = await sends("GET /v2/queues/sdk-get", "", () => queue.get());
  assert.deepEqual([got.name, got.parallelism, got.lag, got.paused], ["sdk-get", 2, 0, false]);
  assert.ok(Math.abs(got.createdAt - Date.now()) < 60_000 && got.updatedAt >= got.createdAt, JSON.stringify(got));
  await queue.delete();
  await fails(sdk, 404, /sdk-get/, () => queue.get());
});

test("queue.list", "Queue.list", async ({ client }) => {
  await named(client, "sdk-list").upsert({});
  const queues = await sends("GET /v2/queues", "", () => client.queue().list());
  assert.ok(queues.some((q) => q.name === "sdk-list"));
  await named(client, "sdk-list").delete();
});

test("queue.delete", "Queue.delete", async ({ client }) => {
  const queue = named(client, "sdk-delete");
  await queue.upsert({});
  await sends("DELETE /v2/queues/sdk-delete", "", () => queue.delete());
  await queue.delete(); // one that is not there is no error
  assert.ok(!(await client.queue().list()).some((q) => q.name === "sdk-delete"));
});

test("queue.pause, .resume", "Queue.pause", async ({ client }) => {
  const at = endpoint();
  const queue = named(client, "sdk-pause");
  await queue.upsert({});
  await sends("POST /v2/queues/sdk-pause/pause", "", () => queue.pause());
  await queue.enqueue({ url: at.url, body: "kept" });
  const { paused, lag } = await queue.get();
  assert.deepEqual([paused, lag, at.unread], [true, 1, 0]);
  await sends("POST /v2/queues/sdk-pause/resume", "", () => queue.resume());
  assert.equal((await at.next()).body, "kept");
  assert.equal((await queue.get()).paused, false);
  await queue.delete();
});

test("queue.enqueue", "Queue.enqueue", async ({ client }) => {
  let running = 0, most = 0;
  const at = endpoint(async (_, response) => {
    most = Math.max(most, ++running);
    await new Promise((r) => setTimeout(r, 10));
    running--;
    response.end();
  });
  const queue = named(client, "sdk-fifo");
  const bodies = ["1", "2", "3", "4"];
  for (const body of bodies) {
    const { messageId } = await sends(`POST /v2/enqueue/sdk-fifo/${at.url}`, body, () => queue.enqueue({ url: at.url, body }));
    assert.match(messageId, /^msg_/);
  }
  const order = [];
  for (const _ of bodies) order.push((await at.next()).body);
  assert.deepEqual([order, most], [bodies, 1]);
});

test("queue.enqueue: to a URL group", "Queue.enqueue", async ({ client }) => {
  const at = endpoint();
  await client.urlGroups.addEndpoints({ name: "sdk-enqueue", endpoints: [{ url: at.url }] });
  const [{ messageId, url }] = await named(client, "sdk-group").enqueue({ urlGroup: "sdk-enqueue" });
  assert.equal(url, at.url);
  assert.equal((await at.next()).headers["upstash-message-id"], messageId);
  await client.urlGroups.delete("sdk-enqueue");
});

test("queue.enqueueJSON", "Queue.enqueueJSON", async ({ client }) => {
  const at = endpoint();
  await sends(`POST /v2/enqueue/sdk-json/${at.url}`, { a: 1 }, () => named(client, "sdk-json").enqueueJSON({ url: at.url, body: { a: 1 } }));
  const got = await at.next();
  assert.deepEqual([got.headers["content-type"], got.body], ["application/json", '{"a":1}']);
});

test("queue.pause, .resume: twice", "Queue.resume", async ({ client }) => {
  const queue = named(client, "sdk-resume");
  await queue.upsert({ paused: true });
  for (const _ of [1, 2]) await queue.resume();
  assert.equal((await queue.get()).paused, false);
  for (const _ of [1, 2]) await queue.pause();
  assert.equal((await queue.get()).paused, true);
  await queue.delete();
});
