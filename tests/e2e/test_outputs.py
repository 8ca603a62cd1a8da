"""What stands under an output's name, or beside it, and must survive: inputs, other people's files,
devices, links; and reports that must not speak for another archive."""
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import unittest

import numpy as np

import support

FIXTURE = support.BUILD_ROOT / "tests" / "tools" / "archive_fixture"


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write_model(path, seed=1, rows=64):
    rng = np.random.default_rng(seed)
    support.write_safetensors(path, {
        "weight": ("F32", (rows, 128), [rng.standard_normal((rows, 128), np.float32).tobytes()])})


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="qins-outputs-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.source = self.dir / "source.safetensors"
        write_model(self.source)
        self.out = self.dir / "out.qins"

    def refused(self, code, *arguments, says=""):
        """Exit CODE, one line that holds SAYS, and not a byte changed."""
        before = tree(self.dir)
        done = support.run_qins(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(says, done.stderr)
        self.assertEqual(tree(self.dir), before)


class Spool(Folder):
    def test_foreign_file(self):
        part = self.dir / "out.qins.part"
        for data in (b"x", b"letters of somebody", bytes(4095) + b"x" + bytes(99), b"QINSPRTX"):
            part.write_bytes(data)
            self.refused(2, "convert", self.source, "-o", self.out, "--resume", says="out.qins.part")

    def test_part_is_the_input(self):
        part = self.dir / "out.qins.part"
        self.source.rename(part)
        self.refused(2, "convert", part, "-o", self.out, "--resume", says="is an input")
        part.rename(self.source)
        part.symlink_to(self.source)
        self.refused(2, "convert", self.source, "-o", self.out, "--resume", says="is an input")

    def test_empty_file(self):
        (self.dir / "out.qins.part").touch()
        support.run_qins("convert", self.source, "-o", self.out, "--resume", check=0)
        self.assertFalse((self.dir / "out.qins.part").exists())


class NotAFile(Folder):
    def outputs(self, path):
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        yield "convert", self.source, "-o", path
        yield "restore", self.out, "-o", path

    def test_fifo_and_device(self):
        nodes = [self.dir / "fifo.safetensors"]
        os.mkfifo(nodes[0])
        try:
            os.mknod(self.dir / "null.safetensors", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            nodes.append(self.dir / "null.safetensors")
        except PermissionError:
            pass
        for node in nodes:
            link = node.with_name("link-" + node.name)
            link.symlink_to(node)
            for path in (node, link):
                kind = stat.S_IFMT(node.lstat().st_mode)
                for command in self.outputs(path):
                    with self.subTest(command=command):
                        self.refused(4, *command, says="is not a regular file")
                        self.assertEqual(stat.S_IFMT(node.lstat().st_mode), kind)
                        self.assertTrue(link.is_symlink())

    def test_link(self):
        place = self.dir / "place"
        place.mkdir()
        target, link = place / "target", self.dir / "link.safetensors"
        link.symlink_to("place/target")
        for command in self.outputs(link):
            self.refused(4, *command, says="link to nothing")
        for command in self.outputs(link):
            target.write_bytes(b"older")
            support.run_qins(*command, check=0)
            self.assertTrue(link.is_symlink())
            self.assertGreater(target.stat().st_size, 1000)
            self.assertEqual(os.listdir(place), ["target"])


class Inputs(Folder):
    def sharded(self):
        """A folder whose shards have names that no pattern would guess."""
        folder = self.dir / "model.qins.d"
        folder.mkdir()
        write_model(folder / "a.qins")
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"weight": "a.qins"}}))
        (folder / "config.json").write_text("{}")
        (folder / "notes.txt").write_text("mine")
        return folder

    def test_every_file_of_a_sharded_model(self):
        folder = self.sharded()
        for name in ("a.qins", "model.safetensors.index.json", "config.json"):
            self.refused(2, "convert", folder, "-o", folder / name, says="is an input")
        support.run_qins("convert", folder, "-o", folder / "notes.txt", check=0)

    def test_attached_file_beside_a_single_file(self):
        (self.dir / "config.json").write_text("{}")
        self.refused(2, "convert", self.source, "-o", self.dir / "config.json", says="is an input")

    def test_pipeline(self):
        text = self.dir / "text"
        text.write_text("some text")
        for name in ("model.qins", "model.qins.part", "convert.json", "verify.json", "index.html",
                     "calibration.h5", "calibration.h5.part", "calibrate.json", "validation.json",
                     "validation.json.part", "kv-pages.h5", "review/gate_review.json",
                     "plan.json", "analysis/entropy_analysis.json", "analysis/index.html"):
            folder = self.dir / f"in-{name.replace('/', '-')}"
            (folder / name).parent.mkdir(parents=True)
            with self.subTest(name=name):
                (folder / name).symlink_to(text)
                self.refused(2, "pipeline", self.source, "--text", text, "-o", folder,
                             says="is an input")
                for option in ("--tokenizer", "--heldout", "--policy", "--costs"):
                    self.refused(2, "pipeline", self.source, "--text", __file__, option, text,
                                 "-o", folder, says="is an input")
                (folder / name).unlink()
                os.link(self.source, folder / name)
                self.refused(2, "pipeline", folder / name, "--text", text, "-o", folder,
                             says="is an input")

    def test_restore_over_its_archive(self):
        model = self.dir / "model"
        shutil.copytree(support.MODEL, model)
        back = self.dir / "back"
        back.mkdir()
        for name in ("config.json", "model.safetensors"):
            support.run_qins("convert", model, "-o", back / name, check=0)
            self.refused(2, "restore", back / name, "-o", f"{back}/", says="is an input")
            (back / name).unlink()


class Restore(Folder):
    def test_folder_with_other_weights(self):
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        back = self.dir / "back"
        support.run_qins("restore", self.out, "-o", f"{back}/", check=0)
        support.run_qins("restore", self.out, "-o", f"{back}/", check=0)
        (back / "notes.txt").write_text("mine")
        support.run_qins("restore", self.out, "-o", back, check=0)
        for name in ("model.safetensors.index.json", "model-00001-of-00002.safetensors"):
            (back / name).write_text("{}")
            self.refused(2, "restore", self.out, "-o", back, says=name)
            (back / name).unlink()

    @unittest.skipUnless(FIXTURE.exists(), "archive_fixture is not built")
    def test_only_model_files_are_written(self):
        """An archive of others may attach files of any name."""
        made = self.dir / "made"
        made.mkdir()
        subprocess.run([str(FIXTURE), str(made)], check=True, stdout=subprocess.DEVNULL)
        files = json.loads(support.run_qins("inspect", made / "small.qins", "--json",
                                            check=0).stdout)["attachments"]
        self.assertEqual([f["name"] for f in files], ["config.json", "empty"])
        back = self.dir / "back"
        support.run_qins("restore", made / "small.qins", "-o", f"{back}/", check=0)
        self.assertEqual(sorted(os.listdir(back)), ["config.json", "model.safetensors"])


class Pipeline(Folder):
    def run_it(self, check=0):
        done = support.run_qins("pipeline", self.source, "--text", __file__, "-o",
                                self.dir / "review", "--json", check=check,
                                env=support.without_gnuplot(self.dir))
        return {s["name"]: s["status"] for s in json.loads(done.stdout)["steps"]
                if s["name"] in ("convert", "verify")}

    def test_kept_only_for_this_archive(self):
        review = self.dir / "review"
        done, kept = ({"convert": s, "verify": s} for s in ("done", "kept"))
        self.assertEqual(self.run_it(), done)
        good = (review / "model.qins").read_bytes()
        self.assertEqual(self.run_it(), kept)
        # a sound archive of the same size, of other weights: the first order of the rows whose
        # coded symbols have the same size
        other = self.dir / "other.safetensors"
        rows = support.read_safetensors(self.source)["weight"][::-1]
        for turn in range(len(rows) - 1):
            turned = np.roll(rows, turn, axis=0)
            support.write_safetensors(other, {"weight": ("F32", rows.shape, [turned.tobytes()])})
            support.run_qins("convert", other, "-o", review / "model.qins", "--plan",
                             review / "plan.json", check=0)
            made = (review / "model.qins").read_bytes()
            if len(made) == len(good):
                break
        self.assertEqual(len(made), len(good))
        self.assertNotEqual(made, good)
        self.assertEqual(self.run_it(), done)
        self.assertEqual((review / "model.qins").read_bytes(), good)
        # a report on another archive
        for name, expected in (("convert", done), ("verify", {"convert": "kept", "verify": "done"})):
            path = review / f"{name}.json"
            text = json.loads(path.read_text())
            text["archive_hash"] = "0" * 32
            path.write_text(json.dumps(text))
            self.assertEqual(self.run_it(), expected)

    def changed(self, name, model, change):
        review = self.dir / f"review-{name}"
        command = ("pipeline", model, "--text", __file__, "-o", review, "--json")
        env = support.without_gnuplot(self.dir)
        support.run_qins(*command, check=0, env=env)
        change()
        steps = json.loads(support.run_qins(*command, check=0, env=env).stdout)["steps"]
        # the model cannot be run
        self.assertEqual([s["name"] for s in steps if s["status"] == "skipped"],
                         ["calibrate", "transport", "validate-kv-8", "validate-kv-6", "validate",
                          "validate-transport"])
        self.assertEqual([s["name"] for s in steps if s["status"] == "done"],
                         ["plan", "convert", "verify", "analyze", "gate"])
        support.run_qins("verify", review / "model.qins", "--against", model, check=0)

    def test_changed_source_of_the_same_size_and_time(self):
        folder = self.dir / "gguf"
        folder.mkdir()
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        for model, file in ((self.source, self.source), (folder, folder / "m.h5")):
            if file != self.source:
                support.run_qins("restore", self.out, "-o", file, check=0)

            def change():
                info = file.stat()
                data = bytearray(file.read_bytes())
                at = data.rindex(np.float32(support.read_safetensors(self.source)["weight"][9, 9])
                                 .tobytes()) if file == self.source else len(data) // 2 & ~3
                data[at] ^= 1
                file.write_bytes(data)
                os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
            with self.subTest(file=file.name):
                self.changed(file.name, model, change)

    def test_changed_shard(self):
        folder = self.dir / "model"
        folder.mkdir()
        shard = folder / "weights"
        write_model(shard)
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"weight": "weights"}}))
        self.changed("shard", folder, lambda: write_model(shard, 2))


class ChangedMeanwhile(Folder):
    def test_convert(self):
        write_model(self.source, rows=1 << 17)  # 64 MiB
        for options in ([], ["--resume"]):
            for _ in range(10):  # the run may be over before the change comes
                self.out.unlink(missing_ok=True)
                status, text = self.convert_and_change(options)
                if status != 0:
                    break
            self.assertEqual(status, 4, text)
            self.assertIn("changed while it was read", text)
            self.assertEqual(os.listdir(self.dir), [self.source.name])

    def convert_and_change(self, options):
        process = subprocess.Popen([str(support.PROGRAM), "convert", str(self.source), "-o",
                                    str(self.out), "--quiet", *options],
                                   stderr=subprocess.PIPE, text=True)
        for _ in range(1000):
            if (any(".tmp-" in n or n.endswith(".part") for n in os.listdir(self.dir))
                    or process.poll() is not None):
                break
            time.sleep(0.002)
        with open(self.source, "r+b") as f:
            f.seek(-1, os.SEEK_END)
            f.write(b"?")
        _, text = process.communicate()
        return process.returncode, text


class Others(Folder):
    def test_folder_called_config_json(self):
        (self.dir / "config.json").mkdir()
        os.mkfifo(self.dir / "tokenizer.json")
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        report = json.loads(support.run_qins("inspect", self.out, "--json", check=0).stdout)
        self.assertEqual([a["name"] for a in report["attachments"]], [])

    def test_hangup(self):
        """As an interrupt, but not under nohup."""
        write_model(self.source, rows=1 << 17)
        for action, code in ((signal.SIG_DFL, 130), (signal.SIG_IGN, 0)):
            for _ in range(10):  # the run may be over before the signal comes
                self.out.unlink(missing_ok=True)
                status = self.hang_up(action)
                if status == code:
                    break
                self.assertEqual(status, 0)
            self.assertEqual(status, code)
            self.assertEqual(self.out.exists(), code == 0)
            self.assertEqual([n for n in os.listdir(self.dir) if ".tmp-" in n], [])

    def hang_up(self, action):
        process = subprocess.Popen([str(support.PROGRAM), "convert", str(self.source), "-o",
                                    str(self.out)], stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL,
                                   preexec_fn=lambda: signal.signal(signal.SIGHUP, action))
        for _ in range(1000):
            if any(".tmp-" in n for n in os.listdir(self.dir)) or process.poll() is not None:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGHUP)
        return process.wait()

    def test_extreme_figures_are_readable(self):
        """Nine digits write some floats a little outside of their own range."""
        values = np.full((64, 128), 0.5, np.float32)
        values[0, 0] = np.finfo(np.float32).min
        support.write_safetensors(self.source, {"w": ("F32", (64, 128), [values.tobytes()])})
        for options in (["--group", "tensor", "--clip", "1"],
                        ["--grid", "seed", "--kappa", "18446744073709551616"],
                        ["--grid", "seed", "--kappa", "5.421010862427522e-20"]):
            support.run_qins("convert", self.source, "-o", self.out, *options, check=0)
            support.run_qins("verify", self.out, "--against", self.source, check=0)

    def test_a_difference_is_not_exact(self):
        def write(last):
            support.write_safetensors(self.source, {
                "i": ("I32", (4,), [np.array([1, 2, 3, last], np.int32).tobytes()]),
                "s": ("F32", (), [np.float32(last).tobytes()])})
        write(4)
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        write(5)
        done = support.run_qins("verify", self.out, "--against", self.source, "--json", check=1)
        for tensor in json.loads(done.stdout)["tensors"]:
            self.assertEqual((tensor["ok"], tensor["exact"]), (False, False), tensor)

    def test_overflow_is_told(self):
        """Finite weights that a narrow type cannot hold."""
        values = np.array([1.0, 65519.0, 65520.0, -3e38, np.inf, np.nan], np.float32)
        support.write_safetensors(self.source, {
            "small": ("F32", (1,), [values[:1].tobytes()]),
            "large": ("F32", (6,), [values.tobytes()]),
            "scalar": ("F64", (), [np.float64(1e300).tobytes()])})
        support.run_qins("convert", self.source, "-o", self.out, "--lossless", check=0)
        for dtype, count in (("f16", 3), ("f32", 1), ("bf16", 1), ("source", 0)):
            done = support.run_qins("restore", self.out, "-o", self.dir / "r.safetensors",
                                    "--dtype", dtype, check=0)
            lines = [line for line in done.stderr.splitlines() if "infinite" in line]
            self.assertEqual(len(lines), count > 0, done.stderr)
            if count:
                self.assertIn(f"note: {count} finite value", lines[0])


if __name__ == "__main__":
    support.main()
