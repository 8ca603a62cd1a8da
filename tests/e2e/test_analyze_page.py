"""index.html of qins analyze in a real browser: no script error, the table filters and sorts."""
import html.parser
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import numpy as np

import pictures
from support import SANITIZER, Folder, main, run_qins, write_safetensors

GNUPLOT = shutil.which("gnuplot")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--enable-logging=stderr", "--log-level=0"]
# Says in the document how wide the page, its table and its pictures have become.
MEASURE = """<script>addEventListener('load', function () {
  document.querySelectorAll('details').forEach(function (d) { d.open = true; });
  var wide = 0, images = document.querySelectorAll('figure img');
  images.forEach(function (i) { wide = Math.max(wide, i.getBoundingClientRect().right); });
  images[0].click();
  document.documentElement.dataset.widths = [innerWidth, document.documentElement.scrollWidth, wide,
    document.getElementById('tensors').getBoundingClientRect().right, images.length,
    images[0].getBoundingClientRect().width].map(Math.round).join(' ');
});</script></body>"""


class Rows(html.parser.HTMLParser):
    """Rows of the table of tensors: (name, hidden); the heads' sort order; the count."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.sorted, self.errors = [], [], 0
        self.in_name = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if tag == "tr" and "data-tensor" in a:
            self.rows.append(["", "hidden" in a])
        if tag == "td" and a.get("class") == "name":
            self.in_name = True
        if tag == "th" and "aria-sort" in a:
            self.sorted.append(a["aria-sort"])

    def handle_endtag(self, tag):
        if tag == "td":
            self.in_name = False

    def handle_data(self, data):
        if self.in_name:
            self.rows[-1][0] += data


@unittest.skipUnless(CHROMIUM, "there is no chromium")
@unittest.skipIf(SANITIZER != "none", "a browser shows the same page")
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="qins-page-")
        cls.root = pathlib.Path(cls.scratch.name)
        random = np.random.default_rng(3)
        names = [f"model.layers.{i}.{part}.weight" for i in range(3)
                 for part in ("mlp.up_proj", "mlp.down_proj", "self_attn.q_proj")]
        names += ["model.norm.weight", "<img src=x onerror=console.error('broken')>"]
        write_safetensors(cls.root / "m.safetensors", {
            n: ("F32", (64, 64 + 8 * i), [random.standard_normal((64, 64 + 8 * i)).astype("<f4")
                                          .tobytes()]) for i, n in enumerate(names)})
        run_qins("analyze", cls.root / "m.safetensors", "-o", cls.root / "out", check=0)
        cls.names = names

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def browse(self, place="", page="index.html", size="1400,900"):
        with tempfile.TemporaryDirectory(prefix="qins-chromium-") as profile:
            done = subprocess.run(
                [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", f"--window-size={size}",
                 "--dump-dom", f"file://{self.root}/out/{page}{place}"],
                capture_output=True, text=True, timeout=100)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        self.assertEqual(console, [])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, Rows(done.stdout)

    def test_all_is_shown(self):
        text, page = self.browse()
        self.assertEqual(sorted(r[0] for r in page.rows), sorted(self.names))
        self.assertFalse(any(hidden for _, hidden in page.rows))
        self.assertIn(f"{len(self.names)} of {len(self.names)} shown", text)
        self.assertIn('<html lang="en" class="script">', text)

    def test_filter(self):
        text, page = self.browse("#filter=MLP%20down&kind=weight")
        shown = [name for name, hidden in page.rows if not hidden]
        self.assertEqual(sorted(shown), sorted(n for n in self.names if "mlp.down" in n))
        self.assertIn(f"{len(shown)} of {len(self.names)} shown", text)
        _, page = self.browse("#kind=activation")
        self.assertTrue(all(hidden for _, hidden in page.rows))

    def test_sort(self):
        _, page = self.browse("#sort=10")
        self.assertEqual([r[0] for r in page.rows], self.names[::-1])
        self.assertEqual(page.sorted, ["descending"])

    @unittest.skipUnless(GNUPLOT, "there is no gnuplot")
    def test_nothing_is_cut(self):
        page = self.root / "out" / "measured.html"
        page.write_text((self.root / "out" / "index.html").read_text().replace("</body>", MEASURE))
        for size in ("1400,900", "390,800"):
            text, _ = self.browse(page=page.name, size=size)
            window, whole, picture, table, pictures, tapped = map(
                int, re.search(r'data-widths="([\d ]+)"', text)[1].split())
            self.assertGreater(pictures, len(self.names) // 2)
            self.assertLessEqual(whole, window)
            self.assertLessEqual(picture, window)
            if window >= 1000:
                self.assertLessEqual(table, window)
            else:
                self.assertGreater(tapped, window)  # a tap shows the whole size


@unittest.skipUnless(GNUPLOT, "there is no gnuplot")
@unittest.skipIf(SANITIZER != "none", "gnuplot draws the same")
class Pictures(Folder):
    """Nothing that is written in a picture is cut off, however long names are."""

    def test_long_names(self):
        random = np.random.default_rng(4)
        kinds = ["transported v_proj", "V cache", "block_sparse_moe.experts.7.w1",
                 "a_projection_with_quite_a_long_name_of_its_own"]
        write_safetensors(self.dir / "m.safetensors", {
            f"model.layers.{i}.{kind}.weight": ("F32", (64, 96), [random.standard_normal((64, 96))
                                                                  .astype("<f4").tobytes()])
            for i in range(2) for kind in kinds})
        run_qins("analyze", self.dir / "m.safetensors", "-o", self.dir / "out", check=0)
        drawn = sorted((self.dir / "out/plots").glob("*.svg"))
        shown = {text for text, _ in pictures.texts(self.dir / "out/plots/coded-size.svg")}
        self.assertLessEqual({"transported v_proj", "V cache", "huffman", "rle"}, shown)
        self.assertGreater(len(drawn), 10)
        for path in drawn:
            self.assertEqual(pictures.outside(path), [], path.name)


if __name__ == "__main__":
    main()
