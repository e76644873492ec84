"""What the verbs share whose works an engine drives: its options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ggt_tools.cli.show import complain, count
from ggt_tools.errors import ConfigError

if TYPE_CHECKING:
    from ggt_tools.engine import Engine
    from ggt_tools.engine.task import Stage
    from ggt_tools.ledger import Ledger

ENGINES = ("local", "slurm", "ray")


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--engine", choices=ENGINES, default="local", help="this machine, or a cluster; default: local")
    sub.add_argument(
        "--workers", type=count, metavar="N", help="processes, each with its model; default: a GPU or core each"
    )
    sub.add_argument(
        "--cluster",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the engine: partition, time, gpus_per_task (slurm); address, cpus_per_task, gpus_per_task (ray); "
        "a wrong name lists them all",
    )


def settle(options: argparse.Namespace, ledger: Ledger, stage: str) -> None:
    """Takes in what an earlier run left. Before works are planned."""
    from ggt_tools.engine import settle

    if not options.dry_run:
        settle(ledger, stage, options.engine, lambda said: complain(stage, said))


def chosen(options: argparse.Namespace, stage: Stage, works: Sequence[Any]) -> Engine:
    """The engine that the options ask for, or that so many works ask for."""
    from ggt_tools.engine import engine
    from ggt_tools.engine.local import CONTEXT

    pairs = [text.partition("=") for text in options.cluster]
    if wrong := [name for name, mark, _ in pairs if not mark]:
        raise ConfigError(f"--cluster {wrong[0]}: wants NAME=VALUE")
    said = {name: value for name, _, value in pairs}
    if hasattr(CONTEXT, "set_forkserver_preload"):
        CONTEXT.set_forkserver_preload(["ggt_tools.engine.stages"])
    gpus = _gpus() if stage.gpu and options.engine == "local" else 0
    return engine(options.engine, workers=options.workers, options=said, works=len(works), gpus=gpus)


def _gpus() -> int:
    if find_spec("torch") is None:
        return 0
    import torch

    return int(torch.cuda.device_count())
