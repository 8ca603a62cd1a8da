"""qins status: what it says of parts that are done, missing, running, interrupted, stale and damaged."""
import fcntl
import json
import os
import shutil
import subprocess

import support
from support import MODEL, PROGRAM, run_qins


class Status(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.dir / "model"
        shutil.copytree(MODEL, cls.model)
        cls.parts = cls.dir / "parts"
        cls.parts.mkdir()
        for i in (1, 2, 3, 4):
            run_qins("convert", cls.model, "-o", cls.parts / "m.qins", "--shard", f"{i}/4", check=0)

    def setUp(self):
        self.here = self.dir / self.id().rsplit(".", 1)[-1]
        self.here.mkdir()

    def take(self, *indices, name="m.qins"):
        for i in indices:
            shutil.copy2(self.parts / f"m.qins-{i:05}-of-00004", self.here / f"{name}-{i:05}-of-00004")

    def status(self, check=1):
        done = run_qins("status", self.here, "--json", check=check)
        report = json.loads(done.stdout)
        support.validate(report, "status")
        return report

    def one(self, check=1):
        outputs = self.status(check)["outputs"]
        self.assertEqual(len(outputs), 1)
        return outputs[0]

    def test_nothing(self):
        self.assertEqual(self.status(check=0)["outputs"], [])
        (self.here / "notes.part").write_text("somebody's")
        (self.here / "a.txt").write_text("")
        self.assertEqual(self.status(check=0)["outputs"], [])
        done = run_qins("status", self.here / "gone", check=4)
        self.assertIn("cannot open", done.stderr)

    def test_missing_then_unmerged_then_complete(self):
        self.take(2)
        found = self.one()
        self.assertEqual((found["state"], found["done"], found["missing"]), ("incomplete", 1, 3))
        self.assertEqual(found["missing_parts"], [[1, 1], [3, 4]])
        self.assertEqual((found["kind"], found["source_state"]), ("convert", "same"))
        text = run_qins("status", self.here, check=1)
        self.assertIn("missing 1, 3-4", text.stdout)
        self.assertIn("1 of 1 outputs are not complete", text.stderr)
        self.take(1, 3, 4)
        found = self.one()
        self.assertEqual((found["state"], found["done"], found["missing_parts"]), ("unmerged", 4, []))
        run_qins("convert", self.model, "-o", self.here / "m.qins", check=0)
        self.assertEqual(self.one(check=0)["state"], "complete")
        # Without its parts, too; and damaged where it is cut off.
        for part in self.here.glob("m.qins-*"):
            part.unlink()
        self.assertEqual(self.one(check=0)["state"], "complete")
        with open(self.here / "m.qins", "r+b") as f:
            f.truncate(100000)
        self.assertEqual(self.one()["state"], "damaged")

    def test_running_and_interrupted(self):
        self.take(1, 2, 3, 4)
        part, work = self.here / "m.qins-00003-of-00004", self.here / "m.qins-00003-of-00004.part"
        part.rename(work)
        with open(work, "r+b") as f:
            f.truncate(work.stat().st_size - 1000)
            fcntl.flock(f, fcntl.LOCK_EX)
            found = self.one()
            self.assertEqual((found["state"], found["running"], found["done"]), ("running", 1, 3))
        found = self.one()
        self.assertEqual((found["state"], found["interrupted"], found["missing"]), ("incomplete", 1, 0))
        mine = [p for p in found["found"] if p["part"] == 3][0]
        self.assertEqual(mine["state"], "interrupted")
        self.assertLessEqual(mine["chunks_done"], mine["chunks"])
        # A run that looks does not keep one that works from its lock.
        lookers = [subprocess.Popen([PROGRAM, "status", self.here], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL) for _ in range(4)]
        run_qins("convert", self.model, "-o", self.here / "m.qins", "--shard", "3/4", check=0)
        for looker in lookers:
            looker.wait()
        self.assertEqual(self.one()["state"], "unmerged")

    def test_stale_by_another_job(self):
        self.take(1, 2)
        run_qins("convert", self.model, "-o", self.here / "m.qins", "--bits", 5, "--shard", "3/4", check=0)
        found = self.one()
        self.assertEqual((found["state"], found["stale"], found["done"], found["missing"]), ("stale", 2, 1, 1))
        self.assertIn("missing 4; stale 1, 2", run_qins("status", self.here, check=1).stdout)

    def test_stale_by_a_source_that_changed(self):
        self.take(1, 2, 3, 4)
        weights = self.model / "model.safetensors"
        data = weights.read_bytes()
        weights.unlink()
        found = self.one()
        self.assertEqual((found["source_state"], found["state"]), ("unknown", "unmerged"))
        weights.write_bytes(data)
        found = self.one()
        self.assertEqual((found["source_state"], found["state"], found["stale"]), ("changed", "stale", 4))

    def test_damaged(self):
        self.take(1, 2, 3)
        (self.here / "m.qins-00004-of-00004").write_bytes(b"no part")
        with open(self.here / "m.qins-00002-of-00004", "r+b") as f:
            f.truncate(5000)
        found = self.one()
        self.assertEqual((found["state"], found["damaged"], found["done"]), ("damaged", 2, 2))

    def test_other_kinds_and_leftovers(self):
        text = self.here / "text.txt"
        text.write_text((support.SOURCE_ROOT / "examples" / "kjv-calibration.txt").read_text()[:3000])
        run_qins("calibrate", MODEL, "--text", text, "--context", 64, "-o", self.here / "c.h5", "--shard", "1/2",
                 check=0)
        (self.here / "model.qins.tmp-a1b2c3").write_bytes(bytes(1000))
        report = self.status()
        self.assertEqual((report["leftovers"], report["leftover_bytes"]), (1, 1000))
        self.assertEqual([(o["kind"], o["state"], o["done"]) for o in report["outputs"]],
                         [("calibrate", "incomplete", 1)])

    def test_thousands_of_parts(self):
        for i in range(1, 3001):
            (self.here / f"m.qins-{i:05}-of-03000").write_bytes(b"QINSPRT\0" + bytes(100))
        report = self.status()["outputs"][0]
        self.assertEqual(report["damaged"], 3000)
        with open("/dev/null", "wb") as null:
            process = subprocess.Popen([PROGRAM, "status", self.here], stdout=null, stderr=null)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 1
        if support.SANITIZER == "none":
            self.assertLess(usage.ru_maxrss, 64 << 10)


support.main()
