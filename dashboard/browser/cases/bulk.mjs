import assert from "node:assert/strict";

import { open, settings, test } from "../harness.mjs";

const labels = "#f-labels";

test("bulk: type a filter, cancel, undo", async () => {
  const { page, done } = await open(settings.work + "bulk");
  await page.locator(labels).pressSequentially("campaign-1");
  await page.locator("#count", { hasText: /^0$/ }).waitFor();
  await page.locator(labels).pressSequentially("2");
  await page.locator("#count", { hasText: /^40$/ }).waitFor();
  assert.match(await page.locator("#announce").textContent(), /40 messages match/);
  assert.equal(new URL(page.url()).searchParams.get("labels"), "campaign-12");

  await page.getByRole("link", { name: "Cancel 40 messages" }).click();
  await page.getByLabel(/Type 40 to confirm/).fill("40");
  await page.getByRole("button", { name: "Cancel 40 messages" }).click();
  await page.locator("#taken", { hasText: /^40$/ }).waitFor();
  const run = page.url();

  await page.goto(settings.work + "bulk?labels=campaign-12");
  assert.equal(await page.locator("#count").textContent(), "0");
  await page.goto(run);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByText("Restored: every message").waitFor();
  await page.goto(settings.work + "bulk?labels=campaign-12");
  assert.equal(await page.locator("#count").textContent(), "40");
  await done();
});

test("bulk: a new due time", async () => {
  const { page, done } = await open(settings.work + "bulk?labels=parcel");
  await page.locator("#count", { hasText: /^40$/ }).waitFor();
  await page.getByLabel("Reschedule", { exact: true }).check();
  await page.getByText("Fill in the new due time.").waitFor();
  assert.equal(await page.locator("#go").count(), 0);
  assert.equal(await page.locator("#count").textContent(), "40");
  await page.getByLabel(/^New due time/).fill("2031-05-06T07:08");
  await page.getByRole("link", { name: "Reschedule 40 messages" }).click();
  await page.getByText("2031-05-06 07:08:00").waitFor();
  await page.getByLabel(/Type 40 to confirm/).fill("40");
  await page.getByRole("button", { name: "Reschedule 40 messages" }).click();
  await page.locator("#taken", { hasText: /^40$/ }).waitFor();
  await page.goto(settings.work + "messages?labels=parcel&dueAfter=2031-05-06T07:07&dueBefore=2031-05-06T07:09");
  await page.getByText("40 waiting").waitFor();
  await done();
});
