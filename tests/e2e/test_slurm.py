"""The scripts of examples/slurm under a real Slurm: an array, a merge that waits for it, a report; the archive
is that of one run, also when tasks are killed and run again."""
import hashlib
import json
import os
import signal
import subprocess
import time
import unittest

import numpy as np

import slurm_rig
import support
from support import MODEL, PROGRAM, run_qins

TASKS = 8
SCRIPTS = support.SOURCE_ROOT / "examples" / "slurm"
# Of the synthetic checkpoint; QINS_SLURM_MIB=2048 makes it one of 2 GiB.
MIB = int(os.environ.get("QINS_SLURM_MIB", 64))
LONG = 60 + MIB  # seconds for anything of that size
# Of a task, beyond what Slurm takes for one that does nothing.
OVERHEAD = 0.5


def write_sharded(folder, mib, files=4):
    """A checkpoint as Hugging Face cuts it: MIB of float32 in matrices of all sizes."""
    folder.mkdir()
    random = np.random.default_rng(8)
    each, weight_map = (mib << 18) // files, {}
    piece = random.standard_normal(1 << 18).astype("<f4")

    def values(count, turn):
        """The same values turned on: what is asked for is size, not entropy."""
        for begin in range(0, count, len(piece)):
            yield np.roll(piece, begin // 1000 + turn)[:count - begin].tobytes()

    for i in range(files):
        name, tensors, left, k = f"model-{i + 1:05}-of-{files:05}.safetensors", {}, each, 0
        while left >= 1 << 14:
            rows = min(left, (1 << 18) << 2 * (k % 3)) >> 10
            tensors[f"layers.{i}.{k}.weight"] = ("F32", [rows, 1024], values(rows << 10, 977 * k + i))
            weight_map[f"layers.{i}.{k}.weight"] = name
            left, k = left - (rows << 10), k + 1
        support.write_safetensors(folder / name, tensors)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}))


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "blake2b").hexdigest()


@unittest.skipIf(slurm_rig.missing(), slurm_rig.missing())
class Slurm(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.slurm = cls.enterClassContext(slurm_rig.Slurm())

    def submit(self, model, out, tasks=TASKS, **more):
        """The ids of array, merge and report."""
        env = {"MODEL": str(model), "OUT": str(out), "QINS": str(PROGRAM), **more}
        return self.slurm.run("bash", SCRIPTS / "submit.sh", tasks, env=env).split()

    def finish(self, ids, seconds=LONG):
        for job in ids:
            states = self.slurm.wait(job, seconds)
            self.assertEqual(set(states), {"COMPLETED"}, self.logs())

    def logs(self):
        return "".join(f"{p.name}: {p.read_text()}" for p in sorted(self.dir.glob("*.log")))

    def test_an_array_makes_what_one_run_makes(self):
        whole, out = self.dir / "whole.qins", self.dir / "it's a model.qins"
        run_qins("convert", MODEL, "-o", whole, "--bits", 6, check=0)
        ids = self.submit(MODEL, out, OPTIONS="--bits '6'")
        self.finish(ids)
        self.assertEqual(out.read_bytes(), whole.read_bytes())
        self.assertTrue(json.loads((self.dir / f"{out.name}.verify.json").read_text())["ok"])
        self.assertIn("complete", (self.dir / f"{out.name}.report.log").read_text())
        # All of it once more does no harm.
        made = [p.stat().st_mtime_ns for p in sorted(self.dir.glob(f"{out.name}-*"))]
        self.assertEqual(len(made), TASKS)
        self.finish(self.submit(MODEL, out, OPTIONS="--bits '6'"))
        self.assertEqual(out.read_bytes(), whole.read_bytes())
        self.assertEqual([p.stat().st_mtime_ns for p in sorted(self.dir.glob(f"{out.name}-*"))], made)

    def hold(self, seconds=0):
        """A qins that stops, in the first run of tasks 3 and 6, SECONDS after it has begun its part; PID in
        OUT.held-I."""
        path = self.dir / "holding-qins"
        path.write_text(f"""#!/bin/bash
if [ "$1" != convert ] || [ -n "${{SLURM_RESTART_COUNT:-}}" ] || [[ ! $SLURM_ARRAY_TASK_ID =~ ^[36]$ ]]; then
    exec '{PROGRAM}' "$@"
fi
part="$OUT-0000$SLURM_ARRAY_TASK_ID-of-0000{TASKS}.part"
while :; do # it may be over before it is stopped
    '{PROGRAM}' "$@" &
    until [ -s "$part" ] || ! kill -0 $! 2>/dev/null; do :; done
    {f'sleep {seconds}' if seconds else ''}
    kill -STOP $!
    while grep -q '^State:.[RSD]' /proc/$!/status; do :; done
    grep -q '^State:.T' /proc/$!/status && [ -s "$part" ] && break
    kill -CONT $!
    wait $!
    rm -f "${{part%.part}}"
done
echo $! >"$OUT.holding-$SLURM_ARRAY_TASK_ID"
mv "$OUT.holding-$SLURM_ARRAY_TASK_ID" "$OUT.held-$SLURM_ARRAY_TASK_ID"
wait $!
""")
        path.chmod(0o755)
        return path

    def held(self, out, index):
        """The process that makes part INDEX, which has begun it."""
        path = out.with_name(f"{out.name}.held-{index}")
        until = time.monotonic() + LONG
        while not path.exists():
            self.assertLess(time.monotonic(), until, self.logs())
            time.sleep(0.01)
        self.assertTrue(out.with_name(f"{out.name}-{index:05}-of-{TASKS:05}.part").exists())
        return int(path.read_text())

    def kill_two(self, model, whole, out, seconds=0):
        """Two tasks of an array lose their work SECONDS into it. Seconds until the report was there."""
        begun = time.monotonic()
        ids = self.submit(model, out, QINS=str(self.hold(seconds)))
        # One loses its process, and its script has it queued again.
        os.kill(self.held(out, 3), signal.SIGKILL)
        # The other is taken away by Slurm, script and all.
        self.held(out, 6)
        self.slurm.run("scontrol", "requeue", f"{ids[0]}_6")
        self.finish(ids)
        took = time.monotonic() - begun
        self.assertEqual(digest(out), digest(whole))
        self.assertIn("exit 137, queued again", (self.dir / f"{out.name}.task-3.log").read_text())
        for index in (3, 6):
            self.assertEqual(self.slurm.job(f"{ids[0]}_{index}")["Restarts"], "1")
        return took

    def test_tasks_that_are_killed_and_queued_again(self):
        whole = self.dir / "whole-5.qins"
        run_qins("convert", MODEL, "-o", whole, check=0)
        self.kill_two(MODEL, whole, self.dir / "kjv.qins")

        model, whole = self.dir / "sharded", self.dir / "whole-2.qins"
        write_sharded(model, MIB)
        begun = time.monotonic()
        run_qins("convert", model, "-o", whole, check=0, timeout=LONG)
        single = time.monotonic() - begun
        took = self.kill_two(model, whole, self.dir / "sharded.qins", 0.5 if MIB > 1000 else 0)
        print(f"\n{MIB} MiB: one run {single:.1f} s; {TASKS} tasks, two of them killed, merge and report "
              f"{took:.1f} s", end=" ")

    def test_cancelled(self):
        """What a user takes away is not queued again, and goes on when it is submitted once more."""
        model, whole, out = self.dir / "cut", self.dir / "whole-4.qins", self.dir / "cut.qins"
        write_sharded(model, MIB)
        run_qins("convert", model, "-o", whole, check=0)
        ids = self.submit(model, out, QINS=str(self.hold()))
        for index in (3, 6):
            self.held(out, index)
        self.slurm.run("scancel", ids[0])
        self.assertIn("CANCELLED", self.slurm.wait(ids[0], 60))
        self.slurm.wait(ids[2], 60)
        time.sleep(2)
        for index in (3, 6):
            self.assertEqual(self.slurm.job(f"{ids[0]}_{index}")["JobState"], "CANCELLED")
            self.assertNotIn("queued again", (self.dir / f"{out.name}.task-{index}.log").read_text())
        self.assertFalse(out.exists())
        self.finish(self.submit(model, out))
        self.assertEqual(digest(out), digest(whole))

    def test_a_task_that_fails_holds_up_the_merge_not_the_report(self):
        """An archive of an earlier night is not taken for this one's, nor its verdict."""
        out, verdict = self.dir / "bad.qins", self.dir / "bad.qins.verify.json"
        run_qins("convert", MODEL, "-o", out, "--bits", 6, check=0)
        earlier = out.read_bytes()
        verdict.write_text('{"ok": true}')
        ids = self.submit(MODEL, out, 2, OPTIONS="--bits 99")
        self.assertEqual(set(self.slurm.wait(ids[0], 60)), {"FAILED"})
        self.assertEqual(self.slurm.wait(ids[1], 60), ["CANCELLED"])
        self.assertEqual(self.slurm.wait(ids[2], 60), ["FAILED"])
        self.assertIn("'--bits 99'", (self.dir / "bad.qins.task-1.log").read_text())
        self.assertIn("no archive was made", (self.dir / "bad.qins.report.log").read_text())
        self.assertEqual(out.read_bytes(), earlier)
        self.assertFalse(verdict.exists())

    def test_files_that_batch_writes(self):
        odd = "it's \"a\" $name\n\t`of` a \\ model % 7"
        work, whole = self.dir / "emitted", self.dir / "whole-3.qins"
        work.mkdir()
        (work / odd).symlink_to(MODEL)
        run_qins("convert", MODEL, "-o", whole, "--bits", 5, check=0)
        (work / "jobs.json").write_text(json.dumps({"schema": "qins/jobs/1", "jobs": [
            {"model": odd, "output": f"out/{odd}.qins", "bits": 5, "shards": 3},
            {"model": odd, "output": "planned.qins", "plan": {"target_bits": 6}}]}))
        run_qins("batch", "jobs.json", "--emit", "slurm", "-o", "slurm", cwd=work, check=0)
        lines = self.slurm.run("bash", work / "slurm" / "submit-all.sh", env={"QINS": str(PROGRAM)}).split("\n")
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.finish(line.split())
        self.assertEqual((work / "out" / f"{odd}.qins").read_bytes(), whole.read_bytes())
        self.assertTrue((work / "planned.qins").exists())

    def test_a_preparation_that_fails_says_why(self):
        jobs = self.dir / "gone.json"
        jobs.write_text(json.dumps({"schema": "qins/jobs/1", "jobs": [
            {"model": "/no/model", "output": "gone/5%.qins", "plan": {"target_bits": 6}}]}))
        run_qins("batch", jobs, "--emit", "slurm", "-o", "gone-files", cwd=self.dir, check=0)
        ids = self.slurm.run("bash", self.dir / "gone-files" / "submit-all.sh", env={"QINS": str(PROGRAM)}).split()
        self.assertEqual(self.slurm.wait(ids[2], 60), ["FAILED"])
        self.assertEqual((self.dir / "gone" / "5%.qins.prepare.log").read_text(),
                         "qins: /no/model: cannot open: No such file or directory\n")
        self.assertIn("no archive was made", (self.dir / "gone" / "5%.qins.report.log").read_text())

    def test_overhead_of_a_task(self):
        """Tasks with next to nothing to do, beside as many that do nothing, in turns."""
        model = self.dir / "tiny.safetensors"
        support.write_safetensors(model, {"w": ("F32", [64, 64], [bytes(64 * 64 * 4)])})
        empty = self.dir / "empty.sbatch"
        empty.write_text("#!/bin/bash\n#SBATCH --output=/dev/null\ntrue\n")
        times = {"qins": [], "true": []}
        for i in range(3):
            for name in times:
                env = {"MODEL": str(model), "OUT": str(self.dir / f"tiny-{i}.qins"), "QINS": str(PROGRAM)}
                script = empty if name == "true" else SCRIPTS / "convert-array.sbatch"
                begun = time.monotonic()
                job = self.slurm.run("sbatch", "--parsable", f"--array=1-{TASKS}", "--output=/dev/null", script,
                                     env=env)
                self.assertEqual(set(self.slurm.wait(job, 60)), {"COMPLETED"})
                times[name].append(time.monotonic() - begun)
        a_task = {name: min(t) / TASKS for name, t in times.items()}
        alone = []
        for i in range(5):
            begun = time.monotonic()
            subprocess.run([PROGRAM, "convert", model, "-o", self.dir / "t.qins", "--shard", f"{i + 1}/{TASKS}", "-q"],
                           check=True)
            alone.append(time.monotonic() - begun)
        print(f"\na task of qins {a_task['qins']:.3f} s, of nothing {a_task['true']:.3f} s, qins alone "
              f"{sorted(alone)[2]:.3f} s", end=" ")
        if support.SANITIZER == "none":
            self.assertLessEqual(a_task["qins"] - a_task["true"], OVERHEAD)
            self.assertLessEqual(sorted(alone)[2], OVERHEAD)


support.main()
