"""Every architecture against an independent float64 forward pass (reference_models.py): tiny
random checkpoints with their variants."""
import json

import numpy as np

import model_fixtures as fixtures
import reference_models
from forward_case import ForwardCase, difference
from support import SHARED, main

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


class Architectures(ForwardCase):
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


class Llama2c(ForwardCase):
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


if __name__ == "__main__":
    main()
