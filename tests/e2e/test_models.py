"""Every architecture against an independent float64 forward pass (reference_models.py): tiny
random checkpoints with their variants, and the real models where they are at hand.

The measure is the largest difference of two logits, divided by the largest absolute logit."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np

import model_fixtures as fixtures
import reference_models
from fixtures_safetensors_gguf import write_safetensors
from support import BUILD_ROOT, MODEL, main, run_qins

FORWARD = BUILD_ROOT / "tests" / "tools" / "forward_tool"
SHARED = pathlib.Path(os.environ.get("QINS_SHARED_DATA", "/nonexistent"))
# What issue 3 asks for is 1e-4; float32 leaves about 1e-6 in models this small.
TOLERANCE = 1e-5
N = 150  # more than two blocks of cached keys (model/kernels.h), and the last one not full

# kind, changes to model_fixtures.CONFIGS, and how many tokens
VARIANTS = {
    "llama grouped queries, own head": ("llama", {}, 200),
    "llama tied, head_dim apart from hidden": (
        "llama", dict(tie_word_embeddings=True, head_dim=20, num_key_value_heads=6), N),
    "llama without num_key_value_heads": ("llama", dict(num_key_value_heads=None), 70),
    "llama attention and MLP biases": ("llama", dict(attention_bias=True, mlp_bias=True), N),
    "llama attention biases": ("llama", dict(attention_bias=True), 66),
    "llama MLP biases, tied": ("llama", dict(mlp_bias=True, tie_word_embeddings=True), 65),
    "llama one wide head": (
        "llama", dict(num_attention_heads=2, num_key_value_heads=1, head_dim=128), N),
    "llama heads of 6": ("llama", dict(head_dim=6, num_key_value_heads=3), N),
    "llama heads of 100": ("llama", dict(head_dim=100, num_key_value_heads=1), 130),
    "llama heads of 256": (
        "llama", dict(head_dim=256, num_attention_heads=2, num_hidden_layers=1), 70),
    "llama llama3 scaling": (
        "llama", dict(rope_scaling=fixtures.LLAMA3, rope_theta=500000.0, head_dim=32), 200),
    "llama linear scaling": (
        "llama", dict(rope_scaling={"type": "linear", "factor": 4.0}), N),
    "llama llama3 scaling as transformers 5 writes it": (
        "llama", dict(rope_parameters=dict(fixtures.LLAMA3, rope_theta=500000.0), head_dim=32),
        200),
    "llama relu": ("llama", dict(hidden_act="relu"), 64),
    "llama gelu": ("llama", dict(hidden_act="gelu"), 63),
    "llama gelu_pytorch_tanh": ("llama", dict(hidden_act="gelu_pytorch_tanh"), 63),
    "llama one layer, one token": ("llama", dict(num_hidden_layers=1), 1),
    "mistral past the window": ("mistral", {}, N),
    "mistral window of a key block": ("mistral", dict(sliding_window=64), 200),
    "mistral window of one": ("mistral", dict(sliding_window=1), 70),
    "mistral window longer than the text": ("mistral", dict(sliding_window=4096), 100),
    "mistral without window": ("mistral", dict(sliding_window=None), N),
    "qwen2 tied, window not used": ("qwen2", {}, N),
    "qwen2 own head": ("qwen2", dict(tie_word_embeddings=False), N),
    "qwen2 window from layer 1": ("qwen2", dict(use_sliding_window=True), N),
    "qwen2 window in all layers": (
        "qwen2", dict(use_sliding_window=True, max_window_layers=0), N),
    "qwen2 window in no layer": (
        "qwen2", dict(use_sliding_window=True, max_window_layers=3), N),
    "qwen3 tied": ("qwen3", {}, N),
    "qwen3 biases, own head": (
        "qwen3", dict(attention_bias=True, tie_word_embeddings=False), N),
    "qwen3 window from layer 2": (
        "qwen3", dict(use_sliding_window=True, sliding_window=17, max_window_layers=2), N),
    "phi3 plain": ("phi3", {}, N),
    "phi3 tied, all heads their own": (
        "phi3", dict(tie_word_embeddings=True, num_key_value_heads=4), N),
    "phi3 sliding window": ("phi3", dict(sliding_window=25), N),
    "phi3 partial rotary": (
        "phi3", dict(partial_rotary_factor=0.75, hidden_size=64), N),
    "phi3 longrope, long enough to switch": ("phi3", dict(rope_scaling=fixtures.LONGROPE), 100),
    "phi3 longrope, one past the switch": ("phi3", dict(rope_scaling=fixtures.LONGROPE), 65),
    "phi3 longrope, just below the switch": (
        "phi3", dict(rope_scaling=fixtures.LONGROPE), 64),
    "phi3 longrope by its older name": (
        "phi3", dict(rope_scaling=dict(fixtures.LONGROPE, type="su")), 100),
    "phi3 longrope, partial rotary": (
        "phi3", dict(rope_scaling=fixtures.LONGROPE, partial_rotary_factor=0.5,
                     hidden_size=64), 100),
    "phi3 longrope as transformers 5 writes it": (
        "phi3", dict(rope_parameters=dict(fixtures.LONGROPE, rope_theta=3000.0,
                                          original_max_position_embeddings=64,
                                          partial_rotary_factor=0.5), hidden_size=64), 100),
    "gpt2": ("gpt2", {}, 200),
    "gpt2 n_inner, relu": ("gpt2", dict(n_inner=72, activation_function="relu"), N),
    "gpt2 own head": ("gpt2", dict(tie_word_embeddings=False), N),
    "gpt_neox parallel residual": ("gpt_neox", {}, N),
    "gpt_neox sequential residual": ("gpt_neox", dict(use_parallel_residual=False), N),
    "gpt_neox all of a head rotated": ("gpt_neox", dict(rotary_pct=1.0), N),
    "gpt_neox without attention biases": ("gpt_neox", dict(attention_bias=False), N),
    "gpt_neox tied": ("gpt_neox", dict(tie_word_embeddings=True), N),
    "mixtral top 2 of 5": ("mixtral", {}, N),
    "mixtral top 1": ("mixtral", dict(num_experts_per_tok=1), N),
    "mixtral all of 3": ("mixtral", dict(num_local_experts=3, num_experts_per_tok=3), N),
    "mixtral sliding window": ("mixtral", dict(sliding_window=30), N),
}


def has_avx512():
    """Whether OpenBLAS's kernels for AVX-512 are used (core/cpu.h)."""
    if os.environ.get("QINS_CPU") in ("c", "avx2"):
        return False
    try:
        words = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(words)


def difference(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


class Base(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = pathlib.Path(temporary.name)

    def forward(self, model, ids, *options):
        np.save(self.dir / "ids.npy", np.asarray(ids))
        done = subprocess.run([FORWARD, model, self.dir / "ids.npy", self.dir / "logits.npy",
                               *map(str, options)], capture_output=True, text=True, timeout=100)
        self.assertEqual(done.returncode, 0, done.stderr)
        return np.load(self.dir / "logits.npy")

    def assert_close(self, ours, reference, limit=TOLERANCE):
        self.assertEqual(ours.shape, reference.shape)
        self.assertLessEqual(difference(ours, reference), limit)

    def assert_same(self, a, b):
        self.assertEqual(a.tobytes(), b.tobytes(),
                         f"not the same bits, {difference(a, b):.2g} apart")


@unittest.skipUnless(FORWARD.exists(), "forward_tool is not built")
class Architectures(Base):
    def test_variants(self):
        for name, (kind, changes, n) in VARIANTS.items():
            with self.subTest(name):
                config, tensors = fixtures.make(kind, **changes)
                fixtures.write_folder(self.dir / "m", config, tensors)
                ids = fixtures.random_ids(n)
                reference = reference_models.Reference(config, tensors).logits(ids)
                self.assert_close(self.forward(self.dir / "m", ids), reference)

    def test_long_text(self):
        """More tokens than a batch and than the rows of one product (model/linear.c)."""
        for kind, changes in (("llama", dict(max_position_embeddings=2048)),
                              ("mistral", dict(sliding_window=300))):
            config, tensors = fixtures.make(kind, num_hidden_layers=2, **changes)
            fixtures.write_folder(self.dir / "m", config, tensors)
            ids = fixtures.random_ids(1100)
            reference = reference_models.Reference(config, tensors).logits(ids)
            for options in ((), ("--batch", 1100), ("--split", 10)):
                with self.subTest(kind, options=options):
                    self.assert_close(self.forward(self.dir / "m", ids, *options), reference)

    def test_wide_layers(self):
        """Inputs and outputs beyond the blocks and panels of model/linear.c, in every type."""
        wide = {
            "llama": dict(hidden_size=1100, num_attention_heads=5, head_dim=60,
                          num_key_value_heads=5, intermediate_size=1300, num_hidden_layers=1,
                          vocab_size=600),
            "gpt2": dict(n_embd=520, n_head=4, n_layer=1, vocab_size=300),
        }
        for kind, changes in wide.items():
            config, tensors = fixtures.make(kind, seed=4, **changes)
            ids = fixtures.random_ids(30)
            for dtype in ("F32", "BF16", "F16"):
                with self.subTest(kind, dtype=dtype):
                    stored = fixtures.write_folder(self.dir / "m", config, tensors, dtype)
                    reference = reference_models.Reference(config, stored).logits(ids)
                    for options in ((), ("--split", 8, "--threads", 2)):
                        self.assert_close(self.forward(self.dir / "m", ids, *options), reference)

    def test_batches_and_cache(self):
        """Whatever the tokens are cut into, the logits are those of the reference."""
        for kind, changes in (("llama", {}), ("mistral", {}), ("gpt2", {}), ("gpt_neox", {}),
                              ("mixtral", {}), ("qwen3", {}), ("qwen2", {}),
                              ("phi3", dict(rope_scaling=fixtures.LONGROPE, sliding_window=40))):
            config, tensors = fixtures.make(kind, seed=5, **changes)
            fixtures.write_folder(self.dir / "m", config, tensors)
            ids = fixtures.random_ids(N)
            reference = reference_models.Reference(config, tensors).logits(ids)
            for options in (("--batch", 7), ("--batch", 64), ("--split", N), ("--split", 90),
                            ("--batch", 33, "--split", 5, "--threads", 2)):
                with self.subTest(kind, options=options):
                    self.assert_close(self.forward(self.dir / "m", ids, *options), reference)

    def test_longrope_is_chosen_by_the_whole_sequence(self):
        config, tensors = fixtures.make("phi3", rope_scaling=fixtures.LONGROPE)
        fixtures.write_folder(self.dir / "m", config, tensors)
        ids = fixtures.random_ids(50)
        reference = reference_models.Reference(config, tensors)
        short, long = reference.logits(ids), reference.logits(ids, total=65)
        self.assertGreater(difference(short, long), 0.01)
        self.assert_close(self.forward(self.dir / "m", ids, "--positions", 64), short)
        self.assert_close(self.forward(self.dir / "m", ids, "--positions", 65), long)
        self.assert_close(self.forward(self.dir / "m", ids, "--positions", 65, "--split", 20),
                          long)

    def test_longrope_attention_factor(self):
        for factor in (1.0, 1.3):
            config, tensors = fixtures.make(
                "phi3", rope_scaling=dict(fixtures.LONGROPE, attention_factor=factor))
            fixtures.write_folder(self.dir / "m", config, tensors)
            ids = fixtures.random_ids(90)
            self.assert_close(self.forward(self.dir / "m", ids),
                              reference_models.Reference(config, tensors).logits(ids))

    def test_shared_tiny_phi3_config(self):
        path = SHARED / "configs" / "config.tiny-phi3.json"
        if not path.exists():
            self.skipTest("the shared data are not here")
        config = json.loads(path.read_text())
        _, tensors = fixtures.make("phi3", **config)
        fixtures.write_folder(self.dir / "m", config, tensors)
        for n in (60, 64, 65, 128):
            ids = fixtures.random_ids(n, seed=n)
            self.assert_close(self.forward(self.dir / "m", ids),
                              reference_models.Reference(config, tensors).logits(ids))

    def test_threads_do_not_matter(self):
        for kind in ("llama", "gpt2", "mixtral"):
            config, tensors = fixtures.make(kind, seed=2)
            fixtures.write_folder(self.dir / "m", config, tensors)
            ids = fixtures.random_ids(130)
            for options in ((), ("--split", 40)):
                one = self.forward(self.dir / "m", ids, "--threads", 1, *options)
                for threads in (2, 3):
                    with self.subTest(kind, threads=threads, options=options):
                        self.assert_same(self.forward(self.dir / "m", ids, "--threads", threads,
                                                      *options), one)


@unittest.skipUnless(FORWARD.exists(), "forward_tool is not built")
class Storage(Base):
    def test_narrow_types(self):
        """BF16 and F16 give what the same weights give in F32, and what the reference gives."""
        for kind in ("llama", "phi3", "gpt2", "gpt_neox", "mixtral"):
            for dtype in ("BF16", "F16"):
                with self.subTest(kind, dtype=dtype):
                    config, tensors = fixtures.make(kind, seed=11)
                    stored = fixtures.write_folder(self.dir / "narrow", config, tensors, dtype)
                    fixtures.write_folder(self.dir / "wide", config, stored)
                    ids = fixtures.random_ids(100)
                    for options in ((), ("--split", 30)):
                        narrow = self.forward(self.dir / "narrow", ids, *options)
                        wide = self.forward(self.dir / "wide", ids, *options)
                        self.assert_close(narrow, wide, 1e-6)
                    self.assert_close(narrow,
                                      reference_models.Reference(config, stored).logits(ids))

    def test_other_types(self):
        """F64 is rounded to F32; F8 keeps its values."""
        config, tensors = fixtures.make("llama", seed=12)
        ids = fixtures.random_ids(50)
        fixtures.write_folder(self.dir / "f32", config, tensors)
        (self.dir / "f64").mkdir()
        fixtures.write_config(self.dir / "f64", config)
        rng = np.random.default_rng(1)
        write_safetensors(self.dir / "f64" / "model.safetensors", {
            k: v.astype(np.float64) * (1 + 1e-9 * rng.uniform(-1, 1, v.shape))
            for k, v in tensors.items()})
        self.assert_same(self.forward(self.dir / "f64", ids), self.forward(self.dir / "f32", ids))
        for name, decode in (("F8_E4M3", fixtures.e4m3_value), ("F8_E5M2", fixtures.e5m2_value)):
            with self.subTest(name):
                table = np.array([decode(byte) for byte in range(256)])
                codes = {k: fixtures.nearest(table, v) for k, v in tensors.items()}
                stored = {k: table[v].astype(np.float32) for k, v in codes.items()}
                folder = self.dir / name
                folder.mkdir()
                fixtures.write_config(folder, config)
                write_safetensors(folder / "model.safetensors",
                                  {k: (name, v) for k, v in codes.items()})
                self.assert_close(self.forward(folder, ids),
                                  reference_models.Reference(config, stored).logits(ids))

    def test_archives(self):
        """A lossless archive has the bits of its checkpoint; a quantised one those of what
        restore makes of it."""
        ids = fixtures.random_ids(40)
        for kind in ("qwen2", "phi3", "gpt2", "gpt_neox", "mixtral", "llama2c"):
            config, tensors = fixtures.make(kind, seed=6)
            model = self.dir / ("m.bin" if kind == "llama2c" else kind)
            if kind == "llama2c":
                fixtures.write_llama2c(model, config, tensors)
            else:
                fixtures.write_folder(model, config, tensors)
            for options in (("--lossless",), ("--bits", "6")):
                with self.subTest(kind, options=options):
                    archive = self.dir / f"{kind}{len(options)}.qins"
                    run_qins("convert", model, "-o", archive, "--quiet", *options, check=0)
                    if options == ("--lossless",):
                        expected = self.forward(model, ids)
                    elif kind == "llama2c":
                        continue  # what restore writes has no llama2.c header
                    else:
                        folder = self.dir / f"{kind}-restored"
                        run_qins("restore", archive, "-o", f"{folder}/", "--quiet", check=0)
                        expected = self.forward(folder, ids)
                    self.assert_same(self.forward(archive, ids), expected)

    def test_shards_and_names_without_prefix(self):
        for kind, prefix in (("llama", "model."), ("gpt2", "transformer."),
                             ("gpt_neox", "gpt_neox.")):
            with self.subTest(kind):
                config, tensors = fixtures.make(kind)
                fixtures.write_folder(self.dir / f"{kind}-whole", config, tensors)
                fixtures.write_folder(self.dir / f"{kind}-shards", config, tensors, shards=3)
                fixtures.write_folder(self.dir / f"{kind}-bare", config, tensors, prefix=prefix)
                ids = fixtures.random_ids(80)
                whole = self.forward(self.dir / f"{kind}-whole", ids)
                self.assert_same(self.forward(self.dir / f"{kind}-shards", ids), whole)
                self.assert_same(self.forward(self.dir / f"{kind}-bare", ids), whole)

    def test_known_meaningless_tensors(self):
        config, tensors = fixtures.make("gpt2")
        fixtures.write_folder(self.dir / "plain", config, tensors)
        mask = np.tril(np.ones((1, 1, 200, 200), np.float32))
        tensors["transformer.h.0.attn.bias"] = mask
        tensors["transformer.h.0.attn.masked_bias"] = np.float32([-1e4])
        fixtures.write_folder(self.dir / "masks", config, tensors)
        ids = fixtures.random_ids(20)
        self.assert_same(self.forward(self.dir / "masks", ids),
                         self.forward(self.dir / "plain", ids))

    def test_tied_head_that_is_stored_twice(self):
        """A tied checkpoint may hold its head as well; the embedding is what counts."""
        config, tensors = fixtures.make("qwen2")
        fixtures.write_folder(self.dir / "tied", config, tensors)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        fixtures.write_folder(self.dir / "twice", config, tensors)
        ids = fixtures.random_ids(20)
        self.assert_same(self.forward(self.dir / "twice", ids),
                         self.forward(self.dir / "tied", ids))

    def test_other_containers(self):
        """The same model as .npz, .h5 and torch file, with config.json beside it, whether the
        folder is named or the file."""
        config, tensors = fixtures.make("llama")
        fixtures.write_folder(self.dir / "st", config, tensors)
        ids = fixtures.random_ids(40)
        expected = self.forward(self.dir / "st", ids)
        for name, write in fixtures.CONTAINERS.items():
            with self.subTest(name):
                path = self.dir / f"folder-{name}"
                path.mkdir()
                fixtures.write_config(path, config)
                if not write(path / name, tensors):
                    self.skipTest(f"nothing here writes {name}")
                self.assert_same(self.forward(path, ids), expected)
                self.assert_same(self.forward(path / name, ids), expected)
                archive = self.dir / f"{name}.qins"
                run_qins("convert", path / name, "-o", archive, "--lossless", "--quiet", check=0)
                self.assert_same(self.forward(archive, ids), expected)


@unittest.skipUnless(FORWARD.exists(), "forward_tool is not built")
class Llama2c(Base):
    def test_variants(self):
        for changes, version in (({}, 0), (dict(shared=False), 0), ({}, 1),
                                 (dict(shared=False, n_kv_heads=4), 1)):
            with self.subTest(changes=changes, version=version):
                config, tensors = fixtures.make("llama2c", **changes)
                fixtures.write_llama2c(self.dir / "m.bin", config, tensors, version)
                ids = fixtures.random_ids(N)
                reference = reference_models.Reference(config, tensors).logits(ids)
                self.assert_close(self.forward(self.dir / "m.bin", ids), reference)
                self.assert_close(self.forward(self.dir / "m.bin", ids, "--split", N), reference)

    def test_stories260k(self):
        path = SHARED / "models" / "stories260k" / "model.bin"
        if not path.exists():
            self.skipTest("the shared data are not here")
        config, tensors = reference_models.load_llama2c(path)
        ids = np.random.default_rng(1).integers(3, config["vocab_size"], 200)
        ids[0] = 1
        reference = reference_models.Reference(config, tensors).logits(ids)
        self.assert_close(self.forward(path, ids), reference)
        self.assert_close(self.forward(path, ids, "--split", 200), reference)


@unittest.skipUnless(FORWARD.exists() and MODEL.exists(), "forward_tool is not built")
class TrainedModel(Base):
    """kjv-1.7m, whose reference.json holds logits of a float64 pass in PyTorch."""

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
        published = np.array(self.published["last_logits_first16"])
        reference = reference_models.Reference(self.config, self.tensors).logits(self.ids)
        for options in ((), ("--split", len(self.ids)), ("--batch", 10)):
            ours = self.forward(MODEL, self.ids, *options)
            self.assertLess(np.abs(ours - reference).max(), 1e-4)
            self.assertLess(np.abs(ours[-1, :16] - published).max(), 1e-4)
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

    def test_narrow_archive(self):
        """BF16 and F16 tensors come out of a lossless archive as they went in."""
        for dtype in ("BF16", "F16"):
            config, tensors = fixtures.make("llama", seed=8)
            fixtures.write_folder(self.dir / dtype, config, tensors, dtype)
            archive = self.dir / f"{dtype}.qins"
            run_qins("convert", self.dir / dtype, "-o", archive, "--lossless", "--quiet", check=0)
            ids = fixtures.random_ids(60)
            self.assert_close(self.forward(archive, ids), self.forward(self.dir / dtype, ids),
                              1e-6)


if __name__ == "__main__":
    main()
