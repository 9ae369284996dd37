import assert from "node:assert/strict";

import { checkPage, open, screenshot, settings, test } from "../harness.mjs";

const figure = ".figures div:has-text('Delivered') dd";
const delivered = (page) => page.locator(figure).textContent();
const moved = (page, from) => page.locator(figure).filter({ hasNotText: new RegExp(`^${from}$`) }).waitFor();

test("live: figures and plots move by themselves", async () => {
  const { page, done } = await open(settings.url, { height: 900 });
  await moved(page, await delivered(page));
  await page.waitForFunction(() => document.querySelectorAll(".plot polyline").length >= 6);
  await page.waitForFunction(() => document.querySelector(".plot polyline").points.length >= 6);
  await done();
  for (const scheme of ["dark", "light"]) {
    const { page, done } = await open(settings.url, { height: 900, scheme, still: true });
    await screenshot(page, `overview-live-1280-${scheme}`);
    await checkPage(page, `overview, live, ${scheme}`);
    await done();
  }
});

test("live: updates can be paused", async () => {
  const { page, done } = await open(settings.url, { clock: true });
  let asked = 0;
  page.on("request", () => asked++);
  await page.route(settings.url, () => {}); // it is not answered
  const question = page.waitForEvent("request");
  await page.clock.runFor(1000);
  await question;
  const givenUp = page.waitForEvent("requestfailed");
  await page.getByRole("button", { name: "Pause updates" }).click();
  await givenUp;
  await page.unroute(settings.url);
  const paused = await delivered(page);
  const before = asked;
  for (let second = 0; second < 10; second++) await page.clock.runFor(1000);
  assert.equal(asked, before, "a page whose updates are paused asks for some");
  assert.equal(await delivered(page), paused);
  await page.getByRole("button", { name: "Resume updates" }).click();
  await page.clock.resume();
  await moved(page, paused);
  await done();
});

test("live: the focus stays where it is", async () => {
  const { page, done } = await open(settings.url);
  await page.getByRole("link", { name: "held", exact: true }).focus();
  await moved(page, await delivered(page));
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "held");
  await done();
});

test("live: a lost connection is told", async () => {
  const { page, context, done } = await open(settings.url, { allow: ["ERR_INTERNET_DISCONNECTED"] });
  await context.setOffline(true);
  await page.getByText("The connection is lost").waitFor();
  await context.setOffline(false);
  await page.getByText("The connection is lost").waitFor({ state: "hidden" });
  await done();
});
