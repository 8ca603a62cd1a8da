"""Seeds for fuzz_journal, which puts the hashes right."""
import pathlib
import struct

OUT = pathlib.Path(__file__).parent / "corpus" / "journal"


def head(magic=b"QINSVAL\0", version=1):
    return magic + struct.pack("<II", version, 0) + bytes(16) + bytes(8)


def frame(test, body, size=None, magic=b"QJRN"):
    return (magic + bytes(4) + test.encode().ljust(32, b"\0") +
            struct.pack("<Q", len(body) if size is None else size) + bytes(16) + body)


def part(tests, compares, tracks, results=(), kv_bits=0, index=1, context=4, style=0,
         description=b'{"schema": "qins/validation/1"}'):
    """All of a validation in one part (analyze/validate_part.h): nine tokens, two windows of four."""
    numbers = struct.pack("<Qq6I", 9, -1, context, style, 1, 2, 4, 0) + struct.pack("<I", kv_bits)
    return (head() + frame("part", b"0.1.0".ljust(32, b"\0") +
                           struct.pack("<4I", index, 1, tests, compares)) +
            b"".join(frame(test, body) for test, body in tracks) +
            b"".join(frame("result", r) for r in results) +
            frame("complete", numbers.ljust(600, b"\0")) + frame("complete", description))


CONSISTENCY, SAMPLING, PERPLEXITY = 1, 4, 8


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    two = frame("windows", bytes(range(88))) + frame("nll", struct.pack("<2d", 1.5, 2.5))
    seeds = {
        "empty": b"",
        "head": head(),
        "two": head() + two,
        "turns": head() + frame("a", b"1") + frame("nll", b"") + frame("a", b"22") + two,
        "torn": (head() + two)[:-5],
        "long": head() + two + frame("a", b"short", size=1 << 40),
        "no-name": head() + frame("", b"x") + two,
        "full-name": head() + frame("n" * 32, b"x"),
        "other-frame": head() + two + frame("a", b"x", magic=b"QFRM"),
        "version": head(version=2) + two,
        "foreign": b"something else altogether, and long enough to have been a head" * 2,
        "zeros": bytes(200),
        "part-alone": part(PERPLEXITY, 0, [("nll", struct.pack("<8d", *range(8)))] * 2),
        "part-both": part(PERPLEXITY | SAMPLING | CONSISTENCY, 1, [("windows", bytes(4 * 88))] * 2,
                          [b'{"test": "consistency", "result": {"passed": true}}'], kv_bits=8),
        "part-llama": part(PERPLEXITY, 0, [("nll", struct.pack("<2d", 2.5, 0))] * 2, style=1),
        "part-skips": part(SAMPLING, 0, []),
        "part-lacks": part(PERPLEXITY, 0, [("nll", struct.pack("<8d", *range(8)))]),
        "part-nan": part(PERPLEXITY, 0, [("nll", struct.pack("<8d", *[float("nan")] * 8))] * 2),
        "part-no-result": part(CONSISTENCY, 1, []),
        "part-bad-result": part(CONSISTENCY, 1, [], [b'{"test": "consistency"}']),
        "part-bad-report": part(SAMPLING, 0, [], description=b"[]"),
        "part-index": part(SAMPLING, 0, [], index=2),
        "part-context": part(PERPLEXITY, 0, [], context=0),
        "part-begun": part(SAMPLING, 0, [])[:-100],
        "many": head() + b"".join(frame(f"test {i}", b"") for i in range(40)),
    }
    for name, data in seeds.items():
        (OUT / name).write_bytes(data)


main()
