// better-sse on Node's own HTTP server: sessions registered on channels, as its guide shows it.
import { createServer } from "node:http";
import { createChannel, createSession } from "better-sse";

const TOKEN_BYTES = 40;
const channels = new Map();
let waiting = [];

function channel(number) {
  if (!channels.has(number)) channels.set(number, createChannel());
  return channels.get(number);
}

function makeData(seq, size) {
  const mark = `#${seq}@${process.hrtime.bigint()};`;
  return { event: mark, pad: "x".repeat(size - mark.length - '{"event":"","pad":""}'.length) };
}

function publish(asked) {
  const first = Number(asked.get("seq"));
  const count = Number(asked.get("n"));
  const all = Number(asked.get("channels"));
  const size = Number(asked.get("size"));
  for (let seq = first; seq < first + count; seq++) {
    channel(String(seq % all)).broadcast(makeData(seq, size));
  }
}

async function generate(session) {
  session.push(makeData(0, TOKEN_BYTES));
  const tokens = await new Promise((resolve) => waiting.push(resolve));
  for (let seq = 1; seq <= tokens; seq++) {
    await new Promise(setImmediate);
    session.push(makeData(seq, TOKEN_BYTES));
  }
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://127.0.0.1");
  if (url.pathname === "/stream") {
    const session = await createSession(request, response);
    channel(url.searchParams.get("channel") ?? "0").register(session);
  } else if (url.pathname === "/generate") {
    await generate(await createSession(request, response));
  } else {
    if (url.pathname === "/publish") publish(url.searchParams);
    if (url.pathname === "/go") {
      for (const resolve of waiting) resolve(Number(url.searchParams.get("tokens")));
      waiting = [];
    }
    response.setHeader("Content-Length", "0");
    response.end();
  }
});
// Node closes a connection that was quiet for 5 s; the publisher's must stay.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
