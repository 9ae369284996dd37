import assert from "node:assert/strict";

import { endpoint, test } from "../harness.mjs";

const keys = { currentSigningKey: process.env.QSTASH_CURRENT_SIGNING_KEY, nextSigningKey: process.env.QSTASH_NEXT_SIGNING_KEY };

// delivered publishes and returns what arrives, for a receiver to look at.
async function delivered(client, body = '{"n":1}') {
  const at = endpoint();
  await client.publish({ url: `${at.url}/in?a=b%20c`, body, headers: { "Content-Type": "application/json" } });
  const { headers, path, ...rest } = await at.next();
  return { ...rest, headers, url: at.url + path, signature: headers["upstash-signature"] };
}

test("Receiver.verify", "Receiver.verify", async ({ sdk, client }) => {
  const receiver = new sdk.Receiver(keys);
  const { signature, body, url } = await delivered(client, "grüße");
  assert.equal(await receiver.verify({ signature, body, url }), true);
  assert.equal(await receiver.verify({ signature, body, url, clockTolerance: 5 }), true);
  for (const wrong of [{ signature, body: `${body} `, url }, { signature, body, url: `${url}&` }, { signature: `${signature.slice(0, -4)}AAAA`, body, url }]) {
    await assert.rejects(receiver.verify(wrong), sdk.SignatureError);
  }
});

test("Receiver.verify: keys", "Receiver.verify", async ({ sdk, client }) => {
  const { signature, body } = await delivered(client);
  const rolled = new sdk.Receiver({ currentSigningKey: "sig_new", nextSigningKey: keys.currentSigningKey });
  assert.equal(await rolled.verify({ signature, body }), true);
  const strange = new sdk.Receiver({ currentSigningKey: "sig_a", nextSigningKey: "sig_b" });
  await assert.rejects(strange.verify({ signature, body }), sdk.SignatureError);
});

test("Receiver.verify: no body", "Receiver.verify", async ({ sdk, client }) => {
  const { signature } = await delivered(client, "");
  assert.equal(await new sdk.Receiver(keys).verify({ signature, body: "" }), true);
});

test("Receiver.verify: a callback", "Receiver.verify", async ({ sdk, client }) => {
  const [at, told] = [endpoint(), endpoint()];
  await client.publish({ url: at.url, callback: `${told.url}/called` });
  const { headers, body } = await told.next();
  const signature = headers["upstash-signature"];
  assert.equal(await new sdk.Receiver(keys).verify({ signature, body, url: `${told.url}/called` }), true);
});

// wrapped tries a function that takes a web Request, with a good and with a
// spoilt body, and expects the handler to be reached once.
async function wrapped(client, wrap) {
  const { headers, body, url } = await delivered(client);
  let reached = 0;
  const call = wrap(async (request) => {
    assert.equal(await (request.request ?? request).text(), body);
    reached++;
    return new Response("done");
  });
  const send = (body) => call(new Request(url, { method: "POST", headers: { "upstash-signature": headers["upstash-signature"] }, body }));
  assert.equal(await (await send(body)).text(), "done");
  await assert.rejects(send(`${body} `), { name: "SignatureError" });
  assert.equal(reached, 1);
  const unsigned = await call(new Request(url, { method: "POST", body }));
  assert.deepEqual([unsigned.status, reached], [403, 1]);
}

test("nextjs verifySignatureAppRouter, verifySignatureEdge", "Receiver", async ({ client, load }) => {
  const next = await load("nextjs.mjs");
  await wrapped(client, (handler) => next.verifySignatureAppRouter(handler, keys));
  await wrapped(client, (handler) => next.verifySignatureEdge(handler, keys));
});

test("svelte, solidjs verifySignature…", "Receiver", async ({ client, load }) => {
  const event = (verify) => (request) => verify({ request });
  const { verifySignatureSvelte } = await load("svelte.mjs");
  await wrapped(client, (handler) => event(verifySignatureSvelte(handler, keys)));
  const { verifySignatureSolidjs } = await load("solidjs.mjs");
  await wrapped(client, (handler) => event(verifySignatureSolidjs(handler, keys)));
});

test("nextjs verifySignature", "Receiver", async ({ client, load }) => {
  const { verifySignature } = await load("nextjs.mjs");
  const { headers, body } = await delivered(client);
  let reached, status;
  const call = verifySignature((request) => { reached = request.body; }, keys);
  const response = { status: (code) => { status = code; }, send() {}, end() {} };
  const send = (headers, body) => call({ headers, async *[Symbol.asyncIterator]() { yield Buffer.from(body); } }, response);
  await assert.rejects(send(headers, `${body} `), { name: "SignatureError" });
  await send({}, body);
  assert.deepEqual([status, reached], [400, undefined]);
  await send(headers, body);
  assert.deepEqual(reached, { n: 1 });
});

test("h3 verifySignatureH3, nuxt verifySignatureNuxt", "Receiver", async ({ client, load }) => {
  // They hash a body as a JSON string of itself, which nobody signs: only what
  // has none can be accepted.
  for (const [file, name] of [["h3.mjs", "verifySignatureH3"], ["nuxt.mjs", "verifySignatureNuxt"]]) {
    const { [name]: verify } = await load(file);
    const { headers } = await delivered(client, "");
    let reached = 0;
    const call = verify(() => { reached++; }, keys);
    const send = (headers) => call({ method: "POST", node: { req: { headers } } });
    await send(headers);
    assert.equal(reached, 1);
    assert.equal((await send({})).status, 403);
    await assert.rejects(send({ "upstash-signature": `${headers["upstash-signature"].slice(0, -4)}AAAA` }), { name: "SignatureError" });
    assert.equal(reached, 1);
  }
});
