"""A Slurm of one node on this machine, for as long as a test wants it: the real slurmctld and slurmd, on ports of
their own, without munge, cgroups or a database."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
CONF = """ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
MailProg=/bin/true
ReturnToService=2
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,defer_batch
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """Why it cannot run here; "" where it can be tried."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install slurmctld slurmd slurm-client"
    return "" if os.geteuid() == 0 else "slurmd wants to be root"


@contextlib.contextmanager
def slurm(cpus: int = 2) -> Iterator[str]:
    """The name of its partition; the commands of this process and its children find it by $SLURM_CONF."""
    with tempfile.TemporaryDirectory(prefix="ggt-100k-slurm-") as folder:
        home, host = Path(folder), socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (home / name).mkdir()
        ports = dict(zip(("control", "node"), _free_ports(2), strict=True))
        conf = home / "slurm.conf"
        conf.write_text(CONF.format(home=home, host=host, user="root", cpus=cpus, **ports))
        (home / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        before = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH")}
        os.environ |= {"SLURM_CONF": str(conf), "PATH": PATH}
        daemons: list[subprocess.Popen[bytes]] = []
        try:
            for name in ("slurmctld", "slurmd"):
                log = (home / f"{name}.out").open("wb")
                daemons.append(subprocess.Popen([name, "-D", "-f", str(conf)], stdout=log, stderr=log))
                log.close()
            _wait(home, daemons)
            yield "tests"
        finally:
            subprocess.run(["scancel", "--user=root", "--full"], check=False, capture_output=True, timeout=60)
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in daemons:
                try:
                    daemon.wait(3)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _wait(home: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and all(daemon.poll() is None for daemon in daemons):
        said = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False)
        if said.stdout.strip() in ("idle", "mixed"):
            return
        time.sleep(0.2)
    logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(home.glob("*.out")))
    raise RuntimeError(f"slurmctld and slurmd did not start:\n{logs}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
