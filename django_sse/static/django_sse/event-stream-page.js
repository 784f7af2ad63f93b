// @ts-check
/**
 * The EventStream of a page: the connection of event-stream.js, which must be loaded before, and what it needs among
 * reloads, sleeping laptops, hidden tabs and lost networks. Adds `for await`, the watchdog, batches of one animation
 * frame, runs that are remembered across reloads, and `stop()`.
 *
 *     const stream = EventStream.resume("assistant") ?? new EventStream(url, { body, remember: "assistant" });
 */

const { EventStream: Connection, EventStreamError } = /** @type {any} */ (globalThis).django_sse;

/** Events an iteration may be behind before the connection is no longer read, so that TCP slows the server. */
const QUEUE_LIMIT = 256;
/** A bit over two of the server's heartbeats (its setting HEARTBEAT is 15 s): one may be lost on the way. */
const WATCHDOG = 35_000;
/** In a window that is covered no frame may come, and nothing says so. */
const LONGEST_FRAME = 100;
const KEY = "django_sse:";

/**
 * Those of the connection, and more; what each means stands in docs/client.md.
 * @typedef {Record<string, any> & { watchdog?: number, batch?: "frame", remember?: string, restores?: boolean
 * }} Options
 */

/** Those that are not closed. @type {Set<EventStream>} */
const streams = new Set();
const page = /** @type {Document | undefined} */ (globalThis.document);
/** While the page is frozen or in the back/forward cache: settled when it returns. @type {Promise<void> | null} */
let asleep = null;
/** @type {() => void} */ let awake = () => {};
/** @type {Promise<void> | null} */ let frame = null;
/** @type {() => void} */ let endFrame = () => {};

/** The next animation frame. A hidden tab has none, and timers of a second or a minute: there it is now. */
function nextFrame() {
  if (!page || page.hidden) return Promise.resolve();
  return (frame ??= new Promise((resolve) => {
    const timer = setTimeout(() => endFrame(), LONGEST_FRAME);
    const request = requestAnimationFrame(() => endFrame());
    endFrame = () => {
      clearTimeout(timer);
      cancelAnimationFrame(request);
      frame = null;
      endFrame = () => {};
      resolve();
    };
  }));
}

function sleep() {
  asleep ??= new Promise((resolve) => (awake = resolve));
  for (const stream of streams) stream.reconnect();
}

function wake() {
  asleep = null;
  awake();
  for (const stream of streams) stream.check();
}

if (page) {
  page.addEventListener("freeze", sleep);
  page.addEventListener("resume", wake);
  addEventListener("pagehide", ({ persisted }) => persisted && sleep());
  addEventListener("pageshow", ({ persisted }) => persisted && wake());
  addEventListener("online", () => { for (const stream of streams) stream.reconnect(); });
  page.addEventListener("visibilitychange", () => {
    if (page.hidden) endFrame();
    else for (const stream of streams) stream.check();
  });
}

/** What is remembered under a name, or null; a browser may forbid the storage. @param {string} name */
function recall(name) {
  try {
    return JSON.parse(sessionStorage.getItem(KEY + name) ?? "null");
  } catch {
    return null;
  }
}

/** @param {string} name @param {{ url: string, run: boolean, id?: string } | null} what null: forget */
function store(name, what) {
  try {
    if (what) sessionStorage.setItem(KEY + name, JSON.stringify(what));
    else sessionStorage.removeItem(KEY + name);
  } catch { /* forbidden or full: the page works on, and a reload begins anew */ }
}

export class EventStream extends Connection {
  /** @type {Options} */ #options;
  /** @type {MessageEvent<string>[]} */ #pending = [];
  /** @type {Set<MessageEvent<string>[]>} */ #queues = new Set();
  /** @type {((value?: any) => void)[]} */ #waiting = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {() => void} ends the wait for a network */ #go = () => {};
  #left = false; #attempted = false; #position = "";

  /**
   * The stream that was remembered under the name when this tab was reloaded, from its first event; null: there is
   * none. With `restores` from the position that the page had seen.
   * @param {string} name @param {Options} [options] as for the constructor, save method and body
   * @returns {EventStream | null}
   */
  static resume(name, options = {}) {
    const { url, run, id } = recall(name) ?? {};
    if (!url || (!run && !options.restores)) return null;
    const lastEventId = options.restores ? id : undefined;
    return new this(url, { lastEventId, ...options, method: "GET", body: null, run, remember: name });
  }

  /** What is remembered under the name is no longer. @param {string} name */
  static forget(name) { store(name, null); }

  /** @param {string | URL} url relative to the page @param {Options} [options] */
  constructor(url, options = {}) {
    super(url, options);
    this.#options = { ...options };
    this.#position = options.lastEventId ?? "";
    streams.add(this);
    this.addEventListener("open", () => this.#remember());
    this.addEventListener("statechange", () => this.readyState === EventStream.CLOSED && this.#closed());
    const { watchdog = WATCHDOG } = options;
    if (watchdog) this.#timer = setInterval(() => this.check(), watchdog / 4);
  }

  /** Ends the request at once; neither listeners nor iterations get what they have not yet been given. */
  close() {
    this.#left ||= this.readyState !== EventStream.CLOSED;
    if (this.#left) this.#pending.length = 0;
    super.close();
  }

  /**
   * Asks the server to stop the run; resolves with its answer, such as `{ stopped: true }` (false: it had ended).
   * The stream then ends with an error whose code is "aborted".
   * @returns {Promise<{ stopped: boolean }>} @throws {TypeError} there is no run @throws {EventStreamError} no success
   */
  async stop() {
    // Pressed before the answer began: its Location is on the way.
    while (!this.runURL && this.readyState === EventStream.CONNECTING) {
      await new Promise((resolve) => this.addEventListener("statechange", resolve, { once: true }));
    }
    if (!this.runURL) throw new TypeError(`${this.url} gave no Location of a run, so there is none to stop`);
    const url = new URL("../stop/", this.runURL);
    const headers = this.headers("POST");
    headers.set("Accept", "application/json");
    headers.delete("Last-Event-ID");
    const credentials = this.withCredentials ? "include" : "same-origin";
    const response = await fetch(url, { method: "POST", headers, credentials });
    if (response.ok) return response.json();
    throw new EventStreamError("status", `${url} answered ${response.status}`, { status: response.status });
  }

  /** Leaves the connection if it was silent for too long. Timers stand still while a computer sleeps: ask after. */
  check() {
    const { watchdog = WATCHDOG } = this.#options;
    if (!watchdog || this.silence < watchdog) return;
    this.reconnect(new EventStreamError("timeout", `${this.url}: not a byte for ${this.silence} ms`));
  }

  /** @returns {Promise<void> | void} */
  ready() {
    return this.readyState === EventStream.OPEN ? this.#drained() : this.#reachable();
  }

  /** @param {Event} event */
  dispatchEvent(event) {
    if (event instanceof MessageEvent && this.readyState !== EventStream.CLOSED) {
      this.#pending.push(event);
      if (this.#options.batch !== "frame") this.#flush();
      else if (this.#pending.length === 1) nextFrame().then(() => this.#flush());
      return true;
    }
    this.#flush(); // the end of a connection comes after all that it brought
    return super.dispatchEvent(event);
  }

  /** Connects at once, and does not wait for a network either. @param {any} [dead] */
  reconnect(dead) {
    this.#go();
    super.reconnect(dead);
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
      while (queue.length || this.readyState !== EventStream.CLOSED) {
        if (!queue.length) await new Promise((resolve) => this.#waiting.push(resolve));
        const batch = queue.splice(0);
        if (batch.length) this.#tell(); // only then: idle iterations would wake each other for ever
        for (const event of batch) {
          if (this.#left) return;
          yield event;
        }
      }
      if (this.error) throw this.error;
    } finally {
      this.#queues.delete(queue);
      this.close();
    }
  }

  /** @param {MessageEvent<string>} event */
  #give(event) {
    for (const queue of this.#queues) queue.push(event);
    super.dispatchEvent(event);
    this.#position = event.lastEventId;
    if (this.#options.restores) this.#remember();
    this.#tell();
  }

  #flush() {
    for (let event = this.#pending.shift(); event; event = this.#pending.shift()) this.#give(event);
  }

  #tell() { for (const resolve of this.#waiting.splice(0)) resolve(); }

  async #drained() {
    const full = () => [...this.#queues].some((queue) => queue.length >= QUEUE_LIMIT);
    while (full()) await new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** `navigator.onLine` may be wrong (a server on this machine): it costs the longest back-off, no first attempt. */
  async #reachable() {
    if (this.#attempted && globalThis.navigator?.onLine === false) {
      const { maxDelay = 30_000 } = this.#options;
      await new Promise((resolve) => {
        const timer = setTimeout(() => this.#go(), maxDelay);
        this.#go = () => resolve(clearTimeout(timer));
      });
    }
    while (asleep) await asleep;
    this.#attempted = true;
  }

  #remember() {
    const { remember: name, restores, method, body } = this.#options;
    const run = this.runURL !== null;
    const repeatable = run || (restores && !body && (method ?? "GET").toUpperCase() === "GET");
    if (!name || !repeatable || this.readyState === EventStream.CLOSED) return;
    const id = restores ? this.#position : undefined;
    if (name) store(name, { url: this.runURL ?? this.url, run, id });
  }

  #closed() {
    streams.delete(this);
    clearInterval(this.#timer);
    this.#go();
    this.#tell();
    const { error } = this;
    const over = error ? error.data !== undefined || [404, 410].includes(error.status) : !this.#left;
    const { remember: name } = this.#options;
    if (name && over && recall(name)?.url === (this.runURL ?? this.url)) store(name, null);
  }
}

Object.assign(globalThis, { django_sse: { .../** @type {any} */ (globalThis).django_sse, EventStream } });
