import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";

import { EventStream, PATIENT, answer, closed, fetchOfWebKit, frames, hold, open, record, serve, when } from "./helpers.mjs";

const END = "event: close\ndata: [DONE]\n\n";
const ids = (requests) => requests.map((request) => request.headers["last-event-id"]);

for (const [engine, fetch] of [["", globalThis.fetch], [", in WebKit", fetchOfWebKit]]) {
  test(`a connection that falls silent is left, and the next one continues after its position${engine}`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, hold("retry: 3600000\nid: a-1\ndata: x\n\n"), frames(END));
    const stream = open(t, url, { fetch, watchdog: 200 });
    const { error, reconnectIn } = await when(stream, "error");
    assert.deepEqual([error.code, reconnectIn], ["timeout", 0]);
    await closed(stream);
    await requests[0].gone;
    assert.deepEqual(ids(requests), [undefined, "a-1"]);
  });

  test(`an attempt that hangs before its headers is left as well${engine}`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, () => {}, frames(END));
    const stream = open(t, url, { fetch, watchdog: 200 });
    assert.equal((await when(stream, "error")).error.code, "timeout");
    await closed(stream);
    assert.equal(requests.length, 2);
  });

  test(`a POST that may not be repeated ends for good${engine}`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, hold("data: half\n\n"));
    const stream = open(t, url, { fetch, body: "x", watchdog: 200 });
    const { error, reconnectIn } = await when(stream, "error");
    assert.deepEqual([error.code, reconnectIn, stream.readyState], ["timeout", null, EventStream.CLOSED]);
    assert.equal(requests.length, 1);
  });

  test(`reconnect() leaves an open connection for a new one${engine}`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, hold("retry: 3600000\nid: a-1\ndata: x\n\n"), frames(END));
    const stream = open(t, url, { fetch });
    await once(stream, "message");
    stream.reconnect();
    assert.equal((await when(stream, "error")).error.code, "given-up");
    await closed(stream);
    assert.deepEqual(ids(requests), [undefined, "a-1"]);
  });

  test(`time-outs do not count as failures${engine}`, PATIENT, async (t) => {
    t.mock.method(Math, "random", () => 0.1);
    const { url } = await serve(t, () => {}, () => {}, answer(500), frames(END));
    const stream = open(t, url, { fetch, watchdog: 200 });
    const errors = record(stream, "error");
    await closed(stream);
    assert.deepEqual(errors.map((event) => [event.error.code, event.reconnectIn]), [["timeout", 0], ["timeout", 0], ["status", 100]]);
  });
}

test("heartbeats keep a connection", PATIENT, async (t) => {
  const { url, requests } = await serve(t, async (response) => {
    hold()(response);
    for (let beat = 0; beat < 20; beat += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      response.write(":\n");
    }
    response.end(END);
  });
  const stream = open(t, url, { watchdog: 1500 });
  const errors = record(stream, "error");
  await closed(stream);
  assert.deepEqual([errors, requests.length], [[], 1]);
});

test("watchdog: 0 is none, and the default waits for more than two heartbeats of the server", PATIENT, async (t) => {
  const { url } = await serve(t, hold());
  t.mock.method(Date, "now", () => now);
  let now = 1e12;
  const [never, usual] = [open(t, url, { watchdog: 0 }), open(t, url)];
  const heard = async (stream) => { await once(stream, "open"); while (!stream.silence) { now += 1; await new Promise(setImmediate); } };
  await Promise.all([heard(never), heard(usual)]);
  now += 31_000;
  usual.check();
  await new Promise(setImmediate);
  assert.equal(usual.readyState, EventStream.OPEN);
  now += 5_000;
  usual.check();
  assert.equal((await when(usual, "error")).error.code, "timeout");
  now += 1e9;
  never.check();
  await new Promise(setImmediate);
  assert.equal(never.readyState, EventStream.OPEN);
});

test("a watchdog longer than any timer looks as seldom as a timer can", PATIENT, async (t) => {
  const { url } = await serve(t, hold());
  const delays = [];
  const { setInterval } = globalThis;
  t.mock.method(globalThis, "setInterval", (call, delay) => (delays.push(delay), setInterval(call, delay)));
  for (const watchdog of [Infinity, 2 ** 40, 4000]) open(t, url, { watchdog });
  assert.deepEqual(delays, [2 ** 31 - 1, 2 ** 31 - 1, 1000]);
});

test("a loop that is behind stops the reading, which is no silence of the server", PATIENT, async (t) => {
  let send;
  const { url } = await serve(t, (response) => {
    hold("data: first\n\n")(response);
    send = (text) => response.write(text);
  });
  const stream = open(t, url);
  const messages = record(stream, "message");
  await stream[Symbol.asyncIterator]().next();
  send(`data: ${"x".repeat(64 * 1024)}\n\n`.repeat(20));
  while (messages.length < 17) await once(stream, "message");
  await new Promise(setImmediate);
  const later = Date.now() + 1e9;
  t.mock.method(Date, "now", () => later);
  assert.equal(stream.silence, 0);
  stream.check();
  await new Promise(setImmediate);
  assert.equal(stream.readyState, EventStream.OPEN);
});

test("reconnect() ends the wait for the next attempt", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames("retry: 3600000\nid: a-1\ndata: x\n\n"), frames(END));
  const stream = open(t, url);
  stream.addEventListener("error", () => setTimeout(() => stream.reconnect(), 5));
  await closed(stream);
  assert.deepEqual(ids(requests), [undefined, "a-1"]);
});

test("reconnect() in the error's listener ends the wait before it begins", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames("retry: 3600000\ndata: x\n\n"), frames(END));
  const stream = open(t, url);
  stream.addEventListener("error", () => stream.reconnect());
  await closed(stream);
  assert.equal(requests.length, 2);
});

test("reconnect() keeps a POST that may not be repeated", PATIENT, async (t) => {
  let send;
  const { url, requests } = await serve(t, (response) => {
    hold("data: half\n\n")(response);
    send = (text) => response.end(text);
  });
  const stream = open(t, url, { body: "x" });
  const errors = record(stream, "error");
  await once(stream, "message");
  stream.reconnect();
  send(END);
  await closed(stream);
  assert.deepEqual([errors, requests.length], [[], 1]);
});

test("reconnect() after the end does nothing", PATIENT, async (t) => {
  const { url, requests } = await serve(t, answer(204));
  const stream = open(t, url);
  await closed(stream);
  stream.reconnect();
  await new Promise(setImmediate);
  assert.equal(requests.length, 1);
});
