"""What all commands do about a log that cannot be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_sse.testing import memory_log
from tests.unit.management.support import complaints, run_process

COMMANDS = [
    ("sse_publish", "room", "hi"),
    ("sse_tail", "room", "--since", "earliest"),
    ("sse_trim", "room"),
    ("sse_epoch", "room"),
]
names = pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])


@names
def test_a_database_that_was_not_migrated_is_a_message_and_no_traceback(
    command: tuple[str, ...], tmp_path: Path, db: None
) -> None:
    env = {"DJANGO_SSE_TEST_DB": str(tmp_path / "empty.sqlite3")}
    env["DJANGO_SSE_TEST_DATABASE_URL"] = ""

    code, out, err = run_process(*command, env=env)

    assert (code, out) == (1, "")
    assert err.startswith("CommandError: The event log's database")
    assert "manage.py migrate" in err
    assert "Traceback" not in err


@names
def test_wrong_settings_are_a_message_and_no_traceback(command: tuple[str, ...], db: None) -> None:
    code, out, err = run_process(*command, env={"DJANGO_SSE_TEST_OPTIONS": '{"DATABAES": "x"}'})

    assert (code, out) == (1, "")
    assert "django_sse.E002" in err
    assert 'Did you mean DJANGO_SSE["DATABASE"]' in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [("sse_publish", "room", "hi"), ("sse_trim",), ("sse_epoch",)])
def test_a_log_in_memory_is_warned_of(command: tuple[str, ...]) -> None:
    with memory_log():
        assert "The log is in memory" in complaints(*command)


@pytest.mark.django_db
@pytest.mark.parametrize("command", [("sse_trim",), ("sse_epoch",)])
def test_a_log_in_the_database_is_not_warned_of(command: tuple[str, ...]) -> None:
    assert complaints(*command) == ""
