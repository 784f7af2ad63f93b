"""The processes of a soak share one log, as those of `tests/integration/many` do."""

from tests.integration.many.conftest import env

__all__ = ["env"]
