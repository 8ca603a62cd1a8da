"""qins validate --resume: a run that was ended anywhere goes on to the same figures, to the last
bit; --save-logits: figures of test D against numpy on what was saved."""
import json
import math
import os
import shutil
import signal
import subprocess
import time
import unittest

import numpy as np

import support

MODEL = support.MODEL
TEXT = support.SOURCE_ROOT / "examples" / "kjv-heldout.txt"
# What a run that was resumed cannot know of what was done before it.
OF_THE_RUN = ("seconds", "tokens_per_s", "compute", "partial", "kv_cache")


def figures(value):
    """A report without what times and counters say."""
    if isinstance(value, dict):
        return {k: figures(v) for k, v in value.items()
                if k not in OF_THE_RUN and not k.endswith("_seconds")}
    return [figures(v) for v in value] if isinstance(value, list) else value


class Folder(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.archive = cls.dir / "four.qins"
        support.run_qins("convert", MODEL, "-o", cls.archive, "--bits", 4, check=0)
        cls.text = cls.dir / "text.txt"
        cls.text.write_bytes(TEXT.read_bytes()[:support.less(12000, 6000)])

    tests = "sampling,perplexity"

    def arguments(self, out, *more):
        return ("validate", MODEL, self.archive, "--text", self.text, "--context", 64, "--tests",
                self.tests, "-o", out, *more)


class Resumed(Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        out = cls.dir / "whole.json"
        support.run_qins(*cls.arguments(cls, out, "--quiet"), check=0)
        cls.whole = json.loads(out.read_text())
        if "perplexity" in cls.tests:
            cls.windows = cls.whole["tests"]["perplexity"]["model"]["windows"]

    def start(self, out, *more):
        return subprocess.Popen([str(a) for a in (support.PROGRAM, *self.arguments(out, *more))],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end_at(self, out, size, number):
        """Ends a run with a signal once its journal has SIZE bytes; once more from the same journal
        if the run was over first. Returns exit status and lines on standard error."""
        part = out.with_name(out.name + ".part")
        before = part.read_bytes() if part.exists() else None
        until = time.monotonic() + 200
        while True:
            run = self.start(out, "--resume", "--threads", 1)
            support.wait_until_caught(run, signal.SIGINT)
            while run.poll() is None and time.monotonic() < until:
                if part.exists() and part.stat().st_size >= size:
                    run.send_signal(number)
                    break
                time.sleep(0.001)
            _, stderr = run.communicate(timeout=200)
            if not out.exists() or time.monotonic() > until:
                return run.returncode, stderr.splitlines()
            out.unlink()
            part.unlink(missing_ok=True)
            if before is not None:
                part.write_bytes(before)

    def finish(self, out, *more):
        done = support.run_qins(*self.arguments(out, "--resume", "--quiet", *more), check=0)
        self.assertFalse(out.with_name(out.name + ".part").exists())
        report = json.loads(out.read_text())
        self.assertEqual(figures(report), figures(self.whole))
        return done, report

    def test_ended_anywhere(self):
        """By a person, by the system and by a loss of power, one after the other."""
        out = self.dir / "ended.json"
        part = self.dir / "ended.json.part"
        window = 64 + 64 * 88  # a frame's head, and as many positions
        for number, size in ((signal.SIGINT, 3 * window), (signal.SIGKILL, 8 * window),
                             (signal.SIGTERM, 12 * window)):
            code, lines = self.end_at(out, size, number)
            self.assertFalse(out.exists())
            if number == signal.SIGKILL:
                self.assertEqual(code, -signal.SIGKILL)
            else:
                self.assertEqual(code, 130)
                self.assertIn("go on with the same command", lines[-1])
            self.assertGreaterEqual(part.stat().st_size, size)
        whole = part.read_bytes()
        self.assertEqual((len(whole) - 40) % window, 0)
        for size in (len(whole) - 1, 40 + 5 * window + 63, 40 + window, 41, 39, 0):
            part.write_bytes(whole[:size])
            _, report = self.finish(out)
            test = report["tests"]["perplexity"]
            self.assertEqual("partial" in test["model"], size >= 40 + window)
            forwards = self.windows - max(0, (size - 40) // window)
            self.assertEqual(test["candidate"]["compute"]["forwards"], forwards)
            out.unlink()

    def test_damaged_and_foreign(self):
        out, part = self.dir / "damaged.json", self.dir / "damaged.json.part"
        self.end_at(out, 20000, signal.SIGKILL)
        whole = bytearray(part.read_bytes())
        damaged = bytearray(whole)
        damaged[7000] ^= 1  # what is behind it is done again
        part.write_bytes(damaged)
        self.finish(out)
        # Of another candidate: begun anew, and said so.
        part.write_bytes(whole)
        other = self.dir / "other.json"
        shutil.copy(part, self.dir / "other.json.part")
        arguments = ["other.qins" if a == self.archive else a for a in
                     self.arguments(other, "--resume")]
        support.run_qins("convert", MODEL, "-o", self.dir / "other.qins", "--bits", 3, check=0)
        done = support.run_qins(*arguments, check=0, cwd=self.dir)
        self.assertIn("is of another validation: begun anew", done.stderr)
        # With other tests it goes on: what is there is of windows, whoever asks for them.
        arguments = ["perplexity" if a == self.tests else a for a in
                     self.arguments(out, "--resume", "--json", "--quiet")]
        report = json.loads(support.run_qins(*arguments, check=0).stdout)
        self.assertIn("partial", report["tests"]["perplexity"]["model"])
        self.assertEqual(figures(report["tests"]["perplexity"]),
                         figures(self.whole["tests"]["perplexity"]))
        # A file that is none of ours stays.
        part.write_text("my notes")
        done = support.run_qins(*self.arguments(out, "--resume"), check=2)
        self.assertIn("none of qins's making", done.stderr)
        self.assertEqual(part.read_text(), "my notes")

    def test_one_at_a_time(self):
        out = self.dir / "busy.json"
        part = self.dir / "busy.json.part"
        for _ in range(10):  # the run may be over before it is stopped
            run = self.start(out, "--resume", "--threads", 1)
            support.wait_for_work(run, part)
            run.send_signal(signal.SIGSTOP)
            if run.poll() is None and not out.exists():
                break
            run.send_signal(signal.SIGCONT)
            run.communicate()
            out.unlink()
        try:
            done = support.run_qins(*self.arguments(out, "--resume"), check=4)
            self.assertIn("another process is working on it", done.stderr)
        finally:
            run.send_signal(signal.SIGCONT)
            run.kill()
            run.communicate()

    def test_without(self):
        """Nothing is left of an interrupted run that was not to be resumed."""
        folder = self.dir / "clean"
        folder.mkdir()
        run = self.start(folder / "out.json", "--threads", 1)
        support.wait_until_caught(run, signal.SIGINT)
        time.sleep(0.3)
        run.send_signal(signal.SIGINT)
        run.communicate()
        self.assertIn(run.returncode, (0, 130))
        self.assertEqual([p.name for p in folder.iterdir()],
                         ["out.json"] if run.returncode == 0 else [])

    def test_usage(self):
        done = support.run_qins("validate", MODEL, "--text", self.text, "--resume", check=2)
        self.assertIn("give -o", done.stderr)
        done = support.run_qins(*self.arguments(self.dir / "a.json", "--resume", "--save-logits",
                                                self.dir / "logits"), check=2)
        self.assertIn("one whole run", done.stderr)
        self.assertFalse((self.dir / "a.json.part").exists())
        done = support.run_qins("validate", MODEL, self.archive, "--text", self.text, "--tests",
                                "sampling", "--save-logits", self.dir / "logits", check=2)
        self.assertIn("test perplexity", done.stderr)
        self.assertFalse((self.dir / "logits").exists())
        done = support.run_qins("validate", MODEL, "--ids", self.dir / "ids.npy", "--prompts",
                                self.text, check=2)
        self.assertIn("'--prompts text'", done.stderr)


@unittest.skipIf(support.SANITIZER != "none", "what resuming does is looked at above")
class ResumedConsistency(Resumed):
    """Test A: an item is a tensor. (B and E: test_autoregressive.py.)"""
    tests = "consistency"
    test_damaged_and_foreign = test_one_at_a_time = test_without = test_usage = None

    def test_ended_anywhere(self):
        out = self.dir / "ended.json"
        code, _ = self.end_at(out, 10000, signal.SIGINT)
        self.assertEqual(code, 130)
        self.finish(out)


class SavedLogits(Folder):
    """Test D's figures from the logits that were saved, in float64."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.text.write_bytes(TEXT.read_bytes()[:support.less(6000, 3000)])

    def error(self, values):
        """Of values [windows][positions]."""
        each = values.mean(axis=1) if len(values) >= 10 else values.ravel()
        return each.std(ddof=1) / math.sqrt(len(each))

    def run_with_logits(self, context, *more):
        folder = self.dir / f"logits-{context}"
        done = support.run_qins("validate", MODEL, self.archive, "--text", self.text, "--context",
                                context, "--tests", "perplexity", "--save-logits", folder, "--json",
                                *more, check=0)
        test = json.loads(done.stdout)["tests"]["perplexity"]
        arrays = [np.load(folder / f"{name}.npy") for name in ("model", "candidate", "next")]
        self.assertEqual([a.dtype.str for a in arrays], ["<f4", "<f4", "<u4"])
        self.assertEqual(arrays[0].shape, (test["model"]["tokens"], 2048))
        return test, arrays

    def figures_of(self, logits, following, windows):
        logits = logits.astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -logits[np.arange(len(following)), following].reshape(windows, -1)

    def check_context(self, context, *more):
        test, (model, candidate, following) = self.run_with_logits(context, *more)
        windows = test["model"]["windows"]
        a, b = (self.figures_of(l, following, windows) for l in (model, candidate))
        p = 100 * (np.exp(-b) - np.exp(-a))
        square, d = p ** 2, b - a
        ppl = [math.exp(x.mean()) for x in (a, b)]
        r = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        z = [(x - x.mean()) / x.std() for x in (a, b)]
        rms = math.sqrt(square.mean())
        right = np.equal(candidate.argmax(axis=1), following).reshape(windows, -1)
        same = np.equal(candidate.argmax(axis=1), model.argmax(axis=1)).reshape(windows, -1)
        expected = {
            "model.perplexity": ppl[0], "candidate.perplexity": ppl[1],
            "candidate.perplexity_standard_error": ppl[1] * self.error(b),
            "candidate.mean_nll": b.mean(), "candidate.mean_nll_standard_error": self.error(b),
            "candidate.right": right.mean(), "candidate.right_standard_error": self.error(right),
            "difference.mean_nll": d.mean(), "difference.standard_error": self.error(d),
            "difference.perplexity_ratio": ppl[1] / ppl[0],
            "difference.perplexity_ratio_standard_error": ppl[1] / ppl[0] * self.error(d),
            "difference.perplexity": ppl[1] - ppl[0],
            "difference.perplexity_standard_error": self.error(ppl[1] * b - ppl[0] * a),
            "difference.correlation": r,
            "difference.correlation_standard_error":
                self.error(z[0] * z[1] - r / 2 * (z[0] ** 2 + z[1] ** 2)),
            "delta_p_percent.mean": p.mean(), "delta_p_percent.standard_error": self.error(p),
            "delta_p_percent.rms": rms,
            "delta_p_percent.rms_standard_error": self.error(square) / (2 * rms),
            "delta_p_percent.min": p.min(), "delta_p_percent.max": p.max(),
            "kl.same_top1": same.mean(), "kl.same_top1_standard_error": self.error(same),
        }
        for key, value in test["delta_p_percent"]["quantiles"].items():
            share = float(key[1:].replace("_", ".")) / 100
            expected[f"delta_p_percent.quantiles.{key}"] = np.quantile(p, share)
        for key, value in expected.items():
            found = test
            for name in key.split("."):
                found = found[name]
            self.assertAlmostEqual(found, value, delta=1e-9 + 1e-9 * abs(value), msg=key)
        bars = test["thresholds"]
        self.assertAlmostEqual(bars["perplexity_difference"]["value"], abs(ppl[1] - ppl[0]))
        self.assertEqual(test["passed"], any(b["passed"] for b in bars.values()))
        self.assertFalse(test["passed"])  # four bits

    def test_by_windows_and_by_tokens(self):
        self.check_context(32)
        self.check_context(300, "--ppl-style", "llama.cpp")

    def test_alone(self):
        folder = self.dir / "alone"
        done = support.run_qins("validate", MODEL, "--text", self.text, "--context", 64,
                                "--tests", "perplexity", "--save-logits", folder, "--json", check=0)
        test = json.loads(done.stdout)["tests"]["perplexity"]
        self.assertEqual(sorted(os.listdir(folder)), ["model.npy", "next.npy"])
        nll = self.figures_of(np.load(folder / "model.npy"), np.load(folder / "next.npy"),
                              test["model"]["windows"])
        self.assertAlmostEqual(test["model"]["mean_nll"], nll.mean(), delta=1e-9)

    def test_no_folder(self):
        small = self.dir / "none" / "file"
        small.parent.mkdir()
        small.write_text("")
        done = support.run_qins("validate", MODEL, "--text", self.text, "--save-logits",
                                small, "--tests", "perplexity", check=4)
        self.assertIn(str(small), done.stderr)

    def test_nothing_left(self):
        """The folder is made before the work, and goes where the work is not done."""
        folder = self.dir / "unfinished"
        done = support.run_qins("validate", MODEL, "--text", self.text, "--context", 32,
                                "--kv-cache", 8, "--dump-kv", self.dir / "k.h5", "--save-logits",
                                folder, "--tests", "perplexity", check=2)
        self.assertIn("fill no page", done.stderr)
        self.assertFalse(folder.exists())


if __name__ == "__main__":
    support.main()
