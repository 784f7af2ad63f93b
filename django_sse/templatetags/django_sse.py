"""Template tags that load the JavaScript client into a page: `{% load django_sse %}`.

A page's script gets the client's classes in one of two ways. Both work with hashed static file
names and with a Content-Security-Policy without `unsafe-inline`:

- `{% event_stream_client %}` before the page's own `<script type="module" src=...>`. Modules run in
  document order, so that script finds `window.django_sse.EventStream`, and with `shared=True` also
  `window.django_sse.SharedEventStream`.
- `{% event_stream_client_url %}` in an attribute such as `data-event-stream-client`, whose value
  the page's script passes to a dynamic `import()`; then, in this order, the URLs of `"page"` and
  `"shared"`.
"""

from __future__ import annotations

from typing import Final

from django import template
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# In the order in which a page must run them: each part uses the parts before it.
PARTS: Final = {
    "connection": "django_sse/event-stream.js",
    "page": "django_sse/event-stream-page.js",
    "shared": "django_sse/event-stream-shared.js",
}

register = template.Library()


@register.simple_tag
def event_stream_client_url(part: str = "connection") -> str:
    """Return the URL of a part of the JavaScript client, an ES module.

    "connection" exports `EventStreamConnection`, on which the others are built; "page" exports
    `EventStream`, which has what a page needs besides (`for await`, runs that are remembered, a
    watchdog); "shared" exports `SharedEventStream`.

    Raises `TemplateSyntaxError` on another part, `ValueError` where the static files storage has a
    manifest that does not name the client: run `collectstatic`.
    """
    if part not in PARTS:
        known = ", ".join(PARTS)
        raise template.TemplateSyntaxError(
            f"The JavaScript client has no part {part!r}: use one of {known}."
        )
    return static(PARTS[part])


@register.simple_tag
def event_stream_client(nonce: object = None, *, shared: bool = False) -> SafeString:
    """Return the script elements that load the JavaScript client.

    `nonce` is for a Content-Security-Policy that requires one; with Django 6.0's own policy, use
    `{% event_stream_client nonce=csp_nonce %}`. If it is empty or None, the elements have no nonce.
    `shared=True` adds `SharedEventStream`, which shares one connection among all tabs.

    Raises `ValueError` like `event_stream_client_url`.
    """
    # Django's lazy nonce is false until its text is read, so test the text.
    text = "" if nonce is None else str(nonce)
    attribute = format_html(' nonce="{}"', text) if text else ""
    parts = [part for part in PARTS if shared or part != "shared"]
    return format_html_join(
        "\n",
        '<script type="module" src="{}"{}></script>',
        ((static(PARTS[part]), attribute) for part in parts),
    )
