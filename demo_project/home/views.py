"""The front page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .catalogue import DEMOS


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The demos, each with the view code behind it."""
    return render(request, "home/home.html", {"demos": DEMOS})
