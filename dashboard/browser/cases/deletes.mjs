// Dead letters and schedules are deleted after a page that asks, with and without
// JavaScript.
import assert from "node:assert/strict";

import { open, settings, test } from "../harness.mjs";

const rows = (page) => page.locator("table.rows tbody tr");

for (const [name, script, label] of [["delete: dead letters", true, "one"], ["no script: delete dead letters", false, "plain"]])
  test(name, async () => {
    const { page, done } = await open(`${settings.work}dead?labels=${label}`, { script, allow: ["status of 400"] });
    assert.equal(await rows(page).count(), 2);
    for (const box of await page.getByRole("checkbox", { name: /^Choose/ }).all()) await box.check();
    await page.getByRole("button", { name: "Delete chosen" }).click();
    await page.getByRole("heading", { name: "Delete 2 dead letters?" }).waitFor();
    assert.equal(await rows(page).count(), 2);
    await page.getByLabel("Type 2 to confirm").fill("3");
    await page.getByRole("button", { name: "Delete 2 dead letters" }).click();
    await page.getByText("Nothing was changed").waitFor();
    await page.goBack();
    await page.getByLabel("Type 2 to confirm").fill("2");
    await page.getByRole("button", { name: "Delete 2 dead letters" }).click();
    await page.getByText("Deleted.").waitFor();
    await page.goto(`${settings.work}dead?labels=${label}`);
    await page.getByText("No dead letter matches").waitFor();
    await done();
  });

test("delete: one dead letter, by its own page", async () => {
  const { page, done } = await open(settings.work + "dead?labels=two");
  await rows(page).getByRole("link").first().click();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByLabel("Type 1 to confirm").fill("1");
  await page.keyboard.press("Enter");
  await page.getByText("Deleted.").waitFor();
  await page.goto(settings.work + "dead?labels=two");
  assert.equal(await rows(page).count(), 1);
  await done();
});

for (const [name, script, schedule] of [["delete: a schedule", true, "nightly"], ["no script: delete a schedule", false, "nightly, plain"]])
  test(name, async () => {
    const { page, done } = await open(settings.work + "schedules", { script });
    await page.getByRole("button", { name: `Delete ${schedule}`, exact: true }).click();
    await page.getByRole("heading", { name: "Delete this schedule?" }).waitFor();
    await page.getByRole("link", { name: "Back" }).click();
    await page.getByRole("button", { name: `Delete ${schedule}`, exact: true }).click();
    await page.getByLabel(`Type ${schedule} to confirm`, { exact: true }).fill(schedule);
    await page.getByRole("button", { name: "Delete the schedule" }).click();
    await page.getByText("Deleted.").waitFor();
    assert.equal(await page.getByRole("button", { name: `Delete ${schedule}`, exact: true }).count(), 0);
    await done();
  });
