"""qins pipeline: its steps, what it keeps of earlier runs, what it skips, its page."""
import json
import re
import signal
import subprocess

import numpy as np

import model_fixtures
import support
from test_analyze import copy_two_layers

HELDOUT = support.SOURCE_ROOT / "examples" / "kjv-heldout.txt"
STEPS = ["calibrate", "transport", "plan", "convert", "verify", "validate-kv-8", "validate-kv-6",
         "analyze", "validate", "validate-transport", "gate"]
RUN_THE_MODEL = {"calibrate", "transport", "validate-kv-8", "validate-kv-6", "validate",
                 "validate-transport"}
# An analysis takes as long as there are matrices: phi3 has few.
SIZES = {"llama": {"head_dim": 32},
         "phi3": {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}}
# gnuplot draws the same under sanitizers.
DRAWN = support.SANITIZER == "none"
PSALM = "In the beginning God created the heaven and the earth."


def expected(rest="done", model=None, **some):
    """The status of every step: SOME of them (with _ for -), those that run the model, the rest."""
    named = {name.replace("_", "-"): status for name, status in some.items()}
    return [named.get(s, model if model and s in RUN_THE_MODEL else rest) for s in STEPS]


class Folder(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = cls.dir / "source.safetensors"
        rng = np.random.default_rng(3)
        support.write_safetensors(cls.source, {
            "up.weight": ("F32", (96, 64), [rng.standard_normal((96, 64)).astype("<f4").tobytes()]),
            "norm.weight": ("F32", (64,), [np.ones(64, "<f4").tobytes()]),
            "ids": ("I64", (5,), [np.arange(5, dtype="<i8").tobytes()]),
        })

    def text(self, name, content):
        path = self.dir / name
        path.write_text(content)
        return path

    def valid(self, name, text):
        report = json.loads(text)
        support.validate(report, name)
        return report

    def pipeline(self, *arguments, plots=False):
        """The statuses of its steps, and its report."""
        env = None if plots else support.without_gnuplot(self.dir)
        done = support.run_qins("pipeline", *arguments, "--json", check=0, env=env)
        for line in done.stderr.splitlines():
            self.assertTrue(line.startswith("qins: note: "), line)
        report = self.valid("pipeline", done.stdout)
        self.assertTrue(report["ok"])
        self.assertEqual([s["name"] for s in report["steps"]], STEPS)
        return [s["status"] for s in report["steps"]], report

    def model(self, name, tokenizer=True, kind="llama", **changes):
        """A tiny model that reads what the example's tokenizer makes."""
        folder = self.dir / name
        config, tensors = model_fixtures.make(kind, vocab_size=2048, num_hidden_layers=1,
                                              hidden_size=36, **SIZES[kind])
        model_fixtures.write_folder(folder, {**config, **changes}, tensors)
        if tokenizer:
            (folder / "tokenizer.json").write_bytes(
                (support.MODEL / "tokenizer.json").read_bytes())
        return folder


class Checkpoint(Folder):
    """What is no language model."""

    def test_steps_and_what_is_kept(self):
        out = self.dir / "run"
        arguments = [self.source, "--text", self.text("text", "In the beginning"), "-o", out]
        done, kept = (expected(rest, model="skipped") for rest in ("done", "kept"))
        statuses, report = self.pipeline(*arguments, plots=DRAWN)
        self.assertEqual(statuses, done)
        self.assertIn("config.json", report["steps"][0]["reason"])
        archive = (out / "model.qins").read_bytes()
        for name in ("convert", "verify", "plan"):
            self.valid(name, (out / f"{name}.json").read_text())
        self.valid("entropy_analysis", (out / "analysis/entropy_analysis.json").read_text())
        self.assertEqual(self.pipeline(*arguments)[0], kept)
        damaged = bytearray(archive)
        damaged[len(archive) // 2] ^= 1
        (out / "model.qins").write_bytes(damaged)
        self.assertEqual(self.pipeline(*arguments)[0],
                         expected("kept", "skipped", convert="done", verify="done", gate="done"))
        self.assertEqual((out / "model.qins").read_bytes(), archive)
        self.assertEqual(sorted(p.name for p in out.iterdir()),
                         ["analysis", "convert.json", "index.html", "model.qins", "plan.json",
                          "review", "verify.json"])
        page = (out / "index.html").read_text()
        self.assertIn("up.weight", page)
        self.assertIsNone(re.search(r"<script|https?://|<link", page))
        done = support.run_qins("pipeline", self.source, "--text", self.dir / "none", "-o", out,
                                check=4)
        self.assertEqual(done.stderr.count("\n"), 1)

    def test_one_coding_by_hand(self):
        out, plain = self.dir / "by-hand", self.dir / "plain.qins"
        arguments = [self.source, "--text", self.text("some", PSALM), "-o", out]
        statuses, report = self.pipeline(*arguments, "--bits", "4")
        self.assertEqual(statuses, expected(model="skipped", plan="skipped"))
        self.assertIn("one coding", report["steps"][2]["reason"])
        self.assertFalse((out / "plan.json").exists())
        self.assertIn("plan skipped", (out / "index.html").read_text())
        support.run_qins("convert", self.source, "-o", plain, "--bits", "4", check=0)
        self.assertEqual((out / "model.qins").read_bytes(), plain.read_bytes())
        for planned in (["--target-bits", "4.5"], ["--policy", "archive"], ["--max-error", "0.01"]):
            done = support.run_qins("pipeline", *arguments, "--bits", "4", *planned, check=2)
            self.assertIn(planned[0], done.stderr)
        nothing = self.dir / "unknown-test"
        done = support.run_qins("pipeline", *arguments[:-1], nothing, "--tests", "perplexity,foo", check=2)
        self.assertIn("unknown test 'foo'", done.stderr)
        self.assertFalse(nothing.exists())
        wide = self.dir / "wide.txt"
        wide.write_text(PSALM, encoding="utf-16-le")
        for texts in (["--text", wide], ["--text", arguments[2], "--heldout", wide]):
            done = support.run_qins("pipeline", self.source, *texts, "-o", nothing, check=3)
            self.assertIn("wide.txt: offset 1: a NUL", done.stderr)
            self.assertFalse(nothing.exists())

    def test_a_plan_edited_by_hand(self):
        out = self.dir / "edited"
        arguments = [self.source, "--text", self.text("edit", PSALM), "-o", out]
        self.pipeline(*arguments)
        plan = json.loads((out / "plan.json").read_text())
        line = next(t for t in plan["tensors"] if t["name"] == "up.weight")
        line.pop("blocks", None)
        line.update(levels=15, bits=5, kappa=0, clip=1, codec="huffman", rounding="nearest",
                    **{"class": "cold", "reason": "because I say so"})
        (out / "plan.json").write_text(json.dumps(plan))
        self.assertEqual(self.pipeline(*arguments)[0],
                         expected(model="skipped", plan="kept"))
        made = json.loads((out / "convert.json").read_text())["tensors"]
        found = next(t for t in made if t["name"] == "up.weight")
        self.assertEqual((found["levels"], found["codec"], found["reason"]),
                         (15, "huffman", "because I say so"))
        # Other options make another plan.
        self.assertEqual(self.pipeline(*arguments, "--target-bits", "9")[0],
                         expected(model="skipped"))
        self.assertNotIn("because I say so", (out / "plan.json").read_text())


class Model(Folder):
    def test_a_model_that_runs(self):
        out = self.dir / "model-run"
        size = support.less(3000, 1500)
        text = self.text("few.txt", HELDOUT.read_text()[:size])
        heldout = self.text("other.txt", HELDOUT.read_text()[size:2 * size])
        arguments = [self.model("tiny"), "--text", text, "--heldout", heldout, "-o", out,
                     "--context", "64", "--tests", "perplexity"]

        def statuses(expected, *more, plots=False):
            found, report = self.pipeline(*arguments, *more, plots=plots)
            self.assertEqual(found, expected)
            return report

        report = statuses(expected(), plots=DRAWN)
        self.assertEqual(report["heldout"], str(heldout))
        calibration = self.valid("calibrate", (out / "calibrate.json").read_text())
        self.assertTrue(calibration["gram"])
        self.assertEqual(len(calibration["sensitivity"]["tensors"]), 9)
        validation = self.valid("validation", (out / "validation.json").read_text())
        self.assertEqual(validation["text"]["path"], str(heldout))
        figures = validation["tests"]["perplexity"]
        self.assertEqual(figures["context"], 64)
        self.assertGreater(figures["kl"]["mean"], 0)
        page = (out / "index.html").read_text()
        for shown in (f"{figures['candidate']['perplexity']:.4f}", f"{figures['kl']['mean']:.3g}",
                      f"{figures['difference']['perplexity_ratio']:.6f}", "<h1>tiny</h1>"):
            self.assertIn(shown, page)
        widest = max(calibration["points"], key=lambda p: max(-p["min"], p["max"]) / p["rms"])
        self.assertIn(f"<tr><td>{widest['name']}</td>", page)
        transport = self.valid("transport", (out / "transport.json").read_text())
        self.assertEqual([layer["projection"] for layer in transport["layers"]], ["v_proj"])
        native = self.valid("validation", (out / "validation-transport.json").read_text())
        self.assertEqual(native["tests"]["perplexity"]["candidate"]["compute"]["per_forward"]
                         ["encodes"], 1)
        self.assertIn(f"{native['tests']['perplexity']['candidate']['perplexity']:.4f}", page)
        links = [link.split("#")[0] for link in re.findall(r'<a href="([^"]+)"', page)]
        self.assertTrue(all((out / link).exists() for link in links))
        self.assertIn("analysis/index.html", links)
        self.assertEqual(sorted({link.split("/")[0] for link in links} | {"index.html"}),
                         sorted(p.name for p in out.iterdir()))
        archive = json.loads((out / "convert.json").read_text())["archive_hash"]
        self.assertEqual(validation["candidate"]["archive_hash"], archive)
        kept = expected("kept")
        statuses(kept)
        new_archive = {s: "done" for s in ("convert", "verify", "analyze", "validate", "gate")}
        statuses(expected("kept", plan="skipped", **new_archive), "--bits", "4")
        statuses(expected("kept", **new_archive))
        (out / "transport.h5").unlink()
        statuses(expected("kept", transport="done", validate_transport="done", gate="done"))
        (out / "calibration.h5").write_bytes(b"other")
        # Rounding with feedback reads it: a new file, a new archive.
        statuses(expected(plan="kept", validate_kv_8="kept", validate_kv_6="kept"))
        heldout.write_text(PSALM)
        # Shorter windows, for calibration too; they fill no page of a V cache.
        statuses(expected(validate_kv_8="skipped", validate_kv_6="skipped"))


class Review(Folder):
    def test_from_a_model_to_a_verdict(self):
        """All of it, interrupted and gone on with; what --strict says; what an edited report does."""
        out = self.dir / "review-run"
        calibration = support.SOURCE_ROOT / "examples" / "kjv-calibration.txt"
        text = self.text("calibration.txt", calibration.read_text()[:1500])
        # So many tokens that gates take it as evidence.
        heldout = self.text("heldout.txt", HELDOUT.read_text()[:6000])
        # Under sanitizers a model so small that there is no time to interrupt it.
        large = support.SANITIZER == "none"
        model = self.dir / "layers" if large else self.model("small")
        if large:
            copy_two_layers(model)
        arguments = ["pipeline", model, "--text", text, "--heldout", heldout, "-o", out, "--context", "64", "--tokens", "60",
                     "--target-bits", "9"]
        environment = support.without_gnuplot(self.dir)
        if large:
            self.interrupt([support.PROGRAM, *arguments, "--quiet"], out, environment)
        statuses, report = self.pipeline(*arguments[1:])
        self.assertEqual(dict(zip(STEPS, statuses))["convert"], "kept" if large else "done")
        self.assertEqual(dict(zip(STEPS, statuses))["validate"], "done")
        self.assertLessEqual({s for s, status in zip(STEPS, statuses) if status == "skipped"},
                             {"transport", "validate-transport"})
        self.assertFalse((out / "validation.json.part").exists())
        validation = self.valid("validation", (out / "validation.json").read_text())
        self.assertEqual(set(validation["tests"]), {"consistency", "autoregressive", "sampling",
                                                    "perplexity", "long_context"})
        self.assertEqual(validation["tests"]["autoregressive"]["tokens"], 60)
        review = self.valid("gate_review", (out / "review/gate_review.json").read_text())
        self.assertEqual((report["passed"], report["decision"]),
                         (review["passed"], review["decision"]))
        self.assertFalse(review["passed"])
        page = (out / "review/index.html").read_text().replace("<wbr>", "")
        self.assertTrue(heldout.name in page)
        self.assertTrue('href="review/index.html"' in (out / "index.html").read_text())
        by_id = {g["id"]: g for g in review["gates"]}
        self.assertEqual(self.status(by_id, "c-kl"), "pass")
        # There is no benchmark in a pipeline.
        self.assertEqual(by_id["3-4"]["status"], "blocked" if by_id["2-3"]["status"] != "pass"
                         else "not_run")

        # The same command again is quick, and the verdict decides with --strict alone.
        strict = support.run_qins(*arguments, "--strict", "--json", check=1, env=environment)
        self.assertIn("review/index.html", strict.stderr)
        again = self.valid("pipeline", strict.stdout)
        self.assertEqual({s["status"] for s in again["steps"]} - {"skipped"}, {"kept"})

        validation["tests"]["sampling"]["kl"]["model_candidate"]["mean"] = 9.5
        (out / "validation.json").write_text(json.dumps(validation))
        statuses, report = self.pipeline(*arguments[1:])
        self.assertEqual([s for s, status in zip(STEPS, statuses) if status == "done"], ["gate"])
        judged = json.loads((out / "review/gate_review.json").read_text())
        by_id = {g["id"]: g for g in judged["gates"]}
        self.assertEqual(self.status(by_id, "c-kl"), "fail")
        self.assertEqual(by_id["pattern-a"]["status"], "fail")
        self.assertEqual({by_id[g]["status"] for g in by_id if g != "pattern-a"}, {"blocked"})
        self.assertIn("Pattern A does not pass", report["decision"])
        self.assertEqual(judged["number"], review["number"] + 1)

    def interrupt(self, command, out, environment):
        """In the middle of the archive's validation."""
        part = out / "validation.json.part"
        for _ in range(5):  # the step may be over before the signal comes
            run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
            support.wait_for_work(run, part, 5001)
            run.send_signal(signal.SIGINT)
            said = run.communicate()[1]
            if not (out / "validation.json").exists():
                break
            (out / "validation.json").unlink()
        self.assertEqual(run.returncode, 130, said)
        self.assertTrue(part.exists())
        self.assertFalse((out / "validation.json").exists())

    def status(self, gates, criterion):
        return next(c["status"] for c in gates["pattern-a"]["criteria"] if c["id"] == criterion)


class CannotRun(Folder):
    def skipped(self, model, *words, more=()):
        """The model is converted all the same; no text is run through it, for a reason."""
        out = self.dir / f"{model.name}-run"
        statuses, report = self.pipeline(model, "--text", HELDOUT, "-o", out, "--bits", "8", *more)
        self.assertEqual(statuses, expected(model="skipped", plan="skipped"))
        for step in report["steps"]:
            if step["name"] not in RUN_THE_MODEL:
                continue
            for word in words:
                self.assertIn(word, step["reason"])
            self.assertNotIn("--ids", step["reason"])
        self.assertEqual(sorted(p.name for p in out.iterdir()),
                         ["analysis", "convert.json", "index.html", "model.qins", "review",
                          "verify.json"])
        self.assertIn(words[0], (out / "index.html").read_text())

    def test_models_that_cannot_run(self):
        renamed = self.model("renamed", kind="phi3")
        weights = (renamed / "model.safetensors").read_bytes()
        self.assertEqual(weights.count(b'"model.norm.weight"'), 1)
        (renamed / "model.safetensors").write_bytes(
            weights.replace(b'"model.norm.weight"', b'"model.mron.weight"'))
        self.skipped(renamed, "model.norm.weight", "missing")
        self.skipped(self.model("layers", kind="phi3", num_hidden_layers=2), "model.layers.1")
        self.skipped(self.model("activation", kind="phi3", hidden_act="tanhshrink"), "hidden_act")
        gguf = self.model("gguf")
        (gguf / "model.safetensors").unlink()
        archive = self.dir / "source.qins"
        support.run_qins("convert", self.source, "-o", archive, check=0)
        support.run_qins("restore", archive, "-o", gguf / "model.gguf", check=0)
        self.skipped(gguf, "GGUF")

    def test_a_tokenizer_elsewhere(self):
        bare = self.model("bare", tokenizer=False, kind="phi3")
        self.skipped(bare, "without a tokenizer: give --tokenizer")
        tokenizer, text = self.dir / "tokenizer.json", self.text("short.txt", PSALM)
        tokenizer.write_bytes((support.MODEL / "tokenizer.json").read_bytes())
        arguments = [bare, "--text", text, "-o", self.dir / "bare-run", "--tokenizer", tokenizer,
                     "--bits", "8", "--tests", "perplexity"]
        none = {s: "skipped" for s in ("transport", "plan", "validate_transport", "validate_kv_8",
                                       "validate_kv_6")}
        again = expected(**none, convert="kept", verify="kept")
        for statuses_then in (again, expected("kept", **none)):
            statuses, report = self.pipeline(*arguments)
            self.assertEqual(statuses, statuses_then)
            self.assertIn("rows", report["steps"][1]["reason"])
            self.assertIn("fill no page", report["steps"][5]["reason"])
        tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text())))
        self.assertEqual(self.pipeline(*arguments)[0], again)
        # Tokens that the model does not have show only when the text is read.
        other = json.loads(tokenizer.read_text())
        other["model"]["vocab"]["zq"] = 5000
        other["model"]["merges"].append("z q" if isinstance(other["model"]["merges"][0], str)
                                        else ["z", "q"])
        tokenizer.write_text(json.dumps(other))
        text.write_text("God " * 40000 + "zq")
        (self.dir / "bare-run" / "validation.json").unlink()
        statuses, report = self.pipeline(*arguments)
        self.assertEqual(statuses, expected(model="skipped", plan="skipped", convert="kept",
                                            verify="kept"))
        self.assertIn("5000", report["steps"][0]["reason"])


if __name__ == "__main__":
    support.main()
