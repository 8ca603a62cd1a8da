"""V pages against a second reader and writer, and forward passes with a coded V cache against a
float64 pass that sees the same: its own page's values raw, those of earlier pages as coded."""
import json
import subprocess
import unittest

import numpy as np

import kv_reference as kv
import model_fixtures as fixtures
import reference_models
import support
from forward_case import ForwardCase, difference

TOOL = support.BUILD_ROOT / "tests" / "tools" / "kv_tool"
F = np.float32


def tool(what, layout, page_bytes=0, data=b"", status=0):
    done = subprocess.run([TOOL, what, *map(str, (layout.heads, layout.head_dim, layout.bits,
                                                  page_bytes))],
                          input=data, capture_output=True, timeout=60)
    if done.returncode != status:
        raise AssertionError(f"{what}: exit {done.returncode}: {done.stderr.decode()}")
    return done.stdout if status == 0 else done.stderr.decode()


def tokens_of(path):
    done = subprocess.run([support.BUILD_ROOT / "tests" / "tools" / "tokenize_tool", "encode",
                           support.MODEL / "tokenizer.json"],
                          input=path.read_bytes() + b"\0", capture_output=True, timeout=60)
    return np.array(done.stdout.split(), np.int64)


def layout_of(heads, head_dim, bits, page_bytes=0):
    layout = kv.Layout(heads, head_dim, bits, page_bytes)
    tokens, groups, kappa = tool("layout", layout, page_bytes).split()
    assert (int(tokens), int(groups)) == (layout.tokens, layout.groups)
    layout.kappa = F(kappa)
    return layout


def samples(layout, rng):
    """Kinds of V that differ in what their scales and codes look like."""
    normal = rng.standard_normal(layout.shape).astype(F)
    yield "normal", normal
    yield "heavy tails", rng.standard_t(2, layout.shape).astype(F) * F(1e-4)
    spread = F(2) ** rng.integers(-20, 20, (layout.tokens, layout.heads, 1)).astype(F)
    yield "tokens of every size", normal * spread
    sparse = np.where(rng.random(layout.shape) < 0.9, F(0), normal)
    sparse[0] = F(-0.0)
    yield "mostly zero", sparse
    yield "runs of zeros", np.where(np.arange(normal.size).reshape(normal.shape) // 400 % 4 > 0, F(0), normal)
    yield "zero", np.zeros(layout.shape, F)
    yield "extreme", (normal * F(1e-44)).astype(F)
    big = normal / np.abs(normal).max() * np.finfo(F).max
    yield "largest", big


class Pages(unittest.TestCase):
    SHAPES = ((2, 32, 0), (2, 64, 0), (1, 20, 16 << 10), (8, 128, 64 << 10), (3, 2000, 0))

    def test_bytes_and_values(self):
        rng, self.coders = np.random.default_rng(11), set()
        for heads, head_dim, page_bytes in self.SHAPES[:support.less(5, 2)]:
            for bits in (8, 6):
                layout = layout_of(heads, head_dim, bits, page_bytes)
                for name, v in samples(layout, rng):
                    with self.subTest(name, heads=heads, head_dim=head_dim, bits=bits):
                        self.check(layout, page_bytes, v)
        self.assertLessEqual({kv.HUFFMAN, kv.RLE_HUFFMAN}, self.coders)

    def check(self, layout, page_bytes, v):
        page = tool("encode", layout, page_bytes, v.tobytes())
        self.assertEqual(page, kv.encode(layout, v))
        self.assertEqual(len(page), layout.packed_size)
        values = kv.decode(layout, page)
        self.assertEqual(tool("decode", layout, page_bytes, page), values.tobytes())
        old = tool("recode", layout, page_bytes, page)
        self.assertLessEqual(len(old), len(page))
        if layout.values <= 4096:  # bit by bit in Python
            self.coders.add(kv.read(layout, old)[2])
            self.assertEqual(kv.decode(layout, old).tobytes(), values.tobytes())
        self.assertEqual(tool("decode", layout, page_bytes, old), values.tobytes())

    def test_refusals(self):
        layout = layout_of(2, 32, 6)
        v = np.random.default_rng(3).standard_normal(layout.shape).astype(F)
        page = bytearray(tool("encode", layout, data=v.tobytes()))
        for at in (0, 8, 9, 23, 30, 500, len(page) - 1):
            bad = bytes(page[:at]) + bytes([page[at] ^ 1]) + bytes(page[at + 1:])
            self.assertIn("damaged", tool("decode", layout, data=bad, status=3))
        self.assertIn("bytes", tool("decode", layout, data=bytes(page[:80]), status=3))
        v[5, 1, 3] = np.nan
        self.assertIn("V of head 1 of token 5", tool("encode", layout, data=v.tobytes(), status=3))


class PagedReference(reference_models.Reference):
    """PAGES[layer][page]: values as they were coded."""

    def __init__(self, config, tensors, layout, pages):
        super().__init__(config, tensors)
        self.layout, self.pages, self.raw = layout, pages, []

    def logits(self, ids):
        plain, reference_models.attend = reference_models.attend, self.attend
        try:
            return super().logits(ids)
        finally:
            reference_models.attend = plain

    def attend(self, q, k, v, scale, window=None):
        tokens, n = self.layout.tokens, len(v)
        coded = v.copy()
        for page, values in self.pages[len(self.raw)].items():
            coded[page * tokens:(page + 1) * tokens] = values
        self.raw.append(v)
        i, j = np.arange(n)[:, None], np.arange(n)[None, :]
        seen = (j <= i) & ((i - j < window) if window else True)
        own = i // tokens == j // tokens
        out = np.empty((n, q.shape[1], v.shape[2]))
        for h in range(q.shape[1]):
            head = h * k.shape[1] // q.shape[1]
            scores = scale * (q[:, h] @ k[:, head].T)
            p = reference_models.softmax(np.where(seen, scores, -np.inf))
            out[:, h] = (p * own) @ v[:, head] + (p * ~own) @ coded[:, head]
        return out.reshape(n, -1)


# kind, changes of the config, key-value heads, values of a head, bytes of a page, tokens
MODELS = {
    "a scale a token": ("llama", dict(head_dim=16, num_attention_heads=8, num_key_value_heads=4),
                        4, 16, 0, 200),
    "a scale a head": ("llama", dict(head_dim=64, num_attention_heads=4), 2, 64, 16 << 10, 150),
    "a window": ("mistral", dict(head_dim=64, sliding_window=37), 2, 64, 16 << 10, 170),
    "heads that interleave": ("gpt_neox", {}, 3, 16, 0, 180),
    "a token a page": ("llama", dict(head_dim=256, num_attention_heads=16, num_key_value_heads=16,
                                     num_hidden_layers=2), 16, 256, 16 << 10, 30),
}


class Forward(ForwardCase):
    def pages(self, layout):
        """{layer: {page: values}} as first coded, and all bytes."""
        found, first = kv.read_dump(self.dir / "pages"), {}
        for layer, page, data in found:
            if page not in first.setdefault(layer, {}):
                first[layer][page] = kv.decode(layout, data)
        return first, found

    def run_paged(self, model, ids, bits, page_bytes, *options):
        return self.forward(model, ids, "--kv", bits, "--page-bytes", page_bytes,
                            "--pages", self.dir / "pages", *options)

    def check_codes(self, layout, raw, pages):
        """Codes of what the reference computes are those of the pages, but for float32's error."""
        for page, values in pages.items():
            v = raw[page * layout.tokens:(page + 1) * layout.tokens].astype(F)
            mine = kv.encode(layout, v)
            a, scales, _ = kv.read(layout, mine)
            b = kv.decode(layout, mine)
            self.assertLess((np.abs(b - values) > 1e-5 * scales.max()).mean(), 0.01)
            self.assertLess(np.abs(b - values).max(), 3 * scales.max() / layout.levels)

    def test_against_reference(self):
        for name in list(MODELS)[:support.less(5, 2)]:
            kind, changes, heads, dim, page_bytes, n = MODELS[name]
            config, tensors = fixtures.make(kind, **changes)
            fixtures.write_folder(self.dir / name, config, tensors)
            ids = fixtures.random_ids(n)
            plain = self.forward(self.dir / name, ids)
            for bits in (8, 6):
                with self.subTest(name, bits=bits):
                    layout = layout_of(heads, dim, bits, page_bytes)
                    ours = self.run_paged(self.dir / name, ids, bits, page_bytes)
                    pages, found = self.pages(layout)
                    self.assertEqual(sorted(pages), list(range(config["num_hidden_layers"])))
                    for of_layer in pages.values():
                        self.assertEqual(sorted(of_layer), list(range(n // layout.tokens)))
                    reference = PagedReference(config, tensors, layout, pages)
                    expected = reference.logits(ids)
                    self.assert_close(ours, expected)
                    for layer, of_layer in pages.items():
                        self.check_codes(layout, reference.raw[layer], of_layer)
                    # The first page is seen raw; what comes behind it is not.
                    self.assert_same(ours[:layout.tokens], plain[:layout.tokens])
                    self.assertGreater(difference(ours, plain), 1e-4 if bits == 8 else 5e-4)
                    self.check_recoded(layout, found)

    def check_recoded(self, layout, found):
        """All pages but the two youngest come twice, with the same values and no more bytes."""
        last = {}
        for layer, page, data in found:
            last.setdefault((layer, page), []).append(data)
        most = max(page for _, page in last)
        for (layer, page), forms in last.items():
            self.assertEqual(len(forms), 2 if page + 2 <= most else 1)
            self.assertEqual(len(forms[0]), layout.packed_size)
            self.assertLessEqual(len(forms[-1]), len(forms[0]))
        forms = last[0, 0]
        self.assertTrue(np.array_equal(kv.decode(layout, forms[0]), kv.decode(layout, forms[-1])))

    def test_threads_and_batches(self):
        kind, changes, heads, dim, page_bytes, n = MODELS["a scale a head"]
        config, tensors = fixtures.make(kind, **changes)
        fixtures.write_folder(self.dir / "m", config, tensors)
        ids = fixtures.random_ids(n)
        plain = self.forward(self.dir / "m", ids)
        first = self.run_paged(self.dir / "m", ids, 6, page_bytes)
        pages = (self.dir / "pages").read_bytes()
        self.assert_same(self.run_paged(self.dir / "m", ids, 6, page_bytes, "--threads", 3), first)
        self.assertEqual((self.dir / "pages").read_bytes(), pages)
        layout = layout_of(heads, dim, 6, page_bytes)
        values, _ = self.pages(layout)
        noise = difference(first, plain)
        for options in (("--batch", 1), ("--batch", 7), ("--batch", 32), ("--batch", 33),
                        ("--split", 50), ("--threads", 3, "--split", 70)):
            with self.subTest(options):
                ours = self.run_paged(self.dir / "m", ids, 6, page_bytes, *options)
                again, _ = self.pages(layout)
                same = all(np.array_equal(again[i][p], values[i][p])
                           for i in values for p in values[i])
                # BLAS may round otherwise for other shapes; then a value may get another code.
                self.assert_close(ours, first, 1e-5 if same else noise / 4)

    def test_pages_that_stay_packed(self):
        kind, changes, heads, dim, page_bytes, n = MODELS["a scale a token"]
        config, tensors = fixtures.make(kind, **changes)
        fixtures.write_folder(self.dir / "m", config, tensors)
        ids = fixtures.random_ids(n)
        ours = self.run_paged(self.dir / "m", ids, 8, page_bytes, "--recent", 2**32 - 1)
        _, found = self.pages(layout_of(heads, dim, 8, page_bytes))
        self.assertEqual(len(found), 3 * (n // 64))
        self.assert_same(self.run_paged(self.dir / "m", ids, 8, page_bytes), ours)


class Generate(unittest.TestCase):
    def generate(self, *options):
        done = support.run_qins("generate", support.MODEL, "--prompt", "And it came to pass",
                                "--tokens", 150, "--threads", 1, *options, check=0)
        return done

    def test_reports(self):
        plain = json.loads(self.generate("--json").stdout)
        self.assertNotIn("kv_cache", plain)
        off = json.loads(self.generate("--json", "--kv-cache", "off").stdout)
        self.assertEqual((off["ids"], "kv_cache" in off), (plain["ids"], False))
        for bits in (8, 6):
            report = json.loads(self.generate("--json", "--kv-cache", bits).stdout)
            support.validate(report, "generate")
            counts, layers, layout = report["kv_cache"], 6, layout_of(2, 32, bits)
            self.assertEqual(report["ids"][:64 - len(report["prompt_ids"])],
                             plain["ids"][:64 - len(report["prompt_ids"])])
            tokens = len(report["prompt_ids"]) + len(report["ids"]) - 1
            full = tokens // layout.tokens * layers
            self.assertEqual((counts["bits"], counts["tokens"], counts["page_tokens"],
                              counts["pages"], counts["sequences"]), (bits, tokens, 64, full, 1))
            self.assertEqual(counts["packed_bytes"], full * layout.packed_size)
            self.assertEqual(counts["f16_bytes"], tokens * layers * 64 * 2)
            self.assertEqual(counts["open_bytes"], tokens % layout.tokens * layers * 64 * 4)
            self.assertEqual(counts["held_bytes"], counts["open_bytes"] + counts["packed_bytes"])
            self.assertAlmostEqual(counts["ratio_f16"], 2 * layout.values / layout.packed_size, 9)
        self.assertIn("V cache: 6 bits, 12 coded pages", self.generate("--kv-cache", 6).stderr)

    def test_refusals(self):
        for value in ("7", "on", ""):
            support.run_qins("generate", support.MODEL, "--prompt", "And", "--kv-cache", value,
                             check=2)


TEXT = support.SHARED / "text" / "kjv-heldout.txt"
CONTEXT = 1024  # the model's


@unittest.skipUnless(TEXT.exists(), "needs QINS_SHARED_DATA")
class Kjv(ForwardCase):
    """The bars of the design, from real pages of held-out text."""

    def test_bars(self):
        ids = tokens_of(TEXT)[:support.less(2, 1) * CONTEXT].reshape(-1, CONTEXT)
        plain = [self.forward(support.MODEL, window).argmax(axis=1) for window in ids]
        for bits, ratio, match in ((8, 1.95, 0.99), (6, 2.5, 0.985)):
            with self.subTest(bits=bits):
                same, first, last, values = [], 0, 0, 0
                layout = layout_of(2, 32, bits)
                for window, top in zip(ids, plain):
                    logits = self.forward(support.MODEL, window, "--kv", bits, "--pages",
                                          self.dir / "pages")
                    same.append(logits.argmax(axis=1) == top)
                    forms = {}
                    for layer, page, data in kv.read_dump(self.dir / "pages"):
                        forms.setdefault((layer, page), []).append(len(data))
                    first += sum(f[0] for f in forms.values())
                    last += sum(f[-1] for f in forms.values())
                    values += layout.values * len(forms)
                self.assertGreaterEqual(2 * values / first, ratio)
                self.assertGreater(2 * values / last, 2 * values / first * 1.01)
                self.assertGreater(np.concatenate(same).mean(), match)


if __name__ == "__main__":
    support.main()
