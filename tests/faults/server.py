"""The program under test behind shim.h: started once, run again and again, each time with one fault."""
import errno
import mmap
import os
import pathlib
import socket
import struct
import subprocess
import tempfile

import numpy as np

import support

SHIM = pathlib.Path(os.environ.get("QINS_FAULT_SHIM", support.BUILD_ROOT / "tests" / "faults" /
                                   "libfault_shim.so"))
TARGETS = ["own", "library", "loader", "hdf5", "blas", "call", "clock"]
KINDS = ["none", "open", "read", "write", "sync", "rename", "close", "truncate", "stat", "lock",
         "unlink", "mkdir", "folder", "path", "stream", "process", "socket", "poll", "wait",
         "thread", "real_clock", "steady_clock"]
ACTIONS = ["fail", "short", "end", "late", "signal", "cut", "alter", "vanish", "hide", "jump",
           "swing", "swap"]
HEAD = len(TARGETS) + 3  # words before the trace: counts, fired, traced, status
TRACE = 1 << 21
TRACED = np.dtype([("target", "<u2"), ("kind", "<u2"), ("place", "<u4")])
HUNG = -1
TIMEOUT_MS = 20000
FOREVER = (1 << 63) - 1


class Plan:
    """One fault: the INDEX-th of TARGET (and all up to LAST of these KINDS) meets ACTION."""

    def __init__(self, target="own", index=0, action="fail", value=errno.ENOMEM, last=None,
                 kinds=(), timeout_ms=TIMEOUT_MS):
        self.target, self.index, self.action, self.value = target, index, action, value
        self.last, self.kinds = index if last is None else last, tuple(kinds)
        self.timeout_ms = timeout_ms

    def packed(self):
        mask = sum(1 << KINDS.index(k) for k in self.kinds)
        return struct.pack("<7q", TARGETS.index(self.target), self.index,
                           ACTIONS.index(self.action), self.value, self.last, mask, self.timeout_ms)

    def __str__(self):
        value = errno.errorcode.get(self.value, self.value) if self.action in ("fail", "late") \
            else self.value
        more = " and later" if self.last > self.index else ""
        return f"{self.target} {self.index}{more}: {self.action} {value}"


class Outcome:
    def __init__(self, status, fired, stdout, stderr):
        self.hung, self.fired, self.stdout, self.stderr = status == HUNG, fired, stdout, stderr
        self.signal = None if self.hung or not os.WIFSIGNALED(status) else os.WTERMSIG(status)
        self.code = None if self.hung or self.signal else os.WEXITSTATUS(status)


class Program:
    """qins ARGUMENTS, ready to run."""

    def __init__(self, arguments, scratch, environment=None):
        scratch = pathlib.Path(scratch)
        scratch.mkdir(parents=True, exist_ok=True)
        shared = scratch / "shared"
        with open(shared, "wb") as f:
            f.truncate(8 * HEAD + TRACED.itemsize * TRACE)
        with open(shared, "r+b") as f:
            self._shared = mmap.mmap(f.fileno(), 0)
        self._files = [os.open(scratch / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
                       for name in ("stdout", "stderr")]
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [str(support.PROGRAM), *map(os.fsencode, arguments)], stdin=subprocess.DEVNULL,
            stdout=self._files[0], stderr=self._files[1], pass_fds=[theirs.fileno()],
            env={**os.environ, "TMPDIR": str(scratch), **(environment or {}),
                 "LD_BIND_NOW": "1",  # once, not in each run
                 "LD_PRELOAD": str(SHIM), "QINS_FAULT_FD": str(theirs.fileno()),
                 "QINS_FAULT_SHARED": str(shared)})
        theirs.close()

    def _words(self):
        return struct.unpack_from(f"<{HEAD}q", self._shared)

    def run(self, plan):
        for fd in self._files:
            os.ftruncate(fd, 0)
        self._control.send(plan.packed())
        reply = self._control.recv(8)
        if len(reply) != 8:
            raise AssertionError(f"the shim ended: {self._process.wait()}")
        return Outcome(struct.unpack("<q", reply)[0], self._words()[len(TARGETS)],
                       *(os.pread(fd, 1 << 24, 0) for fd in self._files))

    def counts(self):
        """How many of each target the last run had."""
        return dict(zip(TARGETS, self._words()))

    def trace(self, target):
        """Of the last run, in order: the kinds and places of TARGET's."""
        n = min(self._words()[len(TARGETS) + 1], TRACE)
        all_of_them = np.frombuffer(self._shared, TRACED, n, 8 * HEAD).copy()
        return all_of_them[all_of_them["target"] == TARGETS.index(target)]

    def close(self):
        self._control.close()
        self._process.wait()
        for fd in self._files:
            os.close(fd)


def scratch_root():
    """Memory where there is some: the runs write thousands of small files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def new_folder(name):
    return tempfile.TemporaryDirectory(prefix=f"qins-{name}-", dir=scratch_root())
