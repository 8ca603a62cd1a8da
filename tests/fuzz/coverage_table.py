"""The table of docs/fuzzing.md: coverage_table.py PARSERS LCOV [-u], where PARSERS says which source
files are parsers and decoders and which of their functions are not. -u: also the lines that no
input reached. Exit code 1: a file with less than GOAL of its lines."""
import os
import sys
from pathlib import Path

GOAL = 0.9
# What the CPU must have for the kernels of files with such an ending.
FLAGS = {"avx2": "avx2", "avx512": "avx512_vbmi2"}


def read_parsers(path):
    """[(group, [(file, functions left out)])]."""
    groups = []
    for line in open(path):
        line = line.split("#")[0].strip()
        if line.endswith(":"):
            groups.append((line[:-1], []))
        elif line:
            file, *left_out = line.split()
            groups[-1][1].append((file, set(left_out)))
    return groups


def read_lcov(path):
    """{file: ({function: first line}, {line: count})}, files as seen from here."""
    files = {}
    for line in open(path):
        key, _, value = line.strip().partition(":")
        if key == "SF":
            functions, lines = files.setdefault(os.path.relpath(value), ({}, {}))
        elif key == "FN":
            first, name = value.split(",")
            functions[name.split(":")[-1]] = int(first)
        elif key == "DA":
            number, count = map(int, value.split(",")[:2])
            lines[number] = max(lines.get(number, 0), count)
    return files


def counted(functions, lines, left_out):
    """The lines without those of the functions left out, each of which reaches to the next one."""
    unknown = left_out - functions.keys()
    if unknown:
        sys.exit(f"parsers.txt names functions that are not there: {sorted(unknown)}")
    starts = sorted(set(functions.values()))
    drop = set()
    for name in left_out:
        first = functions[name]
        after = next((s for s in starts if s > first), 1 << 30)
        drop |= {n for n in lines if first <= n < after}
    return {n: c for n, c in lines.items() if n not in drop}


def ranges(numbers):
    out = []
    for n in numbers:
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return " ".join(f"{a}-{b}" if a < b else str(a) for a, b in out)


def main(parsers, lcov, *options):
    files = read_lcov(lcov)
    below = 0
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    whole = [0, 0]
    print("| targets | file | lines | reached | % |\n|---|---|---|---|---|")
    for group, members in read_parsers(parsers):
        for file, left_out in members:
            if file not in files:
                sys.exit(f"{file}: no target is linked with it")
            level = file.rsplit("_", 1)[-1][:-2]
            if level in FLAGS and FLAGS[level] not in flags:
                print(f"| {group} | {file} | | | this CPU has no {FLAGS[level]} |")
                continue
            lines = counted(*files[file], left_out)
            reached = sum(c > 0 for c in lines.values())
            whole[0] += len(lines)
            whole[1] += reached
            below += reached < GOAL * len(lines)
            print(f"| {group} | {file} | {len(lines)} | {reached} | "
                  f"{100 * reached / len(lines):.1f} |")
            if "-u" in options and reached < len(lines):
                print("   not reached:", ranges(sorted(n for n, c in lines.items() if not c)))
    print(f"| all | | {whole[0]} | {whole[1]} | {100 * whole[1] / whole[0]:.1f} |")
    return below > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
