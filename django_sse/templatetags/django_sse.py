"""The template tags that bring the JavaScript client into a page: `{% load django_sse %}`.

A page script gets the client's class in one of two ways, both fit for hashed static file names and
for a Content-Security-Policy without `unsafe-inline`:

- `{% event_stream_client %}` before a `<script type="module" src=...>` of the page's own: modules
  run in document order, so that script finds the class at `window.django_sse.EventStream`.
- `{% event_stream_client_url %}` in an attribute, say `data-event-stream-client`, which a page
  script hands to a dynamic `import()`.
"""

from __future__ import annotations

from typing import Final

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

CLIENT: Final = "django_sse/event-stream.js"

register = template.Library()


@register.simple_tag
def event_stream_client_url() -> str:
    """The address of the JavaScript client, an ES module that exports `EventStream`.

    Raises `ValueError` where the static files storage has a manifest that does not name the
    client: run `collectstatic`.
    """
    return static(CLIENT)


@register.simple_tag
def event_stream_client(nonce: object = None) -> SafeString:
    """The script element that loads the JavaScript client.

    `nonce` is for a Content-Security-Policy that asks scripts for one; with Django 6.0's own:
    `{% event_stream_client nonce=csp_nonce %}`. Empty or None: no such attribute.

    Raises `ValueError` like `event_stream_client_url`.
    """
    # Django's lazy nonce is false until its text is asked for, hence the text decides.
    text = "" if nonce is None else str(nonce)
    attribute = format_html(' nonce="{}"', text) if text else ""
    return format_html('<script type="module" src="{}"{}></script>', static(CLIENT), attribute)
