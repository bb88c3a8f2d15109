"""What Turgor says of a server that cannot carry it: which, why and what to do. And never the password."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from limit_calls import OwnServer
from support import free_port, wait_until
from turgor.limits import HierarchicalLimiter, ServerUnreachable, UnsupportedServer
from turgor.limits.server import check_server, connect, connect_async, url_of, without_password

LIMITS: dict[str, Any] = {"global": {"requests_per_minute": 5}}


def test_a_server_that_can_carry_it_passes_and_keeps_no_trace(server_url: str, redis_client: Redis) -> None:
    check_server(redis_client, server_url)

    wait_until(lambda: not redis_client.keys(), description="the check's key has expired")


def test_no_server_is_said_with_the_url() -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/2"

    with pytest.raises(ServerUnreachable) as error:
        check_server(connect(url), url)

    assert str(error.value) == f"no Redis at {without_password(url)}: connection refused. Start one, or correct the URL."
    assert "secret" not in str(error.value)


def test_a_server_that_does_not_answer_is_said_to_have_timed_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"

        with pytest.raises(ServerUnreachable, match=r"no Redis at .*: timed out\. Start one"):
            check_server(connect(url, socket_timeout=0.05), url)


def test_a_name_that_no_server_has_is_said() -> None:
    url = "redis://no-such-host.invalid:6379/0"

    with pytest.raises(ServerUnreachable, match=r"no Redis at redis://no-such-host.invalid:6379/0: "):
        check_server(connect(url), url)


def test_a_replica_is_refused_with_the_remedy(own_server: OwnServer, tmp_path: Path) -> None:
    replica = OwnServer(tmp_path / "replica", replicaof=f"127.0.0.1 {own_server.port}")
    try:
        with replica.client() as client:
            wait_until(lambda: client.info("replication")["role"] == "slave", description="it is a replica")
            with pytest.raises(UnsupportedServer, match=r"it is a read-only replica\. Give the URL of the primary\."):
                check_server(client, replica.url)
    finally:
        replica.stop()


@pytest.fixture
def user(redis_client: Redis) -> Iterator[str]:
    redis_client.acl_setuser("guest", enabled=True, passwords=["+pass"], commands=["+@all", "-@scripting"], keys=["*"])
    yield "guest"
    redis_client.acl_deluser("guest")


def test_a_user_that_may_run_no_scripts_is_refused_with_the_remedy(server_url: str, user: str) -> None:
    url = server_url.replace("redis://", f"redis://{user}:pass@")

    with pytest.raises(UnsupportedServer) as error:
        check_server(connect(url), url)

    assert "no permissions to run the 'eval' command" in str(error.value)
    assert "Allow EVAL, EVALSHA and all commands on the keys {turgor:*." in str(error.value)
    assert without_password(url) in str(error.value)


@pytest.mark.parametrize(("keys", "commands"), [(["other:*"], ["+@all"]), (["*"], ["+@all", "-set"])])
def test_a_user_that_may_not_write_is_refused_with_the_remedy(
    server_url: str, redis_client: Redis, user: str, keys: list[str], commands: list[str]
) -> None:
    redis_client.acl_setuser(user, enabled=True, passwords=["+pass"], commands=commands, keys=keys, reset=True)
    url = server_url.replace("redis://", f"redis://{user}:pass@")

    with pytest.raises(UnsupportedServer, match="this user may not do all that it needs"):
        check_server(connect(url), url)


def test_a_password_that_is_wrong_is_said_and_not_shown(server_url: str, user: str) -> None:
    url = server_url.replace("redis://", f"redis://{user}:wrong@")

    with pytest.raises(ServerUnreachable, match=r"lets nobody in: .*Correct user and password\.$") as error:
        check_server(connect(url), url)

    assert "wrong" not in str(error.value)


def test_a_full_server_is_refused_with_the_remedy(own_server: OwnServer) -> None:
    with own_server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(UnsupportedServer, match=r"out of memory\. Raise maxmemory"):
            check_server(client, own_server.url)


@pytest.mark.parametrize(
    ("server", "supported"),
    [
        ({"redis_version": "6.0.16"}, False),
        ({"redis_version": "5.0.7"}, False),
        ({"redis_version": "6.2.0"}, True),
        ({"redis_version": "10.0.1"}, True),
        ({"server_name": "valkey", "redis_version": "7.2.4", "valkey_version": "9.1.2"}, True),
        ({}, False),
    ],
)
def test_a_server_that_is_too_old_is_refused_with_both_versions(
    redis_client: Redis, server_url: str, monkeypatch: pytest.MonkeyPatch, server: dict[str, str], supported: bool
) -> None:
    def info(section: str) -> dict[str, str]:
        return server

    monkeypatch.setattr(redis_client, "info", info)

    if supported:
        check_server(redis_client, server_url)
        return
    with pytest.raises(UnsupportedServer, match=r"is version \d+\.\d+: Turgor needs Redis 6\.2 or Valkey 7\.2, or newer"):
        check_server(redis_client, server_url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://me:secret@host/0", "redis://me:***@host/0"),
        ("redis://me:se@cret@host/0", "redis://me:***@host/0"),
        ("rediss://me:@host/0", "rediss://me:***@host/0"),
        ("redis://me@host/0", "redis://me@host/0"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("unix://me:secret@/run/redis.sock?db=1", "unix://me:***@/run/redis.sock?db=1"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        ("unix:///run/redis.sock?db=1&password=secret", "unix:///run/redis.sock?db=1&password=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:secret@host:1234/3", "redis://host:1234/3"),
        ("redis://host", "redis://host:6379/0"),
        ("unix://me:secret@/run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    ],
)
def test_a_client_is_shown_as_where_it_leads_to(url: str, shown: str) -> None:
    assert url_of(connect(url)) == url_of(connect_async(url)) == shown


def test_a_half_open_connection_is_noticed() -> None:
    """Without a timeout a worker stayed silent for ever."""
    for client in (connect("redis://host"), connect_async("redis://host")):
        options = client.connection_pool.connection_kwargs
        assert options["socket_timeout"] == 10.0
        assert options["health_check_interval"] == 25
        assert options["socket_keepalive"] is True
    assert connect("redis://host", socket_timeout=3).connection_pool.connection_kwargs["socket_timeout"] == 3


def test_a_unix_socket_does_as_well(tmp_path: Path) -> None:
    server = OwnServer(tmp_path / "data", unixsocket=str(tmp_path / "s.sock"))
    try:
        url = f"unix://{tmp_path / 's.sock'}?db=0"
        check_server(connect(url), url)
        limiter = HierarchicalLimiter(url, LIMITS)
        assert limiter.acquire(loop="a").decision.allowed
        limiter.close()
    finally:
        server.stop()
    with pytest.raises(ServerUnreachable, match="no Redis at unix://"):
        limiter.acquire(loop="a")
