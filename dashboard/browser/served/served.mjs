// The dashboard of a server on PostgreSQL, from the login on. Each case has a label that
// no other touches.
import assert from "node:assert/strict";

import { checkPage, open, settings, test } from "../harness.mjs";

// enter opens a page that asks for the token first, logs in, and goes on to what is
// behind the page's "?".
async function enter(path, query = "") {
  const { page, done } = await open(settings.url + path, { allow: ["status of 400"] });
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  await page.getByLabel("Token").fill(settings.token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL(settings.url + path);
  if (query) await page.goto(settings.url + path + query);
  return { page, done };
}

const rows = (page) => page.locator("table.rows tbody tr");

test("served: what waits is shown", async () => {
  const { page, done } = await enter("messages", "?labels=look");
  await page.getByText("7 waiting").waitFor();
  assert.equal(await rows(page).count(), 7);
  await checkPage(page, "messages");
  const link = rows(page).getByRole("link").first();
  const id = /msg_[0-9A-Z]{26}/.exec(await link.getAttribute("href"))[0];
  await link.click();
  await page.getByText(id).first().waitFor();
  await page.getByText("scheduled for the browser").waitFor(); // its body
  await done();
});

test("served: cancel by a filter, and restore", async () => {
  const { page, done } = await enter("bulk");
  await page.locator("#f-labels").pressSequentially("campaign");
  await page.locator("#count", { hasText: /^40$/ }).waitFor();
  await page.getByRole("link", { name: "Cancel 40 messages" }).click();
  const button = page.getByRole("button", { name: "Cancel 40 messages" });
  await page.getByLabel(/Type 40 to confirm/).fill("39");
  await button.click();
  await page.getByText("Nothing was changed").waitFor();
  await page.goto(settings.url + "bulk?labels=campaign");
  assert.equal(await page.locator("#count").textContent(), "40");
  await page.getByRole("link", { name: "Cancel 40 messages" }).click();
  await page.getByLabel(/Type 40 to confirm/).fill("40");
  await button.click();
  await page.locator("#taken", { hasText: /^40$/ }).waitFor();
  const run = page.url();
  await page.goto(settings.url + "bulk?labels=campaign");
  assert.equal(await page.locator("#count").textContent(), "0");
  await page.goto(run);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByText("Restored: every message").waitFor();
  await page.goto(settings.url + "bulk?labels=campaign");
  assert.equal(await page.locator("#count").textContent(), "40");
  await page.goto(settings.url + "operations");
  await rows(page).first().waitFor(); // who cancelled stays known
  await done();
});

test("served: dead letters are retried", async () => {
  const { page, done } = await enter("dead", "?labels=hook");
  assert.equal(await rows(page).count(), 3);
  for (const box of await page.getByRole("checkbox", { name: /^Choose/ }).all()) await box.check();
  await page.getByRole("button", { name: "Retry chosen" }).click();
  await page.getByText("Published again, as new messages.").waitFor();
  await page.goto(settings.url + "dead?labels=hook");
  await page.getByText("No dead letter matches").waitFor();
  await done();
});
