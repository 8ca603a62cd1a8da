"""Writes the seeds of the config target: seeds_config.py CORPUS_FOLDER."""
import json
import pathlib
import struct
import sys

SMALL = {"hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 2,
         "num_attention_heads": 2, "vocab_size": 11, "max_position_embeddings": 16,
         "eos_token_id": [1, 2], "bos_token_id": 1}
FACTORS = {"short_factor": [1.0, 1.5], "long_factor": [2, 4.5]}
SEEDS = {
    "llama": {"model_type": "llama", **SMALL, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
              "attention_bias": True, "mlp_bias": False, "tie_word_embeddings": True,
              "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                               "high_freq_factor": 4.0, "original_max_position_embeddings": 8}},
    "llama-parameters": {"model_type": "llama", **SMALL,
                         "rope_parameters": {"rope_type": "linear", "factor": 2,
                                             "rope_theta": 5e5}},
    "mistral": {"model_type": "mistral", **SMALL, "num_key_value_heads": 2, "head_dim": 6,
                "sliding_window": 7, "hidden_act": "silu"},
    "qwen2": {"model_type": "qwen2", **SMALL, "num_key_value_heads": 1, "sliding_window": 4,
              "use_sliding_window": True, "max_window_layers": 1, "use_mrope": False},
    "qwen3": {"model_type": "qwen3", **SMALL, "num_key_value_heads": 2, "head_dim": 4,
              "use_sliding_window": True, "sliding_window": 3,
              "layer_types": ["full_attention", "sliding_attention"]},
    "phi3": {"model_type": "phi3", **SMALL, "partial_rotary_factor": 1,
             "original_max_position_embeddings": 8,
             "rope_scaling": {"type": "longrope", **FACTORS}},
    "phi3-su": {"model_type": "phi3", **SMALL,
                "rope_scaling": {"type": "su", "factor": 4, "attention_factor": 1.2, **FACTORS}},
    "gpt2": {"model_type": "gpt2", "n_embd": 6, "n_head": 3, "n_layer": 1, "n_positions": 8,
             "n_inner": None, "vocab_size": 9, "activation_function": "gelu_new",
             "layer_norm_epsilon": 1e-5, "scale_attn_weights": False, "attn_pdrop": 0.1},
    "gpt_neox": {"model_type": "gpt_neox", **SMALL, "rotary_pct": 0.5, "rotary_emb_base": 10000,
                 "use_parallel_residual": False, "hidden_act": "gelu", "layer_norm_eps": 1e-5},
    "mixtral": {"model_type": "mixtral", **SMALL, "num_key_value_heads": 1,
                "num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": None,
                "router_aux_loss_coef": 0.02},
    "generation": {"eos_token_id": [1, 2], "temperature": 0.6},
}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in SEEDS.items():
        (folder / name).write_text(json.dumps(config))
    numbers = struct.pack("<7i", 8, 6, 2, 2, 1, -11, 16)
    (folder / "llama2c-legacy").write_bytes(numbers)
    (folder / "llama2c-1").write_bytes(
        struct.pack("<Ii7iB", 0x616b3432, 1, 8, 6, 2, 2, 1, 11, 16, 1).ljust(256, b"\0"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
