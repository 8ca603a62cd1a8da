"""qins validate: perplexity by both conventions against references that share no code with it."""
import json
import math
import shutil
import unittest

import numpy as np

import reference_models
import support

SHARED = support.SHARED
MODEL = support.MODEL
TEXT = support.SOURCE_ROOT / "examples" / "kjv-heldout.txt"
TIMES = ("seconds", "tokens_per_s")
ARCHIVE = ("archive_hash", "archive_bytes", "bits_per_weight")


def load_reference():
    config, tensors = reference_models.load_folder(MODEL)
    return reference_models.Reference(config, tensors)


def nll(logits, targets):
    top = logits.max(axis=1)
    sums = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
    return sums - logits[np.arange(len(targets)), targets]


def log_softmax(logits):
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def error_of_mean(values):
    """Of values [windows][positions]: from window means where there are ten windows or more."""
    values = np.asarray(values)
    each = values.mean(axis=1) if len(values) >= 10 else values.ravel()
    return each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.nan


def reference_figures(losses):
    """Of NLL [windows][positions]."""
    losses = np.array(losses)
    mean, error = losses.mean(), error_of_mean(losses)
    return {"mean_nll": mean, "perplexity": math.exp(mean), "mean_nll_standard_error": error,
            "perplexity_standard_error": math.exp(mean) * error, "tokens": losses.size,
            "windows": len(losses), "losses": losses}


class Folder(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.short = cls.dir / "short.txt"
        cls.short.write_bytes(TEXT.read_bytes()[:support.less(6000, 4200)])

    def ids(self, values):
        path = self.dir / "ids.npy"
        np.save(path, np.array(values, np.int64))
        return path

    def validate(self, *arguments):
        tests = () if "--tests" in arguments else ("--tests", "perplexity")
        report = json.loads(support.run_qins("validate", *arguments, *tests, "--json",
                                             check=0).stdout)
        support.validate(report, "validation")
        return report

    def figures(self, *arguments, who="model"):
        found = self.validate(*arguments)["tests"]["perplexity"][who]
        return {key: value for key, value in found.items() if key not in TIMES}

    def fails(self, code, *arguments):
        done = support.run_qins("validate", *arguments, check=code)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def agree(self, found, expected):
        expected.pop("losses", None)
        for key, value in expected.items():
            if isinstance(value, float) and math.isnan(value):
                self.assertIsNone(found[key], key)
                continue
            self.assertAlmostEqual(found[key] / value, 1.0, delta=2e-6, msg=key)


class HeldOut(Folder):
    def check(self, model, text, reference, tokens, *more):
        out = self.dir / "validation.json"
        done = support.run_qins("validate", model, "--text", text, "--context", 256, "--tests",
                                "perplexity", "-o", out, *more, check=0)
        self.assertEqual(done.stderr, "")
        report = json.loads(out.read_text())
        support.validate(report, "validation")
        found = report["tests"]["perplexity"]["model"]
        self.assertEqual((found["windows"], found["tokens"]), (reference["windows"], tokens))
        self.assertAlmostEqual(found["perplexity"], reference["perplexity"], delta=1e-3)
        self.assertAlmostEqual(found["mean_nll"], reference["mean_nll"], delta=1e-5)
        self.assertIn(f"{found['perplexity']:.4f}", done.stdout)

    @unittest.skipIf(support.SANITIZER != "none", "many windows like those of Figures")
    def test_kjv(self):
        reference = json.loads((MODEL / "reference.json").read_text())["heldout_windows_of_256"]
        self.check(MODEL, TEXT, reference, reference["tokens"])

    def test_stories260k(self):
        """A real text in windows of both conventions, against numpy in float64."""
        model = SHARED / "models" / "stories260k" / "model.bin"
        if not model.exists():
            self.skipTest(f"no {model}")
        story = self.dir / "story.txt"
        story.write_bytes((SHARED / "text" / "tinystories.txt").read_bytes()[:900])
        ids = json.loads(support.run_qins("generate", model, "--json", "--tokens", 1, "--prompt",
                                          story.read_text(), check=0).stdout)["prompt_ids"]
        bos, ids, n = ids[0], ids[1:], 32
        reference = reference_models.Reference(*reference_models.load_llama2c(model))
        ours = [nll(reference.logits(ids[i:i + n]), ids[i + 1:i + n + 1])
                for i in range(0, len(ids) - n, n)]
        theirs = []
        for i in range(0, len(ids) + 2 - n, n):
            window = [bos, *ids][i:i + n]
            logits = reference.logits([bos, *window[1:]])
            theirs.append(nll(logits[n // 2:n - 1], window[n // 2 + 1:]))
        found = self.validate(model, "--text", story, "--context", n)["tests"]["perplexity"]
        self.assertEqual(found["model"]["windows"], len(ours))
        self.assertGreater(len(ours), 8)
        for figures, losses in ((found["model"], ours), (found["llama_cpp"]["model"], theirs)):
            self.assertEqual(figures["tokens"], np.size(losses))
            expected = math.exp(np.mean(losses))
            self.assertAlmostEqual(figures["perplexity"] / expected, 1.0, delta=1e-5)

    @unittest.skipIf(support.SANITIZER != "none", "many windows like those of Figures")
    def test_mix(self):
        model = SHARED / "models" / "mix-6m"
        if not model.exists():
            self.skipTest(f"no {model}")
        # The text spells <|endoftext|> out, which the reference took as so many characters.
        reference = json.loads((model / "reference.json").read_text())["heldout_windows_of_256"]
        self.check(model, model / "heldout.txt", reference, reference["targets"])


class Conventions(Folder):
    """Against the float64 forward pass of the tests, on ids that are given."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = load_reference()
        rng = np.random.default_rng(8)
        reference = json.loads((MODEL / "reference.json").read_text())
        cls.tokens = [*reference["greedy_from_first_16"], *reference["prompt_ids"],
                      *rng.integers(1, 2048, 30)]

    def qins(self, n):
        losses = []
        for begin in range(0, len(self.tokens) - n, n):
            window = self.tokens[begin:begin + n + 1]
            losses.append(nll(self.model.logits(window[:-1]), window[1:]))
        return reference_figures(losses)

    def llama_cpp(self, n, bos=None):
        tokens = self.tokens if bos is None else [bos, *self.tokens]
        losses = []
        for i in range(len(tokens) // n):
            window = tokens[i * n:(i + 1) * n]
            inputs = window if bos is None else [bos, *window[1:]]
            logits = self.model.logits(inputs)
            losses.append(nll(logits[n // 2:n - 1], window[n // 2 + 1:]))
        return reference_figures(losses)

    def by_tokens(self, figures):
        """Errors as llama-perplexity has them."""
        losses = figures.pop("losses").ravel()
        error = losses.std(ddof=1) / math.sqrt(len(losses)) if len(losses) > 1 else math.nan
        return {**figures, "mean_nll_standard_error": error,
                "perplexity_standard_error": figures["perplexity"] * error}

    def check_beside(self, arguments, n, bos=None):
        """The other convention's figures in the same report."""
        found = self.validate(*arguments)["tests"]["perplexity"]
        if n < 3:
            self.assertNotIn("llama_cpp", found)
            return
        expected = self.by_tokens(self.llama_cpp(n, bos))
        self.assertEqual(found["llama_cpp"]["windows"], expected.pop("windows"))
        self.agree(found["llama_cpp"]["model"], expected)

    def test_qins(self):
        ids = self.ids(self.tokens)
        # Of 29 and 58 llama.cpp has a window more. Sums are the gcc suite's to check.
        for n in support.less((1, 7, 29, 58, 173), (1, 29)):
            with self.subTest(context=n):
                arguments = MODEL, "--ids", ids, "--context", n
                self.agree(self.figures(*arguments), self.qins(n))
                self.check_beside(arguments, n)

    def test_llama_cpp(self):
        ids = self.ids(self.tokens)
        for n in support.less((3, 8, 29, 58, 174), (3, 58)):
            with self.subTest(context=n):
                self.agree(self.figures(MODEL, "--ids", ids, "--context", n, "--ppl-style",
                                        "llama.cpp"), self.llama_cpp(n))

    def test_difference(self):
        """Token by token, in both styles, of a candidate that is a folder of its own."""
        other = self.dir / "changed"
        shutil.copytree(MODEL, other)
        tensors = support.read_safetensors(MODEL / "model.safetensors")
        rng = np.random.default_rng(4)
        changed = {name: array + 0.02 * rng.standard_normal(array.shape).astype("<f4")
                   for name, array in tensors.items()}
        (other / "model.safetensors").chmod(0o644)
        support.write_safetensors(other / "model.safetensors", {
            name: ("F32", array.shape, [array.astype("<f4").tobytes()])
            for name, array in changed.items()})
        config, tensors = reference_models.load_folder(other)
        ids, models = self.ids(self.tokens), (self.model, reference_models.Reference(config,
                                                                                     tensors))
        for style, n, first in support.less([("qins", 29, 0), ("llama.cpp", 29, 14),
                                             ("qins", 11, 0)], [("llama.cpp", 29, 14)]):
            losses, logits = [], []
            for model in models:
                rows, each = [], []
                for begin in range(0, len(self.tokens) - n + (style != "qins"), n):
                    window = self.tokens[begin:begin + n + (style == "qins")]
                    rows.append(model.logits(window[:-1])[first:])
                    each.append(nll(rows[-1], window[first + 1:]))
                losses.append(np.array(each))
                logits.append(np.array(rows))
            d = losses[1] - losses[0]
            report = self.validate(MODEL, other, "--ids", ids, "--context", n, "--ppl-style", style)
            test = report["tests"]["perplexity"]
            found = test["difference"]
            self.assertEqual(test["model"]["tokens"], d.size)
            self.assertEqual(test["errors_by"], "windows" if len(d) >= 10 else "tokens")
            self.assertAlmostEqual(found["mean_nll"], d.mean(), delta=1e-6)
            self.assertAlmostEqual(found["standard_error"], error_of_mean(d), delta=1e-6)
            self.assertAlmostEqual(found["perplexity_ratio"], math.exp(d.mean()), delta=1e-5)
            self.check_kl(test["kl"], *logits)

    def check_kl(self, found, model, candidate):
        """Of logits [windows][positions][vocabulary]."""
        p, q = log_softmax(model), log_softmax(candidate)
        kl = (np.exp(p) * (p - q)).sum(axis=-1)
        want = {"mean": kl.mean(), "standard_error": error_of_mean(kl), "max": kl.max(),
                "min": kl.min()}
        for key, value in want.items():
            self.assertAlmostEqual(found[key] / value, 1.0, delta=1e-3, msg=key)
        self.assertEqual(found["tokens"], kl.size)
        self.assertAlmostEqual(found["same_top1"], (p.argmax(-1) == q.argmax(-1)).mean())
        for key, value in found["quantiles"].items():
            share = float(key[1:].replace("_", ".")) / 100
            self.assertAlmostEqual(value / np.quantile(kl, share), 1.0, delta=2e-3, msg=key)

    def test_long_windows_run_in_batches(self):
        rng = np.random.default_rng(9)
        self.tokens = [int(t) for t in rng.integers(1, 2048, 1201)]
        ids = self.ids(self.tokens)
        done = self.figures(MODEL, "--ids", ids, "--context", 600)
        self.agree(done, self.qins(600))
        self.agree(self.figures(MODEL, "--ids", ids, "--context", 600, "--ppl-style",
                                "llama.cpp"), self.llama_cpp(600))

    def with_bos(self, bos):
        """The example's tokenizer with a template that puts BOS before a text."""
        tokenizer = json.loads((MODEL / "tokenizer.json").read_text())
        name = next(t for t, i in tokenizer["model"]["vocab"].items() if i == bos)
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": name, "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {name: {"id": name, "ids": [bos], "tokens": [name]}}}
        path = self.dir / "with-bos.json"
        path.write_text(json.dumps(tokenizer))
        return path

    def test_bos(self):
        prompt = json.loads(support.run_qins("generate", MODEL, "--json", "--prompt",
                                             self.short.read_text()[:900], "--tokens", 1,
                                             check=0).stdout)
        self.tokens = prompt["prompt_ids"]
        text = self.dir / "bos.txt"
        text.write_text(self.short.read_text()[:900])
        arguments = (MODEL, "--text", text, "--tokenizer", self.with_bos(0), "--context", 40)
        self.agree(self.figures(*arguments), self.qins(40))
        self.check_beside(arguments, 40, 0)
        self.agree(self.figures(*arguments, "--ppl-style", "llama.cpp"), self.llama_cpp(40, 0))
        # A window whose BOS comes before the text, and no more text than that.
        n = len(self.tokens) + 1
        self.agree(self.figures(*arguments[:-1], n, "--ppl-style", "llama.cpp"),
                   self.llama_cpp(n, 0))


class Figures(Folder):
    def test_threads(self):
        arguments = (MODEL, "--text", self.short, "--context", 64)
        one = self.figures(*arguments, "--threads", 1)
        self.assertEqual(one, self.figures(*arguments, "--threads", 2))
        self.assertEqual(one, self.figures(*arguments, "--threads", 5))
        # Fewer windows than threads: one session on all of them.
        arguments = (MODEL, "--text", self.short, "--context", 900)
        one = self.figures(*arguments, "--threads", 1)
        self.assertEqual(one["windows"], 1)
        self.assertEqual(one, self.figures(*arguments, "--threads", 3))

    def test_default_context(self):
        report = self.validate(MODEL, "--text", self.short)
        self.assertEqual(report["tests"]["perplexity"]["context"], 512)

    def check_equal(self, test):
        """Nothing at all is between a model and itself."""
        nothing = dict.fromkeys(("mean", "standard_error", "min", "max"), 0)
        nothing["quantiles"] = dict.fromkeys(test["kl"]["quantiles"], 0)
        self.assertEqual(test["difference"], {
            "mean_nll": 0, "standard_error": 0, "perplexity_ratio": 1,
            "perplexity_ratio_standard_error": 0, "perplexity": 0, "perplexity_standard_error": 0,
            "correlation": 1, "correlation_standard_error": 0})
        self.assertEqual(test["kl"], {**nothing, "same_top1": 1, "same_top1_standard_error": 0,
                                      "tokens": test["model"]["tokens"]})
        self.assertEqual(test["delta_p_percent"], {**nothing, "rms": 0, "rms_standard_error": 0})
        self.assertEqual({k: v for k, v in test["model"].items() if k not in TIMES},
                         {k: v for k, v in test["candidate"].items() if k not in TIMES})
        self.assertEqual(test["llama_cpp"]["model"], test["llama_cpp"]["candidate"])
        self.assertTrue(test["passed"])

    def test_itself(self):
        self.check_equal(self.validate(MODEL, MODEL, "--text", self.short, "--context",
                                       128)["tests"]["perplexity"])

    def test_candidates(self):
        lossless, four = self.dir / "lossless.qins", self.dir / "four.qins"
        support.run_qins("convert", MODEL, "-o", lossless, "--lossless", check=0)
        support.run_qins("convert", MODEL, "-o", four, "--bits", 3, "--group", "tensor", check=0)
        arguments = ("--text", self.short, "--context", 128)
        report = self.validate(MODEL, lossless, *arguments)
        self.assertEqual(report["model"]["fingerprint"], report["candidate"]["fingerprint"])
        self.assertNotIn("archive_hash", report["model"])
        self.check_equal(report["tests"]["perplexity"])
        report = self.validate(MODEL, four, *arguments)
        test = report["tests"]["perplexity"]
        self.assertGreater(test["candidate"]["perplexity"], 1.05 * test["model"]["perplexity"])
        verified, inspected = (json.loads(support.run_qins(verb, four, "--json", check=0).stdout)
                               for verb in ("verify", "inspect"))
        self.assertEqual([report["candidate"][k] for k in ARCHIVE],
                         [verified["archive_hash"], four.stat().st_size,
                          inspected["bits_per_weight"]])
        alone = self.figures(four, *arguments)
        self.assertEqual(alone["perplexity"], test["candidate"]["perplexity"])
        table = support.run_qins("validate", MODEL, four, *arguments, "--tests", "perplexity",
                                 check=0).stdout
        self.assertGreater(test["kl"]["mean"], 0.05)
        for threads in (1, 3):
            again = self.validate(MODEL, four, *arguments, "--threads", threads)
            self.assertEqual(again["tests"]["perplexity"]["kl"], test["kl"])
        for shown in (MODEL, four, verified["archive_hash"], "token by token",
                      f"{test['kl']['mean']:.4g}",
                      f"{test['difference']['perplexity_ratio']:.6f}"):
            self.assertIn(str(shown), table)

    def test_kv_cache(self):
        """Of the model beside itself, and of an archive; what was counted adds up."""
        archive = self.dir / "kv.qins"
        support.run_qins("convert", MODEL, "-o", archive, "--lossless", check=0)
        arguments = ("--text", self.short, "--context", 150)
        config = json.loads((MODEL / "config.json").read_text())
        values = config["num_hidden_layers"] * config["num_key_value_heads"] * (
            config["hidden_size"] // config["num_attention_heads"])
        tests = {}
        for bits in support.less((8, 6), (6,)):
            report = self.validate(MODEL, *arguments, "--kv-cache", bits)
            kv, tests[bits] = report["kv_cache"], report["tests"]["perplexity"]
            windows = tests[bits]["model"]["windows"]
            self.assertEqual(report["model"], report["candidate"])
            self.assertEqual((kv["bits"], kv["sequences"], kv["tokens"]), (bits, windows,
                                                                           150 * windows))
            self.assertEqual(kv["f16_bytes"], 2 * 150 * windows * values)
            pages = 150 // kv["page_tokens"]
            self.assertEqual(kv["pages"], pages * windows * config["num_hidden_layers"])
            self.assertEqual(kv["packed_values"],
                             pages * windows * kv["page_tokens"] * values)
            self.assertAlmostEqual(kv["ratio_f16"], 2 * kv["packed_values"] / kv["packed_bytes"])
            self.assertEqual(kv["open_bytes"],
                             4 * (150 - pages * kv["page_tokens"]) * windows * values)
            self.assertGreater(tests[bits]["kl"]["mean"], 0)
            self.assertNotIn("partial", kv)
            again = self.validate(MODEL, archive, *arguments, "--kv-cache", bits, "--threads", 1)
            for key in ("kl", "difference", "delta_p_percent"):
                self.assertEqual(again["tests"]["perplexity"][key], tests[bits][key])
        if 8 in tests:
            self.assertLess(2 * tests[8]["kl"]["mean"], tests[6]["kl"]["mean"])
        self.assertLess(tests[6]["kl"]["mean"], 1e-3)
        self.assertNotIn("note", kv)
        done = support.run_qins("validate", MODEL, "--text", self.short, "--context", 64,
                                "--kv-cache", 6, "--tests", "perplexity", "--json", check=0)
        short = json.loads(done.stdout)
        self.assertEqual(done.stderr, f"qins: note: {short['kv_cache']['note']}\n")
        self.assertIn("windows of 64 tokens see no coded page", short["kv_cache"]["note"])
        self.assertEqual(short["tests"]["perplexity"]["kl"]["max"], 0)
        off = self.validate(MODEL, MODEL, *arguments, "--kv-cache", "off")
        self.assertNotIn("kv_cache", off)
        self.check_equal(off["tests"]["perplexity"])
        table = support.run_qins("validate", MODEL, *arguments, "--kv-cache", 6, "--tests",
                                 "perplexity", check=0).stdout
        self.assertIn(f"{MODEL}, V of 6 bits", table)
        self.assertIn("V cache, 6 bits, pages of", table)

    def longer(self):
        """More than a window of 1025 tokens, and another text than self.short."""
        path = self.dir / "longer.txt"
        path.write_bytes(TEXT.read_bytes()[:9000])
        return path

    def test_fingerprints(self):
        report = self.validate(MODEL, "--text", self.short, "--context", 128)
        again = self.validate(MODEL, "--text", self.longer(), "--context", 512)
        self.assertEqual(report["model"], again["model"])
        self.assertNotEqual(report["text"]["fingerprint"], again["text"]["fingerprint"])
        self.assertEqual(report["text"]["tokenizer_fingerprint"],
                         again["text"]["tokenizer_fingerprint"])
        ids = self.validate(MODEL, "--ids", self.ids([5] * 30), "--context", 8)
        self.assertIsNone(ids["text"]["tokenizer_fingerprint"])

    def test_beyond_numbers(self):
        """Every NLL is finite, the candidate's perplexity is not: that is no small difference."""
        other = self.dir / "loud"
        shutil.copytree(MODEL, other)
        tensors = support.read_safetensors(MODEL / "model.safetensors")
        tensors["model.norm.weight"] = tensors["model.norm.weight"] * np.float32(3e4)
        (other / "model.safetensors").chmod(0o644)
        support.write_safetensors(other / "model.safetensors", {
            name: ("F32", array.shape, [array.tobytes()]) for name, array in tensors.items()})
        arguments = (MODEL, other, "--ids", self.ids([5] * 30), "--context", 8)
        test = self.validate(*arguments)["tests"]["perplexity"]
        self.assertGreater(test["candidate"]["mean_nll"], 710)
        self.assertIsNone(test["candidate"]["perplexity"])
        self.assertIs(test["passed"], False)
        for bar in test["thresholds"].values():
            self.assertEqual((bar["value"], bar["passed"]), (None, False))
        shown = support.run_qins("validate", *arguments, "--tests", "perplexity", check=0).stdout
        self.assertRegex(shown, r"(?m)^perplexity +not passed +perplexity, change +none +"
                                r"within \+- 0\.1 +no$")

    def test_what_is_told(self):
        other = self.dir / "other"
        shutil.copytree(MODEL, other)
        weights = bytearray((other / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (other / "model.safetensors").chmod(0o644)
        (other / "model.safetensors").write_bytes(weights)
        done = support.run_qins("validate", MODEL, other, "--text", self.short, "--context", 128,
                                "--tests", "perplexity", check=0)
        self.assertIn("fingerprints differ", done.stderr)
        done = support.run_qins("validate", MODEL, "--text", self.longer(), "--context", 1025,
                                "--tests", "perplexity", check=0)
        self.assertIn("longer than the 1024", done.stderr)


@unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
class Refused(Folder):
    def test_usage(self):
        line = self.fails(2, MODEL, "--text", TEXT, "--tests", "perplexity,taste")
        self.assertRegex(line, "'taste'; there are: .*perplexity")
        for arguments in ([], ["--text", TEXT, "--ids", self.ids([1])],
                          ["--text", TEXT, "--context", "0"], ["--text", TEXT, "--tests", ""],
                          ["--text", ""], ["--text", TEXT, "--prompts", ""],
                          ["--text", TEXT, "--ppl-style", "gpt"],
                          ["--text", TEXT, "--ppl-style", "llama.cpp", "--context", "2"],
                          ["--text", TEXT, "--text", TEXT], ["--text", TEXT, "--seed", "1"]):
            with self.subTest(arguments=arguments):
                self.fails(2, MODEL, *arguments)

    def test_input(self):
        few = self.dir / "few.txt"
        few.write_text("In the beginning")
        self.assertRegex(self.fails(3, MODEL, "--text", few, "--context", 64),
                         r"few\.txt: the text has \d tokens, one window of 64 needs 65")
        empty = self.dir / "empty.txt"
        empty.write_text("")
        self.fails(3, MODEL, "--text", empty, "--context", 1)
        self.fails(3, MODEL, "--text", empty, "--ppl-style", "llama.cpp")
        self.fails(3, MODEL, "--ids", self.ids([1, 2, 3000]), "--context", 1)
        wide = self.dir / "utf-16.txt"
        wide.write_text(self.short.read_text(), encoding="utf-16-le")
        self.assertRegex(self.fails(3, MODEL, "--text", wide),
                         r"utf-16\.txt: offset 1: a NUL: it is no text, or one in UTF-16")
        latin = self.dir / "latin.txt"
        latin.write_bytes("é".encode("latin-1") * 300)
        done = support.run_qins("validate", MODEL, "--text", latin, "--context", 16, "--tests",
                                "perplexity", check=0)
        self.assertRegex(done.stderr, r"^qins: note: .*latin\.txt: not UTF-8 at offset \d+; .*\n$")
        self.fails(4, MODEL, "--text", self.dir / "none.txt")
        self.fails(4, MODEL, self.dir / "none.qins", "--text", TEXT)

    def test_outputs(self):
        """None is another's, or an input, however it is named."""
        d = self.dir / "outputs"
        d.mkdir()
        ids = d / "next.npy"
        shutil.copy(self.ids([1] * 40), ids)
        before, around = ids.read_bytes(), f"{d}/../outputs"
        for more, words in (
                (("--save-logits", d), "input"),
                (("--save-logits", d, "-o", f"{around}/model.npy"), "'--output' and '--save-log"),
                (("--save-logits", d, "--kv-cache", 8, "--dump-kv", f"{around}/candidate.npy"),
                 "'--dump-kv' and '--save-logits'"),
                (("-o", d / "a.json", "--kv-cache", 8, "--dump-kv", f"{around}/a.json"),
                 "'--output' and '--dump-kv'"),
                (("-o", d / "a.json", "--resume", "--kv-cache", 8, "--dump-kv",
                  d / "a.json.part"), "what '--resume' keeps and '--dump-kv'")):
            with self.subTest(more=more):
                self.assertIn(words, self.fails(2, MODEL, "--ids", ids, "--context", 8, *more))
                self.assertEqual([p.name for p in d.iterdir()], ["next.npy"])
        self.assertEqual(ids.read_bytes(), before)

    def test_another_vocabulary(self):
        small = self.dir / "small"
        small.mkdir()
        config, tensors = json.loads((MODEL / "config.json").read_text()), {}
        for name, array in support.read_safetensors(MODEL / "model.safetensors").items():
            if array.shape[0] == config["vocab_size"]:
                array = array[:1000]
            tensors[name] = ("F32", array.shape, [array.tobytes()])
        support.write_safetensors(small / "model.safetensors", tensors)
        (small / "config.json").write_text(json.dumps({**config, "vocab_size": 1000}))
        self.assertIn("1000", self.fails(3, MODEL, small, "--text", TEXT))
        # The example's tokenizer makes tokens that this model has not.
        line = self.fails(3, small, "--text", TEXT, "--tokenizer", MODEL / "tokenizer.json")
        self.assertIn("1000", line)

    def test_inputs_stay(self):
        model = self.dir / "model"
        shutil.copytree(MODEL, model)
        text, ids = self.dir / "text.txt", self.ids([5] * 40)
        shutil.copy(TEXT, text)
        archive = self.dir / "model.qins"
        support.run_qins("convert", model, "-o", archive, check=0)
        for out in (text, model / "config.json", model / "model.safetensors",
                    model / "tokenizer.json", archive):
            before = out.read_bytes()
            line = self.fails(2, model, archive, "--text", text, "-o", out, "--tokenizer",
                              model / "tokenizer.json")
            self.assertIn("is an input", line)
            self.assertEqual(out.read_bytes(), before)
        self.fails(2, model, "--ids", ids, "-o", ids)
        self.fails(2, archive, "--text", text, "-o", archive)
        self.fails(4, model, "--text", text, "-o", self.dir / "none" / "out.json")


if __name__ == "__main__":
    support.main()
