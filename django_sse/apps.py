"""The app's registration with Django."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, register
from django.utils.translation import gettext_lazy as _


class DjangoSSEConfig(AppConfig):
    """The app's set-up: its checks, its logger's filter and a watch for the server's end.

    It starts nothing.
    """

    name = "django_sse"
    verbose_name = _("Event streams")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_sse.escaping import escape_log
        from django_sse.servers import signals

        escape_log()
        register(_check_settings, "django_sse")
        register(_check_reachable, "django_sse", deploy=True)
        signals.watch()


# The checks know every part of the library: they load when they run, which a server never does.


def _check_settings(**kwargs: Any) -> list[CheckMessage]:
    from django_sse.checks import check_settings

    return check_settings(**kwargs)


def _check_reachable(**kwargs: Any) -> list[CheckMessage]:
    from django_sse.checks import check_reachable

    return check_reachable(**kwargs)
