import assert from "node:assert/strict";
import { test } from "node:test";

import { EventStreamParser } from "./helpers.mjs";

const encode = (text) => new TextEncoder().encode(text);

function parse(...chunks) {
  const parser = new EventStreamParser();
  const events = chunks.flatMap((chunk) => parser.feed(typeof chunk === "string" ? encode(chunk) : chunk));
  return { events, retry: parser.retry, lastEventId: parser.lastEventId };
}

const datas = (...chunks) => parse(...chunks).events.map((event) => event.data);

/** Each rule of the algorithm once: BOM, three line ends, comments, text beyond ASCII, ids, an unfinished end. */
const SAMPLE = encode(
  "\uFEFFid: 1\nevent: größe\r\ndata: a\rdata:  b\r\n\r\n" +
    ":\nretry: 250\rdata\rdata\r\r" +
    "id: n\0l\ndata:日本 🎉: x\n\n" +
    "id\ndata: reset\n\n" +
    "id: 7\nevent: dropped\n\n" +
    "data: last\r\nfoo: bar\r\n\r\n" +
    "data: unfinished\n",
);
const SAMPLE_EVENTS = [
  { type: "größe", data: "a\n b", lastEventId: "1" },
  { type: "message", data: "\n", lastEventId: "1" },
  { type: "message", data: "日本 🎉: x", lastEventId: "1" },
  { type: "message", data: "reset", lastEventId: "" },
  { type: "message", data: "last", lastEventId: "7" },
];
const SAMPLE_RESULT = { events: SAMPLE_EVENTS, retry: 250, lastEventId: "7" };

test("a stream in one piece yields its events", () => {
  assert.deepEqual(parse(SAMPLE), SAMPLE_RESULT);
});

test("every pair of cut positions yields the same events", () => {
  for (let first = 0; first <= SAMPLE.length; first++) {
    for (let second = first; second <= SAMPLE.length; second++) {
      const chunks = [SAMPLE.subarray(0, first), SAMPLE.subarray(first, second), SAMPLE.subarray(second)];
      assert.deepEqual(parse(...chunks), SAMPLE_RESULT, `cut at ${first} and ${second}`);
    }
  }
});

test("single bytes yield the same events", () => {
  assert.deepEqual(parse(...Array.from(SAMPLE, (byte) => Uint8Array.of(byte))), SAMPLE_RESULT);
});

/** The standard's steps over the whole input at once, without a thought for cuts or cost. */
function reference(bytes) {
  const events = [];
  let [type, data, id, lastEventId, retry] = ["", "", "", "", undefined];
  const lines = new TextDecoder().decode(bytes).split(/\r\n|\r|\n/);
  for (const line of lines.slice(0, -1)) {
    const [, name, value] = /^([^:]*)(?:: ?)?([^]*)$/.exec(line);
    if (line === "") {
      lastEventId = id;
      if (data !== "") events.push({ type: type || "message", data: data.replace(/\n$/, ""), lastEventId });
      [type, data] = ["", ""];
    } else if (name === "data") data += `${value}\n`;
    else if (name === "event") type = value;
    else if (name === "id" && !/\0/.test(value)) id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) retry = Math.min(Number(value), 2 ** 31 - 1);
  }
  return { events, retry, lastEventId };
}

/** The same numbers in every run (a linear congruential generator), so that a failure comes again. */
function* randomNumbers(state) {
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

test("arbitrary bytes in arbitrary cuts agree with a naive reading of the standard", () => {
  const numbers = randomNumbers(20261121);
  const below = (limit) => Math.floor(numbers.next().value * limit);
  const pieces = ["data", "event", "id", "retry", ":", ": ", " ", "\n", "\r", "\r\n", "\n\n", "\0", "7", "x", "\uFEFF", "é"]
    .map((piece) => [...encode(piece)])
    .concat([[0xff], [0xe2, 0x82], [0xf0, 0x9f]]);
  for (let round = 0; round < 3000; round++) {
    const bytes = Uint8Array.from(Array.from({ length: below(40) }, () => pieces[below(pieces.length)]).flat());
    const chunks = [];
    for (let start = 0; start < bytes.length; ) {
      const end = start + 1 + below(6);
      chunks.push(bytes.subarray(start, end));
      start = end;
    }
    assert.deepEqual(parse(...chunks), reference(bytes), JSON.stringify([...bytes]));
  }
});

test("an event is out as soon as its blank line's CR is, before a LF can follow", () => {
  const parser = new EventStreamParser();
  assert.deepEqual(parser.feed(encode("data: x\r\r")).map((event) => event.data), ["x"]);
  assert.deepEqual(parser.feed(encode("\ndata: y\n\n")).map((event) => event.data), ["y"]);
});

test("only one BOM, and only at the start, is dropped", () => {
  assert.deepEqual(datas("\uFEFFdata: a\n\n\uFEFFdata: b\n\n"), ["a"]);
  assert.deepEqual(datas("\uFEFF\uFEFFdata: a\n\n"), []);
});

test("bytes that are not UTF-8 become replacement characters", () => {
  assert.deepEqual(datas(encode("data: "), Uint8Array.of(0xff, 0xe2), Uint8Array.of(0x82), encode("!\n\n")), ["\uFFFD\uFFFD!"]);
});

test("an empty data field is an event with an empty string only beside another", () => {
  assert.deepEqual(datas("data\n\n"), [""]);
  assert.deepEqual(datas("event: x\n\n"), []);
});

test("a retry that is not all ASCII digits is ignored, an absurd one is what a timer can take", () => {
  for (const bad of ["", "-1", "1.5", "1e3", "٣", "1 "]) assert.equal(parse(`retry: ${bad}\n`).retry, undefined, bad);
  assert.equal(parse("retry: 0\n").retry, 0);
  assert.equal(parse(`retry: ${"9".repeat(400)}\n`).retry, 2 ** 31 - 1);
});

test("an id counts once its block has ended", () => {
  assert.equal(parse("id: 1\n").lastEventId, "");
  assert.equal(parse("id: 1\n\n").lastEventId, "1");
});

test("the position of the connection before is kept until the server sends another", () => {
  const parser = new EventStreamParser("5");
  assert.deepEqual(parser.feed(encode("data: x\n\n")), [{ type: "message", data: "x", lastEventId: "5" }]);
});

// Searching the unfinished line again at every chunk would read 128 GiB here: minutes, not a second.
test("a long line in many chunks takes time linear in its length", { timeout: 30_000 }, () => {
  const parser = new EventStreamParser();
  const chunk = encode("x".repeat(1024));
  parser.feed(encode("data: "));
  for (let count = 0; count < 16 * 1024; count++) assert.deepEqual(parser.feed(chunk), []);
  const [event] = parser.feed(encode("\n\n"));
  assert.equal(event.data.length, 16 * 1024 * 1024);
});
