"""The quantiser and the chunk payload against numpy: codes and values bit for bit, and a second
decoder of payloads, written from docs/chunk-payload.md alone."""
import ctypes
import ctypes.util
import struct
import subprocess
import unittest

import numpy as np

import support
import test_huffman_oracle
import test_tans_oracle

TOOL = support.BUILD_ROOT / "tests" / "tools" / "codec_tool"
F = np.float32
LARGEST, LEAST = F(np.finfo(F).max), F(2.0**-149)


def word(x):
    return f"{int(F(x).view(np.uint32)):08x}"


def tool(*arguments, data=b"", status=0):
    done = subprocess.run([str(TOOL), *map(str, arguments)], input=data, capture_output=True,
                          timeout=60)
    if done.returncode != status:
        raise AssertionError(f"{arguments}: exit {done.returncode}: {done.stderr.decode()}")
    return done.stdout if status == 0 else done.stderr.decode()


def table(levels, kappa):
    t = np.arange(levels + 1, dtype=np.float64) / np.float64(levels)
    return (t / (1.0 + np.float64(F(kappa)) * (1.0 - t))).astype(F)


def quantise(x, levels, kappa, scale):
    if scale == 0:
        return np.full(x.shape, levels, np.uint16)
    one, kappa = F(1), F(kappa)
    with np.errstate(over="ignore", under="ignore"):
        u = np.minimum(np.abs(x) / F(scale), one)
        q = (F(levels) * (one + kappa)) * u / (one + kappa * u)
        level = np.minimum((q + F(0.5)).astype(np.int32), levels)
    return np.where(np.signbit(x), levels - level, levels + level).astype(np.uint16)


def with_sign(magnitude, negative):
    return np.where(negative, -magnitude, magnitude)


def dequantise(codes, levels, kappa, scale):
    d = codes.astype(np.int32) - levels
    with np.errstate(under="ignore"):
        return with_sign(F(scale) * table(levels, kappa)[np.abs(d)], d < 0)


def quantise_seed(x, levels, alpha):
    one = F(1)
    with np.errstate(over="ignore", under="ignore"):
        v = np.minimum(F(alpha) * np.abs(x), F(1e30))
        level = np.minimum((F(levels) * (v / (one + v)) + F(0.5)).astype(np.int32), levels - 1)
    return np.where(np.signbit(x), levels - level, levels + level).astype(np.uint16)


def dequantise_seed(codes, levels, alpha):
    t = np.arange(levels, dtype=np.float64) / np.float64(levels)
    d = codes.astype(np.int32) - levels
    return with_sign((t / (1.0 - t)).astype(F)[np.abs(d)] / F(alpha), d < 0)


def samples():
    rng = np.random.default_rng(7)
    yield "gaussian", rng.standard_normal(50000).astype(F) * F(0.02)
    yield "laplace", rng.laplace(size=50000).astype(F)
    yield "t5", rng.standard_t(5, size=50000).astype(F) * F(1e-3)
    yield "every exponent", (rng.standard_normal(20000) * 2.0**rng.integers(-149, 120, 20000)
                             ).astype(F)
    yield "extreme", np.array([LARGEST, -LARGEST, LARGEST / 2, 0.0, -0.0, LEAST, -LEAST, 1.0,
                               np.finfo(F).tiny, 3 * LEAST], F)
    yield "subnormal", (rng.integers(-1000, 1001, 5000) * np.float64(LEAST)).astype(F)


class Quantiser(unittest.TestCase):
    def check(self, name, x, levels, kappa, scale):
        parameters = (1, levels, word(kappa), word(scale))
        codes = np.frombuffer(tool("quantise", *parameters, data=x.tobytes()), "<u2")
        values = tool("dequantise", *parameters, data=codes.tobytes())
        where = f"{name}, levels {levels}, kappa {kappa}, scale {scale}"
        self.assertTrue(np.array_equal(codes, quantise(x, levels, kappa, scale)), where)
        self.assertEqual(values, dequantise(codes, levels, kappa, scale).tobytes(), where)

    def test_bit_for_bit(self):
        for name, x in samples():
            most = np.abs(x).max()
            for levels in (1, 7, 31, 127, 500, 2047):
                for kappa in (0.0, 0.7, 1.5, 13.25, 65536.0):
                    self.check(name, x, levels, kappa, most)
            for scale in (F(0.8) * most, F(0.01) * most, LEAST, F(0)):
                self.check(name, x, 127, 2.2, scale)

    def test_seed_grid(self):
        for name, x in samples():
            for levels, alpha in ((127, 1.0), (31, 0.3), (127, 2.0**64), (2047, 2.0**-64)):
                parameters = (2, levels, word(alpha), word(0))
                codes = np.frombuffer(tool("quantise", *parameters, data=x.tobytes()), "<u2")
                values = tool("dequantise", *parameters, data=codes.tobytes())
                self.assertTrue(np.array_equal(codes, quantise_seed(x, levels, alpha)), name)
                self.assertEqual(values, dequantise_seed(codes, levels, alpha).tobytes(), name)


class Search(unittest.TestCase):
    def test_prediction(self):
        """Predicted squared error against quantising with numpy, in dB."""
        for name, x in list(samples())[:3]:
            x = x[:49152]
            for group in (x.size, 4096, 512):
                rows = x.reshape(-1, group)
                for levels, kappa, clip in ((7, 0.0, 0.7), (31, 2.0, 1.0), (127, 1.5, 0.9)):
                    error = 0.0
                    for row in rows:
                        scale = F(clip) * np.abs(row).max()
                        y = dequantise(quantise(row, levels, kappa, scale), levels, kappa, scale)
                        error += float(((row.astype(float) - y) ** 2).sum())
                    predicted = struct.unpack("4d", tool("search", levels, word(kappa), word(clip),
                                                         group, data=x.tobytes()))[0]
                    off = abs(10 * np.log10(predicted / error))
                    self.assertLess(off, 0.05, f"{name} {group} {levels}")


def xxh3(data):
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library.XXH3_64bits(data, len(data))


def unzstd(data, size):
    library = ctypes.CDLL(ctypes.util.find_library("zstd"))
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
                                        ctypes.c_size_t]
    out = ctypes.create_string_buffer(size)
    if library.ZSTD_decompress(out, size, data, len(data)) != size:
        raise ValueError("zstd")
    return out.raw


SIZES = {1: 8, 2: 4, 3: 2, 4: 2, 5: 1, 6: 1, 7: 8, 8: 4, 9: 2, 10: 1, 11: 8, 12: 4, 13: 2, 14: 1,
         15: 1}
STORE, BITPACK, HUFFMAN, ZSTD, TANS = 0, 1, 2, 5, 6


def unpack(data, n, bits):
    stream = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:n * bits]
    return stream.reshape(n, bits).astype(np.uint32) @ (1 << np.arange(bits, dtype=np.uint32))


def symbols(codec, data, n):
    raw = {STORE: lambda: data, ZSTD: lambda: unzstd(data, n),
           HUFFMAN: lambda: test_huffman_oracle.decode_huffman(data, n),
           TANS: lambda: test_tans_oracle.decode_any(data, n)}[codec]()
    assert len(raw) == n
    return np.frombuffer(bytes(raw), np.uint8)


def decode_codes(h, body):
    n, bits = h["n"], int(2 * h["levels"]).bit_length()
    coded, rest = body[:h["coded_size"]], body[h["coded_size"]:]
    if h["codec"] == BITPACK:
        return unpack(coded, n, bits)
    if h["codec"] == STORE:
        return np.frombuffer(coded, "<u2" if 2 * h["levels"] >= 256 else "u1").astype(np.uint32)
    codes = symbols(h["codec"], coded, n).astype(np.uint32) << h["raw_bits"]
    if h["raw_bits"]:
        assert len(rest) == (n * h["raw_bits"] + 7) // 8
        codes |= unpack(rest, n, h["raw_bits"])
    return codes


def decode_lossless(h, body):
    n, size, planes = h["n"], SIZES[h["dtype"]], []
    for _ in range(size):
        codec, length = struct.unpack_from("<BI", body)
        planes.append(symbols(codec, body[5:5 + length], n))
        body = body[5 + length:]
    assert not body
    value = np.zeros(n, np.uint64)
    for plane in planes:
        value = value << np.uint64(8) | plane
    if h["dtype"] <= 4:
        value = value >> np.uint64(1) | (value & np.uint64(1)) << np.uint64(8 * size - 1)
    return value.astype(f"<u{size}").tobytes()


def header(payload):
    names = ("hash", "magic", "version", "content", "dtype", "codec", "n", "size", "levels",
             "raw_bits", "rounding", "kappa", "n_scales", "row_length", "group", "coded_size",
             "error_bound")
    h = dict(zip(names, struct.unpack_from("<Q4sBBBBIIHBBfIIIIf", payload)))
    assert h["magic"] == b"QNCK" and h["version"] == 1 and payload[52:64] == bytes(12)
    assert h["size"] == len(payload) and h["hash"] == xxh3(payload[8:])
    assert h["rounding"] in ((0, 1) if h["content"] == 1 else (0,))
    assert h["rounding"] or payload[48:52] == bytes(4)
    return h


def parts(payload):
    """(first element, part) of the parts of a payload: itself, or those of its blocks."""
    h = header(payload)
    if h["content"] != 3:
        return [(0, payload)]
    assert payload[24:32] == bytes(8) and payload[36:64] == bytes(28) and h["n_scales"] >= 2
    found, first, at = [], 0, 64
    for _ in range(h["n_scales"]):
        part = payload[at:at + struct.unpack_from("<I", payload, at + 20)[0]]
        inner = header(part)
        assert inner["content"] != 3 and inner["dtype"] == h["dtype"]
        found.append((first, part))
        first, at = first + inner["n"], at + len(part)
    assert first == h["n"] and at == len(payload) and header(found[0][1])["codec"] == h["codec"]
    return found


def decode_payload(payload):
    """Returns the header and the float32 view (quantised) or the source bytes (lossless)."""
    h = header(payload)
    body = payload[64:]
    if h["content"] == 0:
        return h, decode_lossless(h, body)
    scales = np.frombuffer(body[:4 * h["n_scales"]], "<f4")
    codes = decode_codes(h, body[4 * h["n_scales"]:])
    if h["content"] == 2:
        return h, dequantise_seed(codes, h["levels"], h["kappa"])
    groups = -(-h["row_length"] // h["group"])
    position = np.arange(h["n"])
    index = position // h["row_length"] * groups + position % h["row_length"] // h["group"]
    d = codes.astype(np.int32) - h["levels"]
    with np.errstate(under="ignore"):
        return h, with_sign(scales[index] * table(h["levels"], h["kappa"])[np.abs(d)], d < 0)


class SecondDecoder(unittest.TestCase):
    def encode(self, x, content, codec, levels, kappa=1.5, row=300, group=128, clip=1.0, scale=0.0,
               dtype="F32"):
        return tool("encode", content, dtype, codec, levels, word(kappa), word(clip), word(scale),
                    row, group, data=x)

    def test_quantised(self):
        x = np.random.default_rng(3).laplace(size=6000).astype(F) * F(0.1)
        seen = set()
        for codec in ("store", "bitpack", "zstd"):
            for levels in (1, 7, 100, 127, 128, 2047):
                for options in ({}, {"scale": 0.3}, {"row": 6000, "group": 6000, "clip": 0.5},
                                {"content": 2}):
                    payload = self.encode(x.tobytes(), options.pop("content", 1), codec, levels,
                                          **options)
                    h, values = decode_payload(payload)
                    self.assertEqual(values.astype("<f4").tobytes(),
                                     tool("decode", "F32", x.size, 1, data=payload))
                    seen.add((h["codec"], h["raw_bits"] > 0))
        self.assertLessEqual({(STORE, False), (BITPACK, False), (ZSTD, False), (ZSTD, True)}, seen)

    def test_values(self):
        """From source to values without looking at the payload."""
        x = np.random.default_rng(4).standard_normal((40, 300)).astype(F)
        payload = self.encode(x.tobytes(), 1, "bitpack", 127, clip=0.9, group=300)
        got = np.frombuffer(tool("decode", "F32", x.size, 1, data=payload), "<f4").reshape(x.shape)
        for row, values in zip(x, got):
            scale = F(0.9) * np.abs(row).max()
            self.assertEqual(dequantise(quantise(row, 127, 1.5, scale), 127, 1.5, scale).tobytes(),
                             values.tobytes())

    def test_lossless(self):
        rng = np.random.default_rng(5)
        names = {1: "F64", 2: "F32", 3: "F16", 4: "BF16", 5: "F8_E4M3", 6: "F8_E5M2", 7: "I64",
                 8: "I32", 13: "U16", 14: "U8", 15: "BOOL"}
        for dtype, name in names.items():
            n = 3000
            noise = rng.integers(0, 256, n * SIZES[dtype], dtype=np.uint8)
            small = (np.arange(n) % 5).astype(f"<u{SIZES[dtype]}").tobytes()
            for data in (noise.tobytes(), small):
                for codec in ("store", "zstd", "tans"):
                    payload = self.encode(data, 0, codec, 0, dtype=name)
                    h, got = decode_payload(payload)
                    self.assertEqual((h["dtype"], got), (dtype, data))
                    self.assertEqual(tool("decode", name, n, 0, data=payload), data)

    def test_lossless_weights(self):
        """Exponents through tans, in one stream and in many, with what no arithmetic keeps; signs and
        mantissas as they are; BF16 in F32 has no full plane."""
        rng = np.random.default_rng(6)
        for n in (5000, 40000):
            x = (rng.standard_normal(n) * 0.02).astype("<f4")
            x.view("<u4")[:6] = (0x7fc00001, 0xff812345, 0x7f800000, 0xff800000, 0x80000000, 1)
            narrow = (x.view("<u4") & 0xffff0000).astype("<u4")
            for name, data, codecs in (("F32", x, [TANS, STORE, STORE, STORE]),
                                       ("BF16", (narrow >> 16).astype("<u2"), [TANS, STORE]),
                                       ("F16", x.astype("<f2"), [TANS, STORE]),
                                       ("F32", narrow, [TANS, TANS, TANS, TANS])):
                payload = self.encode(data.tobytes(), 0, "tans", 0, dtype=name)
                self.assertEqual(decode_payload(payload)[1], data.tobytes())
                self.assertEqual(tool("decode", name, n, 0, data=payload), data.tobytes())
                body, used = payload[64:], []
                while body:
                    codec, length = struct.unpack_from("<BI", body)
                    used.append(codec)
                    body = body[5 + length:]
                self.assertEqual(used, codecs, name)


if __name__ == "__main__":
    support.main()
