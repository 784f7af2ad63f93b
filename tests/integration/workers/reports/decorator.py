"""`task`: Django's own, which Django 5.2 does not have, or the backport's."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

task: Any = import_module("django.tasks" if find_spec("django.tasks") else "django_tasks").task
