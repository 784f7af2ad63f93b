"""What is wrong with a request, told as JSON to whoever sent it."""

from __future__ import annotations

import json

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render


class BadInput(Exception):
    """The client sent something unusable; the message says what and how to put it right."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def wants_html(request: HttpRequest) -> bool:
    """Whether a person reads the answer: a browser that follows a link asks for HTML by name."""
    return "text/html" in request.headers.get("Accept", "")


def error_response(request: HttpRequest, message: str, status: int) -> HttpResponse:
    """The error as a page for a person, as ``{"error": message}`` for a script."""
    if wants_html(request):
        return render(request, "error.html", {"message": message, "status": status}, status=status)
    return JsonResponse({"error": message}, status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's hook for a POST without a valid CSRF token (``CSRF_FAILURE_VIEW``)."""
    message = (
        f"CSRF check failed ({reason.rstrip('.')}). Send the value of the csrftoken cookie in the "
        "X-CSRFToken header; the cookie comes with any page of the demo."
    )
    return error_response(request, message, 403)


def submitted(request: HttpRequest) -> dict[str, object]:
    """The fields of a POST, whether it came as a form or as a JSON object.

    Raises ``BadInput`` when the body is too large, is not JSON though it claims to be, or is JSON
    but not an object.
    """
    try:
        if request.content_type != "application/json":
            return dict(request.POST.items())
        fields = json.loads(request.body)
    except RequestDataTooBig:
        raise BadInput("The body is too large.", status=413) from None
    except (ValueError, RecursionError):
        raise BadInput("The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise BadInput('The JSON body must be an object, such as {"text": "Hello"}.')
    return fields


def text_field(fields: dict[str, object], name: str, max_length: int) -> str:
    """The text in ``fields[name]``, without the blanks around it, 1 to ``max_length`` characters.

    Raises ``BadInput`` for a field that is missing, not text, empty, too long, or that holds what
    no database and no event stream carries: NUL and lone surrogates.
    """
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadInput(f'"{name}" is missing or not text.')
    text = value.strip()
    if not text:
        raise BadInput(f'"{name}" is empty.')
    if len(text) > max_length:
        raise BadInput(f'"{name}" has {len(text)} characters; the limit is {max_length}.')
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadInput(f'"{name}" holds NUL or half of a surrogate pair; send plain Unicode text.')
    return text
