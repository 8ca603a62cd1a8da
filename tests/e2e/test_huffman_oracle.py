"""The coders against a second implementation in Python, written from docs/bitstreams.md alone:
it decodes what the C coders write, and the C coders decode what it writes. Code lengths are
compared in cost with plain Huffman trees and with a package-merge by heap and lists."""
import heapq
import subprocess
import unittest

import numpy as np

import support

TOOL = support.BUILD_ROOT / "tests" / "tools" / "coder_tool"
LIMIT = 12


def coder(action, name, data, n=None):
    """The tool's output, or None if it refused."""
    command = [str(TOOL), action, name] + ([] if n is None else [str(n)])
    done = subprocess.run(command, input=bytes(data), capture_output=True, timeout=60)
    if done.returncode not in (0, 1):
        raise AssertionError(f"{command}: exit {done.returncode}: {done.stderr.decode()}")
    return done.stdout if done.returncode == 0 else None


class Refused(Exception):
    pass


def require(condition):
    if not condition:
        raise Refused


class Bits:
    def __init__(self, data):
        self.data, self.pos = data, 0

    def take(self, n):
        value = 0
        for i in range(n):
            require(self.pos // 8 < len(self.data))
            value |= (self.data[self.pos // 8] >> self.pos % 8 & 1) << i
            self.pos += 1
        return value

    def finish(self):
        """Padding, then the number of bytes used."""
        while self.pos % 8:
            require(self.take(1) == 0)
        return self.pos // 8


def read_lengths(bits, first, last):
    lengths, previous, s = {}, LIMIT, first
    while s <= last:
        if bits.take(1) == 0:
            length = previous
        elif bits.take(1) == 0:
            length = previous + (1 if bits.take(1) == 0 else -1)
        else:
            length = bits.take(4)
            if length == 15:
                s += bits.take(8) + 1
                continue
            if length == 0:
                s += 1
                continue
        require(1 <= length <= LIMIT)
        lengths[s] = previous = length
        s += 1
    require(s == last + 1 and first in lengths and last in lengths)
    require(sum(2 ** (LIMIT - l) for l in lengths.values()) == 2**LIMIT)
    return lengths


def canonical(lengths):
    codes, code = {}, 0
    for length in range(1, LIMIT + 1):
        for s in sorted(lengths):
            if lengths[s] == length:
                codes[s] = (length, code)
                code += 1
        code *= 2
    return codes


def stream_counts(n, streams):
    if streams == 1:
        return [n]
    length = 64 * ((n // 8 // 64 - 1) | 1)
    return [length] * 7 + [n - 7 * length]


def decode_huffman(data, n):
    require(len(data) >= 2)
    if data[0] == 0:
        require(len(data) == 2)
        return bytes([data[1]]) * n
    streams = data[0]
    require(streams == 1 or streams == 8 and n >= 1024)
    require(len(data) >= 3 and data[1] < data[2])
    bits = Bits(data[3:])
    symbols = {code: s for s, code in canonical(read_lengths(bits, data[1], data[2])).items()}
    at = 3 + bits.finish()
    sizes = [int.from_bytes(data[at + 3 * k:at + 3 * k + 3], "little") for k in range(streams - 1)]
    at += 3 * (streams - 1)
    sizes.append(len(data) - at - sum(sizes))
    require(sizes[-1] >= 0)
    out = bytearray()
    for size, count in zip(sizes, stream_counts(n, streams)):
        bits = Bits(data[at:at + size])
        for _ in range(count):
            length = code = 0
            while (length, code) not in symbols:
                code, length = code * 2 + bits.take(1), length + 1
            out.append(symbols[length, code])
        require(bits.finish() == size)
        at += size
    return bytes(out)


def leb128(data, at):
    value = 0
    for i in range(5):
        require(at < len(data))
        value |= (data[at] & 127) << 7 * i
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise Refused


def counts(data):
    at, values = 0, []
    while at < len(data):
        value, at = data[at], at + 1
        if value == 255:
            more, at = leb128(data, at)
            value += more
        values.append(value)
    return values


def join(z, gaps, runs, literals, n):
    out, at = bytearray(), 0
    gaps, runs = counts(gaps), counts(runs)
    require(len(gaps) - len(runs) in (0, 1) and z not in literals and 0 not in gaps[1:])
    for i, gap in enumerate(gaps):
        out += literals[at:at + gap]
        at += gap
        if i < len(runs):
            out += bytes([z]) * (runs[i] + 1)
    require(at == len(literals) and len(out) == n)
    return bytes(out)


def decode_rle(data, n):
    gaps, at = leb128(data, 1)
    runs, at = leb128(data, at)
    return join(data[0], data[at:at + gaps], data[at + gaps:at + gaps + runs],
                data[at + gaps + runs:], n)


def decode_rle_huffman(data, n):
    parts, at = [], 1
    for _ in range(3):
        size, at = leb128(data, at)
        coded, at = leb128(data, at)
        part = data[at:at + coded]
        parts.append(part if coded == size else decode_huffman(part, size))
        at += coded
    require(at == len(data))
    return join(data[0], *parts, n)


class Writer:
    def __init__(self):
        self.bits = []

    def put(self, value, n):
        self.bits += [value >> i & 1 for i in range(n)]

    def bytes(self):
        return np.packbits(np.array(self.bits, np.uint8), bitorder="little").tobytes()


def encode_huffman(symbols, lengths, streams):
    """With code lengths that the caller chose, each written in full."""
    first, last, w = min(lengths), max(lengths), Writer()
    for s in range(first, last + 1):
        w.put(3, 2)
        w.put(lengths.get(s, 0), 4)
    parts, at, codes = [], 0, canonical(lengths)
    for count in stream_counts(len(symbols), streams):
        part = Writer()
        for s in symbols[at:at + count]:
            length, code = codes[s]
            part.bits += [code >> length - 1 - i & 1 for i in range(length)]
        parts.append(part.bytes())
        at += count
    sizes = b"".join(len(p).to_bytes(3, "little") for p in parts[:-1])
    return bytes([streams, first, last]) + w.bytes() + sizes + b"".join(parts)


def huffman_cost(weights):
    heap, cost = list(weights), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        cost += pair
        heapq.heappush(heap, pair)
    return cost


def limited_cost(weights, limit):
    items = sorted((w, (i,)) for i, w in enumerate(weights))
    level = []
    for _ in range(limit):
        pairs = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(level[::2], level[1::2])]
        level = sorted(items + pairs, key=lambda item: item[0])
    return sum(w for w, _ in level[:2 * len(items) - 2])


def sources(rng):
    for n in (1, 2, 3, 7, 100, 1023, 1024, 8191, 8192, 20001):
        yield "gaussian", np.clip(rng.normal(128, 30, n), 0, 255)
        yield "uniform", rng.integers(0, 256, n)
        yield "constant", np.full(n, 9)
        yield "two", rng.integers(0, 20, n) == 0
        yield "exponents", 126 - np.minimum(rng.geometric(0.5, n), 40)
        yield "sparse", np.where(np.cumsum(rng.integers(0, 14, n) == 0) % 2, 0, rng.normal(99, 9, n))
        yield "fibonacci", np.minimum(rng.geometric(0.38, n), 250)
        yield "runs", np.repeat(rng.integers(0, 2, n // 700 + 1), 700)[:n]


class Streams(unittest.TestCase):
    def check(self, name, decode):
        for what, symbols in sources(np.random.default_rng(3)):
            data = np.asarray(symbols).astype(np.uint8).tobytes()
            with self.subTest(coder=name, source=what, n=len(data)):
                coded = coder("encode", name, data)
                self.assertEqual(decode(coded, len(data)), data)
                self.assertEqual(coder("decode", name, coded, len(data)), data)

    def test_huffman(self):
        self.check("huffman", decode_huffman)

    def test_rle(self):
        self.check("rle", decode_rle)

    def test_rle_huffman(self):
        self.check("rle-huffman", decode_rle_huffman)

    def test_bitpack(self):
        rng = np.random.default_rng(4)
        for bits in range(1, 17):
            codes = rng.integers(0, 1 << bits, 1001).astype("<u2")
            w = Writer()
            for c in codes.tolist():
                w.put(c, bits)
            packed = coder("encode", f"bitpack:{bits}", codes.tobytes())
            self.assertEqual(packed, w.bytes())
            self.assertEqual(coder("decode", f"bitpack:{bits}", packed, 1001), codes.tobytes())

    def test_foreign_encoder(self):
        rng = np.random.default_rng(5)
        shapes = ([1, 1], [2, 2, 2, 2], [8] * 256, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12],
                  [3] * 7 + [4] * 2)
        for lengths in shapes:
            symbols = sorted(rng.choice(256, len(lengths), replace=False).tolist())
            code = dict(zip(symbols, rng.permutation(lengths).tolist()))
            for n, streams in ((1, 1), (50, 1), (1024, 8), (3000, 8), (9000, 1)):
                data = bytes(rng.choice(symbols, n).tolist())
                coded = encode_huffman(data, code, streams)
                self.assertEqual(coder("decode", "huffman", coded, n), data)
                self.assertIsNone(coder("decode", "huffman", coded + b"\0", n))
                self.assertIsNone(coder("decode", "huffman", coded[:-1], n))
        for incomplete_or_too_full in ({1: 1, 2: 2}, {1: 1, 2: 1, 3: 1}, {1: 2, 2: 2, 3: 2, 4: 12}):
            coded = encode_huffman(b"\1\2\1", incomplete_or_too_full, 1)
            self.assertIsNone(coder("decode", "huffman", coded, 3))


class Lengths(unittest.TestCase):
    def test_cost(self):
        for what, symbols in sources(np.random.default_rng(6)):
            data = np.asarray(symbols).astype(np.uint8)
            weights = np.bincount(data)
            weights = {s: int(w) for s, w in enumerate(weights) if w}
            if len(weights) == 1:
                continue
            coded = coder("encode", "huffman", data.tobytes())
            lengths = read_lengths(Bits(coded[3:]), coded[1], coded[2])
            self.assertEqual(lengths.keys(), weights.keys())
            cost = sum(lengths[s] * w for s, w in weights.items())
            self.assertEqual(cost, limited_cost(list(weights.values()), LIMIT), what)
            plain = huffman_cost(weights.values())
            self.assertGreaterEqual(cost, plain)
            self.assertLessEqual(cost, plain * 1.005 + 8, what)


if __name__ == "__main__":
    unittest.main()
