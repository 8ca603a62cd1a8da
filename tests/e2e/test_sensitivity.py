"""qins calibrate --sensitivity against float64 forward passes with each matrix quantised in numpy."""
import json
import pathlib
import signal
import subprocess
import time

import numpy as np

import model_fixtures
import reference_models
import support
from calibration_fixtures import MODEL, TEXT, Folder, load

CONTEXT = 24
COLUMNS = ("error", "kl", "standard_error", "levels")


def quantise(w, levels):
    """Rounded to the nearest of a uniform grid with one scale; and the codes."""
    w = np.asarray(w, np.float32)
    scale = np.abs(w).max()
    level = np.floor(np.abs(w) / scale * np.float32(levels) + np.float32(0.5))
    codes = np.where(w < 0, -level, level).astype(int)
    table = (np.arange(levels + 1) / levels).astype(np.float32)
    return (scale * np.sign(codes) * table[np.abs(codes)]).astype(np.float32), codes


def entropy(codes):
    counts = np.bincount((codes - codes.min()).ravel())
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log2(p)).sum()


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def kl_of(reference, changed):
    """Of each position."""
    p, q = log_softmax(reference), log_softmax(changed)
    return (np.exp(p) * (p - q)).sum(axis=-1)


def table_of(path):
    """What the file says of each tensor, by name, and how many tokens."""
    meta, data = load(path)
    columns = {c: data["sensitivity/" + c] for c in COLUMNS}
    names = meta["sensitivity"]["tensors"]
    return ({n: {c: columns[c][i] for c in COLUMNS} for i, n in enumerate(names)},
            meta["sensitivity"]["tokens"])


class Oracle(Folder):
    def check(self, config, tensors, ids, path, matrices, rtol=2e-3):
        found, tokens = table_of(path)
        self.assertEqual(list(found), matrices)
        windows = [ids[i:i + CONTEXT] for i in range(0, len(ids) - CONTEXT + 1, CONTEXT)]
        self.assertEqual(tokens, CONTEXT * len(windows))
        model = reference_models.Reference(config, tensors)
        before = [model.logits(w) for w in windows]
        p = np.exp(log_softmax(np.concatenate(before)))
        np.testing.assert_allclose(load(path)[1]["sensitivity/head_variance"],
                                   (p * (1 - p)).mean(axis=0), rtol=2e-4)
        for name in matrices:
            got = found[name]
            rounded, codes = quantise(tensors[name], int(got["levels"]))
            # As close to 4 bits as its neighbours, or all but.
            off = abs(entropy(codes) - 4.0)
            for other in (-1, 1):
                if got["levels"] + other >= 1:
                    _, near = quantise(tensors[name], int(got["levels"]) + other)
                    self.assertLess(off, abs(entropy(near) - 4.0) + 0.03, name)
            error = ((rounded.astype(float) - tensors[name]) ** 2).sum()
            self.assertAlmostEqual(got["error"] / error, 1.0, delta=1e-9, msg=name)
            model.t[name] = rounded.astype(np.float64)
            kl = np.array([kl_of(b, model.logits(w)) for b, w in zip(before, windows)])
            model.t[name] = np.asarray(tensors[name], np.float64)
            self.assertAlmostEqual(got["kl"] / kl.mean(), 1.0, delta=rtol, msg=name)
            means = kl.mean(axis=1) if len(windows) >= 10 else kl.ravel()
            want = means.std(ddof=1) / np.sqrt(len(means))
            self.assertAlmostEqual(got["standard_error"] / want, 1.0, delta=10 * rtol, msg=name)

    def run_kind(self, kind, n=12 * CONTEXT + 5, **changes):
        config, tensors = model_fixtures.make(kind, **changes)
        folder = self.dir / f"{kind}-{len(changes)}"
        model_fixtures.write_folder(folder, config, tensors)
        ids = model_fixtures.random_ids(n)
        path, report = self.calibrate(folder, "--ids", self.save_ids("s" + kind, ids), "--context",
                                      CONTEXT, "--sensitivity", name=f"s-{kind}")
        self.check_report(report, path)
        return config, tensors, ids, path

    def check_report(self, report, path):
        found, tokens = table_of(path)
        self.assertEqual(report["sensitivity"]["tokens"], tokens)
        for line in report["sensitivity"]["tensors"]:
            got = found[line["name"]]
            np.testing.assert_allclose(
                [line["squared_error"], line["kl"], line["standard_error"], line["levels"]],
                [got[c] for c in COLUMNS], rtol=1e-11)
            self.assertAlmostEqual(line["sensitivity"] * got["error"], got["kl"], delta=1e-10)

    def test_llama(self):
        config, tensors, ids, path = self.run_kind("llama")
        matrices = ["model.embed_tokens.weight"] + [
            f"model.layers.{i}.{part}.weight" for i in range(3) for part in (
                "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")] + ["lm_head.weight"]
        self.check(config, tensors, ids, path, matrices)

    def test_tied_and_transposed(self):
        """GPT-2: one tensor for embedding and head, stored rows are a layer's inputs; few windows."""
        config, tensors, ids, path = self.run_kind("gpt2", n=4 * CONTEXT)
        layers = [f"transformer.h.{i}.{part}.weight" for i in range(3)
                  for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]
        found = list(table_of(path)[0])
        self.assertEqual(len(found), 2 + len(layers))
        self.check(config, tensors, ids, path, found)

    def test_experts(self):
        config, tensors, ids, path = self.run_kind("mixtral")
        names = list(table_of(path)[0])
        self.assertEqual(len(names), 2 + 3 * (4 + 1 + 5 * 3))
        # Routing may flip where float32 and float64 disagree on a near tie.
        self.check(config, tensors, ids, path, names, rtol=2e-2)

    def test_many_experts(self):
        """Those of a layer are quantised together; KL is dealt out by tokens and error."""
        config, tensors, ids, path = self.run_kind("mixtral", num_local_experts=20,
                                                   num_hidden_layers=1)
        found, _ = table_of(path)
        meta, data = load(path)
        touches = dict(zip(meta["access"]["tensors"], data["access/tensors"]))
        names = [n for n in found if ".w1." in n]
        self.assertEqual(len(names), 20)
        busy = [n for n in names if touches[n] > 0]
        g = np.array([found[n]["kl"] / found[n]["error"] / touches[n] for n in busy])
        np.testing.assert_allclose(g, g[0], rtol=1e-9)
        self.assertTrue(all(found[n]["kl"] == 0 for n in names if touches[n] == 0))
        model = reference_models.Reference(config, tensors)
        windows = [ids[i:i + CONTEXT] for i in range(0, len(ids) - CONTEXT + 1, CONTEXT)]
        before = [model.logits(w) for w in windows]
        for n in names:
            model.t[n] = quantise(tensors[n], int(found[n]["levels"]))[0].astype(np.float64)
        kl = np.mean([kl_of(b, model.logits(w)) for b, w in zip(before, windows)])
        self.assertAlmostEqual(sum(found[n]["kl"] for n in names) / kl, 1.0, delta=1e-2)


class Runs(Folder):
    RUN = ("--context", 64, "--sensitivity", "--tokens", support.less(500, 150))
    kept = None

    def small(self):
        text = self.dir / "small.txt"
        text.write_bytes(TEXT.read_bytes()[:9000])
        return text

    def whole(self):
        """The calibration of the small text that several tests start from, made once."""
        if Runs.kept is None:
            Runs.kept, _ = self.calibrate(MODEL, "--text", self.small(), *self.RUN, name="whole")
        return Runs.kept

    def test_threads_and_storage(self):
        text = self.small()
        one, _ = self.calibrate(MODEL, "--text", text, *self.RUN, "--threads", 1, name="one")
        three, _ = self.calibrate(MODEL, "--text", text, *self.RUN, "--threads", 3, name="three")
        self.assertEqual(one.read_bytes(), three.read_bytes())
        self.assertEqual(one.read_bytes(), self.whole().read_bytes())
        # One window on all threads.
        wide = ("--context", 1000, "--sensitivity", "--tokens", support.less(200, 80))
        one, _ = self.calibrate(MODEL, "--text", text, *wide, "--threads", 1, name="w1")
        three, _ = self.calibrate(MODEL, "--text", text, *wide, "--threads", 3, name="w3")
        self.assertEqual(one.read_bytes(), three.read_bytes())

    def test_table_and_plain_runs(self):
        text = self.small()
        done = support.run_qins("calibrate", MODEL, "--text", text, *self.RUN, "-o",
                                self.dir / "t.h5", check=0)
        self.assertIn("lm_head.weight", done.stdout)
        self.assertIn("KL / error", done.stdout)
        plain, report = self.calibrate(MODEL, "--text", text, "--context", 64, name="plain")
        self.assertIsNone(report["sensitivity"])
        self.assertNotIn("sensitivity", load(plain)[0])

    def interrupt(self, command, part, pace):
        """Until a run gets through. How many left their work."""
        hits = 0
        for wait in (0.1, 0.3, 0.5, 0.7, 1.0, 0.4, 1.5)[:support.less(7, 4)]:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                       text=True)
            support.wait_until_caught(process, signal.SIGINT)
            time.sleep(pace * wait)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)
            if process.returncode == 0:
                break
            self.assertEqual(process.returncode, 130)
            hits += part.exists()
        return hits

    def test_interrupted(self):
        text, whole = self.small(), self.whole()
        out = self.dir / "out.h5"
        part = pathlib.Path(f"{out}.part")
        command = [str(support.PROGRAM), "calibrate", str(MODEL), "--text", str(text), "-o",
                   str(out), *map(str, self.RUN)]
        for pace in (1, 0.3, 0.1):  # a quick machine: sooner, until a run was hit
            hits = self.interrupt(command + ["--resume"], part, pace)
            if hits:
                break
            out.unlink(missing_ok=True)
        self.assertGreater(hits, 0)
        if not out.exists():
            support.run_qins(*command[1:], "--resume", check=0)
        self.assertEqual(out.read_bytes(), whole.read_bytes())
        self.assertFalse(part.exists())

    def test_merging(self):
        text = TEXT.read_text()
        parts = []
        ends = support.less((800, 2000), (300, 700))
        for i, cut in enumerate((slice(0, ends[0]), slice(*ends))):
            (self.dir / f"m{i}.txt").write_text(text[cut])
            parts.append(self.calibrate(MODEL, "--text", self.dir / f"m{i}.txt", *self.RUN[:3],
                                        name=f"m{i}")[0])
        merged, report = self.calibrate("--merge", *parts, name="merged")
        (a, n_a), (b, n_b), (c, n_c) = map(table_of, (*parts, merged))
        self.assertEqual(n_c, n_a + n_b)
        self.assertEqual(list(c), list(a))
        for name in c:
            self.assertAlmostEqual(c[name]["kl"] * n_c / (a[name]["kl"] * n_a + b[name]["kl"] * n_b),
                                   1.0, delta=1e-12)
            self.assertAlmostEqual(
                c[name]["standard_error"] * n_c /
                np.hypot(a[name]["standard_error"] * n_a, b[name]["standard_error"] * n_b),
                1.0, delta=1e-12)
            self.assertEqual(c[name]["error"], a[name]["error"])
            self.assertEqual(c[name]["levels"], a[name]["levels"])
        self.assertEqual(len(report["sensitivity"]["tensors"]), len(c))
        va, vb, vc = (load(f)[1]["sensitivity/head_variance"] for f in (*parts, merged))
        np.testing.assert_allclose(vc, (va * n_a + vb * n_b) / n_c, rtol=1e-12)
        plain, _ = self.calibrate(MODEL, "--text", self.dir / "m0.txt", *self.RUN[:2], name="plain")
        for order in ((parts[0], plain), (plain, parts[0])):
            out = self.dir / "none.h5"
            done = support.run_qins("calibrate", "--merge", *order, "-o", out, check=0)
            self.assertIn("sensitivities are left out", done.stderr)
            self.assertNotIn("sensitivity", load(out)[0])

    def test_tampering(self):
        good = self.whole()

        def edit(f, change):
            meta = json.loads(f["meta"][()].tobytes())
            change(meta["sensitivity"])
            del f["meta"]
            f["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)

        def put(f, name, value):
            del f["sensitivity/" + name]
            f["sensitivity/" + name] = value

        n = len(table_of(good)[0])
        changes = [
            lambda f: f.__delitem__("sensitivity/kl"),
            lambda f: put(f, "kl", np.full(n, np.nan)),
            lambda f: put(f, "kl", np.full(n, -1.0)),
            lambda f: put(f, "error", np.full(n, np.inf)),
            lambda f: put(f, "error", np.full(n, 5e-324)),
            lambda f: put(f, "levels", np.zeros(n, np.uint32)),
            lambda f: put(f, "levels", np.full(n, 5000, np.uint32)),
            lambda f: put(f, "levels", np.ones(n, np.int32)),
            lambda f: put(f, "error", np.ones(n - 1)),
            lambda f: put(f, "head_variance", np.full(2048, 0.26)),
            lambda f: put(f, "head_variance", np.full(2047, 0.2)),
            lambda f: f.__delitem__("sensitivity/head_variance"),
            lambda f: edit(f, lambda s: s.update(head_rows=1 << 24)),
            lambda f: edit(f, lambda s: s.pop("head_rows")),
            lambda f: edit(f, lambda s: s.update(tensors=[])),
            lambda f: edit(f, lambda s: s.update(tensors=s["tensors"][1:])),
            lambda f: edit(f, lambda s: s.update(tensors=[3] * n)),
            lambda f: edit(f, lambda s: s.update(tokens=-1)),
            lambda f: edit(f, lambda s: s.update(tensors=["x"] * 1000000)),
        ]
        self.check_refused(good, changes)

    def test_refused(self):
        for arguments in (("--merge", "a", "b"), ("--activations", "a")):
            support.run_qins("calibrate", *arguments, "--sensitivity", "-o", self.dir / "x.h5",
                             check=2)
        config, tensors = model_fixtures.make("llama")
        tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = np.inf
        folder = self.dir / "infinite"
        model_fixtures.write_folder(folder, config, tensors)
        ids = self.save_ids("few", model_fixtures.random_ids(60))
        done = support.run_qins("calibrate", folder, "--ids", ids, "--sensitivity", "-o",
                                self.dir / "x.h5", check=3)
        self.assertEqual(done.stderr.count("\n"), 1)


if __name__ == "__main__":
    support.main()
