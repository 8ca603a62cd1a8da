"""Seeds of fuzz_kv_page: pages of V of its layouts, bit-packed and coded anew, and V itself.
seeds_kv_page.py FOLDER"""
import pathlib
import struct
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import kv_reference as kv  # noqa: E402
import test_huffman_oracle as coders  # noqa: E402
import test_quant_oracle as grid  # noqa: E402

LAYOUTS = ((2, 32, 4, 8, 0.25), (2, 32, 4, 6, 0.25), (2, 64, 3, 6, 1.0), (3, 5, 7, 8, 0.0),
           (1, 1, 1, 6, 3.0), (2, 32, 160, 6, 0.25))


def layout_of(heads, head_dim, tokens, bits, kappa):
    layout = kv.Layout(heads, head_dim, bits, 4 * heads * head_dim * tokens, np.float32(kappa))
    assert layout.tokens == tokens
    return layout


def recoded(layout, page, name, kind):
    """The same page by another coder."""
    at = kv.HEADER.size + layout.tokens * layout.groups
    symbols = kv.read(layout, page)[0].astype(np.uint8).tobytes()
    body = bytes([1 << 4 | kind]) + page[9:at] + coders.coder("encode", name, symbols)
    return struct.pack("<Q", grid.xxh3(body)) + body


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for i, shape in enumerate(LAYOUTS):
        layout, pick = layout_of(*shape), bytes([i])
        v = rng.standard_normal(layout.shape).astype(np.float32)
        v[rng.random(layout.shape) < 0.7] = 0
        page = kv.encode(layout, v)
        if layout.values <= 1000:
            (folder / f"packed-{i}").write_bytes(pick + page)
            (folder / f"values-{i}").write_bytes(pick + v.tobytes())
        for name, kind in (("huffman", kv.HUFFMAN), ("rle-huffman", kv.RLE_HUFFMAN)):
            (folder / f"{name}-{i}").write_bytes(pick + recoded(layout, page, name, kind))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
