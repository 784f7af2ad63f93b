"""Answers without a model: a few sentences about event streams, picked by the prompt's words."""

from __future__ import annotations

import re

_SENTENCES = {
    ("reconnect", "cut", "network", "lost", "lose", "miss", "offline", "wifi"): (
        "When the connection breaks, the browser comes back by itself and brings the id of the "
        "last event it saw. The server replays what came after it from its log, and goes on live."
    ),
    ("sse", "event", "events", "eventsource", "server-sent", "stream", "streams", "streaming"): (
        "An event stream is one long HTTP response of type text/event-stream. Each event is a few "
        "lines of text that end with a blank one, so proxies, cookies and curl all work with it."
    ),
    ("websocket", "websockets", "socket", "sockets"): (
        "A WebSocket talks both ways at any moment, which a game needs. Where the server talks "
        "and the client mostly listens, an event stream is simpler: plain HTTP, and reconnecting "
        "is part of the standard."
    ),
    ("django", "view", "views", "python", "decorator", "generator"): (
        "In Django it takes a decorator: put @event_stream on a view that yields, and each value "
        "reaches the browser at the moment you yield it."
    ),
    ("token", "tokens", "chunk", "chunks", "chatgpt", "openai", "llm", "ai", "model"): (
        "Models answer token by token. Each token travels as one event with a small JSON chunk, "
        "and data: [DONE] says that the answer is complete."
    ),
    ("emoji", "unicode", "utf-8", "language", "languages", "café", "naïve"): (
        "Text is UTF-8 throughout: naïve café, Grüße, 日本語, 🦦. A character may be cut in two "
        "between packets and still arrives whole."
    ),
    ("reload", "survive", "run", "runs", "resumable", "answer", "answers"): (
        "An answer that costs half a minute is a run: its generator belongs to the process and not "
        "to the request. Reload the page, join from a second window, come back from a tunnel: what "
        "was said is in the log, and the rest follows."
    ),
    ("stop", "kill", "crash", "worker", "workers", "process", "processes"): (
        "A stop reaches the generator in whatever process it runs. When a process dies its lease "
        "runs out, and another one ends the answer as interrupted, so that nobody waits for ever."
    ),
}
_FALLBACK = (
    "I am only a stand-in with eight answers, so I cannot say much about that. Ask me about "
    "reconnecting, event streams, WebSockets, Django, tokens, Unicode, reloads or crashes; or "
    "for everything."
)


def compose(prompt: str) -> str:
    """An answer to ``prompt``, short unless it asks for everything; the same prompt gets the same
    answer."""
    words = set(re.findall(r"[\w-]+", prompt.lower()))
    if "everything" in words:
        return " ".join(_SENTENCES.values())
    fitting = [text for keys, text in _SENTENCES.items() if words.intersection(keys)]
    return " ".join(fitting[:3] or [_FALLBACK])


def tokens(text: str) -> list[str]:
    """``text`` in pieces of the size a model speaks in; joined, they are ``text`` again."""
    return re.findall(r"\s*\S{1,6}", text)
