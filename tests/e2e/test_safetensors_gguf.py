"""Safetensors, Hugging Face folders and GGUF through convert and restore, against files that the
independent writers of fixtures_safetensors_gguf.py made."""
import json
import pathlib
import tempfile
import unittest

import numpy as np

import fixtures_safetensors_gguf as fixtures
from support import PROGRAM, SHARED, main, run_qins


@unittest.skipUnless(PROGRAM.exists(), "no qins program in this build")
class Containers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def round_trip(self, source, output, output_is_folder=False):
        archive, out = self.folder / "a.qins", self.folder / output
        run_qins("convert", source, "-o", archive, "--lossless", "--quiet", check=0)
        run_qins("verify", archive, "--against", source, "--quiet", check=0)
        run_qins("restore", archive, "-o", f"{out}/" if output_is_folder else out, "--quiet",
                 check=0)
        return out

    def same_safetensors(self, got, want):
        (a, a_meta), (b, b_meta) = fixtures.read_safetensors(got), fixtures.read_safetensors(want)
        self.assertEqual(a, b)
        self.assertEqual(a_meta, b_meta)

    def test_every_dtype(self):
        source = self.folder / "all.safetensors"
        fixtures.write_safetensors(source, fixtures.every_dtype(), {"format": "pt", "ü": "\""})
        self.same_safetensors(self.round_trip(source, "out.safetensors"), source)

    def test_shards(self):
        folder, whole = self.folder / "model", self.folder / "whole.safetensors"
        tensors = fixtures.every_dtype()
        fixtures.write_sharded(folder, tensors, 3)
        (folder / "config.json").write_text('{"model_type": "none"}')
        self.round_trip(folder, "out", output_is_folder=True)
        out = self.folder / "out"
        fixtures.write_safetensors(whole, tensors, {"format": "pt"})
        self.same_safetensors(out / "model.safetensors", whole)
        self.assertEqual((out / "config.json").read_text(), '{"model_type": "none"}')

    def test_gguf(self):
        for options in {}, {"alignment": 128, "version": 2}:
            source = self.folder / "all.gguf"
            fixtures.write_gguf(source, fixtures.gguf_tensors(), fixtures.GGUF_KEYS, **options)
            out = self.round_trip(source, "out.gguf")
            self.assertEqual(out.read_bytes(), source.read_bytes())

    def test_gguf_to_safetensors(self):
        source, want = self.folder / "all.gguf", self.folder / "want.safetensors"
        fixtures.write_gguf(source, fixtures.gguf_tensors(), fixtures.GGUF_KEYS)
        fixtures.write_safetensors(want, fixtures.gguf_tensors())
        self.same_safetensors(self.round_trip(source, "out.safetensors"), want)

    def test_quantised_gguf(self):
        source = self.folder / "q.gguf"
        fixtures.write_gguf(source, {"plain": np.ones((2, 2), "<f4"),
                                     "q8": (8, (4, 64), bytes(8 * 34))})
        listed = json.loads(run_qins("inspect", source, "--json", check=0).stdout)
        self.assertEqual([(t["name"], t["dtype"], t["shape"]) for t in listed["tensors"]],
                         [("plain", "F32", [2, 2]), ("q8", "Q8_0", [4, 64])])
        done = run_qins("convert", source, "-o", self.folder / "a.qins", check=3)
        self.assertIn("q8", done.stderr)
        self.assertIn("Q8_0", done.stderr)
        self.assertFalse((self.folder / "a.qins").exists())

    def test_llama_to_gguf(self):
        fixtures.make(str(self.folder / "f"))
        for name in "llama", "llama16":
            source = self.folder / "f" / name
            out = self.round_trip(source, "out.gguf")
            fixtures.check_llama(str(out), str(source))

    def test_types_that_gguf_lacks(self):
        source = self.folder / "u.safetensors"
        fixtures.write_safetensors(source, {"counts": np.ones(3, "<u4")})
        run_qins("convert", source, "-o", self.folder / "a.qins", check=0)
        done = run_qins("restore", self.folder / "a.qins", "-o", self.folder / "o.gguf", check=3)
        self.assertIn("counts", done.stderr)
        self.assertFalse((self.folder / "o.gguf").exists())

    def test_missing_shard(self):
        folder = self.folder / "model"
        fixtures.write_sharded(folder, fixtures.every_dtype(), 2, {"more": "gone.safetensors"})
        done = run_qins("convert", folder, "-o", self.folder / "a.qins", check=3)
        self.assertIn("gone.safetensors", done.stderr)

    @unittest.skipUnless(SHARED.is_dir(), "QINS_SHARED_DATA is not there")
    def test_real_files(self):
        for name in ("models/kjv-1.7m/model.safetensors", "models/tl-reverse/reverse_model.safetensors",
                     "tricky/ggml-vocab-phi-3.gguf"):
            with self.subTest(name):
                source = SHARED / name
                out = self.round_trip(source, "out" + source.suffix)
                self.assertEqual(out.read_bytes(), source.read_bytes())
        out = self.round_trip(SHARED / "tricky/empty_header_16bytes.safetensors",
                              "empty.safetensors")
        self.assertEqual(fixtures.read_safetensors(out), ({}, None))


if __name__ == "__main__":
    main()
