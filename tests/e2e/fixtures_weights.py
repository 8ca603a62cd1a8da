"""Fixtures of the unit test of weights: `make DIR` writes models in all types that weights have,
each with a file `expect` of what they are in memory: a line for each tensor that the model uses,
crc32 of its values, type, name, sorted. Other models are broken in one way each.
"""
import json
import pathlib
import sys
import zlib

import numpy as np

import fixtures_safetensors_gguf as files
import model_fixtures

CONFIG = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "vocab_size": 9000,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
          "eos_token_id": 2}


TABLES = {name: np.array([value(i) for i in range(256)], np.float32)
          for name, value in model_fixtures.F8_VALUES.items()}


def as_type(values, dtype, rng):
    """(what is stored, as fixtures_safetensors_gguf takes it; the values in float32 or None)."""
    if dtype == "F32":
        return values, values
    if dtype == "F64":
        wide = values.astype(np.float64) * (1 + 1e-9)
        return wide, wide.astype(np.float32)
    if dtype == "F16":
        half = values.astype(np.float16)
        return half, half.astype(np.float32)
    if dtype == "BF16":
        bits = files.bf16(values)
        return ("BF16", bits), (bits.astype(np.uint32) << 16).view(np.float32)
    codes = rng.integers(0, 256, values.shape).astype(np.uint8)
    codes[np.isnan(TABLES[dtype][codes])] = 0
    return (dtype, codes), TABLES[dtype][codes]


def in_memory(stored, wide, dtype, vector):
    """(type, bytes) of a weight as the model holds it."""
    if vector or dtype in ("F32", "F64"):
        return "F32", wide.astype("<f4").tobytes()
    if dtype.startswith("F8"):
        return "BF16", files.bf16(wide).tobytes()
    return dtype, files.raw(stored)[2]


def write_model(path, config, shapes, types, seed):
    """TYPES go round over the tensors. Returns what was written."""
    rng = np.random.default_rng(seed)
    tensors, lines = {}, []
    for i, (name, shape) in enumerate(shapes):
        dtype = types[i % len(types)]
        values = rng.standard_normal(shape).astype(np.float32)
        tensors[name], wide = as_type(values, dtype, rng)
        kind, content = in_memory(tensors[name], wide, dtype, len(shape) == 1)
        lines.append(f"{zlib.crc32(content):08x} {kind} {name}\n")
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "expect").write_text("".join(sorted(lines)))
    return tensors


def save(path, tensors):
    files.write_safetensors(path / "model.safetensors", tensors)


def llama_shapes(config):
    _, tensors = model_fixtures.make("llama", **{k: v for k, v in config.items()
                                                 if k not in ("model_type", "vocab_size")})
    shapes = {name: value.shape for name, value in tensors.items()}
    vocab = (config["vocab_size"], config["hidden_size"])
    return [(name, vocab if "embed" in name or "lm_head" in name else shape)
            for name, shape in shapes.items()]


def make_sound(out):
    shapes = llama_shapes(CONFIG)
    save(out / "f32", write_model(out / "f32", CONFIG, shapes, ["F32"], 1))
    save(out / "bf16", write_model(out / "bf16", CONFIG, shapes, ["BF16"], 2))
    # Seven types over nine weights a layer: every weight has several types.
    types = ["F64", "BF16", "F16", "F8_E4M3", "F32", "F8_E5M2", "F64"]
    tensors = write_model(out / "mixed", CONFIG, shapes, types, 3)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    save(out / "mixed", tensors)
    tensors = write_model(out / "extra", CONFIG, shapes, ["BF16", "F32"], 4)
    tensors["counts"] = np.arange(600000, dtype=np.int64).reshape(1000, 600)
    tensors["scalar"] = np.array(1.5, np.float32)
    tensors["empty"] = np.zeros((0, 7), np.float16)
    tensors["flags"] = np.array([True, False])
    save(out / "extra", tensors)


def make_broken(out):
    config = dict(CONFIG, vocab_size=10)
    shapes = llama_shapes(config)

    def broken(name, change, **changes):
        tensors = write_model(out / name, {**config, **changes}, shapes, ["F32"], 5)
        change(tensors)
        save(out / name, tensors)

    up, q = "model.layers.1.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight"
    broken("missing", lambda t: t.pop(up))
    broken("shape", lambda t: t.update({up: t[up][:95]}))
    broken("turned", lambda t: t.update({up: t[up].T.copy()}))
    broken("rank", lambda t: t.update({q: t[q].reshape(64, 8, 8)}))
    broken("integer", lambda t: t.update({q: t[q].astype(np.int32)}))
    broken("bias", lambda t: t.update({q[:-6] + "bias": np.zeros(64, np.float32)}))
    broken("no_bias", lambda t: None, attention_bias=True)
    broken("no_head", lambda t: t.pop("lm_head.weight"))
    broken("layers", lambda t: None, num_hidden_layers=4096)
    broken("no_config", lambda t: (out / "no_config" / "config.json").unlink())
    broken("tied", lambda t: None, tie_word_embeddings=True)
    broken("nan", lambda t: t[q].fill(np.nan))
    (out / "gguf").mkdir()
    (out / "gguf" / "config.json").write_text(json.dumps(config))
    files.write_gguf(out / "gguf" / "model.gguf", {"x": np.zeros((4, 32), np.float32)})


def make_others(out):
    for kind in model_fixtures.CONFIGS:
        config, tensors = model_fixtures.make(kind)
        if kind == "llama2c":
            model_fixtures.write_llama2c(out / "llama2c.bin", config, tensors)
        else:
            model_fixtures.write_folder(out / kind, config, tensors)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "make":
        sys.exit(__doc__)
    make_sound(pathlib.Path(sys.argv[2]))
    make_broken(pathlib.Path(sys.argv[2]))
    make_others(pathlib.Path(sys.argv[2]))
