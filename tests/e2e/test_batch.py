"""qins batch: manifests, what is run, kept and refused, and the files for engines."""
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import numpy as np

import support
from support import MODEL, PROGRAM, run_qins
from test_analyze import copy_two_layers

SMALL = np.sin(np.arange(4096, dtype="<f4")).tobytes()
SLURM = support.SOURCE_ROOT / "examples" / "slurm"
ODD = "it's \"a\" $name\n\t`of` a \\ model\u2028{x}"


class Batch(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = MODEL
        if support.SANITIZER != "none":
            cls.model = cls.dir / "model"
            copy_two_layers(cls.model)
        cls.text = cls.dir / "text.txt"
        cls.text.write_text((support.SOURCE_ROOT / "examples" / "kjv-calibration.txt").read_text()[:6000])
        cls.whole = cls.dir / "whole.qins"
        run_qins("convert", cls.model, "-o", cls.whole, "--bits", 5, check=0)

    def setUp(self):
        self.here = self.dir / self.id().rsplit(".", 1)[-1]
        self.here.mkdir()

    def manifest(self, jobs, defaults=None, check=True):
        content = {"schema": "qins/jobs/1", "defaults": defaults or {}, "jobs": jobs}
        if check:
            support.validate(content, "jobs")
        path = self.here / "jobs.json"
        path.write_text(json.dumps(content))
        return path

    def batch(self, *arguments, check=0, **options):
        done = run_qins("batch", *arguments, "--json", check=check, **options)
        return support.validate(json.loads(done.stdout), "batch")

    def test_jobs_are_run_and_kept(self):
        out, planned = self.here / "a.qins", self.here / "planned.qins"
        path = self.manifest([
            {"name": "plain", "model": str(self.model), "output": str(out), "bits": 5},
            {"model": str(self.model), "output": str(planned), "calibrate": {"text": str(self.text), "context": 64},
             "plan": {"target_bits": 5.5}}])
        report = self.batch(path)
        self.assertEqual([j["status"] for j in report["jobs"]], ["done", "done"])
        self.assertEqual([j["name"] for j in report["jobs"]], ["plain", "planned.qins"])
        self.assertEqual(out.read_bytes(), self.whole.read_bytes())
        self.assertAlmostEqual(report["jobs"][1]["bits_per_weight"], 5.5, delta=0.1)
        self.assertEqual([j["status"] for j in self.batch(path)["jobs"]], ["kept", "kept"])
        # What is gone, and what is to be otherwise, is made anew.
        out.unlink()
        self.assertEqual([j["status"] for j in self.batch(path)["jobs"]], ["done", "kept"])
        self.assertEqual(out.read_bytes(), self.whole.read_bytes())
        content = json.loads(path.read_text())
        content["jobs"][0]["bits"] = 4
        path.write_text(json.dumps(content))
        self.assertEqual([j["status"] for j in self.batch(path)["jobs"]], ["done", "kept"])
        self.assertNotEqual(out.read_bytes(), self.whole.read_bytes())

    def small_model(self):
        """One layer of the example: plans for all of it take too long."""
        model = self.here / "model"
        shutil.copytree(MODEL, model)
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
        tensors = support.read_safetensors(MODEL / "model.safetensors")
        support.write_safetensors(model / "model.safetensors", {
            name: ("F32", values.shape, [values.tobytes()]) for name, values in tensors.items()
            if "layers" not in name or ".layers.0." in name})
        return model

    def test_what_was_edited_is_used_as_it_is(self):
        model, out, wanted = self.small_model(), self.here / "a.qins", self.here / "wanted.qins"
        calibration, plan = (out.with_name(f"a.qins.{end}") for end in ("calibration.h5", "plan.json"))
        job = {"model": str(model), "output": str(out), "calibrate": {"text": str(self.text), "context": 64},
               "plan": {"target_bits": 5.5}}

        def run(path, status, edited, made_of):
            report = self.batch(path)["jobs"][0]
            self.assertEqual((report["status"], report.get("edited", [])), (status, [str(e) for e in edited]))
            run_qins("convert", model, "--plan", made_of, "-o", wanted, check=0)
            self.assertEqual(out.read_bytes(), wanted.read_bytes())

        path = self.manifest([job])
        run(path, "done", [], plan)
        # Another calibration: another plan is made of it.
        first = plan.read_bytes()
        run_qins("calibrate", model, "--text", self.text, "--context", 128, "-o", calibration, check=0)
        run(path, "done", [calibration], plan)
        self.assertNotEqual(plan.read_bytes(), first)
        run(path, "kept", [calibration], plan)
        # A plan of other hands, which a third calibration does not replace.
        mine = self.here / "mine.json"
        run_qins("plan", model, "--target-bits", 4.5, "-o", mine, check=0)
        shutil.copy(mine, plan)
        run(path, "done", [calibration, plan], mine)
        run_qins("calibrate", model, "--text", self.text, "--context", 32, "-o", calibration, check=0)
        run(path, "done", [calibration, plan], mine)
        run(path, "kept", [calibration, plan], mine)
        self.assertIn(f"edited, used as it is: {calibration.name}, {plan.name}\n",
                      run_qins("batch", path, check=0).stdout)
        # Nor does another job.
        path = self.manifest([{**job, "plan": {"target_bits": 6}}])
        report = self.batch(path, check=1)["jobs"][0]
        self.assertIn("a.qins.plan.json: was edited, and the job has changed since: name it", report["error"])
        self.assertEqual(plan.read_bytes(), mine.read_bytes())
        plan.unlink()
        run(path, "done", [], plan)

    def test_defaults_yield_to_what_a_job_says(self):
        plan = self.here / "plan.json"
        run_qins("plan", self.model, "--target-bits", 5.5, "-o", plan, check=0)
        jobs = [{"model": str(self.model), "output": str(self.here / "planned.qins"), "plan": str(plan)},
                {"model": str(self.model), "output": str(self.here / "plain.qins"), "bits": 5}]
        for defaults, plain in (({"bits": 4, "codec": "huffman"}, ["--codec", "huffman"]),
                                ({"plan": str(plan)}, [])):
            report = self.batch(self.manifest(jobs, defaults))
            self.assertEqual({j["status"] for j in report["jobs"]} - {"done", "kept"}, set())
            for name, options in (("planned", ["--plan", plan]), ("plain", ["--bits", 5, *plain])):
                run_qins("convert", self.model, *options, "-o", self.here / "wanted.qins", check=0)
                self.assertEqual((self.here / f"{name}.qins").read_bytes(),
                                 (self.here / "wanted.qins").read_bytes(), name)

    def test_a_failure_does_not_stop_the_others(self):
        out = self.here / "new" / "folder" / "b.qins"
        jobs = [{"name": "gone", "model": "/no/such", "output": str(self.here / "a.qins")},
                {"name": "there", "model": str(self.model), "output": str(out), "bits": 5, "verify": False}]
        saved = self.here / "report.json"
        done = run_qins("batch", self.manifest(jobs), "--save", saved, check=1)
        self.assertIn("qins: 1 of 2 jobs failed", done.stderr)
        report = support.validate(json.loads(saved.read_text()), "batch")
        self.assertEqual([j["status"] for j in report["jobs"]], ["failed", "done"])
        self.assertIn("/no/such", report["jobs"][0]["error"])
        self.assertEqual(out.read_bytes(), self.whole.read_bytes())
        # Which, and why, is said with --quiet, too.
        quiet = run_qins("batch", self.here / "jobs.json", "--quiet", check=1).stderr.splitlines()
        self.assertEqual(len(quiet), 2, quiet)
        self.assertIn("job 'gone' failed: /no/such: cannot open", quiet[0])
        self.assertEqual(quiet[1], "qins: 1 of 2 jobs failed")
        out.unlink()
        report = self.batch(self.here / "jobs.json", "--strict", check=1)
        self.assertEqual([j["status"] for j in report["jobs"]], ["failed", "not_run"])
        self.assertFalse(out.exists())

    def test_manifests_that_are_refused(self):
        good = {"model": "m", "output": "o"}
        for jobs, defaults, message in (
                ([{**good, "bots": 6}], {}, 'job 1: unknown key "bots"'),
                ([{**good, "name": "x", "plan": {"bits": 6}}], {}, 'job 1 (x): plan: unknown key "bits"'),
                ([{**good, "bits": 13}], {}, '"bits" must be a whole number from 2 to 12'),
                ([{**good, "shards": 0}], {}, '"shards" must be'),
                ([{**good, "lossless": "yes"}], {}, '"lossless" must be true or false'),
                ([{"model": "m"}], {}, '"output" must be'),
                ([good, {**good, "name": "x"}], {}, "two jobs have the output 'o'"),
                ([good, {**good, "output": "p/o"}], {}, "two jobs have the name 'o'"),
                ([{**good, "calibrate": {"text": "t"}, "calibration": "c"}], {}, "exclude each other"),
                ([good], {"model": "m"}, '"defaults" cannot have "model"'),
                ([good], {"shard": 4}, 'unknown key "shard"'),
                ([], {}, '"jobs" must be a list')):
            done = run_qins("batch", self.manifest(jobs, defaults, check=False), check=2)
            self.assertIn(message, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
        (self.here / "jobs.json").write_text("{")
        run_qins("batch", self.here / "jobs.json", check=3)
        run_qins("batch", self.manifest([good]), "--emit", "pbs", "-o", self.here / "x", check=2)
        run_qins("batch", self.manifest([good]), "--emit", "slurm", check=2)
        run_qins("batch", self.manifest([good]), "-o", self.here / "x", check=2)

    def test_nothing_is_written_over(self):
        """Neither an input nor another job's output, under whatever spelling."""
        out, text, folder = self.here / "o" / "x.qins", self.here / "t.txt", self.here / "model"
        text.write_bytes(self.text.read_bytes())
        shutil.copytree(self.model, folder)
        (self.here / "link").symlink_to(folder)
        one = {"name": "a", "model": str(folder), "output": str(out)}
        planned = {**one, "plan": {"target_bits": 6}}
        reads = {"name": "b", "model": str(folder), "output": str(self.here / "y.qins"), "plan": f"{out}.plan.json"}
        for jobs, save, file in (
                ([one], self.here / "jobs.json", "jobs.json"),
                ([one], folder / "model.safetensors", "model.safetensors"),
                ([one], self.here / "link" / "config.json", "model/config.json"),
                ([one], out, "x.qins"), ([one], f"{out}.job.json", "x.qins.job.json"),
                ([{**one, "output": f"{self.here}/no/../jobs.json"}], None, "jobs.json"),
                ([{**one, "output": str(text), "calibrate": {"text": str(text)}}], None, "t.txt"),
                ([{**one, "output": str(folder / "model.safetensors")}], None, "model.safetensors"),
                ([one, {**one, "name": "b", "output": f"{self.here}/.//o/x.qins"}], None, "x.qins"),
                ([planned, {**one, "name": "b", "output": f"{out}.plan.json"}], None, "x.qins.plan.json"),
                ([reads, planned], None, "x.qins.plan.json")):
            with self.subTest(file, save=save):
                path = self.manifest(jobs)
                before = {f: f.read_bytes() for f in self.here.rglob("*") if f.is_file()}
                done = run_qins("batch", path, *(("--save", save) if save else ()), check=2)
                self.assertRegex(done.stderr, rf"^qins: /.*/{file}: .* would write it, and .* (reads|writes) it.*\n$")
                self.assertEqual({f: f.read_bytes() for f in self.here.rglob("*") if f.is_file()}, before)
        self.assertEqual(self.batch(self.manifest([planned, reads]))["done"], 2)

    def test_an_interrupted_batch_goes_on(self):
        names = [self.here / f"{i}.qins" for i in range(4)]
        path = self.manifest([{"model": str(self.model), "output": str(n), "bits": 5} for n in names])
        for _ in range(10):  # all may be over before the signal comes
            process = subprocess.Popen([PROGRAM, "batch", path, "--json"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True)
            while process.poll() is None and not (self.here / "1.qins").exists():
                time.sleep(0.001)
            process.send_signal(signal.SIGTERM)
            _, line = process.communicate(timeout=60)
            if process.returncode != 0:
                break
            for name in names:
                name.unlink()
        self.assertEqual(process.returncode, 130, line)
        self.assertRegex(line, r"interrupted: [1-4] of 4 jobs are done; the same command goes on")
        report = self.batch(path)
        self.assertGreaterEqual(report["kept"], 1)
        self.assertEqual(report["kept"] + report["done"], 4)
        for name in names:
            self.assertEqual(name.read_bytes(), self.whole.read_bytes())

    def emitted(self, engine):
        model, out = self.here / ODD, self.here / "out" / f"{ODD}.qins"
        shutil.copytree(self.model, model)
        path = self.manifest([
            {"name": "one", "model": model.name, "output": f"out/{out.name}", "bits": 5,
             "shards": 3},
            {"model": "small.safetensors", "output": "planned.qins", "plan": {"target_bits": 5.5},
             "verify": False}])
        support.write_safetensors(self.here / "small.safetensors", {"w": ("F32", [64, 64], [SMALL])})
        folder = self.here / "engine's files"
        report = self.batch(path, "--emit", engine, "-o", folder, cwd=self.here)
        self.assertEqual(report["jobs"], 2)
        for name in report["files"]:
            if name.endswith(("sh", "sbatch")):
                subprocess.run(["bash", "-n", self.here / name], check=True)
        return folder, out

    def test_lists_for_gnu_parallel(self):
        folder, out = self.emitted("parallel")
        env = {**os.environ, "QINS": str(PROGRAM)}
        subprocess.run(["bash", folder / "run.sh"], check=True, env=env, timeout=240, capture_output=True)
        self.assertEqual(out.read_bytes(), self.whole.read_bytes())
        # A plan that stands is not made again, nor is one of other hands.
        plan = self.here / "planned.qins.plan.json"
        planned, time = (self.here / "planned.qins").read_bytes(), plan.stat().st_mtime_ns
        run_qins("plan", self.here / "small.safetensors", "--target-bits", 4.5, "-o", plan, check=0)
        mine = plan.read_bytes()
        # Line by line, where there is no such program.
        out.unlink()
        bare = self.here / "bin"
        bare.mkdir()
        for name in ("bash", "dirname", "readlink", "grep", "mkdir"):
            (bare / name).symlink_to(shutil.which(name))
        bare_env = {**env, "PATH": str(bare)}
        subprocess.run(["bash", folder / "run.sh"], check=True, env=bare_env, timeout=240)
        self.assertEqual(out.read_bytes(), self.whole.read_bytes())
        self.assertEqual(plan.read_bytes(), mine)
        self.assertNotEqual((self.here / "planned.qins").read_bytes(), planned)
        # Where it is older than the list, it is of another manifest.
        os.utime(plan, ns=(time, (folder / "prepare.txt").stat().st_mtime_ns))
        subprocess.run(["bash", folder / "run.sh"], check=True, env=bare_env, timeout=240)
        self.assertNotEqual(plan.read_bytes(), mine)
        self.assertEqual((self.here / "planned.qins").read_bytes(), planned)

    @unittest.skipUnless(shutil.which("snakemake"), "no snakemake")
    def test_a_snakefile(self):
        folder, out = self.emitted("snakemake")
        plan, part = self.here / "planned.qins.plan.json", out.with_name(f"{out.name}-00002-of-00003")

        def run(*again):
            """Which lines of the lists are run."""
            done = subprocess.run(["snakemake", "--cores", "2", "--directory", folder, "--snakefile",
                                   folder / "Snakefile"], capture_output=True, text=True, timeout=240,
                                  env={**os.environ, "QINS": str(PROGRAM)})
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(out.read_bytes(), self.whole.read_bytes())
            self.assertEqual(set(re.findall(r"output: done/(\S+)", done.stderr)), set(again))

        everything = ("prepare-0", "tasks-0", "tasks-1", "tasks-2", "tasks-3", "merge-0", "verify-0")
        run(*everything)
        run()
        # Parts that nothing needs any more; the archive; an archive and a part.
        part.unlink()
        run()
        (self.here / "planned.qins").unlink()
        run("tasks-3")
        self.assertTrue((self.here / "planned.qins").exists())
        out.unlink()
        run("tasks-1", "merge-0", "verify-0")
        # A plan of other hands.
        run_qins("plan", self.here / "small.safetensors", "--target-bits", 4.5, "-o", plan, check=0)
        run("tasks-3")
        # The same lists, written anew.
        made = plan.stat().st_mtime_ns
        self.batch(self.here / "jobs.json", "--emit", "snakemake", "-o", folder, cwd=self.here)
        run(*everything)
        self.assertGreater(plan.stat().st_mtime_ns, made)

    def test_files_for_slurm(self):
        folder, _ = self.emitted("slurm")
        text = (folder / "submit-all.sh").read_text()
        self.assertEqual(text.count("submit.sh"), 2)
        self.assertIn("DEPENDENCY=afterok:${prepare%%;*}", text)
        for name in os.listdir(SLURM):
            self.assertEqual((folder / name).read_bytes(), (SLURM / name).read_bytes())

    def test_an_output_that_looks_like_an_option(self):
        path = self.manifest([{"model": str(self.model), "output": "-d.qins", "bits": 5, "shards": 2}])
        self.batch(path, "--emit", "parallel", "-o", "run", cwd=self.here)
        subprocess.run(["bash", self.here / "run" / "run.sh"], check=True, timeout=240, capture_output=True,
                       env={**os.environ, "QINS": str(PROGRAM)})
        self.assertEqual((self.here / "-d.qins").read_bytes(), self.whole.read_bytes())

    def submit(self, env, script=SLURM / "submit.sh", check=0):
        """The calls of sbatch that a script makes, each as its words and the MODEL that jobs are given."""
        path = self.here / "bin" / "sbatch"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"""#!/bin/bash
echo 7
printf '%s\\0' "$@" "$MODEL" >>'{self.here}/calls'
printf '\\n' >>'{self.here}/calls'
""")
        path.chmod(0o755)
        calls = self.here / "calls"
        calls.write_text("")
        done = subprocess.run(["bash", script, "2"], capture_output=True, text=True, timeout=60, env={
            **os.environ, "PATH": f"{path.parent}:{os.environ['PATH']}", "QINS": str(PROGRAM), **env})
        self.assertEqual(done.returncode, check, done.stderr)
        return [line.split("\0")[:-1] for line in calls.read_text().splitlines()]

    def test_preparations_have_a_log(self):
        path = self.manifest([{"model": "/no/such", "output": "out 5%/a.qins", "plan": {"target_bits": 5}}])
        self.batch(path, "--emit", "slurm", "-o", "run", cwd=self.here)
        calls = self.submit({}, self.here / "run" / "submit-all.sh")
        self.assertEqual(len(calls), 4)
        self.assertIn("--output=out 5%%/a.qins.prepare.log", calls[0])
        self.assertTrue((self.here / "out 5%").is_dir())

    def test_a_model_that_only_the_nodes_have(self):
        calls = self.submit({"MODEL": "/data/not/there", "OUT": str(self.here / "a.qins")})
        self.assertEqual([words[-1] for words in calls], ["/data/not/there"] * 3)

    def test_options_that_are_no_words(self):
        env = {"MODEL": str(self.model), "OUT": str(self.here / "a.qins"), "OPTIONS": "--bits 4 --plan it's.json"}
        self.assertEqual(self.submit(env, check=2), [])
        env = {**os.environ, "QINS": str(PROGRAM), "SLURM_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "1",
               "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "1", **env}
        done = subprocess.run(["bash", SLURM / "convert-array.sbatch"], capture_output=True, timeout=60, env=env)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual([p.name for p in self.here.glob("a.qins*")], [])


support.main()
