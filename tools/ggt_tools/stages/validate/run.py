"""Check a release, and report the findings."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ggt_format.roots import open_root
from ggt_format.schema import PRIOR
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.executors import LOCAL, Cluster, ExecutorConfig, open_cluster
from ggt_tools.files.outputs import check_output_file
from ggt_tools.records import Finding
from ggt_tools.stages.preview.check import check_preview
from ggt_tools.stages.validate import validate
from ggt_tools.summary import Summary
from ggt_tools.workspace.codec import to_json
from ggt_tools.workspace.ledger import write_whole
from ggt_tools.workspace.locks import held


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateConfig:
    """What is checked, and where findings are written.

    Attributes:
        quick: Leave out checksums and pixels; check sizes, names and texts.
        against: Workspace whose ledger every fact is compared with; None for none.
        findings: File to write the findings to, as JSON lines; None for none.
        preview: Folder of the preview that is compared with the release; None for none.
        tasks: Folder or fsspec URL where tasks on a cluster leave their findings; every node must be able to write
            there. "" for RELEASE.tasks.
    """

    quick: bool = False
    against: Path | None = None
    findings: Path | None = None
    preview: Path | None = None
    tasks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The findings, and the summary of the run. It is failed where there is a finding."""

    findings: tuple[Finding, ...]
    summary: Summary

    @property
    def is_valid(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        return "\n".join([*(f"{finding.reason}: {finding}" for finding in self.findings), str(self.summary)])


def run(
    release: str | Path,
    config: ValidateConfig,
    *,
    executor: ExecutorConfig = LOCAL,
    events: Events = SILENT,
    on_finding: Callable[[Finding], object] = lambda finding: None,
) -> Validation:
    """Check a release against the format, and note in its folder that it has passed. Nothing is repaired.

    Args:
        release: Folder or fsspec URL of the release.
        config: What is checked.
        executor: Where the shards are read.
        events: Receives progress.
        on_finding: Called with each finding as soon as there is one.

    Raises:
        ConfigError: There is no release, it has another version of the format, or a shard could not be looked at.
    """
    if config.findings:
        check_output_file(config.findings)
    pairs_by_split: dict[str, int] = {}
    with contextlib.suppress(ConfigError):  # validate says why, and whether it is a finding
        root = open_root(str(release))
        pairs_by_split = {split: about["pairs"] for split, about in root.indices.items()}
    findings = []
    with contextlib.ExitStack() as stack:
        cluster = None
        if pairs_by_split:
            cluster = _start_cluster(root.url, config, executor, events, stack)
        progress = stack.enter_context(events.progress("validate", sum(pairs_by_split.values())))
        for finding in validate(
            str(release),
            quick=config.quick,
            against=config.against,
            processes=executor.workers or 0,
            cluster=cluster,
            progress=progress.advance,
        ):
            on_finding(finding)
            findings.append(finding)
        for finding in check_preview(root, config.preview) if config.preview and pairs_by_split else ():
            on_finding(finding)
            findings.append(finding)
        if cluster is not None and not config.tasks and "://" not in root.url:
            shutil.rmtree(Path(cluster.store.root) / "tasks", ignore_errors=True)
    if config.findings:
        lines = [to_json(finding) + "\n" for finding in findings]
        write_whole(config.findings, "".join(lines).encode())
    return Validation(findings=tuple(findings), summary=_summary(pairs_by_split, findings, config))


def _summary(pairs_by_split: dict[str, int], findings: list[Finding], config: ValidateConfig) -> Summary:
    prior_count = pairs_by_split.get(PRIOR)
    counts = {"pairs": sum(pairs_by_split.values()) - (prior_count or 0)}
    if prior_count is not None:
        counts["priors"] = prior_count
    is_unread = config.quick and not findings
    return Summary(
        stage="validate",
        counts=counts | {"findings": len(findings)},
        reasons={"found": Counter(finding.reason for finding in findings)},
        notes=("quick: checksums and pixels were not checked",) if is_unread else (),
        paths=(str(config.findings),) if config.findings else (),
        is_failed=bool(findings),
    )


def _start_cluster(
    url: str, config: ValidateConfig, executor: ExecutorConfig, events: Events, stack: contextlib.ExitStack
) -> Cluster | None:
    """Return the cluster that reads the shards, None for this machine; `stack` ends what goes with it."""
    tasks = config.tasks or f"{url}.tasks"
    if executor.name != "local":
        if not config.tasks:
            stack.callback(_remove_if_empty, Path(tasks))  # after the lock in it is gone
        stack.enter_context(lock_tasks(tasks, url))
    return open_cluster(executor, "validate", tasks, events)


@contextlib.contextmanager
def lock_tasks(tasks: str, release: str) -> Iterator[None]:
    """Let one run at a time use a folder of tasks for a release: it removes what the tasks left. A URL has no lock.

    Raises:
        ConfigError: Another run uses it, or the folder cannot be written.
    """
    if "://" in tasks:
        yield
        return
    try:
        Path(tasks).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(
            f"{tasks}: cannot be written: {fault.strerror or fault}. Name a folder or URL that every node can write."
        ) from fault
    taken = (
        f"{tasks}: {{holder}} validates {release} and has its tasks in this folder. Wait until it ends, or give this "
        "run a folder of its own with --tasks."
    )
    path = Path(tasks) / f"validate-{hashlib.sha256(release.encode()).hexdigest()[:16]}.lock"
    with held(path, taken, remove=True):
        yield


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
