"""Files of qins calibrate: joined, left half-done and resumed, tampered with."""
import json
import pathlib
import random
import signal
import subprocess
import time
import unittest

import numpy as np

import model_fixtures
import support
from calibration_fixtures import CONTEXT, MODEL, TEXT, Folder, load


@unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
class Merging(Folder):
    KEEP = ("--context", CONTEXT, "--gram", "--keep-rows", 150)

    def halves(self):
        text = TEXT.read_text()
        parts = [self.dir / "first.txt", self.dir / "second.txt"]
        first, both = support.less((1500, 3500), (700, 1600))
        parts[0].write_text(text[:first])
        parts[1].write_text(text[first:both])
        return parts

    def assert_same(self, a, b, moments=1e-12):
        (left, x), (right, y) = load(a), load(b)
        self.assertEqual(sorted(x), sorted(y))
        for key, value in x.items():
            if key.rsplit("/", 1)[-1] in ("mean", "mean_abs", "second_moment", "gram"):
                np.testing.assert_allclose(value, y[key], rtol=moments, atol=0, err_msg=key)
            elif not key.endswith(("/sums", "/gram_low")):
                np.testing.assert_array_equal(value, y[key], key)
        for meta in (left, right):
            del meta["texts"]
        self.assertEqual(left, right)

    def test_halves_are_the_whole(self):
        first, second = self.halves()
        whole, _ = self.calibrate(MODEL, "--text", first, second, *self.KEEP, name="whole")
        a, _ = self.calibrate(MODEL, "--text", first, *self.KEEP, name="a")
        b, _ = self.calibrate(MODEL, "--text", second, *self.KEEP, name="b")
        for order in ((a, b), (b, a)):
            merged, report = self.calibrate("--merge", *order, name="merged")
            self.assert_same(merged, whole)
            self.assertEqual(len(load(merged)[0]["texts"]), 2)
            self.assertEqual(report["tokens"], load(whole)[0]["tokens"])

    def test_three_experts_files(self):
        config, tensors = model_fixtures.make("mixtral")
        folder = self.dir / "moe"
        model_fixtures.write_folder(folder, config, tensors)
        ids = model_fixtures.random_ids(144 + 20)
        keep = ("--context", 48, "--gram", "--keep-rows", 50)
        pieces = [self.calibrate(folder, "--ids", self.save_ids(f"p{i}", ids[i:i + 48]), *keep,
                                 name=f"p{i}")[0] for i in range(0, len(ids), 48)]
        whole, _ = self.calibrate(folder, "--ids", self.save_ids("w", ids), *keep, name="w")
        two, _ = self.calibrate("--merge", *pieces[:2], name="two")
        merged, _ = self.calibrate("--merge", two, *pieces[2:], name="all")
        self.assert_same(merged, whole)

    def test_others_are_refused(self):
        first, second = self.halves()
        config, tensors = model_fixtures.make("llama", vocab_size=2048)
        folder = self.dir / "other"
        model_fixtures.write_folder(folder, config, tensors)
        a, ours = self.calibrate(MODEL, "--ids", self.ids_file, "--tokens", 50, name="ra")
        b, theirs = self.calibrate(folder, "--ids", self.ids_file, "--tokens", 50, name="rb")
        _, message = self.calibrate("--merge", a, b, name="refused", check=3)
        for word in (ours["model_fingerprint"], theirs["model_fingerprint"], "ra.h5", "rb.h5"):
            self.assertIn(word, message)
        c, _ = self.calibrate(MODEL, "--ids", self.ids_file, "--tokens", 50, "--seed", 3, name="rc")
        _, message = self.calibrate("--merge", a, c, name="refused", check=3)
        self.assertIn("--seed", message)
        self.assertFalse((self.dir / "refused.h5").exists())
        before = a.read_bytes()
        support.run_qins("calibrate", "--merge", a, a, "-o", a, check=2)
        self.assertEqual(a.read_bytes(), before)


    def test_an_archive_is_not_its_checkpoint(self):
        archive = self.dir / "kjv.qins"
        support.run_qins("convert", MODEL, "-o", archive, check=0)
        run = ("--ids", self.ids_file, "--tokens", 50)
        a, ours = self.calibrate(MODEL, *run, name="checkpoint")
        b, theirs = self.calibrate(archive, *run, name="archive")
        self.assertEqual(ours["model_fingerprint"], theirs["model_fingerprint"])
        self.assertIsNone(ours["archive_hash"])
        self.assertNotIn("archive_hash", load(a)[0]["model"])
        self.assertEqual(load(b)[0]["model"]["archive_hash"], theirs["archive_hash"])
        _, message = self.calibrate("--merge", a, b, name="both", check=3)
        for word in ("checkpoint.h5", "archive.h5", theirs["archive_hash"]):
            self.assertIn(word, message)
        self.assertEqual(message.count("\n"), 1)
        merged, report = self.calibrate("--merge", b, b, name="same")
        self.assertEqual(report["archive_hash"], theirs["archive_hash"])


class Resuming(Folder):
    RUN = ("--context", 32, "--gram", "--keep-rows", 100, "--threads", 2)

    def start(self, out, *more, texts=(TEXT,)):
        return subprocess.Popen([str(support.PROGRAM), "calibrate", str(MODEL), "--text",
                                 *map(str, texts), "-o", str(out), *map(str, self.RUN), *more],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def interrupt(self, text, out, whole, seconds):
        """Signals at random moments, until a run gets through. How many left their work."""
        rng, part, left = random.Random(11), pathlib.Path(f"{out}.part"), 0
        for attempt in range(support.less(9, 4)):
            process = self.start(out, "--resume", texts=[text])
            support.wait_until_caught(process, signal.SIGINT)
            try:
                process.wait(rng.uniform(0.2, 0.6) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal((signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[attempt % 3])
            message = process.communicate(timeout=60)[1]
            if process.returncode == 0:
                break
            self.assertIn(process.returncode, (130, -signal.SIGKILL), message)
            if out.exists():  # killed between the end of its work and its own
                self.assertEqual(process.returncode, -signal.SIGKILL)
                self.assertEqual(out.read_bytes(), whole.read_bytes())
                break
            left += part.exists()
            if "go on with the same command" in message:
                self.assertTrue(part.exists())
        return left

    def test_interrupted_at_any_moment(self):
        text = self.dir / "part.txt"
        text.write_bytes(TEXT.read_bytes()[:support.less(16000, 5000)])
        begun = time.monotonic()
        whole, _ = self.calibrate(MODEL, "--text", text, *self.RUN, name="uninterrupted")
        took = time.monotonic() - begun
        out = self.dir / "out.h5"
        for pace in (1, 0.3, 0.1):  # the run that was timed may have been a slow one
            left = self.interrupt(text, out, whole, pace * took)
            if left:
                break
            out.unlink(missing_ok=True)
        self.assertGreater(left, 0)
        support.run_qins("calibrate", MODEL, "--text", text, "-o", out, *self.RUN, "--resume",
                         check=0)
        self.assertEqual(out.read_bytes(), whole.read_bytes())
        self.assertEqual(sorted(p.name for p in self.dir.glob("out.h5*")
                                if ".tmp-" not in p.name), ["out.h5"])

    def stop_half_way(self, out, **more):
        """Leaves OUT.part."""
        for wait in (0.3, 0.5, 0.8, 0.15, 1.2, 2.0):
            process = self.start(out, **more)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
            message = process.communicate(timeout=60)[1]
            if process.returncode == 130 and pathlib.Path(f"{out}.part").exists():
                self.assertIn("go on with --resume", message)
                return
            out.unlink(missing_ok=True)
        self.skipTest("no run could be interrupted in time")

    @unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
    def test_another_job_is_refused(self):
        out = self.dir / "job.h5"
        self.stop_half_way(out)
        part = pathlib.Path(f"{out}.part")
        before = part.read_bytes()
        config, tensors = model_fixtures.make("llama", vocab_size=2048)
        folder = self.dir / "other"
        model_fixtures.write_folder(folder, config, tensors)
        again = ("-o", out, "--resume")
        done = support.run_qins("calibrate", folder, "--ids", self.ids_file, *self.RUN, *again,
                                check=2)
        self.assertIn("kjv-1.7m", done.stderr)
        self.assertIn("other", done.stderr)
        for arguments, word in (((TEXT, *self.RUN[2:], "--context", 33), "--context"),
                                ((self.short, *self.RUN), "text"),
                                ((TEXT, *self.RUN, "--seed", 1), "--seed")):
            done = support.run_qins("calibrate", MODEL, "--text", *arguments, *again, check=2)
            self.assertIn(word, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
        # The same text, cut elsewhere, has other windows.
        lines = TEXT.read_text().splitlines(keepends=True)
        for name, cut in (("x", 7), ("y", 8)):
            (self.dir / f"{name}1").write_text("".join(lines[:cut]))
            (self.dir / f"{name}2").write_text("".join(lines[cut:]))
        cut_out = self.dir / "cut.h5"
        self.stop_half_way(cut_out, texts=(self.dir / "x1", self.dir / "x2"))
        done = support.run_qins("calibrate", MODEL, "--text", self.dir / "y1", self.dir / "y2",
                                *self.RUN, "-o", cut_out, "--resume", check=2)
        self.assertIn("cut elsewhere", done.stderr)
        self.assertEqual(part.read_bytes(), before)
        # Unfinished work is no calibration.
        done = support.run_qins("calibrate", "--merge", part, part, "-o", self.dir / "x.h5", check=3)
        self.assertIn("unfinished", done.stderr)
        # Without --resume it is told of and left alone.
        done = support.run_qins("calibrate", MODEL, "--text", self.short, "-o", out, check=0)
        self.assertIn("--resume", done.stderr)
        self.assertEqual(part.read_bytes(), before)

    def test_a_damaged_part(self):
        out = self.dir / "damaged.h5"
        part = pathlib.Path(f"{out}.part")
        for content in (b"", b"nonsense" * 100, self.short.read_bytes()):
            part.write_bytes(content)
            done = support.run_qins("calibrate", MODEL, "--text", self.short, "-o", out, "--resume",
                                    check=3)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertEqual(part.read_bytes(), content)


@unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
class Hostile(Folder):
    """Files that were tampered with are refused by one line."""

    def test_tampering(self):
        good, _ = self.calibrate(MODEL, "--ids", self.ids_file, "--tokens", 60, "--gram",
                                 "--keep-rows", 10, name="good")
        point = "points/lm_head.weight:input/"

        def replace(path, value):
            def change(f):
                del f[path]
                f[path] = value
            return change

        def edit(change):
            def apply(f):
                meta = json.loads(f["meta"][()].tobytes())
                change(meta)
                replace("meta", np.frombuffer(json.dumps(meta).encode(), np.uint8))(f)
            return apply

        def delete(path):
            return lambda f: f.__delitem__(path)

        changes = [
            replace("meta", np.frombuffer(b"{", np.uint8)), replace("meta", np.zeros(3, np.int32)),
            delete("meta"), delete(point + "sums"), delete(point + "gram"), delete("rows/part"),
            replace(point + "min", np.zeros(127, np.float32)),
            replace(point + "max", np.zeros(128, np.float64)),
            replace(point + "sums", np.full((3, 2, 128), np.nan)),
            replace(point + "sign_counts", np.array([1, 2, 3], np.uint64)),
            replace(point + "abs_histogram", np.full(8160, 2**63, np.uint64)),
            replace(point + "row_index", np.full(10, 99, np.uint32)),
            replace("rows/part", np.full(10, 3, np.uint8)),
            replace("rows/priority", np.arange(10, 0, -1).astype(np.uint64)),
            edit(lambda m: m.update(schema="qins/calibration/2")),
            edit(lambda m: m.update(points=[{}])),
            edit(lambda m: m["points"][0].update(channels=1 << 23)),
            edit(lambda m: m["points"][0].update(kept=11)),
            edit(lambda m: m["points"][0].update(name="")),
            edit(lambda m: m.update(kept_rows=1 << 24)),
            edit(lambda m: m["access"].update(embedding_rows=0)),
            edit(lambda m: m["model"].update(fingerprint="xyz")),
            edit(lambda m: m.update(options=None)),
            edit(lambda m: m.update(tokens=-1)),
        ]
        self.check_refused(good, changes)
        support.run_qins("calibrate", "--merge", good, self.short, "-o", self.dir / "x.h5", check=3)
        self.assertFalse((self.dir / "x.h5").exists())

if __name__ == "__main__":
    support.main()
