"""Each check: what it finds, and that it keeps quiet otherwise."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from json import JSONEncoder
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from django.apps import apps
from django.core import checks as django_checks
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections

from django_sse import checks, conf
from django_sse.checks import TAG, check_settings
from django_sse.conf import Settings, problems
from django_sse.notifiers.base import Notifier
from django_sse.notifiers.local import LocalNotifier
from django_sse.sqlite import SQLITE_OPTIONS
from tests.options import Overrides, nested
from tests.unit.management.support import run_process

MEMORY_LOG = "django_sse.log.memory.MemoryLog"


class NoEncoder:
    """Not a JSONEncoder."""


class Encoder(JSONEncoder):
    """A project's own encoder."""


class LoudNotifier(LocalNotifier):
    """A project's own notifier with a check."""

    supports_other_processes = True

    def check(self) -> list[CheckMessage]:
        return [django_checks.Info("listening", id="loud.I001")]


class BrokenNotifier(Notifier):
    """Abstract: it cannot be made."""


@pytest.fixture
def found(settings: Any) -> Callable[..., list[CheckMessage]]:
    """What the checks find with these values in `DJANGO_SSE`, without the names of groups."""

    def check(**values: Any) -> list[CheckMessage]:
        settings.DJANGO_SSE = nested(values)
        return check_settings(None)

    return check


def ids(messages: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("django_sse.") for message in messages]


def path(value: type) -> str:
    return f"{__name__}.{value.__name__}"


@contextmanager
def database(alias: str = "log", **config: Any) -> Iterator[str]:
    """A database that is configured, and never opened."""
    connections.databases[alias] = connections.configure_settings(
        {"default": {}, alias: {"ENGINE": "django.db.backends.sqlite3", **config}}
    )[alias]
    try:
        yield alias
        assert connections[alias].connection is None
    finally:
        del connections[alias]
        del connections.databases[alias]


# -- registration


def test_a_plain_check_command_runs_them(settings: Any) -> None:
    settings.DJANGO_SSE = {"DATABASE": "elsewhere"}

    with pytest.raises(SystemCheckError, match=r"django_sse\.E008"):
        call_command("check")


def test_they_have_a_tag_of_their_own(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"HEARTBEAT": 90}}
    err = io.StringIO()

    call_command("check", "--tag", TAG, stderr=err)

    assert "django_sse.W005" in err.getvalue()


def test_a_check_of_other_apps_leaves_them_out(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"HEARTBEAT": 90}}

    assert check_settings([apps.get_app_config("auth")]) == []
    assert ids(check_settings([apps.get_app_config("django_sse")])) == ["W005"]


def test_the_docstring_lists_every_id() -> None:
    assert checks.__doc__ is not None
    here = Path(checks.__file__)
    source = here.read_text().replace(checks.__doc__, "")
    source += here.with_name("conf.py").read_text()
    # Each notifier has checks of its own.
    source += "".join(path.read_text() for path in here.parent.glob("notifiers/*.py"))
    used = {f"django_sse.{id}" for id in re.findall(r'"(?:django_sse\.)?([EW]\d{3})"', source)}
    assert set(re.findall(r"django_sse\.[EW]\d{3}", checks.__doc__)) == used


# -- settings


def test_no_settings_at_all_are_right(settings: Any) -> None:
    del settings.DJANGO_SSE
    with database("default2", NAME="db.sqlite3", OPTIONS=SQLITE_OPTIONS) as alias:
        settings.DJANGO_SSE = {"DATABASE": alias}
        assert check_settings(None) == []
    settings.DJANGO_SSE = None
    assert not [message for message in check_settings(None) if message.is_serious()]


@pytest.mark.parametrize("value", ["HEARTBEAT", ["HEARTBEAT"], 3, "", [], (), 0, False])
def test_settings_that_are_no_dict_are_an_error(value: object) -> None:
    [message] = problems(value)

    assert message.id == "E001"
    assert type(value).__name__ in message.message


@pytest.mark.parametrize("value", ["", [], (), 0, False])
def test_an_empty_value_of_another_type_is_not_taken_for_no_settings(
    value: object, settings: Any
) -> None:
    settings.DJANGO_SSE = value
    [message] = check_settings(None)

    assert message.id == "django_sse.E001"
    with pytest.raises(ImproperlyConfigured, match=r"DJANGO_SSE is an? .*: it must be a dict"):
        conf.current()


def test_every_mistake_is_found_at_once(settings: Any) -> None:
    settings.DJANGO_SSE = {
        "STREAMS": {"HEARTBEAT": "x", "RETRY": "y", "nonsense": 1},
        "DATABASE": None,
        "LIMITS": 3,
        "LEASE": 6,
    }

    messages = check_settings(None)

    assert ids(messages) == ["E003", "E003", "E002", "E003", "E003", "E002"]
    assert [message.hint for message in messages] == [
        "The default is 15.0.",
        "The default is 2000.",
        "Known: HEARTBEAT, RETRY, RETRY_JITTER, OPEN_TIMEOUT, SEND_TIMEOUT.",
        "The default is 'default'.",
        "It may have: MAX_EVENT_BYTES, RING_BYTES, RING_EVENTS, STREAMS_PER_PROCESS, "
        "STREAMS_PER_OWNER, SYNC_GENERATORS, RUNS_PER_OWNER, RUNS_PER_PROCESS, RUN_SECONDS, "
        "RUN_EVENTS, RUN_BYTES.",
        'Did you mean DJANGO_SSE["RUNS"]["LEASE"]?',
    ]


def test_every_default_is_right() -> None:
    assert list(problems(asdict(Settings()))) == []


# The settings of this process are used by threads of other tests, so these are another's.
@pytest.mark.parametrize(("options", "id"), [({"DATABASE": 1}, "E003"), ({"X": 1}, "E002")])
def test_a_process_with_such_settings_does_not_start(options: dict[str, Any], id: str) -> None:
    code, _, err = run_process("check", env={"DJANGO_SSE_TEST_OPTIONS": json.dumps(options)})

    assert code == 1
    assert f"django_sse.{id}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "name",
    [
        "HEARTBEAT",
        "SAFETY_INTERVAL",
        "RING_BYTES",
        "RING_EVENTS",
        "SEND_TIMEOUT",
        "SYNC_GENERATORS",
        "MAX_EVENT_BYTES",
        "LEASE",
        "UNWATCHED",
        "RUNS_PER_OWNER",
        "RUNS_PER_PROCESS",
        "RUN_SECONDS",
        "RUN_EVENTS",
        "RUN_BYTES",
    ],
)
def test_a_zero_that_would_spin_or_stall_is_an_error(found: Any, name: str) -> None:
    assert ids(found(**{name: 0})) == ["E004"]


@pytest.mark.parametrize("option", ["poll_interval", "head_interval"])
def test_a_notifier_that_would_poll_without_a_pause_is_an_error(found: Any, option: str) -> None:
    [message] = found(NOTIFIER={"BACKEND": "database", "OPTIONS": {option: 0}})
    assert message.id == "django_sse.E004"
    assert option in message.msg


def test_reconnection_times_beyond_a_browsers_timer_are_an_error(found: Any) -> None:
    assert ids(found(RETRY=2**31 - 1, RETRY_JITTER=1)) == ["E004"]
    assert ids(found(RETRY=2**31 - 2, RETRY_JITTER=1)) == []


def test_more_runs_of_one_owner_than_can_be_counted_are_an_error(found: Any) -> None:
    assert ids(found(RUNS_PER_OWNER=32768)) == ["E004"]
    assert ids(found(RUNS_PER_OWNER=32767)) == []


def test_a_database_that_never_says_when_it_commits_is_an_error(found: Any) -> None:
    with database(AUTOCOMMIT=False, ENGINE="django.db.backends.postgresql") as alias:
        [message] = [each for each in found(DATABASE=alias) if each.is_serious()]
        assert message.id == "django_sse.E005"
        assert f"'{alias}'" in message.msg and "AUTOCOMMIT" in message.msg
        assert message.hint and "DATABASE" in message.hint
    with database(AUTOCOMMIT=True, ENGINE="django.db.backends.postgresql") as alias:
        assert "E005" not in ids(found(DATABASE=alias))


# -- dotted paths


@pytest.mark.parametrize("name", ["no.such.module.hook", "nothing", "django_sse.conf.NAME"])
@pytest.mark.parametrize("setting", ["ACCESS", "OWNER"])
def test_a_hook_that_is_none_is_an_error(found: Any, setting: str, name: str) -> None:
    [message] = found(**{setting: name})
    assert message.id == "django_sse.E014"
    assert f'["RUNS"]["{setting}"]' in message.msg and name in message.msg
    assert ids(found(**{setting: "builtins.max"})) == []


@pytest.mark.parametrize("setting", ["ACCESS", "OWNER"])
def test_a_hook_that_does_not_take_its_arguments_is_an_error(found: Any, setting: str) -> None:
    [message] = found(**{setting: "operator.eq"})
    assert message.id == "django_sse.E014" and "(request" in message.msg


@pytest.mark.parametrize(
    "name", ["no.such.module.Thing", "nothing", path(NoEncoder), path(BrokenNotifier)]
)
@pytest.mark.parametrize(("setting", "id"), [("NOTIFIER", "E006"), ("JSON_ENCODER", "E007")])
def test_a_path_to_nothing_or_to_another_thing_is_an_error(
    found: Any, setting: str, id: str, name: str
) -> None:
    [message] = found(**{setting: name})

    assert message.id == f"django_sse.{id}"
    assert message.hint


def test_a_path_to_the_right_thing_is_right(found: Any) -> None:
    assert found(JSON_ENCODER=path(Encoder)) == []
    assert found(NOTIFIER=path(LocalNotifier)) == []


def test_an_option_that_the_notifier_does_not_take_is_an_error(found: Any) -> None:
    [message] = found(NOTIFIER={"BACKEND": "database", "OPTIONS": {"poll_intervall": 1}})
    assert message.id == "django_sse.E006"
    assert 'Did you mean DJANGO_SSE["NOTIFIER"]["OPTIONS"]["poll_interval"]?' in message.msg


# -- the database


def test_an_unknown_alias_is_an_error(found: Any) -> None:
    [message] = found(DATABASE="elsewhere")

    assert message.id == "django_sse.E008"
    assert "default" in message.hint


@pytest.mark.parametrize("mode", ["IMMEDIATE", "immediate", "EXCLUSIVE"])
def test_sqlite_with_immediate_transactions_and_wal_is_right(found: Any, mode: str) -> None:
    with database(NAME="db.sqlite3", OPTIONS={**SQLITE_OPTIONS, "transaction_mode": mode}) as alias:
        assert found(DATABASE=alias) == []


@pytest.mark.parametrize(
    "options", [{}, {"transaction_mode": None}, {"transaction_mode": "DEFERRED"}]
)
def test_sqlite_with_deferred_transactions_is_warned_of(
    found: Any, options: dict[str, Any]
) -> None:
    wal = {"init_command": SQLITE_OPTIONS["init_command"]}
    with database(NAME="db.sqlite3", OPTIONS={**wal, **options}) as alias:
        [message] = found(DATABASE=alias)

    assert message.id == "django_sse.W001"
    assert "immediate transactions" in message.msg and "WAL" not in message.msg


def test_one_hint_to_copy_is_the_whole_fix(found: Any) -> None:
    with database(NAME="db.sqlite3") as alias:
        [message] = found(DATABASE=alias)
    assert message.id == "django_sse.W001"
    assert "immediate transactions" in message.msg and "WAL" in message.msg
    _, fix = message.hint.split("\n", 1)
    databases: dict[str, Any] = {alias: {}}

    exec(dedent(fix), {"DATABASES": databases})

    with database(NAME="db.sqlite3", **databases[alias]) as alias:
        assert found(DATABASE=alias) == []


@pytest.mark.parametrize(
    "command",
    [
        "PRAGMA journal_mode=WAL;",
        "pragma journal_mode = wal",
        "PRAGMA synchronous=NORMAL; PRAGMA main.journal_mode='WAL'",
        "PRAGMA journal_mode(WAL)",
    ],
)
def test_every_way_to_ask_for_wal_is_understood(found: Any, command: str) -> None:
    with database(NAME="db.sqlite3", OPTIONS={**SQLITE_OPTIONS, "init_command": command}) as alias:
        assert found(DATABASE=alias) == []


@pytest.mark.parametrize(
    "options",
    [{}, {"init_command": None}, {"init_command": "PRAGMA journal_mode=DELETE; -- not WAL"}],
)
def test_sqlite_without_wal_is_warned_of(found: Any, options: dict[str, Any]) -> None:
    mode = {"transaction_mode": "IMMEDIATE"}
    with database(NAME="db.sqlite3", OPTIONS={**mode, **options}) as alias:
        [message] = found(DATABASE=alias)

    assert message.id == "django_sse.W001"
    assert "WAL" in message.msg and "immediate" not in message.msg


def test_sqlite_in_memory_is_warned_of_and_not_asked_for_wal(found: Any) -> None:
    with database(NAME=":memory:", OPTIONS={"transaction_mode": "IMMEDIATE"}) as alias:
        # Outside a test run: there a database in memory is what Django itself makes.
        assert ids(found(DATABASE=alias, NOTIFIER="local")) == []


def test_other_databases_are_not_asked_for_what_is_sqlites(found: Any) -> None:
    with database(ENGINE="django.db.backends.postgresql", NAME="x") as alias:
        pytest.importorskip("psycopg")
        assert found(DATABASE=alias) == []


def test_a_log_in_memory_does_not_care_for_the_database(found: Any, constants: Overrides) -> None:
    constants(LOG=MEMORY_LOG)
    with database(NAME="db.sqlite3") as alias:
        assert found(DATABASE=alias) == []


# -- proportions


def test_an_event_must_be_well_below_the_ring(found: Any) -> None:
    assert ids(found(RING_BYTES=1000, MAX_EVENT_BYTES=501)) == ["W003"]
    assert ids(found(RING_BYTES=1000, MAX_EVENT_BYTES=500)) == []


def test_a_heartbeat_slower_than_proxies_is_warned_of(found: Any) -> None:
    assert ids(found(HEARTBEAT=60)) == ["W005"]
    assert ids(found(HEARTBEAT=59.9)) == []


# -- notifiers


def test_the_notifiers_own_check_is_called(found: Any) -> None:
    assert ids(found(NOTIFIER=path(LoudNotifier))) == ["loud.I001"]


def test_warnings_wait_until_the_errors_are_gone(found: Any) -> None:
    assert ids(found(HEARTBEAT=60, DATABASE="elsewhere")) == ["E008"]


# -- the notifier's transport

NOWHERE = {"NOTIFIER": {"BACKEND": "postgres", "OPTIONS": {"dsn": "host=127.0.0.1 port=9"}}}


@pytest.mark.parametrize("environment", ["staging 2", "a" * 41])
def test_an_environment_that_cannot_be_part_of_a_name_is_an_error(
    environment: str, found: Callable[..., list[CheckMessage]]
) -> None:
    assert ids(found(ENVIRONMENT=environment)) == ["E009"]
    assert "E009" not in ids(found(ENVIRONMENT="staging-2"))


def test_only_a_check_for_deployment_asks_whether_the_transport_is_reachable(
    settings: Any,
) -> None:
    settings.DJANGO_SSE = NOWHERE
    for arguments, told in ([], False), (["--deploy"], True):
        err = io.StringIO()
        call_command("check", "--tag", TAG, *arguments, stderr=err)
        assert ("django_sse.W002" in err.getvalue()) is told


def test_settings_that_are_wrong_are_not_tried(settings: Any) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": {"BACKEND": "postgres", "OPTIONS": {"dsn": 7}}}
    assert checks.check_reachable(None) == []
    settings.DJANGO_SSE = NOWHERE
    assert checks.check_reachable([apps.get_app_config("auth")]) == []
    assert ids(checks.check_reachable(None)) == ["W002"]
