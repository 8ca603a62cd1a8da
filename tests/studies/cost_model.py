"""What a model of 1.5 TB takes on 1, 8 and 64 nodes: on paper, and by simulation.

    python3 tests/studies/cost_model.py -o DIR [--rates F.json] [--measure build/cli/qins] [--check]

A line of steps (calibrate, plan, convert in shards, merge, verify, validate), each with the bytes that it reads
and writes and the rate at which a node works, from --rates (default: cost_rates.json beside this file, figures of
docs/performance.md) or, with --measure, convert and verify timed now on 256 MB made up for it. On paper a
step takes the larger of work / nodes and bytes / bandwidth. The simulation cuts a made-up model into shards as
`convert --shard` does (chunks of at most 1 Mi elements, bytes in equal parts), lets them share a file system fairly, makes
some nodes slow, kills tasks and queues them again, which go on at their last whole chunk. Seeded: the same figures each
time. DIR gets cost_model.json, cost_model.md, cost_model.svg (gnuplot). --check: paper and simulation without faults must
agree within 5 %.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NODES = (1, 8, 64)
BANDWIDTHS = (1, 2, 5, 10, 20, 50, 100)   # GB/s of the file system, read and written together
CHUNK = 1 << 20                           # elements at most; 512 Ki are usual (docs/archive-format.md)
ELEMENT = 2                               # bytes: BF16


def model_of(parameters):
    """Extents of tensors of a dense decoder of about PARAMETERS weights: [rows, columns]."""
    hidden, inner, vocabulary = 16384, 53248, 128256
    kv = 1024 * 2
    layer = [(hidden, hidden), (kv, hidden), (kv, hidden), (hidden, hidden), (inner, hidden),
             (inner, hidden), (hidden, inner), (1, hidden), (1, hidden)]
    a_layer = sum(r * c for r, c in layer)
    layers = round((parameters - 2 * vocabulary * hidden) / a_layer)
    return [(vocabulary, hidden)] + layer * layers + [(1, hidden), (vocabulary, hidden)]


def chunks_of(tensors):
    """Bytes of each chunk in order: whole rows, as evenly as steps of the split axis allow."""
    result = []
    for rows, columns in tensors:
        most = max(1, CHUNK // 2 // columns)
        step = -(-rows // -(-rows // most))
        result += [step * columns * ELEMENT] * (rows // step)
        if rows % step:
            result.append(rows % step * columns * ELEMENT)
    return result


def shards_of(chunks, n):
    """Bytes of shards: cut K is before the first chunk that begins at or behind total * K / N."""
    total, at, shard, sizes = sum(chunks), 0, 0, [0] * n
    for size in chunks:
        while shard + 1 < n and at * n >= total * (shard + 1):
            shard += 1
        sizes[shard] += size
        at += size
    return sizes


def steps_of(rates, total):
    """(name, runs on all nodes, bytes read, bytes written, seconds of one node's work without waiting for files)."""
    archive, mega = total * rates["archive_share"], 1e6 * rates["node_scale"]
    # Two passes over a multiply and an add of each weight, at the arithmetic rate of a node.
    forward = 2 * (total / ELEMENT) / (rates["forward_gflop_per_s"] * 1e3 * mega)
    return [
        ("calibrate", True, total, 0, rates["calibration_tokens"] * forward),
        ("plan", False, total, 0, total / (rates["plan_mb_per_s"] * mega)),
        ("convert", True, total * (1 + rates["look_share"]), archive, total / (rates["convert_mb_per_s"] * mega)),
        ("merge", False, 2 * archive, archive, archive / (rates["merge_mb_per_s"] * mega)),
        ("verify", False, archive, 0, total / (rates["verify_mb_per_s"] * mega)),
        ("validate", True, total + archive, 0, 2 * rates["validation_tokens"] * forward),
    ]


def on_paper(step, nodes, bandwidth, rates):
    """Seconds: the slowest of the nodes' work, the nodes' own links, and the file system that they share."""
    _, parallel, read, written, work = step
    n = nodes if parallel else 1
    # To run a model each node reads all weights, for its own windows.
    moved = read * (n if step[0] in ("calibrate", "validate") else 1) + written
    return max(work / n, moved / n / rates["node_bytes_per_s"], moved / bandwidth)


class Task:
    def __init__(self, work, moved, speed, kill):
        self.share = 1.0            # of the task that is left
        self.work, self.moved = work / speed, moved
        self.kill = kill            # share left at which it is killed, or None
        self.wait = 0.0             # seconds until it begins


def simulate(step, shares, bandwidth, rates, rng, faults):
    """Seconds of a step whose tasks have SHARES of it, one node each; events are ends of tasks, kills and starts."""
    _, _, read, written, work = step
    tasks = []
    for share in shares:
        slow = faults and rng.random() < rates["straggler_share"]
        kill = rng.random() if faults and rng.random() < rates["killed_share"] else None
        whole = read if step[0] in ("calibrate", "validate") else read * share
        tasks.append(Task(max(work * share, 1e-9), whole + written * share,
                          rates["straggler_speed"] if slow else 1.0, kill))
    now = 0.0
    while any(t.share > 0 for t in tasks):
        running = [t for t in tasks if t.share > 0 and t.wait <= 0]
        # A task alone moves bytes as fast as its work or its link lets it; where all together want more than the file
        # system has, it is shared fairly: nobody gets more than asked for, what is left goes to the others.
        wants = {id(t): min(t.moved / t.work, rates["node_bytes_per_s"]) for t in running}
        left, got = bandwidth, {}
        for k, t in enumerate(sorted(running, key=lambda t: wants[id(t)])):
            got[id(t)] = min(wants[id(t)], left / (len(running) - k))
            left -= got[id(t)]
        ends = [t.wait for t in tasks if t.share > 0 and t.wait > 0]
        for t in running:
            until = t.share - (t.kill if t.kill is not None and t.kill < t.share else 0.0)
            ends.append(until * t.moved / got[id(t)])
        dt = min(ends)
        now += dt
        for t in tasks:
            if t.share <= 0:
                continue
            if t.wait > 0:
                t.wait = t.wait - dt if t.wait - dt > 1e-9 else 0.0
                continue
            t.share -= dt * got[id(t)] / t.moved
            if t.kill is not None and t.share <= t.kill + 1e-12:
                # The chunks in flight are done again, and the spool is read to find its end.
                lost = rates["chunks_in_flight"] * CHUNK * ELEMENT / max(t.moved, 1)
                t.share, t.kill, t.wait = min(1.0, t.share + lost), None, rates["requeue_seconds"]
            elif t.share < 1e-12:
                t.share = 0.0
    return now


def knee(step, nodes, rates):
    """Bytes/s below which the file system, and not the nodes, decides."""
    n = nodes if step[1] else 1
    free = on_paper(step, nodes, 1e30, rates)
    moved = step[2] * (n if step[0] in ("calibrate", "validate") else 1) + step[3]
    return moved / free


def measure(program, rates):
    """convert, verify and plan on this machine, MB/s of source."""
    sys.path.insert(0, str(HERE.parent / "e2e"))
    import numpy as np
    import support
    with tempfile.TemporaryDirectory() as folder:
        source, archive = pathlib.Path(folder) / "s.safetensors", pathlib.Path(folder) / "s.qins"
        weights = (np.random.default_rng(1).standard_normal((4096, 4096), np.float32) * np.float32(0.02))
        block = (weights.view(np.uint32) >> 16).astype("<u2").tobytes()
        support.write_safetensors(source, {f"l{i}": ("BF16", (4096, 4096), [block]) for i in range(8)})
        size = source.stat().st_size
        for key, *command in (("convert_mb_per_s", "convert", source, "-o", archive, "--codec", "tans"),
                              ("verify_mb_per_s", "verify", archive)):
            seconds = []
            for _ in range(3):
                begin = time.monotonic()
                subprocess.run([program, *map(str, command)], check=True, capture_output=True)
                seconds.append(time.monotonic() - begin)
            rates[key] = size / 1e6 / sorted(seconds)[1]
        rates["archive_share"] = archive.stat().st_size / size
        rates["source"] = "measured with --measure; the rest from the file of rates"
    return rates


def study(rates):
    tensors = model_of(rates["parameters"])
    chunks = chunks_of(tensors)
    total = sum(chunks)
    steps = steps_of(rates, total)
    report = {"schema": "qins/cost-model/1", "rates": rates, "source_bytes": total,
              "tensors": len(tensors), "chunks": len(chunks), "runs": [], "knees": []}
    for nodes in NODES:
        sizes = shards_of(chunks, nodes)
        report.setdefault("shards", []).append(
            {"nodes": nodes, "largest_over_mean": max(sizes) * nodes / total})
        for step in steps:
            shares = [size / total for size in sizes] if step[1] else [1.0]
            if step[0] in ("calibrate", "validate"):
                shares = [1 / nodes] * nodes      # windows, not weights
            report["knees"].append({"nodes": nodes, "step": step[0],
                                    "gb_per_s": knee(step, nodes, rates) / 1e9})
            for bandwidth in BANDWIDTHS:
                rng = random.Random(f"{nodes} {step[0]}")  # the same faults at each bandwidth
                seconds = [simulate(step, shares, bandwidth * 1e9, rates, rng, True)
                           for _ in range(5)]
                copies = nodes if step[0] in ("calibrate", "validate") else 1
                report["runs"].append({
                    "nodes": nodes, "bandwidth_gb_per_s": bandwidth, "step": step[0],
                    "read_bytes": step[2] * copies, "written_bytes": step[3],
                    "paper_seconds": on_paper(step, nodes, bandwidth * 1e9, rates),
                    "simulated_seconds": simulate(step, shares, bandwidth * 1e9, rates, rng, False),
                    "faulty_seconds": sorted(seconds)[2]})
    return report


def at(report, nodes, bandwidth, step=None):
    return [r for r in report["runs"] if r["nodes"] == nodes and r["bandwidth_gb_per_s"] == bandwidth
            and step in (None, r["step"])]


def clock(seconds):
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min" if seconds < 36000 \
        else f"{seconds / 3600:.1f} h"


def table(report, bandwidth):
    lines = ["| step | nodes | read TB | written TB | paper | simulated | with faults | knee GB/s |",
             "|---|---|---|---|---|---|---|---|"]
    knees = {(k["nodes"], k["step"]): k["gb_per_s"] for k in report["knees"]}
    for step in [r["step"] for r in at(report, 1, bandwidth)]:
        for nodes in NODES:
            r, = at(report, nodes, bandwidth, step)
            lines.append(f"| {step} | {nodes} | {r['read_bytes'] / 1e12:.2f} | {r['written_bytes'] / 1e12:.2f} | "
                         f"{clock(r['paper_seconds'])} | {clock(r['simulated_seconds'])} | "
                         f"{clock(r['faulty_seconds'])} | {knees[nodes, step]:.2f} |")
    return "\n".join(lines) + "\n"


def draw(report, folder):
    if not shutil.which("gnuplot"):
        return False
    data, plots = folder / "cost_model.dat", []
    with open(data, "w") as f:
        for nodes in NODES:
            for bandwidth in BANDWIDTHS:
                whole = at(report, nodes, bandwidth)
                convert = at(report, nodes, bandwidth, "convert")[0]
                f.write(f"{bandwidth} {convert['paper_seconds']} {convert['faulty_seconds']} "
                        f"{sum(r['faulty_seconds'] for r in whole if r['step'] in ('convert', 'merge'))}\n")
            f.write("\n\n")
    for i, nodes in enumerate(NODES):
        name = f"{nodes} node" + "s" * (nodes > 1)
        plots += [f"'{data}' index {i} using 1:2 with lines lw 2 dt 2 lc {i + 1} title '{name}, paper'",
                  f"'{data}' index {i} using 1:3 with linespoints lw 2 pt 7 lc {i + 1} "
                  f"title '{name}, simulated with faults'",
                  f"'{data}' index {i} using 1:4 with lines lw 1 dt 3 lc {i + 1} title '{name}, and merged'"]
    script = ("set terminal svg size 900,640 background 'white' font 'sans,13'\n"
              f"set output '{folder / 'cost_model.svg'}'\nset logscale xy\nset grid\n"
              "set xlabel 'bandwidth of the file system, GB/s'\nset ylabel 'seconds to convert 1.5 TB'\n"
              "set key below\nplot " + ", \\\n ".join(plots) + "\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    data.unlink()
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--rates", type=pathlib.Path, default=HERE / "cost_rates.json")
    parser.add_argument("--measure", help="the program to time")
    parser.add_argument("--bandwidth", type=int, default=10, choices=BANDWIDTHS, help="of the table, GB/s")
    parser.add_argument("--scale", type=float, default=1, help="work of a node, in those that were measured")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rates = json.loads(options.rates.read_text())
    if options.measure:
        rates = measure(options.measure, rates)
    rates["node_scale"] = options.scale
    report = study(rates)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "cost_model.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.output / "cost_model.md").write_text(table(report, options.bandwidth))
    drawn = draw(report, options.output)
    print(table(report, options.bandwidth), end="")
    print(f"{report['source_bytes'] / 1e12:.3f} TB, {report['chunks']} chunks"
          + ("" if drawn else "; no gnuplot, no picture"))
    if options.check:
        for r in report["runs"]:
            assert abs(r["simulated_seconds"] / r["paper_seconds"] - 1) < 0.05, r


if __name__ == "__main__":
    main()
