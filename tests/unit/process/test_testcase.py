"""Where code runs: in a transaction, in a user's test."""

from __future__ import annotations

import threading

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core import mail
from django.db import transaction

from django_sse.process.testcase import in_transaction, in_users_test, thread_in_users_test

TIMEOUT = 60.0


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """As outside of a test run, where connections are kept from one call to the next."""
    monkeypatch.delattr(mail, "outbox")


# -- a user's tests


@pytest.mark.django_db
def test_inside_a_testcase_the_thread_is_the_tests() -> None:
    User.objects.count()
    assert thread_in_users_test()
    assert async_to_sync(in_users_test)()
    assert not in_transaction()


@pytest.mark.django_db
def test_another_thread_is_not() -> None:
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(thread_in_users_test()))
    thread.start()
    thread.join(TIMEOUT)
    assert answers == [False]


@pytest.mark.django_db(transaction=True)
def test_outside_of_a_testcase_no_thread_is() -> None:
    assert not thread_in_users_test()
    assert not async_to_sync(in_users_test)()
    with transaction.atomic():
        assert in_transaction()
        assert not thread_in_users_test()


@pytest.mark.django_db
def test_in_production_nothing_is_a_test(production: None) -> None:
    assert not thread_in_users_test()


@pytest.mark.django_db
def test_an_inner_transaction_of_a_testcase_is_a_transaction_of_the_tests() -> None:
    with transaction.atomic():
        assert thread_in_users_test()
