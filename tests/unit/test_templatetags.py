"""The script element of the JavaScript client, with plain and with hashed static file names."""

from __future__ import annotations

import importlib.util
import re

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
from django.template import Context, Template, TemplateSyntaxError

from django_sse.templatetags.django_sse import PARTS
from tests import ROOT

SOURCES = ROOT / "django_sse" / "static" / "django_sse"


class AggregatingStorage(ManifestStaticFilesStorage):
    """Rewrites what looks like a module path in any script, in comments too."""

    support_js_module_import_aggregation = True


def render(source: str, **context: object) -> str:
    return Template("{% load django_sse %}" + source).render(Context(context))


def scripts(*sources: str, nonce: str = "") -> str:
    return "\n".join(f'<script type="module" src="{each}"{nonce}></script>' for each in sources)


def client(base: str, nonce: str = "") -> str:
    names = ("event-stream.js", "event-stream-page.js")
    return scripts(*(f"{base}django_sse/{name}" for name in names), nonce=nonce)


def test_the_client_is_loaded_as_a_module_from_the_static_url(settings) -> None:
    settings.STATIC_URL = "/assets/"
    assert render("{% event_stream_client %}") == client("/assets/")


def test_the_connection_that_tabs_share_is_loaded_on_demand_after_the_rest(settings) -> None:
    settings.STATIC_URL = "/s/"
    shared = scripts("/s/django_sse/event-stream-shared.js")
    assert render("{% event_stream_client shared=True %}") == f"{client('/s/')}\n{shared}"


def test_the_url_alone_is_for_pages_that_import_the_client(settings) -> None:
    settings.STATIC_URL = "https://cdn.example/s/"
    url = "https://cdn.example/s/django_sse/event-stream.js"
    assert render("{% event_stream_client_url %}") == url
    assert render("{% event_stream_client_url as url %}[{{ url }}]") == f"[{url}]"


@pytest.mark.parametrize("part", ["page", "shared"])
def test_each_part_has_a_url(settings, part: str) -> None:
    settings.STATIC_URL = "/s/"
    url = f"/s/django_sse/event-stream-{part}.js"
    assert render("{% event_stream_client_url part %}", part=part) == url


def test_a_part_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(TemplateSyntaxError, match="'tabs': use one of connection, page, shared"):
        render('{% event_stream_client_url "tabs" %}')


def test_the_tags_work_without_the_staticfiles_app(settings) -> None:
    settings.STATIC_URL = "/s/"
    settings.INSTALLED_APPS = ["django.contrib.contenttypes", "django_sse"]
    assert render("{% event_stream_client %}") == client("/s/")


def test_a_url_is_escaped_in_html(settings) -> None:
    settings.STATIC_URL = '/s&t"/'
    assert render("{% event_stream_client %}") == client("/s&amp;t&quot;/")
    source = "/s&amp;t&quot;/django_sse/event-stream.js"
    assert render("{% event_stream_client_url %}") == source


def test_a_nonce_becomes_an_escaped_attribute(settings) -> None:
    settings.STATIC_URL = "/s/"
    expected = client("/s/", ' nonce="a&quot;b"')
    assert render("{% event_stream_client nonce=nonce %}", nonce='a"b') == expected
    assert render("{% event_stream_client nonce %}", nonce='a"b') == expected


@pytest.mark.parametrize("context", [{}, {"nonce": None}, {"nonce": ""}])
def test_without_a_nonce_there_is_no_attribute(context) -> None:
    assert "nonce" not in render("{% event_stream_client nonce=nonce %}", **context)


@pytest.mark.skipif(
    importlib.util.find_spec("django.utils.csp") is None, reason="needs Django 6.0's CSP nonce"
)
def test_the_lazy_nonce_of_django_is_generated_and_stays_the_same() -> None:
    from django.utils.csp import LazyNonce

    nonce = LazyNonce()
    found = re.search(r' nonce="([^"]+)"', render("{% event_stream_client nonce %}", nonce=nonce))
    assert found is not None
    assert found[1] == str(nonce)


@pytest.mark.parametrize("storage", [ManifestStaticFilesStorage, AggregatingStorage])
def test_a_hashed_name_is_used_and_its_file_is_the_source(settings, tmp_path, storage) -> None:
    settings.STATIC_URL = "/s/"
    settings.STATIC_ROOT = tmp_path
    backend = f"{storage.__module__}.{storage.__qualname__}"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
    call_command("collectstatic", interactive=False, verbosity=0)
    urls = [render(f"{{% event_stream_client_url '{part}' %}}") for part in PARTS]
    for url, name in zip(urls, PARTS.values(), strict=True):
        stem = name.removesuffix(".js")
        assert re.fullmatch(rf"/s/{stem}\.[0-9a-f]{{12}}\.js", url)
        source = SOURCES / name.removeprefix("django_sse/")
        assert (tmp_path / url.removeprefix("/s/")).read_bytes() == source.read_bytes()
    assert render("{% event_stream_client shared=True %}") == scripts(*urls)
