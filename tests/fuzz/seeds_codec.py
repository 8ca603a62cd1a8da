#!/usr/bin/env python3
"""Writes corpus/codec: for each coder some streams made by coder_tool (its path is the argument),
as fuzz_codec takes them."""
import pathlib
import random
import subprocess
import sys

IDS = {"store": 0, "bitpack:6": 1 + 7 * 6, "bitpack:11": 1 + 7 * 11, "huffman": 2, "rle": 3,
       "rle-huffman": 4, "zstd": 5, "tans": 6}


def sources(rng):
    yield "one", b"\7"
    yield "constant", b"\0" * 300
    yield "gaussian", bytes(max(0, min(255, round(rng.gauss(128, 9)))) for _ in range(400))
    yield "sparse", b"".join(b"\0" * rng.randrange(1, 40) + bytes([rng.randrange(1, 9)])
                             for _ in range(30))
    yield "long", bytes(126 - min(9, int(rng.expovariate(0.7))) for _ in range(8192))
    yield "runs", b"".join(b"\0" * rng.randrange(2, 60) + bytes(rng.randrange(256) for _ in range(9))
                           for _ in range(130))
    # 32 bitstreams of tans, with escapes.
    yield "many", bytes(128 + (rng.random() < 0.03) * rng.randrange(-99, 99) for _ in range(33000))
    # Long enough for tans to pay for a table of runs.
    for what, top, count in ("spans", 2, 160), ("stretches", 4, 260):
        yield what, b"".join(b"\0" * rng.randrange(100, 200) +
                             bytes(rng.randrange(1, top) for _ in range(rng.randrange(60, 120)))
                             for _ in range(count))
    # A raw bit below the symbols, in interleaved streams.
    yield "coins", bytes(128 + (rng.random() < 0.2) * 2 * rng.randrange(-20, 20) | rng.randrange(2)
                         for _ in range(32800))
    # Enough for Huffman's table of three symbols a look-up.
    yield "longer", bytes(126 - min(9, int(rng.expovariate(1.5))) for _ in range(16500))


def main():
    rng = random.Random(1)
    folder = pathlib.Path(__file__).parent / "corpus" / "codec"
    folder.mkdir(parents=True, exist_ok=True)
    for what, data in sources(rng):
        for name, number in IDS.items():
            symbols = data
            if name.startswith("bitpack"):
                symbols = b"".join((b % 64).to_bytes(2, "little") for b in data)
            if what in ("runs", "many", "spans", "stretches", "coins") and name != "tans":
                continue
            if what == "longer" and name != "huffman":
                continue
            if what == "long" and name not in ("huffman", "rle-huffman", "tans"):
                continue
            coded = subprocess.run([sys.argv[1], "encode", name], input=symbols,
                                   capture_output=True, check=True).stdout
            seed = bytes([number]) + (len(data) - 1).to_bytes(2, "little") + coded
            (folder / f"{name.replace(':', '')}-{what}").write_bytes(seed)


if __name__ == "__main__":
    main()
