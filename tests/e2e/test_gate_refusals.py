"""qins gate: earlier reviews, gates of one's own, what is refused, and the shipped data itself."""
import copy
import json
import unittest

import gate_evidence
import support
from test_gate import GATES, Gates


class History(Gates):
    def test_three_reviews(self):
        kl = self.part("native/v-all.json", "tests", "perplexity", "kl")
        for i, match in enumerate((0.85, 0.93, 0.97)):
            kl["same_top1"] = match
            previous = ["--previous", self.dir / f"r{i - 1}"] if i else []
            review = self.review(*previous, check=0 if i else 1, out=f"r{i}")
            self.assertEqual(review["number"], i + 1)
            self.assertEqual(len(review["history"]), i)
        old = [next(c["value"] for g in h["gates"] for c in g["criteria"]
                    if c["id"] == "v-all-match") for h in review["history"]]
        self.assertEqual(old, [0.85, 0.93])
        self.assertEqual([h["number"] for h in review["history"]], [1, 2])
        self.assertEqual([h["passed"] for h in review["history"]], [False, True])
        self.assertEqual(self.criteria["2-3/v-all-match"]["previous"],
                         {"value": 0.93, "value_text": "93 %", "status": "pass"})
        self.assertEqual(review["previous"]["number"], 2)
        self.assertEqual(review["previous"]["path"], str(self.dir / "r1" / "gate_review.json"))

    def test_new_criterion(self):
        """What was not judged then has no previous figure."""
        gates = json.loads(GATES.read_text())
        del gates["gates"][0]["criteria"][5]
        older = self.dir / "older.json"
        older.write_text(json.dumps(gates))
        self.review("--gates", older, check=0, out="a")
        self.review("--previous", self.dir / "a" / "gate_review.json", check=0, out="b")
        nothing = [c for c in self.criteria.values() if c["previous"] is None]
        self.assertEqual(len(nothing), 1)

    def test_bad_previous(self):
        gate_evidence.write(self.evidence, self.reports)
        bad = self.dir / "gate_review.json"
        good = {"schema": "qins/gate_review/1", "gates": [], "history": [], "number": 1}
        for text, says in (("{", "JSON"), ("{}", "schema"), (json.dumps(dict(good, gates=3)), "gates"),
                           (json.dumps(dict(good, history=None)), "history"),
                           (json.dumps(dict(good, number=-1)), "number"),
                           (json.dumps(dict(good, number=2**31 - 1)), "number"),
                           (json.dumps(dict(good, gates=[{"id": 1}])), "gates[0]")):
            bad.write_text(text)
            line = self.run_gate("--previous", self.dir, check=3).stderr
            self.assertIn(str(bad), line)
            self.assertIn(says, line)
        self.run_gate("--previous", self.dir / "none", check=4)
        self.assertFalse((self.dir / "review").exists())


class Refusals(Gates):
    def test_broken_evidence(self):
        """Evidence that cannot be read is told, not left out."""
        self.reports["native/broken.json"] = '{"schema": '
        gate_evidence.write(self.evidence, self.reports)
        line = self.run_gate(check=3).stderr
        self.assertEqual(len(line.splitlines()), 1)
        self.assertIn("native/broken.json", line)
        self.assertIn("offset 11", line)
        self.assertFalse((self.dir / "review").exists())

    def test_no_folder(self):
        self.run_gate(check=4)
        support.run_qins("gate", "-o", self.dir / "review", check=2)
        support.run_qins("gate", "--evidence", self.dir, check=2)

    def test_too_deep(self):
        path = self.evidence.joinpath(*"abcdefghij")
        path.mkdir(parents=True)
        self.assertIn("nest deeper", self.run_gate(check=3).stderr)

    def test_hostile_gates(self):
        gate_evidence.write(self.evidence, self.reports)
        good = json.loads(GATES.read_text())
        path = self.dir / "gates.json"

        def refused(change, says):
            spec = copy.deepcopy(good)
            change(spec)
            path.write_text(json.dumps(spec))
            line = self.run_gate("--gates", path, check=3).stderr
            self.assertEqual(len(line.splitlines()), 1)
            self.assertIn(str(path), line)
            self.assertIn(says, line)

        criterion = lambda s: s["gates"][2]["criteria"][0]
        for change, says in (
                (lambda s: s.pop("gates"), 'key "gates" is missing'),
                (lambda s: s.update(schema="qins/gates/2"), "schema"),
                (lambda s: s.update(extra=1), 'unknown key "extra"'),
                (lambda s: s["gates"].clear(), "a list of gates"),
                (lambda s: s["gates"][1].update(id="pattern-a"), "gates[1].id: pattern-a is there twice"),
                (lambda s: s["gates"][1].update(id="a b"), "gates[1].id: a name"),
                (lambda s: s["gates"][1].update(requires=["2-3"]), "gates[1].requires[0]: no earlier"),
                (lambda s: s["gates"][1].update(criteria=[]), "without evidence"),
                (lambda s: [c.update(decides=False) for c in s["gates"][1]["criteria"]],
                 "gates[1].criteria: none of them decides"),
                (lambda s: s["gates"][2].update(criteria=[1] * 65), "at most 64"),
                (lambda s: criterion(s).update(evidence="nobody"), "there is no selector nobody"),
                (lambda s: criterion(s).update(value="a..b"), "gates[2].criteria[0].value"),
                (lambda s: criterion(s).update(value={"eval": "1"}), "an operator is needed"),
                (lambda s: criterion(s).update(threshold="95"), '"threshold" must be a number'),
                (lambda s: criterion(s).update(comparison="~"), "comparison"),
                (lambda s: criterion(s).update(name="a\x1b[31m"), "control characters"),
                (lambda s: criterion(s).update(name="x" * 2001), "at most 2000 bytes"),
                (lambda s: criterion(s).pop("command"), 'key "command" is missing'),
                (lambda s: criterion(s).update(range=[1]), "[low, high] is needed"),
                (lambda s: s["selectors"]["archive"].update(about=["planet"]), "selectors.archive.about[0]"),
                (lambda s: s["selectors"]["archive"].update(options={"--x;y": "a"}), "an option is"),
                (lambda s: s["selectors"]["archive"].update(options={"--x": 1}), "a path is needed"),
                (lambda s: s["gates"][2]["decisions"][0]["when"][0].update(criterion="x"),
                 "gates[2].decisions[0].when[0]: there is no criterion x"),
                (lambda s: s["gates"][2]["decisions"][0]["when"][0].update(gate="3-4"),
                 "there is no gate 3-4"),
                (lambda s: s["gates"][2]["decisions"][0].update(when=[{"gate": "2-3"}]), "is needed"),
                (lambda s: s["gates"][2]["decisions"][0].update({"as": "1-2"}),
                 "gates[2].decisions[0].as: a gate decides for itself"),
                (lambda s: s["decisions"][0].update({"as": "x"}), "decisions[0].as: there is no such gate"),
                (lambda s: criterion(s).update(held_out=1), "held_out: true or false"),
                (lambda s: criterion(s).update(value={"min": "a", "of": "b"}), 'unknown key "of"'),
                (lambda s: s["identities"][0].update(facts={"a": "b"}), "identities[0].facts.a: a list"),
                (lambda s: s["ship"][0].update(when=[{"status": "pass"}]), "there is no gate"),
                (lambda s: s["selectors"]["archive"].update(where=3), "selectors.archive.where"),
        ):
            with self.subTest(says):
                refused(change, says)
        path.write_text('{"schema": "qins/gates/1", "schema": 1}')
        self.assertIn("duplicate", self.run_gate("--gates", path, check=3).stderr)
        path.write_bytes(b" " * (1 << 20) + b"{}")
        self.assertIn(str(path), self.run_gate("--gates", path, check=3).stderr)

    def test_gates_of_ones_own(self):
        """The one of docs/gates.md, and another without decisions."""
        page = (support.SOURCE_ROOT / "docs" / "gates.md").read_text().split("## Writing a gate")[1]
        mine = json.loads("\n".join(l for l in page.split("A gate has")[0].splitlines()
                                    if l.startswith("    ")))
        support.validate(mine, "gates")
        path = self.dir / "mine.json"
        path.write_text(json.dumps(mine))
        quantiles = self.part("validation.json", "tests", "perplexity", "kl")["quantiles"] = {}
        for p99, status, says in ((0.04, "pass", "Upload it: 0.04 nats."), (0.05, "fail", "One bit more"),
                                  (0.0999999, "fail", "(0.1 nats)"), (0.2, "fail", "Do not upload.")):
            quantiles["p99"] = p99
            review = self.review("--gates", path, check=0 if status == "pass" else 1)
            self.assertEqual(self.gates["upload"]["status"], status)
            self.assertIn(says, self.gates["upload"]["decision"])
            self.assertEqual((review["decision"], review["fallback"]),
                             (self.gates["upload"]["decision"], self.gates["upload"]["fallback"]))
        del mine["gates"][0]["decisions"]
        path.write_text(json.dumps(mine))
        review = self.review("--gates", path)
        self.assertEqual(review["gates"][0]["decision"], "Not passed: stop here.")
        self.assertEqual(review["decision"], "Not passed: stop here.")


class Shipped(unittest.TestCase):
    """The data itself."""
    def setUp(self):
        self.spec = json.loads(GATES.read_text())

    def test_schema(self):
        support.validate(self.spec, "gates")

    def test_selectors_are_used(self):
        used = {c["evidence"] for g in self.spec["gates"] for c in g["criteria"]}
        self.assertEqual(used, set(self.spec["selectors"]))

    def test_placeholders(self):
        """Every {name} of a text is a criterion."""
        import re
        criteria = {g["id"]: {c["id"] for c in g["criteria"]} for g in self.spec["gates"]}
        texts = [(g["id"], d["text"]) for g in self.spec["gates"] for d in g["decisions"]]
        texts += [(None, s[k]) for s in self.spec["ship"] for k in ("ready", "not_ready", "unknown")]
        texts += [(None, d["text"]) for d in self.spec["decisions"]]
        for gate, text in texts:
            for name in re.findall(r"\{(.*?)\}", text):
                of, _, criterion = name.rpartition("/")
                words = {"failed", "missing"} | (set() if gate else {"decision"})
                self.assertIn(criterion, criteria[of or gate] | words, text)


if __name__ == "__main__":
    support.main()
