// @ts-check
/** One question and its answer on the page: from its run while it lasts, as stored afterwards. */

import { tell } from "./deeds.js";
import { complain, post } from "./http.js";
import { Wire } from "./wire.js";

/** @typedef {{ id: number, question: string, answer: string, problem: string, state: string, location: string, process: number }} Exchange as the server tells of it */

/** @type {Record<string, string[]>} */
const ENDS = {
  aborted: ["Stopped:", "the upstream’s connection is closed, and what came until then is kept."],
  interrupted: ["Interrupted:", "the process that ran the answer is gone, and another one has noticed."],
};
const { EventStream, SharedEventStream } = /** @type {any} */ (globalThis).django_sse;

export class Answer {
  /** What the window that asks knows its question by. */
  key = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  #wire = new Wire();
  #options = { fetch: this.#wire.fetch, batch: "frame" };
  #events = 0;
  #seen = 0;
  #lost = false;
  #asking = false;
  #page;
  /** @type {any} */ #stream;

  /**
   * @param {HTMLElement} item
   * @param {{ kill: string, owner: string, frames: import("./connection.js").Frames, keepingTheEnd(change: () => void): void,
   *   ask(question: string): void, refused(answer: Answer, message: string): void }} page
   */
  constructor(item, page) {
    this.item = item;
    this.#page = page;
    this.#button("stop", () => this.stop());
    this.#button("cut", () => this.cut());
    this.#button("kill", () => this.#kill());
    this.#button("again", () => page.ask(this.question));
  }

  get id() { return this.item.dataset.exchange ?? ""; }
  get question() { return this.#part("question").textContent ?? ""; }
  get #over() { return !this.#stream || this.#stream.readyState === EventStream.CLOSED; }

  /** What is stored, or the run that has it: on a page that was loaded, and for what another window asked. */
  show() {
    const { location, state } = this.item.dataset;
    if (state === "open" && location) this.#join(location);
    else if (state === "open") this.#conclude("The answer has not begun. It stands here when it comes.", true);
    else this.#conclude("", state !== "whole");
  }

  /** @param {string} url @param {object} fields */
  ask(url, fields) {
    this.#asking = true;
    tell("Asked.", `POST ${url}`);
    this.#follow(new EventStream(url, { ...this.#options, body: { ...fields, key: this.key } }));
  }

  /**
   * From here, though the client could remember it: the server knows the run of every question. All windows that did
   * not ask share a connection: a browser has six. @param {string} location
   */
  #join(location) {
    tell("Joined the run", "from its first event.");
    this.#startOver();
    this.#follow(new SharedEventStream(location, { ...this.#options, share: this.#page.owner, run: true }));
  }

  /** The server's word on it, for who cannot follow its run. @param {Exchange} exchange */
  take(exchange) {
    const { id, question, state, location } = exchange;
    Object.assign(this.item.dataset, { exchange: id, state, location });
    this.#asking = false;
    if (this.#stream) return;
    this.#part("question").textContent = question;
    this.#part("answer").textContent = exchange.answer;
    complain(this.#part("problem"), exchange.problem);
    this.show();
  }

  /** @param {any} stream */
  #follow(stream) {
    this.#stream = stream;
    this.#page.frames.connected();
    /** @type {Record<string, (event: any) => void>} */
    const listeners = {
      open: () => this.#opened(),
      message: (event) => this.#add(event),
      "stream-open": () => {},
      "stream-reset": () => this.#startOver(),
      close: () => this.#whole(),
      statechange: () => queueMicrotask(() => this.#checkEnd()),
      error: (event) => event instanceof MessageEvent ? this.#broken(event) : this.#failed(event),
    };
    for (const [type, listen] of Object.entries(listeners)) {
      stream.addEventListener(type, (/** @type {Event} */ event) => {
        if (event instanceof MessageEvent) this.#page.frames.add(event);
        this.#page.keepingTheEnd(() => listen(event));
      });
    }
    this.#part("live").hidden = false;
    this.#part("over").hidden = true;
    this.#part("answer").setAttribute("aria-busy", "true");
    this.#say("Waiting for the first token.");
  }

  #startOver() {
    this.#part("answer").textContent = "";
    this.#events = this.#seen = 0;
  }

  #opened() {
    this.#page.frames.remark("connected");
    const { process } = this.#wire;
    const peer = process ? `process ${process}` : "another window";
    if (this.#lost) tell("Back,", `at ${peer}: goes on after event ${this.#position}.`, "back");
    else tell("Connected", `to ${peer}.`);
    this.#say(this.#lost ? `Connected again, to ${peer}.` : `Connected to ${peer}.`);
    this.#lost = false;
  }

  /** @param {MessageEvent<string>} event */
  #add({ data, lastEventId }) {
    this.#events += 1;
    this.#seen = numberOf(lastEventId);
    this.#part("answer").append(data);
  }

  #whole() {
    const count = `${this.#events} of ${this.#seen} events came`;
    tell("The answer is complete:", `${count}.`, "whole");
    this.item.dataset.state = "whole";
    this.#conclude(`Complete: ${count}.`, false);
  }

  /** The answer ended with an error. @param {MessageEvent<string> & { error: Error & { code: string } }} event */
  #broken({ data, error: { code } }) {
    const { error } = JSON.parse(data);
    const [what, why] = ENDS[code] ?? ["Failed:", error];
    tell(what, why, "over");
    complain(this.#part("problem"), `${what} ${why}`);
    this.item.dataset.state = "incomplete";
    this.#conclude("", true);
  }

  /** @param {{ error: Error & { code: string, status?: number }, reconnectIn: number | null }} event */
  #failed({ error, reconnectIn }) {
    if (this.#asking && error.code === "status") {
      this.#stream.close();
      tell("Refused", `with status ${error.status}.`, "over");
      return this.#page.refused(this, this.#wire.refusal || `The server answered ${error.status}.`);
    }
    if (reconnectIn === null) return this.#gone(error);
    const wait = `waits ${Math.round(reconnectIn).toLocaleString("en")} ms`;
    const seen = this.#lost ? "Not back yet" : "Connection lost";
    this.#lost = true;
    this.#wire.process = "";
    this.#page.frames.remark("connection lost, coming back");
    tell(`${seen} (${error.code}),`, `after event ${this.#position}; ${wait}.`, "lost");
    this.#say(`${seen}: the client ${wait}, then goes on after event ${this.#position}.`);
  }

  /** @param {Error & { code: string, status?: number }} error */
  #gone({ code, status }) {
    tell("Gave up:", status ? `status ${status}.` : `${code}.`, "over");
    if (this.#asking && !this.#position) {
      return this.#page.refused(this, "The server cannot be reached.");
    }
    complain(this.#part("problem"), status === 404 ? "The run is not kept any more." : "The connection was lost for good.");
    // What the server may yet say of it counts again.
    this.#stream = undefined;
    this.#conclude("", true);
  }

  /** After a 204 there is nothing more to come, and no event that says so. */
  #checkEnd() {
    if (!this.#over || this.#part("live").hidden) return;
    this.#conclude("The run is over, and what it said is not kept any more.", true);
  }

  async stop() {
    if (this.#over) return;
    try {
      const { stopped } = await this.#stream.stop();
      tell("Stop:", stopped ? "the server has ended the run." : "it had ended already.");
    } catch (error) {
      tell("Stop failed:", /** @type {Error} */ (error).message, "over");
    }
  }

  cut() {
    if (this.#over) return;
    const at = `after event ${this.#position}`;
    if (this.#wire.cut()) tell("Killed the connection", `of this page, ${at}.`, "lost");
    else tell("Nothing to kill:", "another window holds the connection.");
  }

  async #kill() {
    if (!this.id) return;
    try {
      const { process } = await post(this.#page.kill.replace("/0/", `/${this.id}/`), {});
      tell(`Killed process ${process}`, "with SIGKILL: it ran the answer.", "lost");
    } catch (error) {
      tell("The worker lives:", /** @type {Error} */ (error).message, "over");
    }
  }

  /** @param {string} text @param {boolean} again */
  #conclude(text, again) {
    this.#part("answer").setAttribute("aria-busy", "false");
    this.#part("live").hidden = true;
    this.#part("over").hidden = !again;
    this.#say(text);
  }

  get #position() {
    return numberOf(this.#stream?.lastEventId ?? "");
  }

  /** @param {string} text */
  #say(text) {
    this.#part("verdict").textContent = text;
  }

  /** @param {string} name @returns {HTMLElement} */
  #part(name) {
    return /** @type {HTMLElement} */ (this.item.querySelector(`[data-${name}]`));
  }

  /** @param {string} name @param {() => void} press */
  #button(name, press) {
    this.#part(name).addEventListener("click", press);
  }
}

/** Which event of its run an id is; 0 before the first. @param {string} id */
function numberOf(id) {
  return Number(/^[^-]+-(\d+)-/.exec(id)?.[1] ?? 0);
}
