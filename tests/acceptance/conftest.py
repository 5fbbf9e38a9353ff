"""Fixtures of the acceptance tests: the whole system as real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import create_mariadb_database, migrate_database
from tests.support.servers import MariaDBServer, RedisServer
from tests.support.spine import Spine


def _show(spine: Spine) -> None:
    for process in spine.processes:
        print(f"--- {process.name} (exit code {process.returncode}) ---\n{process.output()[-6000:]}")


@pytest.fixture
def spine(tmp_path: Path, mariadb_url: str, redis_url: str) -> Iterator[Spine]:
    """Processes on the shared servers, in a database and a Redis database of their own."""
    system = Spine(tmp_path, mariadb_url, redis_url)
    yield system
    _show(system)
    system.close()


@pytest.fixture
def fragile_spine(
    tmp_path: Path, private_mariadb: MariaDBServer, private_redis: RedisServer
) -> Iterator[tuple[Spine, MariaDBServer, RedisServer]]:
    """Processes on servers of their own, which the test may stop."""
    url = create_mariadb_database(private_mariadb.url)
    migrate_database(url)
    system = Spine(tmp_path, url, private_redis.url)
    yield system, private_mariadb, private_redis
    _show(system)
    system.close()
