"""Anonymous memory of convert, verify and restore does not grow with the model: a 2 GB checkpoint
with one tensor of 1 GB, at most 128 MB and two chunks a thread, the child that reads HDF5
included. Mapped file pages are not counted."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import h5py
import numpy as np

import support

THREADS = 2
CHUNK_BYTES = (1 << 20) * 4
LIMIT_BYTES = 128 * 10**6 + 2 * CHUNK_BYTES * THREADS
DISK_BYTES = 6 * 10**9
# As few operations as can be: it is looked for every 2 ms.
ANONYMOUS = re.compile(rb"^Rss(?:Anon|Shmem):\s*(\d+)", re.MULTILINE)


def roomy_place():
    """A folder with room for the files: in memory if there is plenty, because it is faster."""
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for place in ["/dev/shm"] * (memory > 2 * DISK_BYTES) + [tempfile.gettempdir()]:
        if os.path.isdir(place) and shutil.disk_usage(place).free > DISK_BYTES:
            return place
    return None


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as text:
            return list(map(int, text.read(1 << 16).split()))
    except OSError:
        return []


def anonymous_bytes(pid):
    """RssAnon and RssShmem of a process and its children, now."""
    total = 0
    for process in [pid, *children(pid)]:
        try:
            with open(f"/proc/{process}/status", "rb", buffering=0) as status:
                total += 1024 * sum(map(int, ANONYMOUS.findall(status.read(1 << 16))))
        except OSError:
            pass
    return total


def run_measured(*arguments):
    """(exit code, stderr, peak of anonymous bytes), sampled every 2 ms."""
    process = subprocess.Popen([str(support.PROGRAM), *map(str, arguments)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process.pid))
        time.sleep(0.002)
    reader.join()
    process.stderr.close()
    return process.returncode, errors[0], peak


def pieces(n_bytes, block):
    """N_BYTES, made of the random BLOCK turned by another amount each time."""
    turn = 0
    while n_bytes > 0:
        piece = block[turn:] + block[:turn]
        yield memoryview(piece)[:n_bytes]
        n_bytes -= len(piece)
        turn = (turn + 4 * 104729) % len(block)


@unittest.skipIf(os.environ.get("QINS_SANITIZER", "none") != "none", "a sanitizer keeps memory")
class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        place = roomy_place()
        if not place:
            raise unittest.SkipTest(f"less than {DISK_BYTES // 10**9} GB free")
        folder = tempfile.TemporaryDirectory(prefix="qins-memory-", dir=place)
        cls.addClassCleanup(folder.cleanup)
        cls.dir = pathlib.Path(folder.name)
        cls.source = cls.dir / "source.safetensors"
        rng = np.random.default_rng(5)
        block = (rng.standard_normal(1 << 22, np.float32) * np.float32(0.02)).tobytes()
        tensors = {"embed.weight": ("F32", (65536, 4096), pieces(1 << 30, block))}
        for i in range(16):
            tensors[f"layers.{i}.weight"] = ("F32", (4096, 4096), pieces(1 << 26, block))
        support.write_safetensors(cls.source, tensors)
        # With another coder, or a spool: a tensor of 512 MiB shows as well what is kept of it.
        cls.half = cls.dir / "half.safetensors"
        support.write_safetensors(cls.half, {
            "embed.weight": ("F32", (32768, 4096), pieces(1 << 29, block)),
            **{f"layers.{i}.weight": ("F32", (4096, 4096), pieces(1 << 26, block))
               for i in range(2)}})

    def check(self, *arguments, limit=LIMIT_BYTES):
        code, errors, peak = run_measured(*arguments, "--threads", THREADS)
        self.assertEqual(code, 0, errors)
        words = (a.name if isinstance(a, pathlib.Path) else str(a) for a in arguments)
        print(f"{' '.join(words)}: {peak / 1e6:.1f} MB of {limit / 1e6:.1f} MB", flush=True)
        self.assertLessEqual(peak, limit)
        self.assertGreater(peak, 0)

    def test_convert_verify_restore(self):
        archive, restored = self.dir / "m.qins", self.dir / "m.safetensors"
        self.check("convert", self.source, "-o", archive)
        self.check("verify", archive)
        self.check("verify", archive, "--against", self.source)
        self.check("restore", archive, "-o", restored)
        self.assertEqual(restored.stat().st_size // 10**6, self.source.stat().st_size // 10**6)
        restored.unlink()
        archive.unlink()

    def test_convert_wide_hdf5(self):
        """A band of 96 MiB of filtered chunks, of which the reader keeps 64; the limit is by as much
        lower as the band is smaller than one of 128 MiB."""
        wide, archive = self.dir / "wide.h5", self.dir / "w.qins"
        values = np.random.default_rng(6).standard_normal((512, 49152), np.float32)
        with h5py.File(wide, "w") as file:
            file.create_dataset("w", data=values, chunks=(512, 512), shuffle=True)
        self.check("convert", wide, "-o", archive, limit=LIMIT_BYTES - (32 << 20))
        archive.unlink()
        wide.unlink()

    def test_convert_entropy_coded(self):
        archive = self.dir / "h.qins"
        self.check("convert", self.half, "-o", archive, "--codec", "huffman")
        archive.unlink()

    def test_convert_resumable(self):
        archive = self.dir / "r.qins"
        self.check("convert", self.half, "-o", archive, "--resume")
        archive.unlink()

    def test_other_codings(self):
        source, archive = self.dir / "small.safetensors", self.dir / "small.qins"
        block = np.random.default_rng(6).standard_normal(1 << 22, np.float32).tobytes()
        support.write_safetensors(source, {
            f"layers.{i}.weight": ("F32", (4096, 4096), pieces(1 << 26, block)) for i in range(4)})
        for options in (["--lossless"], ["--codec", "huffman", "--bits", "12"],
                        ["--codec", "huffman", "--bits", "12", "--resume"]):
            with self.subTest(options=options):
                self.check("convert", source, "-o", archive, *options)
                self.check("verify", archive, "--against", source)
                self.check("restore", archive, "-o", self.dir / "back.safetensors")
                archive.unlink()

    def test_chunked_hdf5(self):
        """640 MB in chunks of 64 rows, as one tensor: the reader must not keep them all."""
        source, archive = self.dir / "chunked.h5", self.dir / "chunked.qins"
        rows = np.random.default_rng(7).standard_normal((1024, 1024), np.float32)
        with h5py.File(source, "w") as f:
            weight = f.create_dataset("dense/kernel", (163840, 1024), "<f4", chunks=(64, 1024))
            for at in range(0, 163840, 1024):
                weight[at:at + 1024] = np.roll(rows, at >> 10, axis=1)
        self.check("convert", source, "-o", archive)
        self.check("verify", archive, "--against", source)
        self.check("restore", archive, "-o", self.dir / "back.h5")
        for path in source, archive, self.dir / "back.h5":
            path.unlink()


if __name__ == "__main__":
    support.main()
