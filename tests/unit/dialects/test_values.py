from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from django_sse.dialects import values
from django_sse.dialects.values import FINISH_REASONS, Finish, FinishReason, Usage, Value


def test_values_are_frozen_and_compare_by_what_they_hold() -> None:
    usage = Usage(1, 2)
    with pytest.raises(FrozenInstanceError):
        usage.input_tokens = 3  # type: ignore[misc]
    assert usage == Usage(1, 2)
    assert Finish("stop") != Finish("length")


def test_every_reason_of_the_type_is_listed() -> None:
    assert get_args(FinishReason) == FINISH_REASONS


def test_every_value_is_in_the_union() -> None:
    own = {
        value
        for value in vars(values).values()
        if isinstance(value, type) and value.__module__ == values.__name__
    }
    assert own | {str} == set(get_args(Value))
    assert all(fields(value) for value in own)
