/** The AI SDK's chat, as its hooks for React and Vue use it, with a state that nothing renders. */
import { AbstractChat, DefaultChatTransport, isToolUIPart, getToolName } from "ai";

class State {
  status = "ready";
  error = undefined;
  messages;

  constructor(messages) {
    this.messages = messages;
  }

  pushMessage = (message) => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, structuredClone(message)); };
  snapshot = structuredClone;
}

/** The SDK's own transport; ``onText`` gets each delta before the chat puts it into its message. */
class Transport extends DefaultChatTransport {
  constructor({ onChunk, ...options }) {
    super(options);
    this.onChunk = onChunk;
  }

  processResponseStream(stream) {
    const { onChunk } = this;
    const tap = new TransformStream({
      transform(chunk, controller) {
        onChunk(chunk);
        controller.enqueue(chunk);
      },
    });
    return super.processResponseStream(stream).pipeThrough(tap);
  }
}

export const userMessage = (text) => ({ id: "question", role: "user", parts: [{ type: "text", text }] });

export class Chat extends AbstractChat {
  /** `messages`: what a page that was reloaded has from its own database. */
  constructor({ url, id, fetch = globalThis.fetch, messages = [], onText = () => {} }) {
    const chunks = [];
    const onChunk = (chunk) => {
      chunks.push(chunk);
      if (chunk.type === "text-delta") onText(chunk.delta);
    };
    super({ id, transport: new Transport({ api: url, fetch, onChunk }), state: new State(messages) });
    this.chunks = chunks;
  }

  /** The newest message in the words of `sdk.mjs`. */
  answer() {
    const { parts, metadata } = this.lastMessage;
    const whole = parts.filter(({ type }) => type === "text").map(({ text }) => text).join("");
    const tools = parts.filter(isToolUIPart).map((part) => (
      { id: part.toolCallId, name: getToolName(part), arguments: part.input }
    ));
    const finish = this.chunks.findLast(({ type }) => type === "finish");
    const usage = metadata?.usage && { input: metadata.usage.inputTokens, output: metadata.usage.outputTokens };
    return { text: whole, tools, usage: usage ?? null, reason: finish?.finishReason ?? null };
  }
}
