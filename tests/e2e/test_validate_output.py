"""What qins validate shows on the terminal, and whether its report's schema says what everything is."""
import json
import unittest

import support

MODEL = support.MODEL
ROOT = support.SOURCE_ROOT
SCHEMA = json.loads((ROOT / "docs/schemas/validation.schema.json").read_text())


class Terminal(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.short = cls.dir / "short.txt"
        cls.short.write_bytes((ROOT / "examples" / "kjv-heldout.txt").read_bytes()[:6000])

    def test_end_of_output(self):
        """What decides stands last, and where the report went; no line is too long to be read."""
        archive, out = self.dir / "end.qins", self.dir / "end.json"
        support.run_qins("convert", MODEL, "-o", archive, "--bits", 3, check=0)
        arguments = ("--text", self.short, "--context", 128, "--tests", "perplexity,sampling")
        shown = support.run_qins("validate", MODEL, archive, *arguments, "-o", out, "--kv-cache", 6,
                                 check=0).stdout.splitlines()
        test = json.loads(out.read_text())["tests"]["perplexity"]
        self.assertEqual(shown[-1], f"report: {out}")
        head = shown.index(next(line for line in shown if line.startswith("test  ")))
        self.assertEqual(shown[head - 1], "")
        self.assertRegex(shown[head], "^test +verdict +deciding figure +value +bar +met$")
        self.assertEqual([line.split()[0] for line in shown[head + 1:-1]],
                         ["sampling", "ten", "perplexity", "or,"])
        self.assertRegex(shown[head + 3], r"^perplexity +not passed +perplexity, change +\+"
                                          rf"{test['difference']['perplexity']:.4g} +within \+- 0\.1 +no$")
        self.assertLessEqual(max(len(line) for line in shown if "/" not in line), 100)
        # The better one's change has its sign; of the thresholds it is the magnitude.
        shown = support.run_qins("validate", archive, MODEL, *arguments, "-o", out, check=0).stdout
        test = json.loads(out.read_text())["tests"]["perplexity"]
        self.assertGreater(test["thresholds"]["perplexity_difference"]["value"], 0)
        self.assertRegex(shown, rf"perplexity, change +-{-test['difference']['perplexity']:.4g} ")
        shown = support.run_qins("validate", MODEL, archive, *arguments[:-1], "consistency",
                                 check=0).stdout.splitlines()
        self.assertRegex(shown[-3], r"^consistency +not passed +lowest cosine of a tensor +0\.\d+ +at "
                                    r"least 0\.9999 +no$")
        self.assertEqual(shown[-1], "gates ask consistency of the lossless mode: lowest cosine "
                                    "1.000000, 99 % rel. error 0 %: passed")
        quiet = support.run_qins("validate", MODEL, *arguments, "-o", out, "--quiet", check=0)
        self.assertEqual(quiet.stdout, "")
        shown = support.run_qins("validate", MODEL, *arguments, check=0).stdout
        self.assertRegex(shown, "\nsampling +skipped +there is no candidate +- +- +-\n"
                                "perplexity +not judged +there is no candidate +- +- +-\n$")


class Schema(unittest.TestCase):
    def test_all_is_described(self):
        def walk(schema, where):
            for name, part in schema.get("properties", {}).items():
                self.assertTrue(part.get("description"), f"{where}.{name}")
                walk(part, f"{where}.{name}")
            for key in ("items", "additionalProperties"):
                if isinstance(schema.get(key), dict):
                    walk(schema[key], f"{where}[]")
            for part in schema.get("oneOf", []):
                walk(part, where)
        walk(SCHEMA, "")
        for name, part in SCHEMA["$defs"].items():
            walk(part, name)


if __name__ == "__main__":
    support.main()
