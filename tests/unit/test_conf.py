from __future__ import annotations

import ast
import inspect
import math
import os
import subprocess
import sys
import threading
from collections import UserDict
from collections.abc import ItemsView
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass
from itertools import pairwise
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.module_loading import import_string

from django_sse import conf, constants
from django_sse.conf import (
    Notifier,
    Settings,
    Streams,
    current,
    parse,
)
from tests import ROOT

GROUPS = {field.name: field.default for field in fields(Settings) if is_dataclass(field.default)}


def test_without_a_dict_every_setting_has_its_default() -> None:
    with override_settings(DJANGO_SSE={}):
        assert current() == Settings()
    with override_settings(DJANGO_SSE=None):
        assert current() == Settings()


def test_the_dict_goes_over_the_defaults() -> None:
    settings = parse({"STREAMS": {"HEARTBEAT": 20}, "NOTIFIER": "local"})
    assert settings == Settings(STREAMS=Streams(HEARTBEAT=20), NOTIFIER=Notifier(BACKEND="local"))
    assert settings.STREAMS.RETRY == Settings().STREAMS.RETRY


def test_a_notifier_is_a_name_or_a_dict() -> None:
    given: dict[str, Any] = {"BACKEND": "postgres", "OPTIONS": {"dsn": "host=log"}}
    assert Notifier(**given) == parse({"NOTIFIER": given}).NOTIFIER
    assert parse({"NOTIFIER": {"BACKEND": "local"}}) == parse({"NOTIFIER": "local"})


def test_the_settings_of_the_moment_are_read() -> None:
    with override_settings(DJANGO_SSE={"STREAMS": {"RETRY": 1}}):
        assert current().STREAMS.RETRY == 1
        with override_settings(DJANGO_SSE={"STREAMS": {"RETRY": 2}}):
            assert current().STREAMS.RETRY == 2
        assert current().STREAMS.RETRY == 1


def test_another_settings_change_costs_no_parsing() -> None:
    with override_settings(DJANGO_SSE={"STREAMS": {"RETRY": 1}}):
        before = current()
        with override_settings(LANGUAGE_CODE="de"):
            assert current() is before


class Slow(UserDict[str, Any]):
    """Settings that are read until `go_on` is set."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(settings)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def items(self) -> ItemsView[str, Any]:
        self.begun.set()
        assert self.go_on.wait(60)
        return super().items()


def test_who_has_read_the_settings_of_before_does_not_keep_them_for_all() -> None:
    slow = Slow(STREAMS={"RETRY": 1})
    with override_settings(DJANGO_SSE=slow), ThreadPoolExecutor() as pool:
        late = pool.submit(current)
        assert slow.begun.wait(60)
        with override_settings(DJANGO_SSE={"STREAMS": {"RETRY": 2}}):
            assert current().STREAMS.RETRY == 2
            slow.go_on.set()
            assert late.result(60).STREAMS.RETRY == 1
            assert current().STREAMS.RETRY == 2


def test_nobody_changes_the_settings_of_others() -> None:
    with pytest.raises(FrozenInstanceError):
        current().STREAMS.RETRY = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"DATABAZE": "x"}, 'Did you mean DJANGO_SSE["DATABASE"]?'),
        ({"database": "x"}, 'Did you mean DJANGO_SSE["DATABASE"]?'),
        ({"STREAMS": {"HEARTBEET": 2}}, 'Did you mean DJANGO_SSE["STREAMS"]["HEARTBEAT"]?'),
        ({"NOTIFIER": {"BACKENDS": "x"}}, 'Did you mean DJANGO_SSE["NOTIFIER"]["BACKEND"]?'),
        ({"HEARTBEAT": 20}, 'Did you mean DJANGO_SSE["STREAMS"]["HEARTBEAT"]?'),
        ({"LEAZE": 6}, 'Did you mean DJANGO_SSE["RUNS"]["LEASE"]?'),
        ({"RUNS": {"RETRY": 6}}, 'Did you mean DJANGO_SSE["STREAMS"]["RETRY"]?'),
        ({"LIMITS": {"RUNS": {}}}, 'Did you mean DJANGO_SSE["RUNS"]?'),
        ({"RETENTION": {"xyzzy": 6}}, "Known: AGE, COUNT, RUN_AGE."),
    ],
)
def test_an_unknown_name_is_refused_with_the_one_that_was_meant(
    values: dict[str, Any], hint: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match="is not a setting") as caught:
        parse(values)
    assert str(caught.value).endswith(hint)
    with override_settings(DJANGO_SSE=values), pytest.raises(ImproperlyConfigured):
        current()


@pytest.mark.parametrize("name", list(GROUPS))
@pytest.mark.parametrize(
    ("value", "found"), [(None, "a NoneType"), (3, "an int"), (["HEARTBEAT"], "a list")]
)
def test_a_group_that_is_no_dict_is_refused(name: str, value: Any, found: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf'\["{name}"\] is {found}: .*must be .*dict'):
        parse({name: value})


@pytest.mark.parametrize("values", ["HEARTBEAT", ["HEARTBEAT"], {"HEARTBEAT"}, 20])
def test_what_is_no_dict_is_refused(values: Any) -> None:
    with (
        override_settings(DJANGO_SSE=values),
        pytest.raises(ImproperlyConfigured, match=f"{type(values).__name__}.*dict"),
    ):
        current()


def at(place: str, value: Any) -> dict[str, Any]:
    """``value`` in a ``DJANGO_SSE``, at a place such as ``STREAMS.RETRY``."""
    group, _, name = place.rpartition(".")
    return {group: {name: value}} if group else {name: value}


def written(place: str) -> str:
    return "DJANGO_SSE" + "".join(f'["{each}"]' for each in place.split("."))


@pytest.mark.parametrize(
    ("place", "value", "wanted"),
    [
        ("STREAMS.RETRY", "2000", "int"),
        ("STREAMS.RETRY", 2000.0, "int"),
        ("STREAMS.RETRY", True, "int"),
        ("STREAMS.RETRY", None, "int"),
        ("STREAMS.HEARTBEAT", "15", "float or int"),
        ("STREAMS.HEARTBEAT", None, "float or int"),
        ("STREAMS.HEARTBEAT", False, "float or int"),
        ("SAFETY_INTERVAL", "5", "float or int"),
        ("DATABASE", 1, "str"),
        ("DATABASE", None, "str"),
        ("NOTIFIER.BACKEND", 1, "str"),
        ("RUNS.ACCESS", 1, "str or None"),
        ("RUNS.OWNER", 1, "str or None"),
        ("RETENTION.AGE", "a week", "float or None or int"),
        ("RETENTION.COUNT", 1.5, "int or None"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(place: str, value: Any, wanted: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        parse(at(place, value))
    assert str(caught.value).startswith(f"{written(place)} is {value!r}: it must be {wanted}. ")


@pytest.mark.parametrize(
    "place", ["STREAMS.HEARTBEAT", "STREAMS.RETRY", "RETENTION.AGE", "RETENTION.COUNT"]
)
def test_a_negative_value_is_refused(place: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="must not be negative") as caught:
        parse(at(place, -1))
    assert written(place) in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_no_clock_can_wait_for_is_refused(value: float) -> None:
    with pytest.raises(ImproperlyConfigured, match=r'"HEARTBEAT".*finite'):
        parse({"STREAMS": {"HEARTBEAT": value}})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("STREAMS.HEARTBEAT", 20),
        ("STREAMS.HEARTBEAT", 0.5),
        ("RETENTION.AGE", None),
        ("RETENTION.AGE", 60),
        ("STREAMS.OPEN_TIMEOUT", 0),
    ],
)
def test_an_int_will_do_for_seconds_and_none_where_it_says_so(place: str, value: Any) -> None:
    group, _, name = place.partition(".")
    assert getattr(getattr(parse(at(place, value)), group), name) == value


def test_every_default_passes_its_own_check() -> None:
    assert parse(asdict(Settings())) == Settings()


def test_every_dotted_path_leads_somewhere() -> None:
    paths = [each for each in (Settings().JSON_ENCODER, constants.LOG) if "." in each]
    assert len([import_string(path) for path in paths]) == 2


def test_every_setting_says_why() -> None:
    classes = [
        node for node in ast.parse(inspect.getsource(conf)).body if isinstance(node, ast.ClassDef)
    ]
    told = {
        each.name: [
            node.target.id
            for node, after in pairwise(each.body)
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ]
        for each in classes
    }
    for kind in map(type, GROUPS.values()):
        assert kind.__doc__
        assert told[kind.__name__] == [field.name for field in fields(kind)]
    alone = [field.name for field in fields(Settings) if field.name not in GROUPS]
    assert told["Settings"] == alone


def test_there_are_few_settings_and_fewer_on_the_first_level() -> None:
    # BACKEND and OPTIONS are one thing each; the options of the notifiers are told by themselves.
    leaves = sum(len(fields(group)) for group in GROUPS.values())
    alone = len(fields(Settings)) - len(GROUPS)
    assert len(fields(Settings)) <= 12
    assert leaves + alone <= 30


@pytest.mark.parametrize("options", [["s3cret"], "host=log password=s3cret"])
def test_options_of_the_wrong_type_are_not_quoted(options: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="OPTIONS") as raised:
        parse({"NOTIFIER": {"BACKEND": "postgres", "OPTIONS": options}})
    assert "s3cret" not in str(raised.value)


# -- constants


def test_a_constant_is_changed_for_a_block() -> None:
    before = constants.GAP_WAIT, constants.PAGE_EVENTS
    with constants.overridden(GAP_WAIT=1.0), constants.overridden(PAGE_EVENTS=3):
        assert (constants.GAP_WAIT, constants.PAGE_EVENTS) == (1.0, 3)
    assert before == (constants.GAP_WAIT, constants.PAGE_EVENTS)


def test_a_constant_that_is_not_there_cannot_be_changed() -> None:
    with pytest.raises(NameError, match="GAP_WEIGHT"), constants.overridden(GAP_WEIGHT=1.0):
        pass
    assert not hasattr(constants, "GAP_WEIGHT")


def test_a_process_takes_its_constants_from_the_environment() -> None:
    code = "from django_sse import constants; print(constants.GAP_WAIT, constants.PAGE_EVENTS)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SSE_CONSTANTS": '{"GAP_WAIT": 7}'},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["7", str(constants.PAGE_EVENTS)]
