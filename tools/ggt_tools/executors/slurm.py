"""The engine of a Slurm cluster that is there: one job array by datatrove, whose jobs each do a share of the tasks.

The store has to be one that every node sees under the same name: a shared folder, or a URL. The jobs go on where who
asked for them dies: the next run waits for them, takes in what they found, and plans the rest.
"""

from __future__ import annotations

import getpass
import math
import pickle
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor
from loguru import logger

from ggt_tools.errors import ConfigError, GGTError
from ggt_tools.executors.options import chosen
from ggt_tools.executors.task import Stage, Task, file, folder, perform, unseen
from ggt_tools.records import work_id
from ggt_tools.workspace.store import Store

SHARE = 16  # tasks of a job, at most: its model is loaded once for them, and where it dies so many wait for another
UNSEEN = "unseen"  # among the logs: the node whose worker did not find its task
LOOK = 1.0  # seconds between two looks at what came, and at the queue


class Slurm:
    """Options: partition (needed), time, cpus_per_task, gpus_per_task, mem_per_cpu_gb, qos, account, constraint,
    logs (a folder that every node sees; default: beside the images, where those lie in a folder)."""

    def __init__(self, workers: int | None, options: Mapping[str, str]) -> None:
        self._said = chosen(
            "slurm", options, partition="", time="24:00:00", cpus_per_task="1", gpus_per_task="0", mem_per_cpu_gb="2",
            qos="", account="", constraint="", logs="",
        )  # fmt: skip
        if not self._said["partition"]:
            raise ConfigError("--engine slurm: wants to know where: --cluster partition=NAME (sinfo lists them)")
        for name in ("cpus_per_task", "gpus_per_task", "mem_per_cpu_gb"):
            self._said.whole(name)
        self.workers = workers or 8

    def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
        """Each task as its file comes, with "", or when its job has ended without one, with what to read."""
        waiting, store = list(tasks), store.absolute
        while waiting:
            share = min(math.ceil(len(waiting) / self.workers), SHARE)
            jobs = [waiting[at : at + share] for at in range(0, len(waiting), share)]
            there: set[str] = set()
            logs = self._launch(stage, waiting, share, store)
            for came in self._come(stage, waiting, store):
                there.add(came.id)
                yield came, ""
            if (note := logs / UNSEEN).exists():
                raise unseen(store.root, by=note.read_text())
            if not there and not any(logs.glob("slurm_logs/**/*.out")):
                raise ConfigError(
                    f"{logs}: no job has left a log there; were they cancelled? else put it where every node sees it "
                    "under this name: --cluster logs=FOLDER"
                )
            waiting = []
            for job in jobs:  # its tasks run one after the other: the first without a file ended it
                missing = [each for each in job if each.id not in there]
                waiting += missing[1:]
                yield from ((each, f"its job ended with it; see {logs}") for each in missing[:1])

    def _come(self, stage: Stage, tasks: Sequence[Task], store: Store) -> Iterator[Task]:
        """Each task as its file comes, until all are there, or no job is left that could bring one."""
        name = _name(stage.name, store)
        missing = {file(stage.name, task): task for task in tasks}
        over = False
        while True:
            came = [found for found in store.names(folder(stage.name)) if found in missing]
            yield from (missing.pop(found) for found in came)
            for found in store.names(_faults(stage.name)):
                fault = store.read(found).decode()
                store.remove(found)
                _ask("scancel", f"--name={name}", f"--user={getpass.getuser()}")
                raise ConfigError(fault)
            if over or not missing:
                return
            over = not _queued(name)
            if not over:
                time.sleep(LOOK)

    def _launch(self, stage: Stage, tasks: Sequence[Task], share: int, store: Store) -> Path:
        """Submits the array; the folder of its logs."""
        home = self._said["logs"] or (store.root if "://" not in store.root else "")
        if not home:
            raise ConfigError(
                f"{store.root}: Slurm writes its logs in a folder: --cluster logs=FOLDER that every node sees"
            )
        plan = f"tasks/slurm/{work_id(stage.name, time.time_ns())}"
        logs = Path(home).resolve() / plan
        for number, each in enumerate(tasks):
            store.write(f"{plan}/{number}.task", pickle.dumps((stage, each)))
        logger.disable("datatrove")
        executor = _Executor(
            pipeline=[Step(plan, store, logs)],
            tasks=len(tasks),
            tasks_per_job=share,
            workers=self.workers,
            time=self._said["time"],
            partition=self._said["partition"],
            cpus_per_task=self._said.whole("cpus_per_task"),
            gpus_per_task=self._said.whole("gpus_per_task"),
            mem_per_cpu_gb=self._said.whole("mem_per_cpu_gb"),
            qos=self._said["qos"],
            job_name=_name(stage.name, store),
            env_command=f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
            sbatch_args={each: self._said[each] for each in ("account", "constraint") if self._said[each]},
            logging_dir=str(logs),
            with_srun=False,
        )
        try:
            executor.run()
        except (subprocess.CalledProcessError, FileNotFoundError) as fault:
            raise ConfigError("--engine slurm: sbatch did not take the jobs; what it says stands above") from fault
        return logs


class _Executor(SlurmPipelineExecutor):  # type: ignore[misc]
    def launch_merge_stats(self) -> None:
        """datatrove's is one more job, which adds statistics up that nobody reads."""


class Step:
    """What datatrove runs in a job: the task of its rank."""

    def __init__(self, plan: str, store: Store, logs: Path) -> None:
        self.plan, self.store, self.logs = plan, store, logs

    def __call__(self, data: Any, rank: int, world_size: int) -> Iterator[Any]:
        try:
            stage, task = pickle.loads(self.store.read(f"{self.plan}/{rank}.task"))
        except FileNotFoundError as fault:
            (self.logs / UNSEEN).write_text(socket.gethostname())
            raise unseen(self.store.root) from fault
        try:
            perform(stage, task, self.store)
        except GGTError as fault:  # of the stage as a whole: what concerns one work is a Fault among its facts
            self.store.write(f"{_faults(stage.name)}/{task.id}", str(fault).encode())
            raise
        return iter(())


def wait(stage: str, store: Store, tell: Callable[[str], object]) -> None:
    """Until no job of an earlier run works on this stage of this workspace any more."""
    name = _name(stage, store.absolute)
    if _queued(name):
        tell(f"jobs of an earlier run, {name} in squeue, are at work; waiting for their end")
    while _queued(name):
        time.sleep(LOOK)


def _queued(name: str) -> bool:
    return bool(_ask("squeue", "--noheader", f"--name={name}", f"--user={getpass.getuser()}", "--format=%i").strip())


def _ask(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError as fault:
        raise ConfigError(f"--engine slurm: {argv[0]} is not here; run it where jobs are submitted from") from fault
    if done.returncode:
        raise ConfigError(f"--engine slurm: {argv[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _name(stage: str, store: Store) -> str:
    """Of the jobs, by which a later run finds them."""
    return f"ggt100k-{stage}-{work_id(store.root)[:8]}"


def _faults(stage: str) -> str:
    return f"{folder(stage)}/faults"
