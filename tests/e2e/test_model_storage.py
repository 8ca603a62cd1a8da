"""Tiny random models as they are stored: types, shards, names, containers and archives."""
import numpy as np

import model_fixtures as fixtures
import reference_models
from fixtures_safetensors_gguf import write_safetensors
from forward_case import ForwardCase
from support import main, run_qins


class Storage(ForwardCase):
    def test_narrow_types(self):
        """BF16 and F16 give what the same weights give in F32, and what the reference gives."""
        for kind in ("llama", "phi3", "gpt2", "gpt_neox", "mixtral"):
            for dtype in ("BF16", "F16"):
                with self.subTest(kind, dtype=dtype):
                    config, tensors = fixtures.make(kind, seed=11)
                    stored = fixtures.write_folder(self.dir / "narrow", config, tensors, dtype)
                    fixtures.write_folder(self.dir / "wide", config, stored)
                    ids = fixtures.random_ids(100)
                    for options in ((), ("--split", 30)):
                        narrow = self.forward(self.dir / "narrow", ids, *options)
                        wide = self.forward(self.dir / "wide", ids, *options)
                        self.assert_close(narrow, wide, 1e-6)
                    self.assert_close(narrow,
                                      reference_models.Reference(config, stored).logits(ids))

    def test_other_types(self):
        """F64 is rounded to F32; F8 keeps its values."""
        config, tensors = fixtures.make("llama", seed=12)
        ids = fixtures.random_ids(50)
        fixtures.write_folder(self.dir / "f32", config, tensors)
        (self.dir / "f64").mkdir()
        fixtures.write_config(self.dir / "f64", config)
        rng = np.random.default_rng(1)
        write_safetensors(self.dir / "f64" / "model.safetensors", {
            k: v.astype(np.float64) * (1 + 1e-9 * rng.uniform(-1, 1, v.shape))
            for k, v in tensors.items()})
        self.assert_same(self.forward(self.dir / "f64", ids), self.forward(self.dir / "f32", ids))
        for name, decode in fixtures.F8_VALUES.items():
            with self.subTest(name):
                table = np.array([decode(byte) for byte in range(256)])
                codes = {k: fixtures.nearest(table, v) for k, v in tensors.items()}
                stored = {k: table[v].astype(np.float32) for k, v in codes.items()}
                folder = self.dir / name
                folder.mkdir()
                fixtures.write_config(folder, config)
                write_safetensors(folder / "model.safetensors",
                                  {k: (name, v) for k, v in codes.items()})
                self.assert_close(self.forward(folder, ids),
                                  reference_models.Reference(config, stored).logits(ids))

    def test_archives(self):
        """A lossless archive has the bits of its checkpoint; a quantised one those of what
        restore makes of it."""
        ids = fixtures.random_ids(40)
        for kind in ("qwen2", "phi3", "gpt2", "gpt_neox", "mixtral", "llama2c"):
            config, tensors = fixtures.make(kind, seed=6)
            model = self.dir / ("m.bin" if kind == "llama2c" else kind)
            if kind == "llama2c":
                fixtures.write_llama2c(model, config, tensors)
            else:
                fixtures.write_folder(model, config, tensors)
            for options in (("--lossless",), ("--bits", "6")):
                with self.subTest(kind, options=options):
                    archive = self.dir / f"{kind}{len(options)}.qins"
                    run_qins("convert", model, "-o", archive, "--quiet", *options, check=0)
                    if options == ("--lossless",):
                        expected = self.forward(model, ids)
                    elif kind == "llama2c":
                        continue  # what restore writes has no llama2.c header
                    else:
                        folder = self.dir / f"{kind}-restored"
                        run_qins("restore", archive, "-o", f"{folder}/", "--quiet", check=0)
                        expected = self.forward(folder, ids)
                    self.assert_same(self.forward(archive, ids), expected)

    def test_shards_and_names_without_prefix(self):
        for kind, prefix in (("llama", "model."), ("gpt2", "transformer."),
                             ("gpt_neox", "gpt_neox.")):
            with self.subTest(kind):
                config, tensors = fixtures.make(kind)
                fixtures.write_folder(self.dir / f"{kind}-whole", config, tensors)
                fixtures.write_folder(self.dir / f"{kind}-shards", config, tensors, shards=3)
                fixtures.write_folder(self.dir / f"{kind}-bare", config, tensors, prefix=prefix)
                ids = fixtures.random_ids(80)
                whole = self.forward(self.dir / f"{kind}-whole", ids)
                self.assert_same(self.forward(self.dir / f"{kind}-shards", ids), whole)
                self.assert_same(self.forward(self.dir / f"{kind}-bare", ids), whole)

    def test_known_meaningless_tensors(self):
        config, tensors = fixtures.make("gpt2")
        fixtures.write_folder(self.dir / "plain", config, tensors)
        mask = np.tril(np.ones((1, 1, 200, 200), np.float32))
        tensors["transformer.h.0.attn.bias"] = mask
        tensors["transformer.h.0.attn.masked_bias"] = np.float32([-1e4])
        fixtures.write_folder(self.dir / "masks", config, tensors)
        ids = fixtures.random_ids(20)
        self.assert_same(self.forward(self.dir / "masks", ids),
                         self.forward(self.dir / "plain", ids))

    def test_tied_head_that_is_stored_twice(self):
        """A tied checkpoint may hold its head as well; the embedding is what counts."""
        config, tensors = fixtures.make("qwen2")
        fixtures.write_folder(self.dir / "tied", config, tensors)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        fixtures.write_folder(self.dir / "twice", config, tensors)
        ids = fixtures.random_ids(20)
        self.assert_same(self.forward(self.dir / "twice", ids),
                         self.forward(self.dir / "tied", ids))

    def test_other_containers(self):
        """The same model as .npz, .h5 and torch file, with config.json beside it, whether the
        folder is named or the file."""
        config, tensors = fixtures.make("llama")
        fixtures.write_folder(self.dir / "st", config, tensors)
        ids = fixtures.random_ids(40)
        expected = self.forward(self.dir / "st", ids)
        for name, write in fixtures.CONTAINERS.items():
            with self.subTest(name):
                path = self.dir / f"folder-{name}"
                path.mkdir()
                fixtures.write_config(path, config)
                if not write(path / name, tensors):
                    self.skipTest(f"nothing here writes {name}")
                self.assert_same(self.forward(path, ids), expected)
                self.assert_same(self.forward(path / name, ids), expected)
                archive = self.dir / f"{name}.qins"
                run_qins("convert", path / name, "-o", archive, "--lossless", "--quiet", check=0)
                self.assert_same(self.forward(archive, ids), expected)

    def test_narrow_archive(self):
        """BF16 and F16 tensors come out of a lossless archive as they went in."""
        for dtype in ("BF16", "F16"):
            config, tensors = fixtures.make("llama", seed=8)
            fixtures.write_folder(self.dir / dtype, config, tensors, dtype)
            archive = self.dir / f"{dtype}.qins"
            run_qins("convert", self.dir / dtype, "-o", archive, "--lossless", "--quiet", check=0)
            ids = fixtures.random_ids(60)
            self.assert_close(self.forward(archive, ids), self.forward(self.dir / dtype, ids),
                              1e-6)


if __name__ == "__main__":
    main()
