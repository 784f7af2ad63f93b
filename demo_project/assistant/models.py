"""The conversation: what was asked, and what was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from django.db import models
from django.utils import timezone

from django_sse import apublish
from django_sse.dialects import Finish, Value
from django_sse.exceptions import StreamError
from django_sse.models import OWNER_LENGTH

# Earlier questions that an upstream is told, with their answers.
MEMORY = 10


def channel_of(owner: str) -> str:
    """The channel that tells all windows of ``owner`` what is asked, and what was answered."""
    return f"assistant:{owner}"


class Exchange(models.Model):
    """A question and its answer.

    While an answer is being given it is in its run alone, at ``location``. Its text comes here when
    the run ends, from the generator itself. A process that is killed writes nothing more: the
    exchange stays open, and its run has what was said until then, and the end.
    """

    class State(models.TextChoices):
        OPEN = "open"
        WHOLE = "whole"
        INCOMPLETE = "incomplete"

    owner = models.CharField(max_length=OWNER_LENGTH, db_index=True)
    question = models.TextField()
    answer = models.TextField(blank=True)
    problem = models.TextField(blank=True, help_text="Why the answer is incomplete.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    location = models.CharField(max_length=200, blank=True, help_text="The path of its run.")
    process = models.PositiveIntegerField(help_text="The process that runs the generator.")
    created = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.question[:40]} ({self.state})"

    def as_data(self) -> dict[str, object]:
        """The data of its events."""
        names = ("id", "question", "answer", "problem", "state", "location", "process")
        return {name: getattr(self, name) for name in names}

    async def messages(self) -> list[dict[str, str]]:
        """The question, after what was said before it, in OpenAI's form."""
        past = Exchange.objects.filter(
            owner=self.owner, state=Exchange.State.WHOLE, pk__lt=self.pk
        ).order_by("-pk")[:MEMORY]
        messages = [{"role": "user", "content": self.question}]
        async for each in past:
            messages[:0] = [
                {"role": "user", "content": each.question},
                {"role": "assistant", "content": each.answer},
            ]
        return messages

    async def begun(self, location: str, key: str) -> None:
        """Keep the address of its run, empty where there is none, and tell all windows.

        By ``key`` the one that asked knows its own question.
        """
        rows = Exchange.objects.filter(pk=self.pk)
        await rows.aupdate(location=location)
        if (now := await rows.afirst()) is not None:
            data = now.as_data() | {"key": key}
            await apublish(channel_of(self.owner), data, event="asked")

    async def ended(self, answer: str, problem: str) -> None:
        """Keep what was said, and tell the windows that cannot follow the run."""
        self.answer, self.problem = answer, problem
        self.state = Exchange.State.INCOMPLETE if problem else Exchange.State.WHOLE
        fields = {"answer": answer, "problem": problem, "state": self.state}
        # Not save(): the conversation may have been forgotten meanwhile.
        if await Exchange.objects.filter(pk=self.pk).aupdate(**fields):
            await apublish(channel_of(self.owner), self.as_data(), event="answered")


class Recording:
    """The question, kept when its answer begins, and the answer, when it ends, however that is."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._texts: list[str] = []

    async def __aenter__(self) -> Self:
        # Only now: no row is left where a run was refused, or where an old one goes on.
        await self._exchange.asave()
        return self

    def text(self, value: Value) -> str:
        """What ``value`` says; empty for what is no text.

        Raises ``StreamError`` where it says that the model has not come to its end.
        """
        if isinstance(value, Finish) and value.reason != "stop":
            raise StreamError(f"The model did not come to its end: {value.reason}.")
        text = value if isinstance(value, str) else ""
        self._texts.append(text)
        return text

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._exchange.ended("".join(self._texts), reason_of(error))


def reason_of(error: BaseException | None) -> str:
    """Why an answer that ended with ``error`` is incomplete; empty if it is not."""
    if error is None:
        return ""
    if isinstance(error, StreamError):
        return str(error)
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        # By the stop button, or with the server: the run's last event says which.
        return "The answer was stopped before its end."
    return "The answer failed."


def conversation_of(owner: str) -> Iterable[Exchange]:
    """All that ``owner`` asked, oldest first."""
    return Exchange.objects.filter(owner=owner).order_by("pk")
