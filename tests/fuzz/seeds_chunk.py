"""Makes the seed corpus of fuzz_chunk: seeds_chunk.py BUILD_DIR (for its tests/tools/codec_tool)."""
import os
import struct
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.join(sys.argv[1], "tests", "tools", "codec_tool")
FOLDER = os.path.join(HERE, "corpus", "chunk")
CODECS = ("store", "bitpack", "huffman", "rle", "rle-huffman", "zstd", "tans")
TYPES = {"F32": 2, "BF16": 4, "I16": 9, "F64": 1, "U8": 14, "F8_E4M3": 5}


def word(x):
    return int(np.float32(x).view(np.uint32))


def put(name, content):
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(content)


def seed(name, source, content, dtype, codec, levels, kappa, clip, scale, row, group, flags=0,
         trip=True):
    """A payload to decode, and the same parameters as a round trip; FLAGS: 1 feedback, 2 blocks."""
    arguments = [content, dtype, codec, levels, f"{word(kappa):08x}", f"{word(clip):08x}",
                 f"{word(scale):08x}", row, group]
    payload = subprocess.run([TOOL, "encode", *map(str, arguments)], input=source, check=True,
                             capture_output=True).stdout
    put(name + "-payload", b"\x01" + payload)
    if trip:
        put(name + "-trip", b"\x00" + struct.pack(
            "<BBBHIIIHHB", content, TYPES[dtype], CODECS.index(codec), levels, word(kappa),
            word(clip), word(scale), row, group, flags) + source)
    return payload


def main():
    rng = np.random.default_rng(11)
    x = rng.laplace(size=120).astype("<f4")
    x[rng.random(120) < 0.6] = 0
    for codec in CODECS:
        seed(f"q127-{codec}", x.tobytes(), 1, "F32", codec, 127, 1.5, 0.9, 0, 40, 16)
        if codec != "bitpack":
            seed(f"lossless-{codec}", x.tobytes(), 0, "F32", codec, 0, 0, 1, 0, 1, 1)
    seed("q1000", x.tobytes(), 1, "F32", "huffman", 1000, 0.0, 1, 0, 120, 120)
    seed("tensor-scale", x.tobytes(), 1, "F32", "rle", 7, 3.0, 1, 2.0, 1, 1)
    seed("seed-grid", x.tobytes(), 2, "F32", "zstd", 127, 1.0, 1, 0, 1, 1)
    bf16 = (x.view("<u4") >> 16).astype("<u2").tobytes()
    seed("bf16", bf16, 1, "BF16", "huffman", 31, 1.5, 1, 0, 60, 60)
    seed("i16", np.arange(90, dtype="<i2").tobytes(), 0, "I16", "huffman", 0, 0, 1, 0, 1, 1)
    huffman = seed("feedback", x.tobytes(), 1, "F32", "huffman", 7, 0.5, 1, 0, 40, 40, flags=1)
    packed = seed("blocks", x.tobytes(), 1, "F32", "bitpack", 31, 0.0, 1, 0, 40, 20, flags=3)
    fed = bytearray(packed)
    fed[27], fed[48:52] = 1, struct.pack("<f", 0.5)
    put("feedback-payload", b"\x01" + fed)
    parts = [huffman, bytes(fed)]
    head = bytearray(64)  # the target puts the hashes right
    head[8:16] = packed[8:13] + bytes([3, TYPES["F32"], huffman[15]])
    struct.pack_into("<II", head, 16, 240, 64 + sum(map(len, parts)))
    struct.pack_into("<I", head, 32, len(parts))
    put("blocks-payload", b"\x01" + head + b"".join(parts))
    # Below a thousand symbols tans seldom pays, nor does it for a plane below 4096.
    small = np.rint(rng.laplace(size=4200) * 3).astype("<i2")
    payload = seed("i16-tans", small.tobytes(), 0, "I16", "tans", 0, 0, 1, 0, 1, 1, trip=False)
    assert payload[15] == CODECS.index("tans")
    few = (rng.laplace(size=1200).astype("<f4").view("<u4") >> 16).astype("<u2")
    payload = seed("bf16-tans", few.tobytes(), 1, "BF16", "tans", 7, 0.0, 1, 0, 60, 60)
    assert payload[15] == CODECS.index("tans")
    seed("f8", np.arange(90, dtype="u1").tobytes(), 0, "F8_E4M3", "rle", 0, 0, 1, 0, 1, 1)
    seed("u8", np.arange(90, dtype="u1").tobytes(), 0, "U8", "huffman", 0, 0, 1, 0, 1, 1)
    # From a thousand codes a row on AVX2 decodes them by tables of pairs.
    long = rng.laplace(size=1100).astype("<f4")
    seed("long-row", long.tobytes(), 1, "F32", "bitpack", 127, 1.5, 1, 0, 1100, 1100, trip=False)
    seed("f64", np.ones(60).tobytes(), 0, "F64", "rle-huffman", 0, 0, 1, 0, 1, 1)


main()
