/**
 * What WHATWG HTML, section 9.2, says of an EventSource, asked of EventStream. Where it does something else on purpose,
 * the test is a `difference`, and docs/client.md has its sentence.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { EventStream, PATIENT, answer, closed, cut, frames, hold, open, record, serve, when } from "./helpers.mjs";

const END = "event: close\ndata: [DONE]\n\n";
const SOON = "retry: 1\n";
const cases = JSON.parse(readFileSync(new URL("standard.json", import.meta.url)));
const difference = (sentence, body) => test(`difference: ${sentence}`, PATIENT, body);

for (const { rule, stream = "", hex, long = 0, contentType = "text/event-stream", types = [], events } of cases) {
  test(rule, PATIENT, async (t) => {
    const bytes = hex ? Buffer.from(hex, "hex") : Buffer.from(stream.replace("LONG", "x".repeat(long)));
    const { url } = await serve(t, answer(200, { "Content-Type": contentType }, bytes));
    const source = open(t, url, { reconnect: false });
    const seen = record(source, ...new Set(["message", ...types, ...events.map(([type]) => type)]));
    await closed(source);
    const heard = seen.filter((event) => event instanceof MessageEvent);
    assert.deepEqual(heard.map(({ type, data, lastEventId }) => [type, data, lastEventId]), events);
  });
}

// The request

test("it asks for an event stream that no cache has kept, without a position", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(END));
  await closed(open(t, url));
  const { method, headers } = requests[0];
  assert.deepEqual([method, headers.accept, headers["cache-control"]], ["GET", "text/event-stream", "no-cache"]);
  assert.equal("last-event-id" in headers, false);
});

for (const [what, url] of [["a String object", (text) => new String(text)], ["a URL", (text) => new URL(text)],
  ["an object with toString", (text) => ({ toString: () => text })]]) {
  test(`the URL may be ${what}`, PATIENT, async (t) => {
    const { url: text } = await serve(t, frames(END));
    const source = open(t, url(text));
    await closed(source);
    assert.equal(source.url, text);
  });
}

for (const [given, path] of [["", "/a/b?c"], ["x", "/a/x"], ["/x", "/x"], ["?x", "/a/b?x"], ["../x#y", "/x"]]) {
  test(`the URL ${JSON.stringify(given)} is relative to the page`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, frames(END));
    globalThis.document = { baseURI: new URL("/a/b?c", url).href, cookie: "" };
    t.after(() => delete globalThis.document);
    const source = open(t, given);
    await closed(source);
    assert.deepEqual([requests[0].url, source.url], [path, new URL(given, new URL("/a/b?c", url)).href]);
  });
}

for (const status of [301, 302, 303, 307, 308]) {
  test(`${status} is followed, and url stays what was asked for`, PATIENT, async (t) => {
    const { url: target } = await serve(t, frames(`data: x\n\n${END}`));
    const { url } = await serve(t, answer(status, { Location: target }));
    const source = open(t, url);
    const { origin, data } = await when(source, "message");
    assert.deepEqual([data, origin, source.url], ["x", new URL(target).origin, url]);
  });
}

test("a redirect that ends in a refusal is the refusal", PATIENT, async (t) => {
  const { url: target } = await serve(t, answer(404));
  const { url } = await serve(t, answer(302, { Location: target }));
  const source = open(t, url);
  const { error } = await when(source, "error");
  assert.deepEqual([error.status, source.readyState], [404, EventStream.CLOSED]);
});

// The answer

for (const status of [201, 205, 206, 210, 299, 400, 404, 410]) {
  test(`${status} is final`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, answer(status, { "Content-Type": "text/event-stream" }, status === 205 ? "" : "data: x\n\n"));
    const source = open(t, url);
    const seen = record(source, "open", "message");
    await when(source, "error");
    assert.deepEqual([source.readyState, seen, requests.length], [EventStream.CLOSED, [], 1]);
  });
}

for (const type of ["", "text/x-bogus", "text/event-streams", "application/event-stream", "event-stream", "text/event-stream x"]) {
  test(`the content type ${JSON.stringify(type)} is final`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, answer(200, type ? { "Content-Type": type } : {}, "data: x\n\n"));
    const source = open(t, url);
    const seen = record(source, "open", "message");
    await when(source, "error");
    assert.deepEqual([source.readyState, seen, requests.length], [EventStream.CLOSED, [], 1]);
  });
}

test("open comes when the headers have come, before any event, as an Event that cannot be cancelled", PATIENT, async (t) => {
  let more;
  const { url } = await serve(t, (response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
    more = () => response.end(`data: x\n\n${END}`);
  });
  const source = open(t, url);
  assert.equal(source.readyState, EventStream.CONNECTING);
  const [event] = await once(source, "open");
  assert.deepEqual([event.bubbles, event.cancelable, "data" in event], [false, false, false]);
  assert.equal(source.readyState, EventStream.OPEN);
  more();
  const message = await when(source, "message");
  assert.deepEqual([message.bubbles, message.cancelable, message.source, message.ports.length], [false, false, null, 0]);
});

test("nothing is dispatched before the constructor's caller could listen", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`data: x\n\n${END}`));
  const source = open(t, url);
  const order = [];
  source.onopen = () => order.push("open");
  source.addEventListener("message", () => order.push("message"));
  await closed(source);
  assert.deepEqual(order, ["open", "message"]);
});

// Reconnecting

test("at the end of the body an error is dispatched while CONNECTING, then open once more", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(`${SOON}data: 1\n\n`), frames(`data: 2\n\n${END}`));
  const source = open(t, url);
  const order = [];
  for (const type of ["open", "error", "message"]) source.addEventListener(type, () => order.push([type, source.readyState]));
  await closed(source);
  assert.deepEqual(order, [["open", 1], ["message", 1], ["error", 0], ["open", 1], ["message", 1]]);
  assert.equal(requests.length, 2);
});

for (const [what, first, id] of [
  ["the last id", "id: 1\ndata: x\n\nid: 2\ndata: y\n\n", "2"],
  ["the last id, also of a block without data", "id: 1\ndata: x\n\nid: 2\n\n", "2"],
  ["no id that was not finished by an empty line", "id: 1\ndata: x\n\nid: 2\n", "1"],
  ["no id after an empty one", "id: 1\ndata: x\n\nid\ndata: y\n\n", undefined],
  ["no id when there was none", "data: x\n\n", undefined],
  ["no id with a NUL", "id: 1\0\ndata: x\n\n", undefined],
  ["the id's text as UTF-8", "id: …größe 日\ndata: x\n\n", "…größe 日"],
]) {
  test(`it comes back with ${what}`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, frames(SOON + first), frames(END));
    await closed(open(t, url));
    const header = requests[1].headers["last-event-id"];
    assert.equal(header && Buffer.from(header, "latin1").toString(), id);
  });
}

test("the last id stays over connections that bring none", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(`${SOON}id: 1\ndata: x\n\n`), frames("data: y\n\n"), frames(`data: z\n\n${END}`));
  const source = open(t, url);
  const seen = record(source, "message");
  await closed(source);
  assert.deepEqual(seen.map((event) => event.lastEventId), ["1", "1", "1"]);
  assert.deepEqual(requests.map(({ headers }) => headers["last-event-id"]), [undefined, "1", "1"]);
});

test("what was unfinished does not go on in the next connection", PATIENT, async (t) => {
  const { url } = await serve(t, cut(`${SOON}event: tick\nid: 1\ndata: half`), frames(`data: whole\n\n${END}`));
  const source = open(t, url);
  const seen = record(source, "message", "tick");
  await closed(source);
  assert.deepEqual(seen.map(({ type, data, lastEventId }) => [type, data, lastEventId]), [["message", "whole", ""]]);
});

for (const [field, milliseconds] of [
  ["retry: 30", 30], ["retry:030", 30], ["retry: 0", 0],
  ["retry: 30.5", 20], ["retry: 30 ", 20], ["retry:  30", 20], ["retry: 1e3", 20], ["retry: -30", 20], ["retry: +30", 20], ["retry: 0x1E", 20],
  ["retry: bogus", 20], ["retry:", 20], ["retry", 20], ["Retry: 30", 20], ["retry: 30\0", 20], ["retry: ٣٠", 20],
]) {
  test(`after ${JSON.stringify(field)} it waits ${milliseconds} ms`, PATIENT, async (t) => {
    t.mock.method(Math, "random", () => 0);
    const { url } = await serve(t, frames(`retry: 20\n${field}\ndata: x\n\n`), frames(END));
    assert.equal((await when(open(t, url), "error")).reconnectIn, milliseconds);
  });
}

test("the reconnection time counts for all later reconnects", PATIENT, async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { url } = await serve(t, frames("retry: 7\n\n"), frames("data: x\n\n"), frames(END));
  const source = open(t, url);
  const errors = record(source, "error");
  await closed(source);
  assert.deepEqual(errors.map((event) => event.reconnectIn), [7, 7]);
});

test("a server that cannot be reached is tried again", PATIENT, async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { url, requests } = await serve(t, (response) => response.socket.destroy(), frames(END));
  const source = open(t, url);
  await when(source, "error");
  assert.equal(source.readyState, EventStream.CONNECTING);
  await closed(source);
  assert.equal(requests.length, 2);
});

// Closing

for (const moment of ["open", "message", "error"]) {
  test(`close() in a listener for ${moment} is the end: no event follows, no request`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, frames(`${SOON}data: 1\n\ndata: 2\n\n`), frames("data: 3\n\n"));
    const source = open(t, url);
    const before = { open: ["open"], message: ["open", "message"], error: ["open", "message", "message", "error"] }[moment];
    const seen = record(source, "open", "message", "error");
    source.addEventListener(moment, () => source.close());
    await closed(source);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual([seen.map((event) => event.type), source.readyState, requests.length], [before, EventStream.CLOSED, 1]);
  });
}

test("close() right after the constructor sends no event, and ends the request if there is one", PATIENT, async (t) => {
  const { url, requests } = await serve(t, hold("data: x\n\n"));
  const source = open(t, url);
  const seen = record(source, "open", "message", "error");
  source.close();
  assert.equal(source.readyState, EventStream.CLOSED);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(seen, []);
  for (const request of requests) await request.gone;
});

// The interface

test("the prototype's methods can be replaced, and a source has none of its own", PATIENT, async (t) => {
  const { url } = await serve(t, hold());
  const { close } = EventStream.prototype;
  t.after(() => (EventStream.prototype.close = close));
  const called = [];
  EventStream.prototype.close = function () { called.push(this); return close.call(this); };
  const source = open(t, url);
  source.close();
  assert.deepEqual([called[0] === source, Object.hasOwn(source, "close"), source instanceof EventTarget], [true, false, true]);
});

test("every attribute and constant is there, and none can be set save the handlers", PATIENT, async (t) => {
  const { url } = await serve(t, hold());
  const source = open(t, url);
  for (const [name, value] of Object.entries({ CONNECTING: 0, OPEN: 1, CLOSED: 2 })) {
    assert.deepEqual([EventStream[name], source[name]], [value, value]);
  }
  for (const name of ["url", "readyState", "withCredentials", "CONNECTING", "OPEN", "CLOSED"]) {
    assert.throws(() => { source[name] = 5; }, TypeError);
  }
  for (const name of ["onopen", "onmessage", "onerror"]) {
    assert.equal(source[name], null);
    const handler = () => {};
    source[name] = handler;
    assert.equal(source[name], handler);
    source[name] = "no function";
    assert.equal(source[name], null);
  }
});

test("it cannot be called without new, nor without a URL", () => {
  assert.throws(() => EventStream("http://127.0.0.1:9/"), TypeError);
  assert.throws(() => new EventStream(), TypeError);
});

test("onmessage gets no event of another type", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`event: tick\ndata: 1\n\ndata: 2\n\n${END}`));
  const source = open(t, url);
  const heard = [];
  source.onmessage = ({ data }) => heard.push(data);
  await closed(source);
  assert.deepEqual(heard, ["2"]);
});

// What it does otherwise, on purpose

difference("5xx, 408, 425 and 429 are tried again", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { url, requests } = await serve(t, ...[408, 425, 429, 500, 502, 503, 504].map((status) => answer(status)), frames(END));
  await closed(open(t, url));
  assert.equal(requests.length, 8);
});

difference("204 closes without an error", async (t) => {
  const { url } = await serve(t, answer(204));
  const source = open(t, url);
  const errors = record(source, "error");
  await closed(source);
  assert.deepEqual(errors, []);
});

difference("`event: close` and `event: error` of the server end the stream", async (t) => {
  for (const type of ["close", "error"]) {
    const { url } = await serve(t, frames(`event: ${type}\ndata: x\n\ndata: never\n\n`));
    const source = open(t, url);
    const seen = record(source, "message", type);
    await closed(source);
    assert.deepEqual(seen.map((event) => [event.type, event.data]), [[type, "x"]]);
  }
});

difference("a random time is added to the reconnection time", async (t) => {
  t.mock.method(Math, "random", () => 0.5);
  const { url } = await serve(t, frames("retry: 200\ndata: x\n\n"), frames(END));
  assert.equal((await when(open(t, url), "error")).reconnectIn, 300);
});

difference("a URL that cannot be parsed, or is neither http: nor https:, is a TypeError", () => {
  for (const url of ["http://this is invalid/", "http://[", "mailto:x", "data:text/event-stream,data:x", "javascript:x"]) {
    assert.throws(() => new EventStream(url), { name: "TypeError" });
  }
});

difference("events are not trusted", async (t) => {
  const { url } = await serve(t, frames(`data: x\n\n${END}`));
  assert.equal((await when(open(t, url), "message")).isTrusted, false);
});

difference("`statechange` follows every change of `readyState`", async (t) => {
  const { url } = await serve(t, frames(END));
  const source = open(t, url);
  await once(source, "statechange");
  assert.equal(source.readyState, EventStream.OPEN);
});

// Node has no CORS: what a browser refuses is this to a page.
difference("an answer that CORS refuses is tried again, as a lost network is", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { url } = await serve(t, frames(END));
  const answers = [() => Promise.reject(new TypeError("Failed to fetch")), fetch];
  const source = open(t, url, { fetch: (...call) => answers.shift()(...call) });
  assert.equal((await when(source, "error")).error.code, "network");
  await closed(source);
});
