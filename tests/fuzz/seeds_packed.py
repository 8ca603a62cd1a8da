"""Makes the seed corpus of fuzz_packed: seeds_packed.py BUILD_DIR (for its tests/tools/codec_tool)."""
import os
import struct
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.join(sys.argv[1], "tests", "tools", "codec_tool")
FOLDER = os.path.join(HERE, "corpus", "packed")
LOOKED_UP, F32, BLOCKS = 1, 2, 3


def word(x):
    return f"{int(np.float32(x).view(np.uint32)):08x}"


def put(name, payload, flags=0, row=0):
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(struct.pack("<BH", flags, row) + payload)


def payload(x, codec, levels, row, group, kappa=1.5, content=1, scale=0):
    return subprocess.run([TOOL, "encode", str(content), "F32", codec, str(levels), word(kappa), word(0.9),
                           word(scale), str(row), str(group)], input=x.astype("<f4").tobytes(),
                          check=True, capture_output=True).stdout


def blocks(parts, n):
    """One payload of several; the target puts the hashes right."""
    head = bytearray(64)
    head[8:16] = parts[0][8:13] + bytes([BLOCKS, F32, parts[0][15]])
    struct.pack_into("<II", head, 16, n, 64 + sum(map(len, parts)))
    struct.pack_into("<I", head, 32, len(parts))
    return bytes(head) + b"".join(parts)


def main():
    rng = np.random.default_rng(13)
    x = rng.laplace(size=960)
    few = np.where(rng.random(960) < 0.8, 0, x)
    put("bytes", payload(x, "bitpack", 127, 96, 96))
    put("bytes-groups", payload(x, "bitpack", 100, 160, 32))
    put("six-bits", payload(x, "bitpack", 31, 120, 120))
    put("five-bits-groups", payload(x[:780], "bitpack", 15, 195, 64))
    put("two-bits", payload(few, "bitpack", 1, 64, 16))
    put("eleven-bits", payload(x[:400], "bitpack", 1000, 80, 80))
    put("one-scale", payload(x[:300], "store", 127, 300, 300, scale=4), row=75)
    put("looked-up", payload(few, "tans", 60, 60, 60), flags=LOOKED_UP)
    put("steep", payload(x[:200] ** 9, "bitpack", 127, 40, 40, kappa=60000))
    put("odd-groups", payload(x, "bitpack", 40, 96, 36))
    put("tans", payload(few, "tans", 100, 120, 120))
    put("tans-raw-bits", payload(x[:600], "tans", 900, 60, 60))
    put("huffman", payload(few, "huffman", 31, 160, 64))
    put("runs", payload(np.where(rng.random(960) < 0.98, 0, x), "rle", 7, 96, 96))
    put("zstd", payload(few, "zstd", 127, 96, 32))
    put("seed-grid", payload(x, "bitpack", 127, 1, 1, kappa=1, content=2), row=96)
    put("blocks", blocks([payload(few[:192], "tans", 60, 48, 48), payload(x[:96], "bitpack", 31, 48, 32),
                          payload(x[:48], "bitpack", 127, 48, 48, kappa=0)], 336), row=48)
    put("one", payload(x[:1], "bitpack", 127, 1, 1))


main()
