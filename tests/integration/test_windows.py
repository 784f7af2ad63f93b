"""Streams, log, hub and publishing work without what only POSIX has.

There is no Windows here: the tests of the core run in a process from which those names are removed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

from tests import ROOT
from tests.requirements import in_full

# Some of each room. Tests that fork or kill need POSIX themselves.
CORE = (
    "tests/unit/wire/test_event.py",
    "tests/unit/log/test_orm.py",
    "tests/unit/log/test_memory.py",
    "tests/unit/log/test_model.py",
    "tests/unit/process/test_background.py",
    "tests/unit/process/test_place.py",
    "tests/unit/process/test_stopping.py",
    "tests/unit/servers/test_contract.py",
    "tests/unit/streams/test_generator.py",
    "tests/unit/streams/test_pulse.py",
    "tests/unit/hub/test_several_channels.py",
    "tests/unit/hub/test_registry.py",
    "tests/unit/runs/test_task.py",
    "tests/unit/notifiers/test_payload.py",
    "tests/unit/handoff/test_deliveries.py",
    "tests/unit/http/test_decorator.py",
    "tests/unit/http/test_response.py",
    "tests/unit/test_asgi.py",
    "tests/unit/test_group_commit.py",
    "tests/unit/test_publishing.py",
)
POSIX = ("fork", "kill", "process", "multiprocessing", "private_names")


def run(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, *args],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@in_full
def test_the_core_passes_its_tests() -> None:
    without = " and ".join(f"not {word}" for word in POSIX)
    output = run(
        *("-m", "pytest", "-p", "tests.windows", "-p", "no:cacheprovider", "-q"),
        *("-k", without, *CORE),
    )
    assert "passed" in output


def test_every_module_can_be_imported_and_a_stopping_server_is_heard() -> None:
    code = """
        import tests.windows
        import django, importlib, os, pkgutil, signal
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        django.setup()
        import django_sse
        for module in pkgutil.walk_packages(django_sse.__path__, "django_sse."):
            if ".migrations." not in module.name and ".contrib." not in module.name:
                importlib.import_module(module.name)

        from django_sse.servers import signals
        from django_sse.streams import pulse
        heard = []
        signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
        signals.watch()
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM] and pulse.is_draining()
        print("all imported")
    """
    assert "all imported" in run("-c", dedent(code))
