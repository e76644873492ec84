"""The stages that make candidates: prompt, restore, retry, align, refine."""

from __future__ import annotations

from collections.abc import Sequence

from ggt_tools.api.facts import SERVICE, Facts
from ggt_tools.configs import build
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.summary import Summary


class Making(Facts):
    """Methods that make candidates."""

    def prompt(
        self,
        strategy: str = "fixed",
        *,
        vlm: str = "gemini",
        service: ServiceConfig = SERVICE,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Write a prompt for each photograph.

        Args:
            strategy: "fixed" for one text for each class, "measured" for one sentence for each measured degradation,
                "vlm" for a text by a vision-language model.
            vlm: Vision-language model for the strategy vlm, as PROVIDER or PROVIDER:MODEL.
            service: How the model is called, and what that may cost.
            limit: Write at most this many prompts.
            dry_run: Only tell what would be done, in `Summary.plan`.
        """
        from ggt_tools.stages.prompt.run import PromptConfig, run

        config = build(PromptConfig, strategy=strategy, vlm=vlm, service=service, limit=limit, dry_run=dry_run)
        return run(self.path, config, events=self.events)

    def restore(
        self,
        *restorers: str,
        prompt: str | None = None,
        candidates_per_photo: int = 1,
        seed: int = 0,
        batch: bool = False,
        poll_seconds: float = 60.0,
        service: ServiceConfig = SERVICE,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Make candidates: let restorers restore the photographs.

        Args:
            *restorers: Restorers, each as NAME or NAME:MODEL; "classical" where none is given.
            prompt: Strategy of the prompts to use: fixed, measured or vlm; None for the only one that was written.
            candidates_per_photo: Number of candidates that each restorer makes of each photograph.
            seed: Seed of the first candidate; each further one has the next number.
            batch: Use the provider's batch jobs: half the price, results within a day.
            poll_seconds: Seconds between two checks of batch jobs.
            service: How a restorer on a server is called, what that may cost, and the options of the restorer.
            limit: Make at most this many candidates with each restorer.
            dry_run: Only tell what would be done, in `Summary.plan`.

        Raises:
            ConfigError: A restorer is unknown, a package or key is missing, or the budget does not suffice.
        """
        from ggt_tools.stages.restore.run import RestoreConfig, run

        config = build(
            RestoreConfig,
            restorers=restorers or ("classical",),
            prompt=prompt,
            candidates_per_photo=candidates_per_photo,
            seed=seed,
            batch=batch,
            poll_seconds=poll_seconds,
            service=service,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, config, executor=self.executor, events=self.events)

    def retry(
        self,
        reasons: Sequence[str],
        *,
        service: ServiceConfig = SERVICE,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Make candidates once more that failed for these reasons.

        Args:
            reasons: Reason codes of the failed candidates, for example ``["timeout", "server_error"]``.
            service: How a restorer on a server is called, what that may cost, and the options of the restorer.
            limit: Make at most this many candidates.
            dry_run: Only tell what would be done, in `Summary.plan`.

        Raises:
            ConfigError: Nothing failed for one of the reasons.
        """
        from ggt_tools.stages.retry.run import RetryConfig, run

        config = build(RetryConfig, reasons=reasons, service=service, limit=limit, dry_run=dry_run)
        return run(self.path, config, events=self.events)

    def align(self, *, colour: bool | None = None, limit: int | None = None, dry_run: bool = False) -> Summary:
        """Warp each candidate into the frame of its photograph.

        Args:
            colour: Undo small colour shifts by a linear map, for the classes whose own colours are a target. None: no,
                and candidates that were aligned with a map stay so.
            limit: Align at most this many candidates.
            dry_run: Only tell what would be done, in `Summary.plan`.
        """
        from ggt_tools.stages.align.run import AlignConfig, run

        config = build(AlignConfig, colour=colour, limit=limit, dry_run=dry_run)
        return run(self.path, config, executor=self.executor, events=self.events)

    def refine(
        self,
        *restorers: str,
        rounds: int = 3,
        unsure: bool = False,
        prompt: str | None = None,
        service: ServiceConfig = SERVICE,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Restore rejected photographs again, and tell the restorer what was wrong.

        Args:
            *restorers: Restorers in order of preference; those that made the candidates where none is given.
            rounds: Largest number of rounds after the first.
            unsure: Whether to restore photographs again of which a candidate waits for review.
            prompt: Strategy of the prompts to start from after a restorer that reads none; None for the newest.
            service: How a restorer on a server is called, what that may cost, and the options of the restorer.
            limit: Restore at most this many photographs again.
            dry_run: Only tell what would be done, in `Summary.plan`.
        """
        from ggt_tools.stages.refine.run import RefineConfig, run

        config = build(
            RefineConfig,
            restorers=restorers,
            rounds=rounds,
            unsure=unsure,
            prompt=prompt,
            service=service,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, config, events=self.events)
