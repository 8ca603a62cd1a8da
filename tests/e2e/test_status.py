"""qins status: what it says of parts that are done, missing, running, interrupted, stale and damaged."""
import ctypes
import fcntl
import json
import os
import shutil
import subprocess

import support
from support import MODEL, PROGRAM, run_qins


def hash64(data):
    function = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    function.restype = ctypes.c_uint64
    return function(data, ctypes.c_size_t(len(data))).to_bytes(8, "little")


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

    def parts_of(self, name, *command):
        """Makes both parts, of which none is damaged and none stale."""
        out = self.here / name
        for i in (1, 2):
            run_qins(*command, "-o", out, "--shard", f"{i}/2", "--quiet", check=0)
        return out, [self.here / f"{name}-{i:05}-of-00002" for i in (1, 2)]

    def text(self):
        path = self.dir / "short.txt"
        path.write_text((support.SOURCE_ROOT / "examples" / "kjv-calibration.txt").read_text()[:1200])
        return path

    def cut(self, part, kind, *sizes):
        whole = part.read_bytes()
        for size in (*sizes, len(whole) - 1, len(whole) // 2, 100, 0):
            with self.subTest(kind=kind, size=size):
                part.write_bytes(whole[:size])
                found = self.one()
                self.assertEqual((found["kind"], found["state"], found["damaged"], found["done"]),
                                 (kind, "damaged", 1, 1))
        part.write_bytes(whole)

    def test_parts_of_calibrate(self):
        command = ("calibrate", MODEL, "--text", self.text(), "--context", 64)
        out, parts = self.parts_of("c.h5", *command)
        found = self.one()
        self.assertEqual((found["kind"], found["state"], found["done"]), ("calibrate", "unmerged", 2))
        self.cut(parts[0], "calibrate", 50000)
        # A whole calibration is no part.
        part = parts[0].read_bytes()
        run_qins(*command, "-o", out, check=0)
        out.rename(parts[0])
        self.assertEqual(self.one()["damaged"], 1)
        # Work in progress says nothing of the others; parts of another job are stale, as to --merge.
        parts[0].write_bytes(part)
        parts[1].unlink()
        work = parts[1].with_name(parts[1].name + ".part")
        head = b"QINSCAL\0" + (1).to_bytes(8, "little") + bytes(16)
        work.write_bytes(head + hash64(head))
        self.assertEqual((self.one()["done"], self.one()["interrupted"], self.one()["stale"]), (1, 1, 0))
        work.unlink()
        run_qins(*command, "--seed", 1, "-o", out, "--shard", "2/2", check=0)
        found = self.one()
        self.assertEqual((found["state"], found["stale"], found["done"]), ("stale", 1, 1))
        self.assertIn("stale 1", run_qins("status", self.here, check=1).stdout)
        run_qins("calibrate", "--merge", *parts, "-o", out, check=2)

    def test_parts_of_validate(self):
        archive = self.dir / "v.qins"
        run_qins("convert", MODEL, "-o", archive, "--bits", 5, check=0)
        command = ("validate", MODEL, archive, "--text", self.text(), "--context", 32, "--tests", "perplexity")
        out, parts = self.parts_of("v.json", *command)
        found = self.one()
        self.assertEqual((found["kind"], found["state"], found["done"]), ("validate", "unmerged", 2))
        # Also where it ends with a whole frame.
        self.cut(parts[0], "validate", 1000, parts[0].read_bytes().rfind(b"QJRN"))
        parts[1].unlink()
        run_qins(*command, "--ppl-style", "llama.cpp", "-o", out, "--shard", "2/2", check=0)
        found = self.one()
        self.assertEqual((found["state"], found["stale"], found["done"]), ("stale", 1, 1))
        run_qins("validate", "--merge", *parts, check=2)

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
