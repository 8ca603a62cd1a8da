"""--fused: archives that run as they are coded, beside the same archives decoded when they are loaded."""
import json
import os
import pathlib
import unittest

import numpy as np

import model_fixtures as fixtures
import support

TEXT = support.SOURCE_ROOT / "examples" / "kjv-heldout.txt"
# The seeds' bar for fused kernels, of logits; and what it comes to in nats.
ERROR, KL = 1e-3, 1e-5
# Of the decoded weights' bytes, at 8 bits: a quarter, and tables of each matrix, which show in a small model.
SMALL = 0.42
# Name, options of convert, whether matrices stay coded.
ARCHIVES = [
    ("8 bits", ["--bits", "8"], True),
    ("6 bits", ["--bits", "6"], True),
    ("4 bits, groups", ["--bits", "4", "--group", "32"], True),
    ("11 bits", ["--bits", "11"], True),
    ("tensor", ["--bits", "8", "--group", "tensor", "--kappa", "0"], True),
    ("tans", ["--codec", "tans"], True),
    ("huffman", ["--bits", "6", "--codec", "huffman"], True),
    ("tans, raw bits", ["--bits", "10", "--codec", "tans"], True),
    ("seed grid", ["--grid", "seed"], True),
    ("lossless", ["--lossless"], False),
]
FEW = {"8 bits", "tans", "lossless"}
# Tokens of a window: so many rows a product that panels of decoded weights are multiplied, and so few
# that codes are (model/packed_kernels.h, few_rows).
MANY_ROWS, FEW_ROWS = 32, 8
# Beside kjv-1.7m: biases, heads of their own, joined projections, experts; GPT-2's are stored transposed.
ARCHITECTURES = {"gpt2": dict(n_embd=96, n_layer=2), "gpt_neox": dict(hidden_size=96, num_hidden_layers=2),
                 "qwen2": dict(hidden_size=80, num_hidden_layers=2),
                 "phi3": dict(hidden_size=96, num_hidden_layers=2),
                 "mixtral": dict(hidden_size=96, intermediate_size=80, num_hidden_layers=2)}


class Fused(support.Folder):
    def convert(self, model, *options, name="a.qins"):
        archive = self.dir / name
        support.run_qins("convert", model, "-o", archive, "-q", *options, check=0)
        return archive

    def made_up(self, kind, **changes):
        folder = self.dir / kind
        config, tensors = fixtures.make(kind, **changes)
        fixtures.write_folder(folder, config, tensors)
        return folder

    def ids(self, vocab, n):
        path = self.dir / f"ids-{vocab}-{n}.npy"
        if not path.exists():
            text = TEXT.read_bytes()
            np.save(path, (np.frombuffer(text[:n], np.uint8).astype(np.uint32) * 131) % vocab)
        return path

    def compare(self, archive, *options, threads=2, rows=MANY_ROWS, vocab=250, level=None):
        """The archive fused beside itself decoded: the report, and both logits."""
        ids = self.ids(vocab, 5 * rows)
        logits = self.dir / "logits"
        done = support.run_qins("validate", archive, archive, "--fused", "--ids", ids, "--context",
                                rows, "--tests", "perplexity", "--save-logits", logits, "--json",
                                "--threads", threads, *options, check=0,
                                env={**os.environ, **({"QINS_CPU": level} if level else {})})
        report = json.loads(done.stdout)
        support.validate(report, "validation")
        return report, np.load(logits / "model.npy"), np.load(logits / "candidate.npy")

    def assert_close(self, report, decoded, fused):
        scale = np.linalg.norm(decoded.astype(np.float64), axis=1)
        error = np.linalg.norm(fused.astype(np.float64) - decoded, axis=1)
        self.assertLess((error / scale).max(), ERROR)
        self.assertLess(abs(report["tests"]["perplexity"]["kl"]["mean"]), KL)

    def check(self, model, options, coded, small=False, **others):
        """SMALL: of the model's matrices, which a conversion leaves lossless."""
        archive = self.convert(model, *options)
        report, decoded, fused = self.compare(archive, **others)
        model, candidate = report["model"], report["candidate"]
        self.assertNotIn("fused", model)
        self.assertIs(candidate["fused"], True)
        if coded:
            self.assertEqual(candidate["decoded_matrices"] > 0, small)
            self.assertGreater(candidate["fused_matrices"], candidate["decoded_matrices"])
            self.assertLess(candidate["weight_bytes"], model["weight_bytes"])
            self.assert_close(report, decoded, fused)
        else:
            self.assertEqual((candidate["fused_matrices"], candidate["coded_bytes"]), (0, 0))
            self.assertEqual(candidate["weight_bytes"], model["weight_bytes"])
            np.testing.assert_array_equal(decoded, fused)
        return archive, candidate, fused

    def test_codings(self):
        """Every coding is as near to the decoded archive as the seeds ask, and as small as it is coded."""
        for name, options, coded in ARCHIVES:
            if name not in support.less([a[0] for a in ARCHIVES], FEW):
                continue
            with self.subTest(name):
                archive, candidate, fused = self.check(support.MODEL, options, coded)
                if name == "8 bits":
                    self.assertLess(candidate["weight_bytes"], SMALL * 4 * candidate["parameters"])
                    np.testing.assert_array_equal(self.compare(archive, threads=1)[2], fused)
                self.check_few_rows(archive, levels=("avx2", "c") if coded and name in FEW else ())

    def check_few_rows(self, archive, levels=(), **others):
        report, decoded, fused = self.compare(archive, rows=FEW_ROWS, threads=1, **others)
        self.assert_close(report, decoded, fused)
        again = self.compare(archive, rows=FEW_ROWS, threads=3, **others)[2]
        np.testing.assert_array_equal(again, fused)
        for level in levels:
            self.assert_close(*self.compare(archive, rows=FEW_ROWS, level=level))

    def test_mixed_plan(self):
        """Tensors and blocks of rows of different codings."""
        plan = self.dir / "plan.json"
        model = self.made_up("llama", hidden_size=96, intermediate_size=384, num_hidden_layers=1)
        support.run_qins("plan", model, "--target-bits", "5", "-o", plan, check=0)
        text = json.loads(plan.read_text())
        line = {"class": "unknown", "kappa": 1, "clip": 0.9, "group": "row", "rounding": "nearest",
                "reason": "by hand"}
        for tensor in text["tensors"]:
            if tensor["name"] == "model.layers.0.mlp.up_proj.weight":
                tensor["blocks"] = [
                    {**line, "codec": "bitpack", "levels": 31, "bits": 6, "row_begin": 0, "row_end": 101},
                    {**line, "codec": "tans", "levels": 100, "bits": 8, "row_begin": 101, "row_end": 384}]
        plan.write_text(json.dumps(text))
        archive, _, _ = self.check(model, ["--plan", plan], True, vocab=fixtures.VOCAB)
        self.check_few_rows(archive, vocab=fixtures.VOCAB)

    def test_architectures(self):
        for kind, changes in ARCHITECTURES.items():
            if kind not in support.less(list(ARCHITECTURES), ("gpt2", "mixtral")):
                continue
            with self.subTest(kind):
                archive = self.convert(self.made_up(kind, **changes), "--bits", "8")
                report, decoded, fused = self.compare(archive, rows=FEW_ROWS, vocab=fixtures.VOCAB)
                self.assert_close(report, decoded, fused)
                self.assertGreater(report["candidate"]["fused_matrices"], 0)
                if kind == "gpt2":
                    self.assertGreater(report["candidate"]["decoded_matrices"], 0)

    def test_all_tests(self):
        """All figures of a fused candidate are those of the decoded one, as far as they should be."""
        small = self.made_up("llama", hidden_size=96, num_hidden_layers=1, max_position_embeddings=96)
        model, vocab = support.less((support.MODEL, 250), (small, fixtures.VOCAB))
        archive = self.convert(model, "--bits", "8")
        arguments = ["validate", model, archive, "--ids", self.ids(vocab, 600), "--context", "64",
                     "--tokens", "8", "--prompts", "text", "--json"]
        plain = json.loads(support.run_qins(*arguments, check=0).stdout)
        fused = json.loads(support.run_qins(*arguments, "--fused", check=0).stdout)
        support.validate(fused, "validation")
        a, b = plain["tests"], fused["tests"]
        self.assertEqual(a["consistency"], b["consistency"])
        self.assertAlmostEqual(a["perplexity"]["candidate"]["mean_nll"],
                               b["perplexity"]["candidate"]["mean_nll"], delta=1e-3)
        self.assertAlmostEqual(a["perplexity"]["kl"]["mean"], b["perplexity"]["kl"]["mean"], delta=1e-5)

    def test_generate(self):
        archive = self.convert(support.MODEL, "--bits", "8")
        arguments = ["generate", archive, "--prompt", "In the beginning", "--tokens", "24", "--json"]
        plain = json.loads(support.run_qins(*arguments, check=0).stdout)
        fused = json.loads(support.run_qins(*arguments, "--fused", check=0).stdout)
        support.validate(fused, "generate")
        self.assertEqual(fused["text"], plain["text"])
        self.assertNotIn("fused", plain)
        self.assertIs(fused["fused"], True)
        self.assertLess(fused["weight_bytes"], SMALL * plain["weight_bytes"])
        said = support.run_qins(*arguments[:-1], "--fused", check=0).stderr
        self.assertIn(f"{fused['fused_matrices']} of {fused['fused_matrices']} matrices as they are coded",
                      said)

    def test_refused(self):
        archive = self.convert(support.MODEL, "--bits", "8")
        ids = ["--ids", self.ids(250, 160), "--context", "32"]
        for arguments, code, says in (
                (["generate", support.MODEL, "--prompt", "a", "--fused"], 3, "kjv-1.7m: '--fused'"),
                (["validate", support.MODEL, support.MODEL, *ids, "--fused"], 3, "and this is none"),
                (["validate", support.MODEL, *ids, "--fused"], 2, "give one"),
                (["validate", support.MODEL, archive, *ids, "--fused", "--transport", "t.h5"], 2,
                 "exclude each other"),
                (["generate", archive, "--prompt", "a", "--fused", "--transport", "t.h5"], 2,
                 "exclude each other")):
            done = support.run_qins(*arguments, check=code)
            self.assertIn(says, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
            self.assertEqual(done.stdout, "")

    def test_damage(self):
        """A damaged chunk is told when it is loaded."""
        archive = self.convert(support.MODEL, "--codec", "tans", name="damaged.qins")
        data = bytearray(archive.read_bytes())
        at = data.rfind(b"QNCK") + 300
        data[at] ^= 1
        archive.write_bytes(data)
        done = support.run_qins("generate", archive, "--prompt", "a", "--fused", check=3)
        self.assertIn("hash", done.stderr)

    @unittest.skipUnless(support.SHARED.is_dir(), "the shared models are not there")
    def test_other_models(self):
        """Mixtures of experts, and heads of their own."""
        for name in ("stories260k", "mix-6m"):
            for options in (["--bits", "8"], ["--codec", "tans"]):
                with self.subTest(name):
                    self.check(support.SHARED / "models" / name, options, True,
                               small=name == "stories260k")


class Bench(support.Folder):
    def test_forward_fused(self):
        done = support.run_qins("bench", "forward-fused", support.MODEL, "--tokens", "24",
                                "--rounds", "2", "--json", check=0)
        report = json.loads(done.stdout)
        support.validate(report, "bench")
        self.assertEqual(report["benchmark"], "forward-fused")
        forms = {f["name"]: f for f in report["forms"]}
        self.assertEqual(list(forms), ["8 bits", "6 bits", "tans"])
        names = {m["name"] for m in report["measurements"]}
        separate = [f"{f}, decoded {how}" for f in forms for how in ("first", "in turn")]
        self.assertEqual(names, {*(f"prefill, {n}" for n in ("as it is", *forms)),
                                 *(f"decode, {n}" for n in ("as it is", *forms, *separate))})
        for form in forms.values():
            self.assertLess(form["relative_error"], ERROR)
            self.assertEqual(form["decoded_matrices"], 0)
            self.assertLess(form["weight_bytes"], SMALL * report["model"]["weight_bytes"])
        self.assertLess(forms["6 bits"]["weight_bytes"], forms["8 bits"]["weight_bytes"])
        hot = [c for c in report["comparisons"] if c["of"]["name"] == "decode, 8 bits" and c["goal"]]
        self.assertEqual(sorted((c["to"]["name"], c["goal"]) for c in hot if c["of"]["threads"] == 1),
                         [("decode, 8 bits, decoded first", 2), ("decode, as it is", 1)])
        against = {c["to"]["name"] for c in report["comparisons"] if c["of"]["name"] == "decode, tans"}
        self.assertEqual(against, {"decode, as it is", "decode, tans, decoded first", "decode, tans, decoded in turn"})

    def test_hot_path_and_memory(self):
        archive = self.dir / "a.qins"
        support.run_qins("convert", support.MODEL, "-o", archive, "-q", "--codec", "tans", check=0)
        for name in ("hot-path", "memory"):
            saved = self.dir / f"{name}.json"
            support.run_qins("bench", name, support.MODEL, archive, "--tokens", "24", "--save", saved, check=0)
            support.validate(json.loads(saved.read_text()), "bench")
        fused = json.loads((self.dir / "hot-path.json").read_text())["fused"]
        self.assertGreater(fused["fused_matrices"], 0)
        self.assertIn("value", fused["overhead_percent"])
        memory = json.loads((self.dir / "memory.json").read_text())
        held = {s["name"]: s for s in memory["served"]}
        self.assertEqual(memory["peak_bytes"], held["fused"]["peak_bytes"])
        self.assertLess(held["fused"]["weight_bytes"], held["decoded"]["weight_bytes"])
        if support.SANITIZER == "none":
            self.assertGreater(memory["peak_bytes"], held["fused"]["weight_bytes"])
        done = support.run_qins("bench", "memory", support.MODEL, self.dir / "gone.qins", check=4)
        self.assertEqual(done.stderr.count("\n"), 1)


if __name__ == "__main__":
    support.main()
