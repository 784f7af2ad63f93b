"""Cleaning of values that were refused for a NUL or a lone surrogate.

A model's text can contain anything, and one character must not cost the rest of an answer that took
half a minute.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from django_sse.dialects.cleaning import clean
from django_sse.exceptions import DataNotSerializable, InexpressibleValue, InvalidEvent

if TYPE_CHECKING:
    from django_sse.dialects import AnswerEncoder

logger = logging.getLogger("django_sse")

REFUSED: Final = (DataNotSerializable, InexpressibleValue, InvalidEvent)
"""The errors that such a character causes, among others."""


class Cleaner:
    """Replaces these characters in the values of one generator; ``owner`` names it in the log.

    It cleans only values that were refused, because a look at each value would cost every token.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._told = False

    def value(self, item: Any, error: Exception, encoder: AnswerEncoder) -> Any:
        """Return ``item``, which ``encoder`` refused with ``error``, with U+FFFD for each NUL and
        lone surrogate.

        Raises ``error`` if there is none, or if the encoder may have taken half of it already.
        """
        if not (encoder.stateless or isinstance(error, InexpressibleValue)):
            raise error
        return self.cleaned(item, error)

    def cleaned(self, item: Any, error: Exception) -> Any:
        """Do the same for an item that no encoder refused: an event that the log refused, say."""
        try:
            cleaned = clean(item)
        except RecursionError:
            # A list that contains itself.
            raise error from None
        if cleaned is item:
            raise error
        if not self._told:
            self._told = True
            logger.warning("%s has U+FFFD for what cannot be sent: %s", self._owner, error)
        return cleaned
