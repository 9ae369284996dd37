import assert from "node:assert/strict";

import { endpoint, fails, sends, test } from "../harness.mjs";

// key uses a flow-control key once, because a key is known from its first
// message on.
async function used(client, key, flowControl = { parallelism: 2, rate: 30, period: "1h30m3s" }) {
  const at = endpoint();
  await client.publish({ url: at.url, flowControl: { key, ...flowControl } });
  await at.next();
  return { at, key };
}

test("flowControl.get", "FlowControlApi.get", async ({ sdk, client }) => {
  await used(client, "sdk/get");
  const got = await sends("GET /v2/flowControl/sdk/get", "", () => client.flowControl.get("sdk/get"));
  assert.deepEqual([got.flowControlKey, got.parallelismMax, got.rateMax, got.ratePeriod, got.rateCount], ["sdk/get", 2, 30, 5403, 1]);
  assert.deepEqual([got.waitListSize, got.isPaused, got.isPinnedParallelism, got.isPinnedRate], [0, false, false, false]);
  assert.ok(Math.abs(got.ratePeriodStart - Date.now() / 1000) < 60);
  assert.equal(typeof got.parallelismCount, "number");
  await fails(sdk, 404, /./, () => client.flowControl.get("sdk-none"));
});

test("flowControl.getGlobalParallelism", "FlowControlApi.getGlobalParallelism", async ({ client }) => {
  const got = await sends("GET /v2/globalParallelism", "", () => client.flowControl.getGlobalParallelism());
  assert.equal(typeof got.parallelismMax, "number");
  assert.equal(typeof got.parallelismCount, "number");
});

test("flowControl.pause, .resume", "FlowControlApi.pause", async ({ client }) => {
  const { at, key } = await used(client, "sdk-pause");
  await sends(`POST /v2/flowControl/${key}/pause`, "", () => client.flowControl.pause(key));
  await client.publish({ url: at.url, body: "waits", flowControl: { key, parallelism: 2 } });
  const paused = await client.flowControl.get(key);
  assert.deepEqual([paused.isPaused, paused.waitListSize, at.unread], [true, 1, 0]);
  await sends(`POST /v2/flowControl/${key}/resume`, "", () => client.flowControl.resume(key));
  assert.equal((await at.next()).body, "waits");
});

test("flowControl.pause, .resume: back", "FlowControlApi.resume", async ({ client }) => {
  const { key } = await used(client, "sdk-resume");
  await client.flowControl.pause(key);
  await client.flowControl.resume(key);
  assert.equal((await client.flowControl.get(key)).isPaused, false);
});

test("flowControl.pin", "FlowControlApi.pin", async ({ client }) => {
  const { at, key } = await used(client, "sdk-pin");
  await sends(`POST /v2/flowControl/${key}/pin?parallelism=5&rate=7&period=60`, "", () => client.flowControl.pin(key, { parallelism: 5, rate: 7, period: 60 }));
  await client.publish({ url: at.url, flowControl: { key, parallelism: 1 } });
  const got = await client.flowControl.get(key);
  assert.deepEqual([got.parallelismMax, got.rateMax, got.ratePeriod], [5, 7, 60]);
  assert.deepEqual([got.isPinnedParallelism, got.isPinnedRate], [true, true]);
});

test("flowControl.unpin", "FlowControlApi.unpin", async ({ client }) => {
  const { key } = await used(client, "sdk-unpin");
  await client.flowControl.pin(key, { parallelism: 5, rate: 7 });
  await sends(`POST /v2/flowControl/${key}/unpin?parallelism=true&rate=false`, "", () => client.flowControl.unpin(key, { parallelism: true, rate: false }));
  const got = await client.flowControl.get(key);
  assert.deepEqual([got.isPinnedParallelism, got.isPinnedRate, got.parallelismMax], [false, true, 5]);
});

test("flowControl.resetRate", "FlowControlApi.resetRate", async ({ client }) => {
  const { key } = await used(client, "sdk-reset");
  assert.equal((await client.flowControl.get(key)).rateCount, 1);
  await sends(`POST /v2/flowControl/${key}/resetRate`, "", () => client.flowControl.resetRate(key));
  assert.equal((await client.flowControl.get(key)).rateCount, 0);
});
