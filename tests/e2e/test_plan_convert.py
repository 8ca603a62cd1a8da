"""convert --plan: plans are honoured or refused; blocks of rows and feedback rounding as a decoder
written from docs/chunk-payload.md and docs/archive-format.md sees them, and h5py with the plugin."""
import copy
import json
import os
import pathlib
import shutil
import struct
import subprocess
import unittest

import support

PLUGIN_DIR = pathlib.Path(os.environ.get("QINS_PLUGIN_DIR", support.BUILD_ROOT))
SANITIZED = os.environ.get("QINS_SANITIZER", "none") != "none"
os.environ["HDF5_PLUGIN_PATH"] = str(PLUGIN_DIR)  # libhdf5 reads it when it starts

import h5py  # noqa: E402
import numpy as np  # noqa: E402

import test_quant_oracle as oracle  # noqa: E402
from archive_oracle import archive_chunks, chunk_ranges, decode, expected, leaf_digest  # noqa: E402

F = np.float32


def line(name, dtype, shape, **keys):
    return {"name": name, "dtype": dtype, "shape": list(shape), "class": "unknown", "levels": None,
            "codec": "zstd", "reason": "as the test wants it", **keys}


def plan(*lines):
    return {"schema": "qins/plan/1", "tensors": list(lines)}


class Folder(support.Folder):
    def write_plan(self, p, name="plan.json"):
        path = self.dir / name
        path.write_text(json.dumps(p))
        return path


class Blocks(Folder):
    ROWS, WIDTH = 3000, 300  # two chunks of 1500 rows

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rng = np.random.default_rng(11)
        cls.x = rng.laplace(size=(cls.ROWS, cls.WIDTH)).astype(F) * F(0.05)
        cls.x[700, 5] = np.nan  # in a lossless block
        cls.wide = rng.standard_normal((2, 1200000)).astype(F)
        cls.deep = rng.standard_normal((5, 7, 11)).astype(F)
        cls.half = rng.standard_normal((40, 32)).astype(np.float16)
        cls.source = cls.dir / "model.safetensors"
        support.write_safetensors(cls.source, {
            "embed": ("F32", cls.x.shape, [cls.x.tobytes()]),
            "half": ("F16", cls.half.shape, [cls.half.tobytes()]),
            "ids": ("I32", (3,), [np.arange(3, dtype="<i4").tobytes()]),
            "wide": ("F32", cls.wide.shape, [cls.wide.tobytes()]),
            "deep": ("F32", cls.deep.shape, [cls.deep.tobytes()]),
        })
        grid = {"kappa": 0.7, "clip": 0.9}
        cls.plan = plan(
            line("embed", "F32", cls.x.shape, levels=31, **grid, codec="bitpack", **{"class": "hot"},
                 blocks=[{"row_begin": 0, "row_end": 1, "levels": 127},
                         {"row_begin": 1, "row_end": 700, "codec": "zstd", "levels": 500},
                         {"row_begin": 700, "row_end": 701, "codec": "zstd", "levels": None,
                          "kappa": None, "clip": None, "group": None, "rounding": None},
                         {"row_begin": 701, "row_end": 1500, "group": "tensor", "clip": 1},
                         {"row_begin": 1500, "row_end": 2900, "group": 64, "class": "cold",
                          "access_frequency": 0.125, "reason": "rare"},
                         {"row_begin": 2900, "row_end": 3000, "kappa": None, "clip": None,
                          "codec": "store"}]),
            line("half", "F16", cls.half.shape, bits=5, **grid, codec="store",
                 blocks=[{"row_begin": 0, "row_end": 39}, {"row_begin": 39, "row_end": 40, "bits": 3,
                                                           "levels": 3}]),
            line("ids", "I32", (3,)),
            line("wide", "F32", cls.wide.shape, levels=7, kappa=0, clip=1, codec="bitpack",
                 blocks=[{"row_begin": 0, "row_end": 1}, {"row_begin": 1, "row_end": 2, "levels": 3}]),
            line("deep", "F32", cls.deep.shape, levels=7, kappa=1.5, clip=1, codec="zstd",
                 blocks=[{"row_begin": 0, "row_end": 4}, {"row_begin": 4, "row_end": 5, "levels": 15}]),
        )
        del cls.plan["tensors"][1]["levels"]
        cls.archive = cls.dir / "blocks.qins"
        cls.plan_file = cls.dir / "plan.json"
        cls.plan_file.write_text(json.dumps(cls.plan))
        cls.report = json.loads(support.run_qins(
            "convert", cls.source, "-o", cls.archive, "--plan", cls.plan_file, "--json",
            check=0).stdout)
        support.run_qins("restore", cls.archive, "-o", cls.dir / "back.safetensors", check=0)
        cls.back = support.read_safetensors(cls.dir / "back.safetensors")
        cls.chunks = archive_chunks(cls.archive)

    def test_reports(self):
        inspected = json.loads(support.run_qins("inspect", self.archive, "--json", check=0).stdout)
        verified = json.loads(support.run_qins("verify", self.archive, "--against", self.source,
                                               "--json", check=0).stdout)
        for report in (self.report, inspected):
            t = report["tensors"][0]
            self.assertEqual((t["class"], t["levels"], len(t["blocks"])), ("hot", 31, 6))
            b = t["blocks"][4]
            self.assertEqual([b[k] for k in ("class", "access_frequency", "group", "reason", "levels",
                                             "codec", "rounding")],
                             ["cold", 0.125, 64, "rare", 31, "bitpack", "nearest"])
            self.assertEqual(t["blocks"][2]["levels"], None)
            self.assertGreater(t["blocks"][5]["clip"], 0)
        self.assertEqual([t["blocks"] for t in verified["tensors"]], [6, 2, 0, 2, 2])
        for report, name in ((self.report, "convert"), (inspected, "inspect"), (verified, "verify"),
                             (self.plan, "plan")):
            support.validate(report, name)
        shown = support.run_qins("inspect", self.archive, check=0).stdout
        self.assertIn("hot: 6 blocks", shown)

    def test_values_from_the_source(self):
        x, back = self.x, self.back["embed"]
        for begin, end, arguments in ((0, 1, (127, 0.7, 0.9, 300)), (1, 700, (500, 0.7, 0.9, 300)),
                                      (701, 1500, (31, 0.7, 1, None)),
                                      (1500, 2900, (31, 0.7, 0.9, 64))):
            self.assertEqual(expected(x[begin:end], *arguments).tobytes(),
                             back[begin:end].tobytes(), begin)
        self.assertEqual(x[700].tobytes(), back[700].tobytes())
        tail = self.report["tensors"][0]["blocks"][5]
        self.assertEqual(expected(x[2900:], 31, tail["kappa"], tail["clip"], 300).tobytes(),
                         back[2900:].tobytes())
        half = expected(self.half.astype(F), 15, 0.7, 0.9, 32)
        half[39:] = expected(self.half[39:].astype(F), 3, 0.7, 0.9, 32)
        self.assertEqual(half.astype(np.float16).tobytes(), self.back["half"].tobytes())
        self.assertEqual(self.back["ids"].tolist(), [0, 1, 2])

    def test_second_decoder(self):
        counts = {}
        for name, x in (("embed", self.x), ("wide", self.wide), ("deep", self.deep)):
            entry, payloads = self.chunks[name]
            values, _ = decode(payloads)
            self.assertEqual(values.tobytes(), self.back[name].tobytes(), name)
            counts[name] = [len(oracle.parts(p)) for p in payloads]
            pieces = [x.reshape(-1)[at:at + n].tobytes() for at, n in chunk_ranges(x.shape)]
            self.assertEqual(entry["fingerprint"], leaf_digest(pieces))
        # A border at a chunk's edge makes no compound payload.
        self.assertEqual(counts["embed"], [4, 2])
        self.assertEqual(set(counts["wide"]), {1})
        self.assertEqual(counts["deep"], [2])
        self.assertEqual([self.chunks["embed"][0][k] for k in ("levels", "group", "group_size")],
                         [31, "block", 64])  # of the largest block
        self.assertNotIn("blocks", self.chunks["ids"][0])

    @unittest.skipIf(SANITIZED, "a sanitized plugin does not load into a plain program")
    def test_h5py(self):
        with h5py.File(self.archive, "r") as f:
            for name, want in self.back.items():
                view = want.astype(F) if want.dtype == np.float16 else want
                if name == "half":  # the view is not rounded to the source's type
                    continue
                self.assertEqual(f["tensors"][name][()].tobytes(), view.tobytes(), name)
                self.assertEqual(f["tensors"][name][1:3].tobytes(), view[1:3].tobytes(), name)
            rows = f["tensors"]["embed"][695:705]
            self.assertEqual(rows.tobytes(), self.back["embed"][695:705].tobytes())

    @unittest.skipIf(SANITIZED, "a sanitized plugin does not load into a plain program")
    def test_h5dump(self):
        out = self.dir / "dump"
        subprocess.run(["h5dump", "-d", "/tensors/embed", "-b", "LE", "-o", str(out),
                        str(self.archive)], check=True, capture_output=True)
        self.assertEqual(out.read_bytes(), self.back["embed"].tobytes())

    def test_same_bytes(self):
        want = self.archive.read_bytes()
        out = self.dir / "again.qins"
        for options in (["--threads", "1"], ["--threads", "2"], ["--threads", "7"], ["--resume"]):
            support.run_qins("convert", self.source, "-o", out, "--plan", self.plan_file, *options,
                             check=0)
            self.assertEqual(out.read_bytes(), want, options)

    def test_resumed(self):
        """A spool that was cut at any frame goes on to the same archive."""
        out, part = self.dir / "cut.qins", self.dir / "cut.qins.part"
        command = ["convert", self.source, "-o", out, "--plan", self.plan_file, "--resume",
                   "--threads", "1"]
        own = self.own_spool(command, part)
        at, cuts = 40, []
        while at < len(own):
            at += 48 + struct.unpack_from("<Q", own, at + 8)[0]
            cuts.append(at)
        self.assertGreaterEqual(len(cuts), 8)
        for cut in cuts[:3] + [cuts[1] + 100, len(own) - 1]:
            part.write_bytes(own[:cut])
            support.run_qins(*command, check=0)
            self.assertEqual(out.read_bytes(), self.archive.read_bytes(), cut)
            self.assertFalse(part.exists())

    def own_spool(self, command, part):
        """The whole spool of a job: it stays where the last step fails, for want of a place."""
        out = command[command.index("-o") + 1]
        out.unlink(missing_ok=True)
        out.mkdir()
        (out / "x").write_text("in the way")
        done = support.run_qins(*command)
        self.assertNotEqual(done.returncode, 0)
        shutil.rmtree(out)
        return part.read_bytes()

    def test_other_job(self):
        """Another plan does not go on with this one's work."""
        out, part = self.dir / "other.qins", self.dir / "other.qins.part"
        spool = self.own_spool(["convert", self.source, "-o", out, "--plan", self.plan_file,
                                "--resume"], part)
        changed = copy.deepcopy(self.plan)
        changed["tensors"][0]["blocks"][1]["levels"] = 499
        support.run_qins("convert", self.source, "-o", out, "--plan",
                         self.write_plan(changed, "changed.json"), "--resume", check=2)
        self.assertEqual(part.read_bytes(), spool)
        part.unlink()

    def test_edited_plan(self):
        edited = copy.deepcopy(self.plan)
        edited["tensors"][4].update(levels=2047, codec="huffman", reason="by hand", blocks=[])
        edited["tensors"][4]["class"] = "cold"
        out = self.dir / "edited.qins"
        support.run_qins("convert", self.source, "-o", out, "--plan",
                         self.write_plan(edited, "edited.json"), check=0)
        t = json.loads(support.run_qins("inspect", out, "--json", check=0).stdout)["tensors"][4]
        self.assertEqual([t[k] for k in ("levels", "bits", "codec", "reason", "class", "blocks")],
                         [2047, 12, "huffman", "by hand", "cold", []])
        support.run_qins("verify", out, "--against", self.source, check=0)

    def test_damage(self):
        """A flipped byte of a compound chunk is found, by verify and by restore."""
        data = bytearray(self.archive.read_bytes())
        payload = self.chunks["embed"][1][0]
        at = bytes(data).index(payload) + len(payload) // 2
        data[at] ^= 16
        bad = self.dir / "bad.qins"
        bad.write_bytes(data)
        support.run_qins("verify", bad, check=3)
        done = support.run_qins("restore", bad, "-o", self.dir / "bad.safetensors", check=3)
        self.assertIn("'embed'", done.stderr)

    def test_wrong_source(self):
        other = self.dir / "other.safetensors"
        x = self.x.copy()
        x[1, 7] += F(0.05)
        data = self.source.read_bytes()
        at = data.index(self.x.tobytes())
        other.write_bytes(data[:at] + x.tobytes() + data[at + x.nbytes:])
        done = support.run_qins("verify", self.archive, "--against", other, check=1)
        self.assertIn("'embed'", done.stderr)
        self.assertIn("the first is 307", done.stderr)


@unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
class Refusals(Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = cls.dir / "m.safetensors"
        x = np.random.default_rng(2).standard_normal((64, 32)).astype(F)
        support.write_safetensors(cls.source, {
            "w": ("F32", (64, 32), [x.tobytes()]), "v": ("F32", (32,), [x[0].tobytes()]),
            "n": ("I32", (2,), [bytes(8)]), "s": ("F32", (), [bytes(4)])})
        cls.good = plan(line("w", "F32", (64, 32), levels=7, codec="bitpack"),
                        line("v", "F32", (32,)), line("n", "I32", (2,)), line("s", "F32", ()))

    def refuse(self, change, *words, status=3):
        p = copy.deepcopy(self.good)
        p = change(p) or p
        out = self.dir / "out.qins"
        done = support.run_qins("convert", self.source, "-o", out, "--plan", self.write_plan(p),
                                check=status)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse(out.exists())

    def change(self, index, *words, **keys):
        self.refuse(lambda p: p["tensors"][index].update(keys), *words)

    def test_sound(self):
        out = self.dir / "good.qins"
        support.run_qins("convert", self.source, "-o", out, "--plan", self.write_plan(self.good),
                         check=0)
        support.run_qins("verify", out, "--against", self.source, check=0)

    def test_target(self):
        """A plan that was edited to take more than its target is carried out, with a note."""
        p = copy.deepcopy(self.good)
        p["summary"] = {"budget": {"target_size_bytes": 1000}}
        out = self.dir / "target.qins"
        plan = self.write_plan(p)
        done = support.run_qins("convert", self.source, "-o", out, "--plan", plan, "--json", check=0)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn(f"the archive takes {out.stat().st_size} bytes", done.stderr)
        self.assertIn("over the plan's target of 1000 ", done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["plan_target_bytes"], 1000)
        support.validate(report, "convert")
        done = support.run_qins("convert", self.source, "-o", out, "--plan", plan, "--quiet", check=0)
        self.assertEqual(done.stderr, "")
        for enough in ({"target_size_bytes": 1 << 20}, {"target_size_bytes": None}, 7):
            p["summary"] = {"budget": enough}
            done = support.run_qins("convert", self.source, "-o", out, "--plan", self.write_plan(p),
                                    check=0)
            self.assertEqual(done.stderr, "")

    def test_terminal(self):
        """What a plan says reaches no terminal as a command."""
        p = copy.deepcopy(self.good)
        p["summary"] = {"cost": "c\x1b[31m"}
        p["tensors"][0].update(reason="r\x1b[31m\x07", candidates=[{"codings": []}])
        done = support.run_qins("plan", "--explain", "w", self.write_plan(p), check=0)
        self.assertIn("w: r\\x1b[31m\\x07\ncost: c\\x1b[31m\n", done.stdout)

    def test_lines(self):
        self.change(0, "'w'", "not known", kapa=1)
        self.change(0, "'w'", '"levels"', levels=2048)
        self.change(0, "'w'", '"levels"', levels=0)
        self.change(0, "'w'", '"levels"', levels="7")
        self.change(0, "'w'", "4 bits", bits=5)
        self.change(0, "'w'", '"kappa" must be null or a number from 0 to 65536', kappa=-1)
        self.change(0, "'w'", '"clip" must be null or a number from 0.01 to 1', clip=1.5)
        self.change(0, "'w'", '"group" must be "tensor", "row" or a number', group=0)
        self.change(0, "'w'", '"group" must be', group="rows")
        self.change(0, "'w'", '"codec" must be one of store, bitpack, huffman, rle, rle-huffman, zstd, tans',
                    codec="arithmetic")
        self.change(0, "'w'", '"rounding" must be "nearest" or "feedback"', rounding="up")
        self.change(0, "'w'", '"class" must be "hot", "cold" or "unknown"', **{"class": "warm"})
        self.change(0, "'w'", '"access_frequency"', access_frequency=-1)
        self.change(0, "'w'", '"reason"', reason="x" * 256)
        self.change(0, "'w'", '"sensitivity"', sensitivity="much")
        self.change(0, "'w'", "bitpack", levels=None)
        self.change(0, "'w'", '"kappa"', levels=None, codec="zstd", kappa=1)
        self.change(0, "'w'", "64x31", shape=[64, 31])
        self.change(0, "'w'", "BF16", dtype="BF16")
        self.change(1, "'v'", "a matrix", levels=7, rounding="feedback")
        self.change(2, "'n'", "levels must be null", levels=7)
        self.change(3, "'s'", "levels must be null", levels=7)

    def test_tensors(self):
        self.refuse(lambda p: p["tensors"].pop(1) and None, "'v'", "no line")
        self.refuse(lambda p: p["tensors"].append(p["tensors"][0]), "'w'", "twice")
        self.refuse(lambda p: p["tensors"].append(line("u", "F32", (1,))), "'u'", "no such tensor")
        self.refuse(lambda p: p["tensors"][0].pop("codec") and None, "'w'", '"codec"')
        self.refuse(lambda p: p["tensors"][0].pop("name") and None, '"name"')
        self.refuse(lambda p: p["tensors"][0].pop("dtype") and None, "'w'", '"dtype"')

    def test_whole(self):
        self.refuse(lambda p: p.update(schema="qins/plan/2"), "no plan")
        self.refuse(lambda p: p.update(tensor=[]), "not known")
        self.refuse(lambda p: p.update(tensors={}), '"tensors"')
        self.refuse(lambda p: p.update(summary=[]), '"summary"')
        self.refuse(lambda p: [p], "no plan")
        path = self.dir / "empty.json"
        path.touch()
        done = support.run_qins("convert", self.source, "-o", self.dir / "x.qins", "--plan", path,
                                check=3)
        self.assertEqual(done.stderr, f"qins: {path}: it is empty, not JSON\n")
        path = self.dir / "torn.json"
        path.write_text(json.dumps(self.good)[:-3])
        support.run_qins("convert", self.source, "-o", self.dir / "x.qins", "--plan", path, check=3)
        support.run_qins("convert", self.source, "-o", self.dir / "x.qins", "--plan",
                         self.dir / "none.json", check=4)

    def test_blocks(self):
        def blocks(*words, **changes):
            b = [{"row_begin": 0, "row_end": 10}, {"row_begin": 10, "row_end": 64}]
            for key, value in changes.items():
                b[int(key[-1])][key[:-1]] = value
            self.change(0, "'w'", *words, blocks=b)
        blocks("cover", row_end0=9)
        blocks("cover", row_end1=63)
        blocks("cover", row_end1=65)
        blocks("cover", row_begin0=1)
        blocks("cover", row_begin1=9)
        blocks("cover", row_end0=0)
        blocks('"row_end"', row_end0=-1)
        blocks('"row_begin"', row_begin0="0")
        blocks("not known", name0="x")
        blocks('"levels"', levels1=5000)
        blocks("block 1", levels1=None)
        self.change(1, "'v'", "matrix", blocks=[{"row_begin": 0, "row_end": 32}])
        self.change(0, "'w'", '"blocks"', blocks={"row_begin": 0})

    def test_options(self):
        path = self.write_plan(self.good)
        for options in (["--bits", "4"], ["--lossless"], ["--rounding", "nearest"], ["--kappa", "1"]):
            done = support.run_qins("convert", self.source, "-o", self.dir / "x.qins", "--plan", path,
                                    *options, check=2)
            self.assertIn(options[0], done.stderr)
        support.run_qins("convert", self.source, "-o", path, "--plan", path, check=2)
        self.refuse(lambda p: p["tensors"][0].update(rounding="feedback"), "'w'", "calibration",
                    status=2)


class Feedback(Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        text = cls.dir / "text.txt"
        text.write_text("In the beginning God created the heaven and the earth. " * 40
                        + "And the earth was without form, and void; and darkness was upon it. " * 40)
        cls.calibration = cls.dir / "c.h5"
        support.run_qins("calibrate", support.MODEL, "--text", text, "--gram", "-o", cls.calibration,
                         check=0)
        weights = support.read_safetensors(support.MODEL / "model.safetensors")
        cls.x = {name: w for name, w in weights.items()}
        lines = []
        for name, w in cls.x.items():
            keys = {}
            if w.ndim == 2:
                keys = {"levels": 7, "kappa": 0.5, "codec": "store",
                        "rounding": "nearest" if "embed_tokens" in name else "feedback"}
            lines.append(line(name, "F32", w.shape, **keys))
            if "layers.0.mlp.down_proj" in name:
                lines[-1].update(group=64, clip=0.8)
            if "layers.0.self_attn.o_proj" in name:
                lines[-1].update(group="tensor")
            if "lm_head" in name:
                lines[-1]["blocks"] = [{"row_begin": 0, "row_end": 7},
                                       {"row_begin": 7, "row_end": 900, "levels": 3},
                                       {"row_begin": 900, "row_end": w.shape[0],
                                        "rounding": "nearest"}]
        cls.plan = plan(*lines)
        cls.plan_file = cls.dir / "plan.json"
        cls.plan_file.write_text(json.dumps(cls.plan))
        cls.archive = cls.dir / "f.qins"
        cls.convert(cls.archive)
        cls.chunks = archive_chunks(cls.archive)

    @classmethod
    def convert(cls, out, *options):
        support.run_qins("convert", support.MODEL, "-o", out, "--plan", cls.plan_file,
                         "--calibration", cls.calibration, *options, check=0)

    def gram(self, name):
        with h5py.File(self.calibration, "r") as f:
            meta = json.loads(bytes(f["meta"][()]).rstrip(b"\0"))
            for point in meta["points"]:
                if name in point["tensors"] and point["name"].endswith(":input"):
                    return f["points"][point["name"]]["gram"][()]
        return None

    def test_bound(self):
        """The bound is the largest distance of the source, and verify checks it."""
        support.run_qins("restore", self.archive, "-o", self.dir / "back.safetensors", check=0)
        back = support.read_safetensors(self.dir / "back.safetensors")
        seen = 0
        for name, x in self.x.items():
            if x.ndim != 2:
                continue
            for (first, _), payload in zip(chunk_ranges(x.shape), self.chunks[name][1]):
                for at, part in oracle.parts(payload):
                    h, values = oracle.decode_payload(part)
                    begin = first + at
                    source = x.reshape(-1)[begin:begin + h["n"]]
                    self.assertEqual(values.astype(F).tobytes(),
                                     back[name].reshape(-1)[begin:begin + h["n"]].tobytes())
                    if h["rounding"]:
                        self.assertEqual(F(h["error_bound"]), np.abs(source - values).max(), name)
                        seen += 1
        self.assertGreater(seen, 40)
        report = json.loads(support.run_qins("verify", self.archive, "--against", support.MODEL,
                                             "--json", check=0).stdout)
        support.validate(report, "verify")
        kinds = {t["name"]: t["rounding"] for t in report["tensors"]}
        self.assertEqual((kinds["lm_head.weight"], kinds["model.embed_tokens.weight"],
                          kinds["model.norm.weight"]), ("feedback", "nearest", None))

    def test_weighted_error(self):
        """What feedback is for: tr(E G E^T) falls, the plain error grows."""
        nearest = copy.deepcopy(self.plan)
        for t in nearest["tensors"]:
            if t.get("rounding"):
                t["rounding"] = "nearest"
            for b in t.get("blocks", []):
                b["rounding"] = "nearest"
        out = self.dir / "n.qins"
        support.run_qins("convert", support.MODEL, "-o", out, "--plan",
                         self.write_plan(nearest, "nearest.json"), check=0)
        other = archive_chunks(out)
        with_gram = 0
        for name, x in self.x.items():
            gram = self.gram(name) if x.ndim == 2 and "layers" in name else None
            if gram is None:
                continue
            errors = []
            for chunks in (self.chunks, other):
                e = decode(chunks[name][1])[0].reshape(x.shape).astype(float) - x
                errors.append((float(np.einsum("ij,jk,ik->", e, gram, e)), float((e * e).sum())))
            self.assertLess(errors[0][0], 0.9 * errors[1][0], name)
            self.assertGreater(errors[0][1], errors[1][1], name)
            with_gram += 1
        self.assertEqual(with_gram, 42)

    def test_same_bytes(self):
        for options in (["--threads", "1"], ["--threads", "7"], ["--resume"]):
            out = self.dir / "again.qins"
            self.convert(out, *options)
            self.assertEqual(out.read_bytes(), self.archive.read_bytes(), options)

    def test_farther_than_the_bound(self):
        name = "model.layers.0.self_attn.v_proj.weight"
        other = self.dir / "other"
        shutil.copytree(support.MODEL, other)
        path = other / "model.safetensors"
        x = self.x[name].copy()
        bound = oracle.header(self.chunks[name][1][0])["error_bound"]
        x[3, 5] += F(4 * bound)
        data = path.read_bytes()
        at = data.index(self.x[name].tobytes())
        path.chmod(0o644)
        path.write_bytes(data[:at] + x.tobytes() + data[at + x.nbytes:])
        done = support.run_qins("verify", self.archive, "--against", other, check=1)
        self.assertIn(name, done.stderr)
        self.assertIn(f"the first is {3 * x.shape[1] + 5}", done.stderr)

    def test_no_gram(self):
        p = copy.deepcopy(self.plan)
        for t in p["tensors"]:
            if "embed_tokens" in t["name"]:
                t["rounding"] = "feedback"
        done = support.run_qins("convert", support.MODEL, "-o", self.dir / "x.qins", "--plan",
                                self.write_plan(p, "embed.json"), "--calibration", self.calibration,
                                check=3)
        self.assertIn("embed_tokens", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_without_a_plan(self):
        out = self.dir / "auto.qins"
        done = support.run_qins("convert", support.MODEL, "-o", out, "--bits", "4", "--calibration",
                                self.calibration, check=0)
        self.assertIn("embed_tokens", done.stderr)
        tensors = json.loads(support.run_qins("inspect", out, "--json", check=0).stdout)["tensors"]
        for t in tensors:
            want = None if t["levels"] is None else \
                "nearest" if "embed_tokens" in t["name"] else "feedback"
            self.assertEqual(t["rounding"], want, t["name"])
        support.run_qins("convert", support.MODEL, "-o", out, "--bits", "4", "--calibration",
                         self.calibration, "--rounding", "nearest", check=0)
        plain = self.dir / "plain.qins"
        support.run_qins("convert", support.MODEL, "-o", plain, "--bits", "4", check=0)
        self.assertEqual(out.read_bytes(), plain.read_bytes())
        support.run_qins("convert", support.MODEL, "-o", out, "--rounding", "feedback", check=2)

    def test_another_model(self):
        other = self.dir / "changed"
        shutil.copytree(support.MODEL, other)
        path = other / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
        done = support.run_qins("convert", other, "-o", self.dir / "x.qins", "--plan", self.plan_file,
                                "--calibration", self.calibration, check=3)
        self.assertIn("calibration was made with", done.stderr)


if __name__ == "__main__":
    support.main()
