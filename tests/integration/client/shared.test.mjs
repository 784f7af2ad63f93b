import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";

import { EventStream, PATIENT, SharedEventStream, answer, closed, hold, record, serve, when } from "./helpers.mjs";

/** The Web Locks of one origin, where Node has none: exclusive, first come first served, left by a signal. */
class Locks {
  #tails = new Map();

  async request(name, { signal }, callback) {
    const before = this.#tails.get(name);
    let release;
    this.#tails.set(name, new Promise((resolve) => (release = resolve)));
    await before;
    if (!signal.aborted) await callback();
    release();
  }
}

/** Gives this process Web Locks, so that its streams are as the tabs of one browser. */
function pretendBrowser(t) {
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { locks: new Locks() }, configurable: true });
  t.after(() => {
    delete globalThis.navigator;
    if (before) Object.defineProperty(globalThis, "navigator", before);
  });
}

/** A tab's stream, which leads or follows when this resolves. `seen` has its messages. */
async function tab(t, url, options) {
  const stream = new SharedEventStream(url, options);
  t.after(() => stream.close());
  const seen = record(stream, "message");
  await once(stream, "open");
  return { stream, seen };
}

/** Waits until a tab has that many messages; their data. */
async function messages({ stream, seen }, count) {
  while (seen.length < count) await once(stream, "message");
  return seen.map((event) => event.data);
}

/** Holds every connection; `requests[n].send(text)` writes to the n-th. */
const held = (text) => (response, request) => {
  hold(text)(response);
  request.send = (more) => response.write(more);
};

test("tabs of one account follow one connection, each after a request of its own", PATIENT, async (t) => {
  pretendBrowser(t);
  const { url, requests } = await serve(t, held("id: 1\ndata: first\n\n"));
  const leader = await tab(t, url, { share: 7 });
  await messages(leader, 1);
  const other = await tab(t, url, { share: "7", lastEventId: "1" });
  await requests[1].gone; // the server has judged it
  requests[0].send("id: 2\ndata: second\n\n");
  assert.deepEqual(await messages(other, 1), ["second"]);
  assert.deepEqual([requests.length, leader.stream.leading, other.stream.leading], [2, true, false]);
});

test("a tab that the server refuses gets nothing, though it stands where the leader stands", PATIENT, async (t) => {
  pretendBrowser(t);
  const { url, requests } = await serve(t, held("id: 1\ndata: first\n\n"), answer(403));
  await messages(await tab(t, url, { share: 7 }), 1);
  const other = new SharedEventStream(url, { share: 7, lastEventId: "1" });
  const seen = record(other, "message", "open");
  const refusal = when(other, "error");
  requests[0].send("id: 2\ndata: secret\n\n");
  assert.deepEqual([(await refusal).error.status, other.readyState], [403, EventStream.CLOSED]);
  assert.deepEqual(seen, []);
});

test("an event that comes before the server has answered a tab is not that tab's", PATIENT, async (t) => {
  pretendBrowser(t);
  let asked;
  const refused = new Promise((resolve) => (asked = resolve));
  const { url, requests } = await serve(t, held("id: 1\ndata: first\n\n"), (response) => asked(() => response.writeHead(403).end()));
  const leader = await tab(t, url, { share: 7 });
  await messages(leader, 1);
  const other = new SharedEventStream(url, { share: 7, lastEventId: "1" });
  t.after(() => other.close());
  const seen = record(other, "open", "message");
  const refuse = await refused;
  requests[0].send("id: 2\ndata: second\n\n");
  await messages(leader, 2);
  refuse();
  await closed(other);
  assert.deepEqual([seen, other.error.status], [[], 403]);
});

test("accounts do not share, though their streams stand at the same position", PATIENT, async (t) => {
  pretendBrowser(t);
  const { url, requests } = await serve(t, held("id: 1\ndata: Ann\n\n"), held("id: 1\ndata: Bob\n\n"));
  const ann = await tab(t, url, { share: "ann" });
  await messages(ann, 1);
  const bob = await tab(t, url, { share: "bob", lastEventId: "1" });
  await messages(bob, 1);
  requests[0].send("id: 2\ndata: for Ann\n\n");
  await messages(ann, 2);
  requests[1].send("id: 2\ndata: for Bob\n\n");
  assert.deepEqual(await messages(bob, 2), ["Bob", "for Bob"]);
  assert.deepEqual([ann.stream.leading, bob.stream.leading], [true, true]);
});

for (const options of [undefined, {}, { share: undefined }, { share: null }, { share: {} }]) {
  test(`${JSON.stringify(options)} is refused: it does not say whose page this is`, () => {
    assert.throws(() => new SharedEventStream("http://127.0.0.1:9/", options), { name: "TypeError", message: /share/ });
  });
}

test("a tab whose loop is behind hands the lead over, and comes back when it has caught up", PATIENT, async (t) => {
  pretendBrowser(t);
  const text = "x".repeat(64 * 1024);
  let head = 1;
  const after = (id) => Array.from({ length: head - id }, (_, index) => `id: ${id + 1 + index}\ndata: ${text}\n\n`).join("");
  const log = (response, request) => held(`:\n${after(Number(request.headers["last-event-id"] ?? 0))}`)(response, request);
  const { url, requests } = await serve(t, log);
  const slow = new SharedEventStream(url, { share: "" });
  t.after(() => slow.close());
  const loop = slow[Symbol.asyncIterator]();
  const ids = [(await loop.next()).value.lastEventId];
  const { stream: other } = await tab(t, url, { share: "", lastEventId: "1" });
  await requests[1].gone;
  head = 40;
  requests[0].send(after(1));
  await requests[0].gone;
  while (other.lastEventId !== "40") await once(other, "message");
  assert.deepEqual([slow.leading, other.leading], [false, true]);
  while (ids.length < 40) ids.push((await loop.next()).value.lastEventId);
  assert.deepEqual(ids, Array.from({ length: 40 }, (_, index) => String(index + 1)));
});
