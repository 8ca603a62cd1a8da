#!/usr/bin/env python3
"""Throughput of convert, verify and restore on a synthetic checkpoint, and bits a weight of each
coder. Input and output are on tmpfs where there is one, the input is cached, rounds alternate, and the
median is shown.

    throughput.py [--megabytes 256] [--rounds 3] [CHECKPOINT...]

With CHECKPOINTs: bits a weight of each coder on them instead."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

PROGRAM = os.environ.get("QINS_PROGRAM", "build/cli/qins")
CODERS = ["store", "bitpack", "huffman", "rle", "rle-huffman", "zstd", "tans"]


def qins(*arguments):
    """(seconds, report)."""
    begin = time.perf_counter()
    done = subprocess.run([PROGRAM, *map(str, arguments), "--json"], check=True,
                          capture_output=True)
    return time.perf_counter() - begin, json.loads(done.stdout)


def make_checkpoint(path, megabytes):
    """Matrices of 4096 columns, Gaussian, sigma 0.02, as trained weights are."""
    rng = np.random.default_rng(1)
    rows = 1024
    count = max(1, megabytes * 10**6 // (rows * 4096 * 4))
    header, size = {}, rows * 4096 * 4
    for i in range(count):
        header[f"layers.{i}.weight"] = {"dtype": "F32", "shape": [rows, 4096],
                                        "data_offsets": [i * size, (i + 1) * size]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _ in range(count):
            block = rng.standard_normal((rows, 4096), np.float32) * np.float32(0.02)
            f.write(block.tobytes())


def measure(folder, megabytes, rounds):
    source = folder / "source.safetensors"
    make_checkpoint(source, megabytes)
    size = source.stat().st_size
    archive, restored = folder / "m.qins", folder / "m.safetensors"
    kinds = [("8-bit bitpack", []), ("8-bit huffman", ["--codec", "huffman"]),
             ("lossless", ["--lossless"])]
    figures = {}
    for _ in range(rounds):
        for kind, options in kinds:
            for threads in (1, 2):
                for verb, arguments in (
                        ("convert", ["convert", source, "-o", archive, *options]),
                        ("verify", ["verify", archive]),
                        ("restore", ["restore", archive, "-o", restored])):
                    seconds, _ = qins(*arguments, "--threads", threads)
                    figures.setdefault((kind, verb, threads), []).append(size / 1e6 / seconds)
                figures.setdefault((kind, "size"), archive.stat().st_size / size)
    print(f"{size / 1e6:.0f} MB of F32; MB of F32 a second, median of {rounds}, whole process")
    print(f"{'':15} {'size':>6} {'convert 1':>10} {'convert 2':>10} {'verify 1':>9} {'verify 2':>9} "
          f"{'restore 1':>10} {'restore 2':>10}")
    for kind, _ in kinds:
        row = [statistics.median(figures[kind, verb, threads])
               for verb in ("convert", "verify", "restore") for threads in (1, 2)]
        print(f"{kind:15} {figures[kind, 'size']:6.3f} {row[0]:10.0f} {row[1]:10.0f} {row[2]:9.0f} "
              f"{row[3]:9.0f} {row[4]:10.0f} {row[5]:10.0f}")


def compare_coders(folder, checkpoint):
    archive = folder / "m.qins"
    print(f"\n{checkpoint}: archive bytes, bits a weight over all float tensors")
    runs = [(coder, ["--bits", "8", "--codec", coder]) for coder in CODERS]
    runs += [(f"{bits}-bit huffman", ["--bits", bits, "--codec", "huffman"]) for bits in (6, 5, 4)]
    runs += [("lossless", ["--lossless"])]
    for name, options in runs:
        _, report = qins("convert", checkpoint, "-o", archive, *options)
        print(f"{name:15} {report['archive_bytes']:10} {report['bits_per_weight']:8.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("checkpoint", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="qins-bench-", dir=place) as folder:
        for checkpoint in options.checkpoint:
            compare_coders(pathlib.Path(folder), checkpoint)
        if not options.checkpoint:
            measure(pathlib.Path(folder), options.megabytes, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
