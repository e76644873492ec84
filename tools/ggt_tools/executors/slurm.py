"""The executor of a running Slurm cluster: datatrove submits one job array, and each job does a share of the tasks.

Every node must see the store under the same name: a shared folder, or a URL. The jobs continue if the process that
submitted them dies: the next run waits for them, merges their results, and plans the rest.
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
from ggt_tools.executors.options import parse_options
from ggt_tools.executors.task import Stage, Task, not_shared_error, perform, result_file, result_folder
from ggt_tools.records import work_id
from ggt_tools.workspace.store import Store

# The most tasks of a job. A job loads its model once for all its tasks, but if it dies they wait for another job.
MAX_TASKS_PER_JOB = 16
NOT_SHARED = "unseen"  # a file among the logs that names the node whose worker did not find its task
POLL_SECONDS = 1.0  # between two looks at the results and the queue


class Slurm:
    """The executor."""

    def __init__(self, workers: int | None, options: Mapping[str, str]) -> None:
        """Check the options.

        Args:
            workers: Number of jobs that run at the same time (default: 8).
            options: partition (required), time (default: 24:00:00), cpus_per_task (default: 1), gpus_per_task
                (default: 0), mem_per_cpu_gb (default: 2), qos, account, constraint, logs (a folder that every node
                sees; default: a folder of the store, if that is a folder).

        Raises:
            ConfigError: The partition is missing, or an option is wrong.
        """
        self._options = parse_options(
            "slurm", options, partition="", time="24:00:00", cpus_per_task="1", gpus_per_task="0", mem_per_cpu_gb="2",
            qos="", account="", constraint="", logs="",
        )  # fmt: skip
        if not self._options["partition"]:
            raise ConfigError(
                "--engine slurm: the partition is missing. Name it: --cluster partition=NAME (sinfo lists them)"
            )
        for name in ("cpus_per_task", "gpus_per_task", "mem_per_cpu_gb"):
            self._options.integer(name)
        self.workers = workers or 8

    def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
        """Yield each task with "" when its file exists, or with the log to read when its job ended without a file."""
        waiting, store = list(tasks), store.absolute
        while waiting:
            job_size = min(math.ceil(len(waiting) / self.workers), MAX_TASKS_PER_JOB)
            jobs = [waiting[start : start + job_size] for start in range(0, len(waiting), job_size)]
            finished: set[str] = set()
            logs = self._submit(stage, waiting, job_size, store)
            for task in self._finished_tasks(stage, waiting, store):
                finished.add(task.id)
                yield task, ""
            if (note := logs / NOT_SHARED).exists():
                raise not_shared_error(store.root, host=note.read_text())
            if not finished and not any(logs.glob("slurm_logs/**/*.out")):
                raise ConfigError(
                    f"{logs}: no job wrote a log there. Unless the jobs were cancelled, name a folder that every node "
                    "sees under this name: --cluster logs=FOLDER"
                )
            waiting = []
            for job in jobs:  # its tasks run one after another: the first one without a file is the one that ended it
                missing = [task for task in job if task.id not in finished]
                waiting += missing[1:]
                yield from ((task, f"its job ended with it, see {logs}") for task in missing[:1])

    def _finished_tasks(self, stage: Stage, tasks: Sequence[Task], store: Store) -> Iterator[Task]:
        """Yield each task when its file exists, until all do or no job is left.

        Raises:
            ConfigError: A task found that the stage cannot work at all. The other jobs are cancelled.
        """
        name = _job_name(stage.name, store)
        missing = {result_file(stage.name, task): task for task in tasks}
        is_over = False
        while True:
            new_files = [file for file in store.names(result_folder(stage.name)) if file in missing]
            yield from (missing.pop(file) for file in new_files)
            for file in store.names(_error_folder(stage.name)):
                message = store.read(file).decode()
                store.remove(file)
                _call("scancel", f"--name={name}", f"--user={getpass.getuser()}")
                raise ConfigError(message)
            if is_over or not missing:
                return
            is_over = not _is_queued(name)  # then the files are looked at once more
            if not is_over:
                time.sleep(POLL_SECONDS)

    def _submit(self, stage: Stage, tasks: Sequence[Task], job_size: int, store: Store) -> Path:
        """Submit the job array, and return the folder of its logs."""
        log_home = self._options["logs"] or (store.root if "://" not in store.root else "")
        if not log_home:
            raise ConfigError(
                f"{store.root}: Slurm needs a folder for its logs. Name one that every node sees: --cluster logs=FOLDER"
            )
        plan = f"tasks/slurm/{work_id(stage.name, time.time_ns())}"
        logs = Path(log_home).resolve() / plan
        for number, task in enumerate(tasks):
            store.write(f"{plan}/{number}.task", pickle.dumps((stage, task)))
        logger.disable("datatrove")
        executor = _Executor(
            pipeline=[Step(plan, store, logs)],
            tasks=len(tasks),
            tasks_per_job=job_size,
            workers=self.workers,
            time=self._options["time"],
            partition=self._options["partition"],
            cpus_per_task=self._options.integer("cpus_per_task"),
            gpus_per_task=self._options.integer("gpus_per_task"),
            mem_per_cpu_gb=self._options.integer("mem_per_cpu_gb"),
            qos=self._options["qos"],
            job_name=_job_name(stage.name, store),
            env_command=f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
            sbatch_args={name: self._options[name] for name in ("account", "constraint") if self._options[name]},
            logging_dir=str(logs),
            with_srun=False,
        )
        try:
            executor.run()
        except (subprocess.CalledProcessError, FileNotFoundError) as fault:
            raise ConfigError(
                "--engine slurm: sbatch did not accept the jobs. Correct what its message above names."
            ) from fault
        return logs


class _Executor(SlurmPipelineExecutor):  # type: ignore[misc]
    def launch_merge_stats(self) -> None:
        """Do nothing: datatrove's method submits one more job, which adds up statistics that nobody reads."""


class Step:
    """The step of datatrove's pipeline: it does the task whose number is the rank."""

    def __init__(self, plan: str, store: Store, logs: Path) -> None:
        self.plan, self.store, self.logs = plan, store, logs

    def __call__(self, data: Any, rank: int, world_size: int) -> Iterator[Any]:
        try:
            stage, task = pickle.loads(self.store.read(f"{self.plan}/{rank}.task"))
        except FileNotFoundError as fault:
            (self.logs / NOT_SHARED).write_text(socket.gethostname())
            raise not_shared_error(self.store.root) from fault
        try:
            perform(stage, task, self.store)
        except GGTError as fault:  # it ends the run; the failure of a single work is one of the facts, a WorkFailure
            self.store.write(f"{_error_folder(stage.name)}/{task.id}", str(fault).encode())
            raise
        return iter(())


def wait_for_jobs(stage: str, store: Store, notify: Callable[[str], object]) -> None:
    """Wait until no job of an earlier run works on this stage of this workspace."""
    name = _job_name(stage, store.absolute)
    if _is_queued(name):
        notify(f"waiting for the jobs of an earlier run, {name} in squeue")
    while _is_queued(name):
        time.sleep(POLL_SECONDS)


def _is_queued(name: str) -> bool:
    return bool(_call("squeue", "--noheader", f"--name={name}", f"--user={getpass.getuser()}", "--format=%i").strip())


def _call(*argv: str) -> str:
    """Run a command of Slurm, and return what it prints."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError as fault:
        raise ConfigError(
            f"--engine slurm: {argv[0]} is not installed here. Run this on a machine that can submit jobs."
        ) from fault
    if done.returncode:
        raise ConfigError(f"--engine slurm: {argv[0]} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _job_name(stage: str, store: Store) -> str:
    """Return the name of the jobs, by which a later run finds them."""
    return f"ggt100k-{stage}-{work_id(store.root)[:8]}"


def _error_folder(stage: str) -> str:
    """Return the folder in which a task leaves an error that ends the run."""
    return f"{result_folder(stage)}/faults"
