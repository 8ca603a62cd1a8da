"""qins generate: the reference's greedy continuation, sampling, output, and what it refuses."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np

import support

SHARED = support.SHARED
MODEL = support.MODEL
REFERENCE = json.loads((MODEL / "reference.json").read_text())
GREEDY = REFERENCE["greedy_from_first_16"]
CONTEXT = 1024


def byte_alphabet():
    """GPT-2's letters for bytes: printable ones stand for themselves, the others for U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


TOKENS = json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"]
BYTE_OF = {letter: byte for byte, letter in byte_alphabet().items()}
TEXT_OF = {i: bytes(BYTE_OF[c] for c in token) for token, i in TOKENS.items()
           if all(c in BYTE_OF for c in token)}
TEXT_OF[0] = b""  # <|endoftext|>, a special token


def decode(ids):
    return b"".join(TEXT_OF[i] for i in ids).decode(errors="replace")


class Folder(support.Folder):
    def ids(self, values, dtype=np.int64):
        path = self.dir / "ids.npy"
        np.save(path, np.array(values, dtype))
        return path

    def generate(self, *arguments, model=MODEL):
        report = json.loads(support.run_qins("generate", model, "--json", *arguments,
                                             check=0).stdout)
        support.validate(report, "generate")
        return report

    def fails(self, code, *arguments):
        done = support.run_qins("generate", *arguments, check=code)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def folder(self, name, config={}, without=()):
        """A copy of the example with another config."""
        path = self.dir / name
        path.mkdir()
        for file in ("model.safetensors", "tokenizer.json"):
            if file not in without:
                os.symlink(MODEL / file, path / file)
        text = json.loads((MODEL / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**text, **config}))
        return path


class Greedy(Folder):
    def test_reference(self):
        n = len(GREEDY) - 16
        for threads in (1, 2, 3):
            report = self.generate("--ids", self.ids(GREEDY[:16]), "--tokens", n, "--threads",
                                   threads)
            self.assertEqual(report["ids"], GREEDY[16:])
            self.assertEqual(report["prompt_ids"], GREEDY[:16])
            self.assertEqual(report["prompt"], decode(GREEDY[:16]))
            self.assertEqual(report["text"], decode(GREEDY[16:]))
            self.assertEqual(report["stop"], "tokens")
            self.assertGreater(report["prefill_tokens_per_s"], 0)
            self.assertGreater(report["decode_tokens_per_s"], 0)

    def test_prompt_is_encoded(self):
        prompt = decode(GREEDY[:16])
        report = self.generate("--prompt", prompt, "--tokens", 8)
        self.assertEqual(report["prompt_ids"], GREEDY[:16])
        self.assertEqual(report["ids"], GREEDY[16:24])

    def test_archives(self):
        lossless, eight = self.dir / "lossless.qins", self.dir / "eight.qins"
        support.run_qins("convert", MODEL, "-o", lossless, "--lossless", check=0)
        support.run_qins("convert", MODEL, "-o", eight, check=0)
        prompt = ("--prompt", decode(GREEDY[:16]), "--tokens", 24)
        plain = self.generate(*prompt)
        same = self.generate(*prompt, model=lossless)
        self.assertEqual(same["ids"], GREEDY[16:40])
        self.assertEqual(same["fingerprint"], plain["fingerprint"])
        self.assertEqual(self.generate(*prompt, model=eight)["fingerprint"], plain["fingerprint"])

    def test_default_count(self):
        self.assertEqual(len(self.generate("--prompt", "And the")["ids"]), 128)

    def test_a_story(self):
        model = SHARED / "models" / "stories260k" / "model.bin"
        if not model.exists():
            self.skipTest(f"no {model}")
        report = self.generate("--prompt", "Once upon a time", "--tokens", 120, model=model)
        self.assertEqual(report["prompt"], "Once upon a time")
        # What Karpathy's README shows of this model at temperature 0.
        self.assertTrue(report["text"].startswith(", there was a little girl named Lily. She loved "
                                                  "to play outside in the park."), report["text"])


class Sampled(Folder):
    def ids_of(self, *arguments):
        return self.generate("--prompt", "And it came to pass", "--tokens", 40, *arguments)["ids"]

    def test_seed(self):
        hot = ("--temperature", "1", "--seed")
        first = self.ids_of(*hot, 7)
        self.assertEqual(first, self.ids_of(*hot, 7, "--threads", 1))
        self.assertEqual(first, self.ids_of(*hot, 7, "--threads", 3))
        self.assertNotEqual(first, self.ids_of(*hot, 8))
        self.assertNotEqual(first, self.ids_of(*hot, 2**64 - 1))

    def test_narrow_choices_are_greedy(self):
        greedy = self.ids_of()
        self.assertEqual(greedy, self.ids_of("--temperature", "1.5", "--top-k", 1))
        self.assertEqual(greedy, self.ids_of("--temperature", "1.5", "--top-p", "0.000001"))
        self.assertEqual(greedy, self.ids_of("--temperature", "0.001", "--seed", 4))
        self.assertNotEqual(greedy, self.ids_of("--temperature", "1.5", "--top-k", 20))


class Ends(Folder):
    def test_context(self):
        report = self.generate("--ids", self.ids(GREEDY[:4] * 250), "--tokens", 5000)
        self.assertEqual(len(report["ids"]), CONTEXT - 1000)
        self.assertEqual(report["stop"], "context")
        done = support.run_qins("generate", MODEL, "--ids", self.ids(GREEDY[:4] * 250), "--tokens",
                                5000, check=0)
        self.assertIn(f"the model's context of {CONTEXT} tokens is full\n", done.stderr)

    def test_end_of_text(self):
        at = next(i for i in range(17, len(GREEDY)) if GREEDY[i] not in GREEDY[16:i])
        for eos in (GREEDY[at], [1, GREEDY[at]]):
            model = self.folder(f"eos-{isinstance(eos, list)}", {"eos_token_id": eos})
            report = self.generate("--ids", self.ids(GREEDY[:16]), model=model)
            self.assertEqual(report["ids"], GREEDY[16:at + 1])
            self.assertEqual(report["stop"], "eos")

    def test_one_token(self):
        report = self.generate("--prompt", "And", "--tokens", 1)
        self.assertEqual(len(report["ids"]), 1)
        self.assertIsNone(report["decode_tokens_per_s"])

    def test_interrupted(self):
        run = subprocess.Popen([support.PROGRAM, "generate", MODEL, "--prompt", "And", "--tokens",
                                "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        run.stdout.read(4)
        run.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, errors = run.communicate(timeout=60)
        self.assertIn(run.returncode, (0, 130))  # it may have been done before
        self.assertLess(time.monotonic() - begun, 30)
        if run.returncode == 130:
            self.assertEqual(errors.decode().splitlines(), ["qins: interrupted"])


class Output(Folder):
    def test_text_and_rates(self):
        done = support.run_qins("generate", MODEL, "--prompt", decode(GREEDY[:16]), "--tokens", 64,
                                check=0)
        self.assertEqual(done.stdout, decode(GREEDY[:80]) + "\n")
        self.assertRegex(done.stderr, r"^prefill: 16 tokens, [\d.]+ tokens/s; "
                                      r"decode: 64 tokens, [\d.]+ tokens/s\n$")
        quiet = support.run_qins("generate", MODEL, "--prompt", decode(GREEDY[:16]), "--tokens", 64,
                                 "--quiet", check=0)
        self.assertEqual((quiet.stdout, quiet.stderr), (done.stdout, ""))

    def test_control_characters_are_shown(self):
        prompt = "a\x1b[2Jb\x07\r\tc\nd\x7f\u0085\u009b5n é ‍x"
        done = support.run_qins("generate", MODEL, "--prompt", prompt, "--tokens", 1, "--quiet",
                                check=0)
        self.assertTrue(done.stdout.startswith("a\\x1b[2Jb\\x07\\x0d\tc\nd\\x7f\\xc2\\x85\\xc2\\x9b5n é ‍x"),
                        ascii(done.stdout))
        self.assertIsNone(re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.stdout))
        self.assertEqual(self.generate("--prompt", prompt, "--tokens", 1)["prompt"], prompt)

    def test_characters_come_whole(self):
        """Bytes of a character are tokens of their own; what is none becomes U+FFFD."""
        letters = byte_alphabet()
        data = "日本 naïve €".encode() + b"\xff\xe6\x97 \xf0\x9f\x98\x80\xc3"
        ids = [TOKENS[letters[b]] for b in data]
        report = self.generate("--ids", self.ids(ids), "--tokens", 1)
        self.assertEqual(report["prompt_ids"], ids)
        whole = (data + TEXT_OF[report["ids"][0]]).decode(errors="replace")
        self.assertEqual(report["prompt"] + report["text"], whole)
        shown = support.run_qins("generate", MODEL, "--ids", self.ids(ids), "--tokens", 1, "-q",
                                 check=0)
        self.assertEqual(shown.stdout, report["prompt"] + report["text"] + "\n")

    def test_ids_where_there_is_no_tokenizer(self):
        model = self.folder("mute", without=["tokenizer.json"])
        done = support.run_qins("generate", model, "--ids", self.ids(GREEDY[:16]), "--tokens", 9,
                                "-q", check=0)
        self.assertEqual(done.stdout, " ".join(map(str, GREEDY[:25])) + "\n")
        report = self.generate("--ids", self.ids(GREEDY[:16]), "--tokens", 9, model=model)
        self.assertEqual((report["prompt"], report["text"]), (None, None))
        report = self.generate("--ids", self.ids(GREEDY[:16]), "--tokens", 9, "--tokenizer",
                               MODEL / "tokenizer.json", model=model)
        self.assertEqual(report["text"], decode(GREEDY[16:25]))

    def test_closed_pipe(self):
        run = subprocess.Popen([support.PROGRAM, "generate", MODEL, "--prompt", "And", "--tokens",
                                "1000", "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        run.stdout.read(1)
        run.stdout.close()
        errors = run.stderr.read().decode()
        run.stderr.close()
        self.assertEqual(run.wait(), 4, errors)
        self.assertEqual(len(errors.splitlines()), 1, errors)


class Refused(Folder):
    def test_usage(self):
        ids = self.ids(GREEDY)
        for arguments in (["--tokens", "5"], ["--prompt", "a", "--ids", ids], ["--prompt", ""],
                          ["--prompt", "a", "--tokens", "0"], ["--prompt", "a", "--tokens", "x"],
                          ["--prompt", "a", "--temperature", "-1"],
                          ["--prompt", "a", "--temperature", "nan"],
                          ["--prompt", "a", "--top-p", "0"], ["--prompt", "a", "--top-p", "1.1"],
                          ["--prompt", "a", "--top-k", "0"], ["--prompt", "a", "--seed", "-1"],
                          ["--prompt", "a", "--bits", "4"]):
            with self.subTest(arguments=arguments):
                self.fails(2, MODEL, *arguments)
        self.assertIn("1024", self.fails(2, MODEL, "--ids", self.ids([5] * CONTEXT)))

    def test_sampling_needs_a_temperature(self):
        for option, value in (("--top-k", 5), ("--top-p", 0.9), ("--seed", 0)):
            for temperature in ([], ["--temperature", 0]):
                message = self.fails(2, MODEL, "--prompt", "a", option, value, *temperature)
                self.assertIn(f"'{option}'", message)
                self.assertIn("--temperature", message)

    def test_input(self):
        self.assertIn("2048", self.fails(3, MODEL, "--ids", self.ids([1, 2048])))
        self.fails(3, MODEL, "--ids", self.ids([-1]))
        self.fails(3, MODEL, "--ids", self.ids([0.5], np.float32))
        self.fails(4, MODEL, "--ids", self.dir / "none.npy")
        self.fails(4, self.dir / "none", "--prompt", "a")
        self.fails(3, MODEL / "reference.json", "--prompt", "a")
        mute = self.folder("no-tokenizer", without=["tokenizer.json"])
        message = self.fails(3, mute, "--prompt", "a")
        self.assertIn("--tokenizer", message)
        self.assertIn(str(mute), message)
        bare = self.folder("no-config")
        (bare / "config.json").unlink()
        self.assertIn("config.json", self.fails(3, bare, "--prompt", "a"))
        odd = self.folder("odd", {"model_type": "mamba"})
        self.assertIn("mamba", self.fails(3, odd, "--prompt", "a"))
        shutil.rmtree(odd)


if __name__ == "__main__":
    support.main()
