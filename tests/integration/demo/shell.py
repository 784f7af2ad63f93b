"""The demo's `manage.py`, in a process of its own, on a running server's database."""

from __future__ import annotations

import os
import subprocess
import sys

from tests import ROOT
from tests.servers import DEMO_SITE, Server


def manage(demo: Server, *arguments: str) -> None:
    """Run a management command. Raises `CalledProcessError` where it fails."""
    settings = {"DJANGO_SETTINGS_MODULE": DEMO_SITE.settings, "DEMO_DB": str(demo.database)}
    command = [sys.executable, "manage.py", *arguments]
    subprocess.run(command, cwd=ROOT, env=os.environ | settings, check=True)
