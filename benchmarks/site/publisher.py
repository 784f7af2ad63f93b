"""Another process that publishes: ``python -m benchmarks.site.publisher <first> <count> <rate>``.

So many events to the first channel, numbered from ``first`` on, ``rate`` a second; with rate 0 as
fast as possible, in transactions of 500.
"""

from __future__ import annotations

import sys
import time

import django

PER_TRANSACTION = 500


def paced(first: int, count: int, rate: float) -> None:
    from benchmarks.peers.control import channel_name, make_data
    from django_sse import publish

    # The connection and what is imported late: not what is measured.
    from django_sse.log import get_log

    get_log().heads([channel_name(0)])
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        publish(channel_name(0), make_data(first + number, 100))


def fill(first: int, count: int) -> None:
    from benchmarks.peers.control import channel_name, make_data
    from django_sse import publish_many

    for begin in range(first, first + count, PER_TRANSACTION):
        numbers = range(begin, min(begin + PER_TRANSACTION, first + count))
        publish_many((channel_name(0), make_data(number, 100)) for number in numbers)


def main() -> None:
    django.setup()
    first, count, rate = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    if rate:
        paced(first, count, rate)
    else:
        fill(first, count)


if __name__ == "__main__":
    main()
