"""qins plan: classes from measured counts, sizes that are met, errors in one line, reasons."""
import json
import unittest

import jsonschema
import numpy as np

import model_fixtures
import support
from test_analyze import copy_two_layers

try:
    import h5py
except ImportError:
    h5py = None

POLICY = {"schema": "qins/policy/1", "name": "t",
          "rules": [{"component": "all", "tensors": ["*"], "treatment": "auto"}]}
CODERS = "huffman", "tans"
# What is inside a budget of decode time must not depend on the table that ships.
COSTS = {"schema": "qins/costs/1", "decode_ns": {"bitpack": 0.6, "huffman": 1.5, "tans": 0.7,
                                                 "lossless": 1, "memcpy": 0.3}}


class Folder(support.Folder):
    def plan(self, *arguments, name="plan", check=0):
        """The plan, checked against its schema; or what stands on standard error."""
        out = self.dir / f"{name}.json"
        done = support.run_qins("plan", *arguments, "-o", out, check=check)
        if check:
            lines = done.stderr.splitlines()
            self.assertEqual(len(lines), 1, done.stderr)
            return lines[0]
        return self.valid(out)

    def valid(self, path):
        plan = json.loads(path.read_text())
        support.validate(plan, "plan")
        for tensor in plan["tensors"]:
            self.assertTrue(tensor["reason"])
        return plan

    def convert(self, model, name="plan"):
        out = self.dir / f"{name}.qins"
        done = support.run_qins("convert", model, "--plan", self.dir / f"{name}.json", "-o", out,
                                "--json", check=0)
        return out, json.loads(done.stdout)

    def policy(self, **changes):
        path = self.dir / "policy.json"
        path.write_text(json.dumps(dict(POLICY, **changes)))
        return path


def by_name(plan):
    return {t["name"]: t for t in plan["tensors"]}


@unittest.skipUnless(h5py, "no h5py")
class Access(Folder):
    def calibrate(self, model, ids):
        np.save(self.dir / "ids.npy", np.array(ids, np.int64))
        out = self.dir / "calibration.h5"
        support.run_qins("calibrate", model, "--ids", self.dir / "ids.npy", "--context", 64, "-o",
                         out, check=0)
        return out

    def costs(self):
        path = self.dir / "costs.json"
        path.write_text(json.dumps(COSTS))
        return path

    def test_experts(self):
        """Rows of the router: a, -a, b, -b are the two best wherever |a x| and |b x| are large, and
        the fifth, small one is chosen now and then."""
        layers = support.less(2, 1)
        config, tensors = model_fixtures.make("mixtral", num_hidden_layers=layers)
        rng = np.random.default_rng(4)
        for name in [n for n in tensors if n.endswith("block_sparse_moe.gate.weight")]:
            a, b, c = rng.standard_normal((3, tensors[name].shape[1])).astype(np.float32)
            tensors[name] = np.array([a, -a, b, -b, 0.02 * c], np.float32)
        model = self.dir / "mixtral"
        model_fixtures.write_folder(model, config, tensors)
        calibration = self.calibrate(model, model_fixtures.random_ids(2000))
        with h5py.File(calibration) as f:
            counts = f["access/experts"][()]
        touches = counts / 2000
        self.assertTrue((touches[:, :4] > 0.2).all() and (touches[:, 4] < 0.1).all(), touches)
        self.assertTrue((counts[:, 4] > 0).any(), counts)
        plan = by_name(self.plan(model, "--calibration", calibration, "--target-bits", 12,
                                 "--costs", self.costs()))
        for layer in range(layers):
            for expert in range(5):
                for w in ("w1", "w2", "w3"):
                    t = plan[f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{w}.weight"]
                    self.assertAlmostEqual(t["access_frequency"], touches[layer, expert], 12)
                    self.assertEqual(t["class"], "cold" if expert == 4 else "hot")
                    self.assertTrue(t["reason"].startswith(t["class"]), t["reason"])
                    if expert == 4:
                        self.assertIn(t["codec"], CODERS)
            router = plan[f"model.layers.{layer}.block_sparse_moe.gate.weight"]
            self.assertIsNone(router["levels"])
        archive, _ = self.convert(model)
        support.run_qins("verify", archive, "--against", model, check=0)
        # In policy archive nothing is hot; without a calibration nothing is known.
        config, tensors = model_fixtures.make("mixtral", num_hidden_layers=1)
        model = self.dir / "mixtral-1"
        model_fixtures.write_folder(model, config, tensors)
        calibration = self.calibrate(model, model_fixtures.random_ids(2000))
        plan = self.plan(model, "--calibration", calibration, "--policy", "archive",
                         "--target-bits", 12)
        self.assertEqual({t["class"] for t in plan["tensors"]}, {"cold"})
        plan = self.plan(model, "--target-bits", 12)
        self.assertEqual({t["class"] for t in plan["tensors"]}, {"unknown"})

    def test_rows(self):
        """An embedding whose tokens follow Zipf's law: its first rows are hot, the rest is cold, and both
        come back as the plan has them."""
        vocab = 2048
        config, tensors = model_fixtures.make("llama", vocab_size=vocab, num_hidden_layers=1)
        model = self.dir / "zipf"
        model_fixtures.write_folder(model, config, tensors)
        weights = 1.0 / np.arange(1, vocab + 1) ** 1.2
        ids = np.random.default_rng(8).choice(vocab, 8000, p=weights / weights.sum())
        calibration = self.calibrate(model, ids)
        costs = self.costs()
        plan_file = self.dir / "plan.json"
        table = support.run_qins("plan", model, "--calibration", calibration, "--target-bits", 7,
                                 "--costs", costs, "-o", plan_file, check=0).stdout
        plan = by_name(self.valid(plan_file))
        embedding = plan["model.embed_tokens.weight"]
        blocks = embedding["blocks"]
        self.assertEqual([blocks[0]["row_begin"], blocks[-1]["row_end"]], [0, vocab])
        self.assertEqual({b["class"] for b in blocks}, {"hot", "cold"})
        self.assertEqual((blocks[0]["class"], blocks[-1]["class"]), ("hot", "cold"))
        self.assertEqual(blocks[0]["codec"], "bitpack")
        self.assertIn(blocks[-1]["codec"], CODERS)
        rows = {}
        for b in blocks:
            coding = f'{b["bits"]}-bit, N {b["levels"]}, {b["codec"]}'
            rows[coding] = rows.get(coding, 0) + b["row_end"] - b["row_begin"]
        self.assertIn(f"{len(blocks)} blocks, most: {max(rows, key=rows.get)}", table)
        for b in blocks:
            inside = (ids >= b["row_begin"]) & (ids < b["row_end"])
            self.assertAlmostEqual(b["access_frequency"], inside.mean(), 12)
        self.assertEqual(plan["lm_head.weight"]["class"], "hot")
        archive, _ = self.convert(model)
        support.run_qins("verify", archive, "--against", model, check=0)
        restored = self.dir / "restored.safetensors"
        support.run_qins("restore", archive, "-o", restored, check=0)
        got = support.read_safetensors(restored)["model.embed_tokens.weight"]
        want = tensors["model.embed_tokens.weight"]
        for b in blocks:
            x, y = (v[b["row_begin"]:b["row_end"]].astype(float) for v in (want, got))
            # uniform steps between the levels of the block's largest magnitude
            self.assertLess(np.abs(x - y).max(), 2 * np.abs(x).max() / b["levels"])

    def test_tied(self):
        """An embedding that is the head too is read whole for each token."""
        config, tensors = model_fixtures.make("qwen2", vocab_size=1024)
        model = self.dir / "tied"
        model_fixtures.write_folder(model, config, tensors)
        calibration = self.calibrate(model, model_fixtures.random_ids(500))
        embedding = by_name(self.plan(model, "--calibration", calibration, "--target-bits",
                                      9))["model.embed_tokens.weight"]
        self.assertEqual(embedding["class"], "hot")
        self.assertIn("head", json.dumps(embedding))


class Budgets(Folder):
    @unittest.skipUnless(support.SANITIZER == "none", "arithmetic that plans of small models do too")
    def test_sizes(self):
        """Within 0.5 % from below, everything counted."""
        model = self.dir / "layers"
        copy_two_layers(model)
        for options, target in ((("--target-size", "0.7M"), 734003),
                                (("--target-bits", 4.5, "--policy", "archive"), None)):
            plan = self.plan(model, *options)
            _, report = self.convert(model)
            target = target or 4.5 * report["float_elements"] / 8
            self.assertLessEqual(report["archive_bytes"], target)
            self.assertGreaterEqual(report["archive_bytes"], 0.995 * target)
            predicted = plan["summary"]["predicted_bytes"]
            self.assertLess(abs(predicted / report["archive_bytes"] - 1), 0.005)

    def test_more_than_codings_take(self):
        path, _ = self.small()
        done = support.run_qins("plan", path, "--target-bits", 40, "-o", self.dir / "most.json",
                                check=0)
        self.assertIn("(40.000 bits a weight) were asked for; the best that the policy allows",
                      done.stderr)

    def small(self, layers=6):
        rng = np.random.default_rng(1)
        path = self.dir / "small.safetensors"
        tensors = {f"layers.{i}.mlp.up_proj.weight": (rng.standard_normal((96, 128))
                                                      * 2.0 ** -i).astype("<f4")
                   for i in range(layers)}
        tensors["norm.weight"] = np.ones(128, "<f4")
        support.write_safetensors(path, {k: ("F32", v.shape, [v.tobytes()])
                                         for k, v in tensors.items()})
        return path, tensors

    def test_error(self):
        path, tensors = self.small()
        last = 0
        for error in support.less((1e-2, 1e-3, 1e-4), (1e-3,)):
            plan = self.plan(path, "--max-error", error, name="error")
            archive, report = self.convert(path, "error")
            self.assertLess(plan["summary"]["predicted_cost"], error)
            restored = self.dir / "error.safetensors"
            support.run_qins("restore", archive, "-o", restored, check=0)
            got = support.read_safetensors(restored)
            share = [((got[k] - v) ** 2).sum() / (v.astype(float) ** 2).sum()
                     for k, v in tensors.items() if "norm" not in k]
            self.assertLess(np.mean(share), 1.01 * error)
            self.assertGreater(np.mean(share), 0.5 * error)
            self.assertLess(max(share), 1.6 * min(share))  # one SQNR for all
            self.assertGreater(report["archive_bytes"], last)
            last = report["archive_bytes"]

    def test_repetition(self):
        """Rows that are copies of others, and zeros, go to coders that see them; sizes are still met
        from below."""
        rng = np.random.default_rng(3)
        rows = rng.standard_normal((32, 128))
        sparse = rng.standard_normal((256, 128)) * (rng.random((256, 1)) < 0.1)
        tensors = {"copies.weight": rows[rng.integers(0, 32, 512)], "zeros.weight": sparse,
                   "plain.weight": rng.standard_normal((256, 128))}
        path = self.dir / "repeated.safetensors"
        support.write_safetensors(path, {k: ("F32", v.shape, [v.astype("<f4").tobytes()])
                                         for k, v in tensors.items()})
        plan = by_name(self.plan(path, "--target-bits", 5, "--policy", "archive"))
        self.assertEqual(plan["copies.weight"]["codec"], "zstd")
        self.assertIn("by zstd", plan["copies.weight"]["reason"])
        self.assertIn(plan["zeros.weight"]["codec"], ("zstd", "rle-huffman"))
        self.assertIn(plan["plain.weight"]["codec"], CODERS)
        archive, report = self.convert(path)
        support.run_qins("verify", archive, "--against", path, check=0)
        coded = {t["name"]: t["coded_bytes"] for t in report["tensors"]}
        for name in ("copies.weight", "zeros.weight"):
            self.assertEqual(coded[name], plan[name]["predicted_bytes"])
        self.assertLessEqual(8 * report["archive_bytes"], 5 * report["float_elements"])

    def test_coders(self):
        """Of the coders whose costs are known the one whose size is smallest at an error: tans where
        its states and sizes are a small part, Huffman's else. What was chosen is what comes out."""
        rng = np.random.default_rng(9)
        tensors = {"large.weight": rng.standard_normal((512, 1024)),
                   "small.weight": rng.standard_normal((64, 128)),
                   "sparse.weight": rng.standard_t(3, (256, 1024))}
        path = self.dir / "coders.safetensors"
        support.write_safetensors(path, {k: ("F32", v.shape, [v.astype("<f4").tobytes()])
                                         for k, v in tensors.items()})
        costs = json.loads((support.SOURCE_ROOT / "policy/costs.json").read_text())
        del costs["decode_ns"]["tans"]
        older = self.dir / "older.json"
        older.write_text(json.dumps(costs))
        support.validate(costs, "costs")
        sizes = []
        for arguments, large in (((), "tans"), (("--costs", older), "huffman")):
            plan = by_name(self.plan(path, "--max-error", 0.003, "--policy", "archive", *arguments))
            self.assertEqual(plan["large.weight"]["codec"], large)
            self.assertEqual(plan["sparse.weight"]["codec"], large)
            self.assertEqual(plan["small.weight"]["codec"], "huffman")
            reason = plan["large.weight"]["reason"]
            self.assertIn(f" by {large}", reason)
            self.assertEqual("tans" in reason, large == "tans")
            _, report = self.convert(path)
            for tensor in report["tensors"]:
                predicted = plan[tensor["name"]]["predicted_bytes"]
                self.assertAlmostEqual(tensor["coded_bytes"] / predicted, 1, delta=0.002)
            sizes.append(report["archive_bytes"])
        self.assertLess(*sizes)

    def test_one_tensor(self):
        """A lone matrix has no others to make up for what its codings leave: at any error within
        0.5 % of it, and no larger than a uniform grid of that error, coded at its entropy."""
        x = (np.random.default_rng(8).standard_normal((256, 1024)) * 0.02).astype("<f4")
        path = self.dir / "lone.safetensors"
        support.write_safetensors(path, {"w.weight": ("F32", x.shape, [x.tobytes()])})
        power = (x.astype(float) ** 2).sum()
        for error in support.less((3e-5, 4.1e-4, 5e-3), (4.1e-4,)):
            step = np.sqrt(12 * error * power / x.size)
            codes = np.rint(x / step).astype(int)
            exact = ((codes * step - x) ** 2).sum() / power
            counts = np.unique(codes, return_counts=True)[1] / x.size
            entropy = -(counts * np.log2(counts)).sum()
            plan = self.plan(path, "--max-error", exact, "--policy", "archive")
            self.assertLessEqual(plan["summary"]["predicted_cost"], exact)
            self.assertGreaterEqual(plan["summary"]["predicted_cost"], 0.98 * exact)
            bits = 8 * plan["tensors"][0]["predicted_bytes"] / x.size
            self.assertLess(bits, entropy + 0.06)

    def test_threads(self):
        path, _ = self.small()
        plans = []
        for threads in (1, 3):
            self.plan(path, "--target-size", "82K", "--threads", threads)
            plans.append((self.dir / "plan.json").read_bytes())
        self.assertEqual(*plans)

    def test_refused(self):
        path, _ = self.small(layers=1)
        for text, message in ((json.dumps(dict(POLICY, more=1)), 'unknown key "more"'),
                              (json.dumps(dict(POLICY, rules=[dict(POLICY["rules"][0],
                                                                   tensors=["[a"])])), "bad glob"),
                              (json.dumps(dict(POLICY, budget={"target_bits": -1})), "target_bits"),
                              ("{", "expected")):
            policy = self.dir / "bad.json"
            policy.write_text(text)
            self.assertIn(message, self.plan(path, "--policy", policy, check=3))
        impossible = self.policy(budget={"target_bits": 0.5})
        self.assertIn("impossible budget", self.plan(path, "--policy", impossible, check=3))
        self.assertIn("impossible budget", self.plan(path, "--target-size", 100, check=3))
        self.assertIn("impossible budget", self.plan(path, "--max-error", 1e-30, check=3))
        self.assertIn("exclude each other",
                      self.plan(path, "--target-size", "1M", "--target-bits", 3, check=2))
        self.assertIn("number of bytes", self.plan(path, "--target-size", "1X", check=2))
        self.assertIn("neither", self.plan(path, "--policy", self.policy(), check=2))
        self.assertIn("none.json", self.plan(path, "--policy", self.dir / "none.json", check=4))
        self.assertIn("'default' and 'archive'", self.plan(path, "--policy", "archiv", check=4))
        self.assertIn("calibration", self.plan(path, "--rounding", "feedback", check=2))

    def test_inputs_stay(self):
        """What a plan is made from is not written over."""
        path, _ = self.small()
        policy = self.policy(budget={"target_bits": 9})
        costs = self.dir / "costs.json"
        costs.write_bytes((support.SOURCE_ROOT / "policy/costs.json").read_bytes())
        for file in (path, policy, costs):
            before = file.read_bytes()
            support.run_qins("plan", path, "--policy", policy, "--costs", costs, "-o", file, check=2)
            self.assertEqual(file.read_bytes(), before)

    def test_odd(self):
        """What cannot be quantised stays lossless and says why; what is constant is no trouble."""
        rng = np.random.default_rng(2)
        names = ["zeros", "constant", "nan", "outlier", "a'b\"c`d$(e)\\", "\u00fc/\u96ea", "row",
                 "column", "empty", "scalar", "small"]
        values = [np.zeros((64, 64)), np.full((64, 64), 3.0), rng.standard_normal((64, 64)),
                  rng.standard_normal((64, 64)), rng.standard_normal((64, 64)),
                  rng.standard_normal((64, 64)), rng.standard_normal((1, 4096)),
                  rng.standard_normal((4096, 1)), np.zeros((0, 5)), np.float32(2.5),
                  rng.standard_normal((4, 4))]
        values[2][3, 4] = np.nan
        values[3][5, 6] = 1e8
        tensors = {n: ("F32", np.shape(v), [np.asarray(v, "<f4").tobytes()])
                   for n, v in zip(names, values)}
        tensors["integers"] = ("I32", (64, 64), [np.arange(4096, dtype="<i4").tobytes()])
        path = self.dir / "odd.safetensors"
        support.write_safetensors(path, tensors)
        plan = by_name(self.plan(path, "--target-bits", 20))
        lossless = {n for n, t in plan.items() if t["levels"] is None}
        self.assertEqual(lossless, {"nan", "empty", "scalar", "small", "integers"})
        self.assertIn("element 196", plan["nan"]["reason"])
        archive, _ = self.convert(path)
        support.run_qins("verify", archive, "--against", path, check=0)


class Explain(Folder):
    def test_explain(self):
        path, _ = Budgets.small(self)
        name = "layers.0.mlp.up_proj.weight"
        policy = self.policy(budget={"target_bits": 9})
        self.plan(path, "--policy", policy)
        plan = self.dir / "plan.json"
        text = support.run_qins("plan", "--explain", name, plan, check=0).stdout
        self.assertEqual(text.count("chosen"), 1)
        self.assertIn("packed at equal error", text)
        report = json.loads(support.run_qins("plan", "--explain", name, plan, "--json",
                                             check=0).stdout)
        support.validate(report, "plan-explain")
        codings = report["candidates"][0]["codings"]
        self.assertLessEqual({"bitpack", *CODERS}, {c["codec"] for c in codings})
        chosen = [c for c in codings if c["chosen"]]
        self.assertEqual([c["levels"] for c in chosen], [report["line"]["levels"]])
        for codec in {c["codec"] for c in codings}:  # hulls: more bytes, less cost
            hull = [(c["bytes"], c["cost"]) for c in codings if c["codec"] == codec]
            self.assertEqual(hull, sorted(hull))
            self.assertEqual(hull, sorted(hull, key=lambda p: -p[1]))
        for other in ("norm.weight", "layers.5.mlp.up_proj.weight"):
            report = json.loads(support.run_qins("plan", "--explain", other, plan, "--json",
                                                 check=0).stdout)
            support.validate(report, "plan-explain")
            self.assertEqual(report["candidates"] == [], other == "norm.weight")
        done = support.run_qins("plan", "--explain", "no such", plan, check=2)
        self.assertIn("is not in the plan", done.stderr)

    def test_reasons(self):
        """Each tensor's line has its reason below it, cut to 80 columns where there is no terminal."""
        path, _ = Budgets.small(self)
        plan = self.dir / "plan.json"
        text = support.run_qins("plan", path, "--target-bits", 9, "-o", plan, check=0).stdout
        lines = text.splitlines()
        for tensor in json.loads(plan.read_text())["tensors"]:
            at = next(i for i, line in enumerate(lines) if line.startswith(tensor["name"] + " "))
            below = lines[at + 1]
            self.assertTrue(below.startswith("    ") and len(below) <= 80, below)
            said = below.strip()
            if said.endswith("..."):
                self.assertEqual(len(below), 80)
                said = said[:-3]
            self.assertTrue(tensor["reason"].startswith(said), below)

    def test_policies(self):
        for name in ("default", "archive"):
            policy = json.loads((support.SOURCE_ROOT / f"policy/{name}.json").read_text())
            support.validate(policy, "policy")
        for bad in (dict(POLICY, more=1), dict(POLICY, budget={"target_bits": 0}),
                    dict(POLICY, rules=[{"component": "c"}])):
            with self.assertRaises(jsonschema.ValidationError):
                support.validate(bad, "policy")


if __name__ == "__main__":
    support.main()
