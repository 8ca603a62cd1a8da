"""Small jobs of every verb, with what each needs. A job's folder holds copies of its inputs; what it
writes is compared, byte for byte, with what an undisturbed run wrote."""
import fnmatch
import functools
import json
import os
import pathlib
import re
import shutil

import numpy as np

import gate_evidence
import model_fixtures
import support

# What differs between two runs that did the same.
TIMES = re.compile(rb'"\w*(?:seconds|_per_s|_ms)\w*": ?[-+.\de]+|[\d.]+ s \([^)]*\)|in [\d.]+ s\b')


# A size that could not be asked for; the file is compared itself.
SIZE = re.compile(rb'"output_bytes": (?:null|\d+)')


# Reviews name their evidence by size and hash, and times stand in that.
EVIDENCE = {
    "gate_review.json": re.compile(rb'"(?:fingerprint|job)": "[0-9a-f]{32}"|"bytes": \d+'),
    "index.html": re.compile(rb'<code>[0-9a-f]{32}|<td class="n">[^<]* (?:B|KiB|MiB)</td>'),
}


# Of the pipeline's reports.
JOB = re.compile(rb',\s*"job": "[0-9a-f]{32}"')


JOURNAL, JOURNAL_HEAD, JOURNAL_FRAME = b"QINSVAL\0", 40, 64
COST, NOTE, PARTIAL = 168, 160, slice(24, 28)  # of struct qn_validated: in bytes, the last but one and the last


def part_of_validation(data):
    """A part of a validation (analyze/journal.c) without hashes, and without what it cost to make."""
    told, at = [data[:JOURNAL_HEAD]], JOURNAL_HEAD
    while at + JOURNAL_FRAME <= len(data):
        track = data[at + 8:at + 40]
        size = int.from_bytes(data[at + 40:at + 48], "little")
        body = data[at + JOURNAL_FRAME:at + JOURNAL_FRAME + size]
        if track.startswith(b"complete\0") and not body.startswith(b"{"):
            body = bytearray(body)
            body[PARTIAL] = bytes(4)
            body[-NOTE - COST:-NOTE] = bytes(COST)
        told.append(track + TIMES.sub(b"", RESUMED.sub(b"", bytes(body))))
        at += JOURNAL_FRAME + size
    return b"".join(told) + data[at:]


RESUMED = re.compile(rb'"resumed\w*": ?\d+')


@functools.lru_cache(64)  # most runs leave what another one left
def timeless(data, name):
    if data.startswith(JOURNAL):
        return part_of_validation(data)
    data, own = SIZE.sub(b"", TIMES.sub(b"", data)), EVIDENCE.get(pathlib.PurePath(name).name)
    return own.sub(b"", data) if own and "review/" in name else data


def chosen(name):
    """Whether the job NAME is among those of QINS_FAULTS_JOBS: names with commas between, or patterns."""
    wanted = os.environ.get("QINS_FAULTS_JOBS")
    return not wanted or any(fnmatch.fnmatchcase(name, w) for w in wanted.split(","))


PARTS = ["s.qins-00001-of-00002", "s.qins-00002-of-00002"]


# In the place of gnuplot and of a browser: pictures and a PDF of a line each, at once.
PROGRAMS = {
    "gnuplot": r"""while read -r line; do
    case $line in
    kind*) kind=${line#*\"} kind=${kind%\"} ;;
    load*)
        name=${line#*\"} name=${name%.gp\"}
        case $kind in
        svg) printf '<svg>%s</svg>\n' "$name" >"$name.svg" ;;
        png) printf 'a picture, IEND' >"$name.png" ;;
        esac ;;
    esac
done <"$2"
""",
    "chromium": r"""for a; do
    case $a in
    --print-to-pdf=*) printf '%%PDF-1.4\na page\n%%%%EOF\n' >"${a#*=}" ;;
    esac
done
"""}


class Job:
    """NAME: arguments, in which {} is the folder. INPUTS: names in it. OUTPUTS: what it makes, files or
    folders. WORK: what may stay where it did not end with 0, to go on from. OLDER: whether there may
    be something of that name before. SWEPT: whether every allocation and call of it is to fail once;
    signals, kills and clocks come to all of them. CODE: how it ends without a fault. PROGRESS: outputs that
    a run that did not end so may leave half told. BATCH: what fails in it is said in a note, and the code
    may be 1. OTHER: another checkpoint, for which the first input may be exchanged. INDEX: an output that goes
    before the others are replaced, its old one kept under a second name."""

    def __init__(self, name, arguments, inputs, outputs=(), work=(), older=True, environment=None,
                 swept=True, code=0, progress=(), batch=False, other="", index=""):
        self.name, self.arguments = name, arguments.split()
        self.inputs, self.outputs, self.work = inputs.split(), tuple(outputs), tuple(work)
        self.older, self.environment, self.swept = older, environment, swept
        self.code, self.progress, self.batch = code, progress, batch
        self.other, self.index = other, index

    def command(self, folder):
        return [a.replace("{}", str(folder)) for a in self.arguments] + ["--threads", "1"]

    def is_output(self, name):
        return any(name == o or (o.endswith("/") and name.startswith(o)) for o in self.outputs)

    def tells_of_runs(self, name):
        """Of how much was kept of an earlier run."""
        return name == "o.json" or name.startswith("run/") and not name.endswith((".qins", "plan.json"))

    def is_unmarked(self, name, data, good):
        """A report of a step of the pipeline that has not ended: the step's job is put in last."""
        return name.startswith("run/") and data is not None and good is not None and \
            timeless(data, name) == timeless(JOB.sub(b"", good), name)

    def is_work(self, name):
        return any(name == w or (w.endswith("/") and name.startswith(w)) for w in self.work)


class Inputs:
    """Everything that jobs start from, made once, in one folder."""

    def __init__(self, folder):
        self.dir = pathlib.Path(folder)
        self.checkpoints()
        self.model()
        self.evidence()
        self.programs()

    def qins(self, *arguments):
        support.run_qins(*arguments, "--threads", "1", "--quiet", check=0,
                         env=support.without_gnuplot(self.dir))

    def checkpoints(self):
        rng = np.random.default_rng(5)
        matrix = rng.standard_normal((16, 24)).astype("<f4")
        support.write_safetensors(self.dir / "m.safetensors", {
            "up.weight": ("F32", (16, 24), [matrix.tobytes()]),
            "norm": ("BF16", (24,), [np.full(24, 0x3f80, "<u2").tobytes()]),
            "ids": ("I32", (5,), [np.arange(5, dtype="<i4").tobytes()])})
        other = matrix[::-1].copy()
        support.write_safetensors(self.dir / "other.safetensors", {
            "dn.weight": ("F32", (16, 24), [other.tobytes()]),
            "norm": ("BF16", (24,), [np.full(24, 0x4000, "<u2").tobytes()]),
            "ids": ("I32", (5,), [np.arange(5, 10, dtype="<i4").tobytes()])})
        model_fixtures.write_npz(self.dir / "other.npz", {"dn": other, "norm": np.zeros(24, "f4")})
        model_fixtures.write_hdf5(self.dir / "other.h5", {"dn": other})
        model_fixtures.write_torch(self.dir / "other.pt", {"dn": other})
        model_fixtures.write_npz(self.dir / "m.npz", {"up": matrix, "norm": np.ones(24, "f4")})
        self.h5 = model_fixtures.write_hdf5(self.dir / "m.h5", {"up": matrix})
        self.torch = model_fixtures.write_torch(self.dir / "m.pt", {"up": matrix})
        (self.dir / "hf").mkdir()
        shutil.copy(self.dir / "m.safetensors", self.dir / "hf" / "model.safetensors")
        (self.dir / "hf" / "config.json").write_text('{"model_type": "llama", "hidden_size": 24}')
        (self.dir / "hf" / "tokenizer.json").write_text("{}")
        m = self.dir / "m.safetensors"
        self.qins("convert", m, "-o", self.dir / "m.qins")
        self.qins("convert", self.dir / "hf", "-o", self.dir / "hf.qins")
        for i in ("1", "2"):
            self.qins("convert", m, "-o", self.dir / "s.qins", "--shard", i + "/2")
        self.qins("plan", m, "-o", self.dir / "p.json")
        self.folders()
        self.manifest()

    def folders(self):
        """Of work in parts: all done, and not."""
        done, begun = self.dir / "done", self.dir / "begun"
        for folder in (done, begun):
            folder.mkdir()
            shutil.copy2(self.dir / PARTS[0], folder)
            shutil.copy2(self.dir / "m.qins", folder)
        shutil.copy2(self.dir / PARTS[1], done)
        self.qins("merge", *(done / p for p in PARTS), "-o", done / "s.qins")
        (begun / (PARTS[1] + ".part")).write_bytes((self.dir / PARTS[1]).read_bytes()[:-100])
        os.utime(begun / (PARTS[1] + ".part"), (0, 0))  # where locks do not tell, this does
        (begun / "s.qins.tmp-abcdef").write_bytes(b"left")

    def manifest(self):
        """Two jobs; {} becomes the folder where they are run."""
        (self.dir / "jobs.json").write_text(json.dumps({"schema": "qins/jobs/1", "jobs": [
            {"name": "a", "model": "{}/m.safetensors", "output": "{}/o.qins", "plan": {"target_bits": 6}},
            {"name": "b b", "model": "{}/m.npz", "output": "{}/n.qins", "lossless": True, "shards": 2,
             "verify": False}]}))

    def model(self):
        config, tensors = model_fixtures.make(
            "llama", hidden_size=16, intermediate_size=24, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1)
        tiny = self.dir / "tiny"
        (self.dir / "other").mkdir()
        model_fixtures.write_folder(self.dir / "other", config, {
            name: np.flip(values).copy() for name, values in tensors.items()})
        model_fixtures.write_folder(tiny, config, tensors)
        np.save(self.dir / "ids.npy", model_fixtures.random_ids(241))
        np.save(self.dir / "few.npy", model_fixtures.random_ids(9))
        np.save(self.dir / "other.npy", model_fixtures.random_ids(241)[::-1])
        self.qins("convert", tiny, "-o", self.dir / "tiny.qins")
        for ids, name in (("ids.npy", "c.h5"), ("other.npy", "other.calibration.h5")):
            self.qins("calibrate", tiny, "--ids", self.dir / ids, "--context", "8",
                      "--keep-rows", "512", "--gram", "-o", self.dir / name)
        self.qins("calibrate", tiny, "--ids", self.dir / "few.npy", "-o", self.dir / "c1.h5")
        for i in ("1", "2"):
            self.qins("calibrate", tiny, "--ids", self.dir / "ids.npy", "--context", "8", "--tokens", "16",
                      "--keep-rows", "8", "--shard", i + "/2", "-o", self.dir / "cs.h5")
            self.qins("validate", tiny, self.dir / "tiny.qins", "--ids", self.dir / "ids.npy", "--context",
                      "40", "--tests", "perplexity,long-context", "--shard", i + "/2", "-o",
                      self.dir / "vs.json")
        self.qins("transport", tiny, "--calibration", self.dir / "c.h5", "-o", self.dir / "t.h5")

    def evidence(self):
        gate_evidence.write(self.dir / "evidence", gate_evidence.reports())
        (self.dir / "text").write_text("In the beginning")

    def programs(self):
        (self.dir / "bin").mkdir()
        for name, script in PROGRAMS.items():
            program = self.dir / "bin" / name
            program.write_text("#!/bin/sh\n" + script)
            program.chmod(0o755)

    def jobs(self):
        drawn = {"environment": {"PATH": str(self.dir / "bin")}}
        plain = {"environment": {"PATH": str(self.dir)}}  # without gnuplot
        return [
            Job("convert", "convert {}/m.safetensors -o {}/o.qins", "m.safetensors", ["o.qins"],
                other="other.safetensors"),
            Job("convert --resume", "convert {}/m.safetensors -o {}/o.qins --resume --json",
                "m.safetensors", ["o.qins"], ["o.qins.part"],
                other="other.safetensors"),
            Job("convert --plan", "convert {}/m.safetensors --plan {}/p.json -o {}/o.qins -q",
                "m.safetensors p.json", ["o.qins"]),
            Job("convert a folder", "convert {}/hf -o {}/o.qins --json", "hf", ["o.qins"],
                other="other.safetensors"),
            Job("convert .npz", "convert {}/m.npz -o {}/o.qins -q", "m.npz", ["o.qins"],
                other="other.npz"),
            *([Job("convert .h5", "convert {}/m.h5 -o {}/o.qins -q", "m.h5", ["o.qins"],
                other="other.h5")]
              if self.h5 else []),
            *([Job("convert .pt", "convert {}/m.pt -o {}/o.qins -q", "m.pt", ["o.qins"],
                other="other.pt")]
              if self.torch else []),
            Job("convert --shard", "convert {}/m.safetensors -o {}/o.qins --shard 1/2 -q",
                "m.safetensors", ["o.qins-00001-of-00002"],
                ["o.qins-00001-of-00002.part"], older=False),
            Job("merge", f"merge {{}}/{PARTS[0]} {{}}/{PARTS[1]} -o {{}}/o.qins -q",
                " ".join(PARTS), ["o.qins"]),
            Job("merge --index", f"merge {{}}/{PARTS[0]} {{}}/{PARTS[1]} --index -o {{}}/o.json -q",
                " ".join(PARTS), ["o.json", "o-00001-of-00002.qins", "o-00002-of-00002.qins"],
                index="o.json"),
            Job("verify", "verify {}/m.qins --against {}/m.safetensors",
                "m.qins m.safetensors"),
            Job("verify, its source first", "verify {}/m.qins --against {}/m.safetensors",
                "m.safetensors m.qins", swept=False, other="other.safetensors"),
            Job("restore .safetensors", "restore {}/m.qins -o {}/o.safetensors --json", "m.qins",
                ["o.safetensors"]),
            Job("restore .gguf", "restore {}/m.qins -o {}/o.gguf -q", "m.qins", ["o.gguf"]),
            Job("restore a llama .gguf", "restore {}/tiny.qins -o {}/o.gguf --json", "tiny.qins", ["o.gguf"]),
            Job("restore .h5", "restore {}/m.qins -o {}/o.h5 -q", "m.qins", ["o.h5"]),
            Job("restore to a folder", "restore {}/hf.qins -o {}/made/ -q", "hf.qins", ["made/"]),
            Job("inspect", "inspect {}/hf", "hf"),
            Job("inspect an archive", "inspect {}/m.qins --json", "m.qins"),
            Job("plan", "plan {}/m.safetensors -o {}/o.json --json", "m.safetensors", ["o.json"],
                other="other.safetensors"),
            Job("generate", "generate {}/tiny --ids {}/few.npy --tokens 3 --json",
                "tiny few.npy",
                other="other/model.safetensors"),
            Job("calibrate", "calibrate {}/tiny --ids {}/ids.npy --context 8 --tokens 16 -o {}/o.h5 --json",
                "tiny ids.npy", ["o.h5"], ["o.h5.part"],
                other="other/model.safetensors"),
            Job("calibrate --merge", "calibrate --merge {}/c1.h5 {}/c1.h5 -o {}/o.h5 -q", "c1.h5",
                ["o.h5"]),
            *(Job(f"{verb}, its calibration first", f"{verb} {first} {{}}/c.h5 -o {{}}/{out} -q",
                  "c.h5 tiny", made, swept=False, other="other.calibration.h5")
              for verb, first, out, made in (
                  ("calibrate", "--merge {}/c.h5", "o.h5", ["o.h5"]),
                  ("transport", "{}/tiny --calibration", "o.h5", ["o.h5", "o.json"]),
                  ("convert", "{}/tiny --calibration", "o.qins", ["o.qins"]))),
            Job("transport", "transport {}/tiny --calibration {}/c.h5 -o {}/o.h5 -q", "tiny c.h5",
                ["o.h5", "o.json"],
                other="other/model.safetensors"),
            Job("validate", "validate {}/tiny {}/tiny.qins --ids {}/ids.npy --context 40 --resume "
                "--tests perplexity -o {}/o.json -q", "tiny tiny.qins ids.npy", ["o.json"],
                ["o.json.part"],
                other="other/model.safetensors"),
            Job("calibrate --shard", "calibrate {}/tiny --ids {}/ids.npy --context 8 --tokens 16 --gram "
                "--shard 1/2 -o {}/o.h5 --json", "tiny ids.npy", ["o.h5-00001-of-00002"],
                ["o.h5-00001-of-00002.part", "o.h5-00001-of-00002.part.0"], older=False),
            Job("calibrate --merge of parts", "calibrate --merge {}/cs.h5-00001-of-00002 "
                "{}/cs.h5-00002-of-00002 -o {}/o.h5 --json", "cs.h5-00001-of-00002 cs.h5-00002-of-00002",
                ["o.h5"]),
            Job("validate --shard", "validate {}/tiny {}/tiny.qins --ids {}/ids.npy --context 40 "
                "--tests perplexity,long-context --shard 1/2 -o {}/o.json -q", "tiny tiny.qins ids.npy",
                ["o.json-00001-of-00002"], ["o.json-00001-of-00002.part"], older=False),
            Job("validate --merge", "validate --merge {}/vs.json-00001-of-00002 {}/vs.json-00002-of-00002 "
                "-o {}/o.json --json", "vs.json-00001-of-00002 vs.json-00002-of-00002", ["o.json"]),
            Job("status", "status {}/done --json", "done"),
            Job("status of what is not done", "status {}/begun", "begun", code=1),
            Job("batch", "batch {}/jobs.json --save {}/o.json --json", "jobs.json m.safetensors m.npz",
                ["o.qins", "n.qins", "o.qins.plan.json", "o.qins.job.json", "n.qins.job.json", "o.json"],
                ["o.qins.part", "n.qins.part"], progress=["o.qins.job.json", "n.qins.job.json", "o.json"],
                older=False, batch=True),
            *(Job("batch --emit " + engine, f"batch {{}}/jobs.json --emit {engine} -o {{}}/run --json",
                  "jobs.json", ["run/"]) for engine in ("slurm", "snakemake")),
            Job("gate", "gate --evidence {}/evidence -o {}/review -q", "evidence", ["review/"],
                **drawn),
            Job("analyze", "analyze {}/m.safetensors -o {}/study -q", "m.safetensors", ["study/"],
                **drawn),
            Job("pipeline", "pipeline {}/m.safetensors --text {}/text -o {}/run -q",
                "m.safetensors text", ["run/"], ["run/"], older=False, **plain),
        ]

