from __future__ import annotations

import json

import pytest

from tests.integration.many.site import child, result
from tests.integration.many.stores import run_python


def test_what_the_command_publishes_is_in_the_log_of_its_environment(env: dict[str, str]) -> None:
    with child(env, "-m", "tests.integration.many.publisher", "any", "name", "3") as process:
        ids = result(process, "go\n").split()
    log = json.loads(run_python(env, "-m", "tests.integration.many.logged", "any"))
    assert log == [[id, f"name {number}"] for number, id in enumerate(ids)]
    assert len(log) == 3


def test_a_program_that_fails_fails_the_test_with_its_words(env: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="KeyError"):
        run_python(env, "-c", "{}['missing']")
