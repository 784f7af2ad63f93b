"""The test project under wsgiref: in the main thread of a process that ends with an exception.

python -m tests.project.exiting_server HOST PORT
"""

from __future__ import annotations

import signal
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

EXIT_CODE = 7


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main(host: str, port: str) -> None:
    # Before Django is set up, as whoever writes a server of their own does it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_CODE))
    from tests.project.wsgi import application

    make_server(host, int(port), application, _Server).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
