// @ts-check
/**
 * SharedEventStream: an EventStream whose connection all tabs of the origin share, because a browser opens six to a
 * host over HTTP/1.1. It must be loaded after event-stream-page.js.
 *
 *     const stream = new SharedEventStream("/room/7/events/", { share: page.dataset.user });
 *
 * The Web Lock of the URL and the account (`share`) makes one tab the leader: it alone stays connected, and tells the
 * others on a BroadcastChannel each event and the position after it. Any other tab makes a request of its own, exactly
 * as an EventStream would, so the server judges its cookies. Once that is answered, it follows from the moment at which
 * both stand at the same position, an id that one event has carried: nothing is lost and nothing comes twice. When the
 * leader's tab closes or crashes the browser gives the lock to another one, which connects with its last event ID.
 */

const { EventStream, EventStreamParser } = /** @type {any} */ (globalThis).django_sse;

/** Milliseconds that a leader has to answer before a tab connects by itself, or to go before others are told. */
const PATIENCE = 1000;
/** Events of the leader that are kept while a tab catches up. */ const BACKLOG = 1000;
/** Bytes that a tab may be behind before it leaves the others, to come back when it has caught up. */
const BEHIND = 1 << 20;

/** `clear`: one event has carried the position. @typedef {[position: string, text: string, clear: boolean]} Frame */
/** Before the backlog. @typedef {{ from: string, position: string, clear: boolean, up: boolean }} Leader */

/** @param {{ type: string, data: string, lastEventId: string }} event @param {number} [retry] milliseconds */
function encode({ type, data, lastEventId }, retry) {
  const lines = [`id: ${lastEventId}`, `event: ${type}`, ...data.split("\n").map((line) => `data: ${line}`)];
  if (retry !== undefined) lines.unshift(`retry: ${retry}`);
  return `${lines.join("\n")}\n\n`;
}

/** One answer, as the stream of this tab reads it: from a connection of its own, or from what the leader says. */
class Feed {
  /** Whether the server has let this tab in; then events come, from either. */ connected = false;
  following = false; clear = true;
  #ended = false; #encoder = new TextEncoder();
  /** @type {ReadableStreamDefaultController<Uint8Array>} */ #controller = /** @type {any} */ (null);
  /** @type {() => void} */ #pulled = () => {};
  #connection = new AbortController();

  /** @param {Peer} peer @param {RequestInfo | URL} resource @param {RequestInit} init @param {string} position */
  constructor(peer, resource, init, position) {
    this.peer = peer; this.resource = resource; this.init = init; this.position = position;
    const start = (/** @type {any} */ controller) => { this.#controller = controller; };
    const source = { start, pull: () => this.#pulled() };
    const body = new ReadableStream(source, new ByteLengthQueuingStrategy({ highWaterMark: BEHIND }));
    this.response = new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    init.signal?.addEventListener("abort", () => this.end(init.signal?.reason));
  }

  /** A connection of its own, from its position on. @returns {Promise<Response>} */
  request() {
    this.#connection.abort();
    this.#connection = new AbortController();
    const headers = new Headers(this.init.headers);
    const bytes = new TextEncoder().encode(this.position); // as in event-stream.js
    if (bytes.length) headers.set("Last-Event-ID", Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    return this.peer.request(this.resource, { ...this.init, headers, signal: this.#connection.signal });
  }

  /** In the middle of the answer: the leader is gone, or stands elsewhere. */
  async connect() {
    this.following = false;
    const answer = this.request();
    const connection = this.#connection;
    const response = await answer.catch(() => null);
    if (this.following || this.#connection !== connection) return;
    if (response?.status === 200) await this.read(response);
    else this.end(); // the stream's next attempt gets the reason
  }

  /** @param {Response} response of `request` */
  async read({ body }) {
    this.connected = true;
    this.peer.announce();
    const connection = this.#connection;
    const reader = /** @type {ReadableStream<Uint8Array>} */ (body).getReader();
    const parser = new EventStreamParser(this.position);
    while (!this.#ended && !this.match()) {
      const { value } = await reader.read().catch(() => ({ value: undefined }));
      if (this.#ended || this.following || this.#connection !== connection) return;
      if (!value) return this.end();
      this.#take(parser.feed(value), parser.retry);
      while (!this.#ended && !this.peer.leading && this.#full()) {
        await new Promise((resolve) => (this.#pulled = () => resolve(undefined)));
      }
    }
  }

  /** @param {{ type: string, data: string, lastEventId: string }[]} events @param {number} [retry] */
  #take(events, retry) {
    let { position, clear } = this;
    /** @type {Frame[]} */
    const frames = events.map((event) => {
      // What only says that the connection is open stands where the event before it does.
      clear = event.lastEventId !== position || (clear && event.type === "stream-open");
      position = event.lastEventId;
      return [position, encode(event, retry), clear];
    });
    if (!frames.length) frames.push([position, ":\n", clear]); // a heartbeat, for the watchdogs of all
    if (this.peer.leading) this.peer.tell(frames);
    for (const frame of frames) {
      this.#push(frame);
      if (this.#ended || this.match()) return; // the rest comes again, or from the leader
    }
  }

  /** Follows the leader if both stand, or have stood, at the same position. An empty one says nothing. */
  match() {
    const ready = this.connected && !this.#ended && this.position && this.clear;
    if (this.following || !ready) return this.following;
    const rest = this.peer.after(this.position);
    if (!rest) return false;
    this.following = true;
    this.#connection.abort();
    this.#pulled();
    this.follow(rest);
    return true;
  }

  /** @param {Frame[]} frames from the leader */
  follow(frames) {
    if (this.#full()) return this.end();
    for (const frame of frames) this.#push(frame);
  }

  /** @param {unknown} [reason] why what was not yet read is thrown away; none: it is not */
  end(reason) {
    if (this.#ended) return;
    this.#ended = true;
    this.#connection.abort();
    this.#pulled();
    if (reason === undefined) this.#controller.close();
    else this.#controller.error(reason);
    this.peer.ended(this);
  }

  #full() { return Number(this.#controller.desiredSize) <= 0; }

  /** @param {Frame} frame */
  #push([position, text, clear]) {
    this.position = position;
    this.clear = clear;
    this.#controller.enqueue(this.#encoder.encode(text));
    if (this.peer.leading && this.#full()) this.peer.leave(); // a tab that does not read must not lead
  }
}

/** This tab among those that share the connection. */
class Peer {
  leading = false;
  /** @type {Feed | null} */ #feed = null; /** @type {BroadcastChannel | null} */ #channel = null;
  /** @type {Leader | null} */ #leader = null; /** @type {Frame[]} */ #backlog = [];
  /** @type {(() => void)[]} */ #waiting = [];
  #me = Math.random().toString(36).slice(2);
  /** @type {() => void} */ #release = () => {};

  /** @param {string} name @param {typeof fetch} [request] */
  constructor(name, request) {
    this.name = name;
    this.request = (/** @type {any[]} */ ...call) => (request ?? fetch)(call[0], call[1]);
  }

  /** @param {RequestInfo | URL} resource @param {RequestInit} init @param {string} position */
  async fetch(resource, init, position) {
    // Both need a secure context: over plain HTTP each tab has its own connection.
    if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel) return this.request(resource, init);
    this.#join();
    await this.#until(() => this.leading || this.#leader, init.signal, PATIENCE);
    await this.#until(() => this.leading || !this.#leader || this.#leader.up, init.signal);
    init.signal?.throwIfAborted(); // left while it waited: nobody would read the answer, nor end it
    const feed = (this.#feed = new Feed(this, resource, init, position));
    const refused = (/** @type {unknown} */ error) => { this.ended(feed); throw error; };
    const response = await feed.request().catch(refused);
    const isStream = /^text\/event-stream\b/i.test(response.headers.get("Content-Type") ?? "");
    if (response.status === 200 && isStream) feed.read(response);
    else this.ended(feed);
    return feed.connected ? feed.response : response;
  }

  /** The leader's frames after the position; null: it did not surely stand there. @param {string} position */
  after(position) {
    if (this.leading || !this.#leader?.up) return null;
    const index = this.#backlog.findLastIndex((frame) => frame[0] === position);
    const { position: stood, clear } = this.#leader;
    if (index < 0 ? stood !== position || !clear : !this.#backlog[index][2]) return null;
    const rest = this.#backlog.slice(index + 1);
    this.#forgetBacklog(this.#backlog.length);
    return rest;
  }

  /** @param {Frame[]} frames of this tab, which leads */
  tell(frames) { this.#say({ type: "frames", frames }); }

  /** Where the leader stands. */
  announce() {
    const { position = "", clear = true, connected: up = false } = this.#feed ?? {};
    if (this.leading) this.#say({ type: "leader", position, clear, up });
  }

  /** @param {Feed} feed */
  ended(feed) {
    if (this.#feed !== feed) return;
    this.#feed = null;
    setTimeout(() => this.announce(), PATIENCE); // a reload ends connections before the page goes, and another leads
  }

  /** Lets another tab lead, at once and without a word: who follows goes on following. */
  leave() {
    this.leading = false;
    this.#channel?.close();
    this.#channel = null;
    this.#release();
    this.#feed?.end();
  }

  #join() {
    this.#leader = null;
    this.#backlog = [];
    if (!this.#channel) {
      this.#channel = new BroadcastChannel(this.name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      this.#claim();
    }
    this.#say({ type: "who" });
  }

  #claim() {
    const waiting = new AbortController();
    this.#release = () => waiting.abort();
    const lead = () => !waiting.signal.aborted && new Promise((resolve) => {
      this.#release = () => resolve(undefined);
      this.#lead();
    });
    const left = (/** @type {Error} */ error) => { if (error.name !== "AbortError") throw error; };
    navigator.locks.request(this.name, { signal: waiting.signal }, lead).catch(left);
  }

  #lead() {
    this.leading = true;
    this.#leader = null;
    this.#backlog = [];
    if (this.#feed?.following) this.#feed.connect();
    else this.announce();
    this.#wake();
  }

  /** @param {any} message */
  #hear({ type, from, position, clear, up, frames }) {
    if (type === "who") return this.announce();
    if (this.leading) return; // what the leader before has left
    if (type === "leader") this.#meet({ from, position, clear, up });
    else if (!this.#leader) this.#meet({ from, position: frames.at(-1)[0], clear: frames.at(-1)[2], up: true });
    else if (this.#leader.from === from) this.#listen(frames);
  }

  /** @param {Leader} leader */
  #meet(leader) {
    this.#leader = leader;
    this.#backlog = [];
    const feed = this.#feed;
    if (!feed?.following) feed?.match();
    else if (!leader.up) feed.end();
    else if (leader.position !== feed.position) feed.connect();
    this.#wake();
  }

  /** @param {Frame[]} frames */
  #listen(frames) {
    this.#backlog.push(...frames);
    if (this.#feed?.following) {
      this.#forgetBacklog(this.#backlog.length);
      this.#feed.follow(frames);
    } else {
      this.#forgetBacklog(this.#backlog.length - BACKLOG);
      this.#feed?.match();
    }
  }

  /** @param {number} count */
  #forgetBacklog(count) {
    const forgotten = this.#backlog.splice(0, Math.max(0, count)).at(-1);
    if (forgotten && this.#leader) [this.#leader.position, , this.#leader.clear] = forgotten;
  }

  /** @param {object} message */
  #say(message) { this.#channel?.postMessage({ ...message, from: this.#me }); }

  /** @param {() => unknown} condition @param {AbortSignal | null} [signal] @param {number} [patience] ms at most */
  async #until(condition, signal, patience) {
    let over = false;
    const end = () => { over = true; this.#wake(); };
    const timer = patience === undefined ? undefined : setTimeout(end, patience);
    signal?.addEventListener("abort", end);
    while (!over && !condition()) await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)));
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
  }

  #wake() { for (const resolve of this.#waiting.splice(0)) resolve(); }
}

/** The peers of the streams that are not closed. @type {Set<Peer>} */
const peers = new Set();
/** A page that sleeps or goes cannot lead. Before any connection ends, whose end would be told to the others. */
const leave = () => { for (const peer of peers) peer.leave(); };
globalThis.document?.addEventListener("freeze", leave, true);
globalThis.window?.addEventListener("pagehide", leave, true);

export class SharedEventStream extends EventStream {
  /** @type {Peer} */ #peer;

  /**
   * @param {string | URL} url relative to the page; one that all tabs use alike
   * @param {Record<string, any> & { share: string | number }} options those of EventStream, and the account that the
   * page belongs to, such as its user's id: only tabs of one account share. "" where everybody gets the same.
   * @throws {TypeError} as EventStream does, for what is no GET (an answer to a POST is not for all tabs), and without
   * `share`: the next user of this browser would get the events of the one before
   */
  constructor(url, options) {
    if (!["string", "number"].includes(typeof options?.share)) {
      throw new TypeError('share: the account of the page, such as its user\'s id; "" where everybody gets the same');
    }
    if ((options.method ?? "GET").toUpperCase() !== "GET" || (options.body ?? null) !== null) {
      throw new TypeError("Only a GET can be shared: start a run with EventStream, then share its runURL");
    }
    const address = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    const name = `django_sse ${address} ${options.share}`; // no URL has a space
    const peer = new Peer(name, options.fetch);
    const join = (/** @type {RequestInfo} */ resource, /** @type {RequestInit} */ init) =>
      init.method === "GET" ? peer.fetch(resource, init, this.readPosition) : peer.request(resource, init);
    super(url, { ...options, fetch: join });
    this.#peer = peer;
    peers.add(peer);
    this.addEventListener("statechange", () => {
      if (this.readyState !== EventStream.CLOSED) return;
      peers.delete(peer);
      peer.leave();
    });
  }

  /** Another tab leads meanwhile. */ leave() { super.leave(); this.#peer.leave(); }

  /** Whether the connection is this tab's. */
  get leading() { return this.#peer.leading; }
}

Object.assign(globalThis, { django_sse: { .../** @type {any} */ (globalThis).django_sse, SharedEventStream } });
