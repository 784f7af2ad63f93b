from __future__ import annotations

from typing import Any

import pytest

from django_sse.dialects import AnswerDecoder, AnswerEncoder, Dialect, get_dialect


@pytest.mark.parametrize(
    ("contract", "duties"),
    [
        (AnswerEncoder, {"encode", "done", "failed", "aborted"}),
        (AnswerDecoder, {"decode", "end", "ended"}),
        (Dialect, {"encoder", "decoder"}),
    ],
)
def test_a_class_that_leaves_a_duty_out_cannot_be_used(contract: Any, duties: set[str]) -> None:
    for missing in duties:
        given = {duty: None for duty in duties if duty != missing}
        with pytest.raises(TypeError, match=missing):
            type("Partial", (contract,), given)()
    assert type("Whole", (contract,), dict.fromkeys(duties))()


def test_headers_that_all_views_share_cannot_be_changed() -> None:
    for name in ("ai-sdk", "anthropic"):
        headers: Any = get_dialect(name).headers
        with pytest.raises(TypeError):
            headers["x"] = "y"
