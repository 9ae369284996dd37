import assert from "node:assert/strict";

import { fails, sends, test } from "../harness.mjs";

const one = { name: "one", url: "http://127.0.0.1:1/one" };
const two = { url: "http://127.0.0.1:1/two" };

test("urlGroups.addEndpoints", "UrlGroups.addEndpoints", async ({ client }) => {
  await sends("POST /v2/topics/sdk-add/endpoints", { endpoints: [one] }, () => client.urlGroups.addEndpoints({ name: "sdk-add", endpoints: [one] }));
  await client.urlGroups.addEndpoints({ name: "sdk-add", endpoints: [two, { ...one, url: `${one.url}/moved` }] });
  const { endpoints } = await client.urlGroups.get("sdk-add");
  assert.deepEqual(endpoints, [{ ...one, url: `${one.url}/moved` }, two]);
  await client.urlGroups.delete("sdk-add");
});

test("urlGroups.removeEndpoints", "UrlGroups.removeEndpoints", async ({ sdk, client }) => {
  await client.urlGroups.addEndpoints({ name: "sdk-remove", endpoints: [one, two] });
  const remove = (...endpoints) => client.urlGroups.removeEndpoints({ name: "sdk-remove", endpoints });
  await sends("DELETE /v2/topics/sdk-remove/endpoints", { endpoints: [{ name: "one" }] }, () => remove({ name: "one" }));
  assert.deepEqual((await client.urlGroups.get("sdk-remove")).endpoints, [two]);
  await remove({ url: two.url }); // the last takes the group with it
  await fails(sdk, 404, /sdk-remove/, () => client.urlGroups.get("sdk-remove"));
  await fails(sdk, 404, /sdk-remove/, () => remove({ url: two.url }));
});

test("urlGroups.get", "UrlGroups.get", async ({ client }) => {
  await client.urlGroups.addEndpoints({ name: "sdk-get", endpoints: [two, one] });
  const group = await sends("GET /v2/topics/sdk-get", "", () => client.urlGroups.get("sdk-get"));
  assert.deepEqual([group.name, group.endpoints], ["sdk-get", [two, one]]);
  assert.ok(Math.abs(group.createdAt - Date.now()) < 60_000 && group.updatedAt >= group.createdAt);
  await client.urlGroups.delete("sdk-get");
});

test("urlGroups.list", "UrlGroups.list", async ({ client }) => {
  const before = await sends("GET /v2/topics", "", () => client.urlGroups.list());
  await client.urlGroups.addEndpoints({ name: "sdk-list", endpoints: [one] });
  const groups = await client.topics.list();
  assert.equal(groups.length, before.length + 1);
  assert.deepEqual(groups.find((g) => g.name === "sdk-list").endpoints, [one]);
  await client.urlGroups.delete("sdk-list");
});

test("urlGroups.delete", "UrlGroups.delete", async ({ sdk, client }) => {
  await client.urlGroups.addEndpoints({ name: "sdk-delete", endpoints: [one] });
  await sends("DELETE /v2/topics/sdk-delete", "", () => client.urlGroups.delete("sdk-delete"));
  await fails(sdk, 404, /sdk-delete/, () => client.urlGroups.get("sdk-delete"));
  await client.urlGroups.delete("sdk-delete"); // one that is not there is no error
});
