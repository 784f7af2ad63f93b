import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";

import { EventStream, EventStreamError, PATIENT, answer, closed, frames, hold, open, pretendStorage, record, serve } from "./helpers.mjs";

const END = "event: close\ndata: [DONE]\n\n";

async function collect(stream) {
  const seen = [];
  for await (const { type, data } of stream) seen.push([type, data]);
  return seen;
}

test("a loop gets every event in order and ends with the stream", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`event: stream-open\ndata: {}\n\ndata: a\n\nevent: tick\ndata: b\n\n${END}`));
  assert.deepEqual(await collect(open(t, url)), [["stream-open", "{}"], ["message", "a"], ["tick", "b"]]);
});

test("a loop goes on over a reconnect and ends at 204", PATIENT, async (t) => {
  const { url } = await serve(t, frames("retry: 1\nid: 1\ndata: a\n\n"), frames("data: b\n\n"), answer(204));
  assert.deepEqual(await collect(open(t, url)), [["message", "a"], ["message", "b"]]);
});

test("a loop gives out what came before the final error, then throws it", PATIENT, async (t) => {
  const { url } = await serve(t, frames("data: a\n\ndata: b\n\nevent: error\ndata: why\n\n"));
  const seen = [];
  const loop = async () => {
    for await (const { data } of open(t, url)) seen.push(data);
  };
  await assert.rejects(loop, (error) => error instanceof EventStreamError && error.code === "server" && error.data === "why");
  assert.deepEqual(seen, ["a", "b"]);
});

for (const [what, handler, options, code] of [
  ["a refusal", answer(404), {}, "status"],
  ["a page", answer(200, { "Content-Type": "text/html" }), {}, "content-type"],
  ["a truncated POST", frames("data: x\n\n"), { body: "x" }, "truncated"],
]) {
  test(`a loop throws on ${what}`, PATIENT, async (t) => {
    const { url } = await serve(t, handler);
    await assert.rejects(collect(open(t, url, options)), { name: "EventStreamError", code });
  });
}

test("a loop over a stream that has already failed throws its error", PATIENT, async (t) => {
  const { url } = await serve(t, answer(404));
  const stream = open(t, url);
  await once(stream, "error");
  await assert.rejects(collect(stream), { code: "status", status: 404 });
});

test("a loop over a stream that has already ended ends", PATIENT, async (t) => {
  const { url } = await serve(t, frames(END));
  const stream = open(t, url);
  await once(stream, "close");
  assert.deepEqual(await collect(stream), []);
});

async function breakOut(stream) {
  for await (const _ of stream) break;
}

async function throwOut(stream) {
  await assert.rejects(async () => { for await (const _ of stream) throw new Error("mine"); }, /mine/);
}

for (const [what, leave] of [["break", breakOut], ["a throw in the loop", throwOut]]) {
  test(`${what} closes the stream and its request`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, hold("data: x\n\ndata: y\n\n"));
    const stream = open(t, url);
    await leave(stream);
    assert.equal(stream.readyState, EventStream.CLOSED);
    await requests[0].gone;
  });
}

test("close() ends a loop that waits", PATIENT, async (t) => {
  const { url } = await serve(t, hold());
  const stream = open(t, url);
  const loop = collect(stream);
  await once(stream, "open");
  stream.close();
  assert.deepEqual(await loop, []);
});

test("close() ends a loop before what it had not yet given out", PATIENT, async (t) => {
  const { url } = await serve(t, hold("data: 1\n\ndata: 2\n\ndata: 3\n\n"));
  const stream = open(t, url);
  const seen = [];
  for await (const { data } of stream) {
    seen.push(data);
    stream.close();
  }
  assert.deepEqual(seen, ["1"]);
});

test("close() in a listener of the close event takes nothing from a loop", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`data: 1\n\ndata: 2\n\n${END}`));
  const stream = open(t, url);
  stream.addEventListener("close", () => stream.close());
  assert.deepEqual(await collect(stream), [["message", "1"], ["message", "2"]]);
});

test("two loops and a listener each get every event", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`data: 1\n\ndata: 2\n\n${END}`));
  const stream = open(t, url);
  const heard = [];
  stream.onmessage = ({ type, data }) => heard.push([type, data]);
  const both = [["message", "1"], ["message", "2"]];
  assert.deepEqual(await Promise.all([collect(stream), collect(stream)]), [both, both]);
  assert.deepEqual(heard, both);
});

test("lastEventId is the position that the slowest loop has reached, also when it is left", PATIENT, async (t) => {
  const { url } = await serve(t, hold("id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: c\n\nid: 4\n\n"));
  const stream = open(t, url);
  const positions = [];
  const quick = collect(stream);
  for await (const { data } of stream) {
    await setImmediate(); // the quick one has taken them all by now
    positions.push(stream.lastEventId);
    if (data === "b") break;
  }
  assert.equal((await quick).length, 3);
  assert.deepEqual([positions, stream.lastEventId], [["1", "2"], "2"]);
});

test("lastEventId is the position that was read once every loop has got all of it", PATIENT, async (t) => {
  const { url } = await serve(t, hold("id: 1\ndata: a\n\nid: 2\n\n"));
  const stream = open(t, url);
  for await (const _ of stream) {
    await setImmediate();
    break;
  }
  assert.equal(stream.lastEventId, "2"); // there was no event that it could have missed
});

test("a loop that is left after the end of the connection keeps the position that it has reached", PATIENT, async (t) => {
  const { url } = await serve(t, frames(`id: 1\ndata: a\n\nid: 2\ndata: b\n\n${END}`));
  const stream = open(t, url);
  const ended = once(stream, "close");
  for await (const _ of stream) {
    await ended;
    break;
  }
  assert.equal(stream.lastEventId, "1");
});

// A slow loop wakes all that wait when it takes what came meanwhile: if these then woke each other, no timer and no
// network would ever have its turn again.
test("loops that wait leave the event loop alone when a slow one catches up", PATIENT, async (t) => {
  let send;
  const { url } = await serve(t, (response) => {
    hold("data: 1\n\n")(response);
    send = (text) => response.write(text);
  });
  const stream = open(t, url);
  const slow = async () => {
    const seen = [];
    for await (const { type, data } of stream) {
      seen.push([type, data]);
      if (data === "2") setTimeout(1).then(() => send(END));
      if (data !== "1") continue;
      send("data: 2\n\n");
      await once(stream, "message");
      await setImmediate(); // now the others have taken it and wait again
    }
    return seen;
  };
  const both = [["message", "1"], ["message", "2"]];
  assert.deepEqual(await Promise.all([collect(stream), collect(stream), slow()]), [both, both, both]);
});

// 64 MiB do not fit into the sockets' buffers: a server that has written them all was read to the end.
test("a slow loop stops the reading, so the server is slowed and memory stays bounded; nothing is lost", PATIENT, async (t) => {
  const total = 4096;
  const frame = `data: ${"x".repeat(16 * 1024)}\n\n`;
  let written = 0;
  let paused;
  const full = new Promise((resolve) => (paused = resolve));
  const { url } = await serve(t, async (response) => {
    hold()(response);
    for (; written < total; written++) {
      if (!response.write(frame)) {
        const drained = once(response, "drain");
        if ((await Promise.race([drained, setTimeout(1000, "stalled")])) === "stalled") paused(written);
        await drained;
      }
    }
    paused(written);
    response.end(END);
  });
  const iterator = open(t, url)[Symbol.asyncIterator]();
  let received = 0;
  while (!(await iterator.next()).done) {
    received += 1;
    if (received === 1) assert.ok((await full) < total, "the server could write everything");
  }
  assert.equal(received, total);
});

const numbered = (from, count, text) => Array.from({ length: count }, (_, index) => `id: ${from + index}\ndata: ${text}\n\n`).join("");
const TEXT = "x".repeat(64 * 1024);

// A megabyte is the bound. A browser that went on buffering what the server sends would hold all of it.
test("a loop that is behind leaves the connection, and goes on after its position when it has caught up", PATIENT, async (t) => {
  const { url, requests } = await serve(t, hold(numbered(1, 80, TEXT)), frames(numbered(81, 2, "after") + END));
  const stream = open(t, url);
  const errors = record(stream, "error");
  const seen = [];
  for await (const { lastEventId } of stream) {
    if (seen.push(lastEventId) === 1) await requests[0].gone;
  }
  const position = Number(requests[1].headers["last-event-id"]);
  assert.ok(position >= 16 && position < 80, String(position));
  assert.deepEqual(seen.slice(0, position), Array.from({ length: position }, (_, index) => String(index + 1)));
  assert.deepEqual(seen.slice(position), ["81", "82"]);
  assert.deepEqual(errors.map((event) => [event.error.code, event.reconnectIn]), [["given-up", 0]]);
});

test("a loop that takes small events in turns stays on its connection", PATIENT, async (t) => {
  const { url, requests } = await serve(t, frames(numbered(1, 3000, "x") + END));
  let count = 0;
  for await (const _ of open(t, url)) {
    if ((count += 1) % 1000 === 0) await setImmediate();
  }
  assert.deepEqual([count, requests.length], [3000, 1]);
});

for (const [what, text, options] of [
  ["without ids", `data: ${TEXT}\n\n`.repeat(40), {}],
  ["whose last event has no id of its own", `id: 1\n${`data: ${TEXT}\n\n`.repeat(40)}`, {}],
  ["that may not be repeated", numbered(1, 40, TEXT), { reconnect: false }],
]) {
  test(`a stream ${what} is kept while a loop is behind, and only not read`, PATIENT, async (t) => {
    const { url, requests } = await serve(t, frames(text + END));
    let count = 0;
    for await (const _ of open(t, url, options)) {
      if ((count += 1) === 1) await setTimeout(300);
    }
    assert.deepEqual([count, requests.length], [40, 1]);
  });
}

test("a loop that is behind leaves alone what a newer stream has remembered", PATIENT, async (t) => {
  const memory = pretendStorage(t);
  const { url } = await serve(t, frames(`id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\n${END}`), hold("id: 9\ndata: z\n\n"));
  const options = { remember: "room", restores: true };
  const old = open(t, url, options);
  const loop = old[Symbol.asyncIterator]();
  await loop.next();
  await closed(old);
  await once(open(t, url, { ...options, lastEventId: "3" }), "message");
  const kept = memory.getItem("django_sse:room");
  assert.equal(JSON.parse(kept).id, "9");
  for (let done = false; !done; ({ done } = await loop.next())) assert.equal(memory.getItem("django_sse:room"), kept);
  assert.equal(memory.getItem("django_sse:room"), kept);
});
