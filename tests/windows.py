"""A pytest plugin, `-p tests.windows`: the process has nothing that Python has on POSIX alone.

It comes before the package is imported. What the standard library has already taken
for itself it keeps: the tests of the package are what must do without.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

NAMES = {
    os: (
        *("fork", "forkpty", "register_at_fork", "setsid", "killpg", "getpgid", "setpgid"),
        # Not sched_getaffinity: from Python 3.13 on, os itself uses it.
        *("uname", "sysconf"),
    ),
    signal: (
        *("SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGKILL", "SIGPIPE"),
        *("pthread_kill", "pthread_sigmask", "setitimer", "siginterrupt", "sigwait", "alarm"),
    ),
    socket: ("TCP_USER_TIMEOUT", "SO_REUSEPORT"),
}
MODULES = ("fcntl", "resource", "syslog", "termios", "uvloop")

assert not any(name.partition(".")[0] == "django_sse" for name in sys.modules)
for module, names in NAMES.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in MODULES:
    # An import of it fails.
    sys.modules[name] = None  # type: ignore[assignment]
# What is left is AbstractEventLoop's, which raises NotImplementedError.
for name in ("add_signal_handler", "remove_signal_handler"):
    if name in vars(asyncio.SelectorEventLoop):
        delattr(asyncio.SelectorEventLoop, name)
