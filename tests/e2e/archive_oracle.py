"""What the tensors of an archive hold, read and decoded without qins, and what they should hold."""
import json
import struct
import zlib

import numpy as np

import test_quant_oracle as oracle

F = np.float32


def archive_chunks(path):
    """name -> (manifest's entry, payloads), from the file's own index."""
    data = path.read_bytes()
    manifest_at, manifest_size = struct.unpack_from("<QQ", data, 24)
    table_at, rows = struct.unpack_from("<QQ", data, 48)
    table = [struct.unpack_from("<QQQ", data, table_at + 24 * i) for i in range(rows)]
    manifest = json.loads(zlib.decompress(data[manifest_at:manifest_at + manifest_size]))
    found, next_row = {}, 0
    for t in manifest["tensors"]:
        count = len(chunk_ranges(t["shape"]))
        found[t["name"]] = (t, [data[at:at + size] for at, size, _ in table[next_row:next_row + count]])
        next_row += count
    assert next_row == rows
    return found


def chunk_ranges(shape):
    from test_archive_h5py import chunk_ranges as ranges
    return ranges(shape)


def leaf_digest(pieces):
    """A fingerprint as docs/archive-format.md has it."""
    from test_archive_h5py import Hashes
    hashes = Hashes()
    return hashes.h128(b"".join(hashes.h128(p) for p in pieces)).hex()


def decode(payloads):
    """The float32 view of F32 chunks, and the headers of all their parts."""
    values, headers = [], []
    for payload in payloads:
        for _, part in oracle.parts(payload):
            h, got = oracle.decode_payload(part)
            headers.append(h)
            values.append(np.frombuffer(got, "<f4") if h["content"] == 0 else got.astype(F))
    return np.concatenate(values), headers


def expected(x, levels, kappa, clip, group):
    """Rows quantised by numpy; GROUP elements have one scale, or None: all."""
    out = np.empty_like(x)
    if group is None:
        scale = F(clip) * np.abs(x).max()
        return oracle.dequantise(oracle.quantise(x, levels, kappa, scale), levels, kappa, scale)
    for r, row in enumerate(x):
        for i in range(0, row.size, group):
            part = row[i:i + group]
            scale = F(clip) * np.abs(part).max()
            out[r, i:i + group] = oracle.dequantise(
                oracle.quantise(part, levels, kappa, scale), levels, kappa, scale)
    return out
