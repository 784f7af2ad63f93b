import assert from "node:assert/strict";
import { test } from "node:test";

import { EventStream, EventStreamError, reconnectDelay } from "./helpers.mjs";
import { PATIENT, answer, closed, cut, frames, hold, open, record, serve, when } from "./helpers.mjs";

const FAST = "retry: 1\n";
const END = "event: close\ndata: [DONE]\n\n";
const ids = (requests) => requests.map((request) => request.headers["last-event-id"]);
const datas = (events) => events.map((event) => event.data);

test("an ended body reconnects and continues after the last event ID", PATIENT, async (t) => {
  const { url, requests } = await serve(
    t,
    frames(`${FAST}id: a-1\ndata: one\n\nid: a-2\ndata: two\n\n`),
    frames(`id: a-3\ndata: three\n\n${END}`),
  );
  const stream = open(t, url);
  const messages = record(stream, "message");
  await closed(stream);
  assert.deepEqual(datas(messages), ["one", "two", "three"]);
  assert.deepEqual(ids(requests), [undefined, "a-2"]);
});

test("a position given to the constructor is sent with the first request", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(END));
  const stream = open(t, url, { lastEventId: "abc-17" });
  assert.equal(stream.lastEventId, "abc-17");
  await closed(stream);
  assert.deepEqual(ids(requests), ["abc-17"]);
});

test("a block with an id alone moves the position, an empty id resets it, one with NUL does not", PATIENT, async (t) => {
  const { url, requests } = await serve(
    t,
    frames(`${FAST}id: 1\n\n`),
    frames("id: 2\0\ndata: x\n\n"),
    frames("id\ndata: x\n\n"),
    frames(END),
  );
  await closed(open(t, url));
  assert.deepEqual(ids(requests), [undefined, "1", "1", undefined]);
});

test("an id beyond ASCII comes back as the UTF-8 bytes that the server sent", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(`${FAST}id: größe-日\ndata: x\n\n`), frames(END));
  await closed(open(t, url));
  assert.equal(Buffer.from(requests[1].headers["last-event-id"], "latin1").toString(), "größe-日");
});

test("the position is kept over events without an id", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(`${FAST}id: 1\ndata: x\n\n`), frames("data: y\n\n"), frames(END));
  await closed(open(t, url));
  assert.deepEqual(ids(requests), [undefined, "1", "1"]);
});

test("a connection cut in the middle of a frame drops the unfinished event", PATIENT, async (t) => {
  const { url, requests } = await serve(
    t,
    cut(`${FAST}id: 1\ndata: whole\n\nid: 2\ndata: torn`),
    frames(`id: 2\ndata: again\n\n${END}`),
  );
  const stream = open(t, url);
  const messages = record(stream, "message");
  await closed(stream);
  assert.deepEqual(datas(messages), ["whole", "again"]);
  assert.deepEqual(ids(requests), [undefined, "1"]);
});

test("the error of a lost connection has no data, and says when it comes back", PATIENT, async (t) => {
  const { url } = await serve(t, frames("retry: 5\ndata: x\n\n"), hold());
  const stream = open(t, url);
  const error = await when(stream, "error");
  assert.equal(stream.readyState, EventStream.CONNECTING);
  assert.equal("data" in error, false);
  assert.ok(error.error instanceof EventStreamError);
  assert.equal(error.error.code, "truncated");
  assert.ok(error.reconnectIn >= 5, String(error.reconnectIn));
});

test("readyState passes through its states, each announced", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`${FAST}data: x\n\n`), frames(END));
  const stream = open(t, url);
  const states = [stream.readyState];
  stream.addEventListener("statechange", () => states.push(stream.readyState));
  await closed(stream);
  assert.deepEqual(states, [0, 1, 0, 1, 2]);
});

test("attempts that fail in a row are no changes of state", PATIENT, async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { url } = await serve(t, answer(500), answer(500), frames(END));
  const stream = open(t, url);
  const states = [];
  stream.addEventListener("statechange", () => states.push(stream.readyState));
  await closed(stream);
  assert.deepEqual(states, [1, 2]);
});

test("an answer that is not read gives its connection back before the wait", PATIENT, async (t) => {
  const { url, requests } = await serve(t, (response) => response.writeHead(503, { "Retry-After": "3600" }).write("..."));
  await when(open(t, url), "error");
  await requests[0].gone;
});

test("the server's retry is waited for at least", PATIENT, async (t) => {
  const arrivals = [];
  const arrive = (handler) => (response) => (arrivals.push(performance.now()), handler(response));
  const { url } = await serve(t, arrive(frames("retry: 400\ndata: x\n\n")), arrive(frames(END)));
  await closed(open(t, url));
  assert.ok(arrivals[1] - arrivals[0] >= 395, `${arrivals[1] - arrivals[0]} ms`); // timers are whole ms
});

test("a stream-retry frame is dispatched and its retry counts", PATIENT, async (t) => {
  const { url } = await serve(t, frames("retry: 1\nevent: stream-retry\ndata: {}\n\n"), frames(END));
  const stream = open(t, url);
  const seen = record(stream, "stream-retry", "error");
  await closed(stream);
  assert.deepEqual(seen.map((event) => event.type), ["stream-retry", "error"]);
  assert.ok(seen[1].reconnectIn >= 1 && seen[1].reconnectIn <= 101, String(seen[1].reconnectIn));
});

test("back-off doubles with each failure, is capped, and starts again after a success", PATIENT, async (t) => {
  t.mock.method(Math, "random", () => 0.5);
  const { url, requests } = await serve(
    t,
    frames("retry: 0\ndata: x\n\n"),
    answer(500),
    answer(502),
    answer(500),
    frames("data: x\n\n"),
    frames(END),
  );
  const stream = open(t, url, { maxDelay: 300 });
  const errors = record(stream, "error");
  await closed(stream);
  assert.equal(requests.length, 6);
  assert.deepEqual(errors.map((event) => event.reconnectIn), [50, 100, 150, 150, 50]);
});

test("reconnectDelay is full jitter over a doubling, capped span, on top of what the server asked for", () => {
  const [low, high] = [() => 0, () => 1];
  assert.equal(reconnectDelay({ failures: 0 }, low), 0);
  assert.deepEqual([0, 1, 2, 3].map((failures) => reconnectDelay({ failures }, high)), [1000, 2000, 4000, 8000]);
  assert.equal(reconnectDelay({ failures: 50 }, high), 30_000);
  assert.equal(reconnectDelay({ failures: 5000, maxDelay: 5000 }, high), 5000);
  assert.equal(reconnectDelay({ failures: 0, retry: 3000 }, low), 3000);
  assert.equal(reconnectDelay({ failures: 1, retry: 3000 }, high), 9000);
  assert.equal(reconnectDelay({ failures: 0, retry: 3000, retryAfter: 7000 }, low), 7000);
  assert.equal(reconnectDelay({ failures: 0, retry: 3000, retryAfter: 1000 }, low), 3000);
  assert.equal(reconnectDelay({ failures: 0, retryAfter: 1e12 }, low), 2 ** 31 - 1);
});

test("a server that accepts and ends without a byte is a failure too", PATIENT, async (t) => {
  t.mock.method(Math, "random", () => 0.1);
  const { url } = await serve(t, frames(), frames(), frames(END));
  const stream = open(t, url);
  const errors = record(stream, "error");
  await closed(stream);
  assert.deepEqual(errors.map((event) => event.reconnectIn), [100, 200]);
});

for (const status of [408, 425, 429, 500, 502, 503, 504]) {
  test(`${status} is tried again`, PATIENT, async (t) => {
    t.mock.method(Math, "random", () => 0);
    const { url, requests } = await serve(t, answer(status, {}, "a body that nobody reads"), frames(END));
    const stream = open(t, url);
    const errors = record(stream, "error");
    await closed(stream);
    assert.equal(requests.length, 2);
    assert.deepEqual(errors.map((event) => [event.error.code, event.error.status]), [["status", status]]);
  });
}

for (const status of [429, 503]) {
  test(`${status} with Retry-After in seconds waits that long`, PATIENT, async (t) => {
    t.mock.method(Math, "random", () => 0);
    const { url } = await serve(t, answer(status, { "Retry-After": "1" }), frames(END));
    const stream = open(t, url);
    const started = performance.now();
    assert.equal((await when(stream, "error")).reconnectIn, 1000);
    await closed(stream);
    assert.ok(performance.now() - started >= 995);
  });
}

test("503 with Retry-After as a date waits until then", PATIENT, async (t) => {
  t.mock.method(Math, "random", () => 0);
  const date = new Date(Date.now() + 60_000).toUTCString();
  const { url } = await serve(t, answer(503, { "Retry-After": date }));
  const { reconnectIn } = await when(open(t, url), "error");
  assert.ok(reconnectIn > 30_000 && reconnectIn <= 60_000, String(reconnectIn));
});

test("a refused connection is tried again", PATIENT, async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { url } = await serve(t, (response) => response.socket.resetAndDestroy(), frames(END));
  const stream = open(t, url);
  const errors = record(stream, "error");
  await closed(stream);
  assert.deepEqual(errors.map((event) => event.error.code), ["network"]);
});

test("204 stops without an error", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(`${FAST}id: end\ndata: x\n\n`), answer(204));
  const stream = open(t, url);
  const errors = record(stream, "error");
  await closed(stream);
  assert.deepEqual(ids(requests), [undefined, "end"]);
  assert.deepEqual(errors.map((event) => event.reconnectIn === null), [false]); // the end of the first body
});

for (const status of [205, 304, 400, 401, 403, 404, 410]) {
  test(`${status} stops with an error`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, answer(status, { "Content-Type": "text/event-stream" }));
    const stream = open(t, url);
    const { error, reconnectIn } = await when(stream, "error");
    assert.equal(stream.readyState, EventStream.CLOSED);
    assert.deepEqual([error.code, error.status, reconnectIn], ["status", status, null]);
    assert.equal(requests.length, 1);
  });
}

for (const type of ["text/html", "text/event-stream-not", "application/json; x=text/event-stream"]) {
  test(`the content type ${type} stops with an error`, PATIENT, async (t) => {
    const { url } = await serve(t, answer(200, { "Content-Type": type }, "data: x\n\n"));
    const stream = open(t, url);
    const messages = record(stream, "message");
    const { error, reconnectIn } = await when(stream, "error");
    assert.equal(stream.readyState, EventStream.CLOSED);
    assert.deepEqual([error.code, reconnectIn], ["content-type", null]);
    assert.ok(error.message.includes(type.split(";")[0]), error.message);
    assert.deepEqual(messages, []);
  });
}

test("a missing content type stops with an error", PATIENT, async (t) => {
  const { url } = await serve(t, answer(200, {}, "data: x\n\n"));
  assert.equal((await when(open(t, url), "error")).error.code, "content-type");
});

test("the content type's case and parameters do not matter", PATIENT, async (t) => {
  const { url } = await serve(t, answer(200, { "Content-Type": "Text/Event-Stream ;charset=x" }, END));
  const stream = open(t, url);
  const errors = record(stream, "error");
  await closed(stream);
  assert.deepEqual(errors, []);
});

test("reconnect: false ends a GET at its first lost connection", PATIENT, async (t) => {
  const { url } = await serve(t, frames("id: 1\ndata: x\n\n"));
  const stream = open(t, url, { reconnect: false });
  const { error, reconnectIn } = await when(stream, "error");
  assert.deepEqual([error.code, reconnectIn, stream.readyState], ["truncated", null, EventStream.CLOSED]);
});

test("a POST without ids is not repeated: its end without a terminal event is an error", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames("data: half\n\n"));
  const stream = open(t, url, { body: "x" });
  const { error, reconnectIn } = await when(stream, "error");
  assert.deepEqual([error.code, reconnectIn, stream.readyState], ["truncated", null, EventStream.CLOSED]);
  assert.match(error.message, /truncated.*reconnect: true/);
  assert.equal(requests.length, 1);
});

for (const [what, failure] of [["a cut", cut("data: half\n\n")], ["a 500", answer(500)], ["a 503", answer(503)]]) {
  test(`a POST without ids is not repeated after ${what}`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, failure);
    const stream = open(t, url, { method: "post" });
    assert.equal((await when(stream, "error")).reconnectIn, null);
    assert.equal(stream.readyState, EventStream.CLOSED);
    assert.equal(requests.length, 1);
  });
}

for (const [status, headers] of [[503, { "Retry-After": "0" }], [429, {}]]) {
  test(`a POST that the server refused unread (${status}) is sent again`, PATIENT, async (t) => {
    t.mock.method(Math, "random", () => 0);
    const { url, requests } = await serve(t, answer(status, headers), frames(END));
    await closed(open(t, url, { body: { prompt: "x" } }));
    assert.deepEqual(requests.map((request) => request.body.toString()), ['{"prompt":"x"}', '{"prompt":"x"}']);
  });
}

test("a POST continues once it has a last event ID", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(`${FAST}id: r-1\ndata: half\n\n`), frames(`data: rest\n\n${END}`));
  const stream = open(t, url, { body: { prompt: "x" } });
  const messages = record(stream, "message");
  await closed(stream);
  assert.deepEqual(datas(messages), ["half", "rest"]);
  assert.deepEqual(ids(requests), [undefined, "r-1"]);
  assert.equal(requests[1].body.toString(), '{"prompt":"x"}');
});

test("a POST is repeated with reconnect: true", PATIENT, async (t) => {
  const { url, requests } = await serve(t, cut(`${FAST}data: half\n\n`), frames(END));
  await closed(open(t, url, { body: "x", reconnect: true }));
  assert.deepEqual(requests.map((request) => request.body.toString()), ["x", "x"]);
});

test("PUT, which is idempotent, reconnects as GET does", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(`${FAST}data: x\n\n`), frames(END));
  await closed(open(t, url, { method: "PUT", body: "x" }));
  assert.equal(requests.length, 2);
});

// A timer of an hour that is left behind keeps this file's process, and so the test run, from ending.
for (const [moment, later] of [["in the error's listener", (call) => call()], ["during the wait", setImmediate]]) {
  test(`close() ${moment} cancels the reconnect`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, frames("retry: 3600000\ndata: x\n\n"), frames(END));
    const stream = open(t, url);
    stream.addEventListener("error", () => later(() => stream.close()));
    await closed(stream);
    assert.equal(requests.length, 1);
  });
}
