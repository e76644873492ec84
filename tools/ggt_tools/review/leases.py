"""Which page has which pair. A pair is not handed out to a second page while a first one has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

LEASE_SECONDS = 600.0  # after so long without a request from the page, its pairs are handed out to others
View = TypeVar("View")


@dataclass(slots=True)
class Lease(Generic[View]):
    """A view that a page of a reviewer has until a time in seconds."""

    view: View
    reviewer: str
    page: str
    until: float


class Leases(Generic[View]):
    """The leases of all pages, by the name of what is leased: a candidate or a comparison.

    Args:
        monotonic: Returns a time in seconds that only grows.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._leases: dict[str, Lease[View]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._leases

    def add(self, name: str, view: View, reviewer: str, page: str) -> View:
        """Lease something to a page, and return its view."""
        until = self._monotonic() + LEASE_SECONDS
        self._leases[name] = Lease(view=view, reviewer=reviewer, page=page, until=until)
        return view

    def renew(self, reviewer: str, page: str) -> list[View]:
        """Renew the leases of a page that sent a request, drop all expired leases, and return the views of the page.

        The views are in the order in which they were leased.
        """
        now = self._monotonic()
        for name in [name for name, lease in self._leases.items() if lease.until < now]:
            del self._leases[name]
        own = [lease for lease in self._leases.values() if (lease.reviewer, lease.page) == (reviewer, page)]
        for lease in own:
            lease.until = now + LEASE_SECONDS
        return [lease.view for lease in own]

    def views_of(self, reviewer: str) -> list[View]:
        """Return the views of all pages of a reviewer."""
        return [lease.view for lease in self._leases.values() if lease.reviewer == reviewer]

    def drop(self, name: str, reviewer: str, page: str = "") -> None:
        """End a lease if this reviewer has it and, if a page is named, on that page."""
        lease = self._leases.get(name)
        if lease is not None and lease.reviewer == reviewer and page in ("", lease.page):
            del self._leases[name]

    def drop_page(self, page: str) -> None:
        """End all leases of a page that was closed."""
        for name in [name for name, lease in self._leases.items() if lease.page == page]:
            del self._leases[name]
