"""Logits of whole models: kjv-1.7m and, where the shared data is there, mix-6m against the float64
PyTorch figures that came with them; the cache, batches and threads against one straight run; and
kjv-1.7m rewritten with fused tensors, as a phi3 checkpoint, against itself."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np

from support import BUILD_ROOT, MODEL, read_safetensors, write_safetensors

TOOL = BUILD_ROOT / "tests" / "tools" / "forward_tool"
SHARED = pathlib.Path(os.environ.get("QINS_SHARED_DATA", "/nonexistent")) / "models"


class Models(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def forward(self, model, ids, *options):
        np.save(self.folder / "ids.npy", np.asarray(ids, np.int64))
        done = subprocess.run([TOOL, model, self.folder / "ids.npy", self.folder / "logits.npy",
                               *map(str, options)], capture_output=True, text=True, timeout=100)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return np.load(self.folder / "logits.npy")

    def refused(self, model, ids, *options):
        np.save(self.folder / "ids.npy", np.asarray(ids, np.int64))
        done = subprocess.run([TOOL, model, self.folder / "ids.npy", self.folder / "logits.npy",
                               *map(str, options)], capture_output=True, text=True, timeout=100)
        self.assertEqual((len(done.stderr.splitlines()), done.stdout), (1, ""), done.stderr)
        self.assertGreater(done.returncode, 0)
        return done.stderr

    def check_reference(self, model):
        reference = json.loads((model / "reference.json").read_text())
        logits = self.forward(model, reference["prompt_ids"])
        self.assertLess(np.abs(logits[-1, :16] - reference["last_logits_first16"]).max(), 1e-4)
        for name, figure in [("last_logits_argmax", logits[-1].argmax()),
                             ("logits_mean", logits.mean(dtype=np.float64)),
                             ("logits_std", logits.std(dtype=np.float64))]:
            self.assertAlmostEqual(reference.get(name, figure), figure, delta=1e-4)
        # Greedy: each token is the most probable one behind those before it. The last 64 go
        # through the cache one by one, as in generation.
        ids = reference["greedy_from_first_16"]
        chosen = self.forward(model, ids, "--split", len(ids) - 16).argmax(axis=1)
        self.assertEqual(chosen[15:-1].tolist(), ids[16:])

    def test_kjv_reference(self):
        self.check_reference(MODEL)

    def test_mix_reference(self):
        model = SHARED / "mix-6m"
        if not (model / "reference.json").exists():
            self.skipTest("mix-6m is not there")
        self.check_reference(model)

    def check_ways(self, model, vocabulary, n):
        """Any way to compute the same positions gives the same logits; with other threads the
        same bits."""
        ids = np.random.default_rng(3).integers(0, vocabulary, n)
        whole = self.forward(model, ids)
        self.assertEqual(whole.shape, (n, vocabulary))
        self.assertTrue(np.isfinite(whole).all())
        for threads in (2, 3):
            self.assertTrue((self.forward(model, ids, "--threads", threads) == whole).all())
        for options in [("--batch", 1), ("--batch", 77), ("--split", 40),
                        ("--positions", n + 100), ("--batch", 50, "--split", 3, "--threads", 2)]:
            difference = np.abs(self.forward(model, ids, *options) - whole).max()
            self.assertLess(difference, 3e-5 * np.abs(whole).max(), options)

    def test_kjv_ways(self):
        self.check_ways(MODEL, 2048, 300)

    def test_stories_ways(self):
        models = sorted((SHARED / "stories260k").glob("model.bin"))
        if not models:
            self.skipTest("stories260k is not there")
        self.check_ways(models[0], 512, 300)

    def test_ids_out_of_range(self):
        self.assertIn("2048", self.refused(MODEL, [5, 2048]))
        self.assertIn("-1", self.refused(MODEL, [5, -1]))

    def test_fused_is_the_same(self):
        """The rows of fused matrices are those of the single ones, and our own dot products (few
        rows at a time) give the same bits. So does OpenBLAS for AVX-512; its kernel for AVX2 adds
        up the last 8 outputs of a call in another order, and calls end elsewhere where matrices
        are fused: outputs 128, 192 and 256 of q, k and v, 256, 384, 640 and 768 of gate and up,
        against every 256th."""
        source = read_safetensors(MODEL / "model.safetensors")
        tensors = {}
        for name, x in source.items():
            def others(*names, last=name.split(".")[-2]):
                return [source[name.replace(last, other)] for other in names]
            if name.endswith("q_proj.weight"):
                tensors[name.replace("q_proj", "qkv_proj")] = np.concatenate(
                    others("q_proj", "k_proj", "v_proj"))
            elif name.endswith("gate_proj.weight"):
                tensors[name.replace("gate_proj", "gate_up_proj")] = np.concatenate(
                    others("gate_proj", "up_proj"))
            elif not name.endswith(("k_proj.weight", "v_proj.weight", "up_proj.weight")):
                tensors[name] = x
        fused = self.folder / "fused"
        fused.mkdir()
        write_safetensors(fused / "model.safetensors", {
            name: ("F32", x.shape, [x.astype("<f4").tobytes()]) for name, x in tensors.items()})
        config = json.loads((MODEL / "config.json").read_text())
        config = {key: config[key] for key in [
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "hidden_act", "rms_norm_eps", "rope_theta",
            "max_position_embeddings", "vocab_size", "bos_token_id", "eos_token_id",
            "tie_word_embeddings", "torch_dtype"]}
        config |= {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"],
                   "original_max_position_embeddings": 1024, "rope_scaling": None,
                   "sliding_window": None, "pad_token_id": 0}
        (fused / "config.json").write_text(json.dumps(config))
        ids = np.random.default_rng(4).integers(0, 2048, 200)
        apart = self.forward(MODEL, ids)
        self.assertLess(np.abs(self.forward(fused, ids) - apart).max(), 2e-5 * np.abs(apart).max())
        self.assertTrue((self.forward(MODEL, ids, "--batch", 1) ==
                         self.forward(fused, ids, "--batch", 1)).all())


if __name__ == "__main__":
    unittest.main()
