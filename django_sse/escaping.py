"""Texts of clients, made safe for logs and terminals.

A path, a channel's name or the message of an exception may contain what a client sent. A line break
there forges a line of the log, an escape sequence controls the terminal that shows it, and a
bidirectional control reorders what one reads (Unicode Technical Report 36, section 2.10).
"""

from __future__ import annotations

import json
import logging
import re
import traceback

# C0, DEL and C1; the bidirectional controls and the line and paragraph separators; surrogates, with
# which a log in UTF-8 cannot be written; and tags, which no font shows.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def escaped(text: str, *, keep: str = "") -> str:
    """Return ``text`` with its unsafe characters as JSON escapes them, except those in ``keep``."""

    def escape(match: re.Match[str]) -> str:
        return match[0] if match[0] in keep else json.dumps(match[0])[1:-1]

    return _UNSAFE.sub(escape, text)


class EscapingFilter(logging.Filter):
    """Escapes each message of a logger as a whole, so that no call has to remember it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape the message, and the traceback if there is one."""
        try:
            message = record.getMessage()
        except Exception:
            # An exception of the project's whose text cannot be made: its handler reports that,
            # and the code that logs goes on.
            return True
        if _UNSAFE.search(message):
            record.msg, record.args = escaped(message), ()
        if record.exc_info and not record.exc_text:
            chunks = traceback.format_exception(*record.exc_info)
            safe = [_escaped_chunk(chunk) for chunk in chunks]
            # Formatters use exc_text if it is there. Where nothing is unsafe they make their own.
            if safe != chunks:
                record.exc_text = "".join(safe).rstrip("\n")
        return True


def _escaped_chunk(chunk: str) -> str:
    """Return a chunk of a traceback, which is a frame or the text of an exception.

    A text begins with the name of the exception's class. Frames and the parts of exception groups
    are indented, so that their lines cannot be taken for lines of the log.
    """
    if chunk[:1] in (" ", "\n"):
        return escaped(chunk, keep="\n\t")
    return escaped(chunk.removesuffix("\n"), keep="\t") + "\n"


def escape_log() -> None:
    """Escape what this library logs from now on."""
    logger = logging.getLogger("django_sse")
    if not any(isinstance(each, EscapingFilter) for each in logger.filters):
        logger.addFilter(EscapingFilter())
