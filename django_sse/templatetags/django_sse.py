"""The template tags that bring the JavaScript client into a page: `{% load django_sse %}`.

A page script gets the client's classes in one of two ways, both fit for hashed static file names
and for a Content-Security-Policy without `unsafe-inline`:

- `{% event_stream_client %}` before a `<script type="module" src=...>` of the page's own: modules
  run in document order, so that script finds `window.django_sse.EventStream`; with `shared=True`
  `window.django_sse.SharedEventStream`, too.
- `{% event_stream_client_url %}` in an attribute, say `data-event-stream-client`, which a page
  script hands to a dynamic `import()`; then, in this order, those of `"page"` and `"shared"`.
"""

from __future__ import annotations

from typing import Final

from django import template
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# In the order in which a page has to run them: each takes what it needs from those before it.
PARTS: Final = {
    "connection": "django_sse/event-stream.js",
    "page": "django_sse/event-stream-page.js",
    "shared": "django_sse/event-stream-shared.js",
}

register = template.Library()


@register.simple_tag
def event_stream_client_url(part: str = "connection") -> str:
    """The address of a part of the JavaScript client, an ES module.

    "connection" exports the `EventStream` that all else is built on; "page" makes of it that of a
    page (`for await`, runs that are remembered, the watchdog); "shared" adds `SharedEventStream`.

    Raises `TemplateSyntaxError` on another part, `ValueError` where the static files storage has a
    manifest that does not name the client: run `collectstatic`.
    """
    if part not in PARTS:
        known = ", ".join(PARTS)
        raise template.TemplateSyntaxError(f"The client has no part {part!r}, but {known}.")
    return static(PARTS[part])


@register.simple_tag
def event_stream_client(nonce: object = None, *, shared: bool = False) -> SafeString:
    """The script elements that load the JavaScript client.

    `nonce` is for a Content-Security-Policy that asks scripts for one; with Django 6.0's own:
    `{% event_stream_client nonce=csp_nonce %}`. Empty or None: no such attribute. `shared=True`:
    with `SharedEventStream`, one connection for all tabs.

    Raises `ValueError` like `event_stream_client_url`.
    """
    # Django's lazy nonce is false until its text is asked for, hence the text decides.
    text = "" if nonce is None else str(nonce)
    attribute = format_html(' nonce="{}"', text) if text else ""
    parts = [part for part in PARTS if shared or part != "shared"]
    return format_html_join(
        "\n",
        '<script type="module" src="{}"{}></script>',
        ((static(PARTS[part]), attribute) for part in parts),
    )
