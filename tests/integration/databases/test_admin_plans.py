"""The admin's lists on PostgreSQL and MariaDB."""

from __future__ import annotations

import pytest

from tests.unit.test_admin_plans import (
    tables,
    test_a_list_and_an_exact_search_read_and_sort_no_whole_table,
)

__all__ = ["tables", "test_a_list_and_an_exact_search_read_and_sort_no_whole_table"]

pytestmark = pytest.mark.usefixtures("database")
