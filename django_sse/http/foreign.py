"""Requests that a page of another site makes with its visitor's cookies.

Browsers say in each request which page asked for it and what for: Fetch Metadata Request Headers
(W3C), https://w3c.github.io/webappsec-fetch-metadata/. A page cannot change these headers. Old
browsers, pages without TLS, and programs send none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.http import HttpResponse, HttpResponseForbidden
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.http import is_same_domain

if TYPE_CHECKING:
    from django.http import HttpRequest

# RFC 9110, 9.2.1: what Django's CSRF protection lets pass.
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_OWN_SITES = ("same-origin", "none")
# A browser adds these by itself, to whatever page's request. Any other scheme is a script's, and a
# script needs the permission of CORS to send it to another origin.
_BROWSERS_SCHEMES = ("basic", "digest", "negotiate", "ntlm")


def unreadable(request: HttpRequest) -> HttpResponse | None:
    """Refuse a stream that nobody would read: a prefetch, or the source of an image or a script."""
    if _word(request, "Sec-Purpose") == "prefetch" or _word(request, "Purpose") == "prefetch":
        return _forbidden("An event stream is not sent to a prefetch.")
    if _word(request, "Sec-Fetch-Mode") == "no-cors":
        return _forbidden(
            "An event stream is not sent to an image, a script or another element that cannot read "
            "it (Sec-Fetch-Mode: no-cors). Use EventSource or fetch."
        )
    return None


def foreign_start(request: HttpRequest) -> HttpResponse | None:
    """Refuse to start a run for a page of another site, which could do so as its visitor.

    A site of the same domain is another site, too, as it is for Django's CSRF protection. A view
    with ``csrf_exempt`` takes any request with a method that this protection would check.
    """
    if request.method not in _SAFE_METHODS and _is_csrf_exempt(request):
        return None
    return unreadable(request) or foreign(request)


def foreign(request: HttpRequest) -> HttpResponse | None:
    """Refuse what a page of another site asks for with what the browser adds by itself."""
    site = _word(request, "Sec-Fetch-Site")
    if not site or site in _OWN_SITES:
        return None
    # Not if it has cookies as well: the script may add any text, for the cookies to be looked at.
    is_scripts = has_scripts_authorization(request) and not request.COOKIES
    if is_scripts or _is_trusted(request.headers.get("Origin")):
        return None
    return _forbidden(
        "A page of another site must not start or stop an answer. To allow it, add the origin of "
        "the page to CSRF_TRUSTED_ORIGINS. The page must then use EventSource or fetch, not a link."
    )


def has_scripts_authorization(request: HttpRequest) -> bool:
    """Whether the request has an ``Authorization`` that no browser adds by itself."""
    scheme, _, credentials = request.headers.get("Authorization", "").strip().partition(" ")
    return bool(credentials) and scheme.lower() not in _BROWSERS_SCHEMES


def _is_trusted(origin: str | None) -> bool:
    """Whether ``CSRF_TRUSTED_ORIGINS`` has ``origin``."""
    if not origin:
        return False
    django = _csrf()
    try:
        parsed = urlsplit(origin)
    except ValueError:
        return False
    patterns = django.allowed_origin_subdomains.get(parsed.scheme, ())
    return origin in django.allowed_origins_exact or any(
        is_same_domain(parsed.netloc, pattern) for pattern in patterns
    )


def csrf_failure(request: HttpRequest) -> HttpResponse | None:
    """Return Django's answer to a request without the CSRF token that it needs, or None.

    For a view with ``csrf_exempt`` that decides by itself whether a request needs one. It must run
    in a thread, because it may read the session (``CSRF_USE_SESSIONS``).
    """
    django = _csrf()
    django.process_request(request)
    return django.process_view(request, _no_view, (), {})


def _csrf() -> CsrfViewMiddleware:
    return CsrfViewMiddleware(_no_view)


def _no_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _is_csrf_exempt(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and getattr(match.func, "csrf_exempt", False)


def _word(request: HttpRequest, header: str) -> str:
    """Return the value of a structured header (RFC 9651) without its parameters."""
    return request.headers.get(header, "").partition(";")[0].strip().lower()


def _forbidden(text: str) -> HttpResponse:
    return HttpResponseForbidden(
        text,
        content_type="text/plain; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )
