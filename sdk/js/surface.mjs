// Which methods the SDK has, and which of them the cases called.
const called = new Set();

// Private in TypeScript, so no part of what an SDK promises.
const internal = ["Chat.getAuthorizationToken", "Receiver.verifyWithKey", "Receiver.verifyBodyAndUrl"];

// parts returns the prototypes that a client leads to, by name.
function parts(sdk, client) {
  const found = new Map();
  const visit = (object) => {
    const prototype = Object.getPrototypeOf(object);
    found.set(prototype.constructor.name.replace(/^_/, ""), prototype);
  };
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(sdk.Client.prototype))) {
    if (property.get) visit(client[name]);
  }
  [client, client.queue(), client.chat(), new sdk.Receiver({ currentSigningKey: "a", nextSigningKey: "b" })].forEach(visit);
  return found;
}

// watch notes every call from now on, and returns what there is: methods like
// "Messages.get", getters like "Client.messages", methods of Chat, which it
// makes anew for each object, and the module's functions.
export function watch(sdk, client) {
  const all = new Set();
  for (const [part, prototype] of parts(sdk, client)) {
    for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      const full = `${part}.${name}`;
      if (name === "constructor" || internal.includes(full)) continue;
      all.add(full);
      const key = property.get ? "get" : "value";
      const real = property[key];
      property[key] = function (...args) {
        called.add(full);
        return real.apply(this, args);
      };
      Object.defineProperty(prototype, name, property);
    }
  }
  return all;
}

export const uncalled = (all) => [...all].filter((name) => !called.has(name));
