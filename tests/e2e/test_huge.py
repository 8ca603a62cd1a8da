"""A checkpoint larger than memory, most of it holes: convert --resume stays inside 256 MB of
anonymous memory, shows how far it is, and after a kill goes on where it was: what the first run
wrote stays as it is, and no finished tensor is read again. QINS_TEST_HUGE_BYTES sets the size of
the checkpoint; 40000000000 takes some minutes and nearly no disk."""
import hashlib
import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import support
from test_memory import anonymous_bytes

BYTES = int(os.environ.get("QINS_TEST_HUGE_BYTES", 8 * 10**9))
LIMIT_BYTES = 256 * 10**6
THREADS = 2
TENSORS, COLUMNS = 8, 16384
REAL_BYTES = 1 << 24  # at both ends of each tensor
CHUNK_BYTES = (1 << 20) * 4
HEAD, FRAME = 40, 48  # of a spool: docs/archive-format.md
PROGRESS = re.compile(r"(\w+) \[[# ]{30}\] +(\d+) %  ([\d.]+) (?:B|KiB|MiB|GiB)/s  ETA ([\d:-]+)")


def write_sparse(path):
    """Tensors of BF16 and F32 in turns, of values at both ends and a hole between: [bytes of each]."""
    import numpy as np
    rng = np.random.default_rng(11)
    values = (rng.standard_normal(REAL_BYTES // 4, np.float32) * np.float32(0.02)).tobytes()
    halves = b"".join(values[i + 2:i + 4] for i in range(0, len(values) // 16, 4))
    header, sizes, offset = {}, [], 0
    for i in range(TENSORS):
        dtype, width = (("BF16", 2), ("F32", 4))[i % 2]
        rows = BYTES // TENSORS // width // COLUMNS
        sizes.append(rows * COLUMNS * width)
        header[f"layers.{i}.weight"] = {"dtype": dtype, "shape": [rows, COLUMNS],
                                        "data_offsets": [offset, offset + sizes[-1]]}
        offset += sizes[-1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        at = f.tell()
        for i, size in enumerate(sizes):
            piece = (halves, values)[i % 2][:size // 4]
            for place in at, at + size - len(piece):
                f.seek(place)
                f.write(piece)
            at += size
        f.truncate(at)
    return sizes


class Spool:
    """What a spool holds, found out on and on while it grows."""
    def __init__(self, path):
        self.path, self.end, self.kinds = path, HEAD, []

    def look(self):
        """Goes on to the last whole frame."""
        if not self.path.exists():
            return self
        size = self.path.stat().st_size
        with open(self.path, "rb") as f:
            while self.end + FRAME <= size:
                f.seek(self.end)
                magic, kind, body = struct.unpack("<4sIQ", f.read(16))
                if magic != b"QFRM" or self.end + FRAME + body > size:
                    break
                self.kinds.append(kind)
                self.end += FRAME + body
        return self

    def tensors_done(self):
        return self.kinds.count(3)

    def chunks_of_open(self):
        """Of the tensor that was begun and is not finished, from its second frame on."""
        last = max((i for i, kind in enumerate(self.kinds) if kind != 2), default=0)
        return len(self.kinds) - 1 - last


def digest(path, size=None):
    h = hashlib.blake2b()
    left = path.stat().st_size if size is None else size
    with open(path, "rb") as f:
        while left > 0 and (block := f.read(min(left, 1 << 20))):
            h.update(block)
            left -= len(block)
    return h.hexdigest()


def limit_memory():
    """Private writable memory, touched or not: the stacks of threads are in it."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))


class Run:
    """The program with its stderr on a terminal, watched while it runs."""
    def __init__(self, *arguments):
        terminal, other = pty.openpty()
        self.peak, self.read_bytes, self.text = 0, 0, b""
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [str(support.PROGRAM), *map(str, arguments), "--threads", str(THREADS)],
            stdout=subprocess.DEVNULL, stderr=other, preexec_fn=limit_memory)
        os.close(other)
        self.terminal = terminal
        self.begin = begin

    def watch(self, until=lambda: False):
        """Until it ends, or UNTIL() says that it is to be killed: exit status."""
        while True:
            if select.select([self.terminal], [], [], 0.01)[0]:
                try:
                    self.text += os.read(self.terminal, 1 << 16)
                except OSError:  # the other end is closed
                    break
            self.sample()
            if until():
                self.process.send_signal(signal.SIGKILL)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = self.process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.close(self.terminal)
        self.seconds = time.monotonic() - self.begin
        self.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return code

    def sample(self):
        self.peak = max(self.peak, anonymous_bytes(self.process.pid))
        try:
            lines = pathlib.Path(f"/proc/{self.process.pid}/io").read_text().split("\n")
            self.read_bytes = max(self.read_bytes, int(lines[0].split()[1]))
        except OSError:
            pass

    def progress(self):
        """[(what, percent, rate, eta)] as the terminal showed them."""
        return PROGRESS.findall(self.text.decode(errors="replace"))


@unittest.skipIf(os.environ.get("QINS_SANITIZER", "none") != "none", "a sanitizer keeps memory")
class Huge(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = cls.dir / "source.safetensors"
        cls.sizes = write_sparse(cls.source)
        if cls.source.stat().st_blocks * 512 > BYTES // 2:
            raise unittest.SkipTest("no sparse files here")

    def check(self, run, code, name):
        print(f"{name}: {run.seconds:.1f} s, {run.cpu:.1f} s of processors, "
              f"{run.peak / 1e6:.1f} MB anonymous, {run.read_bytes / 1e6:.0f} MB read, "
              f"{len(run.progress())} lines of progress", flush=True)
        self.assertEqual(code, 0, run.text)
        self.assertGreater(run.peak, 0)
        self.assertLessEqual(run.peak, LIMIT_BYTES)

    def check_progress(self, run, what, least):
        """Shares grow, there are rates, and the time left is told at last."""
        lines = [line for line in run.progress() if line[0] == what]
        self.assertGreater(len(lines), least, run.text[-2000:])
        shares = [int(line[1]) for line in lines]
        self.assertEqual(shares, sorted(shares))
        self.assertGreater(float(lines[-1][2]), 0)
        self.assertRegex(lines[-1][3], r"^(\d+:)?\d+:\d\d$")

    def test_convert_killed_and_resumed(self):
        whole, out = self.dir / "whole.qins", self.dir / "out.qins"
        part = out.with_name("out.qins.part")
        command = ["convert", self.source, "--codec", "tans", "--resume", "-o"]
        plain = Run(*command, whole)
        self.check(plain, plain.watch(), "convert")
        self.check_progress(plain, "converting", 3)

        # In the midst of one of the last tensors; then once more.
        for _ in range(20):  # on a busy machine the signal may come late
            spool = Spool(part)
            killed = Run(*command, out)
            code = killed.watch(until=lambda: spool.look().tensors_done() > TENSORS // 2
                                and spool.chunks_of_open() > 2)
            done = TENSORS if out.exists() else spool.look().tensors_done()
            if code == -signal.SIGKILL and done == TENSORS // 2 + 1:
                break
            out.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
        self.assertEqual(code, -signal.SIGKILL)
        self.assertFalse(out.exists())
        before = digest(part, spool.end)
        self.assertEqual(done, TENSORS // 2 + 1)
        print(f"killed after {killed.seconds:.1f} s: {done} tensors finished, "
              f"{spool.chunks_of_open()} chunks of the next, {spool.end} bytes", flush=True)
        end, chunks = spool.end, len(spool.kinds)
        resumed = first = Run(*command, out)
        code = resumed.watch(until=lambda: len(spool.look().kinds) > chunks + 2)
        if code == -signal.SIGKILL:
            self.assertEqual(digest(part, end), before)
            self.assertGreater(len(spool.look().kinds), chunks)
            resumed = Run(*command, out)
            code = resumed.watch()
        self.check(resumed, code, "resumed")
        self.assertEqual(digest(out), digest(whole))
        self.assertFalse(part.exists())
        # A tensor is looked at for its parameters and read once more to be coded. The spool is
        # read to find its end and to assemble; the archive to be hashed.
        files = 3 * out.stat().st_size + (1 << 24)
        self.assertLess(resumed.read_bytes, 2 * sum(self.sizes[done:]) + files)
        self.assertGreater(plain.read_bytes, sum(self.sizes))
        # Of both: where the second kill came late, the last run had next to nothing to tell.
        self.check_progress(max(first, resumed, key=lambda run: len(run.progress())), "converting", 0)
        print(f"read: {plain.read_bytes / 1e6:.0f} MB of {sum(self.sizes) / 1e6:.0f} in one run, "
              f"{resumed.read_bytes / 1e6:.0f} MB of {sum(self.sizes[done:]) / 1e6:.0f} left",
              flush=True)
        whole.unlink()

    @unittest.skipIf(BYTES < 10**10, "test_memory does it with smaller files")
    def test_verify_and_restore(self):
        archive, back = self.dir / "m.qins", self.dir / "back.safetensors"
        for what, *command in (("converting", "convert", self.source, "-o", archive, "--group",
                                "tensor", "--codec", "huffman"),
                               ("verifying", "verify", archive),
                               ("verifying", "verify", archive, "--against", self.source),
                               ("restoring", "restore", archive, "-o", back)):
            run = Run(*command)
            self.check(run, run.watch(), " ".join(map(str, command[:1] + command[2:3])))
            self.check_progress(run, what, 0)
        self.assertEqual(back.stat().st_size // 10**6, self.source.stat().st_size // 10**6)


if __name__ == "__main__":
    support.main()
