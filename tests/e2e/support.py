"""What the end-to-end tests share: where things are, running the program, schemas, exit status."""
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE_ROOT = pathlib.Path(os.environ.get("QINS_SOURCE_ROOT",
                                          pathlib.Path(__file__).resolve().parents[2]))
BUILD_ROOT = pathlib.Path(os.environ.get("QINS_BUILD_ROOT", SOURCE_ROOT / "build"))
PROGRAM = pathlib.Path(os.environ.get("QINS_PROGRAM", BUILD_ROOT / "cli" / "qins"))
MODEL = SOURCE_ROOT / "examples" / "kjv-1.7m"
# Larger models and texts, which need not be there.
SHARED = pathlib.Path(os.environ.get("QINS_SHARED_DATA", "/nonexistent"))
SANITIZER = os.environ.get("QINS_SANITIZER", "none")


def less(full, sanitized):
    """FULL amount of work, or what takes each path once where a sanitizer makes it slow."""
    return full if SANITIZER == "none" else sanitized


def without_gnuplot(folder):
    """An environment for runs whose pictures nobody looks at: they take seconds. FOLDER: no programs."""
    return {**os.environ, "PATH": str(folder)}


def wait_until_caught(process, number):
    """Until a program that was just started catches the signal NUMBER, or has ended."""
    status = pathlib.Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        masks = dict(line.split(":") for line in status.read_text().splitlines())
        if int(masks["SigCgt"], 16) >> (number - 1) & 1:
            return
        time.sleep(0.001)


def wait_for_work(process, part, least=40):
    """Until PROCESS has ended, or its work in progress, the file PART, holds LEAST bytes: it is opened, locked,
    and only then written to."""
    while process.poll() is None and not (part.exists() and part.stat().st_size >= least):
        time.sleep(0.001)


def run_qins(*arguments, check=None, program=PROGRAM, **options):
    """Runs the program; with CHECK given, the exit code must be that."""
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True,
                          timeout=options.pop("timeout", 240), **options)
    if check is not None and done.returncode != check:
        raise AssertionError(f"qins {' '.join(map(str, arguments))}: exit {done.returncode}, "
                             f"not {check}\n{done.stdout}{done.stderr}")
    return done


@functools.cache
def validator(name):
    """Of docs/schemas/NAME.schema.json, once: to check a schema takes longer than to check a report."""
    from jsonschema import Draft202012Validator
    schema = json.loads((SOURCE_ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def validate(report, name):
    """REPORT, which is what docs/schemas/NAME.schema.json says."""
    validator(name).validate(report)
    return report


def write_safetensors(path, tensors):
    """TENSORS: name -> (dtype name, shape, iterable of bytes-like pieces)."""
    header, offset = {}, 0
    size_of = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "F64": 8}
    for name, (dtype, shape, _) in tensors.items():
        n = size_of[dtype]
        for extent in shape:
            n *= extent
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + n]}
        offset += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _, _, pieces in tensors.values():
            for piece in pieces:
                f.write(piece)


def read_safetensors(path):
    """name -> numpy array; BF16 as uint16."""
    import numpy as np
    types = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1",
             "F64": "<f8"}
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        base = f.tell()
        result = {}
        for name, info in header.items():
            if name == "__metadata__":
                continue
            begin, end = info["data_offsets"]
            f.seek(base + begin)
            result[name] = np.frombuffer(f.read(end - begin),
                                         types[info["dtype"]]).reshape(info["shape"])
    return result


class Folder(unittest.TestCase):
    """Tests that share a folder, cls.dir, which goes with them."""
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix=f"qins-{cls.__name__.lower()}-")
        cls.addClassCleanup(folder.cleanup)
        cls.dir = pathlib.Path(folder.name)


def main():
    """unittest.main(), but with exit status 77 (Meson: skipped) when nothing ran."""
    result = unittest.main(module="__main__", exit=False, verbosity=2).result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.testsRun <= len(result.skipped):
        sys.exit(77)
