"""The page of a gate review, from hand-made evidence: what is on it, its pictures, the PDF."""
import copy
import html.parser
import json
import pathlib
import re
import shutil
import signal
import subprocess
import time
import unittest
import xml.etree.ElementTree

import gate_evidence
import pictures
from support import PROGRAM, SOURCE_ROOT, Folder, main, run_qins, without_gnuplot

GNUPLOT = shutil.which("gnuplot")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome",
                                                "google-chrome-stable", "chrome"))), None)
HOSTILE = "<script>alert(1)</script>\"'&\\ `touch pwned` $(touch pwned)\n\"; set output \"pwned\" \U0001f642"
WINDOW = 50
ALL = ["autoregressive", "long-context", "layers", "kl", "top-k", "perplexity", "kv-cache",
       "trade-off", "history"]
EACH = ALL[:3]  # a plot for each report that has figures


def fingerprint(i):
    return f"{i:032x}"


def bar(value, limit):
    return {"value": value, "bar": limit, "comparison": ">=", "passed": value >= limit,
            "source": "implementation-roadmap.md"}


def continuation(match, prompts, windows):
    figures = {"match": match, "match_standard_error": 0.0008, "drift": 0, "early": match,
               "late": match, "minimum_match": match, "windows": [match] * windows,
               "thresholds": {"match": bar(match, 0.95)}, "passed": match >= 0.95}
    return {"free_running": figures, "teacher_forced": figures, "fingerprint": fingerprint(9),
            "source": "shipped",
            "prompts": [{"id": name, "kind": "news", "tokens": WINDOW * windows,
                         "free_running": {"match": match, "windows": [match] * windows},
                         "teacher_forced": {"match": match, "windows": [1.0] + [match] * (windows - 1)}}
                        for name in prompts]}


def validation(name, archive=None, **options):
    """A report of an archive, or of a V cache of KV bits, whose next tokens have that KL."""
    kl, bits = options.pop("kl", 1e-3), options.pop("kv", None)
    figures = {"mean": kl, "standard_error": kl / 30, "max": 50 * kl,
               "quantiles": {"p0_1": kl / 1e3, "p50": kl / 2, "p99_9": 20 * kl}}
    tensors = [{"name": f"model.layers.{i}.{part}.weight", "sqnr_db": None if kl == 0 else 40.0 + i,
                "cosine": 0.99999, "p99_rel_error": 0.04}
               for i in range(3) for part in ("mlp.up_proj", "self_attn.q_proj")]
    tensors.append({"name": options.pop("tensor", "lm_head.weight"), "sqnr_db": 30.0,
                    "cosine": 0.9995, "p99_rel_error": 0.08})
    tests = {
        "consistency": {"passed": True, "tensors": tensors},
        "autoregressive": {**continuation(0.9953, ["news-1", name], 4), "window": WINDOW,
                           "passed": True, "tokens": 200,
                           "text": continuation(0.99, ["text-1"], 4)},
        "sampling": {"passed": True, "tokens": 20000, "kl": {"model_candidate": figures, "candidate_model": figures},
                     "top_k": [{"k": k, "overlap": 0.98, "standard_error": 0.001}
                               for k in range(1, 11)]},
        "perplexity": {"passed": True, "style": "qins", "context": 256,
                       "model": {"perplexity": 27.633, "perplexity_standard_error": 0.31,
                                 "mean_nll": 3.319, "tokens": 20000},
                       "candidate": {"perplexity": 27.66, "perplexity_standard_error": 0.31,
                                     "mean_nll": 3.32, "tokens": 20000},
                       "difference": {"perplexity": 0.027, "perplexity_standard_error": 0.012,
                                      "perplexity_ratio": 1.001,
                                      "perplexity_ratio_standard_error": 4e-4},
                       "kl": {**figures, "same_top1": 0.99}},
        "long_context": {"passed": True, "thresholds": {"match": bar(0.99, 0.95)},
                         "lengths": [{"tokens": 256, "text": {
                             "match": 0.99, "drift": 0, "late": 0.99,
                             "eighths": [{"begin": 32 * i, "end": 32 * i + 32, "match": 0.99,
                                          "match_standard_error": 0.002} for i in range(8)]}}]}}
    report = {"schema": "qins/validation/1", "qins_version": "0",
              "model": {"path": "models/" + name, "fingerprint": fingerprint(1), "layers": 3,
                        "model_type": "llama", "parameters": 1000},
              "candidate": {"path": f"{name}.qins", "fingerprint": fingerprint(1), "layers": 3,
                            "model_type": "llama", "parameters": 1000},
              "text": {"path": f"{name}.txt", "fingerprint": fingerprint(2), "tokens": 20000},
              "tests": tests}
    if archive:
        report["candidate"].update(archive_hash=fingerprint(archive), archive_bytes=1000,
                                   bits_per_weight=8.05)
    if bits:
        report["kv_cache"] = {"bits": bits, "packed_bytes": 1030, "packed_values": 1000,
                              "old_bytes": 700, "old_values": 800, "held_bytes": 1500,
                              "held_values": 1200, "ratio_f16": 1.9523, "held_ratio_f16": 1.6,
                              "decode_ms_per_page": 0.03}
    return report


class Page(html.parser.HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.text, self.pictures = [], [], "", 0
        self.quiet = False
        self.handlers = []
        self.places = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.quiet = tag in ("script", "style")
        for name, value in attributes:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                self.addresses.append(value)
            if name == "id":
                self.places.add(value)
            if name.startswith("on"):
                self.handlers.append(name)
            self.pictures += name == "src" and value.startswith("data:image/svg+xml;base64,")

    def handle_endtag(self, tag):
        self.quiet = False

    def handle_data(self, data):
        if not self.quiet:
            self.text += data


class GatePage(Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.evidence = cls.dir / "evidence"
        cls.add("validation.json", validation("plain", archive=3))
        first = cls.dir / "first"
        cls.first_run = cls.gate(first, env=without_gnuplot(cls.dir / "nothing"))
        cls.first = Page((first / "index.html").read_text())
        # a hostile second review, which has the first behind it
        cls.add("validation.json", validation(HOSTILE, archive=3, tensor=HOSTILE))
        cls.add("<b>kv & \"8\".json", validation(HOSTILE, kv=8, kl=0))
        cls.add("costs.json", {"schema": "qins/costs/1", "decode_ns": {"store": 0.1, HOSTILE: 0.5},
                               "bits_per_element": {"store": 32, HOSTILE: 6}})
        cls.add("coders.json", {"schema": "qins/bench/1", "benchmark": "coders", "coders": [
            {"coder": coder, "page_values": page, "bits_per_weight": 6 + 1e3 / page, "decode_ns":
             {"value": 0.5, "low": 0.4, "high": 0.6}} for coder in ("zstd", HOSTILE)
            for page in (4096, 65536)]})
        gates = json.loads((SOURCE_ROOT / "analyze" / "gates.json").read_text())
        cls.criteria = [c for g in gates["gates"] for c in g["criteria"]]
        cls.sources = {(c["source"]["file"], c["source"]["heading"]) for c in cls.criteria}
        cls.titles = [g["title"] for g in gates["gates"]]
        cls.gates = cls.dir / "gates.json"
        altered = copy.deepcopy(gates)
        for gate in altered["gates"]:
            gate["title"] += HOSTILE
            for criterion in gate["criteria"]:
                criterion["command"] = criterion.get("command", "") + " </code></table>" + HOSTILE
        cls.gates.write_text(json.dumps(altered))
        cls.review = cls.dir / "second"
        cls.done = cls.gate(cls.review, "--gates", cls.gates, "--previous", first, cwd=cls.dir)
        cls.page = Page((cls.review / "index.html").read_text())
        cls.json = json.loads((cls.review / "gate_review.json").read_text())

    @classmethod
    def add(cls, name, report):
        cls.evidence.mkdir(exist_ok=True)
        (cls.evidence / name).write_text(json.dumps(report))

    @classmethod
    def gate(cls, folder, *options, **keywords):
        return run_qins("gate", "--evidence", cls.evidence, *options, "-o", folder, check=1, **keywords)

    def test_self_contained(self):
        for address in self.page.addresses:
            self.assertTrue(address.startswith(("data:", "#")), address)
            if address.startswith("#"):
                self.assertIn(address[1:], self.page.places)
        text = (self.review / "index.html").read_text()
        self.assertIn("default-src 'none'", text)
        for outside in ("@import", "url(", "http-equiv=\"refresh\""):
            self.assertNotIn(outside, text)

    def test_nothing_breaks_out(self):
        self.assertEqual(self.page.tags.count("script"), 1)
        self.assertEqual(self.page.handlers, [])
        self.assertEqual(self.page.tags.count("table"), len(self.titles) + 2)
        self.assertGreater(self.page.text.count("<script>alert(1)</script>"), len(self.titles))
        self.assertEqual([p for p in self.dir.rglob("*pwned*")], [])

    def test_every_criterion(self):
        text = " ".join(self.page.text.split())
        for criterion in self.criteria:
            self.assertIn(" ".join(criterion["name"].split()), text)
        for file, heading in self.sources:
            self.assertIn(f"{file}, “{heading}”", text)
        for title in self.titles:
            self.assertIn(title, text)
        for item in self.json["evidence"]:
            self.assertIn(item["fingerprint"], text)
        for kind in ("models", "archives", "texts", "prompts"):
            for item in self.json[kind]:
                self.assertIn(item["fingerprint"], text)
        self.assertIn(" ".join(self.json["decision"].split()), text)
        for word in {gate["status"].replace("_", " ") for gate in self.json["gates"]}:
            self.assertIn(word, text)

    def test_figures_as_people_read_them(self):
        for figure in ("99.53 ± 0.08 %", "98.00 ± 0.10 %", "0.027 ± 0.012", "3.98×", "≥ 97 %", "20\u202f000",
                       "≥ 0.9999", "< 0.1 nats", "0.001000 ± 0.000033 nats"):
            self.assertIn(figure.replace(" ", "\xa0"), self.first.text)
        self.assertIn("1.95×", self.page.text)
        self.assertNotRegex(self.page.text, r"\d\.\d{9}")
        self.assertNotRegex(self.page.text, r"\bnan\b|\binf\b")

    def plots(self):
        count = {kind: 1 for kind in ALL}
        count.update({kind: 2 for kind in EACH})
        return count

    def test_scripts_and_data(self):
        names = [p.stem for p in (self.review / "plots").glob("review-*.gp")]
        for kind, n in self.plots().items():
            found = [name for name in names if re.fullmatch(f"review-{kind}(-\\d+)?", name)]
            self.assertEqual(len(found), n, kind)
            for name in found:
                self.assertTrue((self.review / "plots" / f"{name}.dat").stat().st_size)
        self.assertEqual(len(names), sum(self.plots().values()))

    def test_coders_by_page(self):
        """The archive's own coders before the general table of costs."""
        blocks = (self.review / "plots" / "review-trade-off.dat").read_text().split("\n\n\n")
        self.assertEqual(len([b for b in blocks if b.strip()]), 2)
        self.assertEqual(blocks[0].splitlines()[1:], ["0.5\t0.4\t0.6\t6.244141\t4096\t",
                                                      "0.5\t0.4\t0.6\t6.015259\t65536\t"])

    @unittest.skipUnless(GNUPLOT, "there is no gnuplot")
    def test_pictures(self):
        for script in (self.review / "plots").glob("review-*.gp"):
            root = xml.etree.ElementTree.parse(script.with_suffix(".svg")).getroot()
            self.assertTrue(root.tag.endswith("svg"))
            self.assertEqual(script.with_suffix(".png").read_bytes()[:4], b"\x89PNG")
            self.assertEqual(pictures.outside(script.with_suffix(".svg")), [], script.name)
        self.assertEqual(self.page.pictures, sum(self.plots().values()))
        self.assertNotIn("gnuplot did not draw", self.page.text)

    @unittest.skipUnless(CHROMIUM, "there is no browser")
    def test_pdf(self):
        pdf = (self.review / "review.pdf").read_bytes()
        self.assertEqual(pdf[:5], b"%PDF-")
        self.assertIn(b"%%EOF", pdf[-16:])
        for date in re.findall(rb"Date \(D:(\d{4})", pdf):
            self.assertEqual(date, b"1970")

    def test_nothing_is_left(self):
        for folder in (self.dir / "first", self.review):
            self.assertEqual({p.name for p in folder.iterdir()} - {"review.pdf"},
                             {"gate_review.json", "index.html", "plots"})

    def test_without_programs(self):
        self.assertIn("gnuplot is not installed", self.first_run.stderr)
        self.assertIn("no Chromium", self.first_run.stderr)
        self.assertFalse((self.dir / "first" / "review.pdf").exists())
        self.assertEqual(self.first.pictures, 0)
        self.assertIn("gnuplot did not draw", self.first.text)
        again = self.dir / "again"
        self.gate(again, env=without_gnuplot(self.dir / "nothing"))
        same = (again / "index.html").read_bytes()
        self.gate(again, env=without_gnuplot(self.dir / "nothing"))
        self.assertEqual((again / "index.html").read_bytes(), same)

    def ended(self, pid):
        state = pathlib.Path(f"/proc/{pid.strip()}/stat")
        for _ in range(100):  # killed, but perhaps not yet gone
            if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
            time.sleep(0.05)
        self.fail(f"process {pid} runs on")

    def test_gnuplot_that_fails(self):
        """Half a picture, of which gnuplot says nothing, is none, and takes no earlier one's place."""
        programs, folder = self.dir / "half", self.dir / "half-drawn"
        programs.mkdir()
        program = programs / "gnuplot"
        program.write_text("""#!/bin/sh
for script in review-*.gp; do
    echo '<svg viewBox="0 0 9 9"><g>' > "${script%.gp}.svg"
    printf '\\211PNG half' > "${script%.gp}.png"
done
echo 99 > progress
""")
        program.chmod(0o755)
        done = self.gate(folder, env=without_gnuplot(programs))
        self.assertIn("gnuplot could not draw", done.stderr)
        self.assertEqual({p.suffix for p in (folder / "plots").iterdir()}, {".dat", ".gp"})
        self.assertIn("gnuplot did not draw", (folder / "index.html").read_text())

    def test_browser_that_fails(self):
        """What it leaves running is ended, its half of a PDF is not taken, an old one goes."""
        programs, folder = self.dir / "programs", self.dir / "failed"
        programs.mkdir()
        browser = programs / "chromium"
        browser.write_text(f"""#!/bin/sh
for option; do case $option in --print-to-pdf=*) echo "%PDF-1.4 half" > "${{option#*=}}";; esac; done
echo "$HOME" > {self.dir}/home
/bin/sleep 600 &
echo $! >> {self.dir}/pids
""")
        browser.chmod(0o755)
        folder.mkdir()
        (folder / "review.pdf").write_bytes(b"an earlier one")
        done = self.gate(folder, env=without_gnuplot(programs))
        self.assertIn("could not print review.pdf", done.stderr)
        self.assertEqual({p.name for p in folder.iterdir()}, {"gate_review.json", "index.html", "plots"})
        self.assertTrue((self.dir / "home").read_text().startswith(str(folder.resolve())))
        for pid in (self.dir / "pids").read_text().split():
            self.ended(pid)

    def test_interrupted_browser(self):
        """The earlier review stays whole while a new one is not."""
        programs, folder = self.dir / "slow", self.dir / "interrupted"
        programs.mkdir()
        started = self.dir / "started"
        (programs / "chromium").write_text(f"#!/bin/sh\necho > {started}\nexec /bin/sleep 600\n")
        (programs / "chromium").chmod(0o755)
        folder.mkdir()
        old = {name: b"earlier" for name in ("gate_review.json", "index.html", "review.pdf")}
        for name, content in old.items():
            (folder / name).write_bytes(content)
        with subprocess.Popen([PROGRAM, "gate", "--evidence", self.evidence, "-o", folder],
                              env=without_gnuplot(programs), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as running:
            while not started.exists() and running.poll() is None:
                time.sleep(0.02)
            running.send_signal(signal.SIGINT)
            self.assertEqual(running.wait(timeout=60), 130)
        self.assertEqual({p.name for p in folder.iterdir()}, set(old))
        for name, content in old.items():
            self.assertEqual((folder / name).read_bytes(), content)

    def test_killed(self):
        """What a run leaves that is killed goes with the next; what is another's, or at work, stays."""
        programs, folder = self.dir / "killed", self.dir / "left"
        programs.mkdir()
        started = self.dir / "started-too"
        (programs / "chromium").write_text(f"#!/bin/sh\necho $$ > {started}\nexec /bin/sleep 600\n")
        (programs / "chromium").chmod(0o755)
        folder.mkdir()
        kept = [folder / name for name in ("plots.tmp-mine", "review.tmp-notours", "plots.tmp-a.txt9",
                                           "plots.tmp-images", "review.tmp-backup")]
        for path in kept:
            path.mkdir()
        with subprocess.Popen([PROGRAM, "gate", "--evidence", self.evidence, "-o", folder],
                              env=without_gnuplot(programs), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as running:
            while not (started.exists() and started.read_text()) and running.poll() is None:
                time.sleep(0.02)
            at_work = {p.name for p in folder.iterdir()} - {p.name for p in kept}
            self.assertEqual({re.sub("-.{6}$", "", name) for name in at_work}, {"plots.tmp", "review.tmp"})
            self.gate(folder, env=without_gnuplot(self.dir / "nothing"))
            self.assertLessEqual(at_work, {p.name for p in folder.iterdir()})
            running.send_signal(signal.SIGINT)
            running.send_signal(signal.SIGTERM)  # does not wait
            self.assertEqual(running.wait(timeout=60), 130)
        self.ended(started.read_text())
        self.gate(folder, env=without_gnuplot(self.dir / "nothing"))
        self.assertEqual({p.name for p in folder.iterdir()},
                         {"gate_review.json", "index.html", "plots"} | {p.name for p in kept})

    def test_another_page(self):
        """A folder with another report's page, and pictures that are not of this program, stay."""
        study, mine = self.dir / "study", self.dir / "pictures"
        for folder in (study, mine):
            (folder / "plots").mkdir(parents=True)
            (folder / "plots/kv-mine.png").write_bytes(b"mine")
        (study / "index.html").write_text("a study")
        (study / "entropy_analysis.json").write_text("{}")
        done = run_qins("gate", "--evidence", self.evidence, "-o", study, check=2)
        self.assertIn("holds another page", done.stderr)
        self.assertEqual((study / "index.html").read_text(), "a study")
        self.assertEqual(len(list(study.iterdir())), 3)
        self.gate(mine, env=without_gnuplot(self.dir / "nothing"))
        self.assertEqual((mine / "plots/kv-mine.png").read_bytes(), b"mine")
        done = run_qins("analyze", SOURCE_ROOT / "examples/kjv-1.7m", "-o", mine, check=2)
        self.assertIn("holds another page", done.stderr)

    def test_first_screen(self):
        """What failed or is missing by name and figure, before the first gate; roles of texts."""
        text = " ".join(self.page.text.split())
        head = text[:text.index("Evidence")]
        for gate in self.json["gates"]:
            for criterion in gate["criteria"]:
                if criterion["decides"] and criterion["status"] in ("fail", "not_run"):
                    self.assertIn(" ".join(criterion["name"].split()), head)
            if gate["status"] == "blocked":
                alone = {"pass": "passes", "fail": "fails", "not_run": "not run"}[gate["alone"]]
                self.assertIn(f"{alone} by itself", head)
        self.assertIn("validated on", head)
        self.assertIn("prompts: ", head)
        self.assertIn("archive, 8.05 bits a weight", self.page.text)
        self.assertIn("FP32, V cache 8 bit", self.page.text)

    def test_what_is_missing(self):
        for kind, command in (("V cache", "--kv-cache"), ("Size against decoding", "qins bench coders")):
            self.assertIn(kind, self.first.text)
            self.assertIn(command, self.first.text)
        self.assertIn("To have it:", self.first.text)
        self.assertIn("no trend to show", self.first.text)

    def test_what_a_report_did_not_measure(self):
        """Its criterion has a figure; the picture beside it needs another test of the same report."""
        reports = gate_evidence.reports()
        for name in ("v-single", "v-all"):
            tests = reports[f"native/{name}.json"]["tests"]
            reports[f"native/{name}.json"]["tests"] = {"perplexity": tests["perplexity"]}
        evidence, folder = self.dir / "one-test", self.dir / "of-one-test"
        gate_evidence.write(evidence, reports)
        run_qins("gate", "--evidence", evidence, "-o", folder, env=without_gnuplot(self.dir / "none"))
        text = " ".join(Page((folder / "index.html").read_text()).text.split())
        self.assertRegex(text, r"native: same likeliest token”: its report, \[\d+\], has no test autoregressive")
        self.assertIn("--tests perplexity,autoregressive --context 256", text)

    def test_history(self):
        self.assertNotIn("no trend to show", self.page.text)
        self.assertIn("this review", self.page.text)
        self.assertIn("number 2", self.page.text)
        # names; earlier reviews; the one before and this one; met; not met
        blocks = (self.review / "plots" / "review-history.dat").read_text().split("\n\n\n")
        names, earlier, arrows, met, missed = ([line.split("\t") for line in block.splitlines()]
                                               for block in blocks[:5])
        places = {row[1].strip('"'): row[0] for row in names}
        overlap = places["C: overlap of the ten likeliest tokens"]
        margin = 100 * (0.98 - 0.97) / 0.97
        for rows in (earlier, arrows, met):
            self.assertEqual(len(rows), len(names))
            row = next(r for r in rows if r[0] == overlap)
            self.assertAlmostEqual(float(row[1]), margin, places=4)
        self.assertEqual(missed[0][0], "NaN")


class Close(Folder):
    """Verdicts that may be chance are said to be, on either side of the threshold."""

    ERROR = "within two standard errors of the threshold"
    SPREAD = "the threshold lies within what was measured"

    def judge(self, change):
        reports = gate_evidence.reports()
        change(reports)
        evidence, folder = self.dir / self.id() / "evidence", self.dir / self.id() / "review"
        gate_evidence.write(evidence, reports)
        self.printed = run_qins("gate", "--evidence", evidence, "-o", folder,
                                env=without_gnuplot(self.dir / "none"), check=None).stdout
        review = json.loads((folder / "gate_review.json").read_text())
        self.page = Page((folder / "index.html").read_text()).text
        return {c["id"]: c for g in review["gates"] for c in g["criteria"]}

    def test_standard_errors(self):
        def near(reports):
            tests = reports["validation.json"]["tests"]
            tests["sampling"]["top_k"][9].update(overlap=0.9683, standard_error=0.0009)
            tests["autoregressive"]["teacher_forced"].update(match=0.9502, match_standard_error=0.0033)
        made = self.judge(near)
        self.assertEqual([(made[c]["status"], made[c]["close"]) for c in ("c-top10", "b-match")],
                         [("fail", self.ERROR), ("pass", self.ERROR)])
        self.assertIsNone(made["c-kl"]["close"])
        for c in made.values():
            if c["standard_error"] and isinstance(c["threshold"], float) and c["passed"] is not None:
                away = abs(c["value"] - c["threshold"])
                self.assertEqual(c["close"] == self.ERROR, away <= 2 * c["standard_error"], c["id"])
        near = [c for c in made.values() if c["close"]]
        # each beside its verdict, and what failed on the first screen, too
        failed = [c for c in near if c["status"] == "fail" and c["decides"]]
        self.assertEqual(self.page.count(self.ERROR), len(near) + len(failed))
        self.assertIn("96.83\xa0±\xa00.09\xa0%, the bar is ≥\xa097\xa0% (within two", self.page)
        self.assertIn(f"close: pattern-a: b-match: {self.ERROR}", self.printed)

    def test_rounds(self):
        def wide(reports):
            reports["bench/hot.json"]["overhead_percent"] = {"value": 12.6, "low": 1.5, "high": 21.7}
            reports["bench/kv.json"]["overhead_percent"] = {"value": 4.9, "low": -1, "high": 9}
        made = self.judge(wide)
        self.assertEqual([(made[c]["status"], made[c]["close"], made[c]["spread"]) for c in
                          ("hot-overhead", "kv-latency", "final-latency")],
                         [("fail", self.SPREAD, [1.5, 21.7]), ("pass", self.SPREAD, [-1, 9]),
                          ("pass", None, [3.7, 4.3])])
        self.assertEqual(self.page.count(self.SPREAD), 3)


if __name__ == "__main__":
    main()
