"""Start a Slurm of two nodes on this machine, for tests: daemons of Debian's packages, all files in one folder."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PACKAGES = "slurmctld slurmd slurm-client munge"

CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge/socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,batch_sched_delay=0,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
ReturnToService=1
MinJobAge=10
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=low Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 GraceTime=2
PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=2 PreemptMode=OFF
"""


def missing():
    """Say why no Slurm can be started here; empty if one can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "Slurm's daemons start jobs as root only, and the user is not root"
    found = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(found)} not found: apt-get install {PACKAGES}" if found else ""


def slurm(*words):
    """Run a command of Slurm, again while its controller does not answer, and return what it prints."""
    for _ in range(20):
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return done.stdout
        time.sleep(0.5)
    raise AssertionError(f"{words}: {done.stderr}")


@contextmanager
def running(folder):
    """Yield while a Slurm runs that the commands find by the environment variable SLURM_CONF."""
    for name in ("munge", "state", "n1", "n2"):
        (folder / name).mkdir(parents=True)
    # munge takes no folder that others may enter.
    (folder / "munge").chmod(0o700)
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    (folder / "munge" / "key").chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(folder=folder, host=socket.gethostname().split(".")[0], ports=_free_ports(3)))
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(config)
    places = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = [f"--{option}={folder}/munge/{name}" for option, name in places.items()]
    with ExitStack() as stack:
        stack.callback(lambda: os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before))
        _daemon(stack, folder / "munged.log", "munged", "--foreground", "--force", *munge)
        _until(lambda: (folder / "munge" / "socket").exists(), "munge")
        _daemon(stack, folder / "slurmctld.log", "slurmctld", "-D", "-i")
        for node in ("n1", "n2"):
            _daemon(stack, folder / f"{node}.log", "slurmd", "-D", "-N", node)
        _until(lambda: slurm("sinfo", "-h", "-N", "-p", "low", "-o", "%T").split() == ["idle"] * 2, "two idle nodes")
        try:
            yield
        finally:
            slurm("scancel", "--user=root")
            _until(lambda: not slurm("squeue", "-h"), "end of all jobs")


def _daemon(stack, log, *words):
    process = subprocess.Popen(words, stdout=stack.enter_context(log.open("wb")), stderr=subprocess.STDOUT)

    def end():
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()

    stack.callback(end)


def _until(holds, what, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.2)


def _free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
