"""Seeds for fuzz_journal, which puts the hashes right."""
import pathlib
import struct

OUT = pathlib.Path(__file__).parent / "corpus" / "journal"


def head(magic=b"QINSVAL\0", version=1):
    return magic + struct.pack("<II", version, 0) + bytes(16) + bytes(8)


def frame(test, body, size=None, magic=b"QJRN"):
    return (magic + bytes(4) + test.encode().ljust(32, b"\0") +
            struct.pack("<Q", len(body) if size is None else size) + bytes(16) + body)


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
        "many": head() + b"".join(frame(f"test {i}", b"") for i in range(40)),
    }
    for name, data in seeds.items():
        (OUT / name).write_bytes(data)


main()
