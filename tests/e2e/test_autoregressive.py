"""qins validate, tests autoregressive and long-context: greedy continuations and their figures against
a float64 forward pass that shares no code with the program."""
import collections
import json
import math
import os
import re
import shutil
import subprocess
import time

import numpy as np

import reference_models
import support

MODEL = support.MODEL
SHARED = support.SHARED
TEXT = support.SOURCE_ROOT / "examples" / "kjv-heldout.txt"
GREEDY = json.loads((MODEL / "reference.json").read_text())["greedy_from_first_16"]
SHIPPED = json.loads((support.SOURCE_ROOT / "examples" / "prompts.json").read_text())
NEAR = 1e-3  # logits closer than this may change places between float32 and float64


def log_softmax(logits):
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def ids_of(text):
    return [int(i) for i in text.split()]


def standard_error(x):
    return np.std(x, ddof=1) / math.sqrt(len(x))


class Folder(support.Folder):
    """A model, the same with noise in its weights, and their float64 twins."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.copy("model", {})
        cls.other = cls.copy("other", {})
        tensors = support.read_safetensors(MODEL / "model.safetensors")
        rng = np.random.default_rng(4)
        (cls.other / "model.safetensors").unlink()
        support.write_safetensors(cls.other / "model.safetensors", {
            name: ("F32", array.shape,
                   [(array + 0.004 * rng.standard_normal(array.shape)).astype("<f4").tobytes()])
            for name, array in tensors.items()})
        cls.twins = [reference_models.Reference(*reference_models.load_folder(folder))
                     for folder in (cls.model, cls.other)]
        cls.tokens = ids_of_text(cls.dir)

    @classmethod
    def copy(cls, name, config, weights=MODEL):
        """A folder of the example with another config."""
        path = cls.dir / name
        path.mkdir()
        os.symlink(weights / "model.safetensors", path / "model.safetensors")
        shutil.copy(MODEL / "tokenizer.json", path / "tokenizer.json")
        text = json.loads((MODEL / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**text, **config}))
        return path

    def ids(self, values):
        path = self.dir / "ids.npy"
        np.save(path, np.array(values, np.int64))
        return path

    def prompts(self, *lines):
        path = self.dir / "prompts.txt"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def validate(self, *arguments, test="autoregressive"):
        done = support.run_qins("validate", *arguments, "--tests", test, "--json", "--quiet",
                                *(() if "--context" in arguments else ("--context", 16)), check=0)
        report = json.loads(done.stdout)
        support.validate(report, "validation")
        return report["tests"][test.replace("-", "_")]


def ids_of_text(folder):
    """The held-out text's first ids, from the program's own tokenizer (test_tokenizer.py)."""
    report = json.loads(support.run_qins("generate", MODEL, "--json", "--tokens", 1, "--prompt",
                                         TEXT.read_text()[:2500], check=0).stdout)
    return report["prompt_ids"]


class Figures(Folder):
    """Everything that a report says of continuations, from the ids that it shows."""

    def check_prompt(self, p, ids):
        """The prompt's tokens are what the twins choose, and the shares are those of the ids."""
        model, own, forced = (ids_of(p[key]) for key in ("model_ids", "candidate_ids",
                                                         "teacher_forced_ids"))
        self.assertEqual([len(model), len(own), len(forced)],
                         [p["tokens"], p["candidate_tokens"], p["tokens"]])
        n = len(ids)
        both = [twin.logits([*ids, *model])[n - 1:-1] for twin in self.twins]
        alone = self.twins[1].logits([*ids, *own])[n - 1:-1]
        for logits, chosen in ((both[0], model), (both[1], forced), (alone, own)):
            self.assertTrue((logits[np.arange(len(chosen)), chosen] > logits.max(axis=1) - NEAR).all())
        p_log, q_log = (log_softmax(x) for x in both)
        return (np.exp(p_log) * (p_log - q_log)).sum(axis=1)

    def shares(self, p, kind):
        model = ids_of(p["model_ids"])
        if kind == "teacher_forced":
            return np.array(model) == ids_of(p["teacher_forced_ids"])
        own = ids_of(p["candidate_ids"])
        n = max(len(model), len(own))
        return np.array([i < len(model) and i < len(own) and model[i] == own[i] for i in range(n)])

    def check_group(self, group, parts):
        for kind in ("free_running", "teacher_forced"):
            found, all_shares = group[kind], [self.shares(p, kind) for p in group["prompts"]]
            rows = {"match": [], "early": [], "late": [], "drift": []}
            for p, same in zip(group["prompts"], all_shares):
                part = len(same) // parts
                rows["match"].append(same.mean())
                if part:
                    rows["early"].append(same[:part].mean())
                    rows["late"].append(same[-part:].mean())
                    rows["drift"].append(same[-part:].mean() - same[:part].mean())
                self.assertAlmostEqual(p[kind]["match"], same.mean(), places=9)
                np.testing.assert_allclose(p[kind]["windows"], [same[i:i + 50].mean() for i in
                                                                range(0, len(same), 50)])
            for key, values in rows.items():
                self.assertAlmostEqual(found[key], np.mean(values), places=9, msg=key)
            for key in ("match", "drift"):
                if len(rows[key]) > 1:
                    self.assertAlmostEqual(found[key + "_standard_error"],
                                           standard_error(rows[key]), places=9)
            self.assertAlmostEqual(found["minimum_match"], min(rows["match"]), places=9)
            starts = range(0, max(map(len, all_shares)), 50)
            reach = [[s[i:i + 50].mean() for s in all_shares if len(s) > i] for i in starts]
            np.testing.assert_allclose(found["windows"], [np.mean(r) for r in reach])
            self.assertEqual(found["window_prompts"], [len(r) for r in reach])
            bars = found["thresholds"]
            self.assertEqual(found["passed"], all(bar["passed"] for bar in bars.values()))
            for key, bar in bars.items():
                self.assertEqual(bar["value"], found[key])
                self.assertEqual(bar["passed"], found[key] >= bar["bar"])
        firsts = []
        for p in group["prompts"]:
            different = np.nonzero(~self.shares(p, "free_running"))[0]
            firsts.append(int(different[0]) if len(different) else None)
            grams = list(zip(*(ids_of(p["model_ids"])[i:] for i in range(4))))
            if grams:
                self.assertAlmostEqual(p["distinct_4_grams"], len(set(grams)) / len(grams))
        self.assertEqual([p["first_divergence"] for p in group["prompts"]], firsts)
        self.assertEqual(group["first_divergence"]["diverged"],
                         sum(f is not None for f in firsts))
        median = sorted(math.inf if f is None else f for f in firsts)[(len(firsts) - 1) // 2]
        self.assertEqual(group["first_divergence"]["median"],
                         None if median == math.inf else median)

    def check_kl(self, found, rows):
        means = [row.mean() for row in rows]
        self.assertAlmostEqual(found["kl"] / np.mean(means), 1.0, delta=1e-4)
        self.assertAlmostEqual(found["kl_standard_error"] / standard_error(means), 1.0, delta=1e-4)
        self.assertAlmostEqual(found["max_kl"] / max(row.max() for row in rows), 1.0, delta=1e-3)

    def test_prompts_of_the_text(self):
        """Ten places of the ids, evenly spread."""
        n = support.less(60, 12)
        found = self.validate(self.model, self.other, "--ids", self.ids(self.tokens), "--tokens", n)
        self.assertEqual((found["source"], found["kinds"]), ("text", {"text": 10}))
        self.assertIn("no tokenizer", found["source_note"])
        self.assertNotIn("text", found)
        kl = []
        for i, p in enumerate(found["prompts"]):
            begin = (2 * i + 1) * (len(self.tokens) - 63) // 20
            self.assertEqual((p["prompt_tokens"], p["tokens"]), (64, n))
            kl.append(self.check_prompt(p, self.tokens[begin:begin + 64]))
        self.check_group(found, 3)
        self.check_kl(found["teacher_forced"], kl)
        self.assertGreater(found["teacher_forced"]["match"], found["free_running"]["match"])
        self.assertEqual((found["passed"], found["thresholds"]),
                         (found["free_running"]["passed"], found["free_running"]["thresholds"]))
        few = [self.validate(self.model, self.other, "--ids", self.ids(self.tokens), "--tokens", 9,
                             "--threads", threads) for threads in (1, 3)]
        self.assertEqual(few[0], few[1])

    def test_reference_continuation(self):
        n = len(GREEDY) - 16
        found = self.validate(self.model, self.other, "--ids", self.ids(GREEDY[:16]), "--context", 8,
                              "--tokens", n, "--prompts", "text")
        for p in found["prompts"]:
            self.assertEqual((p["prompt_tokens"], ids_of(p["model_ids"])), (16, GREEDY[16:]))

    def test_as_generate(self):
        text = json.loads(support.run_qins("generate", self.other, "--json", "--tokens", 40,
                                           "--prompt", "In the beginning", check=0).stdout)
        p = self.validate(self.model, self.other, "--text", TEXT, "--tokens", 40, "--prompts",
                          self.prompts("In the beginning"))["prompts"][0]
        self.assertEqual(ids_of(p["candidate_ids"]), text["ids"])
        self.assertEqual(p["prompt_tokens"], len(text["prompt_ids"]))

    def test_ends(self):
        """Each side ends with its own end of text; what only one of them has does not match."""
        plain = self.validate(self.model, self.other, "--text", TEXT, "--tokens", 60, "--prompts",
                              self.prompts("And it came to pass", "The king"))
        ids = [[ids_of(p[key]) for key in ("model_ids", "candidate_ids")] for p in plain["prompts"]]
        eos = [ids[0][0][9], ids[1][1][20]]
        ending = self.copy("ending", {"eos_token_id": eos})
        other = self.copy("ending-other", {"eos_token_id": eos}, self.other)
        for pair in ((self.model, other), (ending, self.other), (ending, other)):
            ends = [eos if folder in (ending, other) else [] for folder in pair]
            found = self.validate(*pair, "--text", TEXT, "--tokens", 60, "--prompts",
                                  self.prompts("And it came to pass", "The king"))
            for p, before in zip(found["prompts"], ids):
                for key, count, ended, whole, stops in zip(
                        ("model_ids", "candidate_ids"), ("tokens", "candidate_tokens"),
                        ("ended", "candidate_ended"), before, ends):
                    at = next((i + 1 for i, t in enumerate(whole) if t in stops), 60)
                    self.assertEqual(ids_of(p[key]), whole[:at])
                    self.assertEqual((p[count], p[ended]), (at, whole[at - 1] in stops))
            self.check_group(found, 3)

    def test_end_of_context(self):
        """Prompts keep their last half of a short context; continuations fill it."""
        short = self.copy("short", {"max_position_embeddings": 24})
        line = " ".join(["And it came to pass"] * 8)
        text = json.loads(support.run_qins("generate", MODEL, "--json", "--tokens", 1, "--prompt",
                                           line, check=0).stdout)
        p = self.validate(short, self.other, "--text", TEXT, "--prompts",
                          self.prompts(line))["prompts"][0]
        self.assertEqual((p["prompt_tokens"], p["tokens"], p["ended"]), (12, 12, False))
        self.check_prompt(p, text["prompt_ids"][-12:])


class Same(Folder):
    def check(self, model, candidate, *arguments):
        found = self.validate(model, candidate, *arguments)
        for kind in ("free_running", "teacher_forced"):
            figures = found[kind]
            self.assertEqual([figures[key] for key in ("match", "minimum_match", "early", "late",
                                                       "drift")], [1, 1, 1, 1, 0])
            self.assertEqual(set(figures["windows"]), {1})
            self.assertTrue(figures["passed"])
        self.assertTrue(found["passed"])
        self.assertEqual([found["teacher_forced"][key] for key in ("kl", "max_kl")], [0, 0])
        self.assertEqual(found["first_divergence"], {"diverged": 0, "median": None})
        return found

    def test_lossless(self):
        """500 steps of a lossless archive: every token, and not a nat."""
        n = support.less(500, 30)
        models = [MODEL]
        story = SHARED / "models" / "stories260k" / "model.bin"
        if story.exists():
            models.append(story)
        for model in models:
            archive = self.dir / "lossless.qins"
            support.run_qins("convert", model, "-o", archive, "--lossless", check=0)
            found = self.check(model, archive, "--text", TEXT, "--tokens", n, "--prompts",
                               self.prompts("Once upon a time"))
            p = found["prompts"][0]
            self.assertTrue(p["tokens"] == n or (p["ended"] and model != MODEL))

    def test_itself(self):
        self.check(MODEL, MODEL, "--text", TEXT, "--tokens", 20)
        found = self.validate(MODEL, MODEL, "--ids", self.ids(self.tokens), "--tokens", 20,
                              test="long-context")
        self.assertTrue(found["passed"])
        run = [length for length in found["lengths"] if "text" in length]
        self.assertTrue(run)
        for length in run:
            text = length["text"]
            self.assertEqual([text[key] for key in ("match", "early", "late", "drift", "kl",
                                                    "nll_difference")], [1, 1, 1, 0, 0, 0])
            self.assertEqual(length["continuation"]["free_running"]["match"], 1)

    def test_alone(self):
        for test in ("autoregressive", "long-context"):
            self.assertEqual(self.validate(MODEL, "--text", TEXT, test=test),
                             {"skipped": "there is no candidate", "passed": None})

    def test_coded_cache(self):
        """The candidate's V cache is what differs, in continuations too."""
        found = self.validate(MODEL, "--kv-cache", 6, "--text", TEXT, "--tokens",
                              support.less(200, 100), "--prompts", self.prompts("The king"))
        self.assertGreater(found["teacher_forced"]["kl"], 0)
        self.assertLess(found["teacher_forced"]["kl"], 0.05)


class Prompts(Folder):
    def test_shipped(self):
        support.validate(SHIPPED, "prompts")
        kinds = collections.Counter(p["kind"] for p in SHIPPED["prompts"])
        self.assertEqual(kinds, {k: 2 for k in ("news", "code", "maths", "dialogue", "reasoning")})
        found = self.validate(MODEL, self.other, "--text", TEXT, "--tokens", 8)
        self.assertEqual((found["source"], found["kinds"]), ("shipped", kinds))
        self.assertEqual([p["kind"] for p in found["prompts"]],
                         [p["kind"] for p in SHIPPED["prompts"]])
        self.assertEqual((found["text"]["source"], found["text"]["kinds"]), ("text", {"text": 10}))
        again = self.dir / "again.json"
        again.write_text(json.dumps(SHIPPED, indent=2) + "\n")
        given = self.validate(MODEL, self.other, "--text", TEXT, "--tokens", 8, "--prompts", again)
        self.assertEqual(given["prompts"], found["prompts"])
        self.assertEqual(given["source"], str(again))
        self.assertNotIn("text", given)
        shown = support.run_qins("validate", MODEL, self.other, "--text", TEXT, "--tokens", 8,
                                 "--tests", "autoregressive", check=0).stdout
        for words in ("    10 shipped prompts: 2 news, 2 code", "    10 prompts cut from the text\n",
                      "Phase 1, test B"):
            self.assertIn(words, shown)
        share = found["free_running"]["match"]
        self.assertRegex(shown, rf"(?m)^autoregressive +(not )?passed +match of free-running text +"
                                rf"{100 * share:.4g} % +at least 95 % +(yes|no)$")
        forced = found["teacher_forced"]
        verdict = "passed" if forced["passed"] else "not passed"
        gates = re.findall(r"(?m)^gates judge autoregressive teacher-forced: match (\S+) .*: (.*)$",
                           shown)
        self.assertEqual(gates, [] if forced["passed"] == found["passed"] else
                         [(f"{100 * forced['match']:.2f}", verdict)])
        self.assertEqual(len(re.findall(r"(?m)^.* (free-running|teacher-forced) +\d", shown)), 4)

    def test_lines(self):
        path = self.dir / "lines"
        path.write_bytes(b"And it came\r\n\n  \nThe king said")
        found = self.validate(MODEL, self.other, "--text", TEXT, "--tokens", 5, "--prompts", path)
        self.assertEqual(found["kinds"], {"given": 3})
        path.write_text("[INST] And it came [/INST]\n")
        found = self.validate(MODEL, self.other, "--text", TEXT, "--tokens", 5, "--prompts", path)
        self.assertEqual(found["kinds"], {"given": 1})

    def test_refused(self):
        def json_of(**changes):
            return json.dumps({**SHIPPED, **changes}).encode()
        one = {"kind": "news", "text": "x"}
        for data, says in (
                (b"", "no prompt"), (b"\n\r\n", "no prompt"), (b"\nx\na\0b", "line 3 holds a NUL"),
                (b"\n" + b"x" * 65537, "line 2 has 65537 bytes, more than 65536"), (b"x\n" * 1001, "more than 1000"), (b"{", "JSON"),
                (b"  {}", "schema"), (b' [{"kind": "x", "text": "In"}]', "object with a schema"),
                (json_of(prompts=[{**one, "text": "a\0"}]), "a text with \\u0000 in it"), (json_of(schema="qins/plan/1"), "schema"),
                (json_of(prompts={}), "no array"), (json_of(prompts=[]), "no prompt"),
                (json_of(prompts=[one, {"text": "x"}]), "prompt 1"),
                (json_of(prompts=[{**one, "text": ""}]), "empty"),
                (json_of(prompts=[{**one, "kind": "k" * 32}]), "31"),
                (json_of(prompts=[one] * 1001), "more than 1000")):
            path = self.dir / "bad"
            path.write_bytes(data)
            done = support.run_qins("validate", MODEL, MODEL, "--text", TEXT, "--tests",
                                    "autoregressive", "--prompts", path, check=3)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(says, done.stderr)
            self.assertIn(str(path), done.stderr)
        done = support.run_qins("validate", MODEL, self.other, "--text", TEXT, "--prompts",
                                self.dir / "nothing", check=4)
        self.assertIn("nothing", done.stderr)


class LongContext(Figures):
    """Only what is its own: Figures' tests are not run again."""
    test_prompts_of_the_text = test_reference_continuation = test_as_generate = None
    test_ends = test_end_of_context = None

    def reference(self, length, windows):
        """match, KL and difference of NLL [windows][positions], of windows that begin there."""
        rows = []
        for begin in windows:
            ids = self.tokens[begin:begin + length + 1]
            p, q = (log_softmax(twin.logits(ids[:-1])) for twin in self.twins)
            at, following = np.arange(length), ids[1:]
            rows.append([p.argmax(1) == q.argmax(1), (np.exp(p) * (p - q)).sum(1),
                         p[at, following] - q[at, following]])
        return np.array(rows, np.float64).transpose(1, 0, 2)

    def check_values(self, found, values, name):
        if name in found:
            self.assertAlmostEqual(found[name], values.mean(), delta=3e-6)
        each = values.mean(axis=1) if len(values) >= 10 else values.ravel()
        self.assertAlmostEqual(found[name + "_standard_error"], standard_error(each), delta=3e-6)

    def test_figures(self):
        context = support.less(80, 32)
        models = [self.copy(f"long-{i}", {"max_position_embeddings": context}, folder)
                  for i, folder in enumerate((self.model, self.other))]
        ids = self.ids(self.tokens)
        found = self.validate(*models, "--ids", ids, test="long-context")
        worst = {"match": 1, "drift": 1, "late": 1}
        for length in found["lengths"]:
            n = length["tokens"]
            if n < 16:
                self.assertIn("shorter than 16", length["skipped"])
                continue
            have = (len(self.tokens) - 1) // n
            windows = min(have, 10)
            begins = [(2 * i + 1) * have // (2 * windows) * n for i in range(windows)]
            self.assertEqual((length["windows"], length["text_windows"]), (windows, have))
            figures = self.reference(n, begins)
            text = length["text"]
            for name, values in zip(("match", "kl", "nll_difference"), figures):
                self.check_values(text, values, name)
                for i, eighth in enumerate(text["eighths"]):
                    self.assertEqual((eighth["begin"], eighth["end"]), (i * n // 8, (i + 1) * n // 8))
                    self.check_values(eighth, values[:, i * n // 8:(i + 1) * n // 8], name)
            quarter, match = n // 4, figures[0]
            early, late = match[:, :quarter], match[:, -quarter:]
            self.assertAlmostEqual(text["early"], early.mean())
            self.assertAlmostEqual(text["late"], late.mean())
            self.assertAlmostEqual(text["drift"], late.mean() - early.mean())
            self.check_values(text, late - early, "drift")
            self.assertEqual(text["errors_by"], "windows" if windows >= 10 else "tokens")
            worst = {key: min(value, text[key]) for key, value in worst.items()}
            behind = length["continuation"]
            self.assertEqual((behind["prompt_tokens"], behind["tokens"]), (n - n // 2, n // 2))
            few = min(4, windows)
            for i, p in enumerate(behind["prompts"]):
                begin = (2 * i + 1) * have // (2 * few) * n
                self.check_prompt(p, self.tokens[begin:begin + n - n // 2])
            self.check_group(behind, 4)
        for key, value in worst.items():
            self.assertAlmostEqual(found["thresholds"][key]["value"], value)
        self.assertEqual(found["passed"],
                         worst["match"] >= 0.95 and worst["drift"] >= -0.05 and worst["late"] >= 0.9)
        for threads in support.less((1, 3), (3,)):
            self.assertEqual(self.validate(*models, "--ids", ids, "--threads", threads,
                                           test="long-context"), found)

    def test_short_text(self):
        found = self.validate(self.model, self.other, "--ids", self.ids(self.tokens[:300]),
                              "--tokens", 8, test="long-context")
        self.assertIn("text", found["lengths"][0])
        self.assertEqual([length["skipped"] for length in found["lengths"][1:]],
                         [f"the text has 300 tokens, a window and the token behind it need {n}"
                          for n in (513, 1025)])
        found = self.validate(self.model, self.other, "--ids", self.ids(self.tokens[:40]),
                              test="long-context")
        self.assertIsNone(found["passed"])
        self.assertNotIn("thresholds", found)
        shown = support.run_qins("validate", self.model, self.other, "--ids",
                                 self.ids(self.tokens[:300]), "--tests", "long-context",
                                 "--context", 16, "--tokens", 8, check=0).stdout
        for words in ("256", "skipped, the text has 300 tokens", " teacher-forced "):
            self.assertIn(words, shown)


class Resumed(Folder):
    def test_killed(self):
        """Among the prompts, and among the windows of the first length."""
        tokens, head, window = 20, 40, 64 + 24 * 256
        prompt = 64 + 48 + 3 * 4 * tokens  # a frame of the journal, and what is in it
        ids = self.ids(self.tokens)

        def arguments(out, *more):
            return ("validate", self.model, self.other, "--ids", ids, "--context", 16, "--tokens",
                    tokens, "--tests", "autoregressive,long-context", "--quiet", "-o", out, *more)
        whole, out = self.dir / "whole.json", self.dir / "killed.json"
        part = self.dir / "killed.json.part"
        support.run_qins(*arguments(whole), check=0)
        for size in (head + 3 * prompt, head + 10 * prompt + window):
            before = part.read_bytes() if part.exists() else b""
            for _ in range(10):  # the run may be over before it is killed
                run = subprocess.Popen([str(a) for a in (
                    support.PROGRAM, *arguments(out, "--resume"), "--threads", 1)])
                until = time.monotonic() + 100
                while run.poll() is None and time.monotonic() < until:
                    if part.exists() and part.stat().st_size >= size:
                        run.kill()
                        break
                    time.sleep(0.001)
                run.wait(timeout=100)
                if not out.exists():
                    break
                out.unlink()
                part.write_bytes(before)
            self.assertFalse(out.exists())
            self.assertGreaterEqual(part.stat().st_size, size)
        support.run_qins(*arguments(out, "--resume"), check=0)
        self.assertEqual(*(json.loads(path.read_text())["tests"] for path in (out, whole)))


if __name__ == "__main__":
    support.main()
