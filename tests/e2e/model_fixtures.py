"""Tiny random checkpoints of every architecture that qins runs, for the tests of model/.

make(kind, **changes) returns a config and tensors; write_folder and write_llama2c put them on
disk in any of the types and containers that qins reads. Norm epsilons are large and biases far
from 0, so that a value read wrongly shows in the logits.
"""
import json
import math
import pathlib
import struct

import numpy as np

import reference_models
import support

VOCAB = 97

CONFIGS = {
    "llama": dict(hidden_size=48, intermediate_size=100, num_hidden_layers=3,
                  num_attention_heads=6, num_key_value_heads=2, rms_norm_eps=0.01,
                  rope_theta=10000.0, hidden_act="silu", max_position_embeddings=256,
                  tie_word_embeddings=False, attention_bias=False, mlp_bias=False),
    "mistral": dict(hidden_size=32, intermediate_size=72, num_hidden_layers=3,
                    num_attention_heads=4, num_key_value_heads=2, head_dim=12,
                    rms_norm_eps=0.01, rope_theta=5000.0, hidden_act="silu",
                    max_position_embeddings=256, sliding_window=21, tie_word_embeddings=False),
    "qwen2": dict(hidden_size=40, intermediate_size=88, num_hidden_layers=3,
                  num_attention_heads=5, num_key_value_heads=1, rms_norm_eps=0.01,
                  rope_theta=1000000.0, hidden_act="silu", max_position_embeddings=256,
                  sliding_window=24, use_sliding_window=False, max_window_layers=1,
                  tie_word_embeddings=True),
    "qwen3": dict(hidden_size=40, intermediate_size=88, num_hidden_layers=3,
                  num_attention_heads=4, num_key_value_heads=2, head_dim=16, rms_norm_eps=0.01,
                  rope_theta=1000000.0, hidden_act="silu", max_position_embeddings=256,
                  attention_bias=False, sliding_window=None, use_sliding_window=False,
                  max_window_layers=3, rope_scaling=None, tie_word_embeddings=True),
    "phi3": dict(hidden_size=32, intermediate_size=56, num_hidden_layers=3,
                 num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=0.01,
                 rope_theta=10000.0, hidden_act="silu", max_position_embeddings=128,
                 original_max_position_embeddings=64, rope_scaling=None, sliding_window=None,
                 tie_word_embeddings=False, resid_pdrop=0.0, embd_pdrop=0.0),
    "gpt2": dict(n_embd=48, n_head=4, n_layer=3, n_positions=200, n_ctx=200, n_inner=None,
                 layer_norm_epsilon=0.01, activation_function="gelu_new",
                 attn_pdrop=0.1, embd_pdrop=0.1, resid_pdrop=0.1),
    "gpt_neox": dict(hidden_size=48, intermediate_size=100, num_hidden_layers=3,
                     num_attention_heads=3, rotary_pct=0.25, rotary_emb_base=10000,
                     layer_norm_eps=0.01, hidden_act="gelu", max_position_embeddings=256,
                     use_parallel_residual=True, tie_word_embeddings=False),
    "mixtral": dict(hidden_size=32, intermediate_size=40, num_hidden_layers=3,
                    num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=0.01,
                    rope_theta=1000000.0, hidden_act="silu", max_position_embeddings=256,
                    num_local_experts=5, num_experts_per_tok=2, sliding_window=None,
                    router_aux_loss_coef=0.02, output_router_logits=False,
                    tie_word_embeddings=False),
    "llama2c": dict(dim=40, hidden_dim=52, n_layers=3, n_heads=4, n_kv_heads=2, seq_len=160,
                    shared=True),
}
ARCHITECTURES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3",
                 "phi3": "Phi3", "gpt2": "GPT2LMHead", "gpt_neox": "GPTNeoX",
                 "mixtral": "Mixtral"}

LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0],
            "long_factor": [1.0, 4.0, 8.0, 16.0]}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}


class Maker:
    """Draws tensors; scales keep activations near 1 and attention far from uniform."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.tensors = {}

    def put(self, name, shape, scale, mean=0.0):
        values = mean + scale * self.rng.standard_normal(shape)
        self.tensors[name] = values.astype(np.float32)

    def embedding(self, name, rows, columns, scale=1.0):
        self.put(name + ".weight", (rows, columns), scale)

    def linear(self, name, out, n_in, bias=False, gain=1.0, transposed=False):
        shape = (n_in, out) if transposed else (out, n_in)
        self.put(name + ".weight", shape, gain / math.sqrt(n_in))
        if bias:
            self.put(name + ".bias", (out,), 0.3)

    def norm(self, name, n, bias=False):
        self.put(name + ".weight", (n,), 0.2, 1.0)
        if bias:
            self.put(name + ".bias", (n,), 0.2)


def attention_tensors(m, c, p):
    kind, hidden, heads = c["model_type"], c["hidden_size"], c["num_attention_heads"]
    kv, size = c.get("num_key_value_heads") or heads, c.get("head_dim") or hidden // heads
    bias = kind == "qwen2" or c.get("attention_bias", False)
    if kind == "phi3":
        m.linear(p + "qkv_proj", (heads + 2 * kv) * size, hidden, gain=1.5)
    else:
        m.linear(p + "q_proj", heads * size, hidden, bias, gain=1.5)
        m.linear(p + "k_proj", kv * size, hidden, bias, gain=1.5)
        m.linear(p + "v_proj", kv * size, hidden, bias)
    m.linear(p + "o_proj", hidden, heads * size, bias and kind != "qwen2")
    if kind == "qwen3":
        m.norm(p + "q_norm", size)
        m.norm(p + "k_norm", size)


def llama_tensors(m, c):
    hidden, inner, kind = c["hidden_size"], c["intermediate_size"], c["model_type"]
    m.embedding("model.embed_tokens", c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        m.norm(p + "input_layernorm", hidden)
        attention_tensors(m, c, p + "self_attn.")
        m.norm(p + "post_attention_layernorm", hidden)
        if kind == "mixtral":
            m.linear(p + "block_sparse_moe.gate", c["num_local_experts"], hidden, gain=2.0)
            for e in range(c["num_local_experts"]):
                q = f"{p}block_sparse_moe.experts.{e}."
                m.linear(q + "w1", inner, hidden)
                m.linear(q + "w2", hidden, inner)
                m.linear(q + "w3", inner, hidden)
            continue
        bias = c.get("mlp_bias", False)
        if kind == "phi3":
            m.linear(p + "mlp.gate_up_proj", 2 * inner, hidden)
        else:
            m.linear(p + "mlp.gate_proj", inner, hidden, bias)
            m.linear(p + "mlp.up_proj", inner, hidden, bias)
        m.linear(p + "mlp.down_proj", hidden, inner, bias)
    m.norm("model.norm", hidden)
    if not c["tie_word_embeddings"]:
        m.linear("lm_head", c["vocab_size"], hidden, gain=2.0)


def gpt2_tensors(m, c):
    hidden = c["n_embd"]
    inner = c["n_inner"] or 4 * hidden
    m.embedding("transformer.wte", c["vocab_size"], hidden)
    m.embedding("transformer.wpe", c["n_positions"], hidden, 0.5)
    for i in range(c["n_layer"]):
        p = f"transformer.h.{i}."
        m.norm(p + "ln_1", hidden, True)
        m.linear(p + "attn.c_attn", 3 * hidden, hidden, True, 1.5, transposed=True)
        m.linear(p + "attn.c_proj", hidden, hidden, True, transposed=True)
        m.norm(p + "ln_2", hidden, True)
        m.linear(p + "mlp.c_fc", inner, hidden, True, transposed=True)
        m.linear(p + "mlp.c_proj", hidden, inner, True, transposed=True)
    m.norm("transformer.ln_f", hidden, True)
    if not c.get("tie_word_embeddings", True):
        m.linear("lm_head", c["vocab_size"], hidden, gain=2.0)


def gpt_neox_tensors(m, c):
    hidden, inner, bias = c["hidden_size"], c["intermediate_size"], c.get("attention_bias", True)
    m.embedding("gpt_neox.embed_in", c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        p = f"gpt_neox.layers.{i}."
        m.norm(p + "input_layernorm", hidden, True)
        m.linear(p + "attention.query_key_value", 3 * hidden, hidden, bias, 1.5)
        m.linear(p + "attention.dense", hidden, hidden, bias)
        m.norm(p + "post_attention_layernorm", hidden, True)
        m.linear(p + "mlp.dense_h_to_4h", inner, hidden, True)
        m.linear(p + "mlp.dense_4h_to_h", hidden, inner, True)
    m.norm("gpt_neox.final_layer_norm", hidden, True)
    if not c["tie_word_embeddings"]:
        m.linear("embed_out", c["vocab_size"], hidden, gain=2.0)


def llama2c_tensors(m, c):
    for name, shape in reference_models.llama2c_shapes(c):
        for layer in range(c["n_layers"] if "%d" in name else 1):
            full = name.replace("%d", str(layer))
            if len(shape) == 1:
                m.put(full, shape, 0.2, 1.0)
            elif name.startswith("freq_cis"):
                m.tensors[full] = np.full(shape, 7.0, np.float32)  # nobody may read them
            else:
                gain = 1.5 if ".wq." in name or ".wk." in name else 1.0
                m.put(full, shape, 1.0 if name.startswith("tok") else gain / math.sqrt(shape[1]))


def make(kind, seed=1, **changes):
    """config and float32 tensors; a change to None in a config writes null."""
    config = dict(CONFIGS[kind], model_type=kind, vocab_size=VOCAB)
    if kind != "llama2c":
        config.update(architectures=[ARCHITECTURES[kind] + "ForCausalLM"
                                     if kind != "gpt2" else "GPT2LMHeadModel"],
                      torch_dtype="float32", bos_token_id=1, eos_token_id=2, use_cache=True,
                      transformers_version="4.46.0", initializer_range=0.02)
    config.update(changes)
    m = Maker(seed)
    {"gpt2": gpt2_tensors, "gpt_neox": gpt_neox_tensors,
     "llama2c": llama2c_tensors}.get(kind, llama_tensors)(m, config)
    return config, m.tensors


def as_stored(tensors, dtype):
    """The float32 values that remain of TENSORS when they are stored as F32, F16 or BF16."""
    if dtype == "F16":
        return {k: v.astype(np.float16).astype(np.float32) for k, v in tensors.items()}
    if dtype == "BF16":
        return {k: (v.view(np.uint32) & 0xffff0000).view(np.float32)
                for k, v in tensors.items()}
    return tensors


def e4m3_value(byte):
    """OCP 8-bit floating point, E4M3: bias 7, no infinities, one NaN of each sign."""
    exponent, mantissa = byte >> 3 & 15, byte & 7
    if byte & 127 == 127:
        return math.nan
    value = (8 + mantissa) * 2.0 ** (exponent - 10) if exponent else mantissa * 2.0 ** -9
    return -value if byte & 128 else value


def e5m2_value(byte):
    """OCP E5M2: the upper half of a binary16."""
    return float(np.array([byte << 8], np.uint16).view(np.float16)[0])


F8_VALUES = {"F8_E4M3": e4m3_value, "F8_E5M2": e5m2_value}


def nearest(table, values):
    """The codes of the table's values that come nearest to VALUES, none of them NaN or infinite."""
    codes = np.flatnonzero(np.isfinite(table))
    codes = codes[np.argsort(table[codes], kind="stable")]
    sorted_values = table[codes]
    above = np.clip(np.searchsorted(sorted_values, values), 1, len(codes) - 1)
    down = values - sorted_values[above - 1] < sorted_values[above] - values
    return codes[np.where(down, above - 1, above)].astype(np.uint8)


def stored_bytes(values, dtype):
    """The bytes of what as_stored returned."""
    if dtype == "BF16":
        return (np.ascontiguousarray(values).view(np.uint32) >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(values, {"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()


def write_config(path, config):
    pathlib.Path(path, "config.json").write_text(json.dumps(config, indent=1))


def write_tensors(path, tensors, dtype="F32"):
    support.write_safetensors(path, {name: (dtype, v.shape, [stored_bytes(v, dtype)])
                                     for name, v in tensors.items()})


def write_folder(path, config, tensors, dtype="F32", shards=1, prefix=None):
    """A Hugging Face folder; PREFIX, as "model.", is left out of the tensors' names. Returns the
    tensors with the values that are stored."""
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    tensors = as_stored(tensors, dtype)
    named = {name[len(prefix):] if prefix and name.startswith(prefix) else name: v
             for name, v in tensors.items()}
    write_config(path, config)
    if shards == 1:
        write_tensors(path / "model.safetensors", named, dtype)
        return tensors
    names, files = list(named), {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = names[i::shards]
        write_tensors(path / file, {name: named[name] for name in part}, dtype)
        files.update(dict.fromkeys(part, file))
    (path / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": sum(len(stored_bytes(v, dtype)) for v in named.values())},
         "weight_map": files}))
    return tensors


def write_llama2c(path, config, tensors, version=0):
    """A llama2.c file: legacy (version 0), or version 1 as export.py's version1_export has it:
    magic, version, the header, whether the classifier is shared, zeros up to byte 256; then the
    norms, and the arrays of the legacy file without its RoPE tables."""
    c, path = config, pathlib.Path(path)
    header = [c["dim"], c["hidden_dim"], c["n_layers"], c["n_heads"], c["n_kv_heads"],
              c["vocab_size"] if c["shared"] or version else -c["vocab_size"], c["seq_len"]]
    names = [name for name, _ in reference_models.llama2c_shapes(c)]
    if version:
        norms = [name for name in names if "norm" in name]
        names = norms + [n for n in names if n not in norms and not n.startswith("freq_cis")]
        blob = struct.pack("<Ii7iB", 0x616b3432, 1, *header, c["shared"]).ljust(256, b"\0")
    else:
        blob = struct.pack("<7i", *header)
    for name in names:
        for layer in range(c["n_layers"] if "%d" in name else 1):
            blob += tensors[name.replace("%d", str(layer))].astype("<f4").tobytes()
    path.write_bytes(blob)


def random_ids(n, seed=3):
    return np.random.default_rng(seed).integers(0, VOCAB, n)


def write_npz(path, tensors):
    np.savez(path, **tensors)
    return True


def write_hdf5(path, tensors):
    try:
        import h5py
    except ImportError:
        return False
    with h5py.File(path, "w") as f:
        for name, values in tensors.items():
            f.create_dataset(name, data=values)
    return True


def write_torch(path, tensors):
    try:
        import torch
    except ImportError:
        return False
    torch.save({name: torch.from_numpy(v) for name, v in tensors.items()}, path)
    return True


# File names; each function writes tensors there, and returns False where it cannot.
CONTAINERS = {"model.npz": write_npz, "model.h5": write_hdf5, "pytorch_model.bin": write_torch}
