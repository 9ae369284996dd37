import assert from "node:assert/strict";

import { checkPage, open, screenshot, settings, test } from "../harness.mjs";

const delivered = (page) => page.locator(".figures div", { hasText: "Delivered" }).locator("dd").textContent();

test("live: figures and plots move by themselves, and can be paused", async () => {
  for (const scheme of ["dark", "light"]) {
    const { page, done } = await open(settings.url, { height: 900, scheme });
    const before = await delivered(page);
    await page.waitForFunction((text) => document.querySelectorAll(".figures dd")[3].textContent !== text, before);
    await page.waitForFunction(() => document.querySelectorAll(".plot polyline").length >= 6);
    await page.waitForFunction(() => document.querySelector(".plot polyline").points.length >= 6);
    await screenshot(page, `overview-live-1280-${scheme}`);
    await checkPage(page, "overview, live");
    await page.getByRole("button", { name: "Pause updates" }).click();
    await page.waitForTimeout(300); // what was under way has come
    const paused = await delivered(page);
    await page.waitForTimeout(2500);
    assert.equal(await delivered(page), paused);
    await page.getByRole("button", { name: "Resume updates" }).click();
    await page.waitForFunction((text) => document.querySelectorAll(".figures dd")[3].textContent !== text, paused);
    await done();
  }
});

test("live: the focus stays where it is", async () => {
  const { page, done } = await open(settings.url);
  await page.getByRole("link", { name: "held", exact: true }).focus();
  const before = await delivered(page);
  await page.waitForFunction((text) => document.querySelectorAll(".figures dd")[3].textContent !== text, before);
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
