// @ts-check
/** The network of one stream, so that the page can cut it and see which process is at the other end. */

export class Wire {
  /** @type {Set<AbortController>} */
  #requests = new Set();
  /** Who answered last: the demo's X-Process. */
  process = "";
  /** The server's own words where it refused. */
  refusal = "";

  /**
   * For the `fetch` of an EventStream.
   * @type {typeof fetch}
   */
  fetch = async (resource, init = {}) => {
    if (!init.signal) return fetch(resource, init); // no stream: a stop
    const cutter = new AbortController();
    init.signal.addEventListener("abort", () => {
      cutter.abort();
      this.#requests.delete(cutter);
    });
    this.#requests.add(cutter);
    const response = await fetch(resource, { ...init, signal: cutter.signal });
    this.process = response.headers.get("X-Process") ?? "";
    this.refusal = response.ok ? "" : (await response.clone().json().catch(() => ({}))).error ?? "";
    return response;
  };

  /** Tear the connection; the client is not told, as with a cable. False: there is none. */
  cut() {
    const any = this.#requests.size > 0;
    for (const cutter of this.#requests) cutter.abort();
    this.#requests.clear();
    return any;
  }
}
