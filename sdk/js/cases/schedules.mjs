import assert from "node:assert/strict";

import { endpoint, fails, lastHeaders, sends, test } from "../harness.mjs";

const yearly = "0 0 1 1 *";

test("schedules.create", "Schedules.create", async ({ sdk, client, since }) => {
  const to = endpoint();
  const destination = `${to.url}/yearly`;
  const created = await sends(`POST /v2/schedules/${destination}`, "happy", () => client.schedules.create({
    destination, cron: `CRON_TZ=Europe/Berlin ${yearly}`, body: "happy", scheduleId: "sdk-create", method: "PUT", retries: 1, delay: 60,
    timeout: "30s", callback: `${to.url}/callback`, failureCallback: `${to.url}/failed`, headers: { "X-One": "1", "Content-Type": "text/plain" },
    queueName: "sdk-scheduled", label: "sdk-scheduled", flowControl: { key: "sdk-scheduled", ratePerSecond: 5 },
  }));
  assert.deepEqual(created, { scheduleId: "sdk-create" });
  assert.equal(lastHeaders().get("upstash-schedule-id"), "sdk-create");
  const s = await client.schedules.get("sdk-create");
  assert.deepEqual([s.cron, s.destination, s.body, s.method, s.retries, s.delay], [`CRON_TZ=Europe/Berlin ${yearly}`, destination, "happy", "PUT", 1, 60]);
  assert.deepEqual([s.callback, s.failureCallback, s.flowControlKey, s.ratePerSecond], [`${to.url}/callback`, `${to.url}/failed`, "sdk-scheduled", 5]);
  assert.deepEqual(s.header, { "Content-Type": ["text/plain"], "X-One": ["1"] });
  if (since(2, 8)) assert.equal(s.queueName, "sdk-scheduled");
  if (since(2, 9)) assert.equal(s.label, "sdk-scheduled");
  await client.schedules.delete("sdk-create");
  await fails(sdk, 400, /cron/i, () => client.schedules.create({ destination, cron: "never" }));
});

test("schedules.create: again", "Schedules.create", async ({ client }) => {
  const at = endpoint();
  for (const body of ["first", undefined]) {
    await client.schedules.create({ destination: at.url, cron: yearly, scheduleId: "sdk-again", body });
  }
  const s = await client.schedules.get("sdk-again");
  assert.equal(s.body ?? "", "");
  await client.schedules.delete("sdk-again");
});

test("schedules.create: to a URL group", "Schedules.create", async ({ client }) => {
  await client.urlGroups.addEndpoints({ name: "sdk-schedule", endpoints: [{ url: "http://127.0.0.1:1/" }] });
  const { scheduleId } = await sends("POST /v2/schedules/sdk-schedule", "", () => client.schedules.create({ destination: "sdk-schedule", cron: yearly }));
  assert.match(scheduleId, /^scd_/);
  assert.equal((await client.schedules.get(scheduleId)).destination, "sdk-schedule");
  await client.schedules.delete(scheduleId);
  await client.urlGroups.delete("sdk-schedule");
});

test("schedules.get", "Schedules.get", async ({ sdk, client }) => {
  const at = endpoint();
  const { scheduleId } = await client.schedules.create({ destination: at.url, cron: yearly });
  const s = await sends(`GET /v2/schedules/${scheduleId}`, "", () => client.schedules.get(scheduleId));
  assert.deepEqual([s.scheduleId, s.method, s.retries, s.isPaused], [scheduleId, "POST", 3, false]);
  assert.ok(Math.abs(s.createdAt - Date.now()) < 60_000);
  await client.schedules.delete(scheduleId);
  await fails(sdk, 404, /./, () => client.schedules.get(scheduleId));
});

test("schedules.list", "Schedules.list", async ({ client }) => {
  const at = endpoint();
  const before = await sends("GET /v2/schedules", "", () => client.schedules.list());
  const { scheduleId } = await client.schedules.create({ destination: at.url, cron: yearly });
  const schedules = await client.schedules.list();
  assert.equal(schedules.length, before.length + 1);
  assert.equal(schedules.find((s) => s.scheduleId === scheduleId).destination, at.url);
  await client.schedules.delete(scheduleId);
});

test("schedules.delete", "Schedules.delete", async ({ client }) => {
  const at = endpoint();
  const { scheduleId } = await client.schedules.create({ destination: at.url, cron: yearly });
  await sends(`DELETE /v2/schedules/${scheduleId}`, "", () => client.schedules.delete(scheduleId));
  assert.ok(!(await client.schedules.list()).some((s) => s.scheduleId === scheduleId));
});

for (const method of ["pause", "resume"]) {
  test("schedules.pause, .resume" + (method === "pause" ? "" : ": back"), `Schedules.${method}`, async ({ client }) => {
    const at = endpoint();
    const { scheduleId: schedule } = await client.schedules.create({ destination: at.url, cron: yearly });
    if (method === "resume") await client.schedules.pause({ schedule });
    await sends(`PATCH /v2/schedules/${schedule}/${method}`, "", () => client.schedules[method]({ schedule }));
    assert.equal((await client.schedules.get(schedule)).isPaused, method === "pause");
    await client.schedules.delete(schedule);
  });
}
