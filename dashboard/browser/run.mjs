// run.mjs runs every case of the folder cases and prints how each ended, a line of
// JSON each: {"name":"bulk: cancel and undo","error":"AssertionError: …","ms":812}
// RECALL_CASES, a regular expression, picks some by their names.
import fs from "node:fs";

import { all, close, launch } from "./harness.mjs";

for (const file of fs.readdirSync(new URL("cases", import.meta.url)).sort()) await import(`./cases/${file}`);

const say = (line) => fs.writeSync(1, JSON.stringify(line) + "\n");
await launch();
const wanted = new RegExp(process.env.RECALL_CASES ?? "");
for (const { name, run } of all().filter((c) => wanted.test(c.name))) {
  const began = Date.now();
  let error = "";
  try {
    await run();
  } catch (fault) {
    error = String(fault.stack);
  }
  say({ name, error, ms: Date.now() - began });
}
await close();
process.exit(0); // a case that failed may have left a page open
