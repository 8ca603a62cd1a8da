"""A whole checkpoint converted, verified and restored, beside copying and general compressors.

    QINS_PROGRAM=build/cli/qins python3 tests/studies/end_to_end.py --work /dev/shm/study \\
        [--gb 2] [--rounds 3] [--steps cp,zstd] [--llama-quantize PATH] [--table]

For F32 and for BF16 it makes a sharded Hugging Face folder of a llama's shape with seeded random
weights, and runs every step on it as a program of its own: cp, zstd (one stream a shard), qins,
and llama-quantize where there is one, on what `qins restore` writes for it. It prints one Markdown
table of medians, with the lowest and the highest wall time.

A round runs every step once. Steps that need one another are a group; each round begins with another
group, so that no program is always the first to write to memory that others have just used.

Wall and processor time are those of the whole process; memory is the largest anonymous memory
seen (RssAnon, looked at every 10 ms: pages of mapped files are not in it); what is written goes
to memory that was in use just before, and is synced after the clock has stopped, and that time stands in a column of its own (qins syncs
itself, before it renames). All inputs are in the page cache. Without --work it takes /dev/shm
where there is room, else the folder for temporary files. Checkpoints are made once, and every
run is kept in the folder, so the study may be stopped and goes on where it was: --rounds counts those
that are there, --steps picks rows by the beginnings of their names, --table only prints.
"""
import argparse
import json
import mmap
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import support  # noqa: E402

SHAPE = {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 32,
         "num_key_value_heads": 8, "vocab_size": 32000}
SHARDS = 4
NEEDS = 6  # times the checkpoint's size: source, archive, what is restored, a GGUF, and slack
THREADS = 2
DTYPES = {"F32": 4, "BF16": 2}


def shapes(layers):
    hidden, inner, vocab = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["vocab_size"]
    narrow = hidden * SHAPE["num_key_value_heads"] // SHAPE["num_attention_heads"]
    yield "model.embed_tokens.weight", (vocab, hidden)
    for i in range(layers):
        for name, shape in (("self_attn.q_proj", (hidden, hidden)), ("self_attn.k_proj", (narrow, hidden)),
                            ("self_attn.v_proj", (narrow, hidden)), ("self_attn.o_proj", (hidden, hidden)),
                            ("mlp.gate_proj", (inner, hidden)), ("mlp.up_proj", (inner, hidden)),
                            ("mlp.down_proj", (hidden, inner)), ("input_layernorm", (hidden,)),
                            ("post_attention_layernorm", (hidden,))):
            yield f"model.layers.{i}.{name}.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def n_elements(layers):
    return sum(int(np.prod(shape)) for _, shape in shapes(layers))


def draw(rng, shape, dtype):
    """Normal rows whose scales differ, some inputs that are larger, a few rows that nothing trained."""
    if len(shape) == 1:
        w = 1 + 0.1 * rng.standard_normal(shape, np.float32)
    else:
        w = rng.standard_normal(shape, np.float32)
        w *= 0.02 * np.exp(0.3 * rng.standard_normal((shape[0], 1), np.float32))
        w[:, rng.integers(0, shape[1], shape[1] // 256)] *= 4
        w[rng.integers(0, shape[0], shape[0] // 200)] = w[0]
    if dtype == "F32":
        return w.astype("<f4", copy=False)
    bits = w.view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")  # to nearest, ties to even


def make(folder, dtype, gb):
    """A checkpoint of about GB * 1e9 bytes in SHARDS files; none of it is kept in memory."""
    layers, size = 1, DTYPES[dtype]
    while size * n_elements(layers + 1) <= gb * 1e9:
        layers += 1
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    names, bounds, done = [[] for _ in range(SHARDS)], n_elements(layers) / SHARDS, 0
    for name, shape in shapes(layers):
        names[min(SHARDS - 1, int(done / bounds))].append((name, shape))
        done += int(np.prod(shape))
    index = {}
    for i, tensors in enumerate(names):
        file = f"model-{i + 1:05}-of-{SHARDS:05}.safetensors"
        index.update({name: file for name, _ in tensors})
        support.write_safetensors(folder / file, {
            name: (dtype, shape, (draw(rng, s, dtype).data for s in [shape])) for name, shape in tensors})
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": size * n_elements(layers)}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
         "num_hidden_layers": layers, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
         "max_position_embeddings": 4096, "tie_word_embeddings": False,
         "torch_dtype": "float32" if dtype == "F32" else "bfloat16", **SHAPE}))


def size_of(path):
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(f.stat().st_size for f in files)


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path):
    begin = time.perf_counter()
    for f in [path] if path.is_file() else path.rglob("*"):
        fd = os.open(f, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return time.perf_counter() - begin


def watch(pid, peak, stop):
    """The largest RssAnon of PID, in bytes, into PEAK[0]."""
    while not stop.wait(0.01):
        try:
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    peak[0] = max(peak[0], 1024 * int(line.split()[1]))
        except OSError:
            return


def warm(n):
    """Touches N bytes of memory and frees them: a virtual machine may have to ask its host for what
    was not in use for a while, which costs whoever writes first more than what is measured here."""
    memory = mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
    memory.close()


def run(command, out, expected):
    """What COMMAND took; OUT is what it makes, of at most about EXPECTED bytes, or None."""
    if out:
        warm(expected)
    peak, stop = [0], threading.Event()
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        process = subprocess.Popen([str(c) for c in command], stdout=said, stderr=said)
        watcher = threading.Thread(target=watch, args=(process.pid, peak, stop))
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        stop.set()
        watcher.join()
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(map(str, command))}: exit {process.returncode}\n"
                     + said.read().decode(errors="replace")[-2000:])
    return {"seconds": seconds, "processor_seconds": used.ru_utime + used.ru_stime, "anonymous_bytes": peak[0],
            "bytes": size_of(out) if out else None, "sync_seconds": sync(out) if out else 0.0}


def groups(source, d, quantize):
    """Lists of (name, command, what it makes, what it needs). In a list, earlier steps make what later ones need;
    the last list needs a GGUF of the one before it, of the same round or, where a round begins with it, of the last."""
    qins, shards = support.PROGRAM, sorted(source.glob("*.safetensors"))
    threads = ["--threads", THREADS, "-q"]
    yield [("cp", ["cp", "-r", source, d / "copy"], d / "copy", [])]
    for level in (1, 3):
        packed, unpacked = d / f"zstd-{level}", d / "unpacked"
        yield [(f"zstd -{level} -T{THREADS}", ["zstd", "-q", f"-{level}", f"-T{THREADS}", "--output-dir-flat",
                                              packed, *shards], packed, []),
               (f"zstd -d (of -{level})", ["zstd", "-q", "-d", "--output-dir-flat", unpacked,
                                          *[packed / (s.name + ".zst") for s in shards]], unpacked, [packed])]
    plan, gguf, out = d / "plan.json", d / "model.gguf", d / "out.gguf"
    for name, options, needs in (("8 bits, bit-packed", ["--codec", "bitpack"], []),
                                 ("8 bits, tans", ["--codec", "tans"], []),
                                 ("plan, 6 bits", ["--plan", plan], [plan]),
                                 ("lossless, tans", ["--lossless", "--codec", "tans"], [])):
        archive, restored = d / f"{name}.qins", d / "restored"
        found = [(f"qins convert, {name}", [qins, "convert", source, "-o", archive, *options, *threads], archive,
                  needs),
                 (f"qins verify, {name}", [qins, "verify", archive, *threads], None, [archive]),
                 (f"qins verify --against, {name}", [qins, "verify", archive, "--against", source, *threads], None,
                  [archive]),
                 (f"qins restore, {name}", [qins, "restore", archive, "-o", f"{restored}/", *threads], restored,
                  [archive])]
        if needs:
            found.insert(0, ("qins plan, 6 bits, archive policy",
                             [qins, "plan", source, "--policy", "archive", "--target-bits", 6, "-o", plan, *threads],
                             plan, []))
        if name == "lossless, tans" and quantize:
            found.append(("qins restore, lossless, tans, to GGUF",
                          [qins, "restore", archive, "-o", gguf, *threads], gguf,
                          [archive]))
        yield found
    if quantize:
        yield [(f"llama-quantize {kind}", [quantize, gguf, out, kind, THREADS], out, [gguf])
               for kind in ("Q8_0", "Q6_K", "Q4_K")]


def measure(o, dtype):
    source, scratch, kept = o.work / f"source-{dtype}", o.work / f"made-{dtype}", o.work / f"{dtype}.json"
    if not source.exists():
        make(source, dtype, o.gb)
    known = json.loads(kept.read_text()) if kept.exists() else {"source_bytes": size_of(source), "runs": {}}
    scratch.mkdir(exist_ok=True)
    found = list(groups(source, scratch, o.llama_quantize))
    for name in (step[0] for group in found for step in group):  # the table's order is not that of the runs
        known["runs"].setdefault(name, [])
    for f in source.iterdir():
        f.read_bytes()
    for turn in range(o.rounds):
        first = turn * len(found) // max(1, o.rounds)
        for name, command, out, needs in sum(found[first:] + found[:first], []):
            chosen = not o.steps or any(name.startswith(x) for x in o.steps)
            if not chosen or len(known["runs"][name]) > turn:
                continue
            if not all(n.exists() for n in needs):
                print(f"left out: {name}: {needs[0]} is not there", file=sys.stderr)
                continue
            if out:
                remove(out)
            if "--output-dir-flat" in command:
                out.mkdir()
            known["runs"][name].append(run(command, out, known["source_bytes"]))
            print(f"{dtype} {name}: {known['runs'][name][-1]['seconds']:.2f} s", file=sys.stderr)
            kept.write_text(json.dumps(known, indent=1))
            if out in (scratch / "copy", scratch / "unpacked", scratch / "restored", scratch / "out.gguf"):
                remove(out)  # nothing needs it, and it takes room
            if out == scratch / "unpacked":
                remove(needs[0])


def table(work):
    print("| checkpoint | step | wall s (lowest to highest) | MB/s of the checkpoint | processor s | sync s | "
          "anonymous MB | written MB | share | runs |\n|---|---|---|---|---|---|---|---|---|---|")
    for dtype in DTYPES:
        kept = work / f"{dtype}.json"
        if not kept.exists():
            continue
        known = json.loads(kept.read_text())
        source = known["source_bytes"]
        for name, runs in known["runs"].items():
            if not runs:
                continue
            m = {k: statistics.median(r[k] for r in runs)
                 for k in runs[0] if runs[0][k] is not None}
            walls = [r["seconds"] for r in runs]
            size = f"{m['bytes'] / 1e6:.0f} | {m['bytes'] / source:.3f}" if "bytes" in m else " | "
            print(f"| {dtype} | {name} | {m['seconds']:.2f} ({min(walls):.2f} to {max(walls):.2f}) | "
                  f"{source / m['seconds'] / 1e6:.0f} | {m['processor_seconds']:.2f} | {m['sync_seconds']:.2f} | "
                  f"{m['anonymous_bytes'] / 1e6:.0f} | {size} | {len(runs)} |")


def choose_folder(gb):
    shm = pathlib.Path("/dev/shm")
    needed = NEEDS * gb * 1e9
    memory = next((1024 * int(line.split()[1]) for line in open("/proc/meminfo")
                   if line.startswith("MemAvailable:")), 0)
    fits = shm.is_dir() and min(shutil.disk_usage(shm).free, memory) >= needed
    return (shm if fits else pathlib.Path(tempfile.gettempdir())) / "qins-end-to-end"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=pathlib.Path, help="folder for checkpoints and figures; it stays")
    p.add_argument("--gb", type=float, default=2, help="of each checkpoint")
    p.add_argument("--rounds", type=int, default=3, help="in all, those that are there counted")
    p.add_argument("--dtypes", default=",".join(DTYPES), type=lambda s: s.split(","))
    p.add_argument("--steps", type=lambda s: s.split(","), help="beginnings of rows' names")
    p.add_argument("--llama-quantize", type=pathlib.Path)
    p.add_argument("--make", action="store_true", help="only make the checkpoints")
    p.add_argument("--table", action="store_true", help="only print what was measured")
    o = p.parse_args()
    if not o.table and not o.make and not support.PROGRAM.exists():
        p.error(f"there is no {support.PROGRAM}: set QINS_PROGRAM")
    o.work = (o.work or choose_folder(o.gb)).resolve()
    o.work.mkdir(parents=True, exist_ok=True)
    print(f"in {o.work}", file=sys.stderr)
    for dtype in [] if o.table else o.dtypes:
        if o.make and not (o.work / f"source-{dtype}").exists():
            make(o.work / f"source-{dtype}", dtype, o.gb)
        elif not o.make:
            measure(o, dtype)
    table(o.work)


if __name__ == "__main__":
    main()
