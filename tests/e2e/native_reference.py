"""Native layers in float64 numpy, by the formulas of docs/transport.md: the oracle of tests of
transports. Shares no code with qins.

A transport is a dict as /meta of its file has it; its arrays lie beside it by their names."""
import json

import numpy as np

import reference_models


def codes_of(x, spec):
    """Signs and levels of values on the grid, and how near a value came to another code, as a
    share of a level: float32's inputs may round otherwise where that is tiny."""
    n, kappa, scale = spec["levels"], spec["kappa"], spec["scale"]
    u = np.minimum(np.abs(x) / scale, 1.0)
    t = (1.0 + kappa) * u / (1.0 + kappa * u)
    level = np.floor(n * t + 0.5)
    margin = np.abs(n * t - np.floor(n * t) - 0.5).min(initial=1.0)
    sign = np.where((x < 0.0) & (level > 0), -1.0, 1.0)
    return sign, level, margin


def features(sign, level, spec):
    """[rows][planes][channels]."""
    t = level / spec["levels"]
    if spec["method"] == "decode":
        planes = [spec["scale"] * t / (1.0 + spec["kappa"] * (1.0 - t))]
    elif spec["method"].startswith("jacobian"):
        planes = [1.0 - spec["kappa"] * t / (1.0 + spec["kappa"])]
    else:
        planes = [t ** (k + 1) for k in range(spec["order"])]
        planes += [np.ones_like(t)] * spec["sign_plane"]
    return np.stack([sign * p for p in planes], axis=1)


def native_output(x, w, spec, layer, arrays):
    """Outputs of a layer W[out][in] for rows of inputs, without bias; and the margin."""
    sign, level, margin = codes_of(x, spec)
    phi = features(sign, level, spec)
    if "planes" in arrays:
        planes = arrays["planes"].astype(np.float64)
    elif spec["method"] == "decode":
        planes = w[:, None, :]
    else:
        planes = w[:, None, :] * arrays["coefficients"].astype(np.float64)[None]
    y = np.einsum("rkj,okj->ro", phi, planes, optimize=True)
    if "output_scale" in arrays:
        y = y * arrays["output_scale"]
    if "output_offset" in arrays:
        y = y + arrays["output_offset"]
    if layer["output_alpha"] > 0:
        margin = min(margin, np.abs(y).min())  # the sign of z
        z = np.clip(np.abs(y), layer["output_floor"], 1.0)
        y = np.where(y < 0, -1.0, 1.0) * (1.0 - z) / (layer["output_alpha"] * z)
    return y, margin


class NativeReference(reference_models.Reference):
    """A model with a transport: META as /meta, ARRAYS by name. `margin` is the least of a run."""

    def __init__(self, config, tensors, meta, arrays, record=None):
        super().__init__(config, tensors, record)
        self.meta, self.arrays, self.margin = meta, arrays, 1.0
        self.native = {}
        for i, layer in enumerate(meta["layers"]):
            self.native.setdefault(layer["tensor"], []).append((i, layer))

    def rows_of(self, projection, out):
        """The rows of a weight that are one projection's."""
        c = self.config
        heads = c.get("num_attention_heads") or c.get("n_head")
        kv = c.get("num_key_value_heads") or heads
        size = c.get("head_dim") or (c.get("hidden_size") or c.get("n_embd")) // heads
        turn = {"q_proj": (0, heads), "k_proj": (heads, kv), "v_proj": (heads + kv, kv)}
        if projection in turn and c["model_type"] == "gpt_neox":
            part = list(turn).index(projection)
            return np.arange(out).reshape(heads, 3, size)[:, part].ravel()
        if projection in turn and c["model_type"] in ("gpt2", "phi3"):
            first, count = turn[projection]
            return np.arange(first * size, (first + count) * size)
        if projection in ("gate_proj", "up_proj") and c["model_type"] == "phi3":
            return np.split(np.arange(out), 2)[projection == "up_proj"]
        return np.arange(out)

    def overwrite(self, tensor, w, x, y):
        for i, layer in self.native.get(tensor, ()):
            spec, rows = self.meta["inputs"][layer["input"]], self.rows_of(layer["projection"],
                                                                           len(w))
            arrays = {key: self.arrays[f"layers/{i}/{key}"]
                      for key in ("planes", "output_scale", "output_offset") if layer[key]}
            name = f"inputs/{layer['input']}/coefficients"
            if name in self.arrays:
                arrays["coefficients"] = self.arrays[name]
            if len(x) == 0:
                continue
            y[:, rows], margin = native_output(x, w[rows], spec, layer, arrays)
            self.margin = min(self.margin, margin)
        bias = tensor[:-len("weight")] + "bias"
        return y + self.t[bias] if bias in self.t else y

    def linear(self, name, x):
        self.see(name + ".weight:input", x)
        w = self.t[name + ".weight"]
        return self.overwrite(name + ".weight", w, x, x @ w.T)

    def conv1d(self, name, x):
        self.see(name + ".weight:input", x)
        w = self.t[name + ".weight"].T
        return self.overwrite(name + ".weight", w, x, x @ w.T)


def write_transport(path, meta, arrays):
    """The file of docs/transport-format.md."""
    import h5py
    with h5py.File(path, "w") as f:
        f.create_dataset("meta", data=np.frombuffer(json.dumps(meta).encode(), np.uint8))
        for name, values in arrays.items():
            f.create_dataset(name, data=values.astype("<f4"))
