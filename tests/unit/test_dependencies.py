"""The package needs Django and asgiref, and what these ask for; everything else is an extra."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import ROOT

# Imports every module, then streams on plain Django.
CODE = """
import importlib, pkgutil, sys
from contextlib import closing
from wsgiref.util import setup_testing_defaults
sys.path.insert(0, sys.argv[1])

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[2]}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django_sse",
    ],
    ROOT_URLCONF="__main__",
    DJANGO_SSE={"STREAMS": {"HEARTBEAT": 0.1}},
)
django.setup()

import django_sse
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import path
from django_sse import event_stream, publish, subscribe

missing = {}
for module in pkgutil.walk_packages(django_sse.__path__, "django_sse."):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        missing[module.name] = str(error)
assert list(missing) == ["django_sse.notifiers.channel_layer"], missing
assert "django-event-streams[redis]" in missing.popitem()[1]

@event_stream
def room(request):
    return subscribe("room", since="earliest")

@event_stream
def count(request):
    yield "one"
    yield "two"

urlpatterns = [path("room/", room), path("count/", count)]
call_command("migrate", verbosity=0)
publish("room", "hello")
application = get_wsgi_application()

def answer(path):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    return application(environ, lambda status, headers: None)

assert b"data: two" in b"".join(answer("/count/"))
with closing(answer("/room/")) as chunks:
    body = b""
    while b"data: hello" not in body:
        body += next(iter(chunks))
print("streamed")
"""


def needed(requirements: Iterable[str]) -> set[str]:
    """The names of the distributions that these bring, with all that those ask for."""
    found: set[str] = set()
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            name = canonicalize_name(requirement.name)
            found |= {name} | needed(distribution(name).requires or ())
    return found


def test_it_streams_with_nothing_installed_but_django_and_what_django_needs(
    tmp_path: Path,
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = needed(project["dependencies"])
    assert {"django", "asgiref", "sqlparse"} <= names
    assert names <= {"django", "asgiref", "sqlparse", "tzdata", "typing-extensions"}

    site = tmp_path / "site"
    site.mkdir()
    (site / "django_sse").symlink_to(ROOT / "django_sse")
    for name in names:
        found = distribution(name)
        for part in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            (site / part).symlink_to(str(found.locate_file(part)))

    done = subprocess.run(
        # Isolated, and without the packages of this environment.
        [sys.executable, "-I", "-S", "-c", CODE, str(site), str(tmp_path / "db.sqlite3")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "streamed\n"


# The last version of each package, or of each series of Django, with a known vulnerability.
VULNERABLE = {
    "django": ("5.2.18", "6.0", "6.0.9", "6.1", "6.1.2"),
    "daphne": ("4.2.1",),
    "granian": ("2.7.3",),
    "h11": ("0.14.0",),
    "h2": ("4.2.0",),
    "pymysql": ("1.1.0",),
    "twisted": ("25.5.0",),
}
SOUND = {"django": ("5.2.19", "6.0.10", "6.1.3")}


def requirements() -> Iterator[Requirement]:
    """All that the project asks for, with every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for listed in (project["dependencies"], *project["optional-dependencies"].values()):
        yield from map(Requirement, listed)


def test_no_version_with_a_known_vulnerability_is_accepted() -> None:
    found = set()
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        found.add(name)
        for version in VULNERABLE.get(name, ()):
            assert version not in requirement.specifier, f"{requirement} accepts {version}"
        for version in SOUND.get(name, ()):
            assert version in requirement.specifier
    assert found >= VULNERABLE.keys()
