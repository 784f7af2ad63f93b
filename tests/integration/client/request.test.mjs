import assert from "node:assert/strict";
import { test } from "node:test";

import { EventStream, PATIENT, closed, frames, open, serve, when } from "./helpers.mjs";

const END = "event: close\ndata: [DONE]\n\n";

/** What the server saw of one request with these options. */
async function sent(t, options) {
  const { url, requests } = await serve(t, frames(END));
  await closed(open(t, url, options));
  return { ...requests[0], text: requests[0].body.toString() };
}

/** Makes Node look like a page of that origin with those cookies, until the test ends. */
function pretendPage(t, origin, cookie) {
  Object.assign(globalThis, { origin, document: { cookie, baseURI: `${origin}/shop/` } });
  t.after(() => {
    delete globalThis.origin;
    delete globalThis.document;
  });
}

test("the default is a GET that accepts an event stream and is not cached", PATIENT, async (t) => {
  const { method, headers } = await sent(t, undefined);
  assert.deepEqual([method, headers.accept, headers["cache-control"]], ["GET", "text/event-stream", "no-cache"]);
  assert.equal("last-event-id" in headers, false);
});

test("a plain object or an array is sent as JSON, by POST", PATIENT, async (t) => {
  const { method, headers, text } = await sent(t, { body: { prompt: "größe", n: [1] } });
  assert.deepEqual([method, headers["content-type"], text], ["POST", "application/json", '{"prompt":"größe","n":[1]}']);
  assert.equal((await sent(t, { body: [1, null] })).text, "[1,null]");
});

test("a body is what it was at construction, in every attempt", PATIENT, async (t) => {
  const body = { n: 1 };
  const { url, requests } = await serve(t, frames("retry: 1\ndata: x\n\n"), frames(END));
  const stream = open(t, url, { body, reconnect: true });
  body.n = 2;
  await closed(stream);
  assert.deepEqual(requests.map((request) => request.body.toString()), ['{"n":1}', '{"n":1}']);
});

test("a JSON body keeps the content type that was given", PATIENT, async (t) => {
  const { headers } = await sent(t, { body: {}, headers: { "Content-Type": "application/vnd.x+json" } });
  assert.equal(headers["content-type"], "application/vnd.x+json");
});

test("strings, URLSearchParams, FormData, Blobs and bytes are sent as fetch sends them", PATIENT, async (t) => {
  const form = new FormData();
  form.set("prompt", "hi");
  const cases = [
    ["text", /^text\/plain/, /^text$/],
    [new URLSearchParams({ q: "a b" }), /^application\/x-www-form-urlencoded/, /^q=a\+b$/],
    [form, /^multipart\/form-data; boundary=/, /name="prompt"\r\n\r\nhi\r\n/],
    [new Blob(["blob"], { type: "image/x" }), /^image\/x$/, /^blob$/],
    [new Uint8Array([104, 105]), /^undefined$/, /^hi$/],
  ];
  for (const [body, type, text] of cases) {
    const seen = await sent(t, { body });
    assert.match(String(seen.headers["content-type"]), type);
    assert.match(seen.text, text);
  }
});

test("method and headers are the caller's", PATIENT, async (t) => {
  const options = { method: "patch", body: "x", headers: new Headers({ Authorization: "Bearer t", Accept: "text/*" }) };
  const { method, headers } = await sent(t, options);
  assert.deepEqual([method, headers.authorization, headers.accept], ["PATCH", "Bearer t", "text/*"]);
});

test("an unsafe request to the page's own origin carries the cookie's CSRF token", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(END));
  pretendPage(t, new URL(url).origin, "xcsrftoken=no; csrftoken=from-cookie; a=1");
  await closed(open(t, "events/?x=1", { method: "POST" }));
  assert.deepEqual([requests[0].headers["x-csrftoken"], requests[0].url], ["from-cookie", "/shop/events/?x=1"]);
});

test("the CSRF token's cookie is read for each attempt: a login changes it", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames("retry: 1\ndata: x\n\n"), frames(END));
  pretendPage(t, new URL(url).origin, "csrftoken=before");
  const stream = open(t, url, { body: "x", reconnect: true });
  stream.addEventListener("open", () => (globalThis.document.cookie = "csrftoken=after"));
  await closed(stream);
  assert.deepEqual(requests.map((request) => request.headers["x-csrftoken"]), ["before", "after"]);
});

test("the option csrfToken goes before the cookie, and a header of the caller's before both", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(END));
  pretendPage(t, new URL(url).origin, "csrftoken=from-cookie");
  await closed(open(t, url, { body: "x", csrfToken: "from-option" }));
  await closed(open(t, url, { body: "x", csrfToken: "from-option", headers: { "x-csrftoken": "own" } }));
  assert.deepEqual(requests.map((request) => request.headers["x-csrftoken"]), ["from-option", "own"]);
});

test("the CSRF token goes neither to another origin nor with a safe method", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(END));
  pretendPage(t, "http://shop.example", "csrftoken=from-cookie");
  await closed(open(t, url, { body: "x", csrfToken: "from-option" }));
  globalThis.origin = new URL(url).origin;
  await closed(open(t, url, { csrfToken: "from-option" }));
  const seen = requests.map(({ method, headers }) => [method, "x-csrftoken" in headers]);
  assert.deepEqual(seen, [["POST", false], ["GET", false]]);
});

test("outside a page the option csrfToken is sent", PATIENT, async (t) => {
  assert.equal((await sent(t, { body: "x", csrfToken: "t" })).headers["x-csrftoken"], "t");
});

test("what can never be sent is refused by the constructor", () => {
  const url = "http://127.0.0.1:9/";
  const bad = [
    ["/relative", {}],
    ["http://", {}],
    ["http://user:secret@127.0.0.1:9/", {}],
    ["mailto:x", {}],
    ["ftp://127.0.0.1:9/", {}],
    ["data:text/event-stream,data: x", {}],
    [url, { method: "GET", body: "x" }],
    [url, { method: "B AD" }],
    [url, { headers: { "X-Bad": "a\nb" } }],
    [url, { lastEventId: "a\nb" }],
    [url, { method: "POST", csrfToken: "a\nb" }],
    [url, { csrfToken: "a\nb" }],
    [url, { body: new ReadableStream() }],
  ];
  for (const [address, options] of bad) {
    assert.throws(() => new EventStream(address, options), TypeError, JSON.stringify([address, options]));
  }
});

test("a fetch option that throws is a network that failed", PATIENT, async (t) => {
  const cause = new TypeError("offline");
  const fetch = () => { throw cause; };
  const stream = open(t, "http://127.0.0.1:9/", { fetch, reconnect: false });
  const { error } = await when(stream, "error");
  assert.deepEqual([error.code, error.cause, stream.readyState], ["network", cause, EventStream.CLOSED]);
});
