"""Whether a model can compute on coded inputs: the study behind docs/transport.md.

Everything is done by the built program: calibrations, fits, validation, generation, counts. INT8
and stages are transports too, so that all go the same way through the same code.

    QINS_PROGRAM=build/cli/qins QINS_SHARED_DATA=../shared/data \\
        python3 tests/studies/transport.py --model kjv-1.7m --work /tmp/study [--plots docs/img]

It prints Markdown. What was made is kept in the --work folder and taken from there when the study
is run again: empty it when fits or layers change.
"""
import argparse
import json
import math
import pathlib
import sys

import h5py
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[0] / "e2e")]
import support  # noqa: E402
import transport_plots  # noqa: E402

ROWS, FEW_ROWS = 4096, 256
CALIBRATION_BYTES = 300_000  # of tinystories; the rest is held out
HELD_BYTES = 100_000
PROMPTS, PROMPT_WORDS, TOKENS = 10, 8, 100
COUNT_TOKENS = 64
# The seeds' order of extension.
STAGES = ("v_proj", "o_proj", "down_proj", "gate_proj", "up_proj")
ONE_LAYER = 2


class Study:
    """One model, its texts, and a folder for what is made."""

    def __init__(self, name, folder):
        self.dir = pathlib.Path(folder) / name
        self.dir.mkdir(parents=True, exist_ok=True)
        if name == "kjv-1.7m":
            self.model, self.context = support.MODEL, ["--context", 256]
            self.text = support.SOURCE_ROOT / "examples/kjv-calibration.txt"
            self.heldout = support.SOURCE_ROOT / "examples/kjv-heldout.txt"
            return
        whole = (support.SHARED / "text/tinystories.txt").read_bytes()
        self.model, self.context = support.SHARED / "models/stories260k/model.bin", []
        self.text, self.heldout = self.dir / "calibration.txt", self.dir / "heldout.txt"
        self.text.write_bytes(whole[:CALIBRATION_BYTES])
        self.heldout.write_bytes(whole[-HELD_BYTES:])

    def calibration(self, rows):
        out = self.dir / f"calibration-{rows}.h5"
        if not out.exists():
            support.run_qins("calibrate", self.model, "--text", self.text, "--keep-rows", rows,
                             "-q", "-o", out, check=0, timeout=1800)
        return out

    def transport(self, name, *arguments, rows=ROWS):
        out = self.dir / f"{name}.h5"
        if not out.exists():
            support.run_qins("transport", self.model, "--calibration", self.calibration(rows),
                             *arguments, "-q", "-o", out, check=0, timeout=7200)
        return out

    def report(self, name):
        return json.loads((self.dir / f"{name}.json").read_text())

    def validate(self, transport, *text):
        """tests.perplexity of validation.json."""
        known = self.dir / f"validate-{transport.stem}.json"
        if text or not known.exists():
            text = text or ("--text", self.heldout, *self.context)
            done = support.run_qins("validate", self.model, "--transport", transport, *text,
                                    "--tests", "perplexity", "--json", check=0, timeout=1800)
            if "--ids" in text:
                return json.loads(done.stdout)["tests"]["perplexity"]
            known.write_text(done.stdout)
        return json.loads(known.read_text())["tests"]["perplexity"]

    def generate(self, prompt, transport=None):
        native = ["--transport", transport] if transport else []
        done = support.run_qins("generate", self.model, *native, "--prompt", prompt, "--tokens",
                                TOKENS, "--temperature", 0, "--json", check=0)
        return json.loads(done.stdout)["ids"]

    def prompts(self):
        lines = [line for line in self.heldout.read_text(errors="replace").splitlines()[1:]
                 if len(line.split()) > PROMPT_WORDS]
        step = len(lines) // PROMPTS
        return [" ".join(line.split()[:PROMPT_WORDS]) for line in lines[:PROMPTS * step:step]]

    def part_of(self, source, name, keep, decoded=False):
        """SOURCE with those layers alone that KEEP wants; DECODED: Pattern A of the same."""
        out = self.dir / f"{name}.h5"
        with h5py.File(source) as f:
            meta = json.loads(f["meta"][()].tobytes())
            coefficients = [f[f"inputs/{i}/coefficients"][()] for i in range(len(meta["inputs"]))]
        layers = [layer for layer in meta["layers"] if keep(layer)]
        used = sorted({layer["input"] for layer in layers})
        with h5py.File(out, "w") as f:
            for number, i in enumerate(used):
                if decoded:
                    meta["inputs"][i].update(method="decode", order=0)
                else:
                    f[f"inputs/{number}/coefficients"] = coefficients[i]
            meta.update(study=None, inputs=[meta["inputs"][i] for i in used],
                        layers=[{**layer, "input": used.index(layer["input"])}
                                for layer in layers])
            f["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        return out


def table(heads, rows):
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")


def line(layer, **wanted):
    for one in layer["methods"]:
        if all(one[key] == value for key, value in wanted.items()):
            return one
    raise KeyError(wanted)


def layer_figures(layer):
    """Relative errors on test rows by what a table calls them."""
    at_max = {"clip": 1, "choice": "fixed"}
    split = {"method": "split", "sign_plane": False, **at_max}
    sign = {"method": "split", "sign_plane": True, **at_max}
    lines = {
        "decoded, κ 1": line(layer, method="decode", kappa=1, **at_max),
        "split K 3, κ 1": line(layer, order=3, kappa=1, **split),
        "decoded, κ 3": line(layer, method="decode", kappa=3, **at_max),
        "split K 4, κ 3": line(layer, order=4, kappa=3, **split),
        "K 2 + sign, κ 1": line(layer, order=2, kappa=1, **sign),
        "K 3 + sign, κ 3": line(layer, order=3, kappa=3, **sign),
        "split, searched": line(layer, method="split", choice="best"),
        "ridge, searched": line(layer, method="ridge", choice="best"),
        "INT8": line(layer, method="decode", kappa=0, clip=1, choice="fixed"),
        "INT8, best clip": line(layer, method="decode", kappa=0, choice="order"),
        "tangent, κ 1": line(layer, method="jacobian-tangent", kappa=1, choice="fixed"),
        "literal, κ 1": line(layer, method="jacobian-literal", kappa=1, choice="fixed",
                             output_decoded=True),
        "without D": line(layer, method="jacobian-literal", kappa=1, choice="fixed",
                          output_decoded=False),
    }
    return {key: one["relative_error_test"] for key, one in lines.items()}


def study_layers(study):
    """Done-when 1."""
    study.transport("study", "--layers", "v_proj,down_proj", "--method", "all")
    layers = study.report("study")["layers"]
    found = [(layer, layer_figures(layer)) for layer in layers]
    heads = list(found[0][1])
    table(["layer", *heads], [[layer["name"].removesuffix(".weight"), *(f"{x:.2e}" for x in
                                                                        figures.values())]
                              for layer, figures in found])
    rows = []
    for role in ("v_proj", "down_proj"):
        of_role = [figures for layer, figures in found if layer["projection"] == role]
        mean = {key: math.exp(np.mean([math.log(f[key]) for f in of_role])) for key in heads}
        rows.append([role, *(f"{100 * mean[key]:.3g}" for key in heads)])
    table(["geometric mean, %", *heads], rows)
    for k, kappa in ((3, 1), (4, 3)):
        ratios = [f[f"split K {k}, κ {kappa}"] / f[f"decoded, κ {kappa}"] for _, f in found]
        print(f"\nK {k} over decoded at κ {kappa}: {min(ratios):.3f} to {max(ratios):.3f}")
    worse = [layer["name"] for layer in layers
             if line(layer, method="ridge", choice="best")["relative_error_select"] >
             line(layer, method="split", choice="best")["relative_error_select"]]
    print(f"\nridge worse than split on select rows: {worse or 'nowhere'}; better (not the "
          f"fallback) for {sum(not line(x, method='ridge', choice='best')['fallback'] for x in layers)}"
          f" of {len(layers)} layers")
    return layers


def model_row(label, found):
    kl, difference = found["kl"], found["difference"]
    match = kl["same_top1"]
    return [label, f"{100 * match:.2f} ± {100 * math.sqrt(match * (1 - match) / kl['tokens']):.2f}",
            f"{100 * (difference['perplexity_ratio'] - 1):+.3f} ± "
            f"{100 * difference['standard_error']:.3f}",
            f"{kl['mean']:.2e} ± {kl['standard_error']:.0e}",
            "{clipped_values} of {coded_values}".format(**found["candidate"]["compute"]),
            kl["tokens"]]


def study_models(study):
    """Done-when 2."""
    split = study.transport("all", "--layers", "all")
    int8 = ("--method", "decode", "--kappa", 0, "--layers", "all")
    fixed = ("--layers", "all", "--kappa", 3, "--clip", 1)
    rows = [
        ("every v_proj", study.transport("v", "--layers", "v_proj")),
        ("all", split),
        ("all, decoded before the product", study.transport("decode", "--layers", "all",
                                                            "--method", "decode")),
        ("all, INT8 at its best clip", study.transport("int8", *int8)),
        ("all, κ 3, s at max: K 2", study.transport("k2", *fixed, "--order", 2)),
        ("all, κ 3, s at max: K 3", study.transport("k3", *fixed, "--order", 3)),
        ("all, κ 3, s at max: K 4", study.transport("k4", *fixed, "--order", 4)),
        ("all, κ 3, s at max: decoded", study.transport("d3", *fixed, "--method", "decode")),
        (f"all, {FEW_ROWS} rows", study.transport("few", "--layers", "all", rows=FEW_ROWS)),
    ]
    table(["native", "same top-1, %", "perplexity, %", "KL, nats", "clipped", "tokens"],
          [model_row(label, study.validate(path)) for label, path in rows])


def study_generation(study):
    """Done-when 3."""
    of_all = study.transport("all", "--layers", "all")
    one = study.part_of(study.transport("v", "--layers", "v_proj"), "one",
                        lambda layer: layer["layer"] == ONE_LAYER)
    stages = {f"v_proj of layer {ONE_LAYER}": one, "every v_proj": study.dir / "v.h5",
              "all": of_all}
    prompts = study.prompts()
    plain = [study.generate(prompt) for prompt in prompts]
    rows = []
    for label, path in stages.items():
        first, same, total = [], 0, 0
        for prompt, ids in zip(prompts, plain):
            got = study.generate(prompt, path)
            length = min(len(ids), len(got))
            apart = [i for i in range(length) if ids[i] != got[i]]
            first.append(apart[0] if apart else None)
            same += length - len(apart)
            total += length
        rows.append([label, f"{sum(x is None for x in first)} of {len(prompts)}",
                     ", ".join("–" if x is None else str(x) for x in first),
                     f"{100 * same / total:.1f} %"])
    table(["native", "texts alike", "first token that differs", "tokens at the same place alike"],
          rows)


def study_counts(study):
    """Done-when 4: a forward pass of a few tokens, as the program counts it."""
    ids = study.dir / "ids.npy"
    np.save(ids, np.arange(3, 3 + COUNT_TOKENS + 1, dtype=np.int64))
    of_all = study.transport("all", "--layers", "all")
    stages = [(f"v_proj of layer {ONE_LAYER}",
               lambda layer: layer["layer"] == ONE_LAYER and layer["projection"] == "v_proj")]
    for n in range(1, len(STAGES) + 1):
        stages.append(("every v_proj" if n == 1 else "and " + STAGES[n - 1],
                       lambda layer, n=n: layer["projection"] in STAGES[:n]))
    rows = []
    for label, keep in stages:
        counts = [study.validate(study.part_of(of_all, "stage", keep, decoded), "--ids", ids,
                                 "--context", COUNT_TOKENS)["candidate"]["compute"]["per_forward"]
                  for decoded in (True, False)]
        rows.append([label, *(f"{counts[0][key]:g}" for key in ("encodes", "decodes", "products")),
                     *(f"{counts[1][key]:g}" for key in ("encodes", "decodes", "plane_products",
                                                         "products"))])
    table(["native", "A: encodes", "A: decodes", "A: products", "B: encodes", "B: decodes",
           "B: plane products", "B: other products"], rows)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", choices=("kjv-1.7m", "stories260k"), default="kjv-1.7m")
    options.add_argument("--work", required=True)
    options.add_argument("--plots", help="folder for pictures")
    options.add_argument("--parts", default="layers,models,generation,counts")
    given = options.parse_args()
    study = Study(given.model, given.work)
    print(f"## {given.model}")
    parts = given.parts.split(",")
    if "layers" in parts:
        layers = study_layers(study)
        if given.plots:
            transport_plots.write(pathlib.Path(given.plots), layers, study.calibration(ROWS))
    for name, part in (("models", study_models), ("generation", study_generation),
                       ("counts", study_counts)):
        if name in parts:
            part(study)


if __name__ == "__main__":
    main()
