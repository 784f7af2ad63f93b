// @ts-check
/**
 * EventStream: Server-Sent Events over fetch. Reads like EventSource (WHATWG HTML, section 9.2) and adds methods,
 * bodies, headers, Django's CSRF token, back-off and `for await`.
 *
 *     const stream = new EventStream("/chat/lobby/events/", { lastEventId });
 *     stream.addEventListener("usermessage", (event) => show(JSON.parse(event.data)));
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
 * @property {BodyInit | object | null} [body] Objects that fetch does not know are sent as JSON.
 * @property {HeadersInit} [headers]
 * @property {string} [csrfToken] Default: the csrftoken cookie. Never sent to another origin than the page's.
 * @property {RequestCredentials} [credentials] Default "same-origin".
 * @property {boolean} [withCredentials] As in EventSource: short for `credentials: "include"`.
 * @property {string} [lastEventId] The position to start after, such as one rendered into the page. Fetch asks
 *   another origin first (a preflight): it must allow the header Last-Event-ID (and expose Retry-After).
 * @property {string | null} [closeEvent] The event type that ends the stream for good. Default "close".
 * @property {string} [done] The data of an untyped event that ends the stream for good, such as "[DONE]".
 * @property {boolean} [reconnect] Default: idempotent methods do, others (POST) once there is a last event ID to
 *   resume from, so that nothing runs twice. `true`: always; `false`: never.
 * @property {number} [maxDelay] Milliseconds, the back-off's cap. Default 30,000.
 * @typedef {{ type: string, data: string, lastEventId: string }} ParsedEvent
 * @typedef {{ status?: number, data?: string, retryAfter?: number, cause?: unknown }} ErrorDetails milliseconds
 * @typedef {{ retry?: number, retryAfter?: number, failures: number, maxDelay?: number }} Situation milliseconds
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
    this.status = status;
    this.data = data;
    this.retryAfter = retryAfter;
  }
}

/**
 * Milliseconds to the next attempt: what the server asked for, plus full jitter over a span that doubles with each
 * failure (an attempt that brought no byte), because clients that lost a server together come back together.
 * @param {Situation} situation @param {() => number} [random]
 */
export function reconnectDelay({ retry, retryAfter = 0, failures, maxDelay = 30_000 }, random = Math.random) {
  const base = Math.max(retry ?? 1000, 100); // `retry: 0` must not be a loop without a pause
  const span = Math.min(maxDelay, base * 2 ** failures);
  return Math.min(Math.max(retry ?? 0, retryAfter) + random() * span, LONGEST_TIMER);
}

/**
 * Bytes in any cut to events, by the WHATWG algorithm (section 9.2.6), in time linear in the input. What is
 * unfinished at the end is dropped by feeding no more. The last event ID is taken over from the connection before,
 * as browsers do: otherwise a first event without an id would lose the position.
 */
export class EventStreamParser {
  #decoder = new TextDecoder(); // drops one BOM at the start, replaces what is not UTF-8
  #line = "";
  #afterCR = false;
  #type = "";
  #data = "";
  #id;
  /** @type {number | undefined} milliseconds */ retry;

  constructor(lastEventId = "") {
    this.lastEventId = this.#id = lastEventId;
  }

  /** @param {Uint8Array} chunk */
  feed(chunk) {
    const text = this.#decoder.decode(chunk, { stream: true });
    if (!text) return [];
    /** @type {ParsedEvent[]} */
    const events = [];
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

  /** @param {ParsedEvent[]} events */
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
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSED = CLOSED;
  #url;
  #options;
  #request;
  #lastEventId;
  #readyState = CONNECTING;
  #cancelled = false;
  #failures = 0;
  #abort = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {number | undefined} */ #retry;
  /** @type {EventStreamError | undefined} */ #failure;
  /** @type {Set<MessageEvent<string>[]>} */ #queues = new Set();
  /** @type {(() => void)[]} */ #waiting = [];
  /** @type {Record<string, ((event: any) => void) | null>} */ #handlers = {};

  /**
   * @param {string | URL} url relative to the page
   * @param {EventStreamOptions} [options]
   * @throws {TypeError} the URL, the method, a header, the body or lastEventId cannot be sent
   */
  constructor(url, options = {}) {
    super();
    this.#url = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    this.#options = { closeEvent: "close", ...options };
    this.#request = describeRequest(options);
    new Request(this.#url, this.#request); // throws now what every fetch would throw
    this.#lastEventId = options.lastEventId ?? "";
    if (/[\0\r\n]/.test(this.#lastEventId)) throw new TypeError("lastEventId must not contain NUL, CR or LF");
    this.#run();
  }

  get CONNECTING() { return CONNECTING; }
  get OPEN() { return OPEN; }
  get CLOSED() { return CLOSED; }
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
   * Every event from the first `next()` on, of whatever type, save the terminal one. Throws EventStreamError when
   * the stream failed for good; leaving the loop closes the stream. Nothing is dropped: an iteration QUEUE_LIMIT
   * events behind stops the reading of the connection (so the listeners wait too); it holds at most twice that
   * and what two reads brought.
   * @returns {AsyncGenerator<MessageEvent<string>, void, void>}
   */
  async *[Symbol.asyncIterator]() {
    /** @type {MessageEvent<string>[]} */
    const queue = [];
    this.#queues.add(queue);
    try {
      while (queue.length || this.#readyState !== CLOSED) {
        if (!queue.length) await new Promise((resolve) => this.#waiting.push(() => resolve(null)));
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
