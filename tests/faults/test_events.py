"""What happens around a run, at moments chosen to the call: signals, sources that change, folders that
vanish, clocks that jump, other runs with the same output; and paths that are unlike others."""
import concurrent.futures
import errno
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import unittest

import jobs
import server
import support
import sweep
from server import FOREVER, Plan

ALL = os.environ.get("QINS_FAULTS") == "all"
NOBODY = 65534
YEAR = 365 * 86400
LONG = ("convert --resume", "convert .h5", "convert --shard", "merge", "merge --index", "verify",
        "restore .gguf", "restore to a folder", "plan", "generate", "calibrate", "calibrate --merge",
        "calibrate --shard", "calibrate --merge of parts", "transport", "validate", "validate --shard",
        "validate --merge", "batch", "gate", "analyze", "pipeline")


@unittest.skipUnless(support.SANITIZER == "none", "a sanitizer has an allocator of its own")
class Events(unittest.TestCase):
    injected = 0

    @classmethod
    def setUpClass(cls):
        folder = server.new_folder("events")
        cls.addClassCleanup(folder.cleanup)
        cls.dir = pathlib.Path(folder.name)
        (cls.dir / "in").mkdir()
        cls.inputs = jobs.Inputs(cls.dir / "in")
        cls.jobs = {job.name: job for job in cls.inputs.jobs()}
        cls.random = random.Random(8)

    @classmethod
    def tearDownClass(cls):
        print(f"events injected: {cls.injected}")

    def sweep(self, job, plans):
        """PLANS: what makes plans for a Sweep."""
        with server.new_folder("event") as root:
            s = sweep.Sweep(job, self.inputs, root)
            try:
                s.run_all(plans(s))
            finally:
                s.close()
        type(self).injected += sum(s.injected.values())
        self.assertEqual([], [f"{job.name}, {plan}: {text}; stderr {o.stderr[-300:]!r}"
                              for plan, o, text in s.problems][:10])
        return s

    def moments(self, s, kinds=None, most=6):
        """Numbers of calls: (number, state)."""
        found = [(i + 1, state) for state, trace in s.traces.items()
                 for i, k in enumerate(trace["kind"]) if kinds is None or server.KINDS[k] in kinds]
        return found if ALL and len(found) < 500 else \
            self.random.sample(found, min(most, len(found)))

    def test_signals(self):
        for name in filter(jobs.chosen, LONG):
            with self.subTest(name):
                self.sweep(self.jobs[name], lambda s: [
                    (Plan("call", i, "signal", number), state)
                    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
                    for i, state in self.moments(s)])

    def test_killed_after_some_time(self):
        """The moments of a clock, not of calls."""
        for name in filter(jobs.chosen, ("convert --resume", "calibrate", "validate", "pipeline")):
            with self.subTest(name):
                self.sweep(self.jobs[name], lambda s: [
                    (Plan("call", 0, "signal", signal.SIGKILL, timeout_ms=ms), "new")
                    for ms in self.random.sample(range(1, 60), 8)])

    def test_source_changes(self):
        """Whatever is made of a source that is cut, rewritten, or exchanged in place for another one of the same
        size, while it is read: it is of the one or of the other, or nothing."""
        for name in ("convert", "convert --resume", "convert a folder", "convert .npz", "convert .h5",
                     "convert .pt", "verify", "verify, its source first", "plan", "generate", "calibrate",
                     "validate", "transport", "calibrate, its calibration first",
                     "transport, its calibration first", "convert, its calibration first"):
            job = self.jobs.get(name)
            if not job or not jobs.chosen(name):
                continue
            with self.subTest(name):
                self.sweep(job, lambda s: [
                    (Plan("call", i, action, 0), state)
                    for action in (("cut", "alter", "swap") if job.other else ("cut", "alter"))
                    for i, state in self.moments(s, ("open", "read", "write", "close"), 8)])

    def test_index(self):
        """An index of archives and those that it names are all of one run, whenever another one ends."""
        faults = (("fail", errno.EACCES), ("late", errno.ESTALE), ("signal", signal.SIGKILL))
        self.sweep(self.jobs["merge --index"], lambda s: [
            (Plan("call", i + 1, action, value, kinds=(server.KINDS[k],)), "older")
            for i, k in enumerate(s.traces["older"]["kind"]) if server.KINDS[k] in ("rename", "unlink")
            for action, value in faults])

    def test_folder_vanishes(self):
        for name, verb in (("o.qins", "convert {}/m.safetensors"), ("o.h5", "restore {}/m.qins"),
                           ("o.qins.", "convert {}/m.safetensors --resume")):
            job = jobs.Job("a folder vanishes", f"{verb} -o {{}}/gone/{name}",
                           "m.safetensors m.qins gone", [f"gone/{name}"], ["gone/"], older=False)
            with self.subTest(verb):
                self.sweep(job, lambda s: [
                    (Plan("call", i, "vanish", 0), state) for i, state in
                    self.moments(s, ("open", "write", "sync", "rename", "close"), 16)])

    def test_clocks(self):
        """The time of day is nobody's business. A steady clock that is not may end a run early."""
        for name in filter(jobs.chosen, ("convert", "convert .h5", "calibrate", "generate", "validate")):
            with self.subTest(name):
                self.sweep(self.jobs[name], lambda s: [
                    (Plan("clock", 1, action, YEAR, FOREVER, [kind]), "new")
                    for action in ("jump", "swing") for kind in ("real_clock", "steady_clock")])


class Paths(unittest.TestCase):
    """The program itself, in folders of its own."""

    def setUp(self):
        folder = server.new_folder("paths")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.inputs = jobs.Inputs.__new__(jobs.Inputs)
        self.inputs.dir = self.dir
        self.inputs.checkpoints()
        self.good = (self.dir / "m.qins").read_bytes()

    def test_names(self):
        """Spaces, ends of lines, bytes that are no UTF-8, a dash in front."""
        for name in (b" two  words ", b"a\nline", b"\xff\xfe\x80", b"-o", b"caf\xc3\xa9 \xe2\x80\xae",
                     b"a" * 200):
            with self.subTest(name):
                folder = os.fsencode(self.dir) + b"/" + name
                os.mkdir(folder)
                source, out, back = (folder + b"/" + name + end
                                     for end in (b".safetensors", b".qins", b".gguf"))
                shutil.copy(self.dir / "m.safetensors", os.fsdecode(source))
                for arguments in (["convert", source, "-o", out], ["inspect", source, "--json"],
                                  ["verify", out, "--against", source],
                                  ["restore", out, "-o", back]):
                    done = self.run_in(folder, arguments)
                    self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertEqual(pathlib.Path(os.fsdecode(out)).read_bytes(), self.good)
                done = self.run_in(folder, ["verify", folder + b"/none" + name])
                self.assertEqual((done.returncode, done.stderr.count(b"\n")), (4, 1))
                self.assertEqual(sorted(os.listdir(folder)), sorted(name + end for end in (
                    b".safetensors", b".qins", b".gguf")))

    def run_in(self, folder, arguments, program=support.PROGRAM, **options):
        return subprocess.run([os.fsencode(program), *arguments], cwd=folder, timeout=60,
                              capture_output=True, **options)

    def as_nobody(self, arguments):
        """Where root runs the tests, permissions hold for others only, who may not come into root's folders."""
        def drop():
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
        with tempfile.TemporaryDirectory(prefix="qins-nobody-") as folder:
            program = shutil.copy(support.PROGRAM, folder)
            for path in folder, program:
                os.chmod(path, 0o755)
            return self.run_in(self.dir, arguments, program, preexec_fn=drop)

    def test_read_only(self):
        os.chmod(self.dir, 0o755)
        closed = self.dir / "closed"
        closed.mkdir()
        (closed / "o.qins").write_bytes(b"earlier")
        (closed / "o.json").write_bytes(b"earlier")
        closed.chmod(0o555)
        secret = self.dir / "secret.safetensors"
        shutil.copy(self.dir / "m.safetensors", secret)
        secret.chmod(0)
        m = self.dir / "m.safetensors"
        for arguments in (["convert", m, "-o", closed / "o.qins"],
                          ["convert", m, "-o", closed / "new.qins", "--resume"],
                          ["restore", self.dir / "m.qins", "-o", closed / "o.gguf"],
                          ["plan", m, "-o", closed / "o.json"], ["inspect", secret],
                          ["analyze", m, "-o", closed / "study"],
                          ["verify", self.dir / "m.qins", "--against", secret]):
            with self.subTest(arguments):
                done = self.as_nobody(arguments)
                self.assertEqual(done.returncode, 4, done.stderr)
                self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
                self.assertIn(b"Permission denied", done.stderr)
        self.assertEqual({p.name: p.read_bytes() for p in closed.iterdir()},
                         {"o.qins": b"earlier", "o.json": b"earlier"})

    def test_two_runs_with_one_output(self):
        """Both end well, or one of them says that another is at work."""
        out = self.dir / "o.qins"
        for options in ([], ["--resume"]):
            for _ in range(support.less(10, 3)):
                with concurrent.futures.ThreadPoolExecutor(3) as pool:
                    ended = list(pool.map(lambda _: self.run_in(self.dir, [
                        "convert", "m.safetensors", "-o", out, *options]), range(3)))
                self.assertIn(0, [done.returncode for done in ended])
                for done in ended:
                    self.assertIn(done.returncode, (0, 4) if options else (0,), done.stderr)
                    self.assertEqual(done.stderr.count(b"\n"), done.returncode // 4, done.stderr)
                self.assertEqual(out.read_bytes(), self.good)
                self.assertEqual([p.name for p in self.dir.glob("o.qins?*")], [])
                out.unlink()


if __name__ == "__main__":
    support.main()
