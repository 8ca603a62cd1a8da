"""What each way of making a model smaller does to it: the study behind docs/results.md.

All five tests of `qins validate` on held-out text: QINS and INT grids at 8, 6 and 4 bits, a scale a
tensor or a row, at equal bits and at equal coded size; the seeds' grid; plans; lossless; native
layers; coded V caches. Everything is done by the built program.

    QINS_PROGRAM=build/cli/qins QINS_SHARED_DATA=../shared/data \\
        python3 tests/studies/results.py --model kjv-1.7m --work /tmp/results

It prints Markdown. Reports are kept in the --work folder and taken from there when the study is run
again: empty it when the program changes. What the repository ships is enough for kjv-1.7m.
"""
import argparse
import json
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[0] / "e2e")]
import plan_quality  # noqa: E402
import support  # noqa: E402

BITS, GROUPS = (8, 6, 4), ("tensor", "row")
# Shape and clip of each line: QINS searches both; INT is shown with its largest weight as the scale
# and with the clip that is best for it.
GRIDS = {"QINS": (None, None), "INT": (0, 1.0), "INT, best clip": (0, None)}
MOST_LEVELS = 2047
ROWS = 4096  # of calibration, that native layers are fitted to
MODELS = ("kjv-1.7m", "stories260k", "mix-6m")


def texts_of(model, folder):
    if model != "mix-6m":
        return plan_quality.texts_of(model, folder)
    # A part of each text that it was trained on; what is held out comes with it.
    text, calibration = support.SHARED / "text", folder / "calibration.txt"
    parts = [(text / n).read_bytes()[:100_000] for n in ("tinystories.txt", "tinyshakespeare.txt")]
    parts.append((support.SOURCE_ROOT / "examples/kjv-calibration.txt").read_bytes()[:100_000])
    calibration.write_bytes(b"\n".join(parts))
    folder = support.SHARED / "models/mix-6m"
    return folder, calibration, folder / "heldout.txt"


class Results(plan_quality.Study):
    """One model and the reports of what was tried on it."""

    def validate(self, name, *candidate):
        """The report of validation of a line of the tables."""
        path = self.dir / f"{name}.json"
        if not path.exists():
            support.run_qins("validate", self.model, *candidate, "--text", self.heldout,
                             "--context", plan_quality.CONTEXT, "-q", "-o", path, check=0,
                             timeout=3600)
        return json.loads(path.read_text())

    def archive(self, name, *options):
        path = self.dir / f"{name}.qins"
        if not path.exists():
            support.run_qins("convert", self.model, *options, "-o", path, "-q", check=0)
        return path

    def of_plan(self, name, plan):
        path = self.dir / f"{name}.plan.json"
        path.write_text(json.dumps(plan))
        feedback = any(t.get("rounding") == "feedback" for t in plan["tensors"])
        more = ["--calibration", self.calibration] if feedback else []
        return self.archive(name, "--plan", path, *more)

    def grid(self, levels, kind, group, codec):
        """One grid for all matrices that plans quantise."""
        kappa, clip = GRIDS[kind]
        return self.edited(lambda line: {"levels": levels, "kappa": kappa, "clip": clip,
                                         "group": group, "codec": codec})

    def of_size(self, limit, kind, group):
        """The finest such grid whose Huffman-coded archive takes at most LIMIT bytes."""
        low, high = 1, MOST_LEVELS
        while low < high:
            middle = (low + high + 1) // 2
            size = self.convert(self.grid(middle, kind, group, "huffman"))[1]["archive_bytes"]
            low, high = (middle, high) if size <= limit else (low, middle - 1)
        return low, self.grid(low, kind, group, "huffman")

    def transport(self, name, *layers):
        path = self.dir / f"{name}.h5"
        rows = self.dir / "rows.h5"
        if not rows.exists():
            support.run_qins("calibrate", self.model, "--text", self.calibration_text,
                             "--context", plan_quality.CONTEXT, "--keep-rows", ROWS, "-q", "-o",
                             rows, check=0, timeout=1800)
        if not path.exists():
            support.run_qins("transport", self.model, "--calibration", rows, *layers, "-q", "-o",
                             path, check=0, timeout=3600)
        return path


def equal_bits(study):
    """Lines of a grid a tensor, bit-packed."""
    for bits in BITS:
        for group in GROUPS:
            for kind in GRIDS:
                name = f"{kind} {bits} bit, scale a {group}"
                plan = study.grid(2 ** (bits - 1) - 1, kind, group, "bitpack")
                yield name, [study.of_plan(slug(name), plan)]


def equal_size(study):
    """The same, Huffman-coded: INT as fine as fits what QINS takes."""
    for bits in BITS:
        for group in GROUPS:
            levels = 2 ** (bits - 1) - 1
            name = f"QINS {bits} bit, scale a {group}, coded"
            archive = study.of_plan(slug(name), study.grid(levels, "QINS", group, "huffman"))
            yield f"{name} (N = {levels})", [archive]
            for kind in list(GRIDS)[1:]:
                levels_of, plan = study.of_size(archive.stat().st_size, kind, group)
                name = f"{kind}, scale a {group}, coded to the size of {bits}-bit QINS"
                yield f"{name} (N = {levels_of})", [study.of_plan(slug(name), plan)]


def others(study):
    yield "FP32 and itself", [study.model]
    yield "lossless", [study.archive("lossless", "--lossless")]
    for bits in (8, 6):
        yield (f"seed grid, {bits} bit",
               [study.archive(f"seed-{bits}", "--bits", bits, "--grid", "seed")])
    for target in (6.5, 4.5):
        yield (f"planned, {target} bits a weight",
               [study.of_plan(f"planned-{target}", study.plan(target, "feedback"))])
    yield "v_proj native (FP32 planes)", ["--transport", study.transport("v", "--layers", "v_proj")]
    yield "all layers native (FP32 planes)", ["--transport",
                                              study.transport("all", "--layers", "all")]
    for bits in (8, 6):
        yield f"V cache of {bits} bits", ["--kv-cache", bits]


def slug(name):
    return "".join(c if c.isalnum() else "-" for c in name)


def at(report, path):
    """A value of the report, or None."""
    for key in path.split("."):
        report = report.get(key) if isinstance(report, dict) else None
    return report


def shown(value, form, scale=1.0):
    return "–" if value is None else form.format(scale * value)


def with_error(report, value, error, form, scale=1.0):
    found, se = at(report, value), at(report, error)
    text = shown(found, form, scale)
    return text if se is None else f"{text} ± {form.format(scale * se).lstrip('+')}"


def verdicts(tests):
    """A letter a test: A passed, (A) did not, – has no bar or was not done."""
    letters = {"consistency": "A", "autoregressive": "B", "sampling": "C", "perplexity": "D",
               "long_context": "E"}
    marks = {True: "{}", False: "({})", None: "–"}
    return " ".join(marks[at(tests, f"{n}.passed")].format(c) for n, c in letters.items())


def prediction_row(name, report):
    tests = report["tests"]
    bits = at(report, "candidate.bits_per_weight")
    tensors = at(tests, "consistency.tensors") or []
    worst = [t["cosine"] for t in tensors if t.get("cosine") is not None]
    p99 = [t["p99_rel_error"] for t in tensors if t.get("p99_rel_error") is not None]
    top = {t["k"]: t["overlap"] for t in at(tests, "sampling.top_k") or []}
    cells = [name, shown(bits, "{:.3f}"), shown(min(worst, default=None), "{:.6f}"),
             shown(max(p99, default=None), "{:.2f}", 100),
             shown(at(tests, "perplexity.candidate.perplexity"), "{:.4f}"),
             with_error(tests, "perplexity.difference.perplexity",
                        "perplexity.difference.perplexity_standard_error", "{:+.4f}"),
             with_error(tests, "perplexity.kl.mean", "perplexity.kl.standard_error", "{:.2e}"),
             shown(at(tests, "perplexity.kl.same_top1"), "{:.2f}", 100),
             shown(top.get(10), "{:.2f}", 100),
             with_error(tests, "sampling.total_variation.mean",
                        "sampling.total_variation.standard_error", "{:.2e}")]
    return "| " + " | ".join(cells) + " |"


def continuation_row(name, report):
    tests = report["tests"]
    lengths = [x for x in at(tests, "long_context.lengths") or [] if "skipped" not in x]
    longest = lengths[-1] if lengths else {}
    cells = [name]
    for group in ("autoregressive", "autoregressive.text"):
        for way in ("free_running", "teacher_forced"):
            cells.append(with_error(tests, f"{group}.{way}.match",
                                    f"{group}.{way}.match_standard_error", "{:.2f}", 100))
    cells.append(shown(at(tests, "autoregressive.teacher_forced.drift"), "{:+.2f}", 100))
    cells.append(shown(longest.get("tokens"), "{:.0f}"))
    cells.append(shown(at(longest, "text.match"), "{:.2f}", 100))
    cells.append(with_error(longest, "text.drift", "text.drift_standard_error", "{:+.2f}", 100))
    cells.append(verdicts(tests))
    return "| " + " | ".join(cells) + " |"


def kv_table(study, out):
    """Bytes of the V cache, counted by the runs above."""
    out("\n### V cache, counted from the pages of those runs\n")
    out("| | pages, bit-packed, against float16 | old pages | whole cache with its open pages | decode, "
        "64 tokens × layer |\n|---|---|---|---|---|")
    for bits in (8, 6):
        kv = study.validate(slug(f"V cache of {bits} bits"), "--kv-cache", bits)["kv_cache"]
        out(f"| {bits} bits | " + " | ".join(
            shown(kv.get(key), form) for key, form in
            (("ratio_f16", "{:.3f}×"), ("old_ratio_f16", "{:.3f}×"), ("held_ratio_f16", "{:.3f}×"),
             ("decode_ms_per_page", "{:.3f} ms"))) + " |")


def kl_ratio(reports, one, other):
    """The mean KL of the line ONE over that of OTHER, with its standard error as if the two were
    independent: they share their windows, so it is the larger one."""
    (a, sa), (b, sb) = ((kl["mean"], kl["standard_error"]) for kl in
                        (at(reports[name], "tests.perplexity.kl") for name in (one, other)))
    return f"{a / b:.2f} ± {a / b * math.hypot(sa / a, sb / b):.2f}"


def question_table(reports, out):
    """The seeds' open question in one table: QINS over INT."""
    lines = {name.split(" (N =")[0]: report for _, name, report in reports}
    out("\n### Mean KL of QINS over that of INT\n")
    out("| | equal bits: INT | INT, best clip | equal coded size: INT | INT, best clip |\n|---|---|---|---|---|")
    for bits in BITS:
        for group in GROUPS:
            packed, coded = f"{bits} bit, scale a {group}", f"scale a {group}, coded"
            cells = [kl_ratio(lines, f"QINS {packed}", f"{kind} {packed}")
                     for kind in list(GRIDS)[1:]]
            cells += [kl_ratio(lines, f"QINS {packed}, coded",
                               f"{kind}, {coded} to the size of {bits}-bit QINS")
                      for kind in list(GRIDS)[1:]]
            out(f"| {packed} | " + " | ".join(cells) + " |")


PREDICTIONS = ("| | bits a weight | least cosine | largest p99 relative error, % | perplexity | less FP32's | "
               "KL, nats | same top 1, % | top-10 overlap, % | total variation, T 0.7, p 0.9 |\n"
               "|---|---|---|---|---|---|---|---|---|---|")
CONTINUATIONS = ("| | shipped prompts: free, % | teacher-forced, % | text's prompts: free, % | teacher-forced, % | "
                 "drift, points | longest context | match there, % | drift there, points | tests |\n"
                 "|---|---|---|---|---|---|---|---|---|---|")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--work", required=True, type=pathlib.Path)
    o = parser.parse_args()
    folder = o.work / o.model
    folder.mkdir(parents=True, exist_ok=True)
    study = Results(*texts_of(o.model, folder), folder)
    study.calibrate()
    print(f"## {o.model}\n")
    reports = []
    for section in (others, equal_bits, equal_size):
        for name, candidate in section(study):
            reports.append((section, name, study.validate(slug(name), *candidate)))
            print(name, file=sys.stderr, flush=True)
    for title, head, row in (("Predictions", PREDICTIONS, prediction_row),
                             ("Continuations", CONTINUATIONS, continuation_row)):
        print(f"\n### {title}\n\n{head}")
        for _, name, report in reports:
            print(row(name, report))
    question_table(reports, print)
    kv_table(study, print)


if __name__ == "__main__":
    main()
