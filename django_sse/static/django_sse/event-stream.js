// @ts-check
/**
 * EventStreamConnection: Server-Sent Events over fetch. Reads like EventSource (WHATWG HTML, section 9.2) and adds methods,
 * bodies, headers, Django's CSRF token, back-off, and runs that it comes back to.
 *
 * event-stream-page.js extends it to the EventStream of a page. No file here has relative module
 * paths, so hashed static names cannot break it: what one exports stands in `globalThis.django_sse` for the next one.
 */

const [CONNECTING, OPEN, CLOSED] = [0, 1, 2];
/** setTimeout takes a signed 32-bit number of milliseconds and fires at once beyond it. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** RFC 9110, section 9.2: these need no CSRF token; these may be sent twice. */
const SAFE = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
const IDEMPOTENT = new Set([...SAFE, "PUT", "DELETE"]);
/** The server did nothing with the request (RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4): even POST may repeat. */
const NOT_ACTED_UPON = new Set([408, 425, 429]);

/**
 * What each option means, and its default, stands in docs/client.md. Times are milliseconds.
 * @typedef {{ method?: string, body?: BodyInit | object | null, headers?: HeadersInit, csrfToken?: string,
 *   credentials?: RequestCredentials, withCredentials?: boolean, lastEventId?: string, run?: boolean, done?: string,
 *   closeEvent?: string | null, reconnect?: boolean, maxDelay?: number, fetch?: typeof fetch }} EventStreamOptions
 * @typedef {{ status?: number, data?: string, retryAfter?: number, cause?: unknown }} ErrorDetails
 * @typedef {{ retry?: number, retryAfter?: number, failures: number, maxDelay?: number }} Situation
 */

/**
 * Why a connection or the stream failed. `code`: "network" (no response), "status" (not 200), "content-type" (not
 * text/event-stream), "truncated" (ended without a terminal event), "timeout" (silent for too long), "given-up" (left
 * for a new one). After `event: error`, whose text is `data`: the `code` in its JSON, else "server".
 */
export class EventStreamError extends Error {
  name = "EventStreamError";
  /** @param {string} code @param {string} message @param {ErrorDetails} [details] */
  constructor(code, message, { status, data, retryAfter, cause } = {}) {
    super(message, { cause });
    this.code = code; this.status = status; this.data = data; this.retryAfter = retryAfter;
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
 * `readyState`; "error" with `error` (EventStreamError): a MessageEvent when the server sent `event: error`, else an
 * Event without `data`, with `reconnectIn` (milliseconds; null: given up). After any "error" `readyState` says whether
 * it is final (CLOSED) or the stream reconnects by itself. A 204 closes without an event of its own.
 *
 * A `Location` (same origin) with the stream names its run: from then on it reconnects there, by GET, however it began.
 */
export class EventStreamConnection extends EventTarget {
  static get CONNECTING() { return CONNECTING; } get CONNECTING() { return CONNECTING; }
  static get OPEN() { return OPEN; } get OPEN() { return OPEN; }
  static get CLOSED() { return CLOSED; } get CLOSED() { return CLOSED; }
  #url; #options; #request; #lastEventId; #abort = new AbortController();
  #readyState = CONNECTING; #cancelled = false; #failures = 0; #askedAt = 0;
  /** @type {URL | null} */ #run;
  /** @type {((value?: any) => void) | undefined} ends the wait for the next attempt */ #skip;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {number | undefined} */ #retry;
  /** @type {EventStreamError | undefined} */ #failure;
  /** @type {Record<string, ((event: any) => void) | null>} */ #handlers = {};

  /**
   * @param {string | URL} url relative to the page @param {EventStreamOptions} [options]
   * @throws {TypeError} the URL is not http(s); the method, a header, the token, the body or lastEventId cannot be sent
   */
  constructor(url, options = {}) {
    super();
    this.#url = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    if (!/^https?:$/.test(this.#url.protocol)) throw new TypeError(`${this.#url}: a stream's URL is http: or https:`);
    this.#options = { ...options };
    this.#request = describeRequest(options);
    new Request(this.#url, this.#request); // throws now what every fetch would throw
    new Headers({ "X-CSRFToken": options.csrfToken ?? "" }); // the same
    this.#lastEventId = options.lastEventId ?? "";
    if (/[\0\r\n]/.test(this.#lastEventId)) throw new TypeError("lastEventId must not contain NUL, CR or LF");
    this.#run = options.run ? this.#url : null;
    queueMicrotask(() => this.#connect()); // a subclass has its fields by then
  }

  get url() { return this.#url.href; }
  /** Where the run's events are, once known. */ get runURL() { return this.#run?.href ?? null; }
  get readyState() { return this.#readyState; }
  /** The id of the newest event that was read. */ get lastEventId() { return this.#lastEventId; }
  /** What ended it for good. */ get error() { return this.#failure ?? null; }
  /** Milliseconds it has waited for the server; 0 when it does not. */
  get silence() { return this.#askedAt && Math.max(0, Date.now() - this.#askedAt); }
  get withCredentials() { return this.#request.credentials === "include"; }
  get onopen() { return this.#handlers.open ?? null; } set onopen(call) { this.#handle("open", call); }
  get onmessage() { return this.#handlers.message ?? null; } set onmessage(call) { this.#handle("message", call); }
  get onerror() { return this.#handlers.error ?? null; } set onerror(call) { this.#handle("error", call); }

  /** Ends the request at once. */
  close() {
    this.#cancelled ||= this.#readyState !== CLOSED;
    this.#end();
  }

  /**
   * Connects at once: ends the wait for the next attempt, or leaves the connection for a new one, unless that would be
   * a repeat that is not allowed. @param {EventStreamError} [dead] why the connection has to be left in any case
   */
  reconnect(dead) {
    const error = dead ?? new EventStreamError("given-up", `${this.url}: left for a new connection`);
    if (this.#skip) this.#skip();
    else if (dead || this.#mayRepeat(error)) this.#abort.abort(error);
  }

  /** For a subclass: attempts are made, and more is read, when this is settled. @returns {Promise<void> | void} */
  ready() {}

  async #connect() {
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
    await this.ready();
    if (this.#readyState === CLOSED) return;
    const { signal } = (this.#abort = new AbortController());
    const init = /** @type {const} */ ({ ...this.#request, headers: this.headers(), signal, cache: "no-store" });
    const answer = (async () => (this.#options.fetch ?? fetch)(this.#run ?? this.#url, init))(); // it may throw
    const message = `No answer from ${this.url}`;
    const response = await this.#heard(answer, (cause) => new EventStreamError("network", message, { cause }));
    if (this.#readyState === CLOSED || response.status === 204) return this.#end();
    requireEventStream(response);
    this.#follow(response);
    this.#setReadyState(OPEN);
    if (this.#readyState === OPEN) this.dispatchEvent(new Event("open"));
    await this.#read(response);
  }

  /** @template T @param {Promise<T>} answer @param {(cause: any) => EventStreamError} failure */
  #heard(answer, failure) {
    this.#askedAt = Date.now();
    const { signal } = this.#abort;
    const known = (/** @type {unknown} */ cause) => (cause instanceof EventStreamError ? cause : failure(cause));
    const failed = (/** @type {unknown} */ cause) => Promise.reject(known(signal.aborted ? signal.reason : cause));
    return answer.catch(failed).finally(() => (this.#askedAt = 0)); // WebKit's own cause is an AbortError
  }

  /** @param {Response} response */
  #follow({ headers, url }) {
    const location = headers.get("Location") ?? "";
    if (!location || !URL.canParse(location, url) || new URL(location, url).origin !== this.#url.origin) return;
    this.#run = new URL(location, url);
    this.#request = { ...this.#request, method: "GET", body: null };
    this.#request.headers.delete("Content-Type");
  }

  /** The headers of a request by the method, with the position and the CSRF token. */
  headers(method = this.#request.method) {
    const headers = new Headers(this.#request.headers);
    const id = new TextEncoder().encode(this.#lastEventId); // a header's characters are bytes, an id's UTF-8
    if (id.length) headers.set("Last-Event-ID", Array.from(id, (byte) => String.fromCharCode(byte)).join(""));
    const sameOrigin = (globalThis.origin ?? this.#url.origin) === this.#url.origin;
    const cookie = /(?:^|;\s*)csrftoken=([^;]*)/.exec(globalThis.document?.cookie ?? "")?.[1];
    const token = this.#options.csrfToken ?? cookie;
    if (token && sameOrigin && !SAFE.has(method) && !headers.has("X-CSRFToken")) headers.set("X-CSRFToken", token);
    return headers;
  }

  /** @param {Response} response */
  async #read({ url, body }) {
    const { origin } = new URL(url || this.#url); // a Response that was made by hand has no URL
    const parser = new EventStreamParser(this.#lastEventId);
    const reader = body?.getReader();
    const message = `${this.url}: truncated, no terminal event came`;
    const lost = (/** @type {any} */ cause) => new EventStreamError("truncated", message, { cause });
    for (;;) {
      await this.ready();
      const read = reader && (await this.#heard(reader.read(), lost));
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
    }
  }

  /** @param {MessageEvent<string>} event */
  #deliver(event) {
    const { closeEvent = "close", done } = this.#options;
    if (event.type === "error") this.#end(Object.assign(event, { error: serverError(event.data) }).error);
    else if (event.type === closeEvent || (event.type === "message" && event.data === done)) this.#end();
    this.dispatchEvent(event);
  }

  /** @param {EventStreamError} error */
  async #recover(error) {
    const again = this.#mayRepeat(error);
    if (!again && error.code === "truncated") error.message += "; a POST repeats only with ids or reconnect: true";
    const situation = { retry: this.#retry, retryAfter: error.retryAfter };
    const atOnce = error.code === "given-up" || error.code === "timeout";
    const delay = atOnce ? 0 : reconnectDelay({ ...this.#options, ...situation, failures: this.#failures++ });
    const wait = again && new Promise((resolve) => (this.#timer = setTimeout(this.#skip = resolve, delay)));
    if (again) this.#setReadyState(CONNECTING);
    else this.#end(error);
    const event = Object.assign(new Event("error"), { error, reconnectIn: again ? delay : null });
    if (!this.#cancelled) this.dispatchEvent(event);
    if (this.#readyState !== CLOSED) await wait;
    clearTimeout(this.#timer);
    this.#skip = undefined;
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

/** @param {string} data of `event: error` */
function serverError(data) {
  let said; try { said = JSON.parse(data); } catch {} // any text is allowed
  const known = ["error", "aborted", "interrupted", "limit_seconds", "limit_events", "limit_bytes"];
  const code = known.includes(said?.code) ? said.code : "server";
  const text = typeof said?.error === "string" ? said.error : data;
  return new EventStreamError(code, `The server sent \`event: error\`: ${text}`, { data });
}

const { django_sse } = /** @type {any} */ (globalThis);
Object.assign(globalThis, { django_sse: { ...django_sse, EventStreamConnection, EventStreamError, EventStreamParser } });
