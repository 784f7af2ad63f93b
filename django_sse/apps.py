"""The app's registration with Django."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DjangoSSEConfig(AppConfig):
    """Loads the system checks and watches for the server's end; starts nothing."""

    name = "django_sse"
    verbose_name = _("Event streams")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_sse import checks  # noqa: F401 - registers the checks
        from django_sse.process import stopping

        stopping.watch()
