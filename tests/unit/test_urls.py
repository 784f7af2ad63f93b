from __future__ import annotations

from uuid import UUID

import pytest
from django.urls import NoReverseMatch, resolve, reverse

from django_sse.urls import app_name
from django_sse.views import RunEventsView, RunStatusView, RunStopView

RUN = UUID("01234567-89ab-4cde-8f01-23456789abcd")
VIEWS = {
    "run-status": (f"/runs/{RUN}/", RunStatusView),
    "run-events": (f"/runs/{RUN}/events/", RunEventsView),
    "run-stop": (f"/runs/{RUN}/stop/", RunStopView),
}


@pytest.mark.parametrize("name", VIEWS)
def test_each_view_of_a_run_has_a_name_and_a_path(name: str) -> None:
    path, view = VIEWS[name]
    assert reverse(f"{app_name}:{name}", kwargs={"run_id": RUN}) == path
    found = resolve(path)
    assert found.func.view_class is view  # type: ignore[attr-defined]
    assert found.kwargs == {"run_id": RUN}


@pytest.mark.parametrize("run_id", ["1", "", "x" * 36, str(RUN).upper()])
def test_what_is_no_id_has_no_path(run_id: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(f"{app_name}:run-status", kwargs={"run_id": run_id})
