"""Clients whose clocks are apart: the server's clock decides, and no client ever sends a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from redis import Redis

from limit_calls import most_in_any_window, server_time_us
from support import wait_until
from turgor.limits import HierarchicalLimiter

SKEWED = Path(__file__).with_name("skewed.py")
SECOND_US = 1_000_000


def test_clients_skewed_by_100_ms_never_exceed_a_window(server_url: str, redis_client: Redis, realm: str) -> None:
    """100 ms of skew took a sliding log from 100 to 199 in a second."""
    tables = {"services": {"api": {"windows": [{"limit": 40, "per": "500ms"}]}}}
    HierarchicalLimiter(redis_client, tables, realm=realm).refresh()
    clients = [
        subprocess.Popen([sys.executable, SKEWED, server_url, realm, skew], stdout=subprocess.PIPE)
        for skew in ("0", "0.1", "-0.1", "3600")
    ]
    wait_until(lambda: redis_client.llen("here") == len(clients), description="all clients are there", timeout=40)
    redis_client.rpush("until_us", *[server_time_us(redis_client) + 5 * SECOND_US // 2] * len(clients))

    admitted_us = sorted(at_us for client in clients for at_us in json.loads(client.communicate()[0]))

    assert [client.returncode for client in clients] == [0] * len(clients)
    assert len(admitted_us) > 100, "five windows of 40 have begun"
    assert most_in_any_window([(at_us, 1) for at_us in admitted_us], SECOND_US // 2) <= 40
