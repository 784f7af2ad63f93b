"""How many streams a process, and one owner in it, may have.

A stream is a descriptor. A process that has no descriptor left answers nobody, so by default the
limit is below what the system allows the process. Under WSGI a stream is a thread of the server as
well, and the same holds for the threads.
"""

from __future__ import annotations

from django_sse import conf
from django_sse.servers import signals

# Descriptors for all else: ordinary requests, databases, files. A quarter of all, because a browser
# keeps several connections open beside its stream, and at least so many.
_RESERVE = 64
# An idle stream costs 10 to 50 KiB, so these are a gigabyte at most. In containers a process often
# has a million descriptors.
_MOST = 20_000
# One owner's share is a quarter of what all share. A hundred tabs and devices are enough.
_SHARE = 4
_MOST_OF_OWNER = 100


def streams_per_process() -> int:
    """Return the number of streams that this process may have."""
    most = conf.current().LIMITS.STREAMS_PER_PROCESS
    return min(_below_descriptors(), _below_threads()) if most is None else most


def streams_per_owner() -> int:
    """Return the number of streams that one owner may have in this process."""
    most = conf.current().LIMITS.STREAMS_PER_OWNER
    return min(_MOST_OF_OWNER, share(streams_per_process())) if most is None else most


def share(most: int) -> int:
    """Return how many of ``most`` that all owners share one of them may have."""
    return -(-most // _SHARE)


def _below_descriptors() -> int:
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
    except ImportError:  # Windows
        return _MOST
    limit, _ = getrlimit(RLIMIT_NOFILE)
    if limit == RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, limit - max(_RESERVE, limit // 4)))


def _below_threads() -> int:
    threads = signals.current_server().threads
    return _MOST if threads is None else max(1, threads * 3 // 4)
