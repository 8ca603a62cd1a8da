"""Forward passes in float64, the oracle of the tests of model/.

They are written with numpy from the published definitions: the papers and the model definitions
of Hugging Face transformers, Meta's llama and llama2.c's run.c. They share neither code nor
tables with qins. A model is its config.json as a dict and its tensors by name, in the names of
transformers' checkpoints ("llama2c": of Meta's); whole sequences run at once, without a cache.
"""
import json
import math
import pathlib
import struct

import numpy as np

import support


def silu(x):
    return x / (1.0 + np.exp(-x))


def gelu_erf(x):
    return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x ** 3)))


ACTIVATIONS = {"silu": silu, "swish": silu, "gelu": gelu_erf, "gelu_new": gelu_tanh,
               "gelu_pytorch_tanh": gelu_tanh, "gelu_fast": gelu_tanh,
               "relu": lambda x: np.maximum(x, 0.0)}


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def original_positions(config, scaling):
    name = "original_max_position_embeddings"
    return scaling.get(name) or config.get(name) or config["max_position_embeddings"]


def longrope_magnitude(config, scaling):
    """The factor on cos and sin with which LongRoPE keeps the entropy of attention."""
    if scaling.get("attention_factor") is not None:
        return scaling["attention_factor"]
    original = original_positions(config, scaling)
    stretch = config["max_position_embeddings"] / original
    return 1.0 if stretch <= 1.0 else math.sqrt(1.0 + math.log(stretch) / math.log(original))


def llama3_frequency(f, scaling):
    """Llama 3.1: long waves are stretched, short ones kept, those between interpolated."""
    turns = scaling["original_max_position_embeddings"] * f / (2.0 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = min(max((turns - low) / (high - low), 0.0), 1.0)
    return kept * f + (1.0 - kept) * f / scaling["factor"]


def rope_settings(config):
    """rope_parameters is what transformers 5 makes of rope_scaling, with theta inside."""
    return config.get("rope_scaling") or config.get("rope_parameters") or {}


def rope_table(config, dims, theta, n, total):
    """cos and sin, [n][dims / 2] each, for positions 0 … n-1 of a sequence of TOTAL tokens."""
    frequency = np.array([theta ** (-2.0 * i / dims) for i in range(dims // 2)])
    scaling = rope_settings(config)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    magnitude = 1.0
    if kind == "linear":
        frequency = frequency / scaling["factor"]
    elif kind == "llama3":
        frequency = np.array([llama3_frequency(f, scaling) for f in frequency])
    elif kind in ("longrope", "su"):
        original = original_positions(config, scaling)
        stretch = scaling["long_factor" if total > original else "short_factor"]
        frequency = frequency / np.array(stretch, np.float64)
        magnitude = longrope_magnitude(config, scaling)
    elif kind != "default":
        raise ValueError(f"RoPE scaling {kind}")
    angle = np.arange(n, dtype=np.float64)[:, None] * frequency
    return magnitude * np.cos(angle), magnitude * np.sin(angle)


def rotate(x, table, pairs=False):
    """X is [n][heads][head_dim]; what lies behind the table's dimensions stays."""
    cos, sin = (t[:, None, :] for t in table)
    half = cos.shape[-1]
    first = np.arange(half) * 2 if pairs else np.arange(half)
    second = first + (1 if pairs else half)
    y = x.copy()
    y[..., first] = x[..., first] * cos - x[..., second] * sin
    y[..., second] = x[..., second] * cos + x[..., first] * sin
    return y


def attend(q, k, v, scale, window=None):
    """[n][heads][head_dim] and [n][kv_heads][head_dim] to [n][heads * head_dim]. Position i sees
    the WINDOW positions that end with i, or all up to i."""
    n, heads, _ = q.shape
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    seen = j <= i
    if window:
        seen &= i - j < window
    out = np.empty((n, heads, v.shape[2]))
    for h in range(heads):
        kv = h * k.shape[1] // heads
        scores = scale * (q[:, h] @ k[:, kv].T)
        out[:, h] = softmax(np.where(seen, scores, -np.inf)) @ v[:, kv]
    return out.reshape(n, -1)


class Reference:
    """One model. RECORD(name, rows) is called with the input of each linear layer under
    "<tensor>.weight:input", with the values of attention under "<tensor>.weight:output", and
    with the experts chosen under "<router's tensor>.weight:experts"."""

    def __init__(self, config, tensors, record=None):
        self.config, self.record = config, record
        self.t = {name: np.asarray(value, np.float64) for name, value in tensors.items()}
        self.act = ACTIVATIONS[config.get("hidden_act", config.get("activation_function", "silu"))]

    def see(self, name, rows):
        if self.record:
            self.record(name, rows)

    def linear(self, name, x):
        self.see(name + ".weight:input", x)
        y = x @ self.t[name + ".weight"].T
        return y + self.t[name + ".bias"] if name + ".bias" in self.t else y

    def conv1d(self, name, x):
        """GPT-2's layers, whose weights are [in][out]."""
        self.see(name + ".weight:input", x)
        return x @ self.t[name + ".weight"] + self.t[name + ".bias"]

    def rms(self, name, x, eps):
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * self.t[name + ".weight"]

    def layer_norm(self, name, x, eps):
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
        return x * self.t[name + ".weight"] + self.t[name + ".bias"]

    def logits(self, ids, total=None):
        """[n][vocab] for a list of ids; TOTAL: tokens of the sequence that they begin."""
        ids = np.asarray(ids)
        forward = {"gpt2": self.gpt2, "gpt_neox": self.gpt_neox, "llama2c": self.llama2c}
        run = forward.get(self.config["model_type"], self.llama_family)
        return run(ids, total or len(ids))

    # llama, mistral, qwen2, qwen3, phi3, mixtral

    def window(self, layer):
        c = self.config
        if c["model_type"] in ("qwen2", "qwen3"):
            # Transformers' Qwen2Config: the first max_window_layers layers see everything.
            if not c.get("use_sliding_window") or layer < c.get("max_window_layers", 28):
                return None
        elif c["model_type"] == "llama":
            return None
        return c.get("sliding_window")

    def gated_mlp(self, gate, up, down, x):
        return self.linear(down, self.act(self.linear(gate, x)) * self.linear(up, x))

    def fused_mlp(self, name, x):
        both = self.linear(name + "gate_up_proj", x)
        half = both.shape[1] // 2
        return self.linear(name + "down_proj", self.act(both[:, :half]) * both[:, half:])

    def experts(self, name, x):
        c = self.config
        share = softmax(self.linear(name + "gate", x))
        top = np.argsort(-share, axis=1, kind="stable")[:, :c["num_experts_per_tok"]]
        self.see(name + "gate.weight:experts", top)
        y = np.zeros_like(x)
        kept = np.take_along_axis(share, top, axis=1).sum(axis=1)
        for e in range(c["num_local_experts"]):
            rows = np.nonzero((top == e).any(axis=1))[0]
            prefix = f"{name}experts.{e}."
            out = self.gated_mlp(prefix + "w1", prefix + "w3", prefix + "w2", x[rows])
            y[rows] += out * (share[rows, e] / kept[rows])[:, None]
        return y

    def self_attention(self, p, layer, x, table):
        c, n = self.config, len(x)
        heads = c["num_attention_heads"]
        kv = c.get("num_key_value_heads") or heads
        size = c.get("head_dim") or c["hidden_size"] // heads
        if p + "qkv_proj.weight" in self.t:
            fused = self.linear(p + "qkv_proj", x)
            q, k, v = np.split(fused, [heads * size, (heads + kv) * size], axis=1)
            self.see(p + "qkv_proj.weight:output", v)
        else:
            q, k, v = (self.linear(p + part, x) for part in ("q_proj", "k_proj", "v_proj"))
            self.see(p + "v_proj.weight:output", v)
        q, k, v = q.reshape(n, heads, size), k.reshape(n, kv, size), v.reshape(n, kv, size)
        if c["model_type"] == "qwen3":
            q = self.rms(p + "q_norm", q, c["rms_norm_eps"])
            k = self.rms(p + "k_norm", k, c["rms_norm_eps"])
        out = attend(rotate(q, table), rotate(k, table), v, 1.0 / math.sqrt(size),
                     self.window(layer))
        return self.linear(p + "o_proj", out)

    def llama_family(self, ids, total):
        c = self.config
        eps = c["rms_norm_eps"]
        size = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
        rope = rope_settings(c)
        part = rope.get("partial_rotary_factor", c.get("partial_rotary_factor", 1.0))
        theta = rope.get("rope_theta", c.get("rope_theta", 10000.0))
        table = rope_table(c, int(size * part), theta, len(ids), total)
        x = self.t["model.embed_tokens.weight"][ids]
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            x = x + self.self_attention(p + "self_attn.", i,
                                        self.rms(p + "input_layernorm", x, eps), table)
            h = self.rms(p + "post_attention_layernorm", x, eps)
            if c["model_type"] == "mixtral":
                x = x + self.experts(p + "block_sparse_moe.", h)
            elif p + "mlp.gate_up_proj.weight" in self.t:
                x = x + self.fused_mlp(p + "mlp.", h)
            else:
                x = x + self.gated_mlp(p + "mlp.gate_proj", p + "mlp.up_proj",
                                       p + "mlp.down_proj", h)
        tied = c.get("tie_word_embeddings", False)
        return self.linear("model.embed_tokens" if tied else "lm_head",
                           self.rms("model.norm", x, eps))

    def gpt2(self, ids, total):
        c, n = self.config, len(ids)
        eps, heads = c.get("layer_norm_epsilon", 1e-5), c["n_head"]
        x = self.t["transformer.wte.weight"][ids] + self.t["transformer.wpe.weight"][:n]
        for i in range(c["n_layer"]):
            p = f"transformer.h.{i}."
            qkv = self.conv1d(p + "attn.c_attn", self.layer_norm(p + "ln_1", x, eps))
            q, k, v = (part.reshape(n, heads, -1) for part in np.split(qkv, 3, axis=1))
            self.see(p + "attn.c_attn.weight:output", v.reshape(n, -1))
            scale = 1.0 / math.sqrt(q.shape[2])
            x = x + self.conv1d(p + "attn.c_proj", attend(q, k, v, scale))
            h = self.act(self.conv1d(p + "mlp.c_fc", self.layer_norm(p + "ln_2", x, eps)))
            x = x + self.conv1d(p + "mlp.c_proj", h)
        tied = c.get("tie_word_embeddings", True)
        return self.linear("transformer.wte" if tied else "lm_head",
                           self.layer_norm("transformer.ln_f", x, eps))

    def gpt_neox(self, ids, total):
        c, n = self.config, len(ids)
        eps, heads = c["layer_norm_eps"], c["num_attention_heads"]
        size = c["hidden_size"] // heads
        table = rope_table(c, int(size * c.get("rotary_pct", 0.25)),
                           c.get("rotary_emb_base", 10000.0), n, total)
        x = self.t["gpt_neox.embed_in.weight"][ids]
        for i in range(c["num_hidden_layers"]):
            p = f"gpt_neox.layers.{i}."
            h = self.layer_norm(p + "input_layernorm", x, eps)
            qkv = self.linear(p + "attention.query_key_value", h).reshape(n, heads, 3, size)
            q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
            self.see(p + "attention.query_key_value.weight:output", v.reshape(n, -1))
            out = attend(rotate(q, table), rotate(k, table), v, 1.0 / math.sqrt(size))
            attention = self.linear(p + "attention.dense", out)
            parallel = c.get("use_parallel_residual", True)
            h = self.layer_norm(p + "post_attention_layernorm",
                                x if parallel else x + attention, eps)
            h = self.act(self.linear(p + "mlp.dense_h_to_4h", h))
            x = x + attention + self.linear(p + "mlp.dense_4h_to_h", h)
        tied = c.get("tie_word_embeddings", False)
        return self.linear("gpt_neox.embed_in" if tied else "embed_out",
                           self.layer_norm("gpt_neox.final_layer_norm", x, eps))

    def llama2c(self, ids, total):
        c, n = self.config, len(ids)
        eps, heads, kv = 1e-5, c["n_heads"], c["n_kv_heads"]
        size = c["dim"] // heads
        table = rope_table({}, size, 10000.0, n, total)
        x = self.t["tok_embeddings.weight"][ids]
        for i in range(c["n_layers"]):
            p = f"layers.{i}."
            h = self.rms(p + "attention_norm", x, eps)
            q = self.linear(p + "attention.wq", h).reshape(n, heads, size)
            k = self.linear(p + "attention.wk", h).reshape(n, kv, size)
            v = self.linear(p + "attention.wv", h).reshape(n, kv, size)
            self.see(p + "attention.wv.weight:output", v.reshape(n, -1))
            out = attend(rotate(q, table, pairs=True), rotate(k, table, pairs=True), v,
                         1.0 / math.sqrt(size))
            x = x + self.linear(p + "attention.wo", out)
            p += "feed_forward."
            x = x + self.gated_mlp(p + "w1", p + "w3", p + "w2",
                                   self.rms(f"layers.{i}.ffn_norm", x, eps))
        name = "output" if "output.weight" in self.t else "tok_embeddings"
        return self.linear(name, self.rms("norm", x, eps))


def widened(array):
    """float64 values of what support.read_safetensors gives; BF16 comes as uint16."""
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)


def load_folder(path):
    """config and float64 tensors of a Hugging Face folder of safetensors files."""
    path, tensors = pathlib.Path(path), {}
    for file in sorted(path.glob("*.safetensors")):
        for name, array in support.read_safetensors(file).items():
            tensors[name] = widened(array)
    return json.loads((path / "config.json").read_text()), tensors


def llama2c_shapes(c):
    """Name and shape of each array of a legacy llama2.c file, in its order (run.c,
    memory_map_weights); "%d" stands for the layers."""
    dim, hidden, kv = c["dim"], c["hidden_dim"], c["dim"] // c["n_heads"] * c["n_kv_heads"]
    half = c["dim"] // c["n_heads"] // 2
    yield "tok_embeddings.weight", (c["vocab_size"], dim)
    yield "layers.%d.attention_norm.weight", (dim,)
    for part, rows, columns in (("wq", dim, dim), ("wk", kv, dim), ("wv", kv, dim),
                                ("wo", dim, dim)):
        yield f"layers.%d.attention.{part}.weight", (rows, columns)
    yield "layers.%d.ffn_norm.weight", (dim,)
    for part, rows, columns in (("w1", hidden, dim), ("w2", dim, hidden), ("w3", hidden, dim)):
        yield f"layers.%d.feed_forward.{part}.weight", (rows, columns)
    yield "norm.weight", (dim,)
    yield "freq_cis_real", (c["seq_len"], half)
    yield "freq_cis_imag", (c["seq_len"], half)
    if not c["shared"]:
        yield "output.weight", (c["vocab_size"], dim)


def load_llama2c(path):
    """config and tensors of a legacy llama2.c file."""
    blob = pathlib.Path(path).read_bytes()
    keys = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
    config = dict(zip(keys, struct.unpack("<7i", blob[:28])), model_type="llama2c")
    config["shared"] = config["vocab_size"] > 0
    config["vocab_size"] = abs(config["vocab_size"])
    tensors, at = {}, 28
    for name, shape in llama2c_shapes(config):
        for layer in range(config["n_layers"] if "%d" in name else 1):
            count = math.prod(shape)
            values = np.frombuffer(blob, "<f4", count, at).reshape(shape)
            tensors[name.replace("%d", str(layer))] = values.astype(np.float64)
            at += 4 * count
    assert at == len(blob), (at, len(blob))
    return config, tensors
