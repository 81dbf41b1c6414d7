"""Fetches the servers of these tests ahead of them, which takes minutes of waiting: python tests/cluster/fetch.py."""

from __future__ import annotations

import kafka_server
import servers

if __name__ == "__main__":
    kafka_server.install()
    servers.install()
