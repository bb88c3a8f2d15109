from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from limit_calls import Calls, OwnServer
from turgor.limits.keys import Keys


@pytest.fixture
def calls(redis_client: Redis, realm: str) -> Calls:
    """The scripts, in a realm of their own."""
    return Calls(redis_client, Keys(realm))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    """A server that the test may stop."""
    server = OwnServer(tmp_path)
    yield server
    server.stop()
