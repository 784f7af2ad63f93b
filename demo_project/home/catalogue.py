"""What the demo shows, each with the code behind it, read from the source itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.urls import reverse

from ..assistant import views as assistant
from ..chat import views as chat
from ..clock import views as clock
from ..interval import views as interval
from ..progress import views as progress
from .highlight import Token, highlighted


@dataclass(frozen=True)
class Demo:
    """One page of the demo."""

    title: str
    summary: str
    page: str
    page_args: tuple[str, ...]
    views: tuple[Callable[..., Any], ...]

    @property
    def url(self) -> str:
        """Where the page is."""
        return reverse(self.page, args=self.page_args)

    @cached_property
    def code(self) -> list[Token]:
        """The source of ``views``, in tokens to colour."""
        return highlighted("\n".join(source_of(view) for view in self.views))


def source_of(view: Callable[..., Any]) -> str:
    """The text of ``view`` with its decorators, from the file it is in."""
    return inspect.getsource(inspect.unwrap(view))


DEMOS = (
    Demo(
        title="Chat",
        summary="Two windows, one room. Cut the connection, come back: nothing is missing.",
        page="chat:room",
        page_args=("lobby",),
        views=(chat.events, chat.messages),
    ),
    Demo(
        title="Assistant",
        summary="Answers that survive a reload, a cut, and the death of their process.",
        page="assistant:page",
        page_args=(),
        views=(assistant.answer,),
    ),
    Demo(
        title="Progress",
        summary="A long job whose bar survives a reload of the page.",
        page="progress:page",
        page_args=(),
        views=(progress.jobs, progress.events),
    ),
    Demo(
        title="Clock",
        summary="A generator that yields once a second, and a button that stops it.",
        page="clock:page",
        page_args=(),
        views=(clock.events,),
    ),
    Demo(
        title="Interval",
        summary="Five events with ids; then the view itself tells the browser to stop.",
        page="interval:page",
        page_args=(),
        views=(interval.events, interval.count),
    ),
)
