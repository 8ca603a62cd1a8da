"""The command line: help, exit codes, one-line errors, and JSON that its schemas describe."""
import json
import os
import signal
import subprocess
import time
import unittest

import numpy as np

import support

VERBS = ["inspect", "convert", "verify", "restore", "pipeline", "calibrate", "plan", "generate", "validate",
         "analyze", "transport", "bench"]


class Folder(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rng = np.random.default_rng(3)
        cls.source = cls.dir / "source.safetensors"
        cls.matrix = rng.standard_normal((96, 64)).astype("<f4")
        support.write_safetensors(cls.source, {
            "up.weight": ("F32", (96, 64), [cls.matrix.tobytes()]),
            "norm.weight": ("F32", (64,), [np.ones(64, "<f4").tobytes()]),
            "ids": ("I64", (5,), [np.arange(5, dtype="<i8").tobytes()]),
            "scalar": ("F16", (), [np.float16(0.5).tobytes()]),
        })
        cls.archive = cls.dir / "source.qins"
        support.run_qins("convert", cls.source, "-o", cls.archive, check=0)

    def fails(self, code, *arguments, **options):
        """Runs; checks the exit code and that there is one line of error; returns it."""
        done = support.run_qins(*arguments, check=code, **options)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith("qins: "), lines[0])
        return lines[0]

    def valid(self, name, text):
        report = json.loads(text)
        support.validate(report, name)
        return report


class Help(unittest.TestCase):
    def test_every_verb(self):
        overview = support.run_qins("--help", check=0).stdout
        for verb in VERBS:
            self.assertIn(f"  {verb} ", overview)
            for flag in ("--help", "-h"):
                text = support.run_qins(verb, flag, check=0).stdout
                self.assertTrue(text.startswith(f"usage: qins {verb}"), text)
                self.assertIn("example:", text)
                self.assertLessEqual(max(map(len, text.splitlines())), 80, text)
        self.assertLessEqual(max(map(len, overview.splitlines())), 80)

    def test_version(self):
        """One line says the version; those below what is loaded and used, as JSON says it, too."""
        environment = {**os.environ, "QINS_CPU": "c"}
        text = support.run_qins("--version", check=0, env=environment).stdout
        self.assertRegex(text, r"^qins \d+\.\d+\.\d+\n")
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        told = json.loads(support.run_qins("--version", "--json", check=0, env=environment).stdout)
        support.validate(told, "version")
        self.assertEqual(text.splitlines()[0], "qins " + told["qins_version"])
        self.assertEqual((told["cpu"]["level"], told["cpu"]["vbmi"]), ("c", False))
        self.assertIn("processor   c in use", text)
        for name, version in told["libraries"].items():
            self.assertIn(version if name == "blas" else f"{name} {version}", text)
        for name in told["coders"] + told["checkpoint_formats"]:
            self.assertRegex(text, rf"\b{name}\b")
        hdf5 = subprocess.run(["h5dump", "--version"], check=True, capture_output=True, text=True).stdout
        self.assertIn("Version " + told["libraries"]["hdf5"], hdf5)

    def test_help_wins_over_what_is_missing(self):
        self.assertIn("usage:", support.run_qins("convert", "--help", check=0).stdout)
        for verb, wanted in (("validate", "--merge PART ..."), ("calibrate", "--merge A.h5 ...")):
            self.assertIn(wanted, support.run_qins(verb, "--help", check=0).stdout)
        for words in ([], ["convert"]):
            self.assertEqual(support.run_qins("help", *words, check=0).stdout,
                             support.run_qins(*words, "--help", check=0).stdout)


class Usage(Folder):
    def test_unknown(self):
        self.assertIn("see 'qins convert --help'",
                      self.fails(2, "convert", self.source, "--frobnicate"))
        self.assertIn("see 'qins --help'", self.fails(2, "frobnicate"))
        self.assertIn("see 'qins --help'", self.fails(2, "help", "frobnicate"))
        self.fails(2)
        self.fails(2, "--frobnicate")
        self.fails(2, "verify", self.archive, "--bits", "4")

    def test_arguments(self):
        out = self.dir / "never.qins"
        for arguments in (
                ["convert", self.source], ["convert", "-o", out], ["inspect"],
                ["inspect", self.source, self.source],
                ["convert", self.source, "-o", out, "--bits", "13"],
                ["convert", self.source, "-o", out, "--bits", "8x"],
                ["convert", self.source, "-o", out, "--bits", "-8"],
                ["convert", self.source, "-o", out, "--bits"],
                ["convert", self.source, "-o", out, "--codec", "lzma"],
                ["convert", self.source, "-o", out, "--group", "0"],
                ["convert", self.source, "-o", out, "--group", "column"],
                ["convert", self.source, "-o", out, "--kappa", "-1"],
                ["convert", self.source, "-o", out, "--kappa", "nan"],
                ["convert", self.source, "-o", out, "--clip", "1.5"],
                ["convert", self.source, "-o", out, "--grid", "log"],
                ["convert", self.source, "-o", out, "--threads", "0"],
                ["convert", self.source, "-o", out, "--lossless", "--bits", "4"],
                ["convert", self.source, "-o", out, "--lossless", "--codec", "bitpack"],
                ["convert", self.source, "-o", out, "--lossless=yes"],
                ["convert", self.source, "-o", out, "-o", out],
                ["restore", self.archive, "-o", self.dir / "x.xyz"],
                ["restore", self.archive, "-o", self.dir / "x.h5", "--dtype", "i8"],
                ["pipeline", self.source, "-o", self.dir / "p"]):
            with self.subTest(arguments=arguments):
                self.fails(2, *arguments)
        self.assertFalse(out.exists())

    def test_spellings(self):
        """--name=value, --name value, -oPATH and -- are the same."""
        for i, arguments in enumerate((["-o", "{}", "--bits=5"], ["--output={}", "--bits", "5"],
                                       ["-o{}", "--bits=5"])):
            out = self.dir / f"spelling{i}.qins"
            support.run_qins("convert", *[a.format(out) for a in arguments], "--", self.source,
                             check=0)
        self.assertEqual(len({(self.dir / f"spelling{i}.qins").read_bytes() for i in range(3)}), 1)

    def test_output_is_input(self):
        before = self.source.read_bytes()
        self.assertIn("input", self.fails(2, "convert", self.source, "-o", self.source))
        link = self.dir / "link.safetensors"
        link.symlink_to(self.source)
        self.fails(2, "convert", self.source, "-o", link)
        hard = self.dir / "hard.qins"
        os.link(self.source, hard)
        self.fails(2, "convert", self.source, "-o", hard)
        hard.unlink()
        link.unlink()
        self.assertEqual(self.source.read_bytes(), before)
        same = self.dir / "same.safetensors"
        os.link(self.archive, same)
        self.fails(2, "restore", self.archive, "-o", same)
        same.unlink()


class Errors(Folder):
    def test_missing_file(self):
        for verb in ("inspect", "verify"):
            self.assertIn("none.qins", self.fails(4, verb, self.dir / "none.qins"))
        self.fails(4, "convert", self.dir / "none", "-o", self.dir / "x.qins")
        self.fails(4, "convert", self.source, "-o", self.dir / "no" / "folder" / "x.qins")

    def test_bad_files(self):
        bad = self.dir / "bad.bin"
        bad.write_bytes(b"nothing that anyone knows\n" * 50)
        self.assertIn("bad.bin", self.fails(3, "inspect", bad))
        cut = self.dir / "cut.qins"
        cut.write_bytes(self.archive.read_bytes()[:-100])
        self.fails(3, "verify", cut)
        self.fails(3, "restore", cut, "-o", self.dir / "x.safetensors")
        self.assertFalse((self.dir / "x.safetensors").exists())
        flipped = bytearray(self.archive.read_bytes())
        flipped[len(flipped) // 2] ^= 4
        cut.write_bytes(flipped)
        self.fails(3, "verify", cut)
        self.fails(3, "convert", self.archive, "-o", self.dir / "x.qins")

    def test_not_finite(self):
        for value, word in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
            for options in ([], ["--group", "tensor"], ["--kappa", "1", "--clip", "1"],
                            ["--group", "32"]):
                x = self.matrix.copy()
                x[3, 17] = value
                path = self.dir / "nan.safetensors"
                support.write_safetensors(path, {"m.weight": ("F32", x.shape, [x.tobytes()])})
                line = self.fails(3, "convert", path, "-o", self.dir / "nan.qins", *options)
                for piece in ("nan.safetensors", "'m.weight'", word, f"element {3 * 64 + 17} ",
                              f"byte {4 * (3 * 64 + 17)} ", "--lossless"):
                    self.assertIn(piece, line)
                self.assertFalse((self.dir / "nan.qins").exists())
        support.run_qins("convert", path, "-o", self.dir / "nan.qins", "--lossless", check=0)
        support.run_qins("verify", self.dir / "nan.qins", "--against", path, check=0)

    def test_full_output(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "w") as full:
            for arguments in (["--help"], ["inspect", self.source],
                              ["inspect", self.source, "--json"]):
                done = subprocess.run([str(support.PROGRAM), *map(str, arguments)], stdout=full,
                                      stderr=subprocess.PIPE, text=True, timeout=60)
                self.assertEqual(done.returncode, 4, arguments)
                self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_closed_pipe(self):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([str(support.PROGRAM), "inspect", str(self.source), "--json"],
                              stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(write)
        self.assertEqual(done.returncode, 4)

    def test_hostile_names(self):
        path = self.dir / "hostile.safetensors"
        name = "a\n\x1b[31mqins: all is well\x7f"
        support.write_safetensors(path, {name: ("F32", (2,), [b"\0" * 8])})
        for arguments in (["inspect", path], ["convert", path, "-o", self.dir / "hostile.qins"]):
            text = support.run_qins(*arguments, check=0).stdout
            self.assertNotIn("\x1b", text)
            self.assertIn("a\\x0a\\x1b[31m", text)
        text = support.run_qins("inspect", path, "--json", check=0).stdout
        self.assertEqual(json.loads(text)["tensors"][0]["name"], name)

    def test_interrupt(self):
        big = self.dir / "big.safetensors"
        block = np.random.default_rng(1).standard_normal(1 << 22).astype("<f4").tobytes()
        support.write_safetensors(big, {f"m{i}": ("F32", (4096, 1024), [block]) for i in range(8)})
        out = self.dir / "big.qins"
        for number in (signal.SIGINT, signal.SIGTERM):
            interrupted = 0
            # a busy machine may be late to start the program or to send the signal: then again
            for attempt, delay in enumerate((0.02, 0.05, 0.1) + 4 * (0.03, 0.2, 0.4)):
                if attempt >= 3 and interrupted:
                    break
                out.unlink(missing_ok=True)
                process = subprocess.Popen(
                    [str(support.PROGRAM), "convert", str(big), "-o", str(out), "--codec", "zstd",
                     "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    text=True)
                time.sleep(delay)
                process.send_signal(number)
                errors = process.communicate(timeout=120)[1]
                if process.returncode == 130:
                    interrupted += 1
                    self.assertEqual(errors.splitlines(), ["qins: interrupted"])
                    self.assertFalse(out.exists())
                    self.assertEqual(list(self.dir.glob("big.qins.tmp-*")), [])
                else:
                    # before the handler stood, or after the work was done
                    self.assertIn(process.returncode, (0, -number))
            self.assertGreater(interrupted, 0)
        big.unlink()


class Json(Folder):
    def test_inspect(self):
        report = self.valid("inspect", support.run_qins("inspect", self.source, "--json",
                                                        check=0).stdout)
        self.assertEqual(report["kind"], "checkpoint")
        found = {t["name"]: (t["dtype"], t["shape"], t["bytes"]) for t in report["tensors"]}
        self.assertEqual(found, {"up.weight": ("F32", [96, 64], 96 * 64 * 4),
                                 "norm.weight": ("F32", [64], 256), "ids": ("I64", [5], 40),
                                 "scalar": ("F16", [], 2)})
        report = self.valid("inspect", support.run_qins("inspect", self.archive, "--json",
                                                        check=0).stdout)
        self.assertEqual(report["kind"], "archive")
        self.assertEqual({t["name"]: (t["dtype"], t["shape"], t["bytes"])
                          for t in report["tensors"]}, found)

    def test_convert(self):
        out = self.dir / "json.qins"
        done = support.run_qins("convert", self.source, "-o", out, "--json", check=0)
        report = self.valid("convert", done.stdout)
        self.assertEqual(done.stderr, "")
        self.assertEqual(report["archive_bytes"], out.stat().st_size)
        floats = 96 * 64 + 64 + 1
        self.assertAlmostEqual(report["bits_per_weight"], 8 * out.stat().st_size / floats, 9)
        plan = {t["name"]: t for t in report["tensors"]}
        up = plan["up.weight"]
        self.assertEqual((up["content"], up["bits"], up["levels"], up["group"], up["codec"]),
                         ("qins", 8, 127, "row", "bitpack"))
        self.assertEqual(plan["norm.weight"]["content"], "lossless")
        self.assertEqual(plan["ids"]["content"], "lossless")

    def test_verify(self):
        report = self.valid("verify", support.run_qins("verify", self.archive, "--json",
                                                       check=0).stdout)
        self.assertTrue(report["ok"])
        self.assertIsNone(report["tensors"][0]["sqnr_db"])
        report = self.valid("verify", support.run_qins("verify", self.archive, "--against",
                                                       self.source, "--json", check=0).stdout)
        figures = {t["name"]: t for t in report["tensors"]}
        self.assertGreater(figures["up.weight"]["sqnr_db"], 35)
        for name in ("norm.weight", "ids", "scalar"):
            self.assertTrue(figures[name]["exact"], name)
            self.assertIsNone(figures[name]["sqnr_db"])
        table = support.run_qins("verify", self.archive, "--against", self.source, check=0).stdout
        said = "weights near 0 become 0"
        self.assertEqual(said in table, "1.000e+00" in table, table)
        coarse = self.dir / "coarse.qins"
        support.run_qins("convert", self.source, "--bits", "3", "-o", coarse, "-q", check=0)
        self.assertIn(said, support.run_qins("verify", coarse, "--against", self.source, check=0).stdout)

    def test_verify_other_source(self):
        other = self.dir / "other.safetensors"
        x = self.matrix.copy()
        x[5, 5] += 1
        support.write_safetensors(other, {
            "up.weight": ("F32", (96, 64), [x.tobytes()]),
            "norm.weight": ("F32", (8, 8), [np.ones(64, "<f4").tobytes()]),
            "scalar": ("F16", (), [np.float16(0.25).tobytes()]),
            "new": ("I64", (5,), [np.arange(5, dtype="<i8").tobytes()])})
        done = support.run_qins("verify", self.archive, "--against", other, "--json", check=1)
        report = self.valid("verify", done.stdout)
        self.assertFalse(report["ok"])
        self.assertEqual(report["first_missing_tensor"], "new")
        problems = {t["name"]: t["problem"] for t in report["tensors"]}
        self.assertIn(f"the first is {5 * 64 + 5}", problems["up.weight"])
        self.assertIn("shape", problems["norm.weight"])
        self.assertIn("differ", problems["scalar"])
        self.assertIn("missing", problems["ids"])
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn("up.weight", done.stderr)

    def test_restore(self):
        out = self.dir / "json.safetensors"
        report = self.valid("restore", support.run_qins("restore", self.archive, "-o", out,
                                                        "--json", check=0).stdout)
        self.assertEqual(report["output_bytes"], 96 * 64 * 4 + 256 + 40 + 2)

    def test_quiet(self):
        done = support.run_qins("convert", self.source, "-o", self.dir / "quiet.qins", "--quiet",
                                check=0)
        self.assertEqual(done.stdout + done.stderr, "")


if __name__ == "__main__":
    support.main()
