import assert from "node:assert/strict";

import { open, settings, test } from "../harness.mjs";

// tabTo presses Tab until what is focused has a name, and checks that it is seen.
async function tabTo(page, what) {
  for (let i = 0; i < 120; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      return { id: e.id, text: e.textContent.trim(), outline: getComputedStyle(e).outlineStyle, hidden: e.getBoundingClientRect().height === 0 };
    });
    if (at.id === what || at.text.startsWith(what)) {
      assert.ok(at.outline !== "none" && !at.hidden, `${what} does not show that it has the focus`);
      return;
    }
  }
  assert.fail(`Tab does not come to ${what}`);
}

test("keyboard: skip link, filter, confirm, undo", async () => {
  const { page, done } = await open(settings.work + "bulk");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("Enter");
  await tabTo(page, "f-labels");
  await page.keyboard.type("newsletter");
  await page.locator("#count", { hasText: /^40$/ }).waitFor();
  await tabTo(page, "go");
  await page.keyboard.press("Enter");
  await page.waitForURL(/confirm/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "confirm");
  await page.keyboard.type("40");
  await page.keyboard.press("Enter");
  await page.locator("#taken", { hasText: /^40$/ }).waitFor();
  await tabTo(page, "undo");
  await page.keyboard.press("Enter");
  await page.getByText("Restored: every message").waitFor();
  await done();
});
