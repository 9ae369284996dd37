import assert from "node:assert/strict";

import { endpoint, test } from "../harness.mjs";

// environment sets variables while run goes on. The Go test gives the SDK a
// home of its own, where no server of Upstash's lies, and nothing can be
// fetched: dev mode finds Recall or fails.
async function environment(variables, run) {
  Object.assign(process.env, variables);
  try {
    await run();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}

test("QSTASH_DEV", "startDevServer", ({ sdk, url, load }) =>
  environment({ QSTASH_DEV: "true", QSTASH_DEV_PORT: new URL(url).port }, async () => {
    await sdk.startDevServer();
    await (await load("nextjs.mjs")).registerQStashDev();
    const at = endpoint();
    const { messageId } = await new sdk.Client().publishJSON({ url: at.url, body: { dev: true } });
    const { headers, body } = await at.next();
    assert.equal(headers["upstash-message-id"], messageId);
    assert.equal(await new sdk.Receiver().verify({ signature: headers["upstash-signature"], body }), true);
  }));

test("new Client(): QSTASH_URL, QSTASH_TOKEN", "Client.publish", async ({ sdk }) => {
  const at = endpoint();
  const { messageId } = await new sdk.Client().publish({ url: at.url });
  assert.equal((await at.next()).headers["upstash-message-id"], messageId);
});
