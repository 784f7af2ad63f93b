/**
 * What a test asks of the page: `follow(stream)` notes all that the stream does in `seen`. `turns` counts how often
 * messages came, however many at once.
 */
window.follow = (stream) => {
  const seen = { stream, data: [], types: [], states: [stream.readyState], errors: [], ids: [], turns: 0 };
  let turn = false;
  stream.addEventListener("message", (event) => {
    seen.data.push(event.data);
    seen.ids.push(event.lastEventId);
    if (!turn) seen.turns += 1;
    turn = true;
    queueMicrotask(() => (turn = false));
  });
  for (const type of ["open", "message", "stream-open", "stream-reset", "close"]) {
    stream.addEventListener(type, () => seen.types.push(type));
  }
  stream.addEventListener("statechange", () => seen.states.push(stream.readyState));
  stream.addEventListener("error", ({ error, reconnectIn }) => {
    seen.types.push("error");
    seen.errors.push([error.code, reconnectIn]);
  });
  return (window.seen = seen);
};

/** Every fetch of this tab, also those before a reload: `[method, URL]`. */
window.asked = JSON.parse(sessionStorage.getItem("asked") ?? "[]");
const { fetch } = window;
window.fetch = (resource, init) => {
  asked.push([init?.method ?? "GET", new URL(resource, location).href]);
  return fetch(resource, init);
};
const storage = sessionStorage; // a test forbids it
addEventListener("pagehide", () => storage.setItem("asked", JSON.stringify(asked)));

/** What no handler has caught. */
window.uncaught = [];
addEventListener("error", ({ error, message }) => uncaught.push(String(error ?? message)));
addEventListener("unhandledrejection", ({ reason }) => uncaught.push(String(reason)));
window.ready = true;
