"""A second reader and writer of V pages, written from docs/kv-format.md alone; the coders are those
of test_huffman_oracle.py and the grid that of test_quant_oracle.py, which are as independent."""
import struct

import numpy as np

import test_huffman_oracle as coders
import test_quant_oracle as grid

F = np.float32
HEADER = struct.Struct("<QBBHHHff")
HEAD_SCALES = 64
BITPACK, HUFFMAN, RLE_HUFFMAN = 1, 2, 4


class Layout:
    def __init__(self, heads, head_dim, bits, page_bytes=0, kappa=None):
        token = 4 * heads * head_dim
        page_bytes = page_bytes or min(max(64 * token, 16 << 10), 64 << 10)
        self.heads, self.head_dim, self.bits, self.kappa = heads, head_dim, bits, kappa
        self.tokens = max(1, page_bytes // token)
        self.groups = heads if head_dim >= HEAD_SCALES else 1
        self.levels = 2 ** (bits - 1) - 1
        self.shape = (self.tokens, heads, head_dim)
        self.values = int(np.prod(self.shape))
        self.packed_size = HEADER.size + self.tokens * self.groups + -(-self.values * bits // 8)


def scales_of(largest):
    """By byte."""
    c = np.arange(256)
    r = (33 + c % 32) * 2.0 ** (c // 32) / 8192
    with np.errstate(under="ignore"):
        return F(largest) * r.astype(F)


def unpack(data, n, bits):
    if len(data) != -(-n * bits // 8):
        raise ValueError("size of bit-packed codes")
    each = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if each[n * bits:].any():
        raise ValueError("padding")
    return each[:n * bits].reshape(n, bits) @ (1 << np.arange(bits))


def pack(codes, bits):
    each = codes.reshape(-1, 1) >> np.arange(bits) & 1
    return np.packbits(each.astype(np.uint8), bitorder="little").tobytes()


def read(layout, page):
    """(codes [tokens][heads][head_dim], scales [tokens][groups], coder); ValueError if refused."""
    digest, kind, bits, heads, head_dim, tokens, kappa, largest = HEADER.unpack_from(page)
    if digest != grid.xxh3(page[8:]):
        raise ValueError("hash")
    if kind >> 4 != 1 or (bits, heads, head_dim, tokens) != (
            layout.bits, layout.heads, layout.head_dim, layout.tokens):
        raise ValueError("header")
    if layout.kappa is not None and F(kappa) != F(layout.kappa):
        raise ValueError("kappa")
    if not np.isfinite(largest) or np.signbit(largest) or len(page) > layout.packed_size:
        raise ValueError("largest, or size")
    at = HEADER.size + layout.tokens * layout.groups
    scales = scales_of(largest)[np.frombuffer(page[HEADER.size:at], np.uint8)]
    if kind & 15 == BITPACK:
        codes = unpack(page[at:], layout.values, bits)
    else:
        decode = {HUFFMAN: coders.decode_huffman, RLE_HUFFMAN: coders.decode_rle_huffman}[kind & 15]
        codes = np.frombuffer(decode(page[at:], layout.values), np.uint8)
    if codes.max() > 2 * layout.levels:
        raise ValueError("code")
    return codes.reshape(layout.shape).astype(int), scales.reshape(-1, layout.groups), kind & 15


def decode(layout, page):
    """float32 [tokens][heads][head_dim]"""
    codes, scales, _ = read(layout, page)
    kappa = HEADER.unpack_from(page)[6]
    by_value = np.broadcast_to(scales[:, :, None], layout.shape)
    return grid.dequantise(codes, layout.levels, kappa, by_value)


def encode(layout, v):
    """A bit-packed page of V [tokens][heads][head_dim], float32."""
    most = np.abs(v).max(axis=2 if layout.groups > 1 else (1, 2)).reshape(layout.tokens, -1)
    largest = most.max()
    table = scales_of(largest)
    index = np.searchsorted(table, most, side="left")
    scales = np.broadcast_to(table[index][:, :, None], layout.shape)
    codes = np.full(layout.shape, layout.levels)
    for scale in np.unique(scales):
        at = scales == scale
        codes[at] = grid.quantise(v[at], layout.levels, layout.kappa, scale)
    body = HEADER.pack(0, 1 << 4 | BITPACK, layout.bits, layout.heads, layout.head_dim,
                       layout.tokens, layout.kappa, largest)[8:]
    body += index.astype(np.uint8).tobytes() + pack(codes.reshape(-1), layout.bits)
    return struct.pack("<Q", grid.xxh3(body)) + body


def read_dump(path):
    """[(layer, page, bytes)] of forward_tool's --pages, in the order in which they were coded."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        layer, page, size = struct.unpack_from("<III", data, at)
        found.append((layer, page, data[at + 12:at + 12 + size]))
        at += 12 + size
    return found
