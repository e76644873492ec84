"""The class `Workspace`: every stage that works in a workspace, as a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ggt_tools.api.importing import Importing
from ggt_tools.api.judging import Judging
from ggt_tools.api.making import Making
from ggt_tools.api.reviewing import Reviewing
from ggt_tools.configs import build, convert
from ggt_tools.summary import Summary


class Workspace(Importing, Making, Judging, Reviewing):
    """A folder with the photographs, candidates, facts and verdicts of one dataset in the making.

    Args:
        path: Folder of an existing workspace; `Workspace.create` makes a new one.
        events: Where stages report progress and warnings to; None for progress bars, also in a notebook, and Python
            warnings.
        executor: Where the stages run that can run elsewhere: worker processes, Slurm or Ray.

    Raises:
        ConfigError: There is no workspace at `path`, or its ledger cannot be read.
    """

    def pack(
        self,
        out: str | Path = "ggt-100k",
        *,
        version: str = "1.0.0",
        test: float | None = None,
        base: str | Path = "",
        recompress: bool = False,
        priors: bool = False,
        forget_packed: bool = False,
        preferences: bool = False,
        codec: str = "png",
        shard_bytes: int = 500_000_000,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Write the kept pairs as a release; with `base` as the next version of one.

        Args:
            out: Folder of the release.
            version: Version of the dataset, three numbers.
            test: Number of pairs in the test split, at most a tenth of all pairs; below 1, their share; None for 500.
            base: The previous release, a folder or fsspec URL; "" for none.
            recompress: Whether to write PNG images of the base anew that have an older layout. Their pixels stay.
            priors: Whether to add outputs that were rejected only because they are not aligned, as visual priors.
            forget_packed: Whether pairs of earlier releases without a test split may be in the test split; only if no
                model was trained on these releases.
            preferences: Whether to add kept and rejected candidates, as preference shards.
            codec: "png", which keeps every pixel, or "jpeg", which has a third of the size.
            shard_bytes: Largest size of a shard.
            limit: Pack at most this many pairs.
            dry_run: Only tell what would be done, in `Summary.plan`.

        Raises:
            ConfigError: There is nothing to pack, or `out` holds another release.
        """
        from ggt_tools.stages.pack import PackConfig
        from ggt_tools.stages.pack.run import run

        config = build(
            PackConfig,
            version=version,
            test=test,
            base=base,
            recompress=recompress,
            priors=priors,
            forget_packed=forget_packed,
            preferences=preferences,
            codec=codec,
            shard_bytes=shard_bytes,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, convert("out", out, Path), config, executor=self.executor, events=self.events)

    def yank(
        self,
        keys: Sequence[str],
        reason: str,
        *,
        by: str = "",
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Withdraw pairs: the next version leaves them out, and the ledger keeps the reason.

        Args:
            keys: Keys of the pairs, 16 hexadecimal digits each.
            reason: Why they are withdrawn, in words.
            by: Who withdraws them; "" for the login name.
            limit: Withdraw at most this many pairs.
            dry_run: Only tell what would be done, in `Summary.plan`.
        """
        from ggt_tools.stages.yank.run import YankConfig, run

        config = build(YankConfig, keys=keys, reason=reason, by=by, limit=limit, dry_run=dry_run)
        return run(self.path, config, events=self.events)
