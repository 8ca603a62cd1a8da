"""Runs a job with one fault after the other, and holds each run to the rules of docs/faults.md."""
import collections
import copy
import concurrent.futures
import errno
import os
import pathlib
import shutil
import signal
import threading
import time

import jobs
import server
from server import FOREVER, Plan

MEMORY = ("own", "library")
# Of these no later run recovers.
AROUND = ("cut", "alter", "vanish", "swap")
# Clocks of file systems go by some milliseconds.
TICK = 0.02  # seconds
# What each kind of call is made to do: (action, value).
CALLS = {
    "open": [("fail", errno.EACCES), ("fail", errno.EMFILE)],
    "read": [("fail", errno.EIO), ("fail", errno.EINTR), ("short", 0), ("end", 0)],
    "write": [("fail", errno.ENOSPC), ("fail", errno.EINTR), ("short", 0)],
    "sync": [("fail", errno.EIO), ("fail", errno.ENOSPC)],
    "rename": [("fail", errno.EACCES), ("fail", errno.ENOSPC), ("late", errno.ESTALE)],
    "close": [("late", errno.EIO)],
    "truncate": [("fail", errno.EIO)],
    "stat": [("fail", errno.EIO), ("fail", errno.EACCES)],
    "lock": [("fail", errno.ENOLCK), ("fail", errno.EINTR)],
    "unlink": [("fail", errno.EACCES), ("hide", 0)],
    "mkdir": [("fail", errno.ENOSPC), ("fail", errno.EROFS)],
    "folder": [("fail", errno.EIO)],
    "path": [("fail", errno.EIO)],
    "stream": [("late", errno.EIO)],
    "process": [("fail", errno.EAGAIN)],
    "socket": [("fail", errno.EINTR), ("short", 0), ("end", 0)],
    "poll": [("fail", errno.EINTR), ("fail", errno.ENOMEM)],
    "wait": [("fail", errno.EINTR), ("fail", errno.ECHILD)],
    "thread": [("fail", errno.EAGAIN)],
}
# A disk that is full from some moment on, and one that is gone.
CHANGES = ("write", "sync", "rename", "truncate", "mkdir", "unlink", "lock")
PERSISTENT = [("write", ("write",), errno.ENOSPC), (None, CHANGES, errno.EROFS)]


def files(folder):
    """Name, with "/" between: bytes of every file below FOLDER; of a folder without any, None."""
    found = {}
    for root, folders, names in os.walk(folder):
        at = os.path.relpath(root, folder)
        for name in names:
            path = os.path.join(root, name)
            with open(path, "rb") as f:
                found[os.path.normpath(os.path.join(at, name))] = f.read()
        if not folders and not names and at != ".":
            found[at + "/"] = None
    return found


def restore(folder, wanted):
    """Makes FOLDER hold what files() told of it before."""
    now = files(folder)
    for name in now.keys() - wanted.keys():
        path = os.path.join(folder, name)
        os.rmdir(path) if name.endswith("/") else os.unlink(path)
    for root, _, _ in os.walk(folder, topdown=False):
        inside = os.path.relpath(root, folder)
        if inside != "." and not any(n.startswith(inside + "/") for n in wanted):
            shutil.rmtree(root)
    for name, data in wanted.items():
        if name not in now or now[name] != data:
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True) if data is None else path.write_bytes(data)


def same(a, b, name=""):
    """Whether two files called NAME are, but for the seconds that a run took."""
    return a == b or (a is not None and b is not None and
                      jobs.timeless(a, name) == jobs.timeless(b, name))


class Worker:
    """A folder with the inputs of a job, and the job in it."""

    def __init__(self, job, inputs, root):
        self.folder = pathlib.Path(root, "w")  # as long for every worker
        self.folder.mkdir(parents=True)
        for name in job.inputs:
            source = inputs.dir / name
            if not source.exists():  # a folder for outputs
                (self.folder / name).mkdir()
                continue
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self.folder / name)
        for name in job.inputs:
            if name == "jobs.json":
                path = self.folder / name
                path.write_text(path.read_text().replace("{}", str(self.folder)))
        self.new = files(self.folder)
        self.victim = self.folder / job.inputs[0]
        if self.victim.is_dir():
            self.victim = self.victim / "model.safetensors"
        self.program = server.Program(job.command(self.folder), pathlib.Path(root, "s"),
                                      {"QINS_FAULT_FOLDER": str(self.folder / "gone"),
                                       "QINS_FAULT_VICTIM": str(self.victim),
                                       "QINS_FAULT_OTHER": str(inputs.dir / job.other),
                                       **(job.environment or {})})


class Sweep:
    def __init__(self, job, inputs, root, threads=None):
        self.job, self.inputs = job, inputs
        self.pool = [Worker(job, inputs, pathlib.Path(root, str(i)))
                     for i in range(threads or os.cpu_count())]
        self.free, self.lock = list(self.pool), threading.Condition()
        self.problems, self.injected, self.crashes = [], collections.Counter(), 0
        self.learn()

    def close(self):
        for worker in self.pool:
            worker.program.close()

    def learn(self):
        """What an undisturbed run makes in each folder, whose name is in some of it; and where it can
        fail."""
        for w in reversed(self.pool):
            o = w.program.run(Plan())
            w.good, w.stdout = files(w.folder), o.stdout
            if o.code != self.job.code or any(w.good.get(n) != d for n, d in w.new.items()):
                raise AssertionError(f"{self.job.name}: exit {o.code}: {o.stderr}")
            w.older = {n: (d or b"") + b"\n" for n, d in w.good.items() if self.job.is_output(n)}
            w.swapped, w.swapped_stdout = self.learn_swapped(w)
        self.counts, self.traces = w.program.counts(), {"new": w.program.trace("call")}
        self.places = {t: w.program.trace(t)["place"] for t in server.TARGETS}
        if self.job.older and w.older:
            restore(w.folder, {**w.new, **w.older})
            o = w.program.run(Plan())
            self.judge(w, Plan(), o, w.older, files(w.folder))
            self.traces["older"] = w.program.trace("call")

    def learn_swapped(self, w):
        """The same of the other source."""
        if not self.job.other:
            return {}, None
        shutil.copyfile(self.inputs.dir / self.job.other, w.victim)
        o = w.program.run(Plan())
        made = files(w.folder)
        restore(w.folder, w.new)
        again = w.program.run(Plan())
        assert again.code == self.job.code, again.stderr
        return (made, o.stdout) if o.code == self.job.code else ({}, None)

    def states(self):
        return list(self.traces)

    def judge(self, w, plan, o, before, after):
        """Appends what is wrong with a run."""
        wrong = []
        crashed = ended_by_library(plan, o)
        self.crashes += crashed
        if (o.hung or (o.signal and not crashed)) and not killed(plan, o):
            wrong.append("hangs" if o.hung else f"dies of signal {o.signal}")
        wrong += self.judge_files(w, plan, o, before, after)
        if self.ended_well(o):
            if o.fired and plan.kinds == ("sync",):
                wrong.append("passes over an fsync that failed")
            if not same(o.stdout, w.stdout) and not (
                    plan.action == "swap" and w.swapped and same(o.stdout, w.swapped_stdout)):
                wrong.append(f"exit {o.code} with another stdout: {o.stdout[:200]!r}")
        elif o.code is not None and not crashed:
            wrong += judge_message(plan, said_by_batch(o) if self.job.batch else o)
        for text in wrong:
            self.problems.append((plan, o, text))

    def ended_well(self, o):
        """A batch that failed does not end with 0; what `status` finds not to be done, it says on standard
        output."""
        return o.code == self.job.code and (o.code == 0 or bool(o.stdout))

    def judge_files(self, w, plan, o, before, after):
        wrong = []
        for name in sorted({*after, *w.good, *w.new}):
            now, old = after.get(name), before.get(name)
            if name in w.new:
                fine = now == w.new[name] or plan.action in AROUND
            elif name in self.job.outputs and name.endswith("/"):
                fine = o.code != self.job.code  # a folder for results, empty
            elif name in self.job.progress and o.code != self.job.code:
                fine = True  # the next run is to make it right
            elif name == self.job.index and name not in after and o.code != 0:
                fine = name not in before or any(n.startswith(name + ".old.tmp-") and d == before[name]
                                                 for n, d in after.items())
            elif plan.action == "vanish" and name not in after:
                fine = True
            elif self.job.is_output(name) and name in w.good:
                fine = same(now, w.good[name], name) or (
                    plan.action == "swap" and same(now, w.swapped.get(name), name)) or (o.code != self.job.code and (
                        now == old or self.job.is_unmarked(name, now, w.good[name])))
            elif self.job.is_work(name) or name in self.job.work:
                fine = name not in after or o.code != self.job.code or cannot_remove(plan)
            else:
                fine = may_be_left(name, plan, o)
            if not fine:
                what = "is gone" if name not in after else "stands" if name not in w.good \
                    else "differs"
                wrong.append(f"{name} {what} after exit {o.code}")
        if self.job.index in after and plan.action not in AROUND and not any(
                all(after.get(n) == then.get(n) for n in self.job.outputs) for then in (before, w.good)):
            wrong.append("an index stands beside archives that are not its own")
        return wrong

    def run(self, plan, state="new"):
        with self.lock:
            while not self.free:
                self.lock.wait()
            w = self.free.pop()
        try:
            before = {**w.new, **(w.older if state == "older" else {})}
            restore(w.folder, before)
            if plan.action in AROUND:
                time.sleep(TICK)
            o = w.program.run(plan)
            self.judge(w, plan, o, before, files(w.folder))
            self.injected[plan.target] += bool(o.fired)
            if (self.job.work or plan.action == "signal") and o.code != self.job.code and \
                    plan.action not in AROUND:
                again, now = w.program.run(Plan()), files(w.folder)
                if again.code != self.job.code or any(not same(now.get(n), d, n) for n, d in w.good.items()
                                          if not self.job.tells_of_runs(n)):
                    self.problems.append((plan, o, f"the next run: exit {again.code}, "
                                          f"{again.stderr[:200]!r}, {sorted(now)}"))
        finally:
            with self.lock:
                self.free.append(w)
                self.lock.notify()

    def run_all(self, plans):
        """PLANS: (plan, state)."""
        with concurrent.futures.ThreadPoolExecutor(len(self.pool)) as pool:
            for done in [pool.submit(self.run, *p) for p in plans]:
                done.result()

    def allocations(self, target, most):
        """Every one, or MOST of them: first those of places in the code that were not seen yet."""
        n = self.counts[target]
        if n <= most:
            chosen = range(1, n + 1)
        else:
            firsts = sorted({p: i for i, p in reversed(list(enumerate(self.places[target], 1)))}
                            .values())
            firsts = spread(firsts, most // 2)
            chosen = firsts + spread(list(range(1, n + 1)), most - len(firsts))
        states = self.states()
        return [(Plan(target, int(i)), states[int(i) % len(states)]) for i in chosen]

    def calls(self, most):
        """All that can happen to each call, with a file under the output's name and without."""
        plans = []
        for state, trace in self.traces.items():
            for i, kind in enumerate(server.KINDS[k] for k in trace["kind"]):
                plans += [(Plan("call", i + 1, *fault, kinds=(kind,)), state)
                          for fault in CALLS.get(kind, [])]
                plans += [(Plan("call", i + 1, "fail", value, FOREVER, kinds), state)
                          for only, kinds, value in PERSISTENT
                          if kind == only or (only is None and kind in kinds)]
        return spread(plans, most)


def spread(items, most):
    """MOST of ITEMS, evenly."""
    return items if len(items) <= most else [items[i * len(items) // most] for i in range(most)]


def killed(plan, o):
    """As it was to be: by a signal, or when its time was up."""
    return plan.action == "signal" and plan.value == signal.SIGKILL and (
        o.signal == signal.SIGKILL or (o.hung and plan.timeout_ms < server.TIMEOUT_MS))


def ended_by_library(plan, o):
    """libhdf5, OpenBLAS and the Fortran library under it may end the process their own way where they are
    refused memory: a crash, or exit and words of their own. Only where it was they who were refused."""
    return plan.target in ("hdf5", "blas") and o.fired > 0 and o.code != 0 and not o.hung and (
        o.signal is not None or o.code not in (3, 4) or len(lines_of(o)) != 1)


def cannot_remove(plan):
    return plan.target == "call" and "unlink" in plan.kinds


def may_be_left(name, plan, o):
    """What nobody could remove: the call that should have was the one that failed."""
    if ".nfs" in name:
        return plan.action == "hide"
    return ".tmp-" in name and (o.code is None or cannot_remove(plan)
                               or ended_by_library(plan, o))


def said_by_batch(o):
    """The note of the one job that failed in the place of the last line, which says how many did."""
    notes = [line for line in o.stderr.splitlines() if line.startswith(b"qins: note: job '")]
    if o.code != 1 or len(notes) != 1 or b" jobs failed" not in o.stderr.splitlines()[-1]:
        return o
    said = copy.copy(o)
    said.code, said.stderr = 4, notes[0].replace(b"note: ", b"")
    return said


def lines_of(o):
    return [line for line in o.stderr.decode(errors="replace").splitlines()
            if not line.startswith("qins: note: ")]


# The process that reads HDF5 files for qins says what libhdf5 says, or nothing any more.
READER = ("libhdf5", "the process that reads this file")


def judge_message(plan, o):
    lines, wrong = lines_of(o), []
    of_reader = len(lines) == 1 and any(word in lines[0] for word in READER)
    if o.code not in allowed_codes(plan) and not (of_reader and o.code == 3):
        wrong.append(f"exit {o.code}")
    if len(lines) != 1 or not lines[0].startswith("qins: "):
        wrong.append(f"{len(lines)} lines on stderr")
    elif not of_reader and not any(word in lines[0] for word in wanted_words(plan)):
        wrong.append("a message that does not say it")
    return wrong


def allowed_codes(plan):
    if plan.action in ("cut", "alter", "swap"):
        return (1, 3, 4)
    if plan.action == "signal":
        return (130,)
    if plan.target in ("loader", "blas", "hdf5"):
        return (3, 4)
    ended = plan.target == "library" or (plan.target == "call" and plan.action == "end")
    return (3, 4) if ended else (4,)


def wanted_words(plan):
    if plan.target in MEMORY:
        # libzip finds no archive where it lacks the memory to look for one.
        return ("memory", os.strerror(errno.ENOMEM), "ZIP archive", "zip archive")
    if plan.target == "call" and plan.action in ("fail", "late"):
        # Closing a stream that is a text in memory can only lack memory.
        # Where a folder cannot be looked at, it is taken for a file.
        return (os.strerror(plan.value), "is not a regular file", *(("out of memory",) if plan.action == "late" else ()))
    return ("interrupted",) if plan.action == "signal" else ("",)
