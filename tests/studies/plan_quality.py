"""Whether a plan is better than any fixed format: the study behind docs/plan-quality.md.

Everything is done by the built program: plans are written, converted and validated. Uniform
choices and equal-SQNR coding are plan files too, so that all quantise the same matrices and
leave the same vectors lossless.

    QINS_PROGRAM=build/cli/qins QINS_SHARED_DATA=../shared/data \\
        python3 tests/studies/plan_quality.py --model kjv-1.7m --work /tmp/study [--quick]

It prints Markdown. What was measured is kept in the --work folder by what was asked for, and
taken from there when the study is run again: empty it when coders or quantiser change.
"""
import argparse
import hashlib
import itertools
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import support  # noqa: E402

CONTEXT = 256
TARGETS = (4.5, 6.5)
SLACK = 0.4      # bits that a uniform choice may have more
REACH = 1.0      # bits above a target up to which uniform choices are looked at
BELOW = 0.3      # and below it
COMPARED = 1.15  # screened KL over the best that is no larger: worth the whole text
# Chunks that huffman would make larger are bit-packed, so that bitpack never takes less; store and
# the run-length coders take more everywhere.
CODERS = ("huffman", "tans", "zstd")


class Study:
    """One model, its texts, and a folder for what is made."""

    def __init__(self, model, calibration_text, heldout_text, folder, tokens=None):
        self.model, self.dir = pathlib.Path(model), pathlib.Path(folder)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.calibration_text, self.heldout = calibration_text, heldout_text
        self.tokens = tokens
        self.calibration = self.dir / "calibration.h5"
        self.known = {}
        self.known_file = None
        self.template = None

    def remember_in(self, path):
        self.known_file = pathlib.Path(path)
        if self.known_file.exists():
            self.known = json.loads(self.known_file.read_text())

    def save(self):
        if self.known_file:
            self.known_file.write_text(json.dumps(self.known))

    def calibrate(self, target_bits=max(TARGETS)):
        """Returns the plan of that many bits: what it leaves lossless, other plans do too."""
        limit = ["--tokens", self.tokens] if self.tokens else []
        support.run_qins("calibrate", self.model, "--text", self.calibration_text, "--context",
                         CONTEXT, "--gram", "--sensitivity", *limit, "-q", "-o",
                         self.calibration, check=0, timeout=1800)
        self.template = self.plan(target_bits, "nearest")
        return self.template

    def plan(self, target_bits, rounding, policy="archive", size=None):
        path = self.dir / "plan.json"
        target = ["--target-size", size] if size else ["--target-bits", target_bits]
        support.run_qins("plan", self.model, "--calibration", self.calibration, "--policy", policy,
                         "--rounding", rounding, *target, "-q", "-o", path, check=0)
        return json.loads(path.read_text())

    def convert(self, plan):
        """Archive and its report."""
        path, out = self.dir / "try.json", self.dir / "try.qins"
        path.write_text(json.dumps(plan))
        feedback = any(t.get("rounding") == "feedback" for t in plan["tensors"])
        more = ["--calibration", self.calibration] if feedback else []
        done = support.run_qins("convert", self.model, "--plan", path, *more, "-o", out, "--json",
                                check=0)
        return out, json.loads(done.stdout)

    def bits(self, plan):
        return self.convert(plan)[1]["bits_per_weight"]

    def measure(self, plan, text=None):
        """Bits a weight, mean KL on the held-out text, its standard error."""
        text = text or self.heldout
        key = hashlib.sha256((pathlib.Path(text).name + json.dumps(plan["tensors"], sort_keys=True))
                             .encode()).hexdigest()
        if key not in self.known:
            archive, report = self.convert(plan)
            done = support.run_qins("validate", self.model, archive, "--text", text, "--context",
                                    CONTEXT, "--tests", "perplexity", "--json", check=0)
            kl = json.loads(done.stdout)["tests"]["perplexity"]["kl"]
            self.known[key] = [report["bits_per_weight"], kl["mean"], kl["standard_error"]]
            self.save()
        return tuple(self.known[key])

    def edited(self, change, template=None):
        """The template with each quantised line replaced by CHANGE(line), without its blocks."""
        lines = []
        for line in (template or self.template)["tensors"]:
            kept = {k: line[k] for k in ("name", "dtype", "shape", "class", "codec", "levels")}
            if line["levels"] is not None:
                kept.update({"codec": "huffman"} | change(line))
                kept.pop("bits", None)
            lines.append(kept)
        return {"schema": "qins/plan/1", "summary": None, "tensors": lines}

    def uniform(self, bits, kappa, group, clip, codec):
        """One choice for all matrices; None: searched for each tensor."""
        def change(line):
            size = group
            if isinstance(group, int) and group >= line["shape"][-1]:
                size = "row"
            return {"levels": 2 ** (bits - 1) - 1, "kappa": kappa, "group": size, "clip": clip,
                    "codec": codec}
        return self.edited(change)

    def weights(self):
        """Root mean square and largest magnitude of each matrix, by way of the program."""
        archive, out = self.dir / "exact.qins", self.dir / "exact.safetensors"
        support.run_qins("convert", self.model, "--lossless", "-o", archive, "-q", check=0)
        support.run_qins("restore", archive, "-o", out, "-q", check=0)
        tensors = support.read_safetensors(out)
        return {n: (float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))),
                    float(np.abs(x).max())) for n, x in tensors.items()}

    def equal_sqnr(self, target_bits, template=None):
        """Uniform grids whose step is one multiple of the tensor's RMS, coded: the archive just
        fits. The squared error of such a grid is step^2 / 12."""
        figures = self.weights()

        def plan(ratio):
            def change(line):
                rms, most = figures[line["name"]]
                levels = max(1, int(most / (ratio * rms)))
                return {"levels": levels, "kappa": 0, "group": "tensor", "rounding": "nearest",
                        "clip": min(1.0, max(0.01, levels * ratio * rms / most))}
            return self.edited(change, template)

        low, high = 0.005, 3.0
        for _ in range(14):
            middle = (low * high) ** 0.5
            if self.bits(plan(middle)) > target_bits:
                low = middle
            else:
                high = middle
        return plan(high)


def with_rounding(plan, rounding, names=None):
    """PLAN with that rounding wherever there can be any: matrices but embeddings."""
    changed = json.loads(json.dumps(plan))
    for line in changed["tensors"]:
        if line["levels"] is not None and (names is None or line["name"] in names):
            line["rounding"] = rounding
    return changed


def feedback_names(plan):
    return {t["name"] for t in plan["tensors"] if t.get("rounding") == "feedback"}


def choices(quick):
    """(bits, kappa, group, clip) of the uniform choices; None: the best for each tensor."""
    if quick:
        return list(itertools.product((4, 5, 6, 7), (0.0, 0.5, 1.0, 1.5), ("tensor", "row"),
                                      (None, 1.0)))
    kappas = (None, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
    found = list(itertools.product(range(4, 9), kappas, ("tensor",), (None, 1.0)))
    found += itertools.product(range(4, 8), kappas[1:], ("tensor",), (0.9, 0.8))
    found += itertools.product(range(3, 8), (None, 0.0, 0.5, 1.0, 2.0), ("row", 128, 32), (None,))
    return found


def in_reach(bits):
    return any(t - BELOW <= bits <= t + REACH for t in TARGETS)


class Uniform:
    """All uniform choices: sizes with each coder, KL, the latter on the whole text only for those
    that a look at its beginning finds near the best of their size."""

    def __init__(self, study, quick, log):
        self.study = study
        text = pathlib.Path(study.heldout).read_bytes()
        screen = study.dir / "screen.txt"
        screen.write_bytes(text[:len(text) // 6])
        seen = []
        for choice in choices(quick):
            bits, plan = self.smallest(choice)
            if plan:
                _, kl, _ = study.measure(plan, screen)
                seen.append((bits, kl, choice, plan))
        seen.sort(key=lambda r: (r[0], r[1]))
        best, self.measured = float("inf"), []
        for bits, kl, choice, plan in seen:
            if kl < COMPARED * best:
                best = min(best, kl)
                self.measured.append((*study.measure(plan), choice, self.coder(plan)))
        log(f"{len(choices(quick))} uniform choices, {len(seen)} in reach, {len(self.measured)} "
            "measured on the whole text")

    @staticmethod
    def coder(plan):
        return next(t["codec"] for t in plan["tensors"] if t["levels"] is not None)

    def smallest(self, choice):
        """Bits and plan with the coder that takes least; no plan where that is out of reach."""
        best = (float("inf"), None)
        for codec in CODERS:
            plan = self.study.uniform(*choice, codec)
            key = "size " + json.dumps([*choice, codec])
            if key not in self.study.known:
                self.study.known[key] = self.study.bits(plan)
            best = min(best, (self.study.known[key], plan), key=lambda r: r[0])
            if not (in_reach(best[0]) or in_reach(best[0] - 0.3)):
                return best[0], None
        return best if in_reach(best[0]) else (best[0], None)

    def best(self, limit):
        return min((m for m in self.measured if m[0] <= limit), key=lambda m: m[1])

    def reaches(self, kl):
        """The smallest that is at least as good."""
        found = [m for m in self.measured if m[1] <= kl]
        return min(found, key=lambda m: m[0]) if found else None


def name_of(choice, coder):
    bits, kappa, group, clip = choice
    shown = "auto" if kappa is None else f"{kappa:g}"
    cut = "auto" if clip is None else f"{clip:g}"
    return f"{bits} bits, κ {shown}, scale a {group}, clip {cut}, {coder}"


def row(label, figures, note=""):
    bits, kl, error = figures[:3]
    return f"| {label} | {bits:.3f} | {kl:.3e} | {error:.0e} | {note} |"


def target_table(study, uniform, target, out):
    out(f"\n### {target} bits a weight\n")
    out("| what | bits | mean KL | standard error | |\n|---|---|---|---|---|")
    equal_plan = study.equal_sqnr(target)
    equal = study.measure(equal_plan)
    out(row("equal SQNR, nearest", equal))
    plans = {r: study.plan(target, r) for r in ("nearest", "feedback")}
    measured = {r: study.measure(p) for r, p in plans.items()}
    best = uniform.best(target + SLACK)
    for rounding, figures in measured.items():
        ratio = f"{figures[1] / equal[1]:.2f} of equal SQNR, {figures[1] / best[1]:.2f} of uniform"
        out(row(f"**plan, {rounding}**", figures, ratio))
    names = feedback_names(plans["feedback"])
    same = study.measure(with_rounding(plans["nearest"], "feedback", names))
    out(row("the nearest plan, rounded with feedback", same,
            f"{100 * (1 - same[1] / measured['nearest'][1]):.1f} % less than nearest"))
    same = study.measure(with_rounding(equal_plan, "feedback", names))
    out(row("equal SQNR, feedback", same,
            f"{100 * (1 - same[1] / equal[1]):.1f} % less than nearest"))
    out(row("best uniform of that size", uniform.best(target),
            name_of(*uniform.best(target)[3:])))
    out(row(f"best uniform of at most {SLACK} bit more", best, name_of(*best[3:])))
    for rounding, figures in measured.items():
        first = uniform.reaches(figures[1])
        label = f"first uniform that reaches the plan ({rounding})"
        if first:
            out(row(label, first, f"+{first[0] - figures[0]:.2f} bit; " + name_of(*first[3:])))
        else:
            out(f"| {label} | > {target + REACH:.1f} | | | |")
    hot = study.plan(target, "nearest", policy="default")
    out(row("plan of the serving policy (default.json), nearest", study.measure(hot)))


LINEAR_POLICY_RULES = [{"component": "not a linear layer", "treatment": "lossless",
                        "tensors": ["*embed*", "*lm_head*", "output.weight", "*norm*",
                                    "*freq_cis*"]}]


def linear_layers(study, target, out):
    """Linear layers alone; the target counts their payload, everything else being lossless."""
    policy = study.dir / "linear.json"
    shipped = json.loads((support.SOURCE_ROOT / "policy" / "archive.json").read_text())
    shipped["rules"] = LINEAR_POLICY_RULES + shipped["rules"]
    shipped["name"] = "linear layers"
    policy.write_text(json.dumps(shipped))
    elements = {t["name"]: int(np.prod(t["shape"])) for t in study.template["tensors"]}
    probe = study.plan(12.0, "nearest", policy=policy)
    linear = [t for t in probe["tensors"] if t["levels"] is not None]
    count = sum(elements[t["name"]] for t in linear)
    archive, report = study.convert(probe)
    inspected = json.loads(support.run_qins("inspect", archive, "--json", check=0).stdout)
    names = {t["name"] for t in linear}
    coded = sum(t["coded_bytes"] for t in inspected["tensors"] if t["name"] in names)
    size = int(report["archive_bytes"] - coded + target * count / 8)
    total = 8 * size / sum(elements.values())
    plans = {r: study.plan(None, r, policy=policy, size=size) for r in ("nearest", "feedback")}
    base = study.measure(study.equal_sqnr(total, template=probe))
    out(f"\n### Linear layers alone, {target} bits a weight of theirs\n")
    out("| what | bits of the archive | mean KL | standard error | |\n|---|---|---|---|---|")
    out(row("equal SQNR, nearest", base))
    for rounding, plan in plans.items():
        figures = study.measure(plan)
        out(row(f"plan, {rounding}", figures, f"{100 * (1 - figures[1] / base[1]):.1f} % less"))


def calibration_weighting(study, out):
    """κ and clip of each row-scaled matrix chosen for squared error and for the calibration's."""
    out("\n### Calibration weighting inside a tensor\n")
    out("κ and clip of each tensor for least squared error, and for least calibration-weighted "
        "error; a scale a row, packed.\n")
    out("| bits of a code | bits a weight | KL, squared | KL, weighted | standard error | change |"
        "\n|---|---|---|---|---|---|")
    chosen = {}
    for weighted in (False, True):
        folder = study.dir / f"analysis-{weighted:d}"
        more = ["--calibration", study.calibration] if weighted else []
        support.run_qins("analyze", study.model, *more, "-o", folder, "-q", check=0, timeout=600)
        report = json.loads((folder / "entropy_analysis.json").read_text())
        chosen[weighted] = {t["name"]: {r["bits"]: r["qins"] for r in t["fixed_rates"] or []}
                            for t in report["tensors"]}
    for bits in (3, 4, 5, 6):
        found = []
        for weighted in (False, True):
            def change(line, table=chosen[weighted], b=bits):
                best = table[line["name"]][b]
                return {"levels": 2 ** (b - 1) - 1, "kappa": best["kappa"], "clip": best["clip"],
                        "group": "row", "codec": "bitpack"}
            found.append(study.measure(study.edited(change)))
        (rate, squared, _), (_, weighted_kl, error) = found
        out(f"| {bits} | {rate:.3f} | {squared:.3e} | {weighted_kl:.3e} | {error:.0e} | "
            f"{100 * (weighted_kl / squared - 1):+.1f} % |")


def texts_of(model, folder):
    """Model, calibration text, held-out text."""
    shared = support.SHARED
    if model == "kjv-1.7m":
        return (support.MODEL, support.SOURCE_ROOT / "examples" / "kjv-calibration.txt",
                support.SOURCE_ROOT / "examples" / "kjv-heldout.txt")
    text = (shared / "text/tinystories.txt").read_bytes()
    calibration, heldout = folder / "first-300k.txt", folder / "last-100k.txt"
    calibration.write_bytes(text[:300_000])
    heldout.write_bytes(text[-100_000:])
    return shared / "models/stories260k/model.bin", calibration, heldout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("kjv-1.7m", "stories260k"), default="kjv-1.7m")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="few uniform choices")
    options = parser.parse_args()
    folder = options.work / options.model
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(*texts_of(options.model, folder), folder)
    study.remember_in(folder / "figures.json")
    study.calibrate()

    def log(line):
        print(line, file=sys.stderr, flush=True)

    def out(line):
        print(line, flush=True)

    out(f"## {options.model}")
    uniform = Uniform(study, options.quick, log)
    for target in TARGETS:
        target_table(study, uniform, target, out)
    linear_layers(study, min(TARGETS), out)
    calibration_weighting(study, out)


if __name__ == "__main__":
    main()
