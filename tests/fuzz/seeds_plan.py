"""Makes the seed corpus of fuzz_plan: seeds_plan.py."""
import json
import os

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "plan")


def line(name, dtype, shape, **keys):
    return {"name": name, "dtype": dtype, "shape": shape, "class": "unknown", "levels": None,
            "codec": "zstd", **keys}


def put(name, tensors, **keys):
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, name), "w") as f:
        json.dump({"schema": "qins/plan/1", "tensors": tensors, **keys}, f, separators=(",", ":"))


def main():
    put("none.json", [])
    put("lossless.json", [line("n", "I8", [2, 3]), line("s", "F64", []), line("e", "F32", [0])],
        summary={"policy": "default"}, qins_version="0.1.0")
    put("full.json", [line("w", "BF16", [100, 64], levels=500, bits=10, kappa=1.5, clip=0.9,
                           group="row", codec="huffman", rounding="feedback", access_frequency=1,
                           reason="hot", predicted_bytes=1000, predicted_error=0.25, sensitivity=1e-7,
                           candidates=[{"levels": 7}]),
                      line("v", "F32", [7, 3], bits=4, kappa=None, clip=None, group="tensor")])
    put("blocks.json", [line("w", "F32", [10, 64], levels=7, group=16, blocks=[
        {"row_begin": 0, "row_end": 3, "class": "hot", "levels": 127, "codec": "bitpack", "kappa": 0},
        {"row_begin": 3, "row_end": 4, "levels": None, "group": None},
        {"row_begin": 4, "row_end": 10, "class": "cold", "rounding": "feedback", "reason": "rare"}])])
    put("gap.json", [line("w", "F32", [10, 64], levels=7, blocks=[{"row_begin": 0, "row_end": 3},
                                                                  {"row_begin": 4, "row_end": 10}])])


main()
