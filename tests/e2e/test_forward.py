"""Trained models: kjv-1.7m and, where the shared data is there, mix-6m against the float64 PyTorch
figures that came with them, stories260k and kjv-1.7m against the numpy pass of
reference_models.py; kjv-1.7m as a phi3 checkpoint and as an archive against itself."""
import json
import os
import pathlib

import numpy as np

import model_fixtures as fixtures
import reference_models
from forward_case import ForwardCase, difference
from support import MODEL, SHARED, main, run_qins


def has_avx512():
    """Whether OpenBLAS's kernels for AVX-512 are used (core/cpu.h)."""
    if os.environ.get("QINS_CPU") in ("c", "avx2"):
        return False
    try:
        words = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(words)


class Published(ForwardCase):
    def check_reference(self, model):
        reference = json.loads((model / "reference.json").read_text())
        logits = self.forward(model, reference["prompt_ids"])
        self.assertLess(np.abs(logits[-1, :16] - reference["last_logits_first16"]).max(), 1e-4)
        for name, figure in [("last_logits_argmax", logits[-1].argmax()),
                             ("logits_mean", logits.mean(dtype=np.float64)),
                             ("logits_std", logits.std(dtype=np.float64))]:
            self.assertAlmostEqual(reference.get(name, figure), figure, delta=1e-4)
        # Greedy: each token is the most probable one behind those before it. All but the first
        # 16 go through the cache one by one, as in generation.
        ids = reference["greedy_from_first_16"]
        chosen = self.forward(model, ids, "--split", len(ids) - 16).argmax(axis=1)
        self.assertEqual(chosen[15:-1].tolist(), ids[16:])

    def test_kjv(self):
        self.check_reference(MODEL)

    def test_mix(self):
        model = SHARED / "models" / "mix-6m"
        if not (model / "reference.json").exists():
            self.skipTest("mix-6m is not there")
        self.check_reference(model)


class Ways(ForwardCase):
    """Any way to compute the same positions gives the same logits; with other threads the same
    bits."""

    def check_ways(self, model, config, tensors, n=300):
        ids = np.random.default_rng(3).integers(3, config["vocab_size"], n)
        whole = self.forward(model, ids)
        self.assert_close(whole, reference_models.Reference(config, tensors).logits(ids))
        for threads in (2, 3):
            self.assert_same(self.forward(model, ids, "--threads", threads), whole)
        for options in [("--batch", 1), ("--batch", 77), ("--split", 40), ("--split", n),
                        ("--positions", n + 100), ("--batch", 50, "--split", 3, "--threads", 2)]:
            with self.subTest(options=options):
                self.assert_close(self.forward(model, ids, *options), whole, 3e-5)

    def test_kjv(self):
        self.check_ways(MODEL, *reference_models.load_folder(MODEL))

    def test_stories260k(self):
        path = SHARED / "models" / "stories260k" / "model.bin"
        if not path.exists():
            self.skipTest("stories260k is not there")
        self.check_ways(path, *reference_models.load_llama2c(path))

    def test_ids_out_of_range(self):
        for bad in (2048, -1):
            done = self.run_tool(MODEL, [5, bad])
            self.assertGreater(done.returncode, 0)
            self.assertEqual((len(done.stderr.splitlines()), done.stdout), (1, ""), done.stderr)
            self.assertIn(str(bad), done.stderr)


class Kjv(ForwardCase):
    """kjv-1.7m against the numpy pass, and in other forms."""

    def setUp(self):
        super().setUp()
        self.config, self.tensors = reference_models.load_folder(MODEL)
        self.published = json.loads((MODEL / "reference.json").read_text())
        self.ids = self.published["prompt_ids"]

    def test_reference_itself(self):
        """The numpy pass agrees with the published logits: its angles are float64, theirs were
        float32, which is worth 1e-6 here."""
        logits = reference_models.Reference(self.config, self.tensors).logits(self.ids)
        published = np.array(self.published["last_logits_first16"])
        self.assertLess(np.abs(logits[-1, :16] - published).max(), 2e-6)
        self.assertAlmostEqual(logits.mean(), self.published["logits_mean"], delta=1e-7)

    def test_logits(self):
        reference = reference_models.Reference(self.config, self.tensors).logits(self.ids)
        for options in ((), ("--split", len(self.ids)), ("--batch", 10)):
            ours = self.forward(MODEL, self.ids, *options)
            self.assertLess(np.abs(ours - reference).max(), 1e-4)
            self.assertEqual(ours[-1].argmax(), self.published["last_logits_argmax"])

    def test_perplexity_of_a_window(self):
        """Mean negative log-likelihood of 255 targets from one window."""
        ids = np.random.default_rng(4).integers(0, self.config["vocab_size"], 256)

        def nll(logits):
            logits = logits.astype(np.float64)
            log_z = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
            return (log_z[:-1] - logits[np.arange(255), ids[1:]]).mean()
        reference = reference_models.Reference(self.config, self.tensors).logits(ids)
        self.assertAlmostEqual(nll(self.forward(MODEL, ids)), nll(reference), delta=1e-5)

    def as_phi3(self):
        """Fused tensors: the rows of q, k and v in turn, those of gate and up."""
        tensors = dict(self.tensors)
        for i in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{i}."
            tensors[p + "self_attn.qkv_proj.weight"] = np.concatenate(
                [tensors.pop(f"{p}self_attn.{part}_proj.weight") for part in "qkv"])
            tensors[p + "mlp.gate_up_proj.weight"] = np.concatenate(
                [tensors.pop(f"{p}mlp.{part}_proj.weight") for part in ("gate", "up")])
        config = dict(self.config, model_type="phi3", architectures=["Phi3ForCausalLM"],
                      rope_scaling=None, sliding_window=None)
        for key in ("attention_bias", "head_dim"):
            config.pop(key, None)
        return config, {k: v.astype(np.float32) for k, v in tensors.items()}

    def test_fused_checkpoint_gives_the_same_bits(self):
        """Up to four tokens at a time the products are our own dot products, whose sums do not
        depend on what else is in the tensor. Batches go through OpenBLAS, where the order of a
        sum may depend on the product's extents: its kernels for AVX-512 have another order where
        rows times outputs are at most 1200 (so batches of 5 to 18 tokens differ: k and v alone
        have 64 outputs, fused they are part of 256), its kernel for AVX2 for the last 8 outputs
        of a call, and calls end elsewhere in fused tensors."""
        config, tensors = self.as_phi3()
        fixtures.write_folder(self.dir / "phi3", config, tensors)
        for options, dot_products in ((("--split", len(self.ids)), True), (("--batch", 4), True),
                                      (("--batch", 3, "--threads", 2), True), ((), False),
                                      (("--threads", 2), False), (("--batch", 10), False)):
            with self.subTest(options=options):
                fused = self.forward(self.dir / "phi3", self.ids, *options)
                apart = self.forward(MODEL, self.ids, *options)
                self.assert_close(fused, apart, 3e-6)
                if dot_products or has_avx512() and options != ("--batch", 10):
                    self.assert_same(fused, apart)

    def test_lossless_archive(self):
        archive = self.dir / "kjv.qins"
        run_qins("convert", MODEL, "-o", archive, "--lossless", "--quiet", check=0)
        self.assert_same(self.forward(archive, self.ids), self.forward(MODEL, self.ids))

    def test_quantised_archive(self):
        """An archive runs as the checkpoint that restore makes of it."""
        for options in (("--bits", 8), ("--bits", 5, "--group", "row")):
            with self.subTest(options=options):
                archive, folder = self.dir / "q.qins", self.dir / f"restored-{options[1]}"
                run_qins("convert", MODEL, "-o", archive, "--quiet", *options, check=0)
                run_qins("restore", archive, "-o", f"{folder}/", "--quiet", check=0)
                quantised = self.forward(archive, self.ids)
                self.assert_same(quantised, self.forward(folder, self.ids))
                self.assertGreater(difference(quantised, self.forward(MODEL, self.ids)), 1e-4)
                archive.unlink()


if __name__ == "__main__":
    main()
