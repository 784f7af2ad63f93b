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
window.ready = true;
