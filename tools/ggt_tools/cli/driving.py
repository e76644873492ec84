"""What the verbs share whose works an engine drives: its options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggt_tools.cli.show import complain, count
from ggt_tools.errors import ConfigError

if TYPE_CHECKING:
    from ggt_tools.executors import Cluster

ENGINES = ("local", "slurm", "ray")


def arguments(sub: argparse.ArgumentParser) -> None:
    execution = sub.add_argument_group("execution")
    execution.add_argument(
        "--engine", choices=ENGINES, default="local", help="Run on this machine or on a cluster (default: local)."
    )
    execution.add_argument(
        "--workers", type=count, metavar="N", help="Number of worker processes (default: one for each GPU or core)."
    )
    execution.add_argument(
        "--cluster",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="Setting of the cluster: partition, time, gpus_per_task (slurm); address, cpus_per_task, gpus_per_task "
        "(ray). A wrong name lists all.",
    )


def cluster(options: argparse.Namespace, stage: str, place: str) -> Cluster | None:
    """The cluster that the options ask for, and where its tasks leave what they found; None for this machine.

    Jobs of an earlier run are waited for. ConfigError where the place cannot be written.
    """
    from ggt_tools.executors import Cluster, engine, wait
    from ggt_tools.executors.task import SEEN
    from ggt_tools.workspace.store import Store

    said = _said(options)
    if options.engine == "local" and not said:
        return None
    chosen = engine(options.engine, workers=options.workers, options=said)
    store = Store(place).absolute
    try:
        store.write(SEEN, b"")
    except Exception as fault:  # each client of fsspec has exceptions of its own
        why = f"{store.root}: cannot be written: {str(fault) or type(fault).__name__}"
        raise ConfigError(f"{why}; it has to be a folder or URL that every node can write") from fault
    wait(store, stage, options.engine, lambda said: complain(stage, said))
    return Cluster(chosen, store)


def _said(options: argparse.Namespace) -> dict[str, str]:
    """What --cluster says, by name."""
    pairs = [text.partition("=") for text in options.cluster]
    if wrong := [name for name, mark, _ in pairs if not mark]:
        raise ConfigError(f"--cluster {wrong[0]}: wants NAME=VALUE")
    return {name: value for name, _, value in pairs}
