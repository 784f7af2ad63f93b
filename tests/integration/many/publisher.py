"""A publisher in a process of its own: `manage.py sse_publish`, again and again.

    python -m tests.integration.many.publisher CHANNEL NAME COUNT

In one process, because a Python that starts costs a thousand times as much as what it publishes.
Prints "ready", waits for a line, publishes `NAME 0` to `NAME <COUNT - 1>`, and then prints the ids
that the command has printed, a line each.
"""

from __future__ import annotations

import sys
from io import StringIO

import django
from django.core.management import call_command


def main(channel: str, name: str, count: str) -> None:
    django.setup()
    print("ready", flush=True)
    sys.stdin.readline()
    # Not to the pipe: whoever reads it is busy until the end, and a pipe holds 64 KiB.
    ids = StringIO()
    for number in range(int(count)):
        call_command("sse_publish", channel, f"{name} {number}", stdout=ids)
    sys.stdout.write(ids.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
