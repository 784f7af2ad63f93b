"""The models of the stand-in: one that answers, and one for each way an upstream can fail."""

from __future__ import annotations

BEHAVIOURS = {
    "answer": "answers",
    "status": "answers 500",
    "busy": "answers 429, with Retry-After",
    "error": "sends an error in the middle",
    "garbage": "sends garbage",
    "endless-line": "never ends a line",
    "hang-up": "hangs up in the middle",
}
