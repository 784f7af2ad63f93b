"""Sessions that need no database: hundreds of clients a second come back, each in a thread of its
own, and PostgreSQL has a hundred connections."""

from tests.settings import *  # noqa: F403

SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
