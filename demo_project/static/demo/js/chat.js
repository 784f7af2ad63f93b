import { Connection, element } from "./connection.js";
import { complain, post } from "./http.js";

const { EventStream } = globalThis.django_sse;
const page = element("[data-chat]");
const log = element("[data-log]");
const scroller = element("[data-scroller]");
const people = element("[data-people]");
const notice = element("[data-notice]");
const cut = element("[data-cut]");
const restore = element("[data-restore]");

let { username, cursor } = page.dataset;
let connectedBefore = false;
let lostAt = 0;
let replayed = 0;
let returnedAt = 0;
/** The server's clock minus ours, in milliseconds: no event arrives before it was made, so the largest difference seen. */
let clockAhead = -Infinity;

const connection = new Connection(() => new EventStream(page.dataset.events, { lastEventId: cursor }), {
  "stream-open": () => {},
  "stream-reset": () => reload(),
  userconnect: (event) => arrive(parsed(event)),
  userdisconnect: (event) => depart(parsed(event)),
  usermessage: (event) => hear(parsed(event)),
  open: () => returned(),
  error: () => lost(),
});

cut.addEventListener("click", () => {
  cursor = connection.stream.lastEventId || cursor;
  connection.close();
  lost();
  tell("cut", "The connection is cut. What is said now comes when you restore it.");
  swap(restore, cut);
});
restore.addEventListener("click", () => {
  connection.open();
  swap(cut, restore);
});

element("[data-composer]").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const field = submit.target.elements.text;
  const problem = element("[data-problem]");
  try {
    // The message is shown when the stream brings it, as to everybody else.
    await post(page.dataset.messages, { text: field.value });
    field.value = "";
    complain(problem);
    if (connection.stream.readyState !== 1) tell("cut", "Sent. You will see it when the connection is back.");
  } catch (error) {
    complain(problem, error.message);
  }
});

element("[data-rename-form]").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const field = submit.target.elements.username;
  const problem = element("[data-rename-problem]");
  try {
    username = field.value = (await post(page.dataset.rename, { username: field.value })).username;
    complain(problem);
    reconnect();
  } catch (error) {
    complain(problem, error.message);
  }
});

/** Leave under the old name and come back under the new one, from where the stream was. */
function reconnect() {
  markMe();
  if (connection.stream.readyState === 2) return;
  cursor = connection.stream.lastEventId || cursor;
  connection.close();
  connection.open();
}

function lost() {
  lostAt ||= Date.now();
}

function returned() {
  returnedAt = lostAt && connectedBefore ? Date.now() : 0;
  connectedBefore = true;
  if (returnedAt) tell("back", "Connected again.");
  lostAt = replayed = 0;
}

/** An event's data; what is not one of ours was published by hand: `manage.py sse_publish`. */
function parsed({ data }) {
  let fields = { text: data };
  try {
    fields = Object(JSON.parse(data));
  } catch {
    // Plain text is a message, too.
  }
  const time = Number.isNaN(Date.parse(fields.time)) ? new Date().toISOString() : fields.time;
  return { ...fields, username: fields.username ?? "terminal", text: fields.text ?? data, time };
}

/** Whether an event was made before this connection: then the log replayed it. */
function isReplayed(time) {
  clockAhead = Math.max(clockAhead, time - Date.now());
  return returnedAt > 0 && time < returnedAt + clockAhead;
}

function hear({ id, username: from, time, text }) {
  const again = isReplayed(Date.parse(time));
  // What was said between the cursor and the history stands in both.
  if (id && log.querySelector(`[data-id="${CSS.escape(id)}"]`)) return;
  const item = document.createElement("li");
  item.className = "message";
  item.dataset.id = id ?? "";
  item.dataset.username = from;
  const meta = paragraph("meta", "");
  const name = document.createElement("b");
  name.textContent = from;
  meta.append(name, " ", clockTime(time));
  if (again) meta.append(" ", badge());
  item.classList.toggle("mine", from === username);
  item.classList.toggle("replayed", again);
  item.append(meta, paragraph("text", text));
  append(item);
  if (again) tell("back", `Connected again. Replayed from the log: ${plural(++replayed, "message")}.`);
}

function arrive({ username: name, time }) {
  isReplayed(Date.parse(time));
  depart({ username: name }, true);
  const item = document.createElement("li");
  item.dataset.username = item.textContent = name;
  people.append(item);
  append(event(`${name} joined`));
  markMe();
}

function depart({ username: name }, silent = false) {
  [...people.children].find((item) => item.dataset.username === name)?.remove();
  if (!silent) append(event(`${name} left`));
}

/** The log could not honour our position: the page itself says what counts now. */
async function reload() {
  let fresh;
  try {
    const response = await fetch(location.href);
    if (!response.ok) throw new Error(`The server answered ${response.status}`);
    fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    // From the same cursor, the next connection is told the same.
    connection.close();
    restore.hidden = false; // the focus stays with who is writing
    cut.hidden = true;
    return tell("cut", "The log no longer knew your position, and the room could not be loaded anew. Restore to try again.");
  }
  for (const selector of ["[data-log]", "[data-people]"]) {
    element(selector).replaceChildren(...fresh.querySelector(selector).children);
  }
  markMe();
  tell("cut", "The log no longer knew your position, so the room was loaded anew.");
}

function append(item) {
  keepingTheEnd(() => log.append(item));
  element("[data-empty]").hidden = true;
}

/** Who reads the newest lines stays there; who reads older ones is not torn away. */
function keepingTheEnd(change) {
  const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
  change();
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

function markMe() {
  for (const item of people.children) item.classList.toggle("me", item.dataset.username === username);
  for (const item of log.children) item.classList.toggle("mine", item.dataset.username === username);
}

function tell(kind, text) {
  keepingTheEnd(() => {
    notice.dataset.kind = kind;
    notice.textContent = text;
    notice.hidden = false;
  });
}

function event(text) {
  const item = document.createElement("li");
  item.className = "event";
  item.textContent = text;
  return item;
}

function paragraph(className, text) {
  const node = document.createElement("p");
  node.className = className;
  node.textContent = text;
  return node;
}

function badge() {
  const node = document.createElement("span");
  node.className = "badge";
  node.textContent = "replayed";
  return node;
}

function clockTime(iso) {
  const node = document.createElement("time");
  const date = new Date(iso);
  node.dateTime = date.toISOString();
  node.textContent = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return node;
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function swap(shown, hidden) {
  shown.hidden = false;
  hidden.hidden = true;
  shown.focus();
}

for (const time of log.querySelectorAll("time")) time.replaceWith(clockTime(time.dateTime));
scroller.scrollTop = scroller.scrollHeight;
markMe();
connection.open();
