"""Writes the seeds of the archive targets: seeds_archive.py ARCHIVE_FIXTURE CORPUS_FOLDER, where
ARCHIVE_FIXTURE is the program built from tests/tools/archive_fixture.c."""
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

READING = bytes([3 << 5])  # three client values, direction: decode


def index(data):
    """Manifest and chunk table by the user block (docs/archive-format.md)."""
    m_offset, m_size, _, c_offset, n_chunks, _ = struct.unpack_from("<6Q", data, 24)
    manifest = json.loads(zlib.decompress(data[m_offset:m_offset + m_size]))
    table = data[c_offset:c_offset + 24 * n_chunks]
    return manifest, [(o, s) for o, s, _ in struct.iter_unpack("<QQQ", table)]


def main(fixture, corpus):
    def save(target, name, data):
        (corpus / target).mkdir(parents=True, exist_ok=True)
        (corpus / target / name).write_bytes(data)

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([fixture, folder], check=True)
        data = (Path(folder) / "small.qins").read_bytes()
        transport = (Path(folder) / "transport.qins").read_bytes()
        spool = (Path(folder) / "small.part").read_bytes()
        manifest, chunks = index(data)
        samples, _ = index((Path(folder) / "samples.qins").read_bytes())
    save("archive", "small.qins", data)
    save("archive", "transport.qins", transport)
    save("archive", "user-block-only", data[:512])
    save("spool", "small.part", spool)
    save("spool", "head-only", spool[:40])
    save("spool", "torn", spool[:len(spool) // 2])
    with_chunks = [t for t in manifest["tensors"] if t["shape"]]
    for t, (offset, size) in zip(with_chunks, chunks, strict=True):
        elements = t["shape"][0] * t["shape"][1]
        save("plugin", t["name"], READING + struct.pack("<3I", 1, 4, elements) +
             data[offset:offset + size])
        text = json.dumps({**manifest, "tensors": [t], "files": []}, separators=(",", ":")).encode()
        save("archive", "parts-" + t["name"], struct.pack("<HH", len(text), 1) + text +
             data[offset:offset + size])
    few = {**samples, "tensors": [t for t in samples["tensors"] if t["name"] in
                                  ("f64", "empty and vast", "scalars/bf16", "rows", "blocks",
                                   "whole", "long row")] +
            [t for t in manifest["tensors"] if "blocks" in t]}
    save("manifest", "samples.json", json.dumps(few, separators=(",", ":")).encode())
    save("manifest", "none.json", json.dumps({**samples, "tensors": [], "files": []}).encode())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
