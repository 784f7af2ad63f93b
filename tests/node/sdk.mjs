/**
 * Asks an endpoint for an answer with a vendor's SDK, once for each line of standard input, a JSON array of a URL
 * and a prompt. Prints what the SDK said, one JSON object a line:
 *
 *   {"kind": "text", "text"}                                a delta, as it came
 *   {"kind": "ids", "asked", "told"}                        AG-UI: the ids in the request and in the answer
 *   {"kind": "answer", "text", "tools", "usage", "reason"}  what the SDK holds for the whole answer;
 *                                                           tools: [{"id", "name", "arguments"}], the last an
 *                                                           object, or text where it is no JSON
 *   {"kind": "error", "name", "message"}                    what the SDK threw or handed to its error hook
 *   {"kind": "end", "hosts"}                                always last; every host connected to so far
 *
 * node sdk.mjs openai-chat|openai-responses|anthropic|ai-sdk|ag-ui
 *
 * The URL is what the SDK takes: the base URL of OpenAI and Anthropic, the address of the endpoint for the others.
 */
import { createInterface } from "node:readline";
import { watchHosts } from "./hosts.mjs";
import { userMessage, Chat } from "./chat.mjs";

const hosts = watchHosts();
const print = (kind, fields) => process.stdout.write(`${JSON.stringify({ kind, ...fields })}\n`);
const parsed = (json) => { try { return JSON.parse(json); } catch { return json; } };
const text = (delta) => print("text", { text: delta });
const called = (id, name, args) => ({ id, name, arguments: typeof args === "string" ? parsed(args) : args });
const usageOf = (usage, input, output) => usage && { input: usage[input], output: usage[output] };

async function openai(url) {
  const { default: OpenAI } = await import("openai");
  return new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
}

const SDKS = {
  async "openai-chat"(url, prompt) {
    const client = await openai(url);
    const stream = client.chat.completions.stream({
      model: "demo",
      messages: [{ role: "user", content: prompt }],
      stream_options: { include_usage: true },
    });
    stream.on("content", text);
    const { choices: [{ message, finish_reason: reason }], usage } = await stream.finalChatCompletion();
    const tools = (message.tool_calls ?? []).map(({ id, function: f }) => called(id, f.name, f.arguments));
    const counts = usageOf(usage, "prompt_tokens", "completion_tokens");
    return { text: message.content ?? "", tools, usage: counts, reason };
  },

  async "openai-responses"(url, prompt) {
    const client = await openai(url);
    const stream = client.responses.stream({ model: "demo", input: prompt });
    stream.on("response.output_text.delta", ({ delta }) => text(delta));
    const response = await stream.finalResponse();
    if (response.error) throw Object.assign(new Error(response.error.message), { name: "response.failed" });
    const tools = response.output
      .filter(({ type }) => type === "function_call")
      .map(({ call_id: id, name, arguments: args }) => called(id, name, args));
    const counts = usageOf(response.usage, "input_tokens", "output_tokens");
    return { text: response.output_text, tools, usage: counts, reason: response.status };
  },

  async anthropic(url, prompt) {
    const { default: Anthropic } = await import("@anthropic-ai/sdk");
    const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
    const messages = [{ role: "user", content: prompt }];
    const stream = client.messages.stream({ model: "demo", max_tokens: 1000, messages });
    stream.on("text", text);
    const { content, usage, stop_reason: reason } = await stream.finalMessage();
    const whole = content.filter(({ type }) => type === "text").map((block) => block.text).join("");
    const tools = content.filter(({ type }) => type === "tool_use").map(({ id, name, input }) => called(id, name, input));
    return { text: whole, tools, usage: usageOf(usage, "input_tokens", "output_tokens"), reason };
  },

  async "ai-sdk"(url, prompt) {
    const chat = new Chat({ url, id: "once", onText: text });
    await chat.sendMessage(userMessage(prompt));
    if (chat.error) throw chat.error;
    return chat.answer();
  },

  async "ag-ui"(url, prompt) {
    const { HttpAgent } = await import("@ag-ui/client");
    // When a connection breaks runAgent rejects, and so does the reader that it cancels, which nobody awaits.
    process.removeAllListeners("unhandledRejection").on("unhandledRejection", () => {});
    const agent = new HttpAgent({ url, initialMessages: [{ id: "1", role: "user", content: prompt }] });
    let failed = null;
    let reason = null;
    let usage = null;
    const asked = { threadId: agent.threadId, runId: "run-of-the-client" };
    const { newMessages } = await agent.runAgent({ runId: asked.runId }, {
      onRunStartedEvent: ({ event: { threadId, runId } }) => print("ids", { asked, told: { threadId, runId } }),
      onTextMessageContentEvent: ({ event }) => text(event.delta),
      onRunErrorEvent: ({ event }) => { failed = Object.assign(new Error(event.message), { name: "RUN_ERROR" }); },
      onRunFinishedEvent: ({ event, outcome }) => {
        reason = outcome;
        usage = usageOf(event.usage?.[0], "inputTokens", "outputTokens");
      },
    });
    if (failed) throw failed;
    const whole = newMessages.filter(({ role }) => role === "assistant").map(({ content }) => content ?? "").join("");
    const tools = newMessages.flatMap(({ toolCalls }) => toolCalls ?? [])
      .map(({ id, function: f }) => called(id, f.name, f.arguments));
    return { text: whole, tools, usage, reason };
  },
};

const [sdk] = process.argv.slice(2);
if (!(sdk in SDKS)) {
  console.error(`usage: node sdk.mjs ${Object.keys(SDKS).join("|")}`);
  process.exit(2);
}
for await (const line of createInterface({ input: process.stdin })) {
  const [url, prompt] = JSON.parse(line);
  try {
    print("answer", await SDKS[sdk](url, prompt));
  } catch (error) {
    print("error", { name: error.name, message: String(error.message) });
  }
  print("end", { hosts: hosts() });
}
process.exit();
