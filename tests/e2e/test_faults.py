"""Killed runs, full disks, and paths that cannot work: never a wrong or partial file under the
final name, always a clear exit code."""
import hashlib
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import numpy as np

import support

KILLS = support.less(20, 6)
ROWS, COLUMNS, MATRICES = 4096, 1024, support.less(12, 3)  # 16 MiB each


def digest(path):
    h = hashlib.blake2b()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def digest_of(data):
    return hashlib.blake2b(data).hexdigest(), len(data)


def whole_frames(spool):
    """A spool's beginning, up to where a kill tore a frame: docs/archive-format.md."""
    head, frame = 40, 48
    if len(spool) < head:
        return b""
    end = head
    while len(spool) >= end + frame:
        magic, _, size = struct.unpack_from("<4sIQ", spool, end)
        if magic != b"QFRM" or len(spool) < end + frame + size:
            break
        end += frame + size
    return spool[:end]


def start(*arguments):
    return subprocess.Popen([str(support.PROGRAM), *map(str, arguments)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lines_of_error(done):
    return [line for line in done.stderr.splitlines() if line.strip()]


class Folder(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory(prefix="qins-faults-")
        self.addCleanup(self._folder.cleanup)
        self.dir = pathlib.Path(self._folder.name)
        self.source = self.dir / "source.safetensors"
        self.out = self.dir / "out.qins"


class Killed(Folder):
    """SIGKILL at random moments, the moments spread over the time that a whole run takes."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="qins-killed-")
        cls.addClassCleanup(folder.cleanup)
        cls.big = pathlib.Path(folder.name) / "source.safetensors"
        rng = np.random.default_rng(7)
        support.write_safetensors(cls.big, {
            f"layers.{i}.weight": ("F32", (ROWS, COLUMNS),
                                   [rng.standard_normal((ROWS, COLUMNS), np.float32).tobytes()])
            for i in range(MATRICES)})
        cls.before = digest(cls.big)
        plain = pathlib.Path(folder.name) / "plain.qins"
        begin = time.monotonic()
        support.run_qins("convert", cls.big, "-o", plain, check=0)
        cls.seconds = time.monotonic() - begin
        cls.plain = digest(plain)
        cls.random = random.Random(1234)

    def kill_convert(self, *options):
        """False when the run ended, or had its output in place, before it was killed."""
        process = start("convert", self.big, "-o", self.out, *options)
        time.sleep(self.random.random() * self.seconds)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL and not self.out.exists()

    def kill_many(self, *options):
        """Until KILLS runs died before their end. What stands there otherwise is whole."""
        killed = 0
        for run in range(5 * KILLS):
            if self.kill_convert(*options):
                killed += 1
            else:
                if run > 2 * killed + 2:  # the run that was timed was slower than they are now
                    type(self).seconds *= 0.8
                self.assertEqual(digest(self.out), self.plain)
                self.out.unlink()
            if killed == KILLS:
                break
        self.assertEqual(killed, KILLS)
        self.check_source()

    def check_source(self):
        self.assertEqual(digest(self.big), self.before)

    def test_plain_runs(self):
        self.kill_many()
        support.run_qins("convert", self.big, "-o", self.out, check=0)
        self.assertEqual(digest(self.out), self.plain)

    def test_resumed_runs(self):
        self.kill_many("--resume")
        support.run_qins("convert", self.big, "-o", self.out, "--resume", check=0)
        self.assertEqual(digest(self.out), self.plain)
        self.assertFalse(self.out.with_name("out.qins.part").exists())

    def test_resume_keeps_what_was_done(self):
        """No whole frame of one run's work in progress is thrown away by the next."""
        part = self.out.with_name("out.qins.part")
        before = b""
        for _ in range(8):
            if not self.kill_convert("--resume"):
                break
            now = whole_frames(part.read_bytes() if part.exists() else b"")
            self.assertEqual(digest_of(now[:len(before)]), digest_of(before))
            before = now

    def test_killed_over_an_older_archive(self):
        """The older file stays as it was until a new one is complete."""
        older = b"something of the user's"
        for _ in range(5):
            self.out.write_bytes(older)
            self.kill_convert()
            self.assertTrue(self.out.read_bytes() == older or digest(self.out) == self.plain)

    def test_interrupt_exits_130_and_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = start("convert", self.big, "-o", self.out)
            support.wait_until_caught(process, number)
            time.sleep(self.seconds / 3)
            process.send_signal(number)
            code = process.wait()
            self.assertIn(code, (130, 0))
            if code == 130:
                self.assertEqual(list(self.dir.iterdir()), [])
            else:
                self.out.unlink()


class FullDisk(Folder):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(3)
        support.write_safetensors(self.source, {
            "weight": ("F32", (4096, 512), [rng.standard_normal((4096, 512), np.float32).tobytes()])})

    def check_full(self, done, out):
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertEqual(len(lines_of_error(done)), 1, done.stderr)
        self.assertFalse(out.exists())
        self.assertEqual([p.name for p in out.parent.glob("*") if ".tmp-" in p.name], [])

    def small_disk(self, size):
        """A tmpfs of SIZE bytes; needs root and the right to mount."""
        place = self.dir / "disk"
        place.mkdir(exist_ok=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place],
                                 capture_output=True)
        if mounted.returncode:
            self.skipTest("may not mount a tmpfs here")
        self.addCleanup(subprocess.run, ["umount", str(place)], check=True)
        return place

    def test_convert_on_a_full_disk(self):
        disk = self.small_disk("256k")
        for options in ([], ["--resume"]):
            with self.subTest(options=options):
                done = support.run_qins("convert", self.source, "-o", disk / "m.qins", *options)
                self.check_full(done, disk / "m.qins")

    def test_restore_on_a_full_disk(self):
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        disk = self.small_disk("256k")
        for name in ("m.safetensors", "m.gguf", "m.h5"):
            with self.subTest(name=name):
                done = support.run_qins("restore", self.out, "-o", disk / name)
                self.check_full(done, disk / name)

    def test_restore_to_a_folder_on_a_full_disk(self):
        """Folders that it made go again; those that were there stay."""
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        disk = self.small_disk("256k")
        (disk / "kept").mkdir()
        for folder in ("kept/", "kept/new/", "a/b/c/", "d//e//"):
            with self.subTest(folder):
                done = support.run_qins("restore", self.out, "-o", f"{disk}/{folder}")
                self.check_full(done, disk / folder / "model.safetensors")
                self.assertEqual([p.name for p in disk.rglob("*")], ["kept"])

    def test_resume_after_the_disk_was_full(self):
        """What the spool holds is taken up once there is room; only the place has changed."""
        disk = self.small_disk("1m")
        self.check_full(support.run_qins("convert", self.source, "-o", disk / "m.qins",
                                         "--resume"), disk / "m.qins")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        support.run_qins("convert", self.source, "-o", disk / "m.qins", "--resume", check=0)
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        self.assertEqual(digest(disk / "m.qins"), digest(self.out))

    def test_file_size_limit(self):
        """EFBIG and SIGXFSZ, which needs no rights."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))
        for options in ([], ["--resume"]):
            with self.subTest(options=options):
                done = support.run_qins("convert", self.source, "-o", self.out, *options,
                                        preexec_fn=limit)
                self.check_full(done, self.out)
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        for name in ("m.safetensors", "m.gguf", "m.h5"):
            with self.subTest(name=name):
                done = support.run_qins("restore", self.out, "-o", self.dir / name,
                                        preexec_fn=limit)
                self.check_full(done, self.dir / name)


class Paths(Folder):
    def setUp(self):
        super().setUp()
        support.write_safetensors(self.source, {
            "weight": ("F32", (64, 128), [np.arange(64 * 128, dtype="<f4").tobytes()])})
        self.before = self.source.read_bytes()

    def refused(self, code, *arguments):
        done = support.run_qins(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(len(lines_of_error(done)), 1, done.stderr)
        return done

    def test_output_is_the_input(self):
        link, hard = self.dir / "link.qins", self.dir / "hard.qins"
        link.symlink_to(self.source)
        os.link(self.source, hard)
        for out in (self.source, link, hard):
            with self.subTest(out=out.name):
                self.refused(2, "convert", self.source, "-o", out)
                self.assertEqual(self.source.read_bytes(), self.before)
        self.assertTrue(link.is_symlink())

    def test_output_is_a_file_of_the_input_folder(self):
        folder = self.dir / "model"
        shutil.copytree(support.MODEL, folder)
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            with self.subTest(name=name):
                before = digest(folder / name)
                self.refused(2, "convert", folder, "-o", folder / name)
                self.assertEqual(digest(folder / name), before)

    def test_restore_over_its_archive(self):
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        before = digest(self.out)
        link = self.dir / "link.safetensors"
        link.symlink_to(self.out)
        self.refused(2, "restore", self.out, "-o", link)
        self.assertEqual(digest(self.out), before)

    def test_missing_input(self):
        for verb in (["convert", self.dir / "none", "-o", self.out],
                     ["inspect", self.dir / "none"], ["verify", self.dir / "none"],
                     ["restore", self.dir / "none", "-o", self.dir / "r.h5"]):
            with self.subTest(verb=verb[0]):
                done = self.refused(4, *verb)
                self.assertIn("none", done.stderr)
                self.assertEqual(list(self.dir.iterdir()), [self.source])

    def test_a_folder_is_no_archive(self):
        for verb in (["verify", self.dir], ["restore", self.dir, "-o", self.dir / "r.h5"],
                     ["bench", "coders", self.dir]):
            with self.subTest(verb=verb[0]):
                self.assertIn("is a folder, not an archive", self.refused(3, *verb).stderr)

    def test_an_archive_with_the_name_of_a_checkpoint(self):
        for name, notes in (("m.safetensors", 1), ("m.gguf", 1), ("m.qins", 0), ("m", 0)):
            done = support.run_qins("convert", self.source, "-o", self.dir / name, check=0)
            self.assertEqual(done.stderr.count("is an archive, "), notes)
            self.assertEqual((self.dir / name).read_bytes()[:4], b"QINS")

    def test_output_folder_that_is_not_there(self):
        self.refused(4, "convert", self.source, "-o", self.dir / "no" / "such" / "m.qins")

    @unittest.skipIf(os.geteuid() == 0, "root may read and write everything")
    def test_permissions(self):
        self.source.chmod(0)
        self.refused(4, "convert", self.source, "-o", self.out)
        self.source.chmod(0o644)
        closed = self.dir / "closed"
        closed.mkdir(mode=0o555)
        self.refused(4, "convert", self.source, "-o", closed / "m.qins")

    def test_left_over_files_of_killed_runs(self):
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        clean = digest(self.out)
        self.out.unlink()
        for name in ("out.qins.tmp-AbCdEf", "out.qins.tmp-000000"):
            (self.dir / name).write_bytes(b"left over")
        (self.dir / "out.qins.part").write_bytes(b"not a spool of ours")
        support.run_qins("convert", self.source, "-o", self.out, check=0)
        self.assertEqual(digest(self.out), clean)

    def test_not_a_checkpoint(self):
        for name, data in (("empty", b""), ("text", b"hello, world\n" * 9), ("zeros", bytes(4096))):
            with self.subTest(name=name):
                (self.dir / name).write_bytes(data)
                self.refused(3, "convert", self.dir / name, "-o", self.out)
                self.refused(3, "verify", self.dir / name)
                self.assertFalse(self.out.exists())


if __name__ == "__main__":
    support.main()
