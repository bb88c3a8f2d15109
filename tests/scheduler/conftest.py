"""Lets the rows of the tables fail with what they found; an embedded server in any case."""

from collections.abc import Iterator

import pytest
from redis import Redis

pytest.register_assert_rewrite("tests.scheduler.table")


@pytest.fixture
def embedded_client(another_redis: str) -> Iterator[Redis]:
    """A client on an embedded server, empty, whatever servers are named."""
    with Redis.from_url(another_redis) as client:
        client.flushall()
        yield client
