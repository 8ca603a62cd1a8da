"""`qins bench`: that it runs, and that its report is valid and complete. Nothing here is timed."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import support

# Two rounds show a median between two ends.
ROUNDS = ["--rounds", "2"]
SMALL = ["--tokens", "24", "--context", "16", *ROUNDS]


def plain(report):
    """(name, threads, one_core_busy) of all measurements."""
    return [(m["name"], m["threads"], m["one_core_busy"]) for m in report["measurements"]]


def simple_plan():
    """Of support.MODEL, for which planning takes long under a sanitizer: its matrices at 6 bits."""
    coded = {"codec": "huffman", "levels": 31, "bits": 6, "kappa": 1, "clip": 0.9, "group": "row",
             "rounding": "nearest"}
    lossless = {"codec": "huffman", "levels": None, "bits": None, "kappa": None, "clip": None, "group": None,
                "rounding": None}
    return {"schema": "qins/plan/1", "summary": None, "tensors": [
        {"name": name, "dtype": "F32", "shape": list(value.shape), "class": "unknown", "reason": "by hand",
         **(coded if value.ndim == 2 else lossless)}
        for name, value in support.read_safetensors(support.MODEL / "model.safetensors").items()]}


class Bench(unittest.TestCase):
    def check(self, report, benchmark):
        support.validate(report, "bench")
        self.assertEqual(report["benchmark"], benchmark)
        self.assertEqual(report["model"]["model_type"], "llama")
        names = plain(report)
        self.assertEqual(len(set(names)), len(names))
        for m in report["measurements"]:
            self.assertEqual(len(m["seconds"]), report["rounds"])
            self.assertEqual(len(m["cpu_seconds"]), report["rounds"])
            self.assertTrue(all(s > 0 for s in m["seconds"]))
            self.assertLessEqual(m["tokens_per_s_low"], m["tokens_per_s"])
            self.assertLessEqual(m["tokens_per_s"], m["tokens_per_s_high"])
        for c in report["comparisons"]:
            for side in (c["of"], c["to"]):
                self.assertIn((side["name"], side["threads"], side["one_core_busy"]), names)
            self.assertLessEqual(c["low"], c["value"])
            self.assertLessEqual(c["value"], c["high"])
            self.assertEqual(c["goal"] is None, c["met"] is None)

    def test_forward(self):
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as folder:
            saved = pathlib.Path(folder) / "forward.json"
            done = support.run_qins("bench", "forward", support.MODEL, *SMALL, "--threads", "3",
                                    "--json", "--save", saved, check=0)
            report = json.loads(done.stdout)
            self.assertEqual(json.loads(saved.read_text()), report)
        self.check(report, "forward")
        self.assertEqual((report["threads"], report["tokens"], report["context"]), (3, 24, 16))
        idle = ["prefill", "prefill products", "decode", "decode products", "evaluate"]
        busy = ["prefill", "decode", "evaluate"]
        self.assertEqual(plain(report),
                         [(name, threads, False) for name in idle for threads in (1, 3)]
                         + [(name, threads, True) for name in busy for threads in (1, 3)])
        tokens = {m["name"]: m["tokens"] for m in report["measurements"]}
        self.assertEqual(tokens["prefill"], 24)
        self.assertEqual(tokens["decode"], 8)
        self.assertEqual([c["of"]["name"] for c in report["comparisons"] if c["goal"]], busy)

    def test_calibrate(self):
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as folder:
            done = support.run_qins("bench", "calibrate", support.MODEL, "--tokens", "64",
                                    "--context", "16", *ROUNDS, "--json", check=0,
                                    env=dict(os.environ, TMPDIR=folder))
            self.assertEqual(os.listdir(folder), [])
        report = json.loads(done.stdout)
        self.check(report, "calibrate")
        kinds = ["prefill", "calibrate", "calibrate with gram"]
        self.assertEqual(plain(report),
                         [(name, threads, False) for name in kinds for threads in (1, 2)])
        self.assertEqual({m["tokens"] for m in report["measurements"]}, {64})
        self.assertEqual([(c["of"]["name"], c["to"]["name"], c["unit"])
                          for c in report["comparisons"] if c["of"]["threads"] == 1],
                         [(name, "prefill", "percent more time") for name in kinds[1:]])

    def spread(self, figure):
        self.assertLessEqual(figure["low"], figure["value"])
        self.assertLessEqual(figure["value"], figure["high"])

    def test_hot_path(self):
        """Of an archive with hot, cold and unclassed tensors, and one of hot and cold rows."""
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as name:
            folder = pathlib.Path(name)
            plan, archive, other = (folder / n for n in ("plan.json", "m.qins", "other.qins"))
            if support.SANITIZER == "none":
                support.run_qins("plan", support.MODEL, "--target-bits", "6", "-o", plan, check=0)
            else:
                plan.write_text(json.dumps(simple_plan()))
            text = json.loads(plan.read_text())
            hot = 0
            for tensor in text["tensors"]:
                tensor["class"] = ("hot" if ".q_proj." in tensor["name"] else
                                   "cold" if ".k_proj." in tensor["name"] else "unknown")
                if tensor["name"] == "model.layers.0.mlp.up_proj.weight":
                    line = {"codec": "huffman", "levels": 31, "bits": 6, "kappa": 1, "clip": 0.9,
                            "group": "row", "rounding": "nearest", "reason": "by hand"}
                    tensor["blocks"] = [
                        {**line, "class": "hot", "row_begin": 0, "row_end": 100},
                        {**line, "class": "cold", "row_begin": 100, "row_end": 384}]
            plan.write_text(json.dumps(text))
            made = json.loads(support.run_qins("convert", support.MODEL, "--plan", plan, "-o",
                                               archive, "--json", check=0).stdout)
            done = support.run_qins("bench", "hot-path", support.MODEL, archive, "--tokens", "24",
                                    *ROUNDS, "--json", check=0)
            report = json.loads(done.stdout)
            shutil.copytree(support.MODEL, folder / "model")
            weights = bytearray((folder / "model" / "model.safetensors").read_bytes())
            weights[-1] ^= 1
            (folder / "model" / "model.safetensors").write_bytes(weights)
            done = support.run_qins("bench", "hot-path", folder / "model", archive, check=3)
            self.assertIn("of another model", done.stderr)
        self.check(report, "hot-path")
        self.assertEqual(report["archive"]["archive_hash"], made["archive_hash"])
        coded = report["coded"]
        self.assertEqual(coded["hot"]["weights"], 6 * 128 * 128 + 100 * 128)
        self.assertEqual(coded["hot_bit_packed"]["weights"], coded["hot"]["weights"])
        self.assertEqual(coded["hot_bit_packed"]["entropy_coded_weights"], 0)
        self.assertGreaterEqual(coded["hot"]["entropy_coded_weights"], 100 * 128)
        self.assertEqual(coded["cold"]["weights"], 6 * 64 * 128 + 284 * 128)
        everything = report["model"]["parameters"]
        self.assertEqual(sum(coded[c]["weights"] for c in ("hot", "cold", "unknown"))
                         + report["weights_left_decoded"], everything)
        # The embedding is only looked up in.
        self.assertEqual(report["weights_left_decoded"], 2048 * 128)
        self.assertEqual(len(report["measurements"]), 14)
        self.assertEqual(len(report["comparisons"]), 16)
        # All matrices stay coded, whatever their class.
        self.assertEqual(report["fused"]["decoded_matrices"], 0)
        self.spread(report["fused"]["overhead_percent"])
        first = report["comparisons"][0]
        self.assertEqual((first["of"]["name"], first["to"]["name"]),
                         ("one token, hot weights coded", "one token, hot weights bit-packed"))
        for figure in (report["overhead_percent"], report["latency"]["overhead_percent"],
                       *(c["overhead_percent"] for c in coded.values())):
            self.spread(figure)
        self.assertEqual(report["overhead_percent"], {k: first[k] for k in ("value", "low", "high")})

    def test_kv_cache(self):
        done = support.run_qins("bench", "kv-cache", support.MODEL, "--tokens",
                                support.less("160", "80"), *ROUNDS, "--json", check=0)
        report = json.loads(done.stdout)
        self.check(report, "kv-cache")
        self.assertEqual([k["bits"] for k in report["kv_cache"]], [8, 6])
        self.assertEqual(report["no_page_old"]["bits"], 6)
        self.assertEqual(report["overhead_percent"], report["kv_cache"][1]["generation"])
        self.assertEqual(report["bits"], 6)
        self.assertEqual({c["unit"] for c in report["comparisons"]}, {"percent more time"})

    def test_convert(self):
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as folder:
            done = support.run_qins("bench", "convert", folder, "--mebi", "1", "--rounds", "2",
                                    "--threads", "3", "--json", check=0)
            self.assertEqual(os.listdir(folder), [])
        report = json.loads(done.stdout)
        support.validate(report, "bench")
        self.assertEqual([s["source"] for s in report["sources"]], ["F32", "BF16"])
        for source in report["sources"]:
            self.assertEqual(source["bytes"], 1 << 20)
            sizes = source["archive_bytes"]
            self.assertLess(sizes["6-bit bitpack"], sizes["8-bit huffman"])
            self.assertLess(sizes["8-bit huffman"], sizes["8-bit bitpack"])
            for coder in ("huffman", "tans"):
                self.assertLess(sizes["8-bit bitpack"], sizes[f"lossless {coder}"])
        rows = report["conversions"]
        self.assertEqual({(r["source"], r["step"], r["threads"]) for r in rows},
                         {(s, step, n) for s in ("F32", "BF16") for n in (1, 3)
                          for step in ("convert", "verify", "restore")})
        for r in rows:
            self.assertEqual([len(r[k]) for k in ("seconds", "cpu_seconds", "fsync_seconds")],
                             [2] * 3)
            for figure in (r["mb_per_s"], r["over_memcpy"], r["over_file_copy"]):
                self.spread(figure)
            self.assertEqual(r["goal_mb_per_s"] is None, r["met"] is None)
        self.assertEqual([r["goal_mb_per_s"] for r in rows if r["met"] is not None],
                         [1200, 400, 400])

    def test_interrupted(self):
        """Its files go, too."""
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as folder:
            started = subprocess.Popen([support.PROGRAM, "bench", "convert", folder, "--mebi", "512"],
                                       stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            while not os.listdir(folder) and started.poll() is None:
                time.sleep(0.01)
            started.send_signal(signal.SIGINT)
            _, said = started.communicate(timeout=30)
            self.assertEqual(started.returncode, 130, said)
            self.assertEqual(os.listdir(folder), [])

    def test_coders_of_an_archive(self):
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as name:
            archive, saved = pathlib.Path(name) / "m.qins", pathlib.Path(name) / "coders.json"
            made = support.run_qins("convert", support.MODEL, "-o", archive, "--bits", "4",
                                    "--group", "row", "--codec", "huffman", "--json", check=0)
            lines = support.run_qins("bench", "coders", archive, *ROUNDS, "--save", saved,
                                     check=0).stdout.splitlines()
            report = json.loads(saved.read_text())
            lossless = pathlib.Path(name) / "lossless.qins"
            support.run_qins("convert", support.MODEL, "-o", lossless, "--lossless", check=0)
            done = support.run_qins("bench", "coders", lossless, check=3)
            self.assertIn("no quantised weights", done.stderr)
        support.validate(report, "bench")
        self.assertEqual(report["archive"]["archive_hash"], json.loads(made.stdout)["archive_hash"])
        coders = {(c["coder"], c["page_values"]): c for c in report["coders"]}
        self.assertEqual(len(coders), 7 * 5 + 1)
        self.assertEqual(sum(1 for line in lines if "its chunks" in line), 8)
        self.assertEqual({k["name"] for k in report["kinds"]},
                         {"embed_tokens", "lm_head", "q_proj", "k_proj", "v_proj", "o_proj",
                          "gate_proj", "up_proj", "down_proj"})
        self.assertTrue(all(k["sampled_weights"] > 0 for k in report["kinds"]))
        for c in coders.values():
            self.spread(c["decode_ns"])
        own, huffman = coders["archive", None], coders["huffman", None]
        self.assertEqual(own["bits_per_weight"], huffman["bits_per_weight"])
        # 4 bits, a scale a row of 128 or 384, and a header of 64 bytes a page.
        packed = coders["bitpack", None]["bits_per_weight"]
        self.assertTrue(4 + 32 / 384 < packed < 4 + 32 / 128 + 0.05)
        small = coders["bitpack", 4096]["bits_per_weight"]
        self.assertAlmostEqual(small - packed, 8 * 64 / 4096, delta=0.02)
        self.assertLess(huffman["bits_per_weight"], packed)
        self.assertEqual(huffman["fell_back_share"], 0)
        self.assertEqual(coders["rle", None]["fell_back_share"], 1)
        self.assertEqual(coders["rle", None]["bits_per_weight"], packed)

    def check_costs(self, costs):
        support.validate(costs, "costs")

    def test_coders(self):
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as folder:
            saved = pathlib.Path(folder) / "costs.json"
            done = support.run_qins("bench", "coders", *ROUNDS, "--json", "--save", saved, check=0)
            report = json.loads(done.stdout)
            self.assertEqual(json.loads(saved.read_text()), report)
        self.check_costs(report)
        for name, ns in report["decode_ns"].items():
            self.assertLessEqual(report["decode_ns_low"][name], ns)
            self.assertLessEqual(ns, report["decode_ns_high"][name])
        bits = report["bits_per_element"]
        self.assertEqual(bits["memcpy"], 32)
        for name in ("store", "bitpack"):
            self.assertAlmostEqual(bits[name], 8 + 32 / 4096, delta=0.01)
        # 7.12: entropy of Gaussian weights on 255 levels, one scale for 4096 (bench/streams.c).
        for name in ("huffman", "zstd"):
            self.assertAlmostEqual(bits[name], 7.15, delta=0.06)
        self.assertLess(bits["rle-huffman"], bits["rle"])

    def test_shipped_costs(self):
        self.check_costs(json.loads((support.SOURCE_ROOT / "policy" / "costs.json").read_text()))

    def test_table(self):
        text = support.run_qins("bench", "forward", support.MODEL, *SMALL, check=0).stdout
        self.assertIn("prefill of 24 tokens, windows of 16", text)
        self.assertIn("evaluate, 2 threads", text)

    def test_usage(self):
        for arguments in (["bench"], ["bench", "nothing"],
                          ["bench", "forward", support.MODEL, "--threads", "1"],
                          ["bench", "forward", support.MODEL, "--tokens", "1"],
                          ["bench", "forward", support.MODEL, "--context", "0"],
                          ["bench", "coders", support.MODEL, support.MODEL],
                          ["bench", "hot-path", support.MODEL],
                          ["bench", "kv-cache", support.MODEL, "--threads", "2"],
                          ["bench", "coders", "--threads", "2"],
                          ["bench", "coders", "--tokens", "16"],
                          ["bench", "memory", support.MODEL, support.MODEL, "--rounds", "2"],
                          ["bench", "convert", "--chunk", "64"]):
            with self.subTest(arguments=arguments):
                done = support.run_qins(*arguments, check=2)
                self.assertEqual(len(done.stderr.splitlines()), 1)
                if arguments[1:] in ([], ["nothing"]):
                    self.assertIn("forward|forward-fused|calibrate", done.stderr)

    def test_inputs_are_not_overwritten(self):
        with tempfile.TemporaryDirectory(prefix="qins-bench-") as name:
            folder = pathlib.Path(name)
            model, archive, link = folder / "model", folder / "model.qins", folder / "link.json"
            shutil.copytree(support.MODEL, model)
            support.run_qins("convert", model, "-o", archive, check=0)
            link.symlink_to(model / "config.json")
            before = {p: p.read_bytes() for p in [archive, *model.iterdir()]}
            for benchmark in ("forward", "calibrate"):
                for source, save in ((archive, archive), (model, link),
                                     (model, model / "model.safetensors"),
                                     (model / "model.safetensors", model / "model.safetensors")):
                    with self.subTest(benchmark=benchmark, source=source, save=save):
                        done = support.run_qins("bench", benchmark, source, *SMALL, "--save", save,
                                                check=2)
                        self.assertIn("the output is an input", done.stderr)
            self.assertEqual(before, {p: p.read_bytes() for p in before})

    def test_unwritable_output_is_told_first(self):
        """A model of random weights would take minutes."""
        done = support.run_qins("bench", "forward", "--save", "/no/such/folder/x.json", check=4,
                                timeout=30)
        self.assertIn("/no/such/folder", done.stderr)

    def test_help_has_its_own_defaults(self):
        text = support.run_qins("bench", "--help", check=0).stdout
        for name, default in (("tokens", 512), ("context", 256), ("threads", 2)):
            self.assertRegex(text, rf"--{name} N .*\(default {default}\)")
        self.assertIn("coders 15, gemv 9, others 5 by default", text)
        self.assertIn("symbols (default 32), gemv 64; MiB: convert 256", text)


if __name__ == "__main__":
    support.main()
