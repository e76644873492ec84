"""Who has which pair at hand. Nothing is handed to a second page while a first one has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

LEASE = 600.0  # seconds without a word from the page, after which what it has goes to others
Look = TypeVar("Look")


@dataclass(slots=True)
class Lease(Generic[Look]):
    look: Look
    reviewer: str
    page: str
    until: float


class Leases(Generic[Look]):
    """By the name of what is handed out."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._held: dict[str, Lease[Look]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def take(self, name: str, look: Look, reviewer: str, page: str) -> Look:
        self._held[name] = Lease(look=look, reviewer=reviewer, page=page, until=self._now() + LEASE)
        return look

    def held(self, reviewer: str, page: str) -> list[Look]:
        """What a page has, in the order in which it got it. It has given a sign of life; who did not loses his."""
        now = self._now()
        for name in [name for name, lease in self._held.items() if lease.until < now]:
            del self._held[name]
        own = [lease for lease in self._held.values() if (lease.reviewer, lease.page) == (reviewer, page)]
        for lease in own:
            lease.until = now + LEASE
        return [lease.look for lease in own]

    def of(self, reviewer: str) -> list[Look]:
        return [lease.look for lease in self._held.values() if lease.reviewer == reviewer]

    def drop(self, name: str, reviewer: str, page: str = "") -> None:
        """Ends this reviewer's lease, where a page is named only that page's; another one's stays."""
        lease = self._held.get(name)
        if lease is not None and lease.reviewer == reviewer and page in ("", lease.page):
            del self._held[name]

    def drop_page(self, page: str) -> None:
        """The page is gone."""
        for name in [name for name, lease in self._held.items() if lease.page == page]:
            del self._held[name]
