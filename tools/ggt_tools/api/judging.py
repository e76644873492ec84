"""The stages that judge candidates: score, screen, verdict, calibrate, report, study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.api.facts import SERVICE, Facts
from ggt_tools.configs import build
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.summary import Summary

if TYPE_CHECKING:
    from ggt_tools.stages.calibrate.run import CalibrateResult
    from ggt_tools.stages.study.run import StudyReport
    from ggt_tools.stages.verdict.compare import GateComparison


class Judging(Facts):
    """Methods that judge candidates."""

    def score(
        self,
        metrics: Sequence[str] = ("core", "text"),
        *,
        device: str = "auto",
        weights: str | Path | None = None,
        batch: int = 8,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Measure each aligned candidate against its photograph.

        Args:
            metrics: Names of metrics, or of sets of them: core, regions, text, faces, weight-free, offline, default.
            device: Device of metrics with models, as torch names it; "auto" for cuda where there is one.
            weights: Folder with downloaded weights; None for torch's cache.
            batch: Number of pairs in a batch on a GPU.
            limit: Measure at most this many candidates.
            dry_run: Only tell what would be done, in `Summary.plan`.

        Raises:
            ConfigError: A metric is unknown or cannot be measured here, or nothing is aligned.
        """
        from ggt_tools.stages.score.run import ScoreConfig, run

        config = build(
            ScoreConfig,
            metrics=metrics,
            device=device,
            weights=weights,
            batch=batch,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, config, executor=self.executor, events=self.events)

    def screen(
        self,
        vlm: str = "gemini",
        *,
        votes: int = 1,
        include_rejected: bool = False,
        service: ServiceConfig = SERVICE,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Let a vision-language model judge each candidate.

        Args:
            vlm: Vision-language model, as PROVIDER or PROVIDER:MODEL.
            votes: Number of opinions for each of the two orders of the images.
            include_rejected: Whether to judge candidates that the gate has rejected, too.
            service: How the model is called, and what that may cost.
            limit: Judge at most this many candidates.
            dry_run: Only tell what would be done, in `Summary.plan`.
        """
        from ggt_tools.stages.screen.run import ScreenConfig, run

        config = build(
            ScreenConfig,
            vlm=vlm,
            votes=votes,
            include_rejected=include_rejected,
            service=service,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, config, executor=self.executor, events=self.events)

    def verdict(self, gate: str | Path | None = None, *, limit: int | None = None, dry_run: bool = False) -> Summary:
        """Apply the gate to every candidate: keep, reject or unsure.

        Args:
            gate: Gate file, or the name of a gate of the package: offline, full. None for offline.
            limit: Change at most this many verdicts.
            dry_run: Count the verdicts, and store nothing.

        Raises:
            ConfigError: The gate file cannot be read or is wrong.
        """
        from ggt_tools.stages.verdict.run import VerdictConfig, run

        config = build(VerdictConfig, gate=gate, limit=limit, dry_run=dry_run)
        return run(self.path, config, events=self.events)

    def compare_gates(
        self, what_if: str | Path, *, gate: str | Path | None = None, limit: int | None = None
    ) -> GateComparison:
        """Return how another gate file would change the verdicts. Nothing is stored.

        Args:
            what_if: The gate file that might be used instead.
            gate: The gate file that it is compared with; None for the verdicts that the workspace holds.
            limit: Compare at most this many candidates.
        """
        from ggt_tools.stages.verdict.compare import CompareConfig, run

        return run(self.path, build(CompareConfig, what_if=what_if, gate=gate, limit=limit))

    def calibrate(
        self,
        labels: str | Path,
        out: str | Path,
        *,
        gate: str | Path | None = None,
        false_accept: float = 0.02,
        plot: str | Path | None = None,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> CalibrateResult:
        """Fit the gate to people's decisions at a stated rate of false accepts.

        Args:
            labels: CSV or JSON lines with the columns candidate or key, and decision (keep or reject).
            out: Gate file to write; it must not exist yet.
            gate: Gate file to start from; None for the gate.toml of the package.
            false_accept: Largest share of kept candidates that people reject, between 0 and 1.
            plot: PNG to write, with precision, recall, ROC and reliability; None for `out` with the suffix .png.
            limit: Use at most this many labels.
            dry_run: Fit, and write nothing.
        """
        from ggt_tools.stages.calibrate.run import CalibrateConfig, run

        config = build(
            CalibrateConfig,
            labels=labels,
            out=out,
            gate=gate,
            false_accept=false_accept,
            plot=plot,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, config)

    def report(self, out: str | Path | None = None) -> Summary:
        """Write one HTML page about the workspace.

        Args:
            out: HTML file to write; None for report.html in the workspace.
        """
        from ggt_tools.stages.report.run import ReportConfig, run

        return run(self.path, build(ReportConfig, out=out), events=self.events)

    def study(
        self,
        plan: str | Path | None = None,
        *,
        out: str | Path | None = None,
        servers: Mapping[str, str] | None = None,
        service: ServiceConfig = SERVICE,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> StudyReport:
        """Compare restorers and prompts by a plan, and recommend one.

        Args:
            plan: Plan of which everything missing is made; None to only report the newest study.
            out: HTML page to write, and beside it the table as CSV; None for none.
            servers: Address of another server with the same API, by provider.
            service: Budget and limits of all calls.
            limit: Make at most this many prompts, candidates and opinions in each stage.
            dry_run: Only tell what would be done.
        """
        from ggt_tools.stages.study.run import StudyConfig, run

        config = build(
            StudyConfig,
            plan=plan,
            out=out,
            servers={} if servers is None else servers,
            service=service,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, config, events=self.events)
