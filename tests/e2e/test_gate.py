"""qins gate: every status, decisions that change with the evidence, and what is refused."""
import copy
import json
import pathlib
import tempfile
import unittest

import gate_evidence
import support

GATES = support.SOURCE_ROOT / "analyze" / "gates.json"
ORDER = ["pattern-a", "1-2", "2-3", "3-4", "4-5", "5-6", "6-production"]


class Gates(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="qins-gate-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.evidence = self.dir / "evidence"
        self.reports = gate_evidence.reports()
        (self.dir / "none").mkdir()

    def run_gate(self, *arguments, out="review", **options):
        """Pictures take seconds and are test_review's."""
        return support.run_qins("gate", "--evidence", self.evidence, "-o", self.dir / out,
                                *arguments, env=support.without_gnuplot(self.dir / "none"),
                                **options)

    def review(self, *arguments, check=1, out="review"):
        gate_evidence.write(self.evidence, self.reports)
        self.printed = self.run_gate(*arguments, out=out, check=check).stdout
        review = json.loads((self.dir / out / "gate_review.json").read_text())
        support.validate(review, "gate_review")
        self.gates = {g["id"]: g for g in review["gates"]}
        self.criteria = {f"{g['id']}/{c['id']}": c for g in review["gates"] for c in g["criteria"]}
        self.ship = {s["id"]: s for s in review["ship"]}
        for c in self.criteria.values():
            self.assertEqual(c["passed"], {"pass": True, "fail": False}.get(c["status"]))
            self.assertEqual(c["reason"] is None, c["status"] != "not_run")
        return review

    def statuses(self, key="status"):
        return [self.gates[g][key] for g in ORDER]

    def part(self, name, *keys):
        """The object of a report that holds the last of KEYS."""
        at = self.reports[name]
        for key in keys:
            at = at[key]
        return at


class Statuses(Gates):
    def test_all_pass(self):
        review = self.review(check=0)
        self.assertTrue(review["passed"])
        self.assertEqual(list(self.gates), ORDER)
        self.assertEqual(self.statuses(), ["pass"] * 7)
        self.assertEqual(review["summary"]["gates"],
                         {"pass": 7, "fail": 0, "not_run": 0, "blocked": 0})
        self.assertIn("production", review["decision"])
        self.assertTrue(all(s["ready"] for s in review["ship"]))
        self.assertEqual([m["fingerprint"] for m in review["models"]], [gate_evidence.MODEL])
        self.assertEqual([t["name"] for t in review["texts"]], ["text.txt", "heldout.txt"])
        self.assertEqual([p["name"] for p in review["prompts"]], ["shipped"])
        self.assertEqual(review["conflicts"], [])
        self.assertIn("decision: Every gate passed", self.printed)
        for gate in self.gates.values():
            self.assertTrue(gate["source"]["file"].endswith(".md"))
            for c in gate["criteria"]:
                self.assertTrue(c["command"].startswith("qins "), c["command"])

    def test_figures(self):
        self.review(check=0)
        value = lambda c: self.criteria[c]["value"]
        self.assertAlmostEqual(value("pattern-a/d-perplexity"), 27.6 * 0.003)
        self.assertEqual(value("pattern-a/e-match"), 0.985)
        self.assertEqual(value("2-3/v-error"), 0.005)
        # Tensor a whole, half of e, of 1100 weights; each by its own bits.
        self.assertAlmostEqual(value("3-4/cold-share"), 450 / 1100)
        self.assertAlmostEqual(value("3-4/cold-ratio"), 32 * 450 / (400 * 4 + 50 * 5))
        self.assertAlmostEqual(value("6-production/final-ratio"), 32 / 5.2)
        self.assertEqual(value("5-6/mlp-all"), 1)
        self.assertEqual(value("5-6/combined"), 1)
        match = self.criteria["2-3/v-all-match"]
        self.assertEqual((match["value_text"], match["threshold_text"], match["standard_error"]),
                         ("97.5 %", "> 90 %", 0.002))
        self.assertEqual(match["beside"][0]["value"], 0.45)

    def test_no_evidence(self):
        """Not one criterion passes on nothing."""
        self.reports = {}
        self.evidence.mkdir()
        review = self.review()
        self.assertFalse(review["passed"])
        self.assertEqual(self.statuses(), ["not_run"] + ["blocked"] * 6)
        self.assertEqual(self.statuses("alone"), ["not_run"] * 7)
        for c in self.criteria.values():
            self.assertEqual((c["status"], c["value"], c["evidence"]), ("not_run", None, None))
            self.assertIn("no evidence", c["reason"])
        self.assertTrue(all(s["ready"] is None for s in review["ship"]))
        self.assertEqual(review["fallback"], "nothing yet")

    def test_each_report_is_needed(self):
        reported = ("kv/8.json", "native/mlp-single.json", "bench/memory.json")  # for what is only reported
        needed = [name for name in gate_evidence.reports() if name not in reported]
        for name in support.less(needed, needed[::4]):
            with self.subTest(name):
                self.reports = gate_evidence.reports()
                del self.reports[name]
                for old in self.evidence.rglob("*.json"):
                    old.unlink()
                self.review()
                self.assertIn("not_run", self.statuses())

    def test_one_criterion_fails(self):
        """That gate fails, later ones are blocked, and the decisions change."""
        before = copy.deepcopy(self.review(check=0)["decision"])
        self.part("native/v-all.json", "tests", "perplexity", "kl")["same_top1"] = 0.89
        review = self.review()
        self.assertEqual(self.statuses(), ["pass"] * 2 + ["fail"] + ["blocked"] * 4)
        self.assertEqual(self.statuses("alone")[3:], ["pass"] * 4)
        self.assertEqual(self.gates["3-4"]["blocked_by"], ["2-3"])
        self.assertEqual(self.gates["4-5"]["blocked_by"], ["2-3", "3-4"])
        self.assertIn("stop Pattern B and ship Pattern A only", self.gates["2-3"]["decision"])
        self.assertIn("89 %", self.gates["2-3"]["decision"])
        self.assertEqual(self.gates["2-3"]["fallback"], "Pattern A only")
        self.assertTrue(self.gates["3-4"]["decision"].startswith(
            'Blocked by "Gate 2 → 3: V path validated". Were all before it passed: Hot and cold'))
        self.assertIsNone(self.gates["3-4"]["fallback"])
        self.assertNotEqual(review["decision"], before)
        self.assertIn("ship Pattern A only", review["decision"])
        self.assertIs(self.ship["v-path"]["ready"], False)
        self.assertIs(self.ship["native"]["ready"], False)  # whatever it would be alone
        self.assertEqual([self.ship[s]["blocked"] for s in ("pattern-a", "v-path", "native")],
                         [False, False, True])
        self.assertIs(self.ship["pattern-a"]["ready"], True)

    def test_first_gate_blocks_all(self):
        self.part("validation.json", "tests", "sampling", "kl", "model_candidate")["mean"] = 0.3
        review = self.review()
        self.assertEqual(self.statuses(), ["fail"] + ["blocked"] * 6)
        self.assertEqual(review["fallback"], "lossless Pattern A only")

    def test_reported_only(self):
        """The archive's own p99 and the free-running match do not decide."""
        self.review(check=0)
        for c in ("pattern-a/a-archive-p99", "pattern-a/b-free-match", "1-2/kv-8-ratio"):
            self.assertEqual((self.criteria[c]["status"], self.criteria[c]["decides"]),
                             ("fail", False))

    def test_alternative(self):
        """|difference| <= 0.1 or |relative| <= 0.5 %."""
        perplexity = self.part("validation.json", "tests", "perplexity")
        difference = perplexity["difference"]

        def set_perplexity(model, candidate):
            perplexity["model"]["perplexity"], perplexity["candidate"]["perplexity"] = model, candidate
            difference.update(perplexity=candidate - model, perplexity_ratio=candidate / model)

        set_perplexity(model=100, candidate=99.6)
        self.review(check=0)
        c = self.criteria["pattern-a/d-perplexity"]
        self.assertAlmostEqual(c["value"], 0.4)
        self.assertEqual(c["status"], "pass")
        self.assertAlmostEqual(c["alternatives"][0]["value"], 0.004)
        set_perplexity(model=40, candidate=39.6)
        self.review()
        self.assertEqual(self.gates["pattern-a"]["status"], "fail")


class Evidence(Gates):
    def reason(self, criterion):
        self.assertEqual(self.criteria[criterion]["status"], "not_run")
        return self.criteria[criterion]["reason"]

    def test_null_and_wrong_kinds(self):
        kl = self.part("native/v-all.json", "tests", "perplexity", "kl")
        for value, says in ((None, "is null"), ("0.99", "no number"), ([1], "no number, text"),
                            ({}, "no number, text")):
            with self.subTest(value=value):
                kl["same_top1"] = value
                self.review()
                self.assertIn(says, self.reason("2-3/v-all-match"))
        del kl["same_top1"]
        self.review()
        self.assertIn("tests.perplexity.kl.same_top1 is missing", self.reason("2-3/v-all-match"))
        self.assertIn("not measured", self.gates["2-3"]["decision"])

    def test_too_little(self):
        del self.part("validation.json", "tests", "autoregressive")["prompts"][9]
        self.review()
        self.assertIn("number of prompts is 9, not ≥ 10", self.reason("pattern-a/b-match"))
        self.part("validation.json", "tests", "perplexity", "candidate")["tokens"] = 9999
        self.reports["native/v-all.json"]["transport"].update(layers=3, projections={"v_proj": 3})
        self.review()
        self.assertIn("without a native v_proj is 1", self.reason("2-3/v-all-match"))
        self.assertIn("tokens of text is 9999, not ≥ 10000", self.reason("6-production/final-tokens"))

    def test_next_to_nothing(self):
        """One token, one page, windows of one token: not run, whatever the figures."""
        tests = self.reports["validation.json"]["tests"]
        tests["autoregressive"]["tokens"] = 999
        tests["sampling"]["tokens"] = tests["perplexity"]["candidate"]["tokens"] = 999
        tests["long_context"]["lengths"][0]["windows"] = 7
        self.reports["kv/6.json"]["kv_cache"].update(pages=0, old_pages=0)
        self.reports["calibrate.json"].update(context=1, tokens=1200)
        for name in ("v-single", "v-all", "mlp-single", "all"):
            self.part(f"native/{name}.json", "tests", "perplexity", "candidate")["tokens"] = 1
        self.review()
        for c, says in (("pattern-a/b-match", "asked for from each prompt is 999"),
                        ("pattern-a/b-drift", "asked for"), ("pattern-a/c-kl", "of text is 999"),
                        ("pattern-a/c-top10", "of text is 999"), ("pattern-a/e-match", "is 896"),
                        ("pattern-a/d-perplexity", "of text is 999"),
                        ("6-production/final-perplexity", "not ≥ 10000"),
                        ("1-2/kv-match", "full pages is 0"), ("1-2/kv-ratio", "full pages is 0"),
                        ("6-production/kv-old-ratio", "old pages is 0"),
                        ("3-4/samples", "tokens of a window on average is 1"),
                        ("2-3/v-single-match", "of text is 1"), ("2-3/v-all-match", "of text is 1"),
                        ("2-3/v-stable", "of text is 1"), ("5-6/mlp-match", "of text is 1"),
                        ("5-6/combined", "of text is 1"), ("5-6/mlp-single-match", "of text is 1")):
            self.assertIn(says, self.reason(c), c)
        self.assertNotIn("--tokens", self.criteria["pattern-a/b-match"]["command"])

    def test_context_ends_first(self):
        """1000 tokens are asked for, and the model's context or its end of text come before: that counts."""
        for p in self.part("validation.json", "tests", "autoregressive")["prompts"]:
            p["tokens"] = 400
        self.review(check=0)
        for p in self.part("validation.json", "tests", "autoregressive")["prompts"]:
            p["tokens"] = 1
        self.review()
        self.assertIn("generated from all prompts is 10", self.reason("pattern-a/b-match"))

    def test_no_booleans_for_numbers(self):
        self.reports["convert.json"]["bits_per_weight"] = True
        self.part("validation.json", "tests", "long_context")["lengths"][0]["text"]["match"] = True
        self.review()
        for c in ("3-4/overall", "6-production/final-ratio", "pattern-a/e-match"):
            self.assertIn("boolean", self.reason(c))

    def test_other_kinds(self):
        """A text or a number where true is asked for is neither true nor false."""
        for ok in ("true", 1, "false", 0):
            self.reports["verify.json"]["ok"] = ok
            review = self.review()
            self.assertIn("what it is compared with is not", self.reason("pattern-a/verified"))
            self.assertNotIn("did not verify", review["decision"])

    def test_impossible_parts(self):
        first = lambda: self.part("analysis/entropy_analysis.json", "tensors")[0]
        for change, criteria, says in (
                ({"class": "lukewarm"}, ("cold-share", "cold-ratio"), "access was not measured is 1"),
                ({"numel": -5}, ("cold-share", "cold-ratio"), "weights of no elements is 1"),
                ({"hot_row_share": -3}, ("cold-share", "cold-ratio"), "share of hot rows is none is 1"),
                ({"archived_bits": 0}, ("cold-ratio",), "weights of no bits is 1")):
            self.reports = gate_evidence.reports()
            first().update(change)
            self.review()
            for c in criteria:
                self.assertIn(says, self.reason("3-4/" + c))
        self.reports = gate_evidence.reports()
        self.reports["convert.json"]["bits_per_weight"] = 1e-300
        self.review()
        for c in ("3-4/overall", "6-production/final-ratio"):
            self.assertIn("no value that this can have", self.reason(c))

    def test_contradictions(self):
        """What was edited is judged as it stands, but no gate passes on reports that do not agree."""
        self.reports["convert.json"]["bits_per_weight"] = 6.2
        review = self.review()
        self.assertEqual(self.criteria["6-production/final-ratio"]["status"], "fail")
        (conflict,) = review["conflicts"]
        for says in ("the evidence contradicts itself: bits a weight: ", "6.2 by ", "5.2 by ", "convert.json",
                     "validation.json"):
            self.assertIn(says, conflict)
        self.assertIn("The evidence contradicts itself (bits a weight", review["decision"])
        self.reports = gate_evidence.reports()
        self.part("native/all.json", "tests", "perplexity", "candidate")["perplexity"] = 500
        review = self.review()
        (conflict,) = [c for c in review["conflicts"] if "over the model's" in c]
        self.assertIn("1.01 by the same report", conflict)
        self.assertEqual(self.statuses(), ["pass"] * 5 + ["blocked"] * 2)
        self.assertEqual(self.statuses("alone"), ["pass"] * 7)
        self.assertEqual((review["passed"], self.gates["5-6"]["blocked_by"]), (False, []))
        self.assertIn("Blocked: the evidence contradicts itself", self.gates["5-6"]["decision"])
        self.assertEqual((self.ship["v-path"]["ready"], self.ship["native"]["ready"]), (True, False))

    def test_two_sizes_of_one_archive(self):
        """Either would pass."""
        self.reports["convert.json"]["bits_per_weight"] = 5.1
        self.review()
        self.assertEqual(self.statuses(), ["blocked"] * 7)
        self.assertEqual(self.statuses("alone"), ["pass"] * 7)
        for c in ("3-4/overall", "6-production/final-ratio"):
            self.assertEqual(self.criteria[c]["status"], "pass")
        for s in self.ship.values():
            self.assertEqual((s["ready"], s["blocked"]), (False, True))
        self.assertIn("bits a weight", self.gates["pattern-a"]["decision"])

    def test_long_paths_are_cut_at_characters(self):
        """Whatever character the limit falls into."""
        self.reports["convert.json"]["bits_per_weight"] = 5.1
        for ascii_bytes in range(3):
            folder = self.dir / ("x" * ascii_bytes) / ("\u20ac" * 80) / ("\u20ac" * 80)
            self.evidence = folder
            folder.mkdir(parents=True)
            for text in self.review()["conflicts"]:
                self.assertNotIn("?", text)
                self.assertIn("\u20ac" * 80, text)

    def test_windows_that_were_run(self):
        """Not those that the text would have had."""
        self.part("validation.json", "tests", "long_context")["lengths"][0].update(windows=1, text_windows=110)
        self.review()
        self.assertIn("compared at the length with the fewest is 128", self.reason("pattern-a/e-match"))

    def test_missing_is_not_unstable(self):
        for name in ("native/v-all.json", "native/all.json", "validation.json"):
            del self.part(name, "tests", "perplexity")["kl"]
        self.review()
        for c in ("2-3/v-stable", "5-6/combined", "6-production/final-tokens"):
            self.assertIn("kl", self.reason(c))

    def test_one_mlp(self):
        """down_proj of three layers is not an MLP."""
        self.part("native/mlp-single.json", "transport")["projections"] = {"down_proj": 3}
        self.review(check=0)
        self.assertIn("none of 7", self.reason("5-6/mlp-single-match"))

    def test_combined_needs_attention(self):
        projections = self.part("native/all.json", "transport", "projections")
        projections["o_proj"] = 1
        self.review()
        self.assertIn("without native v_proj and o_proj is 3", self.reason("5-6/combined"))
        self.assertEqual(self.gates["5-6"]["alone"], "not_run")
        del projections["o_proj"]
        self.review()
        self.assertIn("o_proj is missing", self.reason("5-6/combined"))
        self.assertNotIn("attention only", str(self.gates["5-6"]["fallback"]))

    def test_it_must_say_what_it_is_about(self):
        """What names no model or archive could be about any."""
        self.reports["bench/hot.json"].update(model=None, archive=None)
        del self.reports["verify.json"]["archive_hash"]
        del self.reports["plan.json"]["summary"]
        self.review()
        self.assertIn("does not say which model", self.reason("3-4/hot-overhead"))
        self.assertIn("does not say which archive", self.reason("pattern-a/verified"))
        self.assertIn("does not say which model", self.reason("3-4/policy"))

    def test_plan_of_another_model(self):
        self.reports["plan.json"]["summary"]["model_fingerprint"] = "22" * 16
        self.review()
        self.assertIn("different models", self.reason("3-4/policy"))

    def test_impossible(self):
        self.part("validation.json", "tests", "autoregressive", "teacher_forced")["match"] = 7
        self.part("validation.json", "tests", "sampling", "kl", "model_candidate")["mean"] = -5
        self.review()
        for c in ("pattern-a/b-match", "pattern-a/c-kl"):
            self.assertIn("is no value that this can have", self.reason(c))

    def test_calibrated_on_the_same_text(self):
        self.reports["calibrate.json"]["text_fingerprints"] = [gate_evidence.TEXT]
        review = self.review()
        self.assertTrue(any("calibrate.json and " in n and "not held out" in n
                            for n in review["notes"]), review["notes"])
        self.assertEqual([t["name"] for t in review["texts"]], ["text.txt"])
        for c in ("pattern-a/c-kl", "pattern-a/d-perplexity", "pattern-a/e-match", "2-3/v-all-match",
                  "5-6/mlp-match", "6-production/final-perplexity"):
            self.assertIn("not held out", self.reason(c))
        for c in ("pattern-a/a-cosine", "pattern-a/b-match", "1-2/kv-match", "6-production/final-ratio"):
            self.assertEqual(self.criteria[c]["status"], "pass")
        self.assertIn("not held out", review["decision"])
        self.reports["calibrate.json"].update(text_fingerprints=["bb" * 16, gate_evidence.TEXT],
                                              text_paths=["first.txt", "second.txt"])
        review = self.review()
        self.assertIn("not held out", self.reason("pattern-a/c-kl"))
        self.assertTrue(any("not held out" in n for n in review["notes"]))
        self.assertEqual([t["name"] for t in review["texts"]], ["first.txt", "heldout.txt"])

    def test_commands(self):
        """As the reports were made, of what; none where nothing makes them."""
        del self.reports["bench/gemv.json"], self.reports["native/all.json"], self.reports["bench/hot.json"]
        self.part("validation.json", "tests", "perplexity")["style"] = "a; rm -r b"
        for report in ("validation.json", "native/v-all.json"):
            self.reports[report]["text"]["path"] = "it's held $out.txt"
        self.reports["validation.json"]["candidate"]["path"] = "-run/model.qins"
        self.review()
        command = lambda c: self.criteria[c]["command"]
        self.assertEqual(command("pattern-a/c-kl"),
                         "qins validate model ./-run/model.qins --text 'it'\\''s held $out.txt' -o "
                         "validation.json --tests perplexity,autoregressive,sampling,consistency,"
                         "long-context --context 256 --tokens 1000")
        self.assertEqual(command("3-4/samples"),
                         "qins calibrate model --text text.txt --gram --keep-rows 2048 --sensitivity "
                         "-o calibration.h5 --json --context 256 > calibrate.json")
        self.assertTrue(command("3-4/policy").endswith("--target-bits 6.5"))
        # What is not there: of the model and in the windows of the rest, where these agree.
        self.assertTrue(command("5-6/mlp-match").startswith("qins transport model --calibration"))
        self.assertTrue(command("5-6/mlp-match").endswith("--text HELDOUT -o validation-native.json "
                                                          "--context 256 --ppl-style qins"))
        self.assertEqual(command("3-4/hot-overhead"),
                         "qins bench hot-path model ARCHIVE --save bench-hot.json")
        for c in ("4-5/fused-speedup", "4-5/gpu-portable"):
            self.assertEqual(command(c), "qins bench gemv --save bench-gemv.json")
        self.assertEqual(command("6-production/final-memory"),
                         "qins bench memory model model.qins --save bench-memory.json")
        self.part("native/v-all.json", "tests", "perplexity")["context"] = 512
        self.review()
        self.assertNotIn("--context", command("5-6/mlp-match"))

    def test_unavailable(self):
        """What no verb measures has no command, and says so."""
        gates = json.loads(GATES.read_text())
        gates["selectors"]["bench-memory"]["unavailable"] = "nothing weighs it"
        del next(c for c in gates["gates"][-1]["criteria"] if c["id"] == "final-memory")["command"]
        path = self.dir / "gates.json"
        path.write_text(json.dumps(gates))
        del self.reports["bench/memory.json"]
        self.review("--gates", path, check=0)
        self.assertEqual(self.criteria["6-production/final-memory"]["command"], "")
        self.assertIn("nothing weighs it", self.reason("6-production/final-memory"))

    def test_fused_validation(self):
        """An archive is judged as it is decoded: the same with --fused is no second evidence for it."""
        fused = gate_evidence.reports()["validation.json"]
        fused["candidate"].update(fused=True, weight_bytes=700)
        fused["tests"]["sampling"]["kl"]["model_candidate"]["mean"] = 0.5
        self.reports["fused.json"] = fused
        self.review(check=0)
        self.assertEqual(self.criteria["pattern-a/c-kl"]["status"], "pass")

    def test_interrupted(self):
        """Hostile gates neither run on for ever nor keep the user from stopping."""
        gates = json.loads(GATES.read_text())
        self.reports["plan.json"]["tensors"] *= 50000
        ones = {"sum": [1] * 32}
        gates["gates"][3]["criteria"][2].update(
            value={"sum": {"sum": [ones] * 32}, "over": "tensors[]"}, comparison=">=", threshold=0)
        gates["gates"][3]["criteria"][2].pop("range", None)
        path = self.dir / "gates.json"
        path.write_text(json.dumps(gates))
        gate_evidence.write(self.evidence, self.reports)
        self.assertIn("more than 50000000 steps", self.run_gate("--gates", path, check=3).stderr)

    def test_access_not_measured(self):
        self.part("analysis/entropy_analysis.json", "tensors")[0]["class"] = "unknown"
        self.review()
        self.assertIn("access was not measured is 1, not 0", self.reason("3-4/cold-share"))

    def test_ambiguous(self):
        other = gate_evidence.reports()["validation.json"]
        other["candidate"]["archive_hash"] = "ab" * 16
        self.reports["another.json"] = other
        self.review()
        reason = self.reason("pattern-a/c-kl")
        for name in ("validation.json", "another.json", "2 reports"):
            self.assertIn(name, reason)

    def test_copies(self):
        """The same bytes twice are one report."""
        self.reports["again/validation.json"] = json.dumps(self.reports["validation.json"])
        review = self.review(check=0)
        self.assertEqual(len(review["notes"]), 1)
        self.assertIn("is a copy of", review["notes"][0])

    def test_two_models(self):
        self.reports["native/v-all.json"]["model"]["fingerprint"] = "22" * 16
        review = self.review()
        self.assertEqual(self.statuses("alone")[:3], ["not_run"] * 3)
        self.assertIn("different models: 1f1f1f1f1f1f", review["conflicts"][0])
        self.assertIn("and 9 more (the evidence is about different models: ", review["decision"])
        self.assertIn("v-all.json", review["decision"])
        self.assertIn("different models", self.reason("pattern-a/c-kl"))
        self.assertIsNotNone(self.criteria["pattern-a/c-kl"]["value"])
        self.assertEqual(len(review["models"]), 2)
        # What names no model, or need not be of it, stands.
        self.assertEqual(self.criteria["pattern-a/verified"]["status"], "pass")
        self.assertEqual(self.criteria["4-5/fused-speedup"]["status"], "pass")

    def test_two_archives(self):
        """The size of one archive and the quality of another prove nothing together."""
        self.reports["convert.json"]["archive_hash"] = "ab" * 16
        review = self.review()
        self.assertIn("different archives", self.reason("6-production/final-ratio"))
        self.assertIn("different archives", self.reason("6-production/final-perplexity"))
        self.assertTrue(any(c.startswith("gate 6-production: ") for c in review["conflicts"]))
        self.assertEqual(self.gates["pattern-a"]["status"], "pass")

    def test_two_transports(self):
        self.reports["transport.json"]["calibration_fingerprint"] = "ab" * 16
        self.review()
        self.assertIn("different transports", self.reason("2-3/v-error"))
        self.assertEqual(self.gates["5-6"]["alone"], "pass")

    def test_other_version(self):
        self.reports["plan.json"]["qins_version"] = "0.0.1"
        self.assertIn("was written by qins 0.0.1", self.review(check=0)["notes"][0])

    def test_what_is_passed_over(self):
        self.reports["config.json"] = {"model_type": "llama"}
        self.reports["list.json"] = "[1, 2]"
        self.reports[".hidden/validation.json"] = self.reports["validation.json"]
        self.reports["notes.txt"] = "{"
        (self.evidence / "loop").parent.mkdir()
        (self.evidence / "gone.json").symlink_to("nowhere.json")
        (self.evidence / "loop").symlink_to(self.evidence)
        review = self.review(check=0)
        self.assertEqual(len(review["evidence"]), len(gate_evidence.reports()))
        self.assertEqual(review["notes"], [f"{self.evidence / 'gone.json'} is no file that can be "
                                           "read: passed over"])

    def test_review_among_its_evidence(self):
        """A second review into the same folder says the same."""
        self.review(check=0, out="evidence/review")
        first = (self.evidence / "review/gate_review.json").read_bytes()
        self.review(check=0, out="evidence/review")
        self.assertEqual((self.evidence / "review/gate_review.json").read_bytes(), first)

    def test_single_files(self):
        gate_evidence.write(self.evidence, self.reports)
        one = self.evidence / "kv" / "6.json"
        done = support.run_qins("gate", "--evidence", one, self.evidence / "native", "-o",
                                self.dir / "review", "--json", check=1,
                                env=support.without_gnuplot(self.dir / "none"))
        review = json.loads(done.stdout)
        support.validate(review, "gate_review")
        self.assertEqual(review, json.loads((self.dir / "review/gate_review.json").read_text()))
        self.assertEqual([e["path"] for e in review["evidence"]][0], str(one))

    def test_same_bytes(self):
        self.review(check=0, out="a")
        self.review(check=0, out="b")
        read = lambda out: (self.dir / out / "gate_review.json").read_bytes()
        self.assertEqual(read("a"), read("b"))


if __name__ == "__main__":
    support.main()
