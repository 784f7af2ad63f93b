"""The demo under a WSGI server: a thread for each open stream."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")

# Serves the static files too: no front server, and no DEBUG, which shows its tracebacks to anybody.
application = StaticFilesHandler(get_wsgi_application())
