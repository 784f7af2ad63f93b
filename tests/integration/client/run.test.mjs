import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";

import { EventStream, EventStreamError, PATIENT, closed, open, pretendStorage, record, serve, when } from "./helpers.mjs";

const END = "event: close\ndata: [DONE]\n\n";
const STREAM = { "Content-Type": "text/event-stream" };
const RUN = "/runs/7/events/";

/** A stream that names its run and ends without a terminal event. */
const begin = (text, location = RUN) => (response) => response.writeHead(200, { ...STREAM, Location: location }).end(text);
const stream = (text) => (response) => response.writeHead(200, STREAM).end(text);
const json = (status, value) => (response) => {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
};
const asked = (requests) => requests.map(({ method, url, headers }) => [method, url, headers["last-event-id"]]);

test("a POST that named its run reconnects there by GET after its position, without body", PATIENT, async (t) => {
  const { url, requests } = await serve(t, begin("retry: 1\nid: e-1\ndata: half\n\n"), stream(`data: rest\n\n${END}`));
  const answer = open(t, url, { body: { prompt: "x" }, headers: { Authorization: "Bearer t" } });
  const messages = record(answer, "message");
  await closed(answer);
  assert.deepEqual(messages.map((event) => event.data), ["half", "rest"]);
  assert.deepEqual(asked(requests), [["POST", "/", undefined], ["GET", RUN, "e-1"]]);
  assert.deepEqual([requests[1].body.length, requests[1].headers["content-type"]], [0, undefined]);
  assert.equal(requests[1].headers.authorization, "Bearer t");
  assert.deepEqual([answer.url, answer.runURL], [url, new URL(RUN, url).href]);
});

test("a POST cut before its first event gets its run by GET, from the start", PATIENT, async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { url, requests } = await serve(t, begin(""), stream(`data: all\n\n${END}`));
  const answer = open(t, url, { body: "x" });
  const messages = record(answer, "message");
  await closed(answer);
  assert.deepEqual(messages.map((event) => event.data), ["all"]);
  assert.deepEqual(asked(requests), [["POST", "/", undefined], ["GET", RUN, undefined]]);
});

for (const [what, location] of [["another origin", "http://127.0.0.1:9/runs/7/events/"], ["no URL", "http://["]]) {
  test(`a Location that is of ${what} is not followed`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, begin("data: half\n\n", location));
    const answer = open(t, url, { body: "x" });
    assert.equal((await when(answer, "error")).error.code, "truncated");
    assert.deepEqual([answer.readyState, answer.runURL, requests.length], [EventStream.CLOSED, null, 1]);
  });
}

test("a run that ends without a terminal event is never complete", PATIENT, async (t) => {
  const { url, requests } = await serve(t, begin("retry: 1\ndata: half\n\n"), stream("data: more\n\n"), json(404, {}));
  const answer = open(t, url, { body: "x" });
  const [endings, errors] = [record(answer, "close"), record(answer, "error")];
  await closed(answer);
  assert.deepEqual(errors.map((event) => event.error.code), ["truncated", "truncated", "status"]);
  assert.deepEqual([endings.length, answer.error.status, requests.length], [0, 404, 3]);
});

test("stop posts to the run's stop URL and resolves with what the server said", PATIENT, async (t) => {
  const hold = (response) => response.writeHead(200, { ...STREAM, Location: RUN }).write("id: e-1\ndata: x\n\n");
  const { url, requests } = await serve(t, hold, json(200, { stopped: true }));
  const answer = open(t, url, { body: "x", csrfToken: "token", headers: { Authorization: "Bearer t" } });
  await once(answer, "message");
  assert.deepEqual(await answer.stop(), { stopped: true });
  const { headers } = requests[1];
  assert.deepEqual(asked(requests)[1], ["POST", "/runs/7/stop/", undefined]);
  assert.deepEqual([headers["x-csrftoken"], headers.authorization], ["token", "Bearer t"]);
  assert.equal(answer.readyState, EventStream.OPEN); // the stream's own end says that it was stopped
});

test("stop before the answer has begun waits for its Location", PATIENT, async (t) => {
  let begun;
  const { url, requests } = await serve(t, (response) => (begun = () => begin("data: x\n\n")(response)), json(200, {}));
  const answer = open(t, url, { body: "x" });
  const stopping = answer.stop();
  while (!begun) await new Promise(setImmediate);
  begun();
  await stopping;
  assert.ok(requests.some((request) => request.url === "/runs/7/stop/"));
});

test("stop of a stream whose URL is a run's", PATIENT, async (t) => {
  const hold = (response) => response.writeHead(200, STREAM).write(":\n");
  const { url, requests } = await serve(t, hold, json(200, { stopped: false }));
  const answer = open(t, new URL(RUN, url), { run: true });
  await once(answer, "open");
  assert.deepEqual(await answer.stop(), { stopped: false });
  assert.equal(requests[1].url, "/runs/7/stop/");
});

test("stop is asked for by the fetch option, as all else", PATIENT, async (t) => {
  const hold = (response) => response.writeHead(200, { ...STREAM, Location: RUN }).write("data: x\n\n");
  const { url, requests } = await serve(t, hold, json(200, { stopped: true }));
  const authorized = (resource, init) => {
    const headers = new Headers(init.headers);
    headers.set("Authorization", "Bearer t");
    return fetch(resource, { ...init, headers });
  };
  const answer = open(t, url, { body: "x", fetch: authorized });
  await once(answer, "message");
  await answer.stop();
  assert.deepEqual(requests.map(({ headers }) => headers.authorization), ["Bearer t", "Bearer t"]);
});

test("stop fails where there is no run, and where the server refuses", PATIENT, async (t) => {
  const { url } = await serve(t, stream(END));
  const plain = open(t, url);
  await assert.rejects(plain.stop(), { name: "TypeError", message: /no Location of a run/ });
  const { url: other } = await serve(t, begin("data: x\n\n"), json(403, {}));
  const foreign = open(t, other, { body: "x" });
  await once(foreign, "open");
  await assert.rejects(foreign.stop(), (error) => error instanceof EventStreamError && error.status === 403);
});

for (const [said, code, message] of [
  ['{"error": "Stopped.", "code": "aborted"}', "aborted", /Stopped\.$/],
  ['{"error": "Its process died.", "code": "interrupted"}', "interrupted", /Its process died\.$/],
  ['{"error": "Too long.", "code": "limit_seconds"}', "limit_seconds", /Too long\.$/],
  ['{"error": "no paper", "code": "error"}', "error", /no paper$/],
  ['{"error": "no paper"}', "server", /no paper$/],
  ['{"error": "x", "code": "network"}', "server", /x$/],
  ['{"error": {"message": "x"}}', "server", /{"message": "x"}}$/],
  ["not JSON", "server", /not JSON$/],
  ["null", "server", /null$/],
]) {
  test(`event: error with ${said} has the code ${code}, for listeners and for loops`, PATIENT, async (t) => {
    const { url } = await serve(t, stream(`data: x\n\nevent: error\ndata: ${said}\n\n`));
    const answer = open(t, url);
    const event = once(answer, "error");
    await assert.rejects(async () => { for await (const _ of answer); }, { code, message, data: said });
    const [{ error, data }] = await event;
    assert.deepEqual([error, data], [answer.error, said]);
  });
}

test("forgetAll() forgets every run and position of this tab, and what goes on is not remembered again", PATIENT, async (t) => {
  const storage = pretendStorage(t);
  storage.setItem("the page's own", "kept");
  storage.setItem("django_sse:before a reload", JSON.stringify({ url: "http://127.0.0.1:9/", run: true }));
  let send;
  const { url } = await serve(t, (response) => {
    response.writeHead(200, { ...STREAM, Location: RUN }).write("id: 1\ndata: a\n\n");
    send = (text) => response.write(text);
  });
  const going = open(t, url, { body: "x", remember: "answer", restores: true });
  await when(going, "message");
  const late = open(t, url, { body: "x", remember: "not yet begun" });
  assert.equal(Object.keys(storage).length, 3);
  EventStream.forgetAll();
  await when(late, "message");
  const again = when(going, "message");
  send("id: 2\ndata: b\n\n");
  going.reconnect();
  await again;
  assert.deepEqual(Object.keys(storage), ["the page's own"]);
  assert.equal(EventStream.resume("answer"), null);
});

test("forget() forgets a stream that goes on", PATIENT, async (t) => {
  const storage = pretendStorage(t);
  const { url } = await serve(t, begin("retry: 1\nid: 1\ndata: a\n\n"), stream("data: b\n\n"));
  const going = open(t, url, { body: "x", remember: "answer" });
  await when(going, "message");
  assert.equal(Object.keys(storage).length, 1);
  EventStream.forget("answer");
  await when(going, "message", ({ data }) => data === "b");
  assert.deepEqual(Object.keys(storage), []);
});
