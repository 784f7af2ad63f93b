"""A dump of a channel, and the restore that removes all later events from the log."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from django.core import serializers
from django.db import transaction

from django_sse.log import EventLog
from django_sse.log.memory import MemoryLog
from django_sse.log.orm import channel_hash
from django_sse.models import Channel, StoredEvent


class Copy:
    """The rows of one channel at the moment when the copy is made."""

    def __init__(self, log: EventLog, channel: str) -> None:
        self._log = log
        self._channel = channel
        self._rows: Any = self._take()

    def _take(self) -> Any:
        if isinstance(self._log, MemoryLog):
            return deepcopy(self._log._channels[self._channel])
        channel = Channel.objects.get(name_hash=channel_hash(self._channel))
        events = StoredEvent.objects.filter(channel=channel)
        # As text, so that what a dump would not have is not here either.
        return channel.pk, serializers.serialize("json", [channel, *events])

    def restore(self) -> None:
        """Replace the channel's present rows by the copied ones."""
        if isinstance(self._log, MemoryLog):
            found = deepcopy(self._rows)
            self._log._channels[self._channel] = self._log._keys[found.key] = found
            return
        key, rows = self._rows
        with transaction.atomic():
            StoredEvent.objects.filter(channel_id=key).delete()
            for row in serializers.deserialize("json", rows):
                row.save()
