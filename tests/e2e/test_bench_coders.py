"""`qins bench coders` on symbol streams, with peers. Nothing here is timed."""
import json
import math
import os
import pathlib
import shutil
import tempfile
import unittest

import support

PEERS = pathlib.Path(os.environ["QINS_BUILD_ROOT"]) / "tests" / "peers"
SMALL = ["--mebi", "1", "--rounds", "1"]
OURS = {"store": 1, "bitpack": 3, "huffman": 3, "rle": 3, "rle-huffman": 3, "zstd": 1, "tans": 3}
LIBRARIES = ["libzstd-1", "libzstd-3", "libzstd-literals"]


def bench(*arguments, **more):
    return support.run_qins("bench", "coders", *SMALL, *arguments, **more)


class BenchCoders(unittest.TestCase):
    def report(self, *arguments, **more):
        report = json.loads(bench(*arguments, "--json", check=0, **more).stdout)
        support.validate(report, "bench")
        self.assertEqual(report["benchmark"], "coders")
        self.assertEqual((report["symbols"], report["rounds"]), (1 << 20, 1))
        return report

    def test_all(self):
        """Every stream and coder; sizes are what entropies say."""
        report = self.report(timeout=300)
        self.assertEqual([s["name"] for s in report["streams"]], list("abcdef"))
        levels = {"c": 1, "avx2": 2, "avx512": 3}[report["machine"]["cpu_level"]]
        for stream in report["streams"]:
            names = [c["coder"] for c in stream["coders"]]
            for name, most in OURS.items():
                self.assertIn(names.count(name), {min(most, levels), min(most, levels, 2)})
            for name in ["memcpy", *LIBRARIES]:
                self.assertEqual(names.count(name), 1)
            bits = {}
            for c in stream["coders"]:
                # All levels make the same bytes.
                self.assertEqual(bits.setdefault(c["coder"], c["bits_per_symbol"]),
                                 c["bits_per_symbol"])
                self.assertGreater(c["decode_gb_per_s"]["value"], 0)
                self.assertEqual(c["encode_gb_per_s"] is None, c["coder"] == "memcpy")
                self.assertEqual(c["decode_over_memcpy"] is None, c["coder"] == "memcpy")
                self.assertEqual(c["decode_over_libzstd"] is None, c["coder"] == "libzstd-1")
                self.assertEqual(c["decode_over_c"] is None, c["cpu_level"] in (None, "c"))
            entropy = stream["entropy_bits"]
            self.assertEqual((bits["memcpy"], bits["store"]), (8, 8))
            if stream["name"] != "e":
                for name in ("huffman", "tans", "libzstd-literals"):
                    self.assertTrue(entropy - 0.02 < bits[name] < entropy + 0.12,
                                    (stream["name"], name, bits[name]))
            self.assertLess(bits["rle-huffman"] if stream["name"] == "e" else bits["tans"],
                            entropy + 0.05)
        bits = {s["name"]: {c["coder"]: c["bits_per_symbol"] for c in s["coders"]}
                for s in report["streams"]}
        self.assertEqual([bits[s]["bitpack"] for s in "abcd"], [8, 8, 6, 5])

    def test_goals(self):
        report = self.report("--streams", "a,e", "--coders", "tans")
        goals = {(g["stream"], g["unit"], g["cpu_level"]): g for g in report["goals"]}
        for g in report["goals"]:
            self.assertEqual(g["coder"], "tans")
            self.assertIsNone(g["met"])  # 1 Mi symbols fit in a cache
        a, e = report["streams"]
        self.assertEqual({c["coder"] for c in a["coders"]}, {"memcpy", "tans"})
        self.assertEqual(goals["a", "bits a symbol", None]["goal"], 7.142)
        self.assertEqual(goals["a", "bits a symbol", None]["value"],
                         a["coders"][-1]["bits_per_symbol"])
        self.assertAlmostEqual(goals["e", "ratio", None]["value"],
                               8 / e["coders"][-1]["bits_per_symbol"])
        self.assertEqual(goals["a", "decode GB/s", "c"]["value"],
                         a["coders"][1]["decode_gb_per_s"]["value"])

    def test_judged_goals(self):
        """Streams as long as those that the goals are for."""
        report = json.loads(support.run_qins("bench", "coders", "--mebi", "32", "--rounds", "1", "--streams", "a",
                                             "--coders", "tans", "--json", check=0).stdout)
        support.validate(report, "bench")
        for g in report["goals"]:
            met = g["value"] >= g["goal"] if g["at_least"] else g["value"] <= g["goal"]
            self.assertEqual(g["met"], met)
        bits, = (g for g in report["goals"] if g["unit"] == "bits a symbol")
        self.assertTrue(bits["met"])

    def test_level_of_the_environment(self):
        report = self.report("--streams", "f", "--coders", "huffman,tans",
                             env=dict(os.environ, QINS_CPU="c"))
        self.assertEqual([(c["coder"], c["cpu_level"]) for c in report["streams"][0]["coders"]],
                         [("memcpy", None), ("huffman", "c"), ("tans", "c")])

    def test_table(self):
        lines = bench("--streams", "b", "--coders", "tans,libzstd-1", check=0).stdout.splitlines()
        self.assertTrue(all(len(line) <= 100 for line in lines))
        self.assertEqual(sum(line.startswith("stream b: ") for line in lines), 1)
        self.assertEqual(sum(line.startswith("libzstd-1 ") for line in lines), 1)
        self.assertTrue(any(line.startswith("bits a symbol") for line in lines))

    def test_peers(self):
        """Beside ours, and what they make is what Python's zlib takes."""
        report = self.report("--streams", "c,d", "--coders", "huffman,libzstd-1", "--peer",
                             PEERS / "zlib_peer.so", PEERS / "wrong_peer.so")
        for stream in report["streams"]:
            peers = [c for c in stream["coders"] if c["kind"] == "peer"]
            self.assertEqual([c["coder"] for c in peers], ["zlib -1", "zlib Huffman", "wrong"])
            self.assertEqual([pathlib.Path(c["file"]).name for c in peers],
                             ["zlib_peer.so", "zlib_peer.so", "wrong_peer.so"])
            self.assertEqual(peers[2]["bits_per_symbol"], 8)
            huffman = stream["coders"][1]
            self.assertAlmostEqual(peers[1]["bits_per_symbol"], huffman["bits_per_symbol"],
                                   delta=0.1)
            self.assertTrue(all(c["decode_over_memcpy"] and c["decode_over_libzstd"]
                                for c in peers))

    def test_wrong_peers(self):
        for what, says in (("changes", "changes chunk 0"), ("fails", "cannot decode chunk 1"),
                           ("writes behind", "wrong changes chunk 1"), ("endless", "bound"),
                           ("other interface", "interface 2"), ("no function", "lacks"),
                           ("other kind", "no peer"), ("no start", "does not start"),
                           ("none", "no peer"), ("endless list", "no end")):
            with self.subTest(what):
                done = bench("--streams", "a", "--coders", "store", "--peer",
                             PEERS / "wrong_peer.so", check=3,
                             env=dict(os.environ, QINS_TEST_WRONG=what))
                self.assertEqual(len(done.stderr.splitlines()), 1)
                self.assertIn("wrong_peer.so", done.stderr)
                self.assertIn(says, done.stderr)
                self.assertEqual(done.stdout, "")

    def test_files_that_are_no_peers(self):
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as name:
            text = pathlib.Path(name) / "text.so"
            text.write_text("no library")
            plugin = pathlib.Path(os.environ["QINS_PLUGIN_DIR"]) / "libh5qins.so"
            cases = [(text, 3, "cannot be loaded"), (pathlib.Path(name) / "none.so", 4, "none.so")]
            if plugin.is_file():
                cases.append((plugin, 3, "qins_bench_peer_at"))
            for path, code, says in cases:
                with self.subTest(path=path):
                    done = bench("--peer", path, check=code)
                    self.assertEqual(len(done.stderr.splitlines()), 1)
                    self.assertIn(says, done.stderr)

    @unittest.skipUnless(shutil.which("gnuplot"), "no gnuplot")
    def test_plot(self):
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as name:
            folder = pathlib.Path(name) / "new" / "folder"
            bench("--streams", "a,f", "--plot", folder, check=0)
            made = {p.name for p in (folder / "plots").iterdir()}
            self.assertEqual(made, {"bench-coders.dat", "bench-coders.gp", "bench-coders.png",
                                    "bench-coders.svg", "draw.gp", "style.gp"})
            text = (folder / "plots" / "bench-coders.svg").read_text()
            for word in ("tans", "libzstd-literals", "memcpy", "bits a symbol"):
                self.assertIn(word, text)
            # The blocks of the data: streams, then two a coder.
            blocks = (folder / "plots" / "bench-coders.dat").read_text().rstrip("\n").split("\n\n\n")
            self.assertEqual(len(blocks), 1 + 2 * (len(OURS) + len(LIBRARIES)))
            self.assertTrue(blocks[1].startswith('"tans"'))
            speeds = [float(line.split("\t")[1]) for line in blocks[1].splitlines()[1:]]
            self.assertEqual(len(speeds), 2)
            self.assertTrue(all(math.isfinite(s) and s > 0 for s in speeds))
            # A folder with another verb's page keeps its pictures.
            (folder / "index.html").write_text("page")
            bench("--streams", "a", "--plot", folder, check=2)

    def test_usage(self):
        for arguments, says in ((["--streams", "g"], "a to f"), (["--streams", ""], "a to f"),
                                (["--streams", "a,,b"], "a to f"), (["--coders", "lzma"], "lzma"),
                                (["--coders", "tan"], "'tan'"), (["--chunk", "3"], "4 to 1024"),
                                (["--mebi", "0"], "given twice"), (["--save", "x"], "--mebi"),
                                ([support.MODEL], "not for an archive")):
            with self.subTest(arguments=arguments):
                done = bench(*arguments, check=2)
                self.assertEqual(len(done.stderr.splitlines()), 1)
                self.assertIn(says, done.stderr)


class Lossless(unittest.TestCase):
    """`qins bench lossless`: weights that are kept bit for bit."""

    def bench(self, *arguments, **more):
        return support.run_qins("bench", "lossless", *SMALL, *arguments, **more)

    def test_report(self):
        report = json.loads(self.bench("--json", check=0).stdout)
        support.validate(report, "bench")
        self.assertEqual((report["benchmark"], report["symbols"], report["rounds"]), ("lossless", 1 << 20, 1))
        self.assertEqual([s["name"] for s in report["streams"]], ["BF16", "F16", "F32"])
        levels = {"c": 1, "avx2": 2, "avx512": 3}[report["machine"]["cpu_level"]]
        for stream in report["streams"]:
            width = 4 if stream["name"] == "F32" else 2
            names = [c["coder"] for c in stream["coders"]]
            self.assertEqual(names, ["memcpy"] + ["tans"] * levels + ["huffman"] * levels
                             + ["libzstd-1", "libzstd-3", "shuffle-libzstd-1", "shuffle-libzstd-3"])
            for c in stream["coders"]:
                self.assertAlmostEqual(c["ratio"] * c["bits_per_symbol"], 8 * width)
                self.assertEqual(c["coded_bytes"], round(c["bits_per_symbol"] * (1 << 20) / 8))
                self.assertEqual(c["encode_gb_per_s"] is None, c["coder"] == "memcpy")
                self.assertGreater(c["decode_to_one_place_gb_per_s"]["value"], 0)
                if c["coder"] in ("tans", "huffman"):
                    # The planes' entropies, coded apart: at most the mantissa's few hundredths more.
                    self.assertTrue(stream["entropy_bits"] < c["bits_per_symbol"] < stream["entropy_bits"] + 0.25, c)
        ratios = {g["stream"]: g["value"] for g in report["goals"] if g["unit"] == "ratio"}
        self.assertGreater(ratios["BF16"], 1.5)
        self.assertGreater(ratios["F32"], 1.2)
        self.assertEqual({g["met"] for g in report["goals"]}, {None})

    def test_table(self):
        lines = self.bench("--streams", "BF16", "--coders", "tans", check=0).stdout.splitlines()
        self.assertTrue(all(len(line) <= 100 for line in lines))
        self.assertTrue(any(line.startswith("stream BF16: ") for line in lines))
        self.assertTrue(any("not judged" in line for line in lines))

    def test_peers(self):
        """Of the type that they say, and no other."""
        for kind, stream in (("1", "BF16"), ("2", "F32")):
            report = json.loads(self.bench("--coders", "memcpy", "--peer", PEERS / "wrong_peer.so", "--json",
                                           check=0, env=dict(os.environ, QINS_TEST_KIND=kind)).stdout)
            for s in report["streams"]:
                names = [c["coder"] for c in s["coders"]]
                self.assertEqual(names, ["memcpy", "wrong"] if s["name"] == stream else ["memcpy"])
        done = self.bench("--peer", PEERS / "zlib_peer.so", check=3)
        self.assertIn("no peer", done.stderr)

    def test_wrong_peers(self):
        for what, says in (("changes", "changes chunk 0"), ("fails", "cannot decode chunk 1"),
                           ("writes behind", "wrong changes chunk 1"), ("endless", "bound"),
                           ("too much", "cannot code chunk 0"), ("no start", "does not start")):
            with self.subTest(what):
                done = self.bench("--streams", "BF16", "--coders", "memcpy", "--peer", PEERS / "wrong_peer.so",
                                  check=3, env=dict(os.environ, QINS_TEST_WRONG=what, QINS_TEST_KIND="1"))
                self.assertEqual(len(done.stderr.splitlines()), 1)
                self.assertIn(says, done.stderr)

    def test_usage(self):
        for arguments, says in ((["--streams", "a"], "BF16, F16, F32"), (["--coders", "rle"], "shuffle-libzstd-1"),
                                ([support.MODEL], "no operand"), (["--plot", "x"], "no --plot")):
            done = self.bench(*arguments, check=2)
            self.assertEqual(len(done.stderr.splitlines()), 1)
            self.assertIn(says, done.stderr)


if __name__ == "__main__":
    support.main()
