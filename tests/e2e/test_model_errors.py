"""What cannot be run is refused by one clear line that names the file, the tensor or the key, with
exit 3 and nothing else on any stream: configs, tensors, token ids, tokenizers."""
import copy
import json
import pathlib
import struct
import tempfile
import unittest

import numpy as np

import model_fixtures as fixtures
from support import MODEL, main, run_qins

GONE = object()  # in a table: the key is taken out

# kind, changes of config.json, what the line must say
CONFIGS = [
    ("llama", dict(model_type=GONE), ["model_type"]),
    ("llama", dict(model_type=3), ["model_type"]),
    ("llama", dict(model_type="mamba"), ["model_type", "mamba"]),
    ("llama", dict(model_type="llama\n\x1b[31m"), ["model_type"]),
    ("llama", dict(attn_logit_softcapping=30.0), ["attn_logit_softcapping"]),
    ("llama", {"q\nkey": 1}, ["key"]),
    ("llama", dict(n_embd=48), ["n_embd"]),
    ("llama", dict(quantization_config=dict(bits=4)), ["quantization_config"]),
    ("llama", dict(is_encoder_decoder=True), ["is_encoder_decoder"]),
    ("llama", dict(hidden_size=GONE), ["hidden_size"]),
    ("llama", dict(num_hidden_layers=GONE), ["num_hidden_layers"]),
    ("llama", dict(vocab_size=GONE), ["vocab_size"]),
    ("llama", dict(hidden_size="48"), ["hidden_size"]),
    ("llama", dict(hidden_size=None), ["hidden_size"]),
    ("llama", dict(hidden_size=48.5), ["hidden_size"]),
    ("llama", dict(hidden_size=-48), ["hidden_size"]),
    ("llama", dict(hidden_size=0), ["hidden_size"]),
    ("llama", dict(hidden_size=10 ** 300), []),
    ("llama", dict(hidden_size=2 ** 31), ["hidden_size"]),
    ("llama", dict(hidden_size=True), ["hidden_size"]),
    ("llama", dict(num_hidden_layers=[3]), ["num_hidden_layers"]),
    ("llama", dict(num_hidden_layers=2 ** 20), ["num_hidden_layers"]),
    ("llama", dict(num_attention_heads=7), ["48", "7"]),
    ("llama", dict(num_key_value_heads=4), ["6", "4"]),
    ("llama", dict(num_key_value_heads=12), ["6", "12"]),
    ("llama", dict(head_dim=7), ["7"]),
    ("llama", dict(head_dim=2 ** 20), ["head"]),
    ("llama", dict(rms_norm_eps="small"), ["rms_norm_eps"]),
    ("llama", dict(rms_norm_eps=-1.0), ["rms_norm_eps"]),
    ("llama", dict(hidden_act="quick_gelu"), ["hidden_act", "quick_gelu"]),
    ("llama", dict(hidden_act=3), ["hidden_act"]),
    ("llama", dict(rope_theta=0), ["rope_theta"]),
    ("llama", dict(rope_theta=[1]), ["rope_theta"]),
    ("llama", dict(tie_word_embeddings=1), ["tie_word_embeddings"]),
    ("llama", dict(attention_bias="no"), ["attention_bias"]),
    ("llama", dict(eos_token_id="x"), ["eos_token_id"]),
    ("llama", dict(eos_token_id=[1, {}]), ["eos_token_id"]),
    ("llama", dict(bos_token_id=-3), ["bos_token_id"]),
    ("llama", dict(max_position_embeddings=0), ["max_position_embeddings"]),
    ("llama", dict(rope_scaling=4), ["rope_scaling"]),
    ("llama", dict(rope_scaling=dict(type="yarn", factor=4.0)), ["rope_scaling", "yarn"]),
    ("llama", dict(rope_scaling=dict(type="dynamic", factor=4.0)), ["rope_scaling", "dynamic"]),
    ("llama", dict(rope_scaling=dict(factor=4.0)), ["rope_scaling"]),
    ("llama", dict(rope_scaling=dict(type="linear")), ["rope_scaling", "factor"]),
    ("llama", dict(rope_scaling=dict(type="linear", factor=0)), ["rope_scaling", "factor"]),
    ("llama", dict(rope_scaling=dict(type="linear", factor=2, beta=1)), ["rope_scaling", "beta"]),
    ("llama", dict(rope_scaling=dict(fixtures.LLAMA3, low_freq_factor=None)),
     ["low_freq_factor"]),
    ("llama", dict(rope_scaling=dict(fixtures.LLAMA3, high_freq_factor=1.0)),
     ["high_freq_factor"]),
    ("llama", dict(rope_scaling=dict(fixtures.LLAMA3, original_max_position_embeddings="64")),
     ["original_max_position_embeddings"]),
    ("mistral", dict(sliding_window="x"), ["sliding_window"]),
    ("mistral", dict(sliding_window=-5), ["sliding_window"]),
    ("mistral", dict(attention_bias=True), ["attention_bias"]),
    ("qwen2", dict(use_sliding_window="yes"), ["use_sliding_window"]),
    ("qwen2", dict(max_window_layers=-1), ["max_window_layers"]),
    ("qwen2", dict(layer_types=["full_attention"]), ["layer_types"]),
    ("qwen2", dict(layer_types=["full_attention", "mamba", "full_attention"]),
     ["layer_types", "mamba"]),
    ("qwen3", dict(use_mrope=True), ["use_mrope"]),
    ("phi3", dict(partial_rotary_factor=2.0), ["partial_rotary_factor"]),
    ("phi3", dict(partial_rotary_factor=0.2), ["rotated"]),
    ("phi3", dict(rope_scaling=dict(fixtures.LONGROPE, short_factor=[1.0])), ["short_factor"]),
    ("phi3", dict(rope_scaling=dict(fixtures.LONGROPE, long_factor=[1, 2, 3, "4"])),
     ["long_factor"]),
    ("phi3", dict(rope_scaling=dict(fixtures.LONGROPE, long_factor=[1, 2, 3, 0])),
     ["long_factor"]),
    ("phi3", dict(rope_scaling=dict(fixtures.LONGROPE, attention_factor=-1)),
     ["attention_factor"]),
    ("gpt2", dict(n_head=5), ["48", "5"]),
    ("gpt2", dict(scale_attn_by_inverse_layer_idx=True), ["scale_attn_by_inverse_layer_idx"]),
    ("gpt2", dict(activation_function="mish"), ["activation_function", "mish"]),
    ("gpt_neox", dict(rotary_pct=-0.5), ["rotary_pct"]),
    ("gpt_neox", dict(use_parallel_residual=2), ["use_parallel_residual"]),
    ("mixtral", dict(num_experts_per_tok=6), ["num_experts_per_tok"]),
    ("mixtral", dict(num_local_experts=0), ["num_local_experts"]),
]

TEXTS = {
    "empty": b"",
    "cut short": b'{"model_type": "llama", ',
    "no object": b"[1, 2]",
    "a string": b'"llama"',
    "two values": b'{"model_type": "llama"} {}',
    "not UTF-8": b'{"model_type": "ll\xff\xfema"}',
    "a key twice": b'{"model_type": "llama", "hidden_size": 4, "hidden_size": 8}',
    "a zero byte": b'{"model_type": "llama"}\0',
    "NaN": b'{"model_type": "llama", "rms_norm_eps": NaN}',
    "deep": b'{"model_type": "llama", "x": ' + b"[" * 100000 + b"]" * 100000 + b"}",
}


class Refusals(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = pathlib.Path(temporary.name)
        self.ids = self.dir / "ids.npy"
        np.save(self.ids, np.arange(5))

    def refused(self, words, *arguments, exit_code=3):
        done = run_qins(*arguments)
        text = f"qins {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}"
        self.assertEqual(done.returncode, exit_code, text)
        self.assertEqual(done.stdout, "", text)
        self.assertRegex(done.stderr, r"\Aqins: [^\n]+\n\Z", text)
        self.assertTrue(all(c.isprintable() for c in done.stderr[:-1]), text)
        for word in words:
            self.assertIn(str(word), done.stderr, text)

    def generate(self, words, model, *options, **more):
        self.refused(words, "generate", model, "--ids", self.ids, "--tokens", "1", *options,
                     **more)

    def folder(self, kind="llama", config=(), tensors=None, name="m", **changes):
        """A folder of a model; CONFIG holds changes of the file that the tensors do not know."""
        made, values = fixtures.make(kind, **changes)
        if tensors:
            tensors(values)
        made.update(config)
        made = {k: v for k, v in made.items() if v is not GONE}
        fixtures.write_folder(self.dir / name, made, values)
        return self.dir / name


class Configs(Refusals):
    def test_values(self):
        for kind, changes, words in CONFIGS:
            with self.subTest(kind, **changes):
                model = self.folder(kind, changes)
                self.generate(["config.json", *words], model)

    def test_texts(self):
        model = self.folder()
        for name, text in TEXTS.items():
            with self.subTest(name):
                (model / "config.json").write_bytes(text)
                self.generate(["config.json"], model)

    def test_no_config(self):
        model = self.folder()
        (model / "config.json").unlink()
        self.generate(["config.json", model], model)
        _, tensors = fixtures.make("llama")
        (self.dir / "bare").mkdir()
        fixtures.write_npz(self.dir / "bare" / "m.npz", tensors)
        self.generate(["config.json", self.dir / "bare"], self.dir / "bare")

    def test_logits_that_are_not_finite(self):
        def spoil(values):
            values["model.norm.weight"] = np.full_like(values["model.norm.weight"], np.nan)

        model = self.folder(tensors=spoil)
        self.refused([model, "not finite"], "generate", model, "--ids", self.ids, "--json")
        self.refused([model, "not finite", "window 0"], "validate", model, "--ids", self.ids,
                     "--context", "4", "--tests", "perplexity")

    def test_other_verbs_say_the_same(self):
        model = self.folder(config=dict(hidden_act="quick_gelu"))
        self.refused(["config.json", "hidden_act"], "validate", model, "--ids", self.ids,
                     "--tests", "perplexity", "--context", "4")
        out = self.dir / "a.h5"
        self.refused(["config.json", "hidden_act"], "calibrate", model, "--ids", self.ids, "-o",
                     out)
        self.assertEqual(list(self.dir.glob("a.h5*")), [])

    def test_an_archive_keeps_its_config(self):
        model = self.folder(config=dict(attn_logit_softcapping=30.0))
        archive = self.dir / "a.qins"
        run_qins("convert", model, "-o", archive, "--lossless", "--quiet", check=0)
        self.generate(["config.json", "attn_logit_softcapping", archive], archive)


class Tensors(Refusals):
    MISSING = {
        "llama": ["model.embed_tokens", "model.layers.1.input_layernorm",
                  "model.layers.0.self_attn.q_proj", "model.layers.2.self_attn.v_proj",
                  "model.layers.2.mlp.down_proj", "model.norm", "lm_head"],
        "qwen3": ["model.layers.0.self_attn.k_norm"],
        "phi3": ["model.layers.1.self_attn.qkv_proj", "model.layers.1.mlp.gate_up_proj"],
        "gpt2": ["transformer.wpe", "transformer.h.2.attn.c_attn", "transformer.ln_f"],
        "gpt_neox": ["gpt_neox.embed_in", "gpt_neox.layers.0.attention.dense", "embed_out"],
        "mixtral": ["model.layers.0.block_sparse_moe.gate",
                    "model.layers.2.block_sparse_moe.experts.4.w3"],
    }

    def test_missing(self):
        for kind, names in self.MISSING.items():
            for name in names:
                with self.subTest(name):
                    model = self.folder(kind, tensors=lambda t, n=name: t.pop(n + ".weight"))
                    self.generate([name + ".weight", model], model)

    def test_missing_biases(self):
        for kind, name in (("qwen2", "model.layers.1.self_attn.k_proj.bias"),
                           ("gpt2", "transformer.h.0.mlp.c_fc.bias"),
                           ("gpt2", "transformer.h.1.ln_2.bias"),
                           ("gpt_neox", "gpt_neox.layers.2.attention.query_key_value.bias")):
            with self.subTest(name):
                model = self.folder(kind, tensors=lambda t, n=name: t.pop(n))
                self.generate([name, model], model)

    def test_shapes(self):
        def transpose(name):
            return lambda t: t.__setitem__(name, np.ascontiguousarray(t[name].T))

        def shape(name, *extents):
            return lambda t: t.__setitem__(name, np.ones(extents, np.float32))
        cases = [
            ("llama", "model.layers.0.mlp.gate_proj.weight", transpose, ()),
            ("gpt2", "transformer.h.0.mlp.c_fc.weight", transpose, ()),
            ("llama", "model.layers.1.self_attn.k_proj.weight", shape, (48, 48)),
            ("llama", "model.embed_tokens.weight", shape, (96, 48)),
            ("llama", "model.norm.weight", shape, (48, 1)),
            ("llama", "model.norm.weight", shape, (47,)),
            ("llama", "lm_head.weight", shape, (97 * 48,)),
            ("llama", "lm_head.weight", shape, (0, 48)),
            ("qwen2", "model.layers.1.self_attn.q_proj.bias", shape, (41,)),
            ("phi3", "model.layers.1.self_attn.qkv_proj.weight", shape, (32, 32)),
            ("gpt2", "transformer.wpe.weight", shape, (199, 48)),
            ("mixtral", "model.layers.0.block_sparse_moe.gate.weight", shape, (4, 32)),
        ]
        for kind, name, change, extents in cases:
            with self.subTest(name, extents=extents):
                model = self.folder(kind, tensors=change(name, *extents))
                self.generate([name, model, "shape"], model)

    def test_config_of_another_size(self):
        for changes, word in ((dict(vocab_size=98), "model.embed_tokens.weight"),
                              (dict(vocab_size=2 ** 24), "model.embed_tokens.weight"),
                              (dict(num_hidden_layers=4), "3"),
                              (dict(num_hidden_layers=4096), "4096"),
                              (dict(head_dim=16), "q_proj.weight"),
                              (dict(hidden_size=2 ** 24, head_dim=8), "embed_tokens"),
                              (dict(intermediate_size=101), "mlp"),
                              (dict(attention_bias=True), "bias")):
            with self.subTest(**changes):
                model = self.folder(config=changes)
                self.generate([word, model], model)

    def test_biases_that_the_config_does_not_have(self):
        for kind, name, n in (("llama", "model.layers.0.self_attn.q_proj.bias", 48),
                              ("llama", "model.layers.2.mlp.down_proj.bias", 48),
                              ("qwen2", "model.layers.1.self_attn.o_proj.bias", 40),
                              ("phi3", "model.layers.1.mlp.gate_up_proj.bias", 112),
                              ("llama", "lm_head.bias", 97)):
            with self.subTest(name):
                model = self.folder(
                    kind, tensors=lambda t: t.__setitem__(name, np.ones(n, np.float32)))
                self.generate([name, model, "bias"], model)

    def test_types(self):
        model = self.folder()
        (model / "model.safetensors").unlink()
        _, tensors = fixtures.make("llama")
        for name, dtype in (("model.layers.0.mlp.up_proj.weight", np.int32),
                            ("model.norm.weight", np.int64)):
            with self.subTest(name):
                changed = {k: v.astype(dtype) if k == name else v for k, v in tensors.items()}
                fixtures.write_npz(model / "m.npz", changed)
                self.generate([name, model], model)

    def test_files(self):
        config, tensors = fixtures.make("llama")
        model = self.dir / "shards"
        fixtures.write_folder(model, config, tensors, shards=3)
        whole = (model / "model-00002-of-00003.safetensors").read_bytes()
        (model / "model-00002-of-00003.safetensors").write_bytes(whole[:-100])
        self.generate(["model-00002-of-00003.safetensors"], model)
        (model / "model-00002-of-00003.safetensors").unlink()
        self.generate(["model-00002-of-00003.safetensors"], model)
        self.generate([self.dir / "nowhere"], self.dir / "nowhere", exit_code=4)

    def test_llama2c(self):
        config, tensors = fixtures.make("llama2c")
        path = self.dir / "m.bin"
        fixtures.write_llama2c(path, config, tensors)
        good = path.read_bytes()
        path.write_bytes(good[:-4])
        self.generate(["m.bin"], path)
        for at in range(0, 28, 4):
            for value in (0, -1, 2 ** 31 - 1):
                with self.subTest(at=at, value=value):
                    path.write_bytes(good[:at] + struct.pack("<i", value) + good[at + 4:])
                    self.generate(["m.bin"], path)


class Ids(Refusals):
    def test_ids(self):
        model = self.folder()
        cases = {
            "above": (np.array([1, 97, 3]), ["97", "1"]),
            "far above": (np.array([1, 2, 2 ** 40]), [str(2 ** 40), "2"]),
            "largest": (np.array([2 ** 64 - 1], np.uint64), [str(2 ** 64 - 1)]),
            "below": (np.array([-1, 2]), ["-1", "0"]),
            "reals": (np.array([1.0, 2.0]), []),
            "flags": (np.array([True]), []),
            "two axes": (np.ones((2, 2), np.int32), []),
            "no axis": (np.array(3), []),
            "strings": (np.array(["a"]), []),
        }
        for name, (array, words) in cases.items():
            with self.subTest(name):
                np.save(self.ids, array)
                self.generate(["ids.npy", *words], model)

    def test_files(self):
        model = self.folder()
        good = self.ids.read_bytes()
        for name, blob in (("empty", b""), ("text", b"1 2 3\n"), ("cut", good[:-3]),
                           ("no header", good[:9]), ("version", good[:6] + b"\x09" + good[7:])):
            with self.subTest(name):
                self.ids.write_bytes(blob)
                self.generate(["ids.npy"], model)
        self.ids.unlink()
        self.generate(["ids.npy"], model, exit_code=4)

    def test_other_verbs_say_the_same(self):
        model = self.folder()
        np.save(self.ids, np.array([1, 2, 3, 500, 4, 5, 6, 7, 8]))
        self.refused(["ids.npy", "500"], "validate", model, "--ids", self.ids, "--tests",
                     "perplexity", "--context", "4")
        self.refused(["ids.npy", "500"], "calibrate", model, "--ids", self.ids, "-o",
                     self.dir / "a.h5")

    def test_all_integer_types_are_read(self):
        model = self.folder()
        for code in ("<i1", "<u1", "<i2", ">i4", "<u4", "<i8", ">u8"):
            np.save(self.ids, np.arange(5).astype(code))
            run_qins("generate", model, "--ids", self.ids, "--tokens", "1", check=0)


def bpe(tokenizer):
    return tokenizer["model"]


@unittest.skipUnless(MODEL.exists(), "the example model is not here")
class Tokenizers(Refusals):
    """Changes of kjv-1.7m's tokenizer.json, each with what the line must say."""

    CHANGES = {
        "no model": (lambda t: t.pop("model"), ["model"]),
        "WordPiece": (lambda t: bpe(t).update(type="WordPiece"), ["WordPiece"]),
        "Unigram": (lambda t: t.update(model={"type": "Unigram", "vocab": []}), ["Unigram"]),
        "vocab a list": (lambda t: bpe(t).update(vocab=[1]), ["vocab"]),
        "vocab gone": (lambda t: bpe(t).pop("vocab"), ["vocab"]),
        "id below 0": (lambda t: bpe(t)["vocab"].update(a=-1), ["a"]),
        "id a string": (lambda t: bpe(t)["vocab"].update(a="7"), ["a"]),
        "id twice": (lambda t: bpe(t)["vocab"].update(newtoken=7), ["7"]),
        "id far off": (lambda t: bpe(t)["vocab"].update(newtoken=4000000000), ["4000000000"]),
        "merges an object": (lambda t: bpe(t).update(merges={}), ["merges"]),
        "merges gone": (lambda t: bpe(t).pop("merges"), ["merges"]),
        "merge of one piece": (lambda t: bpe(t)["merges"].insert(3, "abc"), ["merge 3"]),
        "merge of three": (lambda t: bpe(t)["merges"].insert(3, "a b c"), ["merge 3"]),
        "merge list of three": (lambda t: bpe(t)["merges"].insert(3, ["a", "b", "c"]),
                                ["merge 3"]),
        "merge a number": (lambda t: bpe(t)["merges"].insert(0, 7), ["merge 0"]),
        "merge empty": (lambda t: bpe(t)["merges"].insert(0, ""), ["merge 0"]),
        "merge of unknown": (lambda t: bpe(t)["merges"].insert(2, "qq zz"), ["merge 2"]),
        "merge to unknown": (lambda t: bpe(t)["merges"].insert(2, "z q"), ["merge 2"]),
        "dropout": (lambda t: bpe(t).update(dropout=0.1), ["dropout"]),
        "prefix": (lambda t: bpe(t).update(continuing_subword_prefix="##"),
                   ["continuing_subword_prefix"]),
        "normalizer": (lambda t: t.update(normalizer={"type": "BertNormalizer"}),
                       ["BertNormalizer"]),
        "normalizer typeless": (lambda t: t.update(normalizer={"x": 1}), ["normalizer"]),
        "pre-tokenizer": (lambda t: t.update(pre_tokenizer={"type": "UnicodeScripts"}),
                          ["UnicodeScripts"]),
        "pattern": (lambda t: t.update(pre_tokenizer={
            "type": "Split", "pattern": {"Regex": "(unclosed"}, "behavior": "Isolated",
            "invert": False}), ["unclosed"]),
        "behavior": (lambda t: t.update(pre_tokenizer={
            "type": "Split", "pattern": {"Regex": "a"}, "behavior": "Odd", "invert": False}),
            ["Odd"]),
        "decoder": (lambda t: t.update(decoder={"type": "CTC"}), ["CTC"]),
        "post-processor": (lambda t: t.update(post_processor={"type": "BertProcessing"}),
                           ["BertProcessing"]),
        "added tokens an object": (lambda t: t.update(added_tokens={}), ["added_tokens"]),
        "added token without content": (lambda t: t["added_tokens"].append({"id": 2048}),
                                        ["content"]),
        "added token of another id": (
            lambda t: t["added_tokens"].append({"id": 9, "content": "the"}), ["the", "9"]),
    }

    def setUp(self):
        super().setUp()
        self.tokenizer = json.loads((MODEL / "tokenizer.json").read_text())
        self.file = self.dir / "tokenizer.json"

    def encode(self, words, prompt="And God said", **more):
        self.refused(words, "generate", MODEL, "--tokenizer", self.file, "--prompt", prompt,
                     "--tokens", "1", **more)

    def test_changes(self):
        for name, (change, words) in self.CHANGES.items():
            with self.subTest(name):
                changed = copy.deepcopy(self.tokenizer)
                change(changed)
                self.file.write_text(json.dumps(changed))
                self.encode(["tokenizer.json", *words])

    def test_texts(self):
        text = (MODEL / "tokenizer.json").read_bytes()
        for name, blob in (("empty", b""), ("cut", text[:-2]), ("list", b"[]"),
                           ("not UTF-8", text.replace(b'"BPE"', b'"B\xffE"')),
                           ("words", b"neither of the two"),
                           ("deep", b"[" * 50000 + b"]" * 50000)):
            with self.subTest(name):
                self.file.write_bytes(blob)
                self.encode(["tokenizer.json"])

    def test_tokens_that_the_model_does_not_have(self):
        """A tokenizer of more tokens than the model: the text may use one of them."""
        self.tokenizer["added_tokens"].append(
            {"id": 2048, "content": "<new>", "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True})
        self.file.write_text(json.dumps(self.tokenizer))
        self.encode(["2048"], prompt="And <new> God")

    def test_no_tokenizer(self):
        model = self.folder()
        self.refused(["tokenizer"], "generate", model, "--prompt", "x")
        self.refused([self.dir / "gone.json"], "generate", model, "--prompt", "x",
                     "--tokenizer", self.dir / "gone.json", exit_code=4)

    def test_tokenizer_bin(self):
        config, tensors = fixtures.make("llama2c")
        model = self.dir / "m.bin"
        fixtures.write_llama2c(model, config, tensors)
        tokens = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % i for i in range(90)),
                  b" ", b"a", b"b", b" a"]
        good = struct.pack("<i", 8) + b"".join(
            struct.pack("<fi", -float(i), len(t)) + t for i, t in enumerate(tokens))
        self.file = self.dir / "tokenizer.bin"
        for name, blob in (("cut", good[:-1]), ("within a head", good[:-8]),
                           ("long token", good.replace(struct.pack("<i", 6) + b"\n</s>\n",
                                                       struct.pack("<i", 600) + b"\n</s>\n")),
                           ("negative length", good[:8] + struct.pack("<i", -5) + good[12:]),
                           ("nothing", good[:4])):
            with self.subTest(name):
                self.file.write_bytes(blob)
                self.refused(["tokenizer.bin"], "generate", model, "--tokenizer", self.file,
                             "--prompt", "a b", "--tokens", "1")


if __name__ == "__main__":
    main()
