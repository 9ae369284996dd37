import assert from "node:assert/strict";

import { open, settings, test } from "../harness.mjs";

test("login: token, deep link, logout", async () => {
  const { page, context, done } = await open(settings.login + "queues", { allow: ["status of 401"] });
  await page.getByLabel("Token").fill("wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("not a token that is known here").waitFor();
  await page.getByLabel("Token").fill(settings.token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL(settings.login + "queues");
  const [cookie] = await context.cookies();
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");
  assert.equal(cookie.path, "/login");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  await page.goto(settings.login);
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  assert.deepEqual(await context.cookies(), []);
  await done();
});
