/** The module under test, a scripted server for it, and ways to await what a stream does. */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SOURCES = new URL("../../../django_sse/static/django_sse/", import.meta.url);

/**
 * Runs modules in order, as a page does. Node takes a .js file without a package.json for CommonJS before 20.19:
 * they are imported as .mjs.
 */
async function load(...names) {
  const folder = mkdtempSync(join(tmpdir(), "event-stream-"));
  const modules = [];
  try {
    for (const name of names) {
      const copy = join(folder, `${name}.mjs`);
      copyFileSync(fileURLToPath(new URL(`${name}.js`, SOURCES)), copy);
      modules.push(await import(pathToFileURL(copy).href));
    }
    return modules;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const [connection, page, shared] = await load("event-stream", "event-stream-page", "event-stream-shared");
export const { EventStreamError, EventStreamParser, reconnectDelay } = connection;
export const { EventStreamConnection: Connection } = connection;
export const { EventStream } = page;
export const { SharedEventStream } = shared;

/** For tests that wait for a network: far more than they need, on a machine shared with others. */
export const PATIENT = { timeout: 60_000 };

/**
 * A server on a free port that answers the n-th request with the n-th handler, and with the last one ever after.
 * `requests` holds what arrived: method, url, headers, body, and `gone`, which resolves when its connection ends.
 */
export async function serve(t, ...handlers) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const handler = handlers[Math.min(requests.length, handlers.length - 1)];
    const { method, url, headers } = request;
    const seen = { method, url, headers, body: Buffer.alloc(0), gone: once(response, "close") };
    requests.push(seen);
    seen.body = Buffer.concat(await request.toArray());
    await handler(response, seen);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}/`, requests };
}

const HEAD = { "Content-Type": "text/event-stream; charset=utf-8" };

/** Sends frames and ends the body. */
export const frames = (text = "") => (response) => response.writeHead(200, HEAD).end(text);

/** Sends frames and leaves the stream open. */
export const hold = (text = ":\n") => (response) => response.writeHead(200, HEAD).write(text);

/** Sends frames and hangs up in the middle of the body. (A reset could overtake what was sent.) */
export const cut = (text) => (response) => {
  response.writeHead(200, HEAD).write(text, () => response.socket.end());
};

/** Answers without a stream. */
export const answer = (status, headers = {}, body = "") => (response) => {
  response.writeHead(status, headers).end(body);
};

/** `fetch` as WebKit has it: what was aborted fails with an AbortError, whatever the signal's reason is. */
export function fetchOfWebKit(resource, init) {
  const inner = new AbortController();
  init.signal.addEventListener("abort", () => inner.abort());
  return fetch(resource, { ...init, signal: inner.signal });
}

/** Gives Node a sessionStorage until the test ends. Its items are its properties, as in a browser. */
export function pretendStorage(t) {
  class Storage {
    getItem(key) { return this[key] ?? null; }
    setItem(key, value) { this[key] = String(value); }
    removeItem(key) { delete this[key]; }
  }
  globalThis.sessionStorage = new Storage();
  t.after(() => delete globalThis.sessionStorage);
  return globalThis.sessionStorage;
}

/** A stream that is closed when the test ends, so that a failing test does not hang. */
export function open(t, url, options) {
  const stream = new EventStream(url, options);
  t.after(() => stream.close());
  return stream;
}

/** Every event of the types, as it comes: an array that grows. */
export function record(stream, ...types) {
  const seen = [];
  for (const type of types) stream.addEventListener(type, (event) => seen.push(event));
  return seen;
}

/** Resolves when the stream is closed for good and its last event is out. */
export async function closed(stream) {
  while (stream.readyState !== EventStream.CLOSED) await once(stream, "statechange");
  await new Promise((resolve) => setImmediate(resolve));
}

/** Resolves with the first event of the type that satisfies the condition. */
export async function when(stream, type, condition = () => true) {
  for (;;) {
    const [event] = await once(stream, type);
    if (condition(event)) return event;
  }
}
