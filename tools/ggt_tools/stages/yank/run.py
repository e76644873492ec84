"""Withdraw pairs of a workspace."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path

from ggt_tools.clock import utc_now
from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.events import SILENT, Events
from ggt_tools.records import Photo
from ggt_tools.stages.yank import withdraw
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class YankConfig:
    """Which pairs are withdrawn, and why.

    Attributes:
        keys: Keys of the pairs, 16 hexadecimal digits each. A key that is repeated counts once.
        reason: Why they are withdrawn, in words.
        by: Who withdraws them; "" for the login name.
        limit: Withdraw at most this many pairs.
        dry_run: Only tell what would be done.
    """

    keys: tuple[str, ...]
    reason: str
    by: str = ""
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if not self.reason.strip():
            raise ConfigError(
                "--reason: is empty. Say why the pairs are withdrawn, for people who ask about them in a year."
            )


def run(workspace: Path, config: YankConfig, *, events: Events = SILENT) -> Summary:
    """Withdraw the pairs that are not withdrawn yet. The reason of an earlier withdrawal stays.

    Args:
        workspace: Folder of the workspace.
        config: Which pairs, and why.
        events: Not used: there is nothing to report.

    Raises:
        ConfigError: A key is of no photograph in the workspace; nothing is withdrawn then.
    """
    keys = list(dict.fromkeys(config.keys))
    with Ledger(workspace) as ledger:
        known_keys = {photo.key for photo in ledger.all(Photo)}
        for key in keys:
            if key not in known_keys:
                raise ConfigError(
                    f"{workspace}: key {key}: no photograph in this workspace has this key, so nothing was withdrawn. "
                    "Copy the keys from the index."
                )
        withdrawn = ledger.withdrawn()
        planned = [key for key in keys if key not in withdrawn][: config.limit]
        done_count = sum(key in withdrawn for key in keys)
        if config.dry_run:
            return Summary(stage="yank", plan=(f"would withdraw {len(planned)} pairs, {done_count} already done",))
        by = config.by.strip() or getpass.getuser()
        ledger.add(*withdraw(planned, config.reason.strip(), by=by, created=utc_now()))
    return Summary(stage="yank", counts={"withdrawn": len(planned), "already done": done_count})
