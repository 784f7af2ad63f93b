"""The response, and the decorator that makes one of a generator or a subscription."""

from django_sse.http.decorator import event_stream
from django_sse.http.headers import last_event_id
from django_sse.http.response import EventStreamResponse
from django_sse.streams.ends import TERMINAL_ID

__all__ = ["TERMINAL_ID", "EventStreamResponse", "event_stream", "last_event_id"]
