"""A Slurm of its own on loopback: munged, slurmctld and a few slurmd, all in a temporary folder, gone
with the `with` block whatever happens in it."""
import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "scancel")
# Where Debian has the daemons, which is not on everybody's PATH.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

# No accounting, no cgroups: what a container can give. cred_expire is also how long a job that was
# requeued waits before it starts again (120 seconds by default).
CONF = """\
ClusterName=qinstest
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={dir}/munge/socket,cred_expire=5
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool-%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=1
ReturnToService=2
KillWait=2
MinJobAge=600
MaxArraySize=1001
MailProg=/bin/true
{nodes}
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Why there is no Slurm here, or ""."""
    gone = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if gone:
        return f"no {', '.join(gone)}: packages slurm-wlm and munge"
    if os.geteuid() != 0:
        return "slurmd starts tasks for users, which takes root"
    if not any(pathlib.Path("/sys/fs/cgroup").glob("*")):
        return "slurmd does not start where no cgroups are mounted"
    return ""


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


class Slurm:
    def __init__(self, nodes=4, cpus=2):
        self.nodes, self.cpus = nodes, cpus
        self.processes = []

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="qins-slurm-")
        self.dir = pathlib.Path(self.folder.name)
        self.dir.chmod(0o755)
        self.conf = self.dir / "slurm.conf"
        self.env = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.conf)}
        for name in [n for n in self.env if n.startswith(("SLURM_", "SBATCH_")) and n != "SLURM_CONF"]:
            del self.env[name]
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        (self.dir / "munge").mkdir(mode=0o755)
        (self.dir / "state").mkdir()
        key = self.dir / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        munge = self.dir / "munge"
        self._daemon("munged", "--foreground", f"--key-file={key}", f"--socket={munge}/socket",
                     f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
                     "--num-threads=2")
        self._wait(lambda: (munge / "socket").exists(), 10, lambda: "munged does not listen")
        ports = free_ports(self.nodes + 1)
        names = [f"n{i + 1}" for i in range(self.nodes)]
        lines = [f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} "
                 f"CPUs={self.cpus} RealMemory=1024 State=UNKNOWN" for name, port in zip(names, ports[1:])]
        self.conf.write_text(CONF.format(dir=self.dir, ctld_port=ports[0], nodes="\n".join(lines)))
        self._daemon("slurmctld", "-D", "-i", "-c", "-f", self.conf)
        for name in names:
            (self.dir / f"spool-{name}").mkdir()
            self._daemon("slurmd", "-D", "-N", name, "-f", self.conf)
        self._wait(self._all_idle, 30, lambda: "the nodes do not come up")

    def _all_idle(self):
        done = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], env=self.env, capture_output=True, text=True,
                              timeout=60)
        return done.returncode == 0 and done.stdout.split() == ["idle"] * self.nodes

    def _daemon(self, *command):
        log = open(self.dir / f"{command[0]}-{len(self.processes)}.out", "wb")
        with log:
            self.processes.append(subprocess.Popen([str(a) for a in command], env=self.env, stdout=log,
                                                   stderr=log, stdin=subprocess.DEVNULL,
                                                   start_new_session=True, cwd=self.dir))

    def _wait(self, done, seconds, what):
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until:
                raise RuntimeError(f"{what()}:\n{self.logs()}")
            time.sleep(0.05)

    def logs(self):
        """The ends of all logs."""
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-300:]}"
                         for p in sorted(self.dir.glob("slurm*.log")))

    def run(self, *command, env=None, check=True, **options):
        """A command of Slurm, or one that calls some; its standard output."""
        done = subprocess.run([str(a) for a in command], env={**self.env, **(env or {})}, text=True,
                              capture_output=True, timeout=60, **options)
        if check and done.returncode != 0:
            raise RuntimeError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def job(self, job_id):
        """What scontrol says of a job, or of a task of an array ("12_3"), as a dictionary."""
        text = self.run("scontrol", "-o", "show", "job", job_id)
        return dict(word.split("=", 1) for word in text.split("\n")[0].split(" ") if "=" in word)

    def states(self, job_id):
        """The states of a job's tasks, one each."""
        text = self.run("squeue", "-h", "-r", "-t", "all", "-j", job_id, "-o", "%T")
        return text.split()

    def wait(self, job_id, seconds):
        """Waits until every task of a job is over; their states."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
        found = []

        def done():
            found[:] = self.states(job_id)
            return found and set(found) <= over
        self._wait(done, seconds, lambda: f"job {job_id} is not over after {seconds} s: {found}")
        return found

    def everything(self):
        """All that this Slurm runs, itself included."""
        mark = f"SLURM_CONF={self.conf}".encode()
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        yield int(entry.name)

    def __exit__(self, *_):
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self.processes:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # Steps outlive their slurmd.
        for pid in list(self.everything()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.folder.cleanup()
