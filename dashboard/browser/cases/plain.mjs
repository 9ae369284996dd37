// Without JavaScript everything can be read, and changed as well.
import assert from "node:assert/strict";

import { open, settings, test } from "../harness.mjs";

test("no script: every page can be read", async () => {
  const { page, done } = await open(settings.url + "messages", { script: false });
  const links = [];
  for (const link of await page.locator(".nav a").all())
    links.push({ name: await link.textContent(), address: new URL(await link.getAttribute("href"), page.url()).href });
  assert.equal(links.length, 11);
  for (const { name, address } of links) {
    await page.goto(address);
    await page.locator(".nav a[aria-current]", { hasText: name }).waitFor();
    assert.ok((await page.locator("main").textContent()).trim().length > 60, `${name} is empty`);
  }
  await page.goto(settings.url);
  await page.locator("svg polyline").first().waitFor({ state: "attached" });
  await done();
});

test("no script: filter, cancel, undo", async () => {
  const { page, done } = await open(settings.work + "bulk", { script: false });
  await page.locator("#f-labels").fill("reminder");
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
