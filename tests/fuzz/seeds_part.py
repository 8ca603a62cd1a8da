"""Writes the seeds of the part target: seeds_part.py CORPUS_FOLDER. Parts as docs/archive-format.md has
them, but for hashes, which the target puts right, and payloads, which nobody looks into."""
import json
import struct
import sys
from pathlib import Path

BEGIN, CHUNK, END, PART, CUT, ATTACHMENT, COMPLETE = range(1, 8)


def frame(kind, body=b"", number=0):
    return struct.pack("<4sIQQ24x", b"QFRM", kind, len(body), number) + body


def tensor(name, dtype, shape, **keys):
    return json.dumps({"name": name, "dtype": dtype, "shape": shape, "content": "lossless",
                       "codec": "zstd", "reason": "", "fingerprint": "0" * 32, **keys}).encode()


def part(index, count, begin, end, *frames, attachments=0, change=None):
    place = ("tensor", "tensor_chunk", "chunk")
    record = {"schema": "qins/part/1", "qins_version": "0.1.0", "part": index, "parts": count,
              "begin": dict(zip(place, begin)), "end": dict(zip(place, end)), "input_bytes": 1800000,
              "attachments": attachments, "source": "m", "source_format": "safetensors",
              "source_digest": "0" * 32, "output": "o", **(change or {})}
    return (struct.pack("<8sII24x", b"QINSPRT", 2, 0) + frame(PART, json.dumps(record).encode()) +
            b"".join(frames))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    chunk, last = frame(CHUNK, bytes(64)), frame(COMPLETE, bytes(32))
    big = tensor("big", "U8", [3, 600000])  # three chunks
    scalar = frame(BEGIN, tensor("s", "F32", [], data="00000000")) + frame(END)
    small = frame(BEGIN, tensor("q", "F32", [4, 8], content="qins", codec="bitpack", levels=31, kappa=1,
                                clip=1, group="row")) + chunk + frame(END)
    config = frame(ATTACHMENT, b"config.json{}", 11)

    def save(name, first, second=b""):
        (folder / name).write_bytes(struct.pack("<I", len(first)) + first + second)

    one = part(1, 2, (0, 0, 0), (1, 2, 2), config, scalar, frame(BEGIN, big), chunk, chunk,
               frame(CUT), last, attachments=1)
    two = part(2, 2, (1, 2, 2), (3, 0, 4), frame(BEGIN, big, 2), chunk, frame(END), small, last)
    save("two", one, two)
    save("swapped", two, one)
    save("twice", one, one)
    save("gap", one, part(2, 2, (1, 1, 1), (3, 0, 4), frame(BEGIN, big, 1), chunk, chunk, frame(END),
                          small, last))
    save("other-coding", one, two.replace(b'"zstd"', b'"tans"'))
    save("other-count", one, part(2, 3, (1, 2, 2), (1, 2, 2), last))
    save("other-version", part(1, 1, (0, 0, 0), (0, 0, 0), last, change={"qins_version": "0"}))
    save("other-format", one, part(2, 2, (1, 2, 2), (1, 2, 2), last, change={"source_format": "gguf"}))
    save("whole", part(1, 1, (0, 0, 0), (2, 0, 1), scalar, small, last))
    save("ends-within", part(1, 1, (0, 0, 0), (0, 1, 1), frame(BEGIN, big), chunk, frame(CUT), last))
    save("unfinished", one[:-80])
    save("torn", one[:-30], two[:len(two) // 2])
    save("wrong-last", one[:-1] + b"\xff", two)
    save("behind-the-last", one + scalar)
    save("unknown-frame", part(1, 1, (0, 0, 0), (0, 0, 0), frame(9), last))
    save("part-again", part(1, 1, (0, 0, 0), (1, 0, 0), frame(PART, b"{}"), scalar, last))
    save("bad-name", part(1, 1, (0, 0, 0), (0, 0, 0), frame(ATTACHMENT, b"a", 7), last, attachments=1))
    save("late-attachment", part(1, 1, (0, 0, 0), (1, 0, 0), scalar, config, last, attachments=1))
    save("early-end", part(1, 1, (0, 0, 0), (1, 0, 3), frame(BEGIN, big), chunk, frame(END), last))
    save("no-record", struct.pack("<8sII24x", b"QINSPRT", 2, 0) + scalar)
    for key, value in (("schema", "x"), ("part", 0), ("begin", {}), ("input_bytes", -1),
                       ("attachments", "many"), ("source_digest", "0"), ("source", 1),
                       ("source_format", 1), ("output", 1), ("qins_version", 1)):
        save(f"bad-{key}", part(1, 1, (0, 0, 0), (0, 0, 0), last, change={key: value}))
    save("backwards", part(1, 1, (2, 0, 0), (1, 0, 0), last))
    save("long-record", part(1, 1, (0, 0, 0), (0, 0, 0), last, change={"output": "o" * 70000}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
