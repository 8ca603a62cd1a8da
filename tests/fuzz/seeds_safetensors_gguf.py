"""Makes the seed corpora of fuzz_safetensors, fuzz_hf_index, fuzz_gguf and fuzz_gguf_llama."""
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import fixtures_safetensors_gguf as fixtures  # noqa: E402


def at(target, name):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, name)


def put(target, name, content):
    with open(at(target, name), "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def put_safetensors(name, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    put("safetensors", name,
        (len(text) if length is None else length).to_bytes(8, "little") + text + data)


def safetensors():
    fixtures.write_safetensors(at("safetensors", "all"), fixtures.every_dtype(), {"format": "pt"})
    put_safetensors("empty", b"{}      ")
    put_safetensors("huge-length", b"{}", length=2**64 - 1)
    put_safetensors("overlap", {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)},
                    bytes(12))
    put_safetensors("overflow", {"a": entry("F64", [2**62, 2**62], 0, 8)}, bytes(8))
    put_safetensors("rank31", {"a": entry("U8", [2**31, 2**31, 0], 0, 0)})
    put_safetensors("deep", b"[" * 3000)
    put_safetensors("duplicate", b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{}}', b"x")
    put_safetensors("not-utf8", b'{"a\xff":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"x")


def hf_index():
    for name, weight_map in {"good": {"x": "a.safetensors", "z": "b.safetensors"},
                             "missing-shard": {"x": "c.safetensors"},
                             "missing-tensor": {"q": "a.safetensors"},
                             "escape": {"x": "../a.safetensors"}}.items():
        put("hf_index", name, json.dumps({"metadata": {"total_size": 8}, "weight_map": weight_map}))
    put("hf_index", "duplicate", '{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}')
    put("hf_index", "deep", '{"weight_map":' + '[' * 2100)


def gguf():
    fixtures.write_gguf(at("gguf", "all"), fixtures.gguf_tensors(), fixtures.GGUF_KEYS)
    fixtures.write_gguf(at("gguf", "v2-aligned"), {"x": np.ones((2, 3), "<f4")},
                        fixtures.GGUF_KEYS, alignment=64, version=2)
    fixtures.write_gguf(at("gguf", "quantised"), {"q": (8, (2, 32), bytes(68)),
                                                  "u": (99, (3,), bytes(32))})
    fixtures.write_gguf(at("gguf", "nothing"), {})
    fixtures.write_gguf(at("gguf", "nested"), {}, [("a", "[[[[[[[[[i", [[[[[[[[[1]]]]]]]]])])
    fixtures.write_gguf(at("gguf", "duplicate-key"), {}, [("a", "I", 1), ("a", "I", 2)])


def gguf_llama():
    _, config = fixtures.llama_tensors(layers=1, n_embd=8, n_ff=16, n_head=2, n_kv=1, n_vocab=12)
    scaling = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}
    bytewise, pieces = fixtures.byte_level_tokenizer(), fixtures.sentencepiece_tokenizer()
    bytewise["added_tokens"].pop()
    for name, more, tokenizer in (("bytes", {}, bytewise), ("pieces", {}, pieces),
                                  ("rope", {"rope_scaling": scaling}, {}),
                                  ("other", {"model_type": "bert"}, {})):
        put("gguf_llama", name, json.dumps({**config, **more}) + "\0" + json.dumps(tokenizer))


if __name__ == "__main__":
    safetensors()
    hf_index()
    gguf()
    gguf_llama()
