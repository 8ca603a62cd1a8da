"""Man pages and the completion of bash, which are made from what the program says of its options: they are whole,
well formed, and what they offer is what the program takes."""
import json
import os
import re
import shutil
import subprocess
import unittest

import support

DOCS = support.BUILD_ROOT / "docs"

# Types WORDS behind "qins", the last one half, and prints what is offered, one a line.
TYPE = r"""
source "$1"; shift
complete -p qins >/dev/null || exit 9
COMP_WORDS=(qins "$@") COMP_CWORD=$#
_qins qins "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>&1
printf '%s\n' "${COMPREPLY[@]}"
"""


def described():
    return json.loads(support.run_qins("--help", "--json", check=0).stdout)


class Manual(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not (DOCS / "qins.1").is_file():
            raise unittest.SkipTest("this build makes no man pages")
        cls.verbs = described()["verbs"]
        cls.pages = sorted(DOCS.glob("qins*.1"))

    def test_a_page_for_each_verb_has_all_options(self):
        self.assertEqual({p.stem for p in self.pages}, {"qins", *(f"qins-{v['name']}" for v in self.verbs)})
        for verb in self.verbs:
            with self.subTest(verb=verb["name"]):
                page = (DOCS / f"qins-{verb['name']}.1").read_text()
                listed = re.findall(r"^\.It (?:Fl \w , )?Fl -([\w-]+)", page, re.M)
                self.assertEqual(listed, [o["name"] for o in verb["options"]])

    def test_groff_and_mandoc_have_nothing_to_say(self):
        tools = [["man", "--warnings", "-E", "UTF-8", "-l"], ["mandoc", "-T", "lint", "-W", "style"]]
        for tool in tools:
            if not shutil.which(tool[0]):
                self.skipTest(f"no '{tool[0]}' here")
            for page in self.pages:
                done = subprocess.run([*tool, page], capture_output=True, text=True,
                                      env={**os.environ, "MANWIDTH": "80"})
                said = done.stderr + (done.stdout if tool[0] == "mandoc" else "")
                # These two are about pages that need not be installed where the test runs.
                said = [s for s in said.splitlines()
                        if "mandoc.db" not in s and "referenced manual not found" not in s]
                self.assertEqual(said, [], page.name)

    def test_pages_refer_to_pages(self):
        names = {p.stem for p in self.pages}
        for page in self.pages:
            referred = re.findall(r"^\.Xr (qins\S*) 1", page.read_text(), re.M)
            self.assertTrue(referred)
            self.assertLessEqual(set(referred), names, page.name)


class Completion(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.script = DOCS / "qins"
        if not cls.script.is_file():
            raise unittest.SkipTest("this build makes no completions")
        cls.verbs = {v["name"]: v for v in described()["verbs"]}
        (cls.dir / "my model").mkdir()
        (cls.dir / "my plan.json").write_text("{}")

    def offered(self, *words):
        done = subprocess.run(["bash", "--norc", "-c", TYPE, "bash", self.script, *words], check=True,
                              capture_output=True, text=True, cwd=self.dir)
        return done.stdout.splitlines() if done.stdout.strip() else []

    def test_description_fits_its_schema(self):
        support.validate(described(), "help")

    def test_verbs_and_options(self):
        self.assertEqual(self.offered(""), [*self.verbs, "help", "--help", "--version", "--limits"])
        for question in ("--help", "--version", "--limits"):
            self.assertEqual(self.offered(question, ""), ["--json"])
            json.loads(support.run_qins(question, "--json", check=0).stdout)
        self.assertEqual(self.offered("con"), ["convert"])
        for verb in self.verbs.values():
            self.assertEqual(self.offered(verb["name"], "-"), ["--" + o["name"] for o in verb["options"]])
        self.assertEqual(self.offered("help", "ver"), ["verify"])

    def test_values(self):
        self.assertEqual(self.offered("convert", "m", "--codec", "r"), ["rle", "rle-huffman"])
        self.assertEqual(self.offered("convert", "--codec", "=", "z"), ["zstd"])
        self.assertEqual(self.offered("convert", "--grid", "="), ["qins", "seed"])
        self.assertEqual(self.offered("validate", "--kv-cache", ""), ["8", "6", "off"])
        self.assertEqual(self.offered("validate", "--tests", "perplexity,c"), ["perplexity,consistency"])
        self.assertEqual(self.offered("restore", "a", "--dtype", "bf"), ["bf16"])
        self.assertEqual(self.offered("bench", "hot"), ["hot-path"])
        self.assertEqual(self.offered("batch", "jobs.json", "--emit", "s"), ["slurm", "snakemake"])
        self.assertEqual(self.offered("convert", "--bits", ""), [])
        self.assertEqual(self.offered("inspect", "--codec", "z"), [])

    def test_files(self):
        for words in (["convert", "my"], ["verify", "a", "--against", "my"], ["bench", "forward", "my"]):
            self.assertEqual(sorted(self.offered(*words)), ["my model", "my plan.json"])
        self.assertEqual(self.offered("gate", "--evidence", "my"), ["my model"])
        self.assertEqual(sorted(self.offered("plan", "--policy", "")),
                         ["archive", "default", "my model", "my plan.json"])

    def test_values_are_what_the_program_takes(self):
        """A value that is no name is refused with a line that tells the names; none of those offered is."""
        for verb, option in (("convert", "codec"), ("convert", "grid"), ("convert", "rounding"),
                             ("restore", "dtype"), ("validate", "ppl-style"), ("validate", "kv-cache"),
                             ("transport", "method"), ("convert", "group"), ("convert", "kappa")):
            values = next(o["values"] for o in self.verbs[verb]["options"] if o["name"] == option)
            arguments = [verb, self.dir / "none", "-o", self.dir / "x.h5", "--" + option]
            arguments += {"validate": ["--text", "t"], "transport": ["--calibration", "c"]}.get(verb, [])
            position = arguments.index("--" + option) + 1
            self.assertTrue(values)
            for value in ["neither", *values]:
                with self.subTest(option=option, value=value):
                    done = support.run_qins(*arguments[:position], value, *arguments[position:])
                    if value == "neither":
                        self.assertEqual(done.returncode, 2)
                        for name in values:
                            self.assertIn(name, done.stderr)
                    else:
                        self.assertNotIn(f"--{option} {value}", done.stderr)

    def test_all_coders_are_offered(self):
        told = json.loads(support.run_qins("--version", "--json", check=0).stdout)
        values = next(o["values"] for o in self.verbs["convert"]["options"] if o["name"] == "codec")
        self.assertEqual(values, told["coders"])

    def test_other_shells_parse_theirs(self):
        for shell, name in (("zsh", "_qins"), ("fish", "qins.fish")):
            text = (DOCS / name).read_text()
            for verb in self.verbs.values():
                for option in verb["options"]:
                    self.assertIn(option["name"], text)
            if shutil.which(shell):
                subprocess.run([shell, "-n", DOCS / name], check=True, capture_output=True)


if __name__ == "__main__":
    support.main()
