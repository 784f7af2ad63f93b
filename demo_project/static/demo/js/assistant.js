import { Answer } from "./answer.js";
import { Frames, element } from "./connection.js";
import { tell } from "./deeds.js";
import { complain, post } from "./http.js";

const { SharedEventStream } = globalThis.django_sse;
const urls = element("[data-assistant]").dataset;
const list = element("[data-conversation]");
const scroller = element("[data-scroller]");
const form = element("[data-ask]");
const refusal = element("[data-refusal]");
const badge = element("[data-connection]");
/** @type {Answer[]} */
let answers = [];
const page = { kill: urls.kill, owner: urls.owner, frames: new Frames(), keepingTheEnd, ask, refused };

form.addEventListener("submit", (submit) => {
  submit.preventDefault();
  ask(form.elements.prompt.value);
  // The next question takes its place, or it is asked once more.
  form.elements.prompt.select();
});
element("[data-new]").addEventListener("click", async () => {
  await Promise.all(answers.map((answer) => answer.stop()));
  await post(urls.forget, {}).catch((error) => complain(refusal, error.message));
});

function ask(question) {
  complain(refusal);
  const answer = add({ id: "", question, answer: "", problem: "", state: "", location: "" });
  const fields = { ...Object.fromEntries(new FormData(form)), prompt: question };
  keepingTheEnd(() => answer.ask(urls.answers, fields), true);
}

/** A question that the server did not take is as if it was never asked. */
function refused(answer, message) {
  form.elements.prompt.value = answer.question;
  answers = answers.filter((each) => each !== answer);
  answer.item.remove();
  complain(refusal, message);
  showEmptiness();
}

function add(exchange) {
  const item = element("[data-unasked]").content.firstElementChild.cloneNode(true);
  const answer = new Answer(item, page);
  answers.push(answer);
  keepingTheEnd(() => {
    list.append(item);
    answer.take(exchange);
  }, true);
  showEmptiness();
  return answer;
}

function showEmptiness() {
  element("[data-empty]").hidden = answers.length > 0;
}

/** Who reads the newest lines stays there; who reads older ones is not torn away. */
function keepingTheEnd(change, always = false) {
  const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
  change();
  if (atEnd || always) scroller.scrollTop = scroller.scrollHeight;
}

/** Something was asked in one of the windows: in this one, then it is known by its key. */
function asked({ key, ...exchange }) {
  const known = find(exchange) ?? answers.find((answer) => answer.key === key);
  if (known) return known.take(exchange);
  tell("Heard of a question", "of another window.");
  add(exchange);
}

function find({ id }) {
  return answers.find((answer) => answer.id === String(id));
}

function forgotten() {
  answers = [];
  list.replaceChildren();
  showEmptiness();
}

/** The conversation of all windows, on one connection: what is asked, and what was answered. */
function listen() {
  const stream = new SharedEventStream(urls.events, { share: urls.owner, lastEventId: urls.cursor });
  const on = (type, act) => stream.addEventListener(type, (event) => act(JSON.parse(event.data)));
  on("asked", asked);
  on("answered", (exchange) => find(exchange)?.take(exchange));
  on("forgotten", forgotten);
  on("stream-reset", () => location.reload());
  stream.addEventListener("statechange", () => showState(stream.readyState));
  showState(stream.readyState);
}

function showState(readyState) {
  const name = ["connecting", "open", "closed"][readyState];
  badge.dataset.connection = element("[data-connection-text]").textContent = name;
}

answers = [...list.children].map((item) => new Answer(item, page));
for (const answer of answers) answer.show();
scroller.scrollTop = scroller.scrollHeight;
listen();
