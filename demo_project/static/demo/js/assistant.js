import { Connection, element } from "./connection.js";
import { complain } from "./http.js";

const { EventStream } = globalThis.django_sse;
const { answers } = element("[data-assistant]").dataset;
const form = element("[data-ask]");
const answer = element("[data-answer]");
const verdict = element("[data-verdict]");
const problem = element("[data-problem]");
const send = element("[data-send]");
const stop = element("[data-stop]");

const connection = new Connection(ask, {
  message: (event) => {
    if (event.data === "[DONE]") return finish("The answer is complete: the upstream sent [DONE].");
    read(event.data);
  },
  error: (event) => {
    fail(event instanceof MessageEvent ? reason(event.data) : "");
  },
});

form.addEventListener("submit", (submit) => {
  submit.preventDefault();
  answer.textContent = "";
  complain(problem);
  busy(true);
  verdict.textContent = "Waiting for the first token.";
  connection.open();
});
stop.addEventListener("click", () => {
  connection.close();
  finish("Stopped: the server has closed its connection to the upstream.");
});

function ask() {
  // An answer is not asked for twice: it may cost money.
  return new EventStream(answers, { body: Object.fromEntries(new FormData(form)), done: "[DONE]", reconnect: false });
}

function read(data) {
  const chunk = JSON.parse(data);
  if (chunk.error) return fail(chunk.error.message);
  answer.append(chunk.choices?.[0]?.delta?.content ?? "");
  verdict.textContent = "The answer is on its way.";
}

function reason(data) {
  try {
    return JSON.parse(data).error;
  } catch {
    return data;
  }
}

function fail(message) {
  connection.close();
  complain(problem, message || "The connection was lost before the answer was complete.");
  finish(answer.textContent ? "The answer is not complete." : "There is no answer.");
}

function finish(text) {
  verdict.textContent = text;
  busy(false);
}

function busy(yes) {
  answer.setAttribute("aria-busy", String(yes));
  send.disabled = yes;
  stop.disabled = !yes;
}
