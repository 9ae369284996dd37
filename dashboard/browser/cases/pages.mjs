// Every page, narrow and wide, light and dark: it is accessible, fits, says nothing to
// the console, and leaves a picture.
import assert from "node:assert/strict";

import { checkPage, look, screenshot, settings, test } from "../harness.mjs";

const sizes = [{ width: 360, height: 740 }, { width: 1280, height: 900 }];
const refused = ["status of 4"]; // what the browser says of a page with such a status

const pages = Object.entries(settings.pages).map(([name, path]) => ({ name, address: settings.url + path }));
pages.push(
  { name: "error", address: settings.url + "messages/none", allow: refused },
  { name: "bad-filter", address: settings.url + "bulk?callerIPs=nowhere", allow: refused },
  { name: "read-only", address: settings.readOnly + "bulk?labels=campaign-12" },
  { name: "login", address: settings.login },
);
for (const path of ["", "messages", "bulk", "operations", "standing", "dead", "queues", "flow", "schedules", "topics", "events"])
  pages.push({ name: "none-" + (path || "overview"), address: settings.empty + path });

for (const { name, address, allow } of pages)
  test(`page: ${name}`, async () => {
    const { page, done } = await look(address, { allow, ...sizes[0] });
    await page.locator("h1").waitFor();
    for (const size of sizes) {
      await page.setViewportSize(size);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await screenshot(page, `${name}-${size.width}-${colorScheme}`);
        await checkPage(page, `${name}, ${size.width} px, ${colorScheme}`);
      }
    }
    assert.notEqual(await page.title(), "taken");
    await done();
  });
