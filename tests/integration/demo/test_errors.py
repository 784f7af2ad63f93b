"""What a POST carries, and what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client, RequestFactory

from demo_project.errors import BadInput, submitted, text_field


def json_request(body: str | bytes) -> Any:
    return RequestFactory().post("/", body, content_type="application/json")


def test_fields_come_from_a_form_or_from_json_alike() -> None:
    form = RequestFactory().post("/", {"text": "Grüße"})
    assert submitted(form) == submitted(json_request(json.dumps({"text": "Grüße"})))


@pytest.mark.parametrize("body", ["{", "nonsense", b"\xff\xfe", "[" * 100_000])
def test_what_is_not_json_is_named_so(body: str | bytes) -> None:
    with pytest.raises(BadInput, match="not valid JSON") as caught:
        submitted(json_request(body))
    assert caught.value.status == 400


@pytest.mark.parametrize("body", ["[]", '"text"', "1", "null"])
def test_json_that_is_no_object_is_refused(body: str) -> None:
    with pytest.raises(BadInput, match="must be an object"):
        submitted(json_request(body))


def test_a_body_over_the_limit_is_413(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    with pytest.raises(BadInput, match="too large") as caught:
        submitted(json_request('{"text": "far too long"}'))
    assert caught.value.status == 413


def test_text_is_stripped_and_may_fill_the_limit() -> None:
    assert text_field({"text": "  four "}, "text", 4) == "four"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, '"text" is missing or not text'),
        ({"text": None}, '"text" is missing or not text'),
        ({"text": 5}, '"text" is missing or not text'),
        ({"text": ""}, '"text" is empty'),
        ({"text": " \n\t "}, '"text" is empty'),
        ({"text": "abcde"}, "has 5 characters; the limit is 4"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "a\ud800"}, "surrogate"),
    ],
)
def test_text_that_cannot_be_taken_is_refused_with_the_reason(
    fields: dict[str, object], complaint: str
) -> None:
    with pytest.raises(BadInput, match=complaint):
        text_field(fields, "text", 4)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/chat/lobby/messages/", "/assistant/answers/", "/progress/jobs/"]
)
def test_a_post_without_a_csrf_token_is_refused_with_the_way_out(path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post(path, {"text": "hi"}, content_type="application/json")
    assert response.status_code == 403
    assert "X-CSRFToken" in response.json()["error"]
