/**
 * Asks with the AI SDK, and once the connection is cut resumes with `resumeStream`; prints a JSON object a line:
 *
 *   {"kind": "request", "method", "path", "status"}   each request, when its headers are there
 *   {"kind": "text", "text"}                           a delta, as it came
 *   {"kind": "cut", "name"}                            the chat's error; resuming follows
 *   {"kind": "answer", ...}                            as in sdk.mjs, when the resumed stream is at its end
 *   {"kind": "again", "messages"}                      the number of messages after one more `resumeStream`
 *
 * node resume-chat.mjs same|reload URL PROMPT
 *
 * same: the chat that was cut goes on; reload: a new one, which has of the answer nothing, as a page after a reload.
 */
import { Chat, userMessage } from "./chat.mjs";

const print = (kind, fields) => process.stdout.write(`${JSON.stringify({ kind, ...fields })}\n`);
const [how, url, prompt] = process.argv.slice(2);
const cookies = new Map();

/** fetch with a memory for cookies, as a browser's. */
async function fetchWithCookies(input, init) {
  const cookie = [...cookies].map((pair) => pair.join("=")).join("; ");
  const response = await fetch(input, { ...init, headers: { ...init.headers, ...(cookie && { cookie }) } });
  for (const each of response.headers.getSetCookie()) {
    const [name, value] = each.split(";", 1)[0].split("=");
    cookies.set(name, value);
  }
  print("request", { method: init.method, path: new URL(input).pathname, status: response.status });
  return response;
}

const options = { url, id: "resumed", fetch: fetchWithCookies, onText: (text) => print("text", { text }) };
let chat = new Chat(options);
await chat.sendMessage(userMessage(prompt));
print("cut", { name: chat.error?.name ?? null });
if (how === "reload") chat = new Chat({ ...options, messages: [userMessage(prompt)] });
await chat.resumeStream();
if (chat.error) throw chat.error;
print("answer", chat.answer());
await chat.resumeStream();
if (chat.error) throw chat.error;
print("again", { messages: chat.messages.length });
