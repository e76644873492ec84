"""The verb validate."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import ggt_format
from ggt_tools.cli import driving
from ggt_tools.cli.show import Bar, printable, table
from ggt_tools.errors import ConfigError
from ggt_tools.workspace.locks import held

EXAMPLE = "ggt100k validate ggt-100k --against workspace"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("root", help="Release: a folder or an fsspec URL.")
    sub.add_argument(
        "--quick", action="store_true", help="Leave out checksums and pixels; check sizes, names and texts."
    )
    sub.add_argument(
        "--against", type=Path, metavar="WORKSPACE", help="Compare every fact with the ledger of this workspace."
    )
    sub.add_argument("--findings", type=Path, metavar="FILE", help="Write the findings to this file as JSON lines.")
    driving.arguments(sub)
    sub.add_argument(
        "--tasks",
        metavar="FOLDER_OR_URL",
        help="Where tasks on a cluster leave their findings; every node must be able to write there "
        "(default: ROOT.tasks).",
    )


def run(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        return _run(options, stack)


def _run(options: argparse.Namespace, stack: contextlib.ExitStack) -> int:
    from ggt_tools.records import to_row
    from ggt_tools.stages.validate import validate

    counts: dict[str, int] = {}
    cluster = None
    with contextlib.suppress(ConfigError):  # validate says why, and whether that is a finding
        place = ggt_format.open_root(options.root)
        counts = {split: about["pairs"] for split, about in place.indices.items()}
    if counts:
        tasks = options.tasks or f"{place.url}.tasks"
        if options.engine != "local":
            if not options.tasks:
                stack.callback(_rmdir, Path(tasks))  # once the lock in it is gone
            stack.enter_context(_alone(tasks, place.url))
        cluster = driving.cluster(options, "validate", tasks)
    lines, reasons = [], Counter[str]()
    with Bar(sum(counts.values()), "validate") as bar:
        for finding in validate(
            options.root, quick=options.quick, against=options.against, processes=options.workers or 0,
            cluster=cluster, progress=bar.update,
        ):  # fmt: skip
            print(f"{finding.reason}: {printable(str(finding))}")
            lines.append(json.dumps(to_row(finding)) + "\n")
            reasons[finding.reason] += 1
    if cluster is not None and not options.tasks and "://" not in place.url:
        shutil.rmtree(Path(cluster.store.root) / "tasks", ignore_errors=True)
    if options.findings:
        options.findings.write_text("".join(lines), encoding="utf-8")
    beside = {"priors": counts.pop(ggt_format.PRIOR)} if ggt_format.PRIOR in counts else {}
    table("validate", {"pairs": sum(counts.values()), **beside, "findings": reasons.total()}, found=reasons)
    if options.quick and not reasons:
        print("quick: no checksum and no pixel was looked at")
    return 1 if reasons else 0


@contextlib.contextmanager
def _alone(tasks: str, root: str) -> Iterator[None]:
    """One run at a time over a release and a folder of tasks: it takes away what they found. A URL has no lock."""
    if "://" in tasks:
        yield
        return
    try:
        Path(tasks).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        why = f"{tasks}: cannot be written: {fault.strerror or fault}"
        raise ConfigError(f"{why}; it has to be a folder or URL that every node can write") from fault
    taken = (
        f"{tasks}: {{holder}} validates {root} and has its tasks there. Wait for its end, or give this one a folder of "
        "its own with --tasks."
    )
    path = Path(tasks) / f"validate-{hashlib.sha256(root.encode()).hexdigest()[:16]}.lock"
    with held(path, taken, remove=True):
        yield


def _rmdir(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
