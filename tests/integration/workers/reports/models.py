"""Who may see a report, and who may go on with it."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from django_sse import Event, finish, publish


class Report(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    # The attempt that may publish, and when it last did; none has begun yet.
    attempt = models.UUIDField(null=True)
    seen = models.DateTimeField(null=True)
    ended = models.BooleanField(default=False)

    objects: ClassVar[models.Manager[Report]]

    def __str__(self) -> str:
        return self.channel

    @property
    def channel(self) -> str:
        return f"report-{self.pk}"

    def say(self, event: Any, by: uuid.UUID, **only_if: Any) -> bool:
        """Publish, unless the report has ended or `only_if` does not hold any more."""
        with transaction.atomic():
            row = Report.objects.filter(pk=self.pk, ended=False, **only_if)
            # The row is locked to the commit: no other attempt can begin in between.
            if not row.update(attempt=by, seen=timezone.now()):
                return False
            publish(self.channel, event)
            return True

    def end(self, state: str, event: Event | None = None, **only_if: Any) -> bool:
        """End the report and its stream, once. False when it had ended."""
        with transaction.atomic():
            row = Report.objects.filter(pk=self.pk, ended=False, **only_if)
            if not row.update(ended=True):
                return False
            finish(self.channel, state, event)
            return True
