"""Independent writers and readers of safetensors and GGUF files for the tests.

They share nothing with qins but the published formats. Also a program for the unit tests:
`make DIR` writes files with a description beside each, `describe FILE OUT` describes a file,
`check-llama GGUF FOLDER` compares a GGUF with the llama model it came from. A description has a
line for each tensor: crc32 of its bytes, dtype, shape, name.
"""
import json
import os
import struct
import sys
import zlib

import numpy as np

ST_NAMES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "<i2": "I16",
            "|i1": "I8", "<u8": "U64", "<u4": "U32", "<u2": "U16", "|u1": "U8", "|b1": "BOOL"}
GGML_IDS = {"F32": 0, "F16": 1, "I8": 24, "I16": 25, "I32": 26, "I64": 27, "F64": 28, "BF16": 30}


def bf16(values):
    """float32 values as the uint16 patterns of BF16, by truncation (exact for short mantissas)."""
    return (np.asarray(values, "<f4").view("<u4") >> 16).astype("<u2")


def raw(array):
    """(dtype name, shape, bytes) of a numpy array, or of a (name, uint array) pair for types that
    numpy lacks, such as ("BF16", bf16(x)) or ("F8_E4M3", uint8_array)."""
    if isinstance(array, tuple):
        return array[0], array[1].shape, np.ascontiguousarray(array[1]).tobytes()
    return ST_NAMES[array.dtype.str], array.shape, np.ascontiguousarray(array).tobytes()


def write_safetensors(path, tensors, metadata=None, pad=True):
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, array in tensors.items():
        dtype, shape, content = raw(array)
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    if pad:
        text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    """{name: (dtype, shape, bytes)} in file order, and the metadata."""
    with open(path, "rb") as f:
        blob = f.read()
    n = struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:8 + n])
    metadata = header.pop("__metadata__", None)
    data = blob[8 + n:]
    return {k: (v["dtype"], tuple(v["shape"]), data[v["data_offsets"][0]:v["data_offsets"][1]])
            for k, v in header.items()}, metadata


def gguf_string(text):
    content = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(content)) + content


def gguf_value(kind, value):
    """KIND is a struct code of one letter, "s" for strings, "?" for bool, or "[x" for arrays of
    kind x."""
    types = dict(B=0, b=1, H=2, h=3, I=4, i=5, f=6, s=8, Q=10, q=11, d=12)
    types["?"] = 7
    if kind[0] == "[":
        element = 9 if kind[1] == "[" else types[kind[1]]
        return struct.pack("<IIQ", 9, element, len(value)) + b"".join(
            gguf_value(kind[1:], v)[4:] for v in value)
    body = gguf_string(value) if kind == "s" else struct.pack("<" + kind, value)
    return struct.pack("<I", types[kind]) + body


def write_gguf(path, tensors, keys=(), alignment=32, version=3):
    """KEYS is a list of (name, kind, value); TENSORS as for write_safetensors, or
    (ggml type id, shape, bytes) for quantised types."""
    keys = list(keys)
    if alignment != 32:
        keys.append(("general.alignment", "I", alignment))
    infos, data = b"", b""
    for name, array in tensors.items():
        if isinstance(array, tuple) and len(array) == 3:
            type_id, shape, content = array
        else:
            dtype, shape, content = raw(array)
            type_id = GGML_IDS[dtype]
        infos += gguf_string(name) + struct.pack("<I", len(shape))
        infos += struct.pack(f"<{len(shape)}Q", *reversed(shape))
        infos += struct.pack("<IQ", type_id, len(data))
        data += content + b"\0" * (-len(content) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    head += b"".join(gguf_string(k) + gguf_value(kind, v) for k, kind, v in keys) + infos
    if tensors:
        head += b"\0" * (-len(head) % alignment)
    with open(path, "wb") as f:
        f.write(head + data)


class _Gguf:
    def __init__(self, blob):
        self.blob, self.at = blob, 0

    def take(self, code):
        size = struct.calcsize("<" + code)
        self.at += size
        return struct.unpack("<" + code, self.blob[self.at - size:self.at])[0]

    def string(self):
        n = self.take("Q")
        self.at += n
        return self.blob[self.at - n:self.at]

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            element, count = self.take("I"), self.take("Q")
            return [self.value(element) for _ in range(count)]
        return self.take("BbHhIif?__Qqd"[kind])


def read_gguf(path):
    """({name: (type id, shape, bytes)} in file order, {key: value}); strings are bytes, and only
    tensors of plain types have their bytes."""
    with open(path, "rb") as f:
        g = _Gguf(f.read())
    assert g.blob[:4] == b"GGUF"
    g.at = 4
    version, n_tensors, n_keys = g.take("I"), g.take("Q"), g.take("Q")
    assert version in (2, 3)
    keys, infos, tensors = {}, [], {}
    for _ in range(n_keys):
        name = g.string().decode()
        keys[name] = g.value(g.take("I"))
    for _ in range(n_tensors):
        name = g.string().decode()
        shape = [g.take("Q") for _ in range(g.take("I"))][::-1]
        infos.append((name, shape, g.take("I"), g.take("Q")))
    align = keys.get("general.alignment", 32)
    base = -(-g.at // align) * align
    sizes = {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2}
    for name, shape, kind, offset in infos:
        size = int(np.prod(shape, dtype=np.int64)) * sizes.get(kind, 0)
        tensors[name] = (kind, tuple(shape), g.blob[base + offset:base + offset + size])
    return tensors, keys


def every_dtype():
    """One tensor of each type that safetensors and qins share, with odd shapes among them."""
    rng = np.random.default_rng(7)
    out = {}
    for code, name in ST_NAMES.items():
        dtype = np.dtype(code)
        bits = rng.integers(0, 256, 3 * 5 * dtype.itemsize, dtype=np.uint8)
        out["t." + name] = (bits & 1).view("?").reshape(3, 5) if name == "BOOL" else \
            bits.view(dtype).reshape(3, 5)
    out["t.BF16"] = ("BF16", rng.integers(0, 65536, (2, 3, 4)).astype("<u2"))
    out["t.F8_E4M3"] = ("F8_E4M3", rng.integers(0, 256, 7).astype("u1"))
    out["t.F8_E5M2"] = ("F8_E5M2", rng.integers(0, 256, (7, 1)).astype("u1"))
    out["scalar"] = np.array(1.5, "<f4")
    out["empty"] = np.zeros((0, 4), "<f4")
    out["ünïcode \"q\"\\"] = np.arange(4, dtype="<i4")
    return out


def llama_tensors(layers=2, n_embd=16, n_ff=24, n_head=4, n_kv=2, n_vocab=20, dtype="<f4"):
    """A tiny model of the llama family with Hugging Face names, and its config."""
    rng = np.random.default_rng(11)
    hd = n_embd // n_head

    def mat(*shape):
        return rng.standard_normal(shape).astype(dtype)

    t = {"model.embed_tokens.weight": mat(n_vocab, n_embd)}
    for i in range(layers):
        p = f"model.layers.{i}."
        t[p + "input_layernorm.weight"] = mat(n_embd)
        t[p + "self_attn.q_proj.weight"] = mat(n_head * hd, n_embd)
        t[p + "self_attn.k_proj.weight"] = mat(n_kv * hd, n_embd)
        t[p + "self_attn.v_proj.weight"] = mat(n_kv * hd, n_embd)
        t[p + "self_attn.o_proj.weight"] = mat(n_embd, n_head * hd)
        t[p + "post_attention_layernorm.weight"] = mat(n_embd)
        t[p + "mlp.gate_proj.weight"] = mat(n_ff, n_embd)
        t[p + "mlp.up_proj.weight"] = mat(n_ff, n_embd)
        t[p + "mlp.down_proj.weight"] = mat(n_embd, n_ff)
    t["model.norm.weight"] = mat(n_embd)
    t["lm_head.weight"] = mat(n_vocab, n_embd)
    config = {"model_type": "llama", "hidden_size": n_embd, "intermediate_size": n_ff,
              "num_hidden_layers": layers, "num_attention_heads": n_head,
              "num_key_value_heads": n_kv, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "max_position_embeddings": 64, "vocab_size": n_vocab, "bos_token_id": 0,
              "eos_token_id": [1, 2]}
    return t, config


def byte_level_tokenizer():
    return {"added_tokens": [{"id": 0, "content": "<|end|>", "special": True},
                             {"id": 18, "content": "<mark>", "special": False}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            "model": {"type": "BPE", "vocab": {"<|end|>": 0, "a": 1, "b": 2, "Ġ": 3, "ab": 4,
                                               "Ġab": 5}, "merges": ["a b", ["Ġ", "ab"]]}}


def sentencepiece_tokenizer():
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 3, "▁a": 4, "▁ab": 5, "▁": 6, "a": 7,
             "b": 8}
    return {"added_tokens": [{"id": i, "content": t, "special": True}
                             for i, t in enumerate(("<unk>", "<s>", "</s>"))],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]},
            "post_processor": {"type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A"}}]},
            "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "vocab": vocab,
                      "merges": ["▁ a", "▁a b"]}}


def write_sharded(folder, tensors, shards=2, index_extra=None):
    """A Hugging Face folder: tensors dealt out to SHARDS files, and their index."""
    os.makedirs(folder, exist_ok=True)
    names = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    parts = [dict() for _ in names]
    for i, (name, array) in enumerate(tensors.items()):
        parts[i % shards][name] = array
    for name, part in zip(names, parts):
        write_safetensors(os.path.join(folder, name), part, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {t: n for n, p in zip(names, parts) for t in p}}
    index["weight_map"].update(index_extra or {})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump(index, f)


GGUF_KEYS = [("general.architecture", "s", "test"), ("a.u8", "B", 200), ("a.i8", "b", -3),
             ("a.u16", "H", 60000), ("a.i16", "h", -5), ("a.u32", "I", 7), ("a.i32", "i", -7),
             ("a.f32", "f", 0.5), ("a.bool", "?", True), ("a.u64", "Q", 1 << 60),
             ("a.i64", "q", -1), ("a.f64", "d", 0.25), ("a.strings", "[s", ["x", "yy", ""]),
             ("a.floats", "[f", [1.0, 2.0]), ("a.nested", "[[i", [[1, 2], [], [3]])]


def gguf_tensors():
    t = {k.replace("t.", "blk."): v for k, v in every_dtype().items()
         if raw(v)[0] in GGML_IDS}
    t["four"] = np.arange(2 * 3 * 4 * 5, dtype="<f4").reshape(2, 3, 4, 5)
    return t


def describe(path):
    names = {v: k for k, v in GGML_IDS.items()}
    if path.endswith(".gguf"):
        tensors = {k: (names.get(v[0], "?"), *v[1:]) for k, v in read_gguf(path)[0].items()}
    else:
        tensors = read_safetensors(path)[0]
    return "".join("%08x %s %s %s\n" % (zlib.crc32(content), dtype,
                                        "x".join(map(str, shape)) or "scalar", name)
                   for name, (dtype, shape, content) in tensors.items())


def ggml_name(name):
    parts = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
             "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    whole = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
             "model.norm.weight": "output_norm.weight"}
    if name in whole:
        return whole[name]
    _, _, layer, rest = name.split(".", 3)
    stem, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{parts[stem]}.{kind}"


def check_llama(path, folder):
    source, _ = read_safetensors(os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    tensors, keys = read_gguf(path)
    types = {"F32": "<f4", "F16": "<f2"}
    assert set(tensors) - {"rope_freqs.weight"} == {ggml_name(n) for n in source}
    for name, (dtype, shape, content) in source.items():
        want = np.frombuffer(content, types[dtype]).reshape(shape)
        heads = config["num_attention_heads"] if ".q_proj." in name else \
            config["num_key_value_heads"] if ".k_proj." in name else 0
        if heads:
            want = want.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(shape)
        if want.ndim == 1:
            want = want.astype("<f4")
        kind, got_shape, got = tensors[ggml_name(name)]
        assert kind == GGML_IDS[ST_NAMES[want.dtype.str]], name
        assert got_shape == want.shape and got == want.tobytes(), name
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    for key, value in {"general.architecture": b"llama", "llama.block_count": 2,
                       "llama.embedding_length": config["hidden_size"],
                       "llama.attention.head_count_kv": config["num_key_value_heads"],
                       "llama.rope.dimension_count": head_dim, "llama.context_length": 64,
                       "llama.vocab_size": config["vocab_size"],
                       "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1}.items():
        assert keys[key] == value, (key, keys[key])
    assert abs(keys["llama.attention.layer_norm_rms_epsilon"] - 1e-5) < 1e-11
    tokens = keys["tokenizer.ggml.tokens"]
    assert len(tokens) == len(keys["tokenizer.ggml.token_type"]) == config["vocab_size"]
    if keys["tokenizer.ggml.model"] == b"gpt2":
        assert keys["general.file_type"] == 0
        assert keys["tokenizer.ggml.pre"] == b"gpt-2"
        assert tokens[3] == "Ġ".encode() and tokens[7] == b"[PAD7]" and tokens[18] == b"<mark>"
        assert keys["tokenizer.ggml.token_type"] == [3, 1, 1, 1, 1, 1] + [5] * 12 + [4, 5]
        assert keys["tokenizer.ggml.merges"] == [b"a b", "Ġ ab".encode()]
        assert not keys["tokenizer.ggml.add_bos_token"]
    else:
        assert keys["tokenizer.ggml.model"] == b"llama" and keys["general.file_type"] == 1
        assert keys["tokenizer.ggml.token_type"][:9] == [2, 3, 3, 6, 1, 1, 1, 1, 1]
        assert keys["tokenizer.ggml.scores"][:9] == [0, 0, 0, 0, -1, -2, -3, -3, -3]
        assert keys["tokenizer.ggml.unknown_token_id"] == 0
        assert keys["tokenizer.ggml.add_bos_token"] and keys["tokenizer.ggml.add_space_prefix"]
    if "rope_scaling" in config:
        check_rope(config["rope_scaling"], head_dim, config["rope_theta"],
                   np.frombuffer(tensors["rope_freqs.weight"][2], "<f4"))


def check_rope(scaling, dim, theta, got):
    wave = 2 * np.pi * theta ** (np.arange(0, dim, 2) / dim)
    low, high, factor = (scaling[k] for k in ("low_freq_factor", "high_freq_factor", "factor"))
    context = scaling["original_max_position_embeddings"]
    smooth = (context / wave - low) / (high - low)
    want = np.where(wave < context / high, 1, np.where(
        wave > context / low, factor, 1 / ((1 - smooth) / factor + smooth)))
    assert 1 < want.max() and np.allclose(got, want, rtol=1e-6), (got, want)


def make(folder):
    os.makedirs(folder, exist_ok=True)

    def at(name):
        return os.path.join(folder, name)

    write_safetensors(at("all.safetensors"), every_dtype(), {"format": "pt", "b": "ü"})
    write_safetensors(at("nometa.safetensors"), {"x": np.arange(6, dtype="<f4")}, pad=False)
    write_sharded(at("sharded"), every_dtype(), 3)
    write_gguf(at("all.gguf"), gguf_tensors(), GGUF_KEYS)
    write_gguf(at("aligned.gguf"), gguf_tensors(), GGUF_KEYS, alignment=256, version=2)
    rng = np.random.default_rng(3)
    write_gguf(at("quantised.gguf"), {
        "q4": (12, (2, 256), rng.bytes(2 * 144)), "plain": np.ones((2, 2), "<f4"),
        "odd": (99, (3, 5), b"\0" * 64), "q8": (8, (4, 64), rng.bytes(8 * 34))}, GGUF_KEYS)
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 128}
    for name, dtype, tokenizer, more in (
            ("llama", "<f4", byte_level_tokenizer(), {}),
            ("llama16", "<f2", sentencepiece_tokenizer(), {"rope_scaling": scaling})):
        tensors, config = llama_tensors(n_embd=32, dtype=dtype)
        config.update(more)
        os.makedirs(at(name), exist_ok=True)
        write_safetensors(at(name + "/model.safetensors"), tensors, {"format": "pt"})
        with open(at(name + "/config.json"), "w") as f:
            json.dump(config, f)
        with open(at(name + "/tokenizer.json"), "w") as f:
            json.dump(tokenizer, f)
    for base, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(base, name)
            if name.endswith((".safetensors", ".gguf")):
                with open(path + ".expect", "w", encoding="utf-8") as f:
                    f.write(describe(path))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    elif sys.argv[1] == "check-llama":
        check_llama(sys.argv[2], sys.argv[3])
    else:
        with open(sys.argv[3], "w", encoding="utf-8") as out:
            out.write(describe(sys.argv[2]))
