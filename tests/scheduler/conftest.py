"""Lets the rows of the tables fail with what they found."""

import pytest

pytest.register_assert_rewrite("tests.scheduler.table")
