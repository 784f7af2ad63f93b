// @ts-check
/**
 * The EventStream of a page: the connection of event-stream.js, which must be loaded before, and what it needs among
 * reloads, sleeping laptops, hidden tabs and lost networks. Adds `for await`, the watchdog, batches of one animation
 * frame, runs that are remembered across reloads, and `stop()`.
 *
 *     const stream = EventStream.resume("assistant") ?? new EventStream(url, { body, remember: "assistant" });
 */

const { EventStreamConnection, EventStreamError } = /** @type {any} */ (globalThis).django_sse;

/** How far an iteration may be behind before the connection is left: in characters, and EVENT_COST for each event. */
const BEHIND = 1 << 20;
const EVENT_COST = 256;
/** A bit over two of the server's heartbeats (its setting HEARTBEAT is 15 s): one may be lost on the way. */
const WATCHDOG = 35_000;
/** In a window that is covered no frame may come, and nothing says so. */
const LONGEST_FRAME = 100;
/** As in event-stream.js. */
const LONGEST_TIMER = 2 ** 31 - 1;
const KEY = "django_sse:";

/**
 * The options of the connection, and more; docs/client.md has what each means.
 * @typedef {Record<string, any> & { watchdog?: number, batch?: "frame", remember?: string, restores?: boolean
 * }} Options
 */

/**
 * A running iteration: the events that it was not given yet, their `size`, the `rest` of the batch that it has taken,
 * and its position.
 * @typedef {{ queue: MessageEvent<string>[], size: number, rest: number, position: string }} Loop
 */

/** Those that are not closed. @type {Set<EventStream>} */
const streams = new Set();
/** By the name to remember it under: an older one with a loop that is behind must not touch what the newest has stored.
 * @type {Map<string, EventStream>} */
const newest = new Map();
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

/**
 * Returns `use(sessionStorage)`, or null where the browser forbids the storage or it is full: the page works on, and a
 * reload begins anew. @param {(storage: Storage) => any} use
 */
function stored(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
}

/** What is remembered under a name, or null. @param {string} name */
function recall(name) { return stored((storage) => JSON.parse(storage.getItem(KEY + name) ?? "null")); }

/** @param {string} name @param {{ url: string, run: boolean, id?: string } | null} what null: forget */
function store(name, what) {
  stored((storage) => (what ? storage.setItem(KEY + name, JSON.stringify(what)) : storage.removeItem(KEY + name)));
}

export class EventStream extends EventStreamConnection {
  /** @type {Options} */ #options;
  /** @type {MessageEvent<string>[]} */ #pending = [];
  /** @type {Set<Loop>} */ #loops = new Set();
  /** @type {((value?: any) => void)[]} */ #waiting = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {() => void} ends the wait for a network */ #go = () => {};
  /** Closed before its end. */ #left = false;
  /** Events were read that nobody will be given. */ #dropped = false;
  /** Of the newest event that listeners were given. */ #position = "";
  /** Of the newest event that was read, and whether it is that event's own. */ #read = { id: "", own: false };
  #attempted = false;

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

  /** Forget what is remembered under the name, also if its stream goes on. @param {string} name */
  static forget(name) {
    store(name, null);
    for (const stream of streams) if (stream.#options.remember === name) stream.#options.remember = undefined;
  }

  /** For a log-out: forget all that this tab remembers. */
  static forgetAll() {
    const keys = stored((storage) => Object.keys(storage).filter((key) => key.startsWith(KEY))) ?? [];
    for (const name of [...newest.keys(), ...keys.map((key) => key.slice(KEY.length))]) this.forget(name);
  }

  /** @param {string | URL} url relative to the page @param {Options} [options] */
  constructor(url, options = {}) {
    super(url, options);
    this.#options = { ...options };
    this.#position = this.#read.id = options.lastEventId ?? "";
    streams.add(this);
    if (options.remember) newest.set(options.remember, this);
    this.addEventListener("open", () => this.#remember());
    this.addEventListener("statechange", () => this.readyState === EventStream.CLOSED && this.#closed());
    const { watchdog = WATCHDOG } = options;
    if (watchdog) this.#timer = setInterval(() => this.check(), Math.min(watchdog / 4, LONGEST_TIMER));
  }

  /** The id of the last event that all listeners and loops were given: a stream that begins after it misses nothing. */
  get lastEventId() {
    if (this.#dropped) return this.#position;
    const behind = [...this.#loops].sort((one, other) => unread(other) - unread(one))[0];
    if (behind && unread(behind)) return behind.position;
    return this.#pending.length ? this.#position : super.lastEventId;
  }

  /** For a subclass: where the reading is. */
  get readPosition() { return super.lastEventId; }

  /** Ends the request at once; neither listeners nor iterations get what they have not yet been given. */
  close() {
    if (this.readyState !== EventStream.CLOSED) {
      this.#drop();
      this.#left = true;
      this.#pending.length = 0;
    }
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
    const response = await (this.#options.fetch ?? fetch)(url, { method: "POST", headers, credentials });
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

  /** For a subclass: leaves the connection until all iterations have caught up. */
  leave() { this.reconnect(); }

  /** @param {Event} event */
  dispatchEvent(event) {
    if (event instanceof MessageEvent && this.readyState !== EventStream.CLOSED) {
      this.#read = { id: event.lastEventId, own: event.lastEventId !== this.#read.id };
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
   * for good; leaving the loop closes it. Nothing is dropped: an iteration that is BEHIND stops the reading (so
   * listeners wait too), and never holds more than twice that and what two reads brought.
   * @returns {AsyncGenerator<MessageEvent<string>, void, void>}
   */
  async *[Symbol.asyncIterator]() {
    /** @type {Loop} */
    const loop = { queue: [], size: 0, rest: 0, position: this.#position };
    this.#loops.add(loop);
    try {
      while (loop.queue.length || this.readyState !== EventStream.CLOSED) {
        if (!loop.queue.length) await new Promise((resolve) => this.#waiting.push(resolve));
        const batch = loop.queue.splice(0);
        loop.rest = batch.length;
        loop.size = 0;
        if (batch.length) this.#tell(); // only then: idle iterations would wake each other for ever
        for (const event of batch) {
          if (this.#left) return;
          loop.rest -= 1;
          loop.position = event.lastEventId;
          if (this.#options.restores) this.#remember();
          yield event;
        }
      }
      if (this.error) throw this.error;
    } finally {
      this.#leave(loop);
    }
  }

  /** @param {Loop} loop that has ended, or was left */
  #leave(loop) {
    if (unread(loop)) this.#drop();
    this.#loops.delete(loop);
    if (this.readyState === EventStream.CLOSED) this.#forget();
    this.close();
  }

  #drop() {
    this.#position = this.lastEventId;
    this.#dropped = true;
  }

  /** @param {MessageEvent<string>} event */
  #give(event) {
    for (const loop of this.#loops) {
      loop.queue.push(event);
      loop.size += event.data.length + EVENT_COST;
    }
    this.#position = event.lastEventId;
    super.dispatchEvent(event);
    if (this.#options.restores) this.#remember();
    this.#tell();
  }

  #flush() {
    for (let event = this.#pending.shift(); event; event = this.#pending.shift()) this.#give(event);
  }

  #tell() { for (const resolve of this.#waiting.splice(0)) resolve(); }

  /** Firefox and WebKit go on buffering a response that nobody reads, so it is left where its position is exact. */
  async #drained() {
    const full = () => [...this.#loops].some(({ size }) => size >= BEHIND);
    if (full() && this.#read.id && this.#read.own) this.leave();
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
    if (!name || !repeatable || this.#left) return;
    // A loop that is behind goes on after the end; the name may be another stream's by then.
    if (this.readyState === EventStream.CLOSED && !this.#isRemembered(name)) return;
    store(name, { url: this.runURL ?? this.url, run, id: restores ? this.lastEventId : undefined });
  }

  /** Once it is over for all: a loop that is behind has not shown everything, should the page be reloaded now. */
  #forget() {
    const { error } = this;
    const over = !error || error.data !== undefined || [404, 410].includes(error.status);
    const { remember: name } = this.#options;
    if (name && over && !this.#dropped && !this.#loops.size && this.#isRemembered(name)) store(name, null);
  }

  /** @param {string} name */
  #isRemembered(name) {
    return newest.get(name) === this && recall(name)?.url === (this.runURL ?? this.url);
  }

  #closed() {
    streams.delete(this);
    clearInterval(this.#timer);
    this.#go();
    this.#tell();
    this.#forget();
  }
}

/** How many events it is behind. @param {Loop} loop */
function unread({ queue, rest }) { return queue.length + rest; }

Object.assign(globalThis, { django_sse: { .../** @type {any} */ (globalThis).django_sse, EventStream } });
