"""How often somebody may try to log in: few failures per address, and per name, in a while."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WHILE_SECONDS = 300.0
OF_AN_ADDRESS = 10
OF_A_NAME = 50  # from all addresses: a few of them cannot keep its owner out
MOST_KEYS = 10_000  # the ones that were not tried for longest are forgotten


class Attempts:
    """Counts attempts in memory; those that succeed do not count. Used by many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._moments: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def begin(self, address: str, name: str) -> float | None:
        """Count an attempt; the seconds to wait where there were too many, and then it is not counted."""
        now = self._clock()
        limits = self._keys(address, name)
        with self._lock:
            waits = [
                moments[0] + WHILE_SECONDS - now
                for key, most in limits.items()
                if len(moments := self._recent(key, now)) >= most
            ]
            if waits:
                return max(waits)
            for key in limits:
                self._moments[key].append(now)
            while len(self._moments) > MOST_KEYS:
                self._moments.popitem(last=False)
        return None

    def succeed(self, address: str, name: str) -> None:
        """The last attempt had the right password."""
        with self._lock:
            for key in self._keys(address, name):
                if moments := self._moments.get(key):
                    moments.pop()

    def _recent(self, key: tuple[str, str], now: float) -> deque[float]:
        moments = self._moments.setdefault(key, deque())
        self._moments.move_to_end(key)
        while moments and moments[0] <= now - WHILE_SECONDS:
            moments.popleft()
        return moments

    @staticmethod
    def _keys(address: str, name: str) -> dict[tuple[str, str], int]:
        return {("address", _network(address)): OF_AN_ADDRESS, ("name", name[:64]): OF_A_NAME}


def _network(address: str) -> str:
    """Of IPv6 the first half, which one customer has all to themselves."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
