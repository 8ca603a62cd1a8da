"""tans against a second implementation in Python, written from docs/bitstreams.md alone: it decodes
what the C coder writes, and the C coder decodes what it writes, with tables of its own."""
import unittest

import numpy as np

import support
from test_huffman_oracle import Refused, Writer, coder, require

LANES = 8


def ceil_log2(m):
    return (m - 1).bit_length()


def padded_bits(data, count, width):
    """COUNT fields from the front of DATA; the rest of the last byte is zero. Returns the bytes used."""
    size = (count * width + 7) // 8
    require(size <= len(data))
    value = int.from_bytes(data[:size], "little")
    require(value >> count * width == 0)
    mask = (1 << width) - 1
    return [value >> i * width & mask for i in range(count)], size


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, n):
        require(self.at + n <= len(self.data))
        self.at += n
        return self.data[self.at - n:self.at]

    def integer(self, n):
        return int.from_bytes(self.bytes(n), "little")

    def fields(self, count, width):
        values, size = padded_bits(self.data[self.at:], count, width)
        self.at += size
        return values


def states_of(table):
    """(x, bits, base) of each state."""
    seen, out = {}, []
    for entry in table:
        x = table.count(entry) + seen.get(entry, 0)
        seen[entry] = seen.get(entry, 0) + 1
        bits = 7 - (x.bit_length() - 1)
        out.append((x, bits, (x << bits) - 128))
    return out


def read_classes(r, n_classes):
    return [c for c, bit in enumerate(r.fields(n_classes, 1)) if bit]


def length(counts):
    """One length from an iterator of bytes."""
    total = 0
    for byte in counts:
        total += byte
        if byte < 255:
            return total
    raise Refused


def decode_runs(data, n):
    r = Reader(data)
    require(r.integer(1) == 64)
    z, parts = r.bytes(1), []
    counts = [(r.integer(4), r.integer(4)), (r.integer(4), r.integer(4)), (r.integer(4), None)]
    for i, (count, size) in enumerate(counts):
        require(1 <= count <= (n if i == 2 else n // 4 + 1))
        parts.append(decode(r.bytes(len(data) - r.at if size is None else size), count))
    gaps, runs, values, out = iter(parts[0]), iter(parts[1]), Reader(parts[2]), b""
    in_run = False
    while len(out) < n:
        count = length(runs if in_run else gaps)
        out += z * count if in_run else values.bytes(count)
        in_run = not in_run
    require(len(out) == n and values.at == len(parts[2]) and not list(gaps) and not list(runs))
    return out


def decode_any(data, n):
    return decode_runs(data, n) if data[:1] == b"@" else decode(data, n)


def counted(lengths):
    return b"".join(b"\xff" * (x // 255) + bytes([x % 255]) for x in lengths)


def encode_runs(z, pieces):
    """PIECES: gap, length of a run, gap, …; parts as they are, k = 8."""
    def stored(part):
        return b"\x08\x01" + part
    gaps, runs = counted(map(len, pieces[::2])), counted(pieces[1::2])
    values = b"".join(pieces[::2])
    out = bytes([64, z])
    for part in gaps, runs:
        out += len(part).to_bytes(4, "little") + (len(part) + 2).to_bytes(4, "little")
    return out + len(values).to_bytes(4, "little") + stored(gaps) + stored(runs) + stored(values)


def decode(data, n):
    r = Reader(data)
    head = r.integer(1)
    k, has_escapes, streams = head & 15, head >> 4 & 1, 32 if head >> 5 & 1 else 1
    require(head < 64 and k <= 8)
    coded, escaped, n_escapes = read_classes(r, 1 << 8 - k), [], 0
    require(coded)
    if has_escapes:
        escaped, n_escapes = read_classes(r, 1 << 8 - k), r.integer(4)
        require(len(escaped) >= 2 and not set(escaped) & set(coded) and 1 <= n_escapes <= n)
    entries = len(coded) + has_escapes
    require(entries <= 128)
    table = r.fields(128, ceil_log2(entries))
    require(set(table) == set(range(entries)))
    if entries == 1:
        require(streams == 1)
        classes, raw = [coded[0]] * n, r.fields(n, k)
    else:
        require(n >= 1024 if streams == 32 else n <= 1 << 20)
        state, offsets = r.fields(min(n, streams * LANES), 7), r.fields(streams, 3)
        ranks = r.fields(n_escapes, ceil_log2(len(escaped))) if has_escapes else []
        require(all(rank < len(escaped) for rank in ranks))
        raw = r.fields(n, k)
        order = decode_entries(r, table, state, offsets, n)
        require(order.count(len(coded)) == len(ranks))
        listed = iter(ranks)
        classes = [coded[e] if e < len(coded) else escaped[next(listed)] for e in order]
    require(r.at == len(data))
    return bytes(c << k | low for c, low in zip(classes, raw))


def decode_entries(r, table, state, offsets, n):
    """Entries of the table, from the merged bitstreams."""
    lanes, moves = len(offsets) * LANES, states_of(table)
    state, used, order = list(state), list(offsets), []
    held = [r.integer(1) for _ in offsets]  # the byte of each stream that is begun
    require(all(byte & (1 << u) - 1 == 0 for byte, u in zip(held, used)))
    for i in range(n):
        lane = i % lanes
        q = lane // LANES
        order.append(table[state[lane]])
        if i + lanes < n:
            _, bits, base = moves[state[lane]]
            window = held[q]
            if used[q] + bits >= 8:
                held[q] = r.integer(1)
                window |= held[q] << 8
            state[lane] = base + (window >> used[q] & (1 << bits) - 1)
            used[q] = (used[q] + bits) % 8
    require(all(u == 7 and byte < 128 for byte, u in zip(held, used)))
    require(all(moves[s][0] == table.count(table[s]) for s in state))
    return order


def encode(symbols, k, table, coded, escaped, streams):
    """TABLE: an entry for each state, in any order."""
    n, lanes, moves = len(symbols), streams * LANES, states_of(table)
    at = {(table[s], moves[s][0]): s for s in range(128)}
    entry = {c: e for e, c in enumerate(coded)} | {c: len(coded) for c in escaped}
    state, bits, takes = [0] * lanes, [[0] for _ in range(streams)], []
    for i in reversed(range(n)):
        e, lane = entry[symbols[i] >> k], i % lanes
        count = table.count(e)
        if i + lanes >= n:
            state[lane] = at[e, count]
            continue
        x, b = state[lane] + 128, 0
        while x >> b >= 2 * count:
            b += 1
        bits[lane // LANES] = [x >> j & 1 for j in range(b)] + bits[lane // LANES]
        takes.append((lane // LANES, b))
        state[lane] = at[e, x >> b]
    offsets = [-len(stream) % 8 for stream in bits]
    whole = [bytes(sum(b << j for j, b in enumerate(s[i:i + 8])) for i in range(0, len(s), 8))
             for s in ([0] * offset + stream for offset, stream in zip(offsets, bits))]
    merged, used = [stream[0] for stream in whole], list(offsets)
    for q, b in reversed(takes):
        if used[q] // 8 != (used[q] + b) // 8:
            merged.append(whole[q][(used[q] + b) // 8])
        used[q] += b
    w = Writer()

    def align():
        w.bits += [0] * (-len(w.bits) % 8)

    def classes(members):
        for c in range(1 << 8 - k):
            w.put(c in members, 1)
        align()

    w.put(k | (16 if escaped else 0) | (32 if streams == 32 else 0), 8)
    classes(coded)
    hidden = [escaped.index(s >> k) for s in symbols if s >> k in escaped]
    if escaped:
        classes(escaped)
        w.put(len(hidden), 32)
    for e in table:
        w.put(e, ceil_log2(len(coded) + (len(escaped) > 0)))
    for s in state[:min(n, lanes)]:
        w.put(s, 7)
    align()
    for offset in offsets:
        w.put(offset, 3)
    align()
    for rank in hidden:
        w.put(rank, ceil_log2(len(escaped)))
    align()
    for s in symbols:
        w.put(s & (1 << k) - 1, k)
    align()
    return w.bytes() + bytes(merged)


def sources(rng):
    for n in (1, 2, 7, 8, 9, 100, 1030, 5000, 32768, 33003):
        yield "gaussian", np.clip(rng.normal(128, 30, n), 0, 255)
        yield "uniform", rng.integers(0, 256, n)
        yield "constant", np.full(n, 9)
        yield "two", rng.integers(0, 20, n) == 0
        yield "exponents", 126 - np.minimum(rng.geometric(0.5, n), 40)
        yield "sparse", np.where(rng.random(n) < 0.7, 0, rng.normal(120, 20, n))
        zeros = np.repeat(np.arange(n) % 2, np.tile([6, 14], n)[:n])[:n]
        yield "runs", np.where(rng.permutation(zeros.reshape(-1)) if n < 9 else zeros, 0,
                               rng.normal(120, 20, n))
        yield "long runs", (np.arange(n) // 700 % 2 == 0) * rng.integers(1, 9, n)


class Tans(unittest.TestCase):
    def test_decodes_what_is_written(self):
        with_runs = 0
        for what, symbols in sources(np.random.default_rng(3)):
            data = np.asarray(symbols).astype(np.uint8).tobytes()
            with self.subTest(source=what, n=len(data)):
                coded = coder("encode", "tans", data)
                with_runs += coded[0] == 64
                self.assertEqual(decode_any(coded, len(data)), data)
                self.assertEqual(coder("decode", "tans", coded, len(data)), data)
        self.assertGreaterEqual(with_runs, 4)

    def test_foreign_runs(self):
        """Empty gaps and runs in the middle, lengths around 255, values equal to z."""
        rng = np.random.default_rng(9)
        for lengths in ((3, 5), (0, 255, 1, 0, 254, 256), (300, 1, 0, 0, 0, 4000, 7), (1, 510)):
            pieces = [rng.integers(0, 3, x).astype(np.uint8).tobytes() if i % 2 == 0 else x
                      for i, x in enumerate(lengths)]
            data = b"".join(b"\1" * p if isinstance(p, int) else p for p in pieces)
            stream = encode_runs(1, pieces)
            with self.subTest(lengths=lengths):
                self.assertEqual(decode_any(stream, len(data)), data)
                self.assertEqual(coder("decode", "tans", stream, len(data)), data)
                for n in (len(data) - 1, len(data) + 1):
                    self.assertRaises(Refused, decode_any, stream, n)
                    self.assertIsNone(coder("decode", "tans", stream, n))

    def test_foreign_encoder(self):
        """Tables in random order, counts that fit nothing, any k, escapes from two classes on."""
        rng = np.random.default_rng(5)
        for k, n, streams in ((0, 50, 1), (1, 1024, 32), (3, 9, 1), (5, 3000, 32), (6, 3001, 1),
                              (7, 700, 1), (2, 2000, 32)):
            classes = rng.permutation(1 << 8 - k)
            split = max(1, min(20, len(classes) - 2)) if len(classes) > 2 else 2
            coded, escaped = sorted(classes[:split].tolist()), sorted(classes[split:split + 9].tolist())
            entries = len(coded) + (len(escaped) > 0)
            table = list(range(entries)) + rng.integers(0, entries, 128 - entries).tolist()
            table = rng.permutation(table).tolist()
            symbols = (rng.choice(coded + escaped, n) << k | rng.integers(0, 1 << k, n)).tolist()
            with self.subTest(k=k, n=n):
                stream = encode(symbols, k, table, coded, escaped, streams)
                self.assertEqual(decode(stream, n), bytes(symbols))
                self.assertEqual(coder("decode", "tans", stream, n), bytes(symbols))
                self.assertIsNone(coder("decode", "tans", stream + b"\0", n))
                self.assertIsNone(coder("decode", "tans", stream[:-1], n))

    def test_same_verdict_on_damage(self):
        rng, verdicts = np.random.default_rng(7), []
        plain = np.clip(rng.normal(128, 30, 300), 0, 255).astype(np.uint8).tobytes()
        pieces = [b"abc", 9, b"", 270, b"x" * 300, 2, b"y"]
        runs = b"".join(b"\0" * p if isinstance(p, int) else p for p in pieces)
        for data, coded in ((plain, coder("encode", "tans", plain)), (runs, encode_runs(0, pieces))):
            for i in range(120):
                damaged = bytearray(coded)
                damaged[i * len(coded) // 120] ^= 1 << rng.integers(0, 8)
                try:
                    expected = decode_any(bytes(damaged), len(data))
                except Refused:
                    expected = None
                self.assertEqual(coder("decode", "tans", damaged, len(data)), expected, i)
                verdicts.append(expected is None)
        self.assertIn(True, verdicts)


if __name__ == "__main__":
    unittest.main()
