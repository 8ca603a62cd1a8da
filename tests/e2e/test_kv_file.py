"""Dumps of V pages: the file by h5py and a second reader of pages, V of the first layer by numpy,
and qins analyze --kv against numpy and libzstd; what is refused."""
import ctypes
import ctypes.util
import json
import shutil
import subprocess
import unittest

import h5py
import numpy as np

import kv_reference as kv
import model_fixtures as fixtures
import support
from support import run_qins
from test_analyze import GNUPLOT, entropy, load

CONTEXT, LAYERS = 320, 2  # five pages a window, three of them old in the end
# Under sanitizers the width of 8 bits alone: 6 take other tables through the same code.
BITS = support.less((8, 6), (8,))
COLUMNS = ("offset", "size", "sequence", "page")


class Dump:
    def __init__(self, path):
        with h5py.File(path) as f:
            self.meta = json.loads(bytes(f["meta"][()]))
            self.layers = []
            for i in range(len(self.meta["layers"])):
                group = f[f"layers/{i}"]
                data = bytes(group["bytes"][()])
                columns = [group[c][()].tolist() for c in COLUMNS]
                self.layers.append([(s, p, data[o:o + n]) for o, n, s, p in zip(*columns)])
        m = self.meta["layout"]
        self.layout = kv.Layout(m["heads"], m["head_dim"], m["bits"], kappa=m["kappa"])
        assert self.layout.tokens == m["tokens"]


def zstd_size(data):
    library = ctypes.CDLL(ctypes.util.find_library("zstd"))
    library.ZSTD_compress.restype = ctypes.c_size_t
    library.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
                                      ctypes.c_size_t, ctypes.c_int]
    out = ctypes.create_string_buffer(2 * len(data) + 1024)
    return library.ZSTD_compress(out, len(out), data, len(data), 1)


def recoded_size(layout, page):
    tool = support.BUILD_ROOT / "tests" / "tools" / "kv_tool"
    done = subprocess.run([tool, "recode", *map(str, (layout.heads, layout.head_dim, layout.bits, 0))],
                          input=page, capture_output=True, timeout=60, check=True)
    return len(done.stdout)


def order1(rows, levels):
    """Entropy of a code given the one before it in its row, less the bias of pairs (Miller 1955);
    docs/analysis.md. Codes may count by their leading bits alone."""
    n, bits = rows.size, int(2 * levels).bit_length()
    classes = 1
    while classes < 8 and n >> (2 * classes + 2) >= 16:
        classes += 1
    leading = rows >> max(bits - classes, 0)
    before, after = leading[:, :-1].reshape(-1), leading[:, 1:].reshape(-1)

    def used(x):
        return len(np.unique(x))
    joint = entropy(before * 4096 + after) - entropy(before)
    excess = used(before * 4096 + after) - used(before) - used(after) + 1
    gain = entropy(after) - joint - max(excess, 0) * np.log2(np.e) / 2 / len(after)
    return entropy(rows) - max(gain, 0)


class Dumps(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model, cls.text = cls.dir / "model", cls.dir / "ids.npy"
        config, cls.weights = fixtures.make("llama", hidden_size=64, num_attention_heads=2,
                                            num_key_value_heads=2, num_hidden_layers=LAYERS,
                                            max_position_embeddings=CONTEXT)
        cls.eps = config["rms_norm_eps"]
        fixtures.write_folder(cls.model, config, cls.weights)
        cls.ids = fixtures.random_ids(2 * CONTEXT + 99)
        np.save(cls.text, cls.ids)
        cls.windows = len(cls.ids) // CONTEXT
        cls.files, cls.reports, cls.validations = {}, {}, {}
        for bits in BITS:
            cls.files[bits] = cls.dir / f"K{bits}.h5"
            cls.validations[bits] = json.loads(cls.dump(bits, cls.files[bits]).stdout)
            out = cls.dir / f"study{bits}"
            run_qins("analyze", cls.model, "--kv", cls.files[bits], "-o", out, check=0,
                     env=support.without_gnuplot(cls.dir))
            cls.reports[bits] = load(out)
        cls.no_pictures = support.without_gnuplot(cls.dir)

    @classmethod
    def dump(cls, bits, path, *options, ids=None, context=CONTEXT):
        return run_qins("validate", cls.model, "--ids", ids or cls.text, "--context", context, "--tests",
                        "perplexity", "--kv-cache", bits, "--dump-kv", path, "--json", *options,
                        check=0)

    def analyze(self, file, check=0, model=None):
        out = self.dir / "out"
        shutil.rmtree(out, ignore_errors=True)
        return run_qins("analyze", model or self.model, "--kv", file, "-o", out, check=check,
                        env=self.no_pictures)

    def lines(self, bits):
        return [t for t in self.reports[bits]["tensors"] if t["kind"] == "kv page"]

    def test_file(self):
        for bits, path in self.files.items():
            d = Dump(path)
            self.assertEqual(d.meta["schema"], "qins/kv-pages/1")
            self.assertEqual((d.layout.heads, d.layout.head_dim, d.layout.bits), (2, 32, bits))
            full = CONTEXT // d.layout.tokens
            want = [(s, p) for s in range(self.windows) for p in range(full)]
            self.assertEqual(len(d.layers), LAYERS)
            for pages in d.layers:
                self.assertEqual([(s, p) for s, p, _ in pages], want)
                for s, p, page in pages:
                    recent = p >= full - 2
                    if recent:
                        self.assertEqual(len(page), d.layout.packed_size)
                    elif s == 0:  # bit by bit in Python
                        kv.read(d.layout, page)
                    self.assertEqual(page[8] & 15 == kv.BITPACK, recent or
                                     len(page) == d.layout.packed_size)

    def test_values_of_the_first_layer(self):
        """They depend on the token alone: its embedding, normed, times v_proj."""
        w = self.weights
        x = w["model.embed_tokens.weight"][self.ids].astype(np.float64)
        x /= np.sqrt((x ** 2).mean(axis=1, keepdims=True) + self.eps)
        x *= w["model.layers.0.input_layernorm.weight"]
        v = x @ w["model.layers.0.self_attn.v_proj.weight"].T.astype(np.float64)
        for bits, least in list(zip((8, 6), (38, 26)))[:len(BITS)]:
            d = Dump(self.files[bits])
            signal = noise = 0
            for s, p, page in d.layers[0]:
                if len(page) < d.layout.packed_size and s > 0:
                    continue
                at = s * CONTEXT + p * d.layout.tokens
                want = v[at:at + d.layout.tokens].reshape(d.layout.shape)
                signal += (want ** 2).sum()
                noise += ((kv.decode(d.layout, page) - want) ** 2).sum()
            self.assertGreater(10 * np.log10(signal / noise), least)

    def test_the_same_whatever_the_threads(self):
        for threads in support.less((1, 3), (3,)):
            other = self.dir / f"threads{threads}.h5"
            report = json.loads(self.dump(8, other, "--threads", threads).stdout)
            self.assertEqual(other.read_bytes(), self.files[8].read_bytes())
            d, told = Dump(other), report["kv_cache"]["dump"]
            sizes = [len(page) for pages in d.layers for _, _, page in pages]
            self.assertEqual((told["pages"], told["bytes"]), (len(sizes), sum(sizes)))
            self.assertEqual(told["windows"], self.windows)

    def test_figures(self):
        """Windows of two pages, which both stay packed."""
        ids = self.dir / "few.npy"
        np.save(ids, self.ids[:3 * 128])
        for bits in BITS:
            path = self.dir / f"recent{bits}.h5"
            self.dump(bits, path, ids=ids, context=128)
            self.analyze(path)
            report, d = load(self.dir / "out"), Dump(path)
            for tensor in (t for t in report["tensors"] if t["kind"] == "kv page"):
                pages = [page for _, _, page in d.layers[tensor["layer"]]]
                codes = np.array([kv.read(d.layout, page)[0] for page in pages])
                self.check_codes(d.layout, tensor, codes)
                self.check_sizes(d.layout, tensor, pages, codes)

    def check_codes(self, layout, tensor, codes):
        figures, rows = tensor["encoded"], codes.reshape(-1, layout.heads * layout.head_dim)
        self.assertEqual(tensor["numel"], codes.size)
        self.assertEqual(tensor["shape"], list(rows.shape))
        self.assertAlmostEqual(figures["entropy_bits"], entropy(codes), places=6)
        self.assertEqual(tensor["entropy_bits"], {str(layout.bits): figures["entropy_bits"]})
        self.assertAlmostEqual(figures["zero_share"], (codes == layout.levels).mean(), places=9)
        self.assertAlmostEqual(figures["order1_bits"], order1(rows, layout.levels), places=6)
        columns = codes.reshape(len(codes), layout.tokens, -1).transpose(0, 2, 1)
        self.assertAlmostEqual(tensor["kv"]["order1_time_bits"],
                               order1(columns.reshape(-1, layout.tokens), layout.levels), places=6)

    def check_sizes(self, layout, tensor, pages, codes):
        n, by_coder = codes.size, tensor["encoded"]["bits_by_coder"]
        rest = kv.HEADER.size + layout.tokens * layout.groups
        self.assertEqual(tensor["kv"]["header_bytes"], len(pages) * kv.HEADER.size)
        self.assertEqual(tensor["kv"]["scale_bytes"], len(pages) * layout.tokens * layout.groups)
        self.assertAlmostEqual(by_coder["bitpack"], 8 * len(pages) * layout.packed_size / n)
        self.assertAlmostEqual(by_coder["store"], 8 * len(pages) * rest / n + 8)
        zstd = sum(rest + zstd_size(c.astype(np.uint8).tobytes()) for c in codes)
        self.assertAlmostEqual(by_coder["zstd"], 8 * zstd / n)
        recoded = [recoded_size(layout, page) for page in pages]
        self.assertEqual(tensor["kv"]["recoded"]["bytes"], sum(recoded))
        for rate in ("packed", "recoded", "held"):
            figures = tensor["kv"][rate]
            self.assertAlmostEqual(figures["bits_per_value"], 8 * figures["bytes"] / n)
            self.assertAlmostEqual(figures["ratio_f16"], 2 * n / figures["bytes"])
            self.assertAlmostEqual(figures["ratio_f32"], 4 * n / figures["bytes"])

    def test_held_while_growing(self):
        """Validate's counts from the pages: what is held at each length of each window, summed."""
        for bits in BITS:
            d, counts = Dump(self.files[bits]), self.validations[bits]["kv_cache"]
            tokens, values = d.layout.tokens, LAYERS * d.layout.heads * d.layout.head_dim
            lengths = np.arange(1, CONTEXT + 1)
            held = np.full(CONTEXT, 0) + self.windows * 4 * values * (lengths % tokens)
            for _, page, data in (p for pages in d.layers for p in pages):
                held += d.layout.packed_size * (lengths >= (page + 1) * tokens)
                held += (len(data) - d.layout.packed_size) * (lengths >= (page + 3) * tokens)
            f16 = self.windows * 2 * values * lengths
            self.assertEqual((counts["held_bytes"], counts["f16_bytes"]), (held[-1], f16[-1]))
            self.assertAlmostEqual(counts["mean_held_ratio_f16"], f16.sum() / held.sum(), 9)
            self.assertAlmostEqual(counts["held_ratio_f16"], f16[-1] / held[-1], 9)
            self.assertLess(counts["mean_held_ratio_f16"], counts["held_ratio_f16"])

    def test_held_bytes(self):
        for bits in BITS:
            d, report = Dump(self.files[bits]), self.reports[bits]
            for number, tensor in enumerate(self.lines(bits)):
                sizes = [len(page) for _, _, page in d.layers[number]]
                self.assertEqual(tensor["kv"]["held"]["bytes"], sum(sizes))
                self.assertEqual(tensor["kv"]["packed"]["bytes"],
                                 len(sizes) * d.layout.packed_size)
                self.assertEqual(tensor["kv"]["old_pages"],
                                 sum(page[8] & 15 != kv.BITPACK for _, _, page in d.layers[number]))
            section = report["kv"]
            self.assertEqual(section["held"]["bytes"],
                             sum(t["kv"]["held"]["bytes"] for t in self.lines(bits)))
            self.assertEqual((section["sequences"], section["layers"]), (self.windows, LAYERS))
            self.assertAlmostEqual(section["encoded"]["entropy_bits"], np.mean(
                [t["encoded"]["entropy_bits"] for t in self.lines(bits)]))

    def test_weights_beside_them(self):
        weights = {t["name"]: t for t in self.reports[8]["tensors"] if t["kind"] == "weight"}
        for tensor in self.lines(8):
            name = f"model.layers.{tensor['layer']}.self_attn.v_proj.weight"
            self.assertEqual(tensor["kv"]["weight"], {
                "name": name, "component": "v_proj",
                "entropy_bits": weights[name]["entropy_bits"]["8"]})

    def test_sums_of_the_model_are_its_own(self):
        run_qins("analyze", self.model, "-o", self.dir / "plain", check=0, env=self.no_pictures)
        plain = load(self.dir / "plain")
        self.assertIsNone(plain["kv"])
        for key in ("model", "sizes", "comparison", "extra_compression"):
            self.assertEqual(plain[key], self.reports[8][key], key)

    def test_page(self):
        page = (self.dir / "study8" / "index.html").read_text()
        section = self.reports[8]["kv"]
        for shown in ("V cache", "<option>kv page</option>", "does not hold",
                      f"{section['recoded']['ratio_f16']:.2f}×",
                      f"{section['encoded']['entropy_bits']:.2f} bits"):
            self.assertIn(shown, page)
        self.assertEqual(page.count('data-kind="kv page"'), LAYERS)

    @unittest.skipUnless(GNUPLOT, "there is no gnuplot")
    def test_pictures_come_and_go(self):
        folder = self.dir / "study8"
        pictures = {folder / "plots" / f"{name}.svg" for name in ("kv-entropy", "kv-coded")}
        run_qins("analyze", "--replot", folder, check=0)
        self.assertEqual(set((folder / "plots").glob("kv-*.svg")), pictures)
        report = json.loads((folder / "entropy_analysis.json").read_text())
        report["kv"] = None
        report["tensors"] = report["tensors"][:3]
        (folder / "entropy_analysis.json").write_text(json.dumps(report))
        run_qins("analyze", "--replot", folder, check=0)
        self.assertEqual(set((folder / "plots").glob("kv-*")), set())

    def refused(self, path, status, *words, model=None):
        done = self.analyze(path, check=status, model=model)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse((self.dir / "out").exists())

    def changed(self, change):
        path = self.dir / "changed.h5"
        shutil.copy(self.files[8], path)
        with h5py.File(path, "r+") as f:
            change(f)
        return path

    def test_refused(self):
        def meta(**changes):
            def change(f):
                j = json.loads(bytes(f["meta"][()]))
                for key, value in changes.items():
                    place = j["layout"] if key in j["layout"] else j
                    place[key] = value
                del f["meta"]
                f["meta"] = np.frombuffer(json.dumps(j).encode(), np.uint8)
            return change

        def column(name, index, value):
            def change(f):
                f["layers/1"][name][index] = value
            return change

        def damage(f):
            f["layers/1/bytes"][100] ^= 1

        def lose(f):
            del f["layers/0/size"]

        def retype(f):
            data = f["layers/0/page"][()].astype(np.float32)
            del f["layers/0/page"]
            f["layers/0/page"] = data
        two = [{"pages": 2 ** 40, "bytes": 2 ** 50}] * 2
        for change, words in ((meta(schema="qins/transport-weights/1"), ["qins/kv-pages/1"]),
                              (meta(bits=7), ["layout"]), (meta(tokens=2 ** 31), ["layout"]),
                              (meta(heads=0), ["layout"]), (meta(kappa=-1), ["kappa"]),
                              (meta(layers=[]), ["layers"]), (meta(layers=two), ["layers.0.bytes"]),
                              (meta(model_fingerprint="x"), ["model_fingerprint"]),
                              (meta(model_fingerprint="0" * 32), ["another model"]),
                              (column("offset", 1, 0), ["page 1", "layers.1"]),
                              (column("size", 0, 2 ** 32 - 1), ["page 0"]),
                              (column("page", 1, 0), ["out of order"]),
                              (column("sequence", 0, 9), ["out of order"]),
                              (lose, ["layers.0.size", "missing"]), (retype, ["layers.0.page"]),
                              (damage, ["page 0 of sequence 0 in layer 1", "hash"])):
            with self.subTest(words):
                self.refused(self.changed(change), 3, *words)

    def test_other_files_are_refused(self):
        self.refused(self.text, 3)
        self.refused(self.dir / "nowhere.h5", 4)
        self.refused(self.dir / "study8" / "entropy_analysis.h5", 3, "no dump of V pages")
        cut = self.dir / "cut.h5"
        cut.write_bytes(self.files[8].read_bytes()[:20000])
        self.refused(cut, 3)
        other = self.dir / "other"
        if not other.exists():
            shutil.copytree(self.model, other)
            data = bytearray((other / "model.safetensors").read_bytes())
            data[-1] ^= 1
            (other / "model.safetensors").write_bytes(data)
        self.refused(self.files[8], 3, "another model", model=other)

    def test_dumps_refused(self):
        path = self.dir / "never.h5"
        text = ["--ids", self.text, "--tests", "perplexity", "--dump-kv", path]
        for options, words in ((["--context", CONTEXT], "--kv-cache"),
                               (["--context", 32, "--kv-cache", 8], "longer windows")):
            done = run_qins("validate", self.model, *text, *options, check=2)
            self.assertIn(words, done.stderr)
            self.assertFalse(path.exists())
        kept = self.model / "model.safetensors"
        before = kept.read_bytes()
        run_qins("validate", self.model, *text[:-1], kept, "--kv-cache", 8, check=2)
        self.assertEqual(kept.read_bytes(), before)
        out = self.dir / "inside"
        out.mkdir(exist_ok=True)
        shutil.copy(self.files[8], out / "entropy_analysis.h5")
        done = run_qins("analyze", self.model, "--kv", out / "entropy_analysis.h5", "-o", out,
                        check=2)
        self.assertIn("entropy_analysis.h5", done.stderr)


if __name__ == "__main__":
    support.main()
