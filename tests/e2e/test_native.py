"""Native layers of every kind of architecture against the numpy pass: weights of their own, fused,
transposed, with heads that interleave, and of experts."""
import json
import unittest

import numpy as np

import model_fixtures as fixtures
import reference_models
from forward_case import ForwardCase
from native_reference import NativeReference, write_transport
from support import main, run_qins, validate

try:
    import h5py
except ImportError:
    h5py = None

ATTENTION = {"q_proj": "self_attn.q_proj", "k_proj": "self_attn.k_proj",
             "v_proj": "self_attn.v_proj", "o_proj": "self_attn.o_proj"}
MLP = {"gate_proj": "mlp.gate_proj", "up_proj": "mlp.up_proj", "down_proj": "mlp.down_proj"}
# Prefix of a layer's tensors, and where each projection is; "%e" is the expert.
NAMES = {
    "llama": ("model.layers.%d.", {**ATTENTION, **MLP}),
    "phi3": ("model.layers.%d.", {"q_proj": "self_attn.qkv_proj", "k_proj": "self_attn.qkv_proj",
                                  "v_proj": "self_attn.qkv_proj", "o_proj": "self_attn.o_proj",
                                  "gate_proj": "mlp.gate_up_proj", "up_proj": "mlp.gate_up_proj",
                                  "down_proj": "mlp.down_proj"}),
    "gpt2": ("transformer.h.%d.", {"q_proj": "attn.c_attn", "k_proj": "attn.c_attn",
                                   "v_proj": "attn.c_attn", "o_proj": "attn.c_proj",
                                   "up_proj": "mlp.c_fc", "down_proj": "mlp.c_proj"}),
    "gpt_neox": ("gpt_neox.layers.%d.", {"q_proj": "attention.query_key_value",
                                         "k_proj": "attention.query_key_value",
                                         "v_proj": "attention.query_key_value",
                                         "o_proj": "attention.dense",
                                         "up_proj": "mlp.dense_h_to_4h",
                                         "down_proj": "mlp.dense_4h_to_h"}),
    "mixtral": ("model.layers.%d.", {**ATTENTION, "gate_proj": "block_sparse_moe.experts.%e.w1",
                                     "up_proj": "block_sparse_moe.experts.%e.w3",
                                     "down_proj": "block_sparse_moe.experts.%e.w2"}),
}
TAPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))

# Few levels: of these inputs none may lie within float32's error of the middle of two.
SPLIT = dict(method="split", order=3, sign_plane=False, levels=7, kappa=1.0, scale=2.5)
METHODS = {
    "split": SPLIT,
    "first order": dict(SPLIT, order=1, kappa=0.0),
    "materialized": dict(SPLIT, order=4, kappa=3.0),
    "ridge": dict(SPLIT, method="ridge", order=2),
    "decode": dict(SPLIT, method="decode", order=0, kappa=3.0),
    "literal": dict(SPLIT, method="jacobian-literal", order=1),
    "tangent": dict(SPLIT, method="jacobian-tangent", order=1),
}
LEAST_MARGIN = 1e-4  # of a level: ten times float32's error here


class Recipe:
    """A transport as its file has it; coefficients are what split would find, or drawn."""

    def __init__(self, kind, config, tensors, fingerprint, seed):
        self.kind, self.config, self.tensors = kind, config, tensors
        self.rng = np.random.default_rng(seed)
        self.arrays = {}
        self.meta = {"schema": "qins/transport-weights/1", "qins_version": "0",
                     "model_fingerprint": fingerprint, "calibration_fingerprint": "0" * 32,
                     "inputs": [], "layers": [], "study": None}

    def tensor(self, projection, layer, expert):
        prefix, names = NAMES[self.kind]
        name = names.get(projection)
        return name and prefix % layer + name.replace("%e", str(expert)) + ".weight"

    def coefficients(self, spec, channels):
        """Least squares of the decoded values over the levels, a little different by channel."""
        t = np.arange(spec["levels"] + 1) / spec["levels"]
        x = spec["scale"] * t / (1.0 + spec["kappa"] * (1.0 - t))
        if spec["method"].startswith("jacobian"):
            return -0.5 + 0.2 * self.rng.standard_normal((1, channels))
        powers = np.stack([t ** (k + 1) for k in range(spec["order"])], axis=1)
        c = np.linalg.lstsq(powers, x, rcond=None)[0]
        return c[:, None] * (1.0 + 0.1 * self.rng.standard_normal((spec["order"], channels)))

    def add_input(self, projections, layer, expert, method):
        """One tap and the layers of it that are asked for."""
        first = self.tensor(next(p for group in TAPS if projections[0] in group for p in group
                                 if self.tensor(p, layer, expert)), layer, expert)
        w = self.matrix(first)
        spec, index = dict(METHODS[method]), len(self.meta["inputs"])
        self.meta["inputs"].append(dict(spec, name=first + ":input", channels=w.shape[1]))
        if spec["method"] not in ("ridge", "decode"):
            self.arrays[f"inputs/{index}/coefficients"] = self.coefficients(
                spec, w.shape[1]).astype(np.float32)
        for projection in projections:
            if self.tensor(projection, layer, expert):
                self.add_layer(projection, layer, expert, index, method)

    def matrix(self, name):
        return self.tensors[name].T if self.kind == "gpt2" else self.tensors[name]

    def add_layer(self, projection, layer, expert, index, method):
        name = self.tensor(projection, layer, expert)
        w, spec, number = self.matrix(name), self.meta["inputs"][index], len(self.meta["layers"])
        reference = NativeReference(self.config, {}, self.meta, {})
        w = w[reference.rows_of(projection, len(w))]
        described = dict(tensor=name, projection=projection, layer=layer, expert=expert,
                         input=index, out=len(w), planes=method in ("ridge", "materialized"),
                         output_scale=method == "literal", output_offset=method == "tangent",
                         output_alpha=0.8 if method == "tangent" else 0.0,
                         output_floor=0.1 if method == "tangent" else 0.0)
        self.meta["layers"].append(described)
        if described["planes"]:
            c = self.coefficients(spec, w.shape[1])[None]
            extra = 0.02 * self.rng.standard_normal((len(w), *c.shape[1:]))
            self.arrays[f"layers/{number}/planes"] = (w[:, None] * c + extra).astype(np.float32)
        for key in ("output_scale", "output_offset"):
            if described[key]:
                self.arrays[f"layers/{number}/{key}"] = (
                    1.0 + 0.2 * self.rng.standard_normal(len(w))).astype(np.float32)


@unittest.skipUnless(h5py, "no h5py")
class Folder(ForwardCase):
    def make(self, kind):
        folder = self.dir / kind
        config, tensors = fixtures.make(kind)
        fixtures.write_folder(folder, config, tensors)
        ids = self.dir / "one.npy"
        np.save(ids, [1])
        report = json.loads(run_qins("generate", folder, "--ids", ids, "--tokens", 1, "--json",
                                     check=0).stdout)
        return folder, config, tensors, report["fingerprint"]


class Native(Folder):
    def check(self, kind, layers, methods):
        """METHODS: by group of TAPS, what runs how in LAYERS; others stay. The ids are the first
        of some draws that keep clear of the middles between two codes."""
        folder, config, tensors, fingerprint = self.make(kind)
        recipe = Recipe(kind, config, tensors, fingerprint, 5)
        experts = config.get("num_local_experts", 1)
        for layer in layers:
            for projections, method in methods.items():
                for expert in range(experts if projections[0] in MLP else 1):
                    recipe.add_input(projections, layer, expert, method)
        file = self.dir / "t.h5"
        write_transport(file, recipe.meta, recipe.arrays)
        for seed in range(60):
            ids = fixtures.random_ids(11, seed)
            reference = NativeReference(config, tensors, recipe.meta, recipe.arrays)
            want = reference.logits(ids)
            if reference.margin > LEAST_MARGIN:
                break
        self.assertGreater(reference.margin, LEAST_MARGIN)
        plain = reference_models.Reference(config, tensors).logits(ids)
        self.assertGreater(np.abs(plain - want).max(), 1e-2)
        for options in ((), ("--split", 11), ("--batch", 4), ("--threads", 2)):
            with self.subTest(kind=kind, methods=methods, options=options):
                self.assert_close(self.forward(folder, ids, "--transport", file, *options), want)

    def test_value_projections(self):
        """Rows of a matrix, the others as they were."""
        for kind in NAMES:
            self.check(kind, [0, 2], {("v_proj",): "split"})

    def test_every_layer(self):
        for kind in NAMES:
            self.check(kind, [1], {TAPS[0]: "split", TAPS[1]: "ridge", TAPS[2]: "materialized",
                                   TAPS[3]: "first order"})

    def test_decoding_and_jacobians(self):
        for kind in NAMES:
            self.check(kind, [1], {TAPS[0]: "decode", TAPS[1]: "tangent", TAPS[2]: "literal",
                                   TAPS[3]: "decode"})

    def test_some_of_a_group(self):
        for kind in NAMES:
            self.check(kind, [2], {("q_proj", "k_proj"): "split", ("up_proj",): "decode"})


class Validate(Folder):
    """What validate and generate tell of it."""

    def setUp(self):
        super().setUp()
        self.model, self.config, tensors, fingerprint = self.make("llama")
        self.recipe = Recipe("llama", self.config, tensors, fingerprint, 5)
        for layer in range(3):
            self.recipe.add_input(TAPS[0], layer, 0, "split")
            self.recipe.add_input(TAPS[3], layer, 0, "decode")
        self.file = self.dir / "t.h5"
        write_transport(self.file, self.recipe.meta, self.recipe.arrays)
        self.ids = self.dir / "text.npy"
        np.save(self.ids, fixtures.random_ids(200))

    def report(self, verb, *arguments):
        done = run_qins(verb, *arguments, "--json", check=0)
        schema = {"validate": "validation", "generate": "generate"}[verb]
        report = json.loads(done.stdout)
        validate(report, schema)
        return report

    def clipped(self):
        """How many of the values that the reference codes lie beyond the scale, and of how many."""
        beyond = values = 0
        specs = {spec["name"]: spec for spec in self.recipe.meta["inputs"]}

        def see(name, x):
            nonlocal beyond, values
            if name in specs:
                beyond += int((np.abs(x) > specs[name]["scale"]).sum())
                values += x.size
        reference = NativeReference(self.config, self.recipe.tensors, self.recipe.meta,
                                    self.recipe.arrays, see)
        for window in fixtures.random_ids(200)[:192].reshape(6, 32):
            reference.logits(window)
        return beyond, values

    def test_counts(self):
        arguments = (self.model, "--ids", self.ids, "--context", 32, "--transport", self.file,
                     "--tests", "perplexity")
        report = self.report("validate", *arguments)
        self.assertEqual(report["transport"]["layers"], 12)
        self.assertEqual(report["transport"]["projections"],
                         {"q_proj": 3, "k_proj": 3, "v_proj": 3, "down_proj": 3})
        self.assertEqual(report["transport"]["methods"], {"split": 9, "decode": 3})
        test = report["tests"]["perplexity"]
        plain, native = test["model"]["compute"], test["candidate"]["compute"]
        self.assertEqual(plain["per_forward"], {"products": 22, "encodes": 0, "decodes": 0,
                                                "plane_products": 0})
        self.assertEqual((plain["forwards"], plain["coded_values"]), (6, 0))
        self.assertEqual(native["per_forward"], {"products": 13, "encodes": 6, "decodes": 3,
                                                 "plane_products": 27})
        beyond, values = self.clipped()
        self.assertEqual((native["coded_values"], native["clamped_outputs"]), (values, 0))
        self.assertAlmostEqual(native["clipped_values"], beyond, delta=2)
        self.assertGreater(beyond, 20)
        self.assertGreater(test["kl"]["mean"], 1e-4)
        again = self.report("validate", *arguments, "--threads", 1)["tests"]["perplexity"]
        for key in ("kl", "difference"):
            self.assertEqual(again[key], test[key])
        self.assertEqual(again["candidate"]["compute"], native)
        shown = " ".join(run_qins("validate", *arguments, check=0).stdout.split())
        self.assertIn("6 inputs coded, 3 decodes, 27 plane products, 13 products", shown)
        self.assertIn(f"{100.0 * native['clipped_values'] / values:.3g} % of values clipped", shown)
        self.assertIn(f"{self.model} with {self.file}", shown)

    def test_candidate(self):
        """An archive of the model runs natively, too."""
        archive = self.dir / "m.qins"
        run_qins("convert", self.model, "-o", archive, "--lossless", "--quiet", check=0)
        arguments = ("--ids", self.ids, "--context", 32, "--transport", self.file, "--tests",
                     "perplexity")
        report = self.report("validate", self.model, archive, *arguments)
        alone = self.report("validate", self.model, *arguments)
        self.assertEqual(report["candidate"]["path"], str(archive))
        self.assertEqual(report["tests"]["perplexity"]["kl"], alone["tests"]["perplexity"]["kl"])

    def test_archive_that_carries_one(self):
        """Beside itself with another transport it is the model without any."""
        archive = self.dir / "m.qins"
        run_qins("convert", self.model, "-o", archive, "--transport", self.file, "--quiet", check=0)
        arguments = ("--ids", self.ids, "--context", 32, "--tests", "perplexity")
        test = self.report("validate", archive, *arguments, "--transport",
                           self.file)["tests"]["perplexity"]
        self.assertEqual([test[who]["compute"]["per_forward"]["encodes"]
                          for who in ("model", "candidate")], [0, 6])
        test = self.report("validate", self.model, archive, *arguments)["tests"]["perplexity"]
        self.assertEqual(test["candidate"]["compute"]["per_forward"]["encodes"], 6)

    def test_generate(self):
        prompt = self.dir / "prompt.npy"
        np.save(prompt, [5, 6, 7])
        report = self.report("generate", self.model, "--ids", prompt, "--tokens", 8,
                             "--transport", self.file)
        self.assertEqual(report["transport"], str(self.file))
        self.assertEqual(len(report["ids"]), 8)
        # An archive's own is not spoken of where a file takes its place.
        archive = self.dir / "m.qins"
        run_qins("convert", self.model, "-o", archive, "--lossless", "--transport", self.file,
                 "--quiet", check=0)
        done = run_qins("generate", archive, "--ids", prompt, "--tokens", 8, check=0)
        self.assertIn("carries a transport", done.stderr)
        done = run_qins("generate", archive, "--ids", prompt, "--tokens", 8, "--json",
                        "--transport", self.file, check=0)
        self.assertNotIn("carries a transport", done.stderr)
        self.assertEqual(json.loads(done.stdout)["ids"], report["ids"])

    def test_not_finite(self):
        """The message names the transport: it may be its fault."""
        for key, array in self.recipe.arrays.items():
            if key.endswith("/coefficients"):
                self.recipe.arrays[key] = np.full_like(array, 3e38)
        write_transport(self.file, self.recipe.meta, self.recipe.arrays)
        prompt = self.dir / "prompt.npy"
        np.save(prompt, [5, 6, 7])
        for verb, *options in (("validate", "--ids", self.ids, "--context", 32, "--tests", "perplexity"),
                               ("generate", "--ids", prompt)):
            done = run_qins(verb, self.model, *options, "--transport", self.file, check=3)
            self.assertIn(f"{self.model}: with the transport {self.file} the logits are not finite",
                          done.stderr)

    def test_refused(self):
        other, *_ = self.make("phi3")
        for verb in ("validate", "generate", "convert"):
            options = ("-o", self.dir / "o.qins") if verb == "convert" else ("--ids", self.ids)
            done = run_qins(verb, other, *options, "--transport", self.file, check=3)
            self.assertIn(f"made for another model than {other}", done.stderr)
            self.assertIn(str(self.file), done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1)
        done = run_qins("validate", self.model, "--ids", self.ids, "--transport", self.file, "-o",
                        self.file, check=2)
        self.assertIn("is an input", done.stderr)
        self.recipe.meta["layers"][0]["tensor"] = "model.layers.0.self_attn.o_proj.weight"
        write_transport(self.file, self.recipe.meta, self.recipe.arrays)
        done = run_qins("validate", self.model, "--ids", self.ids, "--transport", self.file,
                        check=3)
        self.assertIn("another tensor", done.stderr)


if __name__ == "__main__":
    main()
