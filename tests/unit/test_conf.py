from __future__ import annotations

import ast
import inspect
import math
import threading
from collections import UserDict
from collections.abc import ItemsView
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.module_loading import import_string

from django_sse import conf
from django_sse.conf import Settings, current, parse

NAMES = [field.name for field in fields(Settings)]


def test_without_a_dict_every_setting_has_its_default() -> None:
    with override_settings(DJANGO_SSE={}):
        assert current() == Settings()
    with override_settings(DJANGO_SSE=None):
        assert current() == Settings()


def test_the_dict_goes_over_the_defaults() -> None:
    settings = parse({"HEARTBEAT": 20, "NOTIFIER": "local"})
    assert settings == Settings(HEARTBEAT=20, NOTIFIER="local")
    assert settings.RETRY == Settings().RETRY


def test_the_settings_of_the_moment_are_read() -> None:
    with override_settings(DJANGO_SSE={"RETRY": 1}):
        assert current().RETRY == 1
        with override_settings(DJANGO_SSE={"RETRY": 2}):
            assert current().RETRY == 2
        assert current().RETRY == 1


def test_another_settings_change_costs_no_parsing() -> None:
    with override_settings(DJANGO_SSE={"RETRY": 1}):
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
    slow = Slow(RETRY=1)
    with override_settings(DJANGO_SSE=slow), ThreadPoolExecutor() as pool:
        late = pool.submit(current)
        assert slow.begun.wait(60)
        with override_settings(DJANGO_SSE={"RETRY": 2}):
            assert current().RETRY == 2
            slow.go_on.set()
            assert late.result(60).RETRY == 1
            assert current().RETRY == 2


def test_nobody_changes_the_settings_of_others() -> None:
    with pytest.raises(FrozenInstanceError):
        current().RETRY = 1  # type: ignore[misc]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ImproperlyConfigured, match=r'DJANGO_SSE\["HEARTBEET"\].*HEARTBEAT'):
        parse({"HEARTBEET": 20})
    with (
        override_settings(DJANGO_SSE={"heartbeat": 20}),
        pytest.raises(ImproperlyConfigured, match='"heartbeat"'),
    ):
        current()


@pytest.mark.parametrize("values", ["HEARTBEAT", ["HEARTBEAT"], {"HEARTBEAT"}, 20])
def test_what_is_no_dict_is_refused(values: Any) -> None:
    with (
        override_settings(DJANGO_SSE=values),
        pytest.raises(ImproperlyConfigured, match=f"{type(values).__name__}.*dict"),
    ):
        current()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("RETRY", "2000", "int"),
        ("RETRY", 2000.0, "int"),
        ("RETRY", True, "int"),
        ("RETRY", None, "int"),
        ("HEARTBEAT", "15", "float or int"),
        ("HEARTBEAT", None, "float or int"),
        ("HEARTBEAT", False, "float or int"),
        ("LOG", 1, "str"),
        ("LOG", None, "str"),
        ("TRIM_AGE", "a week", "float or NoneType or int"),
        ("TRIM_COUNT", 1.5, "int or NoneType"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        parse({name: value})
    assert str(caught.value) == f'DJANGO_SSE["{name}"] is {value!r}: it must be {wanted}.'


@pytest.mark.parametrize(
    ("name", "value"),
    [("HEARTBEAT", -1), ("HEARTBEAT", -0.5), ("RETRY", -1), ("TRIM_AGE", -1), ("TRIM_COUNT", -1)],
)
def test_a_negative_value_is_refused(name: str, value: float) -> None:
    with pytest.raises(ImproperlyConfigured, match=f'"{name}".*must not be negative'):
        parse({name: value})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_no_clock_can_wait_for_is_refused(value: float) -> None:
    with pytest.raises(ImproperlyConfigured, match=r'"HEARTBEAT".*finite'):
        parse({"HEARTBEAT": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("HEARTBEAT", 20), ("HEARTBEAT", 0.5), ("TRIM_AGE", None), ("TRIM_AGE", 60), ("COALESCE", 0)],
)
def test_an_int_will_do_for_seconds_and_none_where_it_says_so(name: str, value: Any) -> None:
    assert getattr(parse({name: value}), name) == value


def test_every_default_passes_its_own_check() -> None:
    assert parse({name: getattr(Settings(), name) for name in NAMES}) == Settings()


def test_every_dotted_path_leads_somewhere() -> None:
    paths = [value for name in NAMES if "." in str(value := getattr(Settings(), name))]
    assert [import_string(path) for path in paths if isinstance(path, str)]


def test_every_setting_says_why() -> None:
    tree = ast.parse(inspect.getsource(conf))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    told = [
        node.target.id
        for node, after in pairwise(body)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    ]
    assert told == NAMES


def test_a_dsn_of_the_wrong_type_is_not_quoted() -> None:
    with pytest.raises(ImproperlyConfigured, match="NOTIFIER_DSN") as raised:
        parse({"NOTIFIER_DSN": {"password": "s3cret"}})
    assert "s3cret" not in str(raised.value)
