// run.mjs runs every case of a folder, cases or the one that is named, two at a time in
// one browser, and prints how each ended, a line of JSON each:
// {"name":"bulk: cancel and undo","error":"AssertionError: …","ms":812}
// RECALL_CASES, a regular expression, picks some by their names; RECALL_SLOWDOWN makes
// the processor that pages see slower by a factor, as on a machine that has other work.
import fs from "node:fs";

import { all, close, launch } from "./harness.mjs";

const folder = process.argv[2] ?? "cases";
for (const file of fs.readdirSync(new URL(folder, import.meta.url)).sort()) await import(`./${folder}/${file}`);

const say = (line) => fs.writeSync(1, JSON.stringify(line) + "\n");
const wanted = new RegExp(process.env.RECALL_CASES ?? "");
const left = all().filter((c) => wanted.test(c.name));

async function work() {
  for (let next = left.shift(); next; next = left.shift()) {
    const began = Date.now();
    let error = "";
    try {
      await next.run();
    } catch (fault) {
      error = String(fault.stack);
    }
    say({ name: next.name, error, ms: Date.now() - began });
  }
}

await launch();
await Promise.all([work(), work()]);
await close();
process.exit(0); // a case that failed may have left a page open
