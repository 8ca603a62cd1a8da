"""Seeds of fuzz_kv_file: descriptions of dumps, and what their datasets hold."""
import ctypes
import ctypes.util
import json
import pathlib
import struct

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "kv_file"
HEADS, HEAD_DIM, TOKENS = 2, 32, 1


def xxh3(data):
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library.XXH3_64bits(data, len(data))


def page(bits, fill, largest=1.0):
    """One token, every code FILL, bit-packed."""
    codes = sum(fill << bits * i for i in range(HEADS * HEAD_DIM))
    body = struct.pack("<BBHHHff", 1 << 4 | 1, bits, HEADS, HEAD_DIM, TOKENS, 0.5, largest)
    body += b"\xff" + codes.to_bytes(HEADS * HEAD_DIM * bits // 8, "little")
    return struct.pack("<Q", xxh3(body)) + body


def seed(layers, bits=8, changes=None, layout=None, places=None):
    """LAYERS: lists of pages; their places are one after the other in one sequence."""
    meta = {"schema": "qins/kv-pages/1", "qins_version": "0.1.0", "model_fingerprint": "0" * 32,
            "text_fingerprint": "1" * 32,
            "layout": {"heads": HEADS, "head_dim": HEAD_DIM, "tokens": TOKENS, "bits": bits,
                       "kappa": 0.5, **(layout or {})},
            "layers": [{"pages": len(pages), "bytes": sum(map(len, pages))} for pages in layers],
            **(changes or {})}
    data = b""
    for pages in layers:
        data += b"".join(pages)
        at = places or [(sum(map(len, pages[:i])), len(p), 0, i) for i, p in enumerate(pages)]
        for column, code in enumerate("QIII"):
            data += struct.pack(f"<{len(pages)}{code}", *(row[column] for row in at))
    return json.dumps(meta).encode() + b"\0" + data


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    eight, six = page(8, 127), page(6, 62)
    n = len(eight)
    seeds = {
        "two_layers": seed([[eight, page(8, 0)], [page(8, 254), eight]]),
        "six_bits": seed([[six]], bits=6),
        "no_such_code": seed([[page(8, 255)]]),
        "damaged": seed([[eight[:-1] + b"\1"]]),
        "no_pages": seed([[]]),
        "no_layers": seed([]),
        "overlap": seed([[eight, eight]], places=[(0, n, 0, 0), (0, n, 0, 1)]),
        "gap": seed([[eight, eight]], places=[(0, n - 1, 0, 0), (n, n, 0, 1)]),
        "beyond": seed([[eight, eight]], places=[(0, n, 0, 0), (n, n + 1, 0, 1)]),
        "out_of_order": seed([[eight, eight]], places=[(0, n, 1, 0), (n, n, 0, 1)]),
        "twice": seed([[eight, eight]], places=[(0, n, 0, 1), (n, n, 0, 1)]),
        "short": seed([[eight[:23]]]),
        "many_bytes": seed([[eight]], changes={"layers": [{"pages": 1 << 60, "bytes": 1 << 62}]}),
        "many_tokens": seed([[eight]], layout={"tokens": 2 ** 32 - 1}),
        "no_kappa": seed([[eight]], layout={"kappa": None}),
        "seven_bits": seed([[eight]], layout={"bits": 7}),
        "another_schema": seed([[eight]], changes={"schema": "qins/transport-weights/1"}),
    }
    for name, data in seeds.items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
