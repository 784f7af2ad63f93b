from __future__ import annotations

import subprocess
import sys

import pytest

from django_sse import dialects
from django_sse.dialects import DIALECTS, Dialect, get_dialect
from tests.unit.dialects.support import NAMES


def test_the_contract_is_asked_of_every_dialect() -> None:
    assert set(DIALECTS) == {"plain", *NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_dialect_is_found_by_its_name(name: str) -> None:
    dialect = get_dialect(name)
    assert isinstance(dialect, Dialect)
    assert dialect.name == name


def test_a_dialect_of_the_project_is_taken_as_it_is() -> None:
    class Own(dialects.Dialect):
        name = "own"

        def encoder(self, sent: int = 0) -> dialects.AnswerEncoder:
            return get_dialect("ag-ui").encoder(sent)

        def decoder(self) -> dialects.AnswerDecoder:
            return get_dialect("ag-ui").decoder()

    own = Own()
    assert get_dialect(own) is own
    assert dict(own.headers) == {}


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'openai'.*'openai-chat'.*'ag-ui'.*Dialect"):
        get_dialect("openai")


def test_what_is_exported_is_there() -> None:
    assert all(hasattr(dialects, name) for name in dialects.__all__)
    # ruff sorts it.
    assert len(dialects.__all__) == len(set(dialects.__all__))


def test_only_the_dialect_that_is_asked_for_is_loaded() -> None:
    code = (
        "import sys; from django_sse.dialects import get_dialect; get_dialect('ai-sdk');"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "django_sse.dialects.ai_sdk" in loaded
    assert not {"django", "asyncio", "django_sse.dialects.anthropic"} & set(loaded)
