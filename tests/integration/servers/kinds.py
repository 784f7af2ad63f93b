"""The servers that one suite runs over."""

from __future__ import annotations

import pytest

from tests import FULL
from tests.servers import ASGI_KINDS, IN_DJANGO, WSGI_KINDS

HANDOFF = (*ASGI_KINDS, "runserver-daphne")
# The handoff differs by server; Django's own way is the same for all, so a sample of them will do.
_IN_DJANGO = HANDOFF if FULL else ("uvicorn", "runserver-daphne")
WITHOUT_HANDOFF = tuple(f"{kind}{IN_DJANGO}" for kind in _IN_DJANGO)
ASGI = (*HANDOFF, *WITHOUT_HANDOFF)
WSGI = WSGI_KINDS


def on(*kinds: str) -> pytest.MarkDecorator:
    """Runs the test once for each kind; the servers live as long as the module's tests."""
    return pytest.mark.parametrize("server", kinds, indirect=True, scope="module")


every_kind = on(*ASGI, *WSGI)
asgi = on(*ASGI)
wsgi = on(*WSGI)
handoff = on(*HANDOFF)
without_handoff = on(*WITHOUT_HANDOFF)
