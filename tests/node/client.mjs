/**
 * Reads an event stream with a client library from npm and prints what it saw, one JSON object a line:
 *
 *   {"kind": "open", "readyState"}
 *   {"kind": "event", "type", "data", "lastEventId", "readyState"}
 *   {"kind": "error", "code", "message", "readyState"}     code: the HTTP status, where the library tells it
 *   {"kind": "end", "reason", "readyState"}                always the last line
 *
 * node client.mjs eventsource|event-source-polyfill|fetch-event-source URL [options]
 *   --types a,b      event types to listen for, besides "message"
 *   --count N        close after N events                              reason "count"
 *   --close-on TYPE  close after the first event of that type          reason "close-on"
 *   --until DATA     close after the first event with that data        reason "until"
 *   --cookie TEXT    the Cookie header of each request
 *   --timeout MS     give up (exit status 1); default 30000            reason "timeout"
 * Without one of these it ends when the library stops for good         reason "closed"
 * SIGTERM closes it                                                    reason "signal"
 *
 * `error` events with a data of their own are the server's (`event: error`): they are printed as events.
 *
 * event-source-polyfill 1.0.31 over fetch takes a 204 for a lost connection (it reads the body that a 204 has not
 * before it looks at the status) and comes back for ever: stop it with --close-on. So does fetch-event-source, which
 * on the other hand takes the end of any body for the end of the stream.
 */
import { parseArgs } from "node:util";

const LIBRARIES = {
  async eventsource(url, headers) {
    const { EventSource } = await import("eventsource");
    const withHeaders = (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } });
    return new EventSource(url, { fetch: withHeaders });
  },
  async "event-source-polyfill"(url, headers) {
    const { default: { EventSourcePolyfill } } = await import("event-source-polyfill");
    return new EventSourcePolyfill(url, { headers });
  },
  async "fetch-event-source"(url, headers) {
    const { FetchEventSource } = await import("./fetch-event-source.mjs");
    return new FetchEventSource(url, { headers });
  },
};
const CLOSED = 2;

function fail(message) {
  console.error(message);
  process.exit(2);
}

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      types: { type: "string", default: "" },
      count: { type: "string", default: "Infinity" },
      "close-on": { type: "string" },
      until: { type: "string" },
      cookie: { type: "string" },
      timeout: { type: "string", default: "30000" },
    },
  });
  const [library, url] = positionals;
  if (positionals.length !== 2 || !(library in LIBRARIES)) {
    fail(`usage: node client.mjs ${Object.keys(LIBRARIES).join("|")} URL [options]`);
  }
  const [count, timeout] = [Number(values.count), Number(values.timeout)];
  if (!(count > 0 && timeout > 0)) fail("--count and --timeout take positive numbers");
  const closeOn = values["close-on"];
  const types = new Set(["message", ...values.types.split(","), closeOn ?? ""]);
  types.delete("");
  const headers = values.cookie === undefined ? {} : { Cookie: values.cookie };
  return { library, url, types, closeOn, until: values.until, headers, count, timeout };
}

function print(kind, fields, source) {
  process.stdout.write(`${JSON.stringify({ kind, ...fields, readyState: source.readyState })}\n`);
}

const options = readArguments();
const source = await LIBRARIES[options.library](options.url, options.headers);
let count = 0;
let ended = false;

function end(reason) {
  if (ended) return;
  ended = true;
  clearTimeout(timer);
  source.close();
  print("end", { reason }, source);
  process.exitCode = reason === "timeout" ? 1 : 0;
  process.off("SIGTERM", terminate);
}

const terminate = () => end("signal");
process.on("SIGTERM", terminate);
const timer = setTimeout(end, options.timeout, "timeout");

function receive({ type, data, lastEventId }) {
  if (ended) return;
  print("event", { type, data, lastEventId }, source);
  count += 1;
  if (type === options.closeOn) end("close-on");
  else if (data === options.until) end("until");
  else if (count >= options.count) end("count");
}

function complain(event) {
  if (ended) return;
  if (event.data !== undefined) return receive(event);
  const { code, status, message, error } = event;
  print("error", { code: code ?? status, message: message ?? error?.message }, source);
  // A library may say that it failed before it says that it is closed.
  setImmediate(() => { if (source.readyState === CLOSED) end("closed"); });
}

options.types.delete("error");
for (const type of options.types) source.addEventListener(type, receive);
source.addEventListener("open", () => print("open", {}, source));
source.addEventListener("error", complain);
