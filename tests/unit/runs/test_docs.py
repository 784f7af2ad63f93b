"""What `docs/runs.md` begins with works as it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import AsyncClient
from django.urls import include, path

from django_sse.dialects import Finish, Start, Usage, get_dialect
from django_sse.testing import aread
from django_sse.wire import Event
from tests import ROOT
from tests.frames import serving

PAGE = ROOT / "docs" / "runs.md"


def shown(name: str, **given: Any) -> dict[str, Any]:
    """What the page's first block of that file defines, with the names that a project has."""
    found = re.search(rf"```python\n# {name}\b.*?\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    names = {"__name__": name, **given}
    exec(found[1], names)
    return names


def answered() -> list[Event]:
    """An upstream's answer, with more in it than text."""
    encoder = get_dialect("openai-chat").encoder()
    values = (Start(model="m"), "It is ", "raining.", Finish("stop"), Usage(3, 2))
    return [*(event for value in values for event in encoder.encode(value)), *encoder.done()]


class Routes:
    urlpatterns: list[Any]


@pytest.fixture
def upstream(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The site of the page, and the upstream that it asks."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(answered(), {}) as url:
        views = shown("views.py", URL=url, KEY={}, question=lambda prompt: {"prompt": prompt})
        urls = shown("urls.py", views=SimpleNamespace(**views), path=path, include=include)
        monkeypatch.setattr(Routes, "urlpatterns", urls["urlpatterns"], raising=False)
        settings.ROOT_URLCONF = Routes
        settings.MIDDLEWARE = shown("settings.py")["MIDDLEWARE"]
        yield url


@pytest.mark.usefixtures("live", "upstream")
async def test_the_first_example_answers_and_is_found_again() -> None:
    client = AsyncClient()
    question = json.dumps({"prompt": "The weather?"})
    response = await client.post("/answers/", question, content_type="application/json")
    assert response.status_code == 200
    said = [event.data for event in await aread(response)]
    assert said == ["It is ", "raining.", "[DONE]"]
    again = await client.get(response["Location"])
    assert [event.data for event in await aread(again)] == said
