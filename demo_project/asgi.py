"""The demo under an ASGI server: ``daphne demo_project.asgi:application``."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

from django_sse.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")

# Serves the static files too: no front server, and no DEBUG, which shows its tracebacks to anybody.
# (Its type says Django's own handler; it calls whatever application it is given.)
application = ASGIStaticFilesHandler(get_asgi_application())  # type: ignore[arg-type]
