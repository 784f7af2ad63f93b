// @ts-check
/** A page's stream: its state in the badge, its frames in the panel, and a way to open and close it. */

const STATES = ["connecting", "open", "closed"];
const MOST_FRAMES = 200;

/** @typedef {EventTarget & { readyState: number, close(): void }} Stream an EventSource or an EventStream */

export class Connection {
  /** @type {Stream | null} */
  stream = null;
  #connect;
  #listeners;
  #frames = new Frames();
  #badge = element("[data-connection]");

  /**
   * @param {() => Stream} connect makes the stream
   * @param {Record<string, (event: any) => void>} listeners what to do with each event type; the panel
   *   shows these types, so a type that only the panel cares for gets an empty function
   */
  constructor(connect, listeners) {
    this.#connect = connect;
    this.#listeners = listeners;
    // A page that goes to the back-forward cache keeps its scripts: without this it would come back deaf.
    this.#show();
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  open() {
    this.stream?.close();
    const stream = (this.stream = this.#connect());
    this.#frames.connected();
    for (const type of new Set([...Object.keys(this.#listeners), "open", "error", "close"])) {
      stream.addEventListener(type, (event) => {
        if (stream === this.stream) this.#receive(stream, event);
      });
    }
    stream.addEventListener("statechange", () => this.#show());
    this.#show();
  }

  close() {
    if (this.stream && this.stream.readyState !== 2) this.#frames.remark("closed by this page");
    this.stream?.close();
    this.#show();
  }

  /**
   * @param {Stream} stream
   * @param {Event} event
   */
  #receive(stream, event) {
    if (event instanceof MessageEvent) this.#frames.add(event);
    else if (event.type === "open") this.#frames.remark("connected");
    else this.#frames.remark(stream.readyState === 2 ? "closed for good" : "connection lost, coming back");
    // The terminal event: an EventSource would reconnect, and the server would answer with 204.
    if (event.type === "close" || (event.type === "error" && event instanceof MessageEvent)) stream.close();
    this.#listeners[event.type]?.(event);
    this.#show();
  }

  #show() {
    const state = STATES[this.stream?.readyState ?? 2] ?? "closed";
    if (this.#badge.dataset.connection === state) return;
    this.#badge.dataset.connection = state;
    element("[data-connection-text]").textContent = state;
  }
}

/** The panel of raw frames: the newest MOST_FRAMES, drawn only while the panel is open. */
export class Frames {
  #panel = /** @type {HTMLDetailsElement} */ (element("[data-frames]"));
  #log = element("[data-frames-log]");
  #count = element("[data-frames-count]");
  /** @type {Node[]} */
  #nodes = [];
  #total = 0;
  #lastEventId = "";

  constructor() {
    this.#panel.addEventListener("toggle", () => this.#draw());
  }

  connected() {
    this.#lastEventId = "";
  }

  /** @param {string} text */
  remark(text) {
    this.#append(span("remark", `· ${text}\n\n`));
  }

  /** @param {MessageEvent<string>} event */
  add(event) {
    const frame = document.createElement("span");
    // The event carries the last id whether or not its own frame had one; only a change is certain.
    if (event.lastEventId !== this.#lastEventId) frame.append(...field("id", event.lastEventId));
    this.#lastEventId = event.lastEventId;
    if (event.type !== "message") frame.append(...field("event", event.type));
    for (const line of event.data.split("\n")) frame.append(...field("data", line));
    frame.append("\n");
    this.#total += 1;
    this.#count.textContent = String(this.#total);
    this.#append(frame);
  }

  /** @param {Node} node */
  #append(node) {
    this.#nodes.push(node);
    if (this.#nodes.length > MOST_FRAMES) this.#nodes.shift();
    this.#draw();
  }

  #draw() {
    if (!this.#panel.open) return;
    this.#log.replaceChildren(...this.#nodes);
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}

/**
 * @param {string} name
 * @param {string} value
 * @returns {(Node | string)[]}
 */
function field(name, value) {
  return [span("field", `${name}: `), `${value}\n`];
}

/**
 * @param {string} className
 * @param {string} text
 */
function span(className, text) {
  const node = document.createElement("span");
  node.className = className;
  node.textContent = text;
  return node;
}

/**
 * The element that a page is known to have.
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function element(selector) {
  const found = document.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`The page lacks ${selector}`);
  return found;
}
