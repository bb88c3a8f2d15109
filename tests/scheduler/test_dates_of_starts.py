"""When a start counts from: the last claim before user code, and for a short task its end."""

from __future__ import annotations

import pytest
from redis import Redis

from .realm import Message, Realm, lane

API = lane("api")


@pytest.fixture
def realm(redis_client: Redis) -> Realm:
    """One start in any ten seconds."""
    return Realm(redis_client, {"services": {"api": {"windows": [{"limit": 1, "per": "10s"}]}}})


def start(realm: Realm) -> Message:
    realm.submit("first", API)
    message = realm.take()
    assert message is not None
    assert realm.claim(message)
    return message


def released_after(realm: Realm, seconds: float) -> bool:
    realm.tick(seconds)
    return realm.dispatch().released == 1


def test_a_claim_that_is_asked_again_counts_from_then(realm: Realm) -> None:
    message = start(realm)
    realm.tick(3)
    assert realm.claim(message)
    realm.tick(2)
    realm.finish(message)
    realm.submit("second", API)
    assert not released_after(realm, 8.0), "ten seconds after the first claim are not enough"
    assert released_after(realm, 0.1)


def test_a_start_that_has_left_its_window_stays_out(realm: Realm) -> None:
    message = start(realm)
    realm.tick(11)
    realm.submit("second", API)
    assert realm.released() == ["second"]
    assert realm.claim(message)
    assert realm.state().limits["service:api:requests/10s"][8:16] == b"\0\0\0\0\0\0\xf0?", "only the second one is held"


def test_a_short_task_counts_from_its_end(realm: Realm) -> None:
    message = start(realm)
    realm.tick(0.4)
    realm.finish(message)
    realm.submit("second", API)
    assert not released_after(realm, 9.9)
    assert released_after(realm, 0.1)


def test_a_long_task_counts_from_its_start(realm: Realm) -> None:
    message = start(realm)
    realm.tick(3)
    realm.finish(message)
    realm.submit("second", API)
    assert released_after(realm, 7.1)
