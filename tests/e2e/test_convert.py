"""Convert, verify and restore on generated and real models; numpy is the oracle for figures."""
import json
import pathlib
import signal
import subprocess
import time
import unittest

import numpy as np

import fixtures_safetensors_gguf as fixtures
import support

SHARED = support.SHARED
LONG = (1, 1200000)  # more than one chunk
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4,
         "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}


def write_raw(path, tensors):
    """name -> (dtype, shape, bytes)."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text +
                     b"".join(data for _, _, data in tensors.values()))


def read_raw(path):
    """The inverse of write_raw()."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    result = {}
    for name, info in json.loads(data[8:8 + n]).items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            result[name] = (info["dtype"], tuple(info["shape"]), data[8 + n + begin:8 + n + end])
    return result


def to_float(dtype, data):
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype("f8")
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[dtype]).astype("f8")


def report(*arguments):
    return json.loads(support.run_qins(*arguments, "--json", check=0).stdout)


class Folder(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rng = np.random.default_rng(20)

    def check_figures(self, source, restored, verified):
        """Figures that verify reports are those that numpy finds in the restored file."""
        checked = 0
        for name, (dtype, shape, data) in restored.items():
            figures = verified[name]
            if dtype != "F32" or figures["exact"]:  # restore rounds narrower types again
                continue
            x, y = to_float(dtype, source[name][2]), to_float(dtype, data)
            e = np.abs(x - y)
            relative = np.sort(e / (np.abs(x) + 1e-8))
            expected = {
                "max_abs_error": e.max(), "max_rel_error": relative[-1], "mse": np.mean(e * e),
                "sqnr_db": 10 * np.log10(np.sum(x * x) / np.sum(e * e)),
                "cosine": np.dot(x, y) / np.sqrt(np.dot(x, x) * np.dot(y, y))}
            for key, value in expected.items():
                self.assertAlmostEqual(figures[key] / value, 1, delta=1e-6, msg=(name, key))
            for key, q in (("p50_rel_error", .5), ("p99_rel_error", .99)):
                value = relative[int(np.ceil(q * len(relative))) - 1]
                self.assertLessEqual(abs(figures[key] - value), 0.01 * value, (name, key))
            checked += 1
        return checked


@unittest.skipIf(support.SANITIZER == "thread", "threads do no more than in ManyTensors")
class Lossless(Folder):
    def test_every_type(self):
        """Random bits of every type, NaN payloads and all, in shapes of every kind."""
        shapes = [(), (1,), (0, 3), (7, 5, 3), (300, 70), LONG]
        long = support.less(SIZES, ("F64", "F32", "BF16", "I8"))  # one of each size
        tensors = {}
        for dtype, size in SIZES.items():
            for shape in shapes if dtype in long else shapes[:-1]:
                n = int(np.prod(shape, dtype=np.int64)) * size
                data = self.rng.integers(0, 2 if dtype == "BOOL" else 256, n, np.uint8).tobytes()
                tensors[f"{dtype}.{'x'.join(map(str, shape))}"] = (dtype, shape, data)
        source, out = self.dir / "all.safetensors", self.dir / "all.qins"
        write_raw(source, tensors)
        for codec in ("huffman", "zstd", "store", "rle-huffman"):
            support.run_qins("convert", source, "-o", out, "--lossless", "--codec", codec, check=0)
            support.run_qins("verify", out, "--against", source, check=0)
            support.run_qins("restore", out, "-o", self.dir / "back.safetensors", check=0)
            self.assertEqual(read_raw(self.dir / "back.safetensors"), tensors, codec)

    def test_integers_and_f64_without_asking(self):
        tensors = {d: (d, (128, 64), self.rng.bytes(128 * 64 * SIZES[d]))
                   for d in ("F64", "I64", "I8", "U16")}
        source, out = self.dir / "int.safetensors", self.dir / "int.qins"
        write_raw(source, tensors)
        plan = {t["name"]: t for t in report("convert", source, "-o", out)["tensors"]}
        self.assertEqual({t["content"] for t in plan.values()}, {"lossless"})
        support.run_qins("restore", out, "-o", self.dir / "int2.safetensors", check=0)
        self.assertEqual(read_raw(self.dir / "int2.safetensors"), tensors)


class ManyTensors(Folder):
    """More than one batch, with tensors that have no chunk in every place."""

    def test_round_trip(self):
        tensors = {}
        for i in range(1400):
            if i % 6 == 0:
                tensors[f"t{i}"] = ("F32", (), np.float32(i).tobytes())
            elif i % 6 == 1 or 500 < i < 1100:
                tensors[f"t{i}"] = ("F32", (0, 4), b"")
            elif i % 6 == 2:
                tensors[f"t{i}"] = ("I64", (5,), np.arange(5, dtype="<i8").tobytes())
            else:
                tensors[f"t{i}"] = ("F32", (72, 64), self.rng.bytes(72 * 64 * 2) * 2)
        source, back = self.dir / "many.safetensors", self.dir / "back.safetensors"
        write_raw(source, tensors)
        made = set()
        for options in (["--threads", "1"], ["--threads", "2"], ["--resume"]):
            out = self.dir / "many.qins"
            support.run_qins("convert", source, "-o", out, "--lossless", *options, check=0)
            made.add(out.read_bytes())
        self.assertEqual(len(made), 1)
        support.run_qins("verify", out, "--against", source, check=0)
        support.run_qins("restore", out, "-o", back, check=0)
        self.assertEqual(read_raw(back), tensors)

    def test_none(self):
        source, out = self.dir / "none.safetensors", self.dir / "none.qins"
        write_raw(source, {})
        self.assertNotIn("nan", support.run_qins("convert", source, "-o", out, check=0).stdout)
        self.assertNotIn("nan", support.run_qins("inspect", out, check=0).stdout)
        support.run_qins("verify", out, "--against", source, check=0)
        support.run_qins("restore", out, "-o", self.dir / "back.safetensors", check=0)
        self.assertEqual(read_raw(self.dir / "back.safetensors"), {})


class Quantised(Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        normal = cls.rng.standard_normal
        heavy = cls.rng.standard_t(3, (1100, 1300)).astype("<f4")
        cls.tensors = {
            "heavy.weight": ("F32", heavy.shape, heavy.tobytes()),
            "half.weight": ("F16", (300, 257), normal((300, 257)).astype("<f2").tobytes()),
            "brain.weight": ("BF16", (64, 512), (normal((64, 512)).astype("<f4").view("<u4")
                                                 >> 16).astype("<u2").tobytes()),
            # more than the 2 Mi elements from which rows are sampled, and rows that differ
            "large.weight": ("F32", (3000, 1100), (normal((3000, 1100)) * np.exp2(
                np.arange(3000) % 7)[:, None]).astype("<f4").tobytes()),
            "zero.weight": ("F32", (128, 64), bytes(128 * 64 * 4)),
            "sparse.weight": ("F32", (128, 64), (normal((128, 64)) * (np.arange(128) % 3 == 0)
                                                 [:, None]).astype("<f4").tobytes()),
            "narrow.kernel": ("F32", (900, 9), normal((900, 9)).astype("<f4").tobytes()),
            "norm.weight": ("F32", (1300,), np.ones(1300, "<f4").tobytes()),
        }
        cls.source = cls.dir / "source.safetensors"
        write_raw(cls.source, cls.tensors)
        # Under a sanitizer most options see the large tensor's rows nowhere else than in others.
        cls.most = cls.dir / "most.safetensors"
        most = support.less(cls.tensors, cls.tensors.keys() - {"large.weight"})
        write_raw(cls.most, {name: cls.tensors[name] for name in cls.tensors if name in most})

    def test_figures(self):
        for options in ([], ["--bits", "4", "--group", "64", "--codec", "huffman"],
                        ["--bits", "6", "--group", "tensor", "--codec", "zstd"],
                        ["--bits", "12", "--clip", "1", "--codec", "rle-huffman"],
                        ["--bits", "2", "--kappa", "0", "--codec", "rle"],
                        ["--grid", "seed", "--codec", "huffman"])[
                            :6 if support.SANITIZER != "thread" else 3]:
            with self.subTest(options=options):
                out, back = self.dir / "q.qins", self.dir / "q.safetensors"
                source = self.most if options else self.source
                support.run_qins("convert", source, "-o", out, *options, check=0)
                verified = {t["name"]: t for t in
                            report("verify", out, "--against", source)["tensors"]}
                support.run_qins("restore", out, "-o", back, check=0)
                self.assertGreaterEqual(
                    self.check_figures(self.tensors, read_raw(back), verified), 3)
                self.assertTrue(verified["zero.weight"]["exact"])
                self.assertTrue(verified["norm.weight"]["exact"])

    @unittest.skipUnless(support.SANITIZER == "none", "arithmetic that test_figures runs sanitized")
    def test_search_is_no_worse_than_its_neighbours(self):
        """The kappa and clip that were searched beat fixed ones in measured error."""
        def error(*options):
            out = self.dir / "s.qins"
            support.run_qins("convert", self.source, "-o", out, *options, check=0)
            return {t["name"]: t["mse"] for t in
                    report("verify", out, "--against", self.source)["tensors"]}
        best = error("--bits", "6")
        for kappa in ("0", "0.5", "1", "2", "4"):
            for clip in ("1", "0.7"):
                other = error("--bits", "6", "--kappa", kappa, "--clip", clip)
                for name in ("heavy.weight", "large.weight", "half.weight", "brain.weight", "narrow.kernel"):
                    self.assertLessEqual(best[name], 1.01 * other[name], (name, kappa, clip))

    @unittest.skipIf(support.SANITIZER == "thread", "threads do no more than in test_figures")
    def test_plan(self):
        plan = {t["name"]: t for t in
                report("convert", self.source, "-o", self.dir / "p.qins")["tensors"]}
        self.assertEqual(plan["heavy.weight"]["group"], "row")
        self.assertEqual(plan["narrow.kernel"]["group"], "tensor")
        self.assertIn("16 elements", plan["narrow.kernel"]["reason"])
        self.assertEqual(plan["norm.weight"]["content"], "lossless")
        plan = {t["name"]: t for t in report("convert", self.source, "-o", self.dir / "p.qins",
                                             "--group", "32", "--kappa", "1.25")["tensors"]}
        self.assertEqual((plan["half.weight"]["group"], plan["half.weight"]["kappa"]), (32, 1.25))

    @unittest.skipIf(support.SANITIZER == "thread", "threads do no more than in test_figures")
    def test_other_types(self):
        """--dtype: what torch or numpy makes of the float32 values."""
        out = self.dir / "d.qins"
        support.run_qins("convert", self.source, "-o", out, check=0)
        for dtype in ("f32", "f16", "bf16"):
            support.run_qins("restore", out, "-o", self.dir / f"{dtype}.safetensors", "--dtype",
                             dtype, check=0)
        f32, f16, bf16 = (read_raw(self.dir / f"{d}.safetensors") for d in ("f32", "f16", "bf16"))
        for name, (dtype, shape, data) in f32.items():
            self.assertEqual((dtype, shape), ("F32", self.tensors[name][1]))
            x = np.frombuffer(data, "<f4")
            with np.errstate(over="ignore"):
                self.assertEqual(f16[name][2], x.astype("<f2").tobytes())
            bits = x.view("<u4").astype("u8")
            self.assertEqual(bf16[name][2],
                             ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes())

    def test_threads(self):
        made = set()
        for threads in ("1", "2", "3"):
            out = self.dir / f"t{threads}.qins"
            support.run_qins("convert", self.most, "-o", out, "--threads", threads, "--bits", "5",
                             "--codec", "huffman", check=0)
            made.add(out.read_bytes())
        self.assertEqual(len(made), 1)
        one, two = (json.loads(support.run_qins(
            "verify", out, "--against", self.most, "--threads", n, "--json",
            check=0).stdout)["tensors"] for n in "12")
        self.assertEqual(one, two)

    def test_resumed_runs(self):
        rows = support.less(3072, 1024)
        block = np.random.default_rng(2).standard_normal(rows << 10).astype("<f4").tobytes()
        source = self.dir / "big.safetensors"
        write_raw(source, {f"m{i}": ("F32", (rows, 1024), block) for i in range(8)})
        plain, out = self.dir / "plain.qins", self.dir / "resumed.qins"
        options = ["--codec", "zstd", "--bits", "6", "--threads", "2"]
        begin = time.monotonic()
        support.run_qins("convert", source, "-o", plain, *options, check=0)
        seconds = time.monotonic() - begin
        for _ in range(10):  # a busy machine: sooner, until a run was killed
            if self.kill_often(source, out, options, seconds):
                break
            out.unlink(missing_ok=True)
            pathlib.Path(f"{out}.part").unlink(missing_ok=True)
            seconds *= 0.7
        else:
            self.fail("every run was over before it was killed")
        support.run_qins("convert", source, "-o", out, *options, "--resume", check=0)
        self.assertTrue(out.read_bytes() == plain.read_bytes(), "archives differ")
        self.assertFalse(pathlib.Path(f"{out}.part").exists())

    def kill_often(self, source, out, options, seconds):
        """How many of four runs that go on, one with the other's work, were killed."""
        killed = 0
        # Shares of the whole: each run has only what the ones before it left.
        for number, share in ((signal.SIGINT, 0.2), (signal.SIGKILL, 0.2), (signal.SIGKILL, 0.2),
                              (signal.SIGKILL, 0.2)):
            process = subprocess.Popen([str(support.PROGRAM), "convert", str(source), "-o",
                                        str(out), *options, "--resume"], text=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(share * seconds)
            process.send_signal(number)
            errors = process.communicate()[1]
            killed += process.returncode == -signal.SIGKILL
            if process.returncode == 130:
                self.assertEqual(errors, "qins: interrupted; go on with the same command\n")
            if out.exists():
                break
        return killed

    def test_spool_of_another_job(self):
        out = self.dir / "job.qins"
        part = pathlib.Path(f"{out}.part")
        source = self.dir / "job.safetensors"
        rows = support.less(4096, 2048)
        block = np.random.default_rng(2).standard_normal(rows << 10).astype("<f4").tobytes()
        write_raw(source, {f"m{i}": ("F32", (rows, 1024), block)
                           for i in range(support.less(6, 4))})
        process = subprocess.Popen([str(support.PROGRAM), "convert", str(source), "-o", str(out),
                                    "--codec", "zstd", "--resume"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        for _ in range(500):
            if part.exists() and part.stat().st_size > 1 << 20:
                break
            time.sleep(0.01)
        process.kill()
        process.wait()
        if out.exists():
            self.skipTest("the run ended before it was killed")
        done = support.run_qins("convert", source, "-o", out, "--bits", "4", "--resume", check=2)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        done = support.run_qins("convert", source, "-o", out, check=0)
        self.assertIn("note:", done.stderr)


@unittest.skipIf(support.SANITIZER == "thread", "threads do no more than in Quantised")
class Kjv(Folder):
    """The model that ships with the project."""

    def test_default(self):
        out, folder = self.dir / "m.qins", self.dir / "m"
        plan = report("convert", support.MODEL, "-o", out)
        verified = {t["name"]: t for t in report("verify", out, "--against",
                                                 support.MODEL)["tensors"]}
        source = read_raw(support.MODEL / "model.safetensors")
        matrices = 0
        for t in plan["tensors"]:
            if len(t["shape"]) == 2:
                self.assertGreaterEqual(verified[t["name"]]["cosine"], 0.9999, t["name"])
                self.assertEqual(t["bits"], 8)
                matrices += 1
            else:
                self.assertTrue(verified[t["name"]]["exact"])
        self.assertGreater(matrices, 40)
        support.run_qins("restore", out, "-o", f"{folder}/", check=0)
        restored = read_raw(folder / "model.safetensors")
        self.assertEqual({n: t[:2] for n, t in restored.items()},
                         {n: t[:2] for n, t in source.items()})
        self.assertEqual(self.check_figures(source, restored, verified), matrices)
        for name in ("config.json", "tokenizer.json"):
            self.assertEqual((folder / name).read_bytes(), (support.MODEL / name).read_bytes())

    def test_lossless(self):
        out, back = self.dir / "l.qins", self.dir / "l.safetensors"
        done = report("convert", support.MODEL, "-o", out, "--lossless")
        support.run_qins("restore", out, "-o", back, check=0)
        self.assertEqual(read_raw(back), read_raw(support.MODEL / "model.safetensors"))
        self.assertLess(done["archive_bytes"], done["input_bytes"])


@unittest.skipIf(support.SANITIZER == "thread", "threads do no more than in Quantised")
class RealModels(Folder):
    def check_gguf(self, path, config, source):
        """The GGUF of an archive holds what its safetensors, SOURCE, holds; of a llama model under llama.cpp's names, with
        the rows of q and k in llama.cpp's order and vectors as F32."""
        tensors, keys = fixtures.read_gguf(path)
        llama = keys["general.architecture"] == b"llama"
        self.assertEqual(llama, config is not None)
        self.assertEqual(set(tensors), {fixtures.ggml_name(n) if llama else n for n in source})
        for name, (dtype, shape, data) in source.items():
            want = np.frombuffer(data, f"V{SIZES[dtype]}").reshape(shape)
            heads = 0
            if llama and (".q_proj." in name or ".k_proj." in name):
                heads = config["num_attention_heads" if ".q_proj." in name
                               else "num_key_value_heads"]
                want = want.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2)
            data = want.tobytes()
            if llama and len(shape) == 1 and dtype != "F32":
                dtype, data = "F32", to_float(dtype, data).astype("<f4").tobytes()
            self.assertEqual(tensors[fixtures.ggml_name(name) if llama else name],
                             (fixtures.GGML_IDS[dtype], tuple(shape), data), name)

    def test_convert_and_restore(self):
        files = [SHARED / "models" / name for name in (
            "kjv-1.7m", "mix-6m", "stories260k/model.bin", "slm4096-torch/ckpt.pt",
            "tl-reverse/reverse_model.safetensors",
            "fer2013-big-xception-keras/fer2013_big_XCEPTION.54-0.66.hdf5",
            "fer2013-big-xception-keras/tiny_XCEPTION_KDEF.hdf5")]
        if not any(path.exists() for path in files):
            self.skipTest("no shared data (QINS_SHARED_DATA)")
        # Under a sanitizer the largest of each kind would only repeat what others do.
        for path in support.less(files, [files[i] for i in (0, 2, 4, 6)]):
            with self.subTest(path=path.name):
                self.assertTrue(path.exists(), f"{path} is missing, others are there")
                out = self.dir / "real.qins"
                for options in ([], ["--lossless"]):
                    support.run_qins("convert", path, "-o", out, *options, check=0)
                    verified = report("verify", out, "--against", path)
                    for t in verified["tensors"]:
                        if t["content"] == "lossless":
                            self.assertTrue(t["exact"], t["name"])
                        else:
                            self.assertGreaterEqual(t["cosine"], 0.9995, t["name"])
                    for suffix in (".safetensors", ".gguf", ".h5"):
                        back = self.dir / f"real{suffix}"
                        support.run_qins("restore", out, "-o", back, check=0)
                        support.run_qins("inspect", back, check=0)
                        if "--lossless" in options and suffix != ".gguf":
                            # other names in GGUF; here nothing may have changed
                            support.run_qins("verify", out, "--against", back, check=0)
                    config = path / "config.json"
                    self.check_gguf(self.dir / "real.gguf",
                                    json.loads(config.read_text()) if config.exists() else None,
                                    read_raw(self.dir / "real.safetensors"))


if __name__ == "__main__":
    support.main()
