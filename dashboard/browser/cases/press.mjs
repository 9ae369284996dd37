// What is pressed stays in place until it is let go, whatever arrives meanwhile: else
// the browser would make no click of it.
import assert from "node:assert/strict";

import { open, settings, test } from "../harness.mjs";

const isLive = (r) => r.headers()["recall-fragment"] === "live";

// press moves to an element and presses it, without letting go.
async function press(page, element) {
  await element.hover();
  await page.mouse.down();
}

// shown waits until what has arrived would be in place.
const shown = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0))));

test("press: to leave a field asks for nothing", async () => {
  const { page, done } = await open(settings.work + "bulk");
  await page.locator("#f-labels").pressSequentially("survey");
  await page.locator("#count", { hasText: /^40$/ }).waitFor();
  let asked = 0;
  page.on("request", (r) => isLive(r) && asked++);
  await page.evaluate(() => { window.link = document.getElementById("go"); });
  await page.locator("#f-labels").blur();
  await page.waitForTimeout(500); // longer than the pause after which a change is asked for
  assert.equal(asked, 0);
  assert.ok(await page.evaluate(() => window.link.isConnected), "the link was replaced");
  await done();
});

test("press: a link outlasts a preview", async () => {
  const { page, done } = await open(settings.work + "bulk?labels=survey");
  const go = page.locator("#go");
  await page.locator("#f-limit").fill("7");
  await page.getByRole("link", { name: "Cancel 7 messages" }).waitFor();
  let letGo;
  const held = new Promise((resolve) => (letGo = resolve));
  await page.route(/limit=6/, async (route) => { await held; await route.continue(); });
  const asked = page.waitForRequest(isLive);
  await page.locator("#f-limit").fill("6");
  await asked;
  await press(page, go);
  const arrived = page.waitForEvent("requestfinished", isLive);
  letGo();
  await arrived;
  await shown(page);
  await page.mouse.up();
  await page.waitForURL(/confirm\?.*limit=7/);
  await done();
});

test("press: what arrived is shown after the release", async () => {
  const { page, done } = await open(settings.work + "bulk?labels=survey");
  let letGo;
  const held = new Promise((resolve) => (letGo = resolve));
  await page.route(/limit=5/, async (route) => { await held; await route.continue(); });
  const asked = page.waitForRequest(isLive);
  await page.locator("#f-limit").fill("5");
  await asked;
  await press(page, page.locator("#count"));
  const arrived = page.waitForEvent("requestfinished", isLive);
  letGo();
  await arrived;
  await shown(page);
  assert.match(await page.locator("#go").textContent(), /Cancel 40/);
  await page.mouse.up();
  await page.getByRole("link", { name: "Cancel 5 messages" }).waitFor();
  await done();
});

for (const [name, hold, release] of [
  ["mouse", press, (page) => page.mouse.up()],
  ["space bar", async (page, button) => { await button.focus(); await page.keyboard.down("Space"); }, (page) => page.keyboard.up("Space")],
])
  test(`press: a button outlasts an update, ${name}`, async () => {
    const { page, done } = await open(settings.work + "queues", { clock: true });
    const queue = "exports by " + name;
    await hold(page, page.getByRole("button", { name: "Pause " + queue }));
    const arrived = page.waitForEvent("requestfinished", isLive);
    await page.clock.runFor(2000); // the page renews itself
    await arrived;
    await page.evaluate(() => document.title); // what has arrived has been dealt with
    await release(page);
    await page.getByText("Paused.").waitFor();
    await page.getByRole("button", { name: "Resume " + queue }).waitFor();
    await done();
  });
