import assert from "node:assert/strict";

import { answering, endpoint, fails, lastHeaders, sends, test } from "../harness.mjs";

test("publish", "Client.publish", async ({ client }) => {
  const at = endpoint();
  const url = `${at.url}/a//c?x=1&y=%2F%20z`;
  const { messageId } = await sends(`POST /v2/publish/${url}`, "hello", () =>
    client.publish({ url, body: "hello", method: "PUT", headers: { "Content-Type": "text/plain", "X-Trace": "7" } }));
  assert.match(messageId, /^msg_/);
  assert.match(lastHeaders().get("upstash-telemetry-sdk"), /^upstash-qstash-js@/);
  const got = await at.next();
  assert.deepEqual([got.method, got.path, got.body], ["PUT", "/a//c?x=1&y=%2F%20z", "hello"]);
  assert.equal(got.headers["content-type"], "text/plain");
  assert.equal(got.headers["x-trace"], "7");
  assert.equal(got.headers["upstash-message-id"], messageId);
  assert.equal(got.headers["upstash-retried"], "0");
  assert.equal(got.headers["user-agent"], "Upstash-QStash");
  for (const name of Object.keys(got.headers)) assert.doesNotMatch(name, /telemetry|^authorization$/);
});

test("publish: without a body", "Client.publish", async ({ client }) => {
  const at = endpoint();
  await client.publish({ url: at.url, method: "GET" });
  const got = await at.next();
  assert.deepEqual([got.method, got.body], ["GET", ""]);
});

test("publish: headers of the client", "Client.publish", async ({ sdk, url, token, retry }) => {
  const at = endpoint();
  const client = new sdk.Client({ baseUrl: `${url}/`, token, retry, headers: { "X-All": "yes" } });
  await client.publish({ url: at.url });
  assert.equal((await at.next()).headers["x-all"], "yes");
});

test("publish: every setting", "Client.publish", async ({ client, since }) => {
  const to = endpoint();
  const notBefore = Math.floor(Date.now() / 1000) + 3600;
  const { messageId } = await client.publish({
    url: to.url, body: "later", notBefore, delay: 30, retries: 2, timeout: 45, retryDelay: "1000 * (1 + retried)",
    callback: `${to.url}/callback?a=b`, failureCallback: `${to.url}/failed`, label: "sdk-settings",
    flowControl: { key: "sdk-settings", parallelism: 2, ratePerSecond: 10 },
    headers: { "X-One": "1", "Upstash-Callback-Forward-X-Two": "2" },
  });
  const m = await client.messages.get(messageId);
  assert.equal(m.notBefore, notBefore * 1000);
  assert.equal(m.maxRetries, 2);
  assert.equal(m.callback, `${to.url}/callback?a=b`);
  assert.equal(m.failureCallback, `${to.url}/failed`);
  assert.equal(m.flowControlKey, "sdk-settings");
  assert.equal(m.parallelism, 2);
  assert.equal(m.ratePerSecond, 10);
  assert.deepEqual(m.header["X-One"], ["1"]);
  if (since(2, 9)) assert.equal(m.label, "sdk-settings");
  if (since(2, 9)) assert.equal(m.retryDelayExpression, "1000 * (1 + retried)");
  await client.messages.delete(messageId);
});

test("publish: redact", "Client.publish", async ({ client, since }) => {
  if (!since(2, 10)) return "absent";
  const to = endpoint();
  const redact = { body: true, header: ["X-Secret"] };
  const { messageId } = await client.publish({ url: to.url, body: "secret", delay: "1h", redact, headers: { "X-Secret": "s", "X-Open": "o" } });
  const m = await client.messages.get(messageId);
  assert.match(m.body, /^REDACTED:/);
  assert.match(m.header["X-Secret"][0], /^REDACTED:/);
  assert.deepEqual(m.header["X-Open"], ["o"]);
  await client.messages.delete(messageId);
});

test("publish: to a URL group", "Client.publish", async ({ client }) => {
  const [a, b] = [endpoint(), endpoint()];
  await client.urlGroups.addEndpoints({ name: "sdk-publish", endpoints: [{ name: "a", url: a.url }, { url: b.url }] });
  const answer = await sends("POST /v2/publish/sdk-publish", "all", () => client.publish({ urlGroup: "sdk-publish", body: "all" }));
  assert.deepEqual(answer.map((r) => r.url), [a.url, b.url]);
  for (const [i, at] of [a, b].entries()) {
    const got = await at.next();
    assert.equal(got.headers["upstash-message-id"], answer[i].messageId);
    assert.equal(got.headers["upstash-topic-name"], "sdk-publish");
  }
  const old = await client.publish({ topic: "sdk-publish", body: "by its old name" });
  assert.equal(old.length, 2);
  await client.urlGroups.delete("sdk-publish");
});

test("publish: an unknown URL group", "Client.publish", ({ sdk, client }) =>
  fails(sdk, 404, /sdk-no-such-group/, () => client.publish({ urlGroup: "sdk-no-such-group" })));

test("publish: a wrong token", "Client.publish", ({ sdk, url, retry }) =>
  fails(sdk, 401, /./, () => new sdk.Client({ baseUrl: url, token: "wrong", retry }).publish({ url: "http://127.0.0.1:1/" })));

test("publish: deduplication", "Client.publish", async ({ client }) => {
  const at = endpoint();
  const first = await client.publish({ url: at.url, deduplicationId: `${at.url}-1` });
  const second = await client.publish({ url: at.url, deduplicationId: `${at.url}-1` });
  assert.deepEqual([second.deduplicated, second.messageId], [true, first.messageId]);
  const third = await client.publish({ url: at.url, body: "x", contentBasedDeduplication: true });
  const fourth = await client.publish({ url: at.url, body: "x", contentBasedDeduplication: true });
  assert.deepEqual([fourth.deduplicated, fourth.messageId], [true, third.messageId]);
});

test("publish: retries", "Client.publish", async ({ client }) => {
  const at = endpoint(answering(500, 200));
  await client.publish({ url: at.url, retries: 1 });
  assert.equal((await at.next()).headers["upstash-retried"], "0");
  assert.equal((await at.next()).headers["upstash-retried"], "1");
});

test("publish: callbacks", "Client.publish", async ({ sdk, client }) => {
  const [at, told] = [endpoint(answering(404)), endpoint()];
  const { messageId } = await client.publish({ url: at.url, body: "ask", retries: 0, callback: `${told.url}/each`, failureCallback: `${told.url}/failed` });
  const calls = [await told.next(), await told.next()];
  assert.deepEqual(calls.map((c) => c.path).sort(), ["/each", "/failed"]);
  for (const call of calls) {
    const body = JSON.parse(call.body);
    assert.equal(body.sourceMessageId, messageId);
    assert.equal(body.status, 404);
    assert.equal(sdk.decodeBase64(body.body), "404 it is");
    assert.equal(sdk.decodeBase64(body.sourceBody), "ask");
    assert.equal(body.maxRetries, 0);
    assert.deepEqual(body.header["X-Reply"], ["yes"]);
  }
});

test("publishJSON: a provider at one's own address", "Client.publishJSON", async ({ sdk, client }) => {
  const at = endpoint();
  await client.publishJSON({ api: { name: "llm", provider: sdk.custom({ baseUrl: at.url, token: "llm-token" }) }, callback: at.url, body: { model: "m" } });
  const got = await at.next();
  assert.equal(got.path, "/v1/chat/completions");
  assert.equal(got.headers.authorization, "Bearer llm-token");
});

test("publishJSON", "Client.publishJSON", async ({ client }) => {
  const at = endpoint();
  const body = { text: "grüße 😀", n: [1, null] };
  const { messageId } = await sends(`POST /v2/publish/${at.url}`, body, () => client.publishJSON({ url: at.url, body }));
  const got = await at.next();
  assert.equal(got.headers["content-type"], "application/json");
  assert.deepEqual(JSON.parse(got.body), body);
  assert.equal(got.headers["upstash-message-id"], messageId);
});

test("publishJSON: an e-mail provider", "Client.publishJSON", async ({ sdk, client }) => {
  const provider = sdk.resend({ token: "mail-token" });
  const { messageId } = await client.publishJSON({ api: { name: "email", provider }, body: { subject: "s" }, delay: "1h" });
  const m = await client.messages.get(messageId); // it is not to go out
  await client.messages.delete(messageId);
  assert.equal(m.url, "https://api.resend.com/emails");
  assert.deepEqual(m.header.Authorization, ["Bearer mail-token"]);
});

test("batch", "Client.batch", async ({ client }) => {
  const [a, b] = [endpoint(), endpoint()];
  await client.urlGroups.addEndpoints({ name: "sdk-batch", endpoints: [{ url: a.url }, { url: b.url }] });
  const [one, queued, many] = await client.batch([
    { url: a.url, body: "one", method: "PATCH", headers: { "Content-Type": "text/x-one", "X-One": "1" } },
    { url: b.url, body: "queued", queueName: "sdk-batch" },
    { urlGroup: "sdk-batch", body: "many" },
  ]);
  assert.match(one.messageId, /^msg_/);
  assert.match(queued.messageId, /^msg_/);
  assert.deepEqual(many.map((r) => r.url), [a.url, b.url]);
  const got = [await a.next(), await a.next()].find((d) => d.body === "one");
  assert.deepEqual([got.method, got.headers["content-type"], got.headers["x-one"]], ["PATCH", "text/x-one", "1"]);
  await client.urlGroups.delete("sdk-batch");
});

test("batch: one item", "Client.batch", async ({ client }) => {
  const at = endpoint();
  const answer = await client.batch([{ url: at.url }]);
  assert.equal(answer.length, 1);
  assert.equal((await at.next()).headers["upstash-message-id"], answer[0].messageId);
});

test("batch: a malformed item", "Client.batch", async ({ sdk, client }) => {
  const at = endpoint();
  await fails(sdk, 400, /1/, () => client.batch([{ url: at.url }, { url: "ftp://127.0.0.1/" }]));
  assert.equal(at.unread, 0);
});

test("batchJSON", "Client.batchJSON", async ({ client }) => {
  const at = endpoint();
  await client.batchJSON([{ url: at.url, body: { a: 1 } }, { url: `${at.url}/2` }]);
  const got = [await at.next(), await at.next()].sort((x, y) => x.path.localeCompare(y.path));
  assert.deepEqual(got.map((d) => d.body), ['{"a":1}', ""]);
  assert.equal(got[0].headers["content-type"], "application/json");
});

test("publishJSON({api})", "Client.publishJSON", async ({ sdk, client }) => {
  await fails(sdk, 404, /./, () => client.publishJSON({
    api: { name: "llm", provider: sdk.upstash() }, callback: "http://127.0.0.1:1/", body: { model: "m" } }));
});

test("chat().create, .prompt", "Client.chat", async ({ sdk, client }) => {
  const request = { provider: sdk.upstash(), model: "m", messages: [] };
  await fails(sdk, 404, /./, () => client.chat().create({ ...request }));
  await fails(sdk, 404, /./, () => client.chat().prompt({ ...request, system: "s", user: "u" }));
});

test("workflow.cancel", "Workflow.cancel", ({ sdk, client }) =>
  fails(sdk, 404, /./, () => client.workflow.cancel("wfr_none")));
