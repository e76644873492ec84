"""The review of pairs by people: the page, and what they decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.api.facts import Facts
from ggt_tools.configs import build, convert
from ggt_tools.errors import ConfigError
from ggt_tools.summary import Summary

if TYPE_CHECKING:
    from ggt_tools.policy.agreement import ReviewSummary


class Reviewing(Facts):
    """Methods for the review of pairs."""

    def review(
        self,
        *,
        audit: float = 0.02,
        reviewers: int = 1,
        known: float = 0.04,
        degradation: str = "",
        show_evidence: bool = False,
        host: str = "127.0.0.1",
        port: int = 8642,
        names: Sequence[str] = (),
        on_ready: Callable[[str], object] = print,
    ) -> Summary:
        """Serve a local page on which people judge pairs, until it is interrupted.

        Args:
            audit: Share of the kept and of the rejected candidates that is shown as well, 0 to 1.
            reviewers: Number of people who judge each pair.
            known: Share of the pairs shown that have a known answer, 0 to 0.5.
            degradation: Show only this class; "" for all.
            show_evidence: Whether to show scores and boxes before a decision, too.
            host: Address to listen on.
            port: Port to listen on; 0 for any free one.
            names: Further host names by which the page is reached.
            on_ready: Called with the URL of the page, which holds a secret token, once it can be opened.

        Returns:
            The number of decisions that were stored.

        Raises:
            ConfigError: The page cannot be served, or another process serves it for this workspace.
        """
        from ggt_tools.review.serve import ReviewConfig, run

        config = build(
            ReviewConfig,
            audit=audit,
            reviewers=reviewers,
            known=known,
            degradation=degradation,
            show_evidence=show_evidence,
            host=host,
            port=port,
            names=names,
        )
        if not callable(on_ready):
            raise ConfigError(f"on_ready: {on_ready!r} cannot be called. Pass a function that takes the URL.")
        return run(self.path, config, on_ready=on_ready, events=self.events)

    def review_summary(self) -> ReviewSummary:
        """Return what reviewers decided, and how far they agree."""
        from ggt_tools.review.decisions import summarize

        return summarize(self.path)

    def export_decisions(self, out: str | Path) -> Summary:
        """Write the decisions in force as CSV, as `calibrate` reads labels.

        Args:
            out: CSV file to write.
        """
        from ggt_tools.review.decisions import export_decisions

        return export_decisions(self.path, convert("out", out, Path))
