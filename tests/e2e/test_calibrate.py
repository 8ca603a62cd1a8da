"""qins calibrate: every figure against an independent numpy forward pass, and against the rows that
the file itself holds; options; rows captured elsewhere."""
import resource
import shutil

import numpy as np

import model_fixtures
import reference_models
import support
from calibration_fixtures import (ALL, CONTEXT, MODEL, Folder, bible_ids, cells, load,
                                  point_datasets, reference_tokenizer)


def processor_seconds():
    """Of the programs run so far: what a bound of time is on, however busy the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Reference:
    """Rows at each point, by the forward pass of reference_models.py over windows."""

    def __init__(self, folder, ids, context=CONTEXT):
        self.rows, self.chosen = {}, {}
        config, tensors = reference_models.load_folder(folder)
        model = reference_models.Reference(config, tensors, self.record)
        for i in range(0, len(ids), context):
            model.logits(ids[i:i + context])
        self.rows = {name: np.concatenate(v) for name, v in self.rows.items()}

    def record(self, name, rows):
        self.rows.setdefault(name, []).append(np.array(rows))


class Statistics(Folder):
    def compare(self, data, name, rows):
        """Against rows of the reference: float32 is all that may tell them apart."""
        d = point_datasets(data, name)
        size = np.sqrt((rows * rows).mean())
        for figure, values in (("mean", rows), ("mean_abs", np.abs(rows)),
                               ("second_moment", rows * rows)):
            np.testing.assert_allclose(d[figure], values.mean(axis=0), rtol=1e-6,
                                       atol=1e-6 * size, err_msg=name + " " + figure)
        np.testing.assert_allclose(d["min"], rows.min(axis=0), rtol=1e-4, atol=1e-4 * size)
        np.testing.assert_allclose(d["max"], rows.max(axis=0), rtol=1e-4, atol=1e-4 * size)
        self.compare_cells(d["abs_histogram"].astype(np.int64), rows, 4e-6 * size, name)
        self.assertEqual(d["sign_counts"].sum(), rows.size)
        self.assertLess(abs(int(d["sign_counts"][0]) - (rows < 0).sum()), 1e-4 * rows.size + 2)

    def compare_cells(self, histogram, rows, error, name):
        """Every value is in the cell of the reference's, or, where that is within ERROR of a cell's end, in
        the next one; which of few values are is a matter of chance, of many it is one in a thousand."""
        def up_to(values):
            """How many are in each cell or below; before the first, zeros."""
            return np.cumsum(np.concatenate([[np.count_nonzero(values.astype(np.float32) == 0)],
                                             cells(values)]))
        found = np.cumsum(np.concatenate([[rows.size - histogram.sum()], histogram]))
        low, high = np.maximum(np.abs(rows) - error, 0), np.abs(rows) + error
        self.assertTrue((up_to(high) <= found).all() and (found <= up_to(low)).all(), name)
        if rows.size >= 100_000:
            self.assertLess(np.abs(histogram - cells(rows)).sum() / 2, 1e-3 * rows.size, name)

    def test_kjv(self):
        out, report = self.calibrate(MODEL, "--ids", self.ids_file, "--context", CONTEXT,
                                     "--keep-rows", ALL, "--gram")
        meta, data = load(out)
        reference = Reference(MODEL, self.ids)
        self.assertEqual(meta["tokens"], len(self.ids))
        self.assertEqual(meta["windows"], -(-len(self.ids) // CONTEXT))
        self.assertEqual(len(meta["points"]), 6 * 5 + 1)
        for point in meta["points"]:
            rows = reference.rows[point["name"]]
            self.assertEqual((point["rows"], point["channels"]), rows.shape)
            self.compare(data, point["name"], rows)
            suffix = ":output" if point["kind"] == "value" else ":input"
            for tensor in point["tensors"]:
                np.testing.assert_array_equal(reference.rows[tensor + suffix], rows)
            d = point_datasets(data, point["name"])
            self.check_against_rows(data, point["name"], d["rows"], gram=True)
            np.testing.assert_array_equal(d["row_index"], np.arange(len(self.ids)))
        self.check_kept(meta, data, reference)
        self.check_access(meta, data)

    def check_kept(self, meta, data, reference):
        """Each row is that of its token, and a window is of one part."""
        windows, parts = {}, {}
        for w, position, token, part in zip(data["rows/window"], data["rows/position"],
                                            data["rows/token"], data["rows/part"]):
            windows.setdefault(w, {})[position] = token
            self.assertEqual(parts.setdefault(w, part), part)
        ids = [self.ids[i:i + CONTEXT].tolist() for i in range(0, len(self.ids), CONTEXT)]
        numbers = {}
        for w, tokens in windows.items():
            self.assertEqual(sorted(tokens), list(range(len(tokens))))
            numbers[w] = ids.index([tokens[i] for i in range(len(tokens))])
        self.assertEqual(sorted(numbers.values()), list(range(len(ids))))
        at = np.array([numbers[w] * CONTEXT for w in data["rows/window"]]) + data["rows/position"]
        for point in meta["points"]:
            rows = point_datasets(data, point["name"])["rows"]
            want = reference.rows[point["name"]][at]
            np.testing.assert_allclose(rows, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())

    def check_access(self, meta, data):
        np.testing.assert_array_equal(data["access/embedding_rows"],
                                      np.bincount(self.ids, minlength=2048))
        names = meta["access"]["tensors"]
        stored = support.read_safetensors(MODEL / "model.safetensors")
        self.assertEqual(sorted(names), sorted(stored))
        np.testing.assert_array_equal(data["access/tensors"], len(self.ids))

    def test_text_is_its_ids(self):
        """The same figures by way of the tokenizer; the fingerprints say what was read."""
        a, report = self.calibrate(MODEL, "--text", self.short, "--context", CONTEXT, name="text")
        self.assertEqual(report["text_paths"], [str(self.short)])
        meta, data = load(a)
        if reference_tokenizer:
            ids = bible_ids(6000)
            ids = ids[:meta["tokens"]]
            b, _ = self.calibrate(MODEL, "--ids", self.save_ids("same", ids), "--context", CONTEXT,
                                  name="ids")
            other, figures = load(b)
            self.assertIsNone(other["tokenizer"])
            self.assertNotEqual(other["texts"], meta["texts"])
            # The last tokens of a cut text may differ from the ids of the whole.
            same = sum(np.array_equal(figures[k], data[k]) for k in data)
            self.assertGreater(same, len(data) // 20)
        self.assertEqual(meta["model"]["name"], "kjv-1.7m")
        self.assertRegex(meta["tokenizer"], "^[0-9a-f]{32}$")

    def test_experts(self):
        config, tensors = model_fixtures.make("mixtral")
        folder = self.dir / "mixtral"
        model_fixtures.write_folder(folder, config, tensors)
        ids = model_fixtures.random_ids(300)
        out, _ = self.calibrate(folder, "--ids", self.save_ids("moe", ids), "--context", 48,
                                "--keep-rows", ALL, "--gram")
        meta, data = load(out)
        reference = Reference(folder, ids, 48)
        experts = data["access/experts"]
        self.assertEqual(experts.shape, (3, 5))
        np.testing.assert_array_equal(experts.sum(axis=1), 2 * len(ids))
        for layer in range(3):
            chosen = reference.rows[f"model.layers.{layer}.block_sparse_moe.gate.weight:experts"]
            np.testing.assert_array_equal(experts[layer], np.bincount(chosen.ravel().astype(int),
                                                                      minlength=5))
        touches = dict(zip(meta["access"]["tensors"], data["access/tensors"]))
        self.assertEqual(sorted(touches), sorted(tensors))
        for name, n in touches.items():
            parts = name.split(".")
            want = experts[int(parts[2])][int(parts[5])] if "experts" in name else len(ids)
            self.assertEqual(n, want, name)
        for point in meta["points"]:
            rows = reference.rows[point["name"]]
            self.assertEqual(point["rows"], len(rows), point["name"])
            self.compare(data, point["name"], rows)
            d = point_datasets(data, point["name"])
            self.check_against_rows(data, point["name"], d["rows"], gram=True)
            self.assertEqual(d["rows"].shape, rows.shape)
        numbers = {(p["layer"], p["expert"]) for p in meta["points"] if ".experts." in p["name"]}
        self.assertEqual(numbers, {(layer, e) for layer in range(3) for e in range(5)})
        self.assertTrue(all(p["expert"] is None for p in meta["points"]
                            if ".experts." not in p["name"]))
        # An expert's kept row is the row of its token at the router.
        router = point_datasets(data, "model.layers.1.block_sparse_moe.gate.weight:input")["rows"]
        for e in range(5):
            d = point_datasets(data, f"model.layers.1.block_sparse_moe.experts.{e}.w1.weight:input")
            np.testing.assert_array_equal(d["rows"], router[d["row_index"]])

    def test_every_architecture(self):
        for kind in ("mistral", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox", "llama2c"):
            with self.subTest(kind):
                config, tensors = model_fixtures.make(kind)
                folder = self.dir / kind
                ids = model_fixtures.random_ids(70)
                if kind == "llama2c":
                    folder.mkdir()
                    folder = folder / "model.bin"
                    model_fixtures.write_llama2c(folder, config, tensors)
                else:
                    model_fixtures.write_folder(folder, config, tensors)
                out, _ = self.calibrate(folder, "--ids", self.save_ids(kind, ids), "--context", 60,
                                        name=kind)
                rows = {}
                reference = reference_models.Reference(
                    config, tensors, lambda n, x: rows.setdefault(n, []).append(np.array(x)))
                reference.logits(ids[:60])
                reference.logits(ids[60:])
                meta, data = load(out)
                for point in meta["points"]:
                    name = point["name"]
                    self.compare(data, name, np.concatenate(rows[name]))


class Options(Folder):
    def test_threads_do_not_matter(self):
        for more in ((), ("--gram", "--keep-rows", 200)):
            files = [self.calibrate(MODEL, "--text", self.short, "--context", CONTEXT, *more,
                                    "--threads", n, name=f"threads{n}")[0] for n in (1, 2, 5)]
            for file in files[1:]:
                self.assertEqual(file.read_bytes(), files[0].read_bytes())

    def test_keep_rows_is_a_sample(self):
        few, _ = self.calibrate(MODEL, "--ids", self.ids_file, "--context", 16, "--keep-rows", 300,
                                name="few")
        every, _ = self.calibrate(MODEL, "--ids", self.ids_file, "--context", 16, "--keep-rows",
                                  ALL, name="every")
        other, _ = self.calibrate(MODEL, "--ids", self.ids_file, "--context", 16, "--keep-rows",
                                  300, "--seed", 7, name="other")
        meta, data = load(few)
        all_of_them = load(every)[1]
        self.assertEqual(meta["kept_rows"], 300)
        # The rows of lowest priority, and the same figures of all rows.
        for key, value in data.items():
            if key.endswith(("/rows", "/row_index")) or key.startswith("rows/"):
                np.testing.assert_array_equal(value, all_of_them[key][:300], key)
            else:
                np.testing.assert_array_equal(value, all_of_them[key], key)
        self.assertFalse(np.array_equal(load(other)[1]["rows/priority"], data["rows/priority"]))
        share = np.bincount(all_of_them["rows/part"], minlength=3) / len(self.ids)
        np.testing.assert_allclose(share, [0.6, 0.2, 0.2], atol=0.13)

    def test_tokens_and_default_context(self):
        out, report = self.calibrate(MODEL, "--ids", self.ids_file, "--tokens", 700)
        self.assertEqual((report["tokens"], report["windows"], report["context"]), (700, 2, 512))
        self.assertEqual(report["text_paths"], [])
        np.testing.assert_array_equal(load(out)[1]["access/embedding_rows"],
                                      np.bincount(self.ids[:700], minlength=2048))

    def test_numbers_of_the_report(self):
        """A seed of 64 bits, and null for what a point is of none of."""
        seed = 2**64 - 1
        out, report = self.calibrate(MODEL, "--ids", self.ids_file, "--tokens", 50, "--seed", seed,
                                     "--keep-rows", 5)
        meta, data = load(out)
        self.assertEqual((report["seed"], meta["options"]["seed"]), (str(seed), str(seed)))
        for points in (report["points"], meta["points"]):
            self.assertEqual({p["expert"] for p in points}, {None})
            self.assertEqual([p["kind"] for p in points if p["layer"] is None], ["head"])
        merged, _ = self.calibrate("--merge", out, out, name="twice")
        self.assertEqual(load(merged)[0]["options"], meta["options"])

    def test_table(self):
        done = support.run_qins("calibrate", MODEL, "--ids", self.ids_file, "--tokens", 100, "-o",
                                self.dir / "table.h5", check=0)
        self.assertIn("model.layers.0.mlp.down_proj.weight:input", done.stdout)
        self.assertIn("31 points, 100 tokens in 1 window", done.stdout)

    def test_usage(self):
        out = self.dir / "usage.h5"
        for arguments, word in (
                ((MODEL,), "--text"),
                (("--text", self.short), "model"),
                (("--text", self.short, MODEL), "before --text"),
                ((MODEL, "--text", self.short, "--ids", self.ids_file), "ids"),
                (("--merge", out), "two"),
                ((MODEL, "--merge", out, out), "model"),
                (("--merge", out, out, "--gram"), "gram"),
                (("--activations", out, "--text", self.short), "text"),
                ((MODEL, "--text", self.short, "--context", "0"), "context"),
                ((MODEL, "--text", self.short, "--tokens", "0"), "1 or more"),
                ((MODEL, "--text", self.short, "--seed", str(2**64)), "seed")):
            done = support.run_qins("calibrate", *arguments, "-o", out, check=2)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(word, done.stderr)

    def test_an_input_is_not_overwritten(self):
        text = self.dir / "precious.txt"
        shutil.copy(self.short, text)
        before = text.read_bytes()
        support.run_qins("calibrate", MODEL, "--text", text, "-o", text, check=2)
        link = self.dir / "link.h5"
        link.symlink_to(text)
        support.run_qins("calibrate", MODEL, "--text", self.short, text, "-o", link, check=2)
        self.assertEqual(text.read_bytes(), before)

    def test_activations_that_are_not_finite(self):
        config, tensors = model_fixtures.make("llama")
        tensors = dict(tensors)
        name = "model.layers.1.mlp.up_proj.weight"
        tensors[name] = np.full_like(tensors[name], 3e38)
        folder = self.dir / "overflow"
        model_fixtures.write_folder(folder, config, tensors)
        _, message = self.calibrate(folder, "--ids", self.save_ids("o", range(20)), check=3)
        self.assertIn("model.layers.1.mlp.down_proj.weight:input", message)
        self.assertEqual(message.count("\n"), 1)


class Activations(Folder):
    def arrays(self, n=333):
        rng = np.random.default_rng(9)
        a = rng.standard_normal((n, 24)).astype(np.float32)
        a[rng.random(a.shape) < 0.1] = 0
        return {"block/0.fc": a, "block/1.fc.weight:output": (a[:, :7] * 3).astype(np.float16),
                "double": a.astype(np.float64) * 1e-3}

    def check(self, path, arrays, context=512):
        out, report = self.calibrate("--activations", path, "--keep-rows", 40, "--gram")
        meta, data = load(out)
        self.assertIsNone(meta["model"])
        self.assertIsNone(meta["access"])
        found = {p["tensors"][0]: p for p in meta["points"]}
        self.assertEqual(len(found), len(arrays))
        for name, values in arrays.items():
            name = name.replace("/", ".") if path.suffix == ".h5" else name
            base = name.rsplit(":", 1)[0] if name.endswith(":output") else name
            point = found[base]
            rows = values.astype(np.float32)
            self.check_against_rows(data, point["name"], rows, gram=True)
            d = point_datasets(data, point["name"])
            self.assertEqual(len(d["rows"]), 40)
            np.testing.assert_array_equal(d["rows"], rows[data["rows/position"]])
        return data

    def test_containers(self):
        arrays = self.arrays()
        kinds = {"float32": "F32", "float16": "F16", "float64": "F64"}
        path = self.dir / "rows.safetensors"
        support.write_safetensors(path, {k: (kinds[str(v.dtype)], v.shape, [v.tobytes()])
                                         for k, v in arrays.items()})
        self.check(path, arrays)
        model_fixtures.write_npz(self.dir / "rows.npz", arrays)
        self.check(self.dir / "rows.npz", arrays)
        model_fixtures.write_hdf5(self.dir / "rows.h5", arrays)
        self.check(self.dir / "rows.h5", arrays)

    def test_of_a_model(self):
        """The rows of a calibration by another name give the same figures."""
        whole, _ = self.calibrate(MODEL, "--ids", self.ids_file, "--keep-rows", ALL, name="source")
        meta, data = load(whole)
        name = "model.layers.2.self_attn.k_proj.weight"
        point = "model.layers.2.self_attn.q_proj.weight:input"
        rows = point_datasets(data, point)["rows"]
        model_fixtures.write_npz(self.dir / "k.npz", {name: rows})
        out, report = self.calibrate(MODEL, "--activations", self.dir / "k.npz", "--gram")
        theirs, figures = load(out)
        self.assertEqual(theirs["model"], meta["model"])
        self.assertEqual([p["name"] for p in theirs["points"]], [point])
        self.check_against_rows(figures, point, rows, gram=True)
        for bad in ({"nonsense": rows}, {name: rows[:, :7]}, {name: rows, point: rows}):
            model_fixtures.write_npz(self.dir / "bad.npz", bad)
            self.calibrate(MODEL, "--activations", self.dir / "bad.npz", check=3, name="bad")

    def test_a_small_file_stays_small(self):
        """Many arrays, or wide ones, of a row each are refused before memory is taken."""
        path = self.dir / "many.safetensors"
        row = np.ones(100000, np.float32).tobytes()
        for arrays, more, words in (
                ({f"t{i}": ("F32", (1, 1), [row[:4]]) for i in range(20000)}, (), ("20000 arrays",)),
                ({f"t{i}": ("F32", (1, 1), [row[:4]]) for i in range(66000)}, (), ("65536",)),
                ({"wide": ("F32", (1, 100000), [row])}, ("--gram",), ("wide", "60153507840"))):
            support.write_safetensors(path, arrays)
            begun = processor_seconds()
            out, message = self.calibrate("--activations", path, *more, check=3)
            self.assertLess(processor_seconds() - begun, 10)
            self.assertFalse(out.exists())
            self.assertEqual(message.count("\n"), 1, message)
            for word in words:
                self.assertIn(word, message)
        # Many are fine where there is enough of each.
        rows = np.random.default_rng(3).standard_normal((40, 128)).astype(np.float32)
        model_fixtures.write_npz(path.with_suffix(".npz"), {f"t{i}": rows + i for i in range(100)})
        out, report = self.calibrate("--activations", path.with_suffix(".npz"))
        self.assertEqual(len(report["points"]), 100)

    def test_refused(self):
        good = np.ones((4, 3), np.float32)
        for bad in (np.ones(3, np.float32), np.ones((4, 3), np.int32), np.ones((0, 3), np.float32),
                    good * np.nan, good * np.inf):
            model_fixtures.write_npz(self.dir / "bad.npz", {"good": good, "bad": bad})
            _, message = self.calibrate("--activations", self.dir / "bad.npz", check=3)
            self.assertIn("bad", message)
            self.assertEqual(message.count("\n"), 1)
        for name in (":input", ":output", "first"):
            model_fixtures.write_npz(self.dir / "bad.npz", {name: good[0] if name[0] != ":" else good})
            _, message = self.calibrate("--activations", self.dir / "bad.npz", check=3)
            self.assertIn(name, message)


if __name__ == "__main__":
    support.main()
