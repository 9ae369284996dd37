// run.mjs FOLDER runs every case with the SDK that is in the folder against
// the server that QSTASH_URL names, and prints what it runs and how each case
// ended, a line of JSON each:
//
//	{"name":"publish","outcome":"pass"}
//	{"name":"messages.cancel","outcome":"absent"}
//	{"name":"dlq.retry","outcome":"fail","error":"AssertionError: …"}
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { cases, close, listen, within } from "./harness.mjs";
import { uncalled, watch } from "./surface.mjs";

const folder = path.resolve(process.argv[2]);
const load = (file) => import(pathToFileURL(path.join(folder, file)));
const say = (line) => fs.writeSync(1, JSON.stringify(line) + "\n");
console.warn = console.error = () => {}; // the SDK tells of each error that a case provokes

const { version } = JSON.parse(fs.readFileSync(path.join(folder, "package.json")));
const sdk = await load("index.mjs");
const { QSTASH_URL: url, QSTASH_TOKEN: token } = process.env;
const retry = { retries: 0 };
const client = new sdk.Client({ baseUrl: url, token, retry });
const methods = watch(sdk, client);
const since = (major, minor) => {
  const [a, b] = version.split(".").map(Number);
  return a > major || (a === major && b >= minor);
};

for (const file of fs.readdirSync(new URL("cases", import.meta.url)).sort()) await import(`./cases/${file}`);

async function outcome(run) {
  try {
    const said = await within("the end of the case", run({ sdk, client, load, url, token, retry, since }), 30_000);
    return { outcome: said ?? "pass" };
  } catch (error) {
    return { outcome: "fail", error: `${error.stack}${error.cause ? `\ncause: ${error.cause.stack}` : ""}` };
  }
}

await listen();
for (const { name, uses, run } of cases) {
  const exists = methods.has(uses) || uses in sdk;
  const began = Date.now();
  say({ name, ...(exists ? await outcome(run) : { outcome: "absent" }), ms: Date.now() - began });
}
say({ name: "every public method was called", ...(await outcome(async () => assert.deepEqual(uncalled(methods), []))) });
close();
process.exit(0); // a case that failed may have left something running
