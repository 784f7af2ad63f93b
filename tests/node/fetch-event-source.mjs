/** Microsoft's fetch-event-source in the shape of an EventSource, for `client.mjs`. */
import { createRequire } from "node:module";

// It is made for pages and asks for these; a tab that is never hidden.
globalThis.window = globalThis;
globalThis.document = new EventTarget();
const { fetchEventSource, EventStreamContentType } = createRequire(import.meta.url)("@microsoft/fetch-event-source");

const [CONNECTING, OPEN, CLOSED] = [0, 1, 2];

export class FetchEventSource extends EventTarget {
  readyState = CONNECTING;
  #controller = new AbortController();

  constructor(url, { headers }) {
    super();
    const { signal } = this.#controller;
    const onopen = async (response) => this.#opened(response);
    const onmessage = (message) => this.#received(message);
    // Nothing returned, nothing thrown: it comes back by itself.
    const onerror = (error) => { this.#failed(CONNECTING, error); };
    const onclose = () => { this.#failed(CLOSED, new Error("the end of the body")); };
    fetchEventSource(url, { headers, signal, onopen, onmessage, onerror, onclose });
  }

  #opened(response) {
    const type = response.headers.get("content-type") ?? "";
    if (!type.startsWith(EventStreamContentType)) throw new Error(`status ${response.status}, ${type}`);
    this.readyState = OPEN;
    this.dispatchEvent(new Event("open"));
  }

  #received({ id, event, data }) {
    this.dispatchEvent(Object.assign(new Event(event || "message"), { data, lastEventId: id }));
  }

  #failed(readyState, error) {
    this.readyState = readyState;
    this.dispatchEvent(Object.assign(new Event("error"), { error }));
  }

  close() {
    this.readyState = CLOSED;
    this.#controller.abort();
  }
}
