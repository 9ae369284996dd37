// What cases share: the browser, pages that notice every error, and the checks
// that hold for every page.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

import { chromium } from "playwright-core";

const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const settings = JSON.parse(process.env.RECALL_BROWSER_TEST);

let browser;
export async function launch() {
  // A container has no user namespaces for a sandbox and little shared memory; the
  // pages are our own.
  browser = await chromium.launch({ executablePath: process.env.CHROME, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
}
export const close = () => browser?.close();

const cases = [];
export const test = (name, run) => cases.push({ name, run });
export const all = () => cases;

const slowdown = Number(process.env.RECALL_SLOWDOWN ?? 1);

// open opens a page in a context of its own. Whatever the page complains about, and
// whatever it asks of others, is a fault that the end of the case reports. A page that
// is still gets no answers to what its script asks, and so does not renew itself; one
// with a clock has timers that only the case moves.
export async function open(address, { width = 1280, height = 800, scheme = "light", script = true, still = false, clock = false, allow = [] } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, javaScriptEnabled: script, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  if (still) await page.addInitScript(() => (globalThis.fetch = () => new Promise(() => {})));
  if (clock) {
    await page.clock.install({ time: 0 });
    await page.clock.pauseAt(1000);
  }
  if (slowdown > 1) await (await context.newCDPSession(page)).send("Emulation.setCPUThrottlingRate", { rate: slowdown });
  const faults = watchFaults(page, allow);
  await page.goto(address);
  return { page, context, done: async () => { await context.close(); assert.deepEqual(faults, []); } };
}

function watchFaults(page, allow) {
  const faults = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && !allow.some((a) => m.text().includes(a)) && faults.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => faults.push(`script: ${e.message}`));
  page.on("dialog", (d) => { faults.push(`dialog: ${d.message()}`); d.dismiss(); });
  page.on("request", (r) => new URL(r.url()).origin === new URL(settings.url).origin || faults.push(`asks ${r.url()}`));
  return faults;
}

const idle = [];

// look opens a page that is only looked at, in a window that others have looked with:
// to begin a context takes longer than all that is done in it. What it complains about
// is reported as by open.
export async function look(address, { allow = [], width, height } = {}) {
  const page = idle.pop() ?? (await open("about:blank", { still: true })).page;
  for (const event of ["console", "pageerror", "dialog", "request"]) page.removeAllListeners(event);
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: "light" });
  const faults = watchFaults(page, allow);
  await page.goto(address);
  return {
    page,
    done: async () => {
      await page.goto("about:blank"); // what the page still has to say is said
      idle.push(page);
      assert.deepEqual(faults, []);
    },
  };
}

// checkPage holds a page to the rules: accessible, and no wider than the window.
export async function checkPage(page, name) {
  // The debugger may run what the page's own policy forbids.
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe);
  const options = { resultTypes: ["violations"], preload: false };
  const result = await page.evaluate((o) => globalThis.axe.run(document, o), options);
  const broken = result.violations.map((v) => `${name}: ${v.id}: ${v.nodes.map((n) => `${n.target}: ${n.failureSummary}`).join("; ")}`);
  assert.deepEqual(broken, []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(wide, 0, `${name} can be scrolled sideways by ${wide} pixels`);
}

export async function screenshot(page, name) {
  fs.mkdirSync(settings.screenshots, { recursive: true });
  await page.screenshot({ path: path.join(settings.screenshots, name + ".png"), fullPage: false });
}
