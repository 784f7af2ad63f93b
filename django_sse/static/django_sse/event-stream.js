// @ts-check
/**
 * EventStream: Server-Sent Events over fetch. Reads like EventSource (WHATWG HTML, section 9.2) and adds methods,
 * bodies, headers, Django's CSRF token, back-off and `for await`.
 *
 *     for await (const { data } of new EventStream("/answers/", { body: { prompt } })) show(data);
 *
 * One file without relative module paths, so hashed static names cannot break it. In a page it also sets
 * `django_sse.EventStream`, for scripts that do not know its address: modules run in document order.
 */

const [CONNECTING, OPEN, CLOSED] = [0, 1, 2];
/** setTimeout takes a signed 32-bit number of milliseconds and fires at once beyond it. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** Events an iteration may be behind before the connection is no longer read, so that TCP slows the server. */
const QUEUE_LIMIT = 256;
/** RFC 9110, section 9.2: these need no CSRF token; these may be sent twice. */
const SAFE = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
const IDEMPOTENT = new Set([...SAFE, "PUT", "DELETE"]);
/** The server did nothing with the request (RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4): even POST may repeat. */
const NOT_ACTED_UPON = new Set([408, 425, 429]);

/**
 * @typedef {object} EventStreamOptions
 * @property {string} [method] Default "POST" with a body, "GET" without.
 * @property {BodyInit | object | null} [body] Objects that fetch does not know are sent as JSON; no ReadableStream.
 * @property {HeadersInit} [headers]
 * @property {string} [csrfToken] Default: the csrftoken cookie. Never sent to another origin than the page's.
 * @property {RequestCredentials} [credentials] Default "same-origin".
 * @property {boolean} [withCredentials] As in EventSource: short for `credentials: "include"`.
 * @property {string} [lastEventId] The position to start after. (Cross-origin, the server must allow its header.)
 * @property {string | null} [closeEvent] The event type that ends the stream for good. Default "close".
 * @property {string} [done] The data of an untyped event that ends the stream for good, such as "[DONE]".
 * @property {boolean} [reconnect] Default: idempotent methods do, others (POST) once there is a last event ID to
 *   resume from, so that nothing runs twice. `true`: always; `false`: never.
 * @property {number} [maxDelay] Milliseconds, the back-off's cap. Default 30,000.
 * @typedef {{ status?: number, data?: string, retryAfter?: number, cause?: unknown }} ErrorDetails times in ms
 * @typedef {{ retry?: number, retryAfter?: number, failures: number, maxDelay?: number }} Situation times in ms
 */

/**
 * Why a connection or the stream failed. `code`: "network" (no response), "status" (not 200), "content-type" (not
 * text/event-stream), "truncated" (ended without a terminal event), "server" (`event: error`; its text is `data`).
 */
export class EventStreamError extends Error {
  name = "EventStreamError";
  /** @param {string} code @param {string} message @param {ErrorDetails} [details] */
  constructor(code, message, { status, data, retryAfter, cause } = {}) {
    super(message, { cause });
    this.code = code;
    this.status = status; this.data = data; this.retryAfter = retryAfter;
  }
}

/**
 * Milliseconds to the next attempt: what the server asked for, plus full jitter over a span that doubles with each
 * failure (an attempt that brought no byte), because clients that lost a server together come back together.
 * @param {Situation} situation @param {() => number} [random]
 */
export function reconnectDelay({ retry, retryAfter = 0, failures, maxDelay = 30_000 }, random = Math.random) {
  const span = Math.min(maxDelay, Math.max(retry ?? 1000, 100) * 2 ** failures); // a doubled `retry: 0` stays 0
  return Math.min(Math.max(retry ?? 0, retryAfter) + random() * span, LONGEST_TIMER);
}

/**
 * Bytes in any cut to events, by the WHATWG algorithm (section 9.2.6), in time linear in the input. What is
 * unfinished at the end is dropped by feeding no more. The last event ID is taken over from the connection before,
 * as browsers do: otherwise a first event without an id would lose the position.
 */
export class EventStreamParser {
  #decoder = new TextDecoder(); // drops one BOM at the start, replaces what is not UTF-8
  #line = ""; #type = ""; #data = "";
  #afterCR = false;
  #id;
  /** @type {number | undefined} milliseconds */ retry;

  constructor(lastEventId = "") {
    this.lastEventId = this.#id = lastEventId;
  }

  /** @param {Uint8Array} chunk */
  feed(chunk) {
    const text = this.#decoder.decode(chunk, { stream: true });
    /** @type {{ type: string, data: string, lastEventId: string }[]} */
    const events = [];
    if (!text) return events;
    const lineEnd = /\r\n?|\n/g;
    let start = (lineEnd.lastIndex = this.#afterCR && text[0] === "\n" ? 1 : 0);
    for (let end = lineEnd.exec(text); end; end = lineEnd.exec(text)) {
      const line = this.#line + text.slice(start, end.index);
      this.#line = "";
      start = lineEnd.lastIndex;
      if (line) this.#field(line);
      else this.#dispatch(events);
    }
    this.#line += text.slice(start); // not searched again: that would be quadratic in a line of many chunks
    this.#afterCR = text.endsWith("\r");
    return events;
  }

  /** @param {string} line */
  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") this.#data += value + "\n";
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Math.min(Number(value), LONGEST_TIMER);
  }

  /** @param {object[]} events */
  #dispatch(events) {
    const lastEventId = (this.lastEventId = this.#id);
    if (this.#data) events.push({ type: this.#type || "message", data: this.#data.slice(0, -1), lastEventId });
    this.#type = this.#data = "";
  }
}

/**
 * Events: "open"; MessageEvents, "message" or of the type the server named; "statechange" after every change of
 * `readyState`; "error". That is a MessageEvent when the server sent `event: error`, else an Event without `data`,
 * with `error` (EventStreamError) and `reconnectIn` (milliseconds; null: given up). After any "error" `readyState`
 * says whether it is final (CLOSED) or the stream reconnects by itself. A 204 closes without an event of its own.
 */
export class EventStream extends EventTarget {
  static CONNECTING = CONNECTING; static OPEN = OPEN; static CLOSED = CLOSED;
  CONNECTING = CONNECTING; OPEN = OPEN; CLOSED = CLOSED;
  #url; #options; #request; #lastEventId;
  #readyState = CONNECTING;
  #cancelled = false; #failures = 0;
  #abort = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {number | undefined} */ #retry;
  /** @type {EventStreamError | undefined} */ #failure;
  /** @type {Set<MessageEvent<string>[]>} */ #queues = new Set();
  /** @type {((value?: any) => void)[]} */ #waiting = [];
  /** @type {Record<string, ((event: any) => void) | null>} */ #handlers = {};

  /**
   * @param {string | URL} url relative to the page
   * @param {EventStreamOptions} [options]
   * @throws {TypeError} the URL, the method, a header, the body or lastEventId cannot be sent
   */
  constructor(url, options = {}) {
    super();
    this.#url = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    this.#options = { ...options };
    this.#request = describeRequest(options);
    new Request(this.#url, this.#request); // throws now what every fetch would throw
    this.#lastEventId = options.lastEventId ?? "";
    if (/[\0\r\n]/.test(this.#lastEventId)) throw new TypeError("lastEventId must not contain NUL, CR or LF");
    this.#run();
  }

  get url() { return this.#url.href; }
  get readyState() { return this.#readyState; }
  get lastEventId() { return this.#lastEventId; }
  get withCredentials() { return this.#request.credentials === "include"; }
  get onopen() { return this.#handlers.open ?? null; }
  set onopen(handler) { this.#handle("open", handler); }
  get onmessage() { return this.#handlers.message ?? null; }
  set onmessage(handler) { this.#handle("message", handler); }
  get onerror() { return this.#handlers.error ?? null; }
  set onerror(handler) { this.#handle("error", handler); }

  /** Ends the request at once; iterations end without what they have not yet given out. */
  close() {
    this.#cancelled ||= this.#readyState !== CLOSED;
    this.#end();
  }

  /**
   * Every event from the first `next()` on, save the terminal one. Throws EventStreamError when the stream failed
   * for good; leaving the loop closes it. Nothing is dropped: an iteration that is QUEUE_LIMIT events behind stops
   * the reading (so listeners wait too), and never holds more than twice that and what two reads brought.
   * @returns {AsyncGenerator<MessageEvent<string>, void, void>}
   */
  async *[Symbol.asyncIterator]() {
    /** @type {MessageEvent<string>[]} */
    const queue = [];
    this.#queues.add(queue);
    try {
      while (queue.length || this.#readyState !== CLOSED) {
        if (!queue.length) await new Promise((resolve) => this.#waiting.push(resolve));
        const batch = queue.splice(0);
        if (batch.length) this.#wake(); // only then: idle iterations would wake each other for ever
        for (const event of batch) {
          if (this.#cancelled) return;
          yield event;
        }
      }
      if (this.#failure) throw this.#failure;
    } finally {
      this.#queues.delete(queue);
      this.close();
    }
  }

  async #run() {
    while (this.#readyState !== CLOSED) {
      try {
        await this.#attempt();
      } catch (error) {
        if (this.#readyState === CLOSED) return;
        this.#abort.abort(); // an unread body would keep its connection
        if (!(error instanceof EventStreamError)) throw error;
        await this.#recover(error);
      }
    }
  }

  async #attempt() {
    const { signal } = (this.#abort = new AbortController());
    const init = /** @type {const} */ ({ ...this.#request, headers: this.#headers(), signal, cache: "no-store" });
    const response = await fetch(this.#url, init).catch((cause) => {
      throw new EventStreamError("network", `No answer from ${this.url}: ${cause.message}`, { cause });
    });
    if (this.#readyState === CLOSED || response.status === 204) return this.#end();
    requireEventStream(response);
    this.#setReadyState(OPEN);
    if (this.#readyState === OPEN) this.dispatchEvent(new Event("open"));
    await this.#read(response);
  }

  #headers() {
    const headers = new Headers(this.#request.headers);
    const id = new TextEncoder().encode(this.#lastEventId); // a header's characters are bytes, an id's UTF-8
    if (id.length) headers.set("Last-Event-ID", Array.from(id, (byte) => String.fromCharCode(byte)).join(""));
    const sameOrigin = (globalThis.origin ?? this.#url.origin) === this.#url.origin;
    const cookie = /(?:^|;\s*)csrftoken=([^;]*)/.exec(globalThis.document?.cookie ?? "")?.[1];
    const token = this.#options.csrfToken ?? cookie;
    const unsafe = !SAFE.has(this.#request.method) && !headers.has("X-CSRFToken");
    if (token && unsafe && sameOrigin) headers.set("X-CSRFToken", token);
    return headers;
  }

  /** @param {Response} response */
  async #read({ url, body }) {
    const { origin } = new URL(url);
    const parser = new EventStreamParser(this.#lastEventId);
    const reader = body?.getReader();
    const message = `${this.url}: truncated, no terminal event came`;
    const lost = (/** @type {unknown} */ cause) => new EventStreamError("truncated", message, { cause });
    while (this.#readyState !== CLOSED) {
      const read = await reader?.read().catch((cause) => Promise.reject(lost(cause)));
      if (this.#readyState === CLOSED) return;
      if (!read?.value) throw lost(undefined);
      this.#failures = 0;
      for (const event of parser.feed(read.value)) {
        this.#lastEventId = event.lastEventId;
        this.#deliver(new MessageEvent(event.type, { ...event, origin }));
        if (this.#readyState === CLOSED) return;
      }
      this.#lastEventId = parser.lastEventId; // a block without data moves it too
      this.#retry = parser.retry ?? this.#retry;
      const full = () => [...this.#queues].some((queue) => queue.length >= QUEUE_LIMIT);
      while (full()) await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  /** @param {MessageEvent<string>} event */
  #deliver(event) {
    const { closeEvent = "close", done } = this.#options;
    if (event.type === "error") this.#end(new EventStreamError("server", "The server sent `event: error`", event));
    else if (event.type === closeEvent || (event.type === "message" && event.data === done)) this.#end();
    else for (const queue of this.#queues) queue.push(event);
    this.#wake();
    this.dispatchEvent(event);
  }

  /** @param {EventStreamError} error */
  async #recover(error) {
    const again = this.#mayRepeat(error);
    if (!again && error.code === "truncated") error.message += "; a POST repeats only with ids or reconnect: true";
    const situation = { retry: this.#retry, retryAfter: error.retryAfter, failures: this.#failures++ };
    const reconnectIn = again ? reconnectDelay({ ...this.#options, ...situation }) : null;
    if (again) this.#setReadyState(CONNECTING);
    else this.#end(error);
    if (!this.#cancelled) this.dispatchEvent(Object.assign(new Event("error"), { error, reconnectIn }));
    if (this.#readyState === CLOSED) return;
    await new Promise((resolve) => (this.#timer = setTimeout(resolve, Number(reconnectIn))));
  }

  /** @param {EventStreamError} error */
  #mayRepeat({ code, status = 0, retryAfter }) {
    const refused = NOT_ACTED_UPON.has(status) || (status === 503 && retryAfter !== undefined);
    if (code === "content-type" || (code === "status" && status < 500 && !refused)) return false;
    return this.#options.reconnect ?? (refused || IDEMPOTENT.has(this.#request.method) || this.#lastEventId !== "");
  }

  /** @param {EventStreamError} [failure] */
  #end(failure) {
    if (this.#readyState === CLOSED) return;
    this.#failure = failure;
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#setReadyState(CLOSED);
    this.#wake();
  }

  /** @param {number} state */
  #setReadyState(state) {
    if (this.#readyState === state) return;
    this.#readyState = state;
    this.dispatchEvent(new Event("statechange"));
  }

  /** @param {string} type @param {((event: any) => void) | null} handler */
  #handle(type, handler) {
    if (!(type in this.#handlers)) this.addEventListener(type, (event) => this.#handlers[type]?.call(this, event));
    this.#handlers[type] = typeof handler === "function" ? handler : null;
  }

  #wake() { for (const resolve of this.#waiting.splice(0)) resolve(); }
}

/** What stays the same in every request. @param {EventStreamOptions} options */
function describeRequest({ method, body = null, headers, credentials, withCredentials }) {
  const all = new Headers(headers);
  if (!all.has("Accept")) all.set("Accept", "text/event-stream");
  const known = [FormData, URLSearchParams, Blob, ArrayBuffer, ReadableStream].some((type) => body instanceof type);
  const asJSON = body !== null && typeof body === "object" && !known && !ArrayBuffer.isView(body);
  if (asJSON && !all.has("Content-Type")) all.set("Content-Type", "application/json");
  return {
    method: (method ?? (body === null ? "GET" : "POST")).toUpperCase(),
    body: /** @type {BodyInit | null} */ (asJSON ? JSON.stringify(body) : body),
    headers: all,
    credentials: credentials ?? (withCredentials ? "include" : "same-origin"),
  };
}

/** @param {Response} response @throws {EventStreamError} */
function requireEventStream({ status, headers, redirected, url }) {
  if (status !== 200) {
    const value = headers.get("Retry-After") ?? ""; // seconds or a date (RFC 9110, section 10.2.3)
    const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Math.max(0, Date.parse(value) - Date.now());
    const retryAfter = Number.isNaN(wait) ? undefined : wait;
    throw new EventStreamError("status", `${url} answered ${status}`, { status, retryAfter });
  }
  const type = (headers.get("Content-Type") ?? "untyped data").split(";")[0].trim().toLowerCase();
  if (type === "text/event-stream") return;
  const hint = redirected ? " after a redirect (to a login page?)" : "";
  throw new EventStreamError("content-type", `${url} answered ${type}, not text/event-stream${hint}`, { status });
}

if (typeof window !== "undefined") {
  Object.assign(window, { django_sse: { .../** @type {any} */ (window).django_sse, EventStream } });
}
