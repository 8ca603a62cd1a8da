"""qins calibrate and validate --shard: parts of the windows, done apart and in any order, ended and
begun again, joined to what one run makes."""
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

import numpy as np

import model_fixtures
import support
from calibration_fixtures import MODEL, TEXT, Folder, load

SLURM = {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "5", "SLURM_ARRAY_TASK_COUNT": "3"}


def part_path(out, i, n):
    return pathlib.Path(f"{out}-{i:05}-of-{n:05}")


@unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
class Sharded(Folder):
    """What is asked of both verbs."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.text = cls.dir / "text.txt"
        cls.text.write_bytes(TEXT.read_bytes()[:support.less(5000, 2500)])

    def run_parts(self, out, n, *arguments, order=None):
        """Makes all N parts of OUT."""
        for i in order or range(1, n + 1):
            support.run_qins(*arguments, "-o", out, "--shard", f"{i}/{n}", "--quiet", check=0)
        parts = [part_path(out, i, n) for i in range(1, n + 1)]
        self.assertEqual(sorted(self.dir.glob(out.name + "*")), parts)
        return parts

    def refused(self, code, *words, arguments):
        done = support.run_qins(*arguments, check=code)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(str(word), done.stderr)

    def end_once(self, command, work, number):
        """Runs COMMAND, and ends it by the signal NUMBER when its WORK in progress is there; once more from
        the same work if the run was over first."""
        part = work.with_suffix("")
        before = work.read_bytes() if work.exists() else None
        for attempt in range(20):
            run = subprocess.Popen([str(a) for a in (support.PROGRAM, *command)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            support.wait_for_work(run, work)
            if number != signal.SIGKILL:
                support.wait_until_caught(run, number)
                time.sleep(0.1 if attempt < 5 else 0)
            run.send_signal(number)
            run.communicate()
            if work.exists() and not part.exists():
                return run.returncode
            part.unlink(missing_ok=True)
            if before is not None:
                work.write_bytes(before)
        return self.fail("it could not be ended in time")


class Calibrated(Sharded):
    OPTIONS = ("--context", 16, "--gram", "--keep-rows", 120, "--sensitivity", "--threads", 2)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.dir / "model"
        model_fixtures.write_folder(cls.model, *model_fixtures.make("llama", num_hidden_layers=1))
        cls.few = cls.save_ids("few", model_fixtures.random_ids(200))
        cls.command = ("calibrate", cls.model, "--ids", cls.few, *cls.OPTIONS)
        cls.whole = cls.dir / "whole.h5"
        support.run_qins(*cls.command, "-o", cls.whole, "--quiet", check=0)
        cls.slow = ("calibrate", MODEL, "--text", cls.text, "--context", 32, "--gram")

    def assert_same(self, merged, whole):
        """Descriptions, counts and rows exactly; sums to 1e-12, and sensitivities to the last bit."""
        (a, x), (b, y) = load(merged), load(whole)
        self.assertEqual(a, b)
        self.assertEqual(sorted(x), sorted(y))
        for key, value in x.items():
            if key.rsplit("/", 1)[-1] in ("mean", "mean_abs", "second_moment", "gram"):
                np.testing.assert_allclose(value, y[key], rtol=1e-12, atol=0, err_msg=key)
            elif not key.endswith(("/sums", "/gram_low")):
                np.testing.assert_array_equal(value, y[key], key)

    def test_parts_are_the_whole(self):
        for n in (1, 3, 8):
            out = self.dir / f"of{n}.h5"
            parts = self.run_parts(out, n, *self.command, order=list(range(n, 0, -1)))
            merged, report = self.calibrate("--merge", *parts[::-1], name=f"merged{n}")
            self.assert_same(merged, self.whole)
            self.assertEqual(report["text_fingerprints"], load(self.whole)[0]["texts"])
        # A part is a calibration of its windows, and none that anything else takes.
        meta, _ = load(parts[2])
        self.assertEqual((meta["part"]["index"], meta["part"]["count"]), (3, 8))
        self.assertLess(meta["windows"], meta["part"]["windows"])
        self.refused(3, "part 3 of 8", "--merge",
                     arguments=("plan", self.model, "--calibration", parts[2], "-o", self.dir / "p.json"))

    def test_more_parts_than_windows(self):
        """Experts, too, whose sensitivities are measured together."""
        config, tensors = model_fixtures.make("mixtral", num_local_experts=20, num_hidden_layers=1)
        folder = self.dir / "moe"
        model_fixtures.write_folder(folder, config, tensors)
        ids = self.save_ids("ninety", model_fixtures.random_ids(90))
        command = ("calibrate", folder, "--ids", ids, "--context", 32, "--keep-rows", 40,
                   "--sensitivity")
        whole = self.dir / "moe.h5"
        support.run_qins(*command, "-o", whole, "--quiet", check=0)
        out = self.dir / "moe-parts.h5"
        parts = self.run_parts(out, 5, *command)
        self.assertIn(0, [load(p)[0]["windows"] for p in parts])
        merged, _ = self.calibrate("--merge", *parts, name="moe-merged")
        self.assert_same(merged, whole)

    def test_again_and_killed(self):
        out = self.dir / "again.h5"
        first, second = part_path(out, 1, 2), part_path(out, 2, 2)
        command = (*self.command, "-o", out)
        support.run_qins(*command, "--shard", "1/2", "--quiet", check=0)
        before = first.stat()
        done = support.run_qins(*command, "--shard", "1/2", check=0)
        self.assertIn("is there already", done.stderr)
        self.assertNotIn("a second", done.stdout)
        self.assertEqual(first.stat().st_mtime_ns, before.st_mtime_ns)
        # Another job does not overwrite it, and is told so in one line.
        other = ("calibrate", self.model, "--ids", self.save_ids("others", model_fixtures.random_ids(200, 4)))
        self.refused(2, first.name, "another job",
                     arguments=(*other, *self.OPTIONS, "-o", out, "--shard", "1/2"))
        self.refused(2, "--seed", arguments=(*command, "--shard", "1/2", "--seed", 1))
        self.assertEqual(first.stat().st_mtime_ns, before.st_mtime_ns)

    def test_in_the_way(self):
        """What is no part under its name, or is not whole, is left, and its owner told what to do."""
        out = self.dir / "way.h5"
        first = part_path(out, 1, 2)
        command = (*self.command, "-o", out, "--shard", "1/2")
        for data in (b"", b"notes", self.whole.read_bytes()[:5000]):
            first.write_bytes(data)
            self.refused(3, first.name, "in the way", "remove it", arguments=command)
            self.assertEqual(first.read_bytes(), data)

    def test_ended(self):
        """By the system and by a person, and begun once more."""
        out, whole = self.dir / "ended.h5", self.dir / "slow.h5"
        first, second = part_path(out, 1, 2), part_path(out, 2, 2)
        work = pathlib.Path(f"{second}.part")
        command = (*self.slow, "-o", out, "--shard")
        self.assertEqual(self.end_once((*command, "2/2"), work, signal.SIGKILL), -signal.SIGKILL)
        self.refused(2, work.name, "another job", arguments=(*command, "2/2", "--seed", 1))
        self.assertEqual(self.end_once((*command, "2/2"), work, signal.SIGTERM), 130)
        self.assertFalse(second.exists())
        for i in (1, 2):
            support.run_qins(*command, f"{i}/2", "--quiet", check=0)
        self.assertEqual([p for p in sorted(self.dir.glob(out.name + "*")) if ".tmp-" not in p.name],
                         [first, second])
        support.run_qins(*self.slow, "-o", whole, "--quiet", check=0)
        merged, _ = self.calibrate("--merge", first, second, name="ended-merged")
        self.assert_same(merged, whole)

    def test_one_at_a_time(self):
        out = self.dir / "busy.h5"
        part = part_path(out, 1, 2)
        work = pathlib.Path(f"{part}.part")
        command = (*self.slow, "-o", out, "--shard", "1/2")
        for _ in range(10):  # the run may be over before it is stopped
            part.unlink(missing_ok=True)
            run = subprocess.Popen([str(a) for a in (support.PROGRAM, *command)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            support.wait_for_work(run, work)
            run.send_signal(signal.SIGSTOP)
            if run.poll() is None and work.exists() and not part.exists():
                break
            run.send_signal(signal.SIGCONT)
            run.communicate()
        try:
            self.refused(4, "another process", arguments=command)
        finally:
            run.send_signal(signal.SIGCONT)
            run.communicate()
        self.assertEqual(run.returncode, 0)
        self.assertFalse(work.exists())

    def test_slurm(self):
        out = self.dir / "array.h5"
        command = (*self.command, "-o", out, "--shard", "slurm", "--quiet")
        for task in (10, 15, 20):
            support.run_qins(*command, check=0,
                             env={**os.environ, **SLURM, "SLURM_ARRAY_TASK_ID": str(task)})
        merged, _ = self.calibrate("--merge", *(part_path(out, i, 3) for i in (1, 2, 3)),
                                   name="of-array")
        self.assert_same(merged, self.whole)
        self.refused(2, "SLURM_ARRAY_TASK_ID", arguments=command)

    def test_wrong_parts(self):
        short = ("--context", 32)
        out, other = self.dir / "right.h5", self.dir / "other.h5"
        command = ("calibrate", self.model, "--ids", self.few, *short)
        parts = self.run_parts(out, 3, *command)
        others = self.run_parts(other, 3, "calibrate", self.model, "--ids",
                                self.save_ids("more", model_fixtures.random_ids(150)), *short)
        target = ("-o", self.dir / "wrong.h5")
        for code, files, words in (
                (2, (parts[0], parts[2]), ("part 2 of 3 is missing",)),
                (2, (parts[1],), ("part 1 of 3 is missing, and 1 more",)),
                (2, (*parts, parts[1]), ("same part, 2 of 3", parts[1].name)),
                (2, (*parts[:2], others[2]), ("different jobs", others[2].name)),
                (2, (*parts[:2], self.whole_short(command)), ("by themselves", "whole-short.h5"))):
            self.refused(code, *words, arguments=("calibrate", "--merge", *files, *target))
        self.refused(2, "--shard", arguments=("calibrate", "--merge", *parts, *target, "--shard",
                                              "1/2"))
        self.refused(2, "two or more",
                     arguments=("calibrate", "--merge", self.dir / "whole-short.h5", *target))
        self.assertFalse((self.dir / "wrong.h5").exists())

    def whole_short(self, command):
        path = self.dir / "whole-short.h5"
        support.run_qins(*command, "-o", path, "--quiet", check=0)
        return path


def figures(value, without=()):
    """A report without times, and without what is named."""
    if isinstance(value, dict):
        return {k: figures(v, without) for k, v in value.items()
                if k not in ("seconds", "tokens_per_s", *without) and
                not k.endswith(("_seconds", "_ms", "_ms_per_page"))}
    return [figures(v, without) for v in value] if isinstance(value, list) else value


class Validated(Sharded):
    OPTIONS = ("--context", 16, "--tokens", 12, "--threads", 2)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model, cls.archive = cls.dir / "model", cls.dir / "model.qins"
        model_fixtures.write_folder(cls.model, *model_fixtures.make("llama", num_hidden_layers=2))
        support.run_qins("convert", cls.model, "-o", cls.archive, "--bits", 5, "--quiet", check=0)
        cls.few = cls.save_ids("few", model_fixtures.random_ids(16 * 13 + 5))
        cls.command = ("validate", cls.model, cls.archive, "--ids", cls.few, *cls.OPTIONS)
        cls.whole = cls.report(*cls.command)

    @classmethod
    def report(cls, *arguments):
        done = support.run_qins(*arguments, "--json", "--quiet", check=0)
        report = json.loads(done.stdout)
        support.validate(report, "validation")
        return report

    def merge(self, *parts):
        out = self.dir / "merged.json"
        report = self.report("validate", "--merge", *parts, "-o", out)
        self.assertEqual(json.loads(out.read_text()), report)
        return report

    def test_parts_are_the_whole(self):
        """Every test, with as many parts as windows and more, too."""
        for n in (1, 3, 8, 15):
            parts = self.run_parts(self.dir / f"of{n}.json", n, *self.command,
                                   order=list(range(n, 0, -1)))
            self.assertEqual(figures(self.merge(*parts[::-1])), figures(self.whole))
        self.assertEqual(self.whole["tests"]["perplexity"]["model"]["windows"], 13)

    def test_variants(self):
        """Whatever the candidate is, or none; and both conventions."""
        for i, (model, more) in enumerate((
                ((self.model, self.archive), ("--fused", "--tests", "perplexity,consistency")),
                ((self.model, self.archive), ("--kv-cache", 8, "--tests",
                                              "sampling,perplexity,autoregressive")),
                ((self.model, self.archive), ("--ppl-style", "llama.cpp", "--tests", "perplexity")),
                ((self.model,), ()))):
            command = ("validate", *model, "--ids", self.few, *self.OPTIONS, *more)
            parts = self.run_parts(self.dir / f"variant{i}.json", 3, *command)
            self.assertEqual(figures(self.merge(*parts)), figures(self.report(*command)), more)

    def test_transport(self):
        calibration, transport = self.dir / "t-calibration.h5", self.dir / "t.h5"
        support.run_qins("calibrate", self.model, "--ids", self.few, "--context", 16, "--gram",
                         "--keep-rows", 150, "-o", calibration, check=0)
        support.run_qins("transport", self.model, "--calibration", calibration, "--layers",
                         "v_proj", "-o", transport, check=0)
        command = ("validate", self.model, "--transport", transport, "--ids", self.few,
                   *self.OPTIONS, "--tests", "sampling,perplexity")
        parts = self.run_parts(self.dir / "native.json", 2, *command)
        self.assertEqual(figures(self.merge(*parts)), figures(self.report(*command)))

    def test_again(self):
        out = self.dir / "again.json"
        path = part_path(out, 2, 3)
        command = (*self.command, "-o", out, "--json", "--shard")
        for there in (False, True):
            done = support.run_qins(*command, "2/3", check=0)
            report = json.loads(done.stdout)
            support.validate(report, "validation-part")
            self.assertEqual((report["was_there"], report["windows"], report["whole_tests"]),
                             (there, 4, ["autoregressive"]))
            self.assertEqual("is there already" in done.stderr, there)
        before = path.read_bytes()
        path.write_bytes(before[:-100])
        self.refused(3, path.name, "damaged", "remove it", arguments=(*command, "2/3"))
        path.write_bytes(before)
        for more in (("--kv-cache", 8), ("--tests", "perplexity"), ("--ppl-style", "llama.cpp")):
            self.refused(2, path.name, "another job", arguments=(*command, "2/3", *more))
        for more in (("--save-logits", self.dir / "logits"),
                     ("--kv-cache", 8, "--dump-kv", self.dir / "pages.h5")):
            self.refused(2, "one whole run", arguments=(*command, "1/3", *more))
        self.refused(2, "give -o", arguments=(*self.command, "--shard", "1/3"))
        self.assertEqual(path.read_bytes(), before)

    def test_ended(self):
        """By the system and by a person, and begun once more; two at a time."""
        out = self.dir / "ended.json"
        path = part_path(out, 2, 2)
        work = pathlib.Path(f"{path}.part")
        archive = self.dir / "slow.qins"
        support.run_qins("convert", MODEL, "-o", archive, "--bits", 4, "--quiet", check=0)
        slow = ("validate", MODEL, archive, "--text", self.text, "--context", 32, "--tests",
                "perplexity")
        command = (*slow, "-o", out, "--shard")
        self.assertEqual(self.end_once((*command, "2/2"), work, signal.SIGKILL), -signal.SIGKILL)
        self.refused(2, work.name, "another job",
                     arguments=(*slow, "-o", out, "--shard", "2/2", "--ppl-style", "llama.cpp"))
        self.assertEqual(self.end_once((*command, "2/2"), work, signal.SIGTERM), 130)
        self.assertFalse(path.exists())
        parts = self.run_parts(out, 2, *slow)
        without = ("compute", "partial")
        self.assertEqual(figures(self.merge(*parts), without), figures(self.report(*slow), without))

    def test_slurm_and_wrong_parts(self):
        out, target = self.dir / "array.json", ("-o", self.dir / "wrong.json")
        command = (*self.command, "--tests", "perplexity", "-o", out, "--shard", "slurm", "--quiet")
        for task in (10, 15, 20):
            support.run_qins(*command, check=0,
                             env={**os.environ, **SLURM, "SLURM_ARRAY_TASK_ID": str(task)})
        self.refused(2, "SLURM_ARRAY_TASK_ID", arguments=command)
        parts = [part_path(out, i, 3) for i in (1, 2, 3)]
        self.assertEqual(figures(self.merge(*parts)["tests"]["perplexity"]),
                         figures(self.whole["tests"]["perplexity"]))
        others = self.run_parts(self.dir / "other.json", 3, *self.command, "--tests", "perplexity",
                                "--ppl-style", "llama.cpp")
        pieces = self.run_parts(self.dir / "halves.json", 2, *self.command, "--tests", "perplexity")
        whole = parts[0].read_bytes()
        torn, damaged, foreign = (self.dir / name for name in ("torn", "damaged", "foreign"))
        torn.write_bytes(whole[:-1])
        cut = whole.rfind(b"QJRN")  # the last record is gone: it was never complete
        (self.dir / "cut").write_bytes(whole[:cut])
        damaged.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
        foreign.write_bytes(b"my notes")
        for code, files, words in (
                (2, (parts[0], parts[2]), ("part 2 of 3 is missing",)),
                (2, (*parts, parts[1]), ("same part, 2 of 3", parts[1].name)),
                (2, (*parts[:2], others[2]), ("different jobs", others[2].name)),
                (2, (*parts[:2], pieces[1]), ("one of 3 parts", "one of 2")),
                (3, (torn, *parts[1:]), ("torn", "offset")),
                (3, (self.dir / "cut", *parts[1:]), ("not complete",)),
                (3, (damaged, *parts[1:]), ("damaged", "offset")),
                (3, (foreign, *parts[1:]), ("foreign",)),
                (2, (*parts, "--context", 16), ("--context",))):
            self.refused(code, *words, arguments=("validate", "--merge", *files, *target))
        self.refused(2, "no model", arguments=("validate", self.model, "--merge", *parts))
        self.refused(2, "a model is missing", arguments=("validate", "--ids", self.few))
        self.assertFalse((self.dir / "wrong.json").exists())


if __name__ == "__main__":
    support.main()
