"""Every allocation and every system call of a small job of each verb fails once; docs/faults.md has
the rules. QINS_FAULTS=ours: of every verb every call, and every allocation of qins and of what it asks;
QINS_FAULTS=all: those inside libhdf5, too, which takes hours. QINS_FAULTS_JOBS=NAME,NAME: of these jobs
only."""
import collections
import os
import pathlib
import unittest

import jobs
import server
import support
import sweep

EVERY = 1 << 40
OURS = ("own", "library", "call")
# Of these every one always; of the others so many of each target.
WHOLE = {"convert", "verify", "restore .safetensors", "merge"}
SOME = {"own": 40, "library": 15, "loader": 4, "hdf5": 15, "blas": 4, "call": 40}
# Long jobs, whose parts are mostly those of others: a part of these numbers.
FEW = {"gate": 2, "analyze": 2, "pipeline": 3}
WANTED = {"all": tuple(SOME), "ours": OURS}.get(os.environ.get("QINS_FAULTS"), ())


def most(job, target):
    if target in WANTED or (job.name in WHOLE and target in OURS):
        return EVERY
    return SOME[target] // FEW.get(job.name, 1)


@unittest.skipUnless(support.SANITIZER == "none", "a sanitizer has an allocator of its own")
class Sweeps(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = server.new_folder("sweeps")
        cls.addClassCleanup(folder.cleanup)
        cls.dir = pathlib.Path(folder.name)
        (cls.dir / "in").mkdir()
        cls.inputs = jobs.Inputs(cls.dir / "in")

    def test_sweeps(self):
        total, of_all, crashes = collections.Counter(), collections.Counter(), 0
        for number, job in enumerate(self.inputs.jobs()):
            if not job.swept or not jobs.chosen(job.name):
                continue
            with self.subTest(job.name):
                s = sweep.Sweep(job, self.inputs, self.dir / str(number))
                try:
                    for target in SOME:
                        s.run_all(s.calls(most(job, target)) if target == "call"
                                  else s.allocations(target, most(job, target)))
                finally:
                    s.close()
                total.update(s.injected)
                of_all.update({t: s.counts[t] for t in SOME})
                crashes += s.crashes
                print(f"{job.name}: {sum(s.injected.values())} faults: " + ", ".join(
                    f"{t} {s.injected[t]} ({s.counts[t]} in a run)" for t in SOME if s.counts[t]),
                    flush=True)
                self.assertEqual([], [f"{plan}: {text}; stderr {o.stderr[-300:]!r}"
                                      for plan, o, text in s.problems][:20])
        print(f"faults injected: {sum(total.values())} in all, "
              + ", ".join(f"{t} {total[t]}" for t in SOME)
              + f"; of them {crashes} crashes inside libhdf5 that was refused memory")
        self.assertGreater(sum(total.values()), 0 if os.environ.get("QINS_FAULTS_JOBS") else 1000)


if __name__ == "__main__":
    support.main()
