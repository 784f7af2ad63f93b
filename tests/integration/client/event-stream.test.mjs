import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";

import { EventStream, PATIENT, answer, closed, frames, hold, open, record, serve, when } from "./helpers.mjs";

const END = "event: close\ndata: [DONE]\n\n";

test("events are MessageEvents with type, data, lastEventId and origin", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`id: 1\ndata: a\ndata: b\n\nid: 2\nevent: tick\ndata: {}\n\n${END}`));
  const stream = open(t, url);
  const seen = record(stream, "message", "tick", "close");
  await closed(stream);
  assert.ok(seen.every((event) => event instanceof MessageEvent && event.origin === new URL(url).origin));
  assert.deepEqual(
    seen.map(({ type, data, lastEventId }) => [type, data, lastEventId]),
    [["message", "a\nb", "1"], ["tick", "{}", "2"], ["close", "[DONE]", "2"]],
  );
});

test("stream-open and stream-reset are events like any other", PATIENT, async (t) => {
  const reset = '{"reason":"trimmed","channels":["a"]}';
  const opening = "id: e-1\nretry: 9\nevent: stream-open\ndata: {}\n\n";
  const { url } = await serve(t, frames(`${opening}id: e-5\nevent: stream-reset\ndata: ${reset}\n\n${END}`));
  const stream = open(t, url);
  const seen = record(stream, "stream-open", "stream-reset");
  await closed(stream);
  assert.deepEqual(seen.map(({ data, lastEventId }) => [data, lastEventId]), [["{}", "e-1"], [reset, "e-5"]]);
});

test("an event is dispatched before the next one is sent", PATIENT, async (t) => {
  let more;
  const { url } = await serve(t, (response) => {
    hold("data: first\n\n")(response);
    more = () => response.end(`data: second\n\n${END}`);
  });
  const stream = open(t, url);
  assert.equal((await when(stream, "message")).data, "first");
  more();
  assert.equal((await when(stream, "message")).data, "second");
});

test("onopen, onmessage and onerror are called with the stream as this, and can be replaced and removed", PATIENT, async (t) => {
  const { url } = await serve(t, frames("data: 1\n\ndata: 2\n\ndata: 3\n\nevent: error\ndata: x\n\n"));
  const stream = open(t, url);
  const calls = [];
  const third = () => assert.fail("was removed");
  stream.onopen = function () { calls.push(["open", this === stream]); };
  stream.onerror = (event) => calls.push(["error", event.data]);
  stream.onmessage = (event) => {
    calls.push(["first", event.data]);
    stream.onmessage = (event) => {
      calls.push(["second", event.data]);
      stream.onmessage = third;
      assert.equal(stream.onmessage, third);
      stream.onmessage = null;
    };
  };
  await closed(stream);
  assert.equal(stream.onmessage, null);
  assert.deepEqual(calls, [["open", true], ["first", "1"], ["second", "2"], ["error", "x"]]);
});

test("a handler that was set twice is called once", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`data: 1\n\n${END}`));
  const stream = open(t, url);
  const calls = [];
  stream.onmessage = () => calls.push("first");
  stream.onmessage = () => calls.push("second");
  await closed(stream);
  assert.deepEqual(calls, ["second"]);
});

test("the constants, url and withCredentials are EventSource's", PATIENT, async (t) => {
  const { url } = await serve(t, hold());
  const stream = open(t, url, { withCredentials: true });
  assert.deepEqual([EventStream.CONNECTING, EventStream.OPEN, EventStream.CLOSED], [0, 1, 2]);
  assert.deepEqual([stream.CONNECTING, stream.OPEN, stream.CLOSED], [0, 1, 2]);
  assert.deepEqual([stream.url, stream.withCredentials, stream.readyState], [url, true, 0]);
  for (const holder of [EventStream, EventStream.prototype, stream]) {
    for (const name of ["CONNECTING", "OPEN", "CLOSED", "readyState", "url", "withCredentials"]) {
      if (name in holder) assert.throws(() => { holder[name] = 9; }, TypeError, name);
    }
  }
  assert.equal(open(t, url).withCredentials, false);
  await once(stream, "open");
  assert.equal(stream.readyState, EventStream.OPEN);
});

test("the close event ends the stream for good, and what follows it is not read", PATIENT, async (t) => {
  const { url, requests } = await serve(t, hold(`data: x\n\nid: reserved\n${END}data: never\n\n`));
  const stream = open(t, url);
  const seen = record(stream, "message", "close", "error");
  let stateAtClose;
  stream.addEventListener("close", () => (stateAtClose = stream.readyState));
  await closed(stream);
  await requests[0].gone;
  assert.deepEqual(seen.map((event) => event.data), ["x", "[DONE]"]);
  assert.equal(stateAtClose, EventStream.CLOSED);
  assert.equal(requests.length, 1);
});

test("closeEvent names another type, and null none", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`${END}event: finished\ndata: 1\n\n`));
  const named = open(t, url, { closeEvent: "finished" });
  const seen = record(named, "close", "finished", "error");
  await closed(named);
  assert.deepEqual(seen.map((event) => event.type), ["close", "finished"]);

  const none = open(t, url, { closeEvent: null, reconnect: false });
  assert.equal((await when(none, "error")).error.code, "truncated");
});

test("done names the data of an untyped event that ends the stream", PATIENT, async (t) => {
  const { url } = await serve(t, frames("event: part\ndata: [DONE]\n\ndata: x\n\ndata: [DONE]\n\ndata: never\n\n"));
  const stream = open(t, url, { done: "[DONE]" });
  const seen = record(stream, "part", "message", "error");
  await closed(stream);
  assert.deepEqual(seen.map(({ type, data }) => [type, data]), [["part", "[DONE]"], ["message", "x"], ["message", "[DONE]"]]);
});

test("without the option, [DONE] is data like any other", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`data: [DONE]\n\ndata: x\n\n${END}`));
  const stream = open(t, url);
  const messages = record(stream, "message");
  await closed(stream);
  assert.deepEqual(messages.map((event) => event.data), ["[DONE]", "x"]);
});

test("the server's error event is a MessageEvent and final", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames('data: x\n\nevent: error\ndata: {"error": "no"}\n\ndata: never\n\n'));
  const stream = open(t, url);
  const messages = record(stream, "message");
  const error = await when(stream, "error");
  assert.ok(error instanceof MessageEvent);
  assert.deepEqual([error.data, stream.readyState], ['{"error": "no"}', EventStream.CLOSED]);
  assert.deepEqual(messages.map((event) => event.data), ["x"]);
  assert.equal(requests.length, 1);
});

test("close() aborts the request at the server", PATIENT, async (t) => {
  const { url, requests } = await serve(t, hold());
  const stream = open(t, url);
  await once(stream, "open");
  const errors = record(stream, "error");
  stream.close();
  assert.equal(stream.readyState, EventStream.CLOSED);
  await requests[0].gone;
  assert.deepEqual(errors, []);
});

test("close() before the answer aborts the request", PATIENT, async (t) => {
  let arrived;
  const arrival = new Promise((resolve) => (arrived = resolve));
  const { url, requests } = await serve(t, arrived);
  const stream = open(t, url);
  await arrival;
  stream.close();
  await requests[0].gone;
});

test("close() in a listener stops the events that came in the same chunk", PATIENT, async (t) => {
  const { url } = await serve(t, hold("id: 1\ndata: 1\n\nid: 2\ndata: 2\n\nid: 3\ndata: 3\n\n"));
  const stream = open(t, url);
  const seen = [];
  stream.onmessage = ({ data }) => {
    seen.push(data);
    if (data === "2") stream.close();
  };
  await closed(stream);
  assert.deepEqual([seen, stream.lastEventId], [["1", "2"], "2"]);
});

test("close() in a statechange listener keeps the event back that would have followed", PATIENT, async (t) => {
  const { url } = await serve(t, frames("data: x\n\n"));
  for (const [state, events] of [[EventStream.OPEN, []], [EventStream.CONNECTING, ["open", "message"]]]) {
    const stream = open(t, url);
    const seen = record(stream, "open", "message", "error");
    stream.addEventListener("statechange", () => stream.readyState === state && stream.close());
    await closed(stream);
    assert.deepEqual(seen.map((event) => event.type), events);
  }
});

test("close() twice, and after the end, does nothing", PATIENT, async (t) => {
  const { url } = await serve(t, frames(END));
  const stream = open(t, url);
  await closed(stream);
  const changes = record(stream, "statechange");
  stream.close();
  stream.close();
  assert.deepEqual(changes, []);
});

test("a throwing listener is reported and stops neither the others nor the stream", PATIENT, async (t) => {
  // Node reports it as an uncaught exception, as a browser does on window.
  const reported = [];
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => reported.push(error.message));
  t.after(() => {
    process.removeAllListeners("uncaughtException");
    for (const listener of others) process.on("uncaughtException", listener);
  });
  const { url } = await serve(t, frames(`data: 1\n\ndata: 2\n\n${END}`));
  const stream = open(t, url);
  stream.addEventListener("message", () => { throw new Error("mine"); });
  const messages = record(stream, "message");
  await closed(stream);
  assert.deepEqual([messages.length, reported], [2, ["mine", "mine"]]);
});

test("a redirect is followed, and origin is that of the final address", PATIENT, async (t) => {
  const { url: target } = await serve(t, frames(`data: x\n\n${END}`));
  const { url } = await serve(t, answer(302, { Location: target }));
  assert.equal((await when(open(t, url), "message")).origin, new URL(target).origin);
});

test("a redirect to a page explains itself", PATIENT, async (t) => {
  const { url: login } = await serve(t, answer(200, { "Content-Type": "text/html" }, "<form>"));
  const { url } = await serve(t, answer(302, { Location: login }));
  assert.match((await when(open(t, url), "error")).error.message, /redirect.*login/);
});
