// Without JavaScript everything can be read, and changed as well.
import assert from "node:assert/strict";

import { open, settings, test } from "../harness.mjs";

test("no script: every page can be read", async () => {
  const { page, done } = await open(settings.url, { script: false });
  for (const link of await page.locator(".nav a").evaluateAll((all) => all.map((a) => a.href)).catch(() => [])) assert.ok(link);
  const names = await page.locator(".nav a").allTextContents();
  assert.equal(names.length, 11);
  for (const name of names) {
    await page.locator(".nav a", { hasText: name }).click();
    await page.locator("h1").waitFor();
    assert.ok((await page.locator("main").textContent()).trim().length > 60, `${name} is empty`);
  }
  await page.goto(settings.url);
  assert.ok((await page.locator("svg polyline").count()) > 0, "there are no plots");
  await done();
});

test("no script: filter, cancel, undo", async () => {
  const { page, done } = await open(settings.url + "bulk", { script: false });
  await page.locator("#f-labels").fill("campaign-12");
  await page.getByRole("button", { name: "Preview" }).click();
  assert.equal(await page.locator("#count").textContent(), "40");
  await page.getByRole("link", { name: "Cancel 40 messages" }).click();
  await page.getByLabel(/Type 40 to confirm/).fill("40");
  await page.getByRole("button", { name: "Cancel 40 messages" }).click();
  await page.locator("#taken").waitFor(); // the page loads itself again
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByText("Restored: every message").waitFor();
  await done();
});
