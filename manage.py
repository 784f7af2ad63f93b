#!/usr/bin/env python
"""Django's command line for the demo site."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            "Django is not installed for this Python. Run `make demo`, or "
            "`pip install -e '.[demo]'` in a virtual environment, and use that one's python."
        ) from error
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
