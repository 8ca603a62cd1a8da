"""Ids against reference_tokenizer.py, for the shipped tokenizer and for small ones made here in the
ways of Llama 3, Qwen and Llama 2; round trips; refusals."""
import json
import pathlib
import random
import struct
import subprocess
import tempfile
import unittest

import support

try:
    import reference_tokenizer as reference
except ImportError:  # python3-regex
    reference = None

TOOL = support.BUILD_ROOT / "tests" / "tools" / "tokenize_tool"
SHARED = support.SHARED
TEXT = (support.SOURCE_ROOT / "examples" / "kjv-heldout.txt").read_text()

ODD = [" ", "  ", "     ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u200d",
       "\u0085", "\ufeff", "\u180e", "the", "The", " quick", "don't", "DON'T", "we'll", "I'VE", "'s",
       "it's", "naïve", "cafe\u0301", "Ångström", "ﬁne", "straße", "İstanbul", "0", "7", "12", "123",
       "1234", "12345678901", "3.14159", "1,000", "½", "²", "Ⅷ", "٣٤٥", "१२३", "日本語", "中文字符",
       "한국어", "Привет", "Ελληνικά", "עברית", "العربية", "हिन्दी", "ไทย", "😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽",
       "\U0010ffff", "\ue000", "\ufffd", "y_z", "__init__", "int main(void) {", "}",
       "for (i = 0; i < n; i++)", "    return x;", "a->b", "&&", "!=", "===", "/* c */", "\\n", "%s",
       "https://example.org/a?b=c&d=%20", "$x", "€5", "…", "—", "“q”", "<b>", "``", ".", ",", "...",
       "?!", "aaaaaaaaaaaaaaaaaaaa", "camelCase", "\u0301", "e\u0301\u0323", "ＦＵＬＬ", "①", "▁", "<0x41>"]


def texts(seed, n, pieces, specials=()):
    """Lines of the Bible and made-up ones, N of each."""
    rng = random.Random(seed)
    lines = [line for line in TEXT.split("\n") if line]
    made = []
    for _ in range(n):
        made.append("".join(rng.choice(ODD + [*specials] * 3) + rng.choice(["", "", " "])
                            for _ in range(rng.randrange(1, pieces))))
    return rng.sample(lines * (1 + n // len(lines)), n) + made


def run(verb, tokenizer, data, *more, check=0):
    done = subprocess.run([str(TOOL), verb, str(tokenizer), *map(str, more)], input=data,
                          capture_output=True, timeout=100)
    if done.returncode != check:
        raise AssertionError(f"{verb} {tokenizer}: exit {done.returncode}: {done.stderr.decode()}")
    return done.stdout if check == 0 else done.stderr.decode()


def encode(tokenizer, lines, verb="encode"):
    out = run(verb, tokenizer, b"".join(t.encode() + b"\0" for t in lines))
    return [[int(i) for i in line.split()] for line in out.decode().split("\n")[:-1]]


def decode(tokenizer, ids, verb="decode-all"):
    data = "".join(" ".join(map(str, line)) + "\n" for line in ids).encode()
    return run(verb, tokenizer, data).split(b"\0")[:-1]


def special(token, number):
    return {"id": number, "content": token, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True}


def level(regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": regex}


def bpe(vocab, merges, **more):
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
            "merges": [f"{a} {b}" for a, b in merges], **more}


def template(token, number):
    return {"type": "TemplateProcessing", "pair": [],
            "single": [{"SpecialToken": {"id": token, "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}}}


class Tokenizers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not reference:
            raise unittest.SkipTest("no python3-regex")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def write(self, name, value):
        path = pathlib.Path(self.folder.name, name)
        path.write_text(json.dumps(value))
        return path

    def same(self, path, peer, lines, round_trip=True):
        got = encode(path, lines)
        self.assertEqual(len(got), len(lines))
        for line, ids in zip(lines, got):
            self.assertEqual(ids, peer.encode(line), line)
        for line, ids, text in zip(lines, got, decode(path, got)):
            self.assertEqual(text, peer.decode(ids), line)
            if round_trip:
                self.assertEqual(text, line.encode())

    def test_shipped(self):
        path = support.MODEL / "tokenizer.json"
        root = json.loads(path.read_text())
        peer = reference.ByteLevel(root["model"]["vocab"],
                                   [tuple(m.split(" ")) for m in root["model"]["merges"]],
                                   reference.GPT2, {"<|endoftext|>": 0})
        self.same(path, peer, texts(1, 1200, 12, ["<|endoftext|>"]))
        self.same(path, peer, [TEXT])

    def byte_level(self, pattern, n_merges):
        """Vocabulary and merges of a byte-level tokenizer with that split pattern."""
        words = [tuple(reference.BYTES[b] for b in w.encode())
                 for w in reference.regex.findall(pattern, TEXT[:20000])]
        merges = reference.train(words, n_merges)
        tokens = [*reference.BYTES.values(), *dict.fromkeys(a + b for a, b in merges)]
        return {t: i for i, t in enumerate(tokens)}, merges

    def test_llama3(self):
        vocab, merges = self.byte_level(reference.LLAMA3, 300)
        # What no merge makes: only ignore_merges can find it.
        vocab["Ġquick"] = len(vocab)
        bos, eot = len(vocab), len(vocab) + 1
        split = {"type": "Split", "pattern": {"Regex": reference.LLAMA3}, "behavior": "Isolated",
                 "invert": False}
        root = {"version": "1.0", "normalizer": None,
                "added_tokens": [special("<|begin|>", bos), special("<|eot|>", eot)],
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level(False)]},
                "post_processor": {"type": "Sequence",
                                   "processors": [level(True), template("<|begin|>", bos)]},
                "decoder": level(True), "model": bpe(vocab, merges, ignore_merges=True)}
        path = self.write("llama3.json", root)
        peer = reference.ByteLevel(vocab, merges, reference.LLAMA3,
                                   {"<|begin|>": bos, "<|eot|>": eot}, ignore_merges=True)
        lines = texts(2, 1200, 12, ["<|eot|>", "<|begin|>", " quick"])
        self.same(path, peer, lines)
        self.assertEqual(encode(path, ["a quick"], "encode-special"),
                         [[bos] + peer.encode("a quick")])
        self.assertEqual(decode(path, [[bos, *peer.encode("a quick"), eot]], "decode"),
                         [b"a quick"])

    def test_qwen(self):
        vocab, merges = self.byte_level(reference.QWEN, 200)
        end = len(vocab)
        split = {"type": "Split", "pattern": {"Regex": reference.QWEN}, "behavior": "Isolated",
                 "invert": False}
        root = {"added_tokens": [special("<|im_end|>", end)], "normalizer": {"type": "NFC"},
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level(False)]},
                "post_processor": level(False), "decoder": level(False),
                "model": {**bpe(vocab, []), "merges": [list(m) for m in merges]}}
        path = self.write("qwen.json", root)
        peer = reference.ByteLevel(vocab, merges, reference.QWEN, {"<|im_end|>": end}, form="NFC")
        self.same(path, peer, texts(3, 1200, 12, ["<|im_end|>"]), round_trip=False)

    def sentence_piece(self):
        words = [tuple(w) for w in reference.regex.findall("▁[^▁]*",
                                                           "▁" + TEXT[:20000].replace(" ", "▁"))]
        # The mark alone, twice and four times, as SentencePiece learns runs of spaces.
        merges = reference.train(words, 250) + [("▁", "▁"), ("▁▁", "▁▁")]
        merges = list(dict.fromkeys(merges))
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)),
                  *sorted({c for w in words for c in w if c != "\n"})]
        tokens += [t for t in dict.fromkeys(a + b for a, b in merges) if t not in tokens]
        merges = [m for m in merges if m[0] in tokens and m[1] in tokens]
        vocab = {t: i for i, t in enumerate(tokens)}
        return vocab, [m for m in merges if m[0] + m[1] in vocab]

    def test_llama2(self):
        vocab, merges = self.sentence_piece()
        replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        normalizers = [{"type": "Prepend", "prepend": "▁"},
                       {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
        root = {"added_tokens": [special(t, i) for i, t in enumerate(["<unk>", "<s>", "</s>"])],
                "normalizer": {"type": "Sequence", "normalizers": normalizers},
                "pre_tokenizer": None, "post_processor": template("<s>", 1),
                "decoder": {"type": "Sequence",
                            "decoders": [replace, {"type": "ByteFallback"}, {"type": "Fuse"},
                                         strip]},
                "model": bpe(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)}
        path = self.write("llama2.json", root)
        lines = texts(4, 1000, 8)
        self.same(path, reference.SentencePiece(vocab, merges), lines, round_trip=False)
        for line, text in zip(lines, decode(path, encode(path, lines))):
            if "▁" not in line and "<0x" not in line:
                self.assertEqual(text, line.encode())
        self.assertEqual(encode(path, ["", "And"], "encode-special")[0], [1])

    def test_metaspace(self):
        vocab, merges = self.sentence_piece()
        meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
        root = {"added_tokens": [], "normalizer": None, "pre_tokenizer": meta,
                "post_processor": None, "decoder": None,
                "model": bpe(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)}
        path = self.write("metaspace.json", root)
        peer = reference.SentencePiece(vocab, merges, split=True)
        lines = texts(5, 500, 8)
        self.assertEqual(encode(path, lines), [peer.encode(line) for line in lines])

    def llama2c(self, tokens, scores, path, lines):
        peer = reference.Llama2c(tokens, scores)
        got = encode(path, lines)
        for line, ids in zip(lines, got):
            self.assertEqual(ids, peer.encode(line), line)
        texts_again = decode(path, [[1] + ids for ids in got], "decode")
        for line, text in zip(lines, texts_again):
            if "<0x" not in line:
                self.assertEqual(text, line.encode())

    def test_llama2c(self):
        vocab, merges = self.sentence_piece()
        tokens = [t.replace("▁", " ").encode() for t in vocab]
        tokens[1:3] = [b"\n<s>\n", b"\n</s>\n"]
        ranks = {a + b: i for i, (a, b) in enumerate(merges)}
        # Halved, so that neighbours share a score.
        scores = [-float(ranks.get(t, 10 ** 9) // 2) for t in vocab]
        data = struct.pack("<i", max(map(len, tokens)))
        for t, s in zip(tokens, scores):
            data += struct.pack("<fi", s, len(t)) + t
        scores = [struct.unpack("<f", struct.pack("<f", s))[0] for s in scores]
        path = pathlib.Path(self.folder.name, "tokenizer.bin")
        path.write_bytes(data)
        self.llama2c(tokens, scores, path, texts(6, 300, 8))
        self.assertIn("vocabulary 7", run("encode", path, b"", 7, check=3))

    def test_stories(self):
        path = SHARED / "models" / "stories260k" / "tokenizer.bin"
        if not path.exists():
            self.skipTest("no shared data")
        data = path.read_bytes()
        tokens, scores, at = [], [], 4
        while at < len(data):
            score, size = struct.unpack_from("<fi", data, at)
            tokens.append(data[at + 8:at + 8 + size])
            scores.append(score)
            at += 8 + size
        self.assertEqual(len(tokens), 512)
        stories = (SHARED / "text" / "tinystories.txt").read_text().split("\n")
        self.llama2c(tokens, scores, path, [s[:80] for s in stories if s][:support.less(300, 100)]
                     + texts(7, 200, 6))

    def test_real_text(self):
        text = SHARED / "text" / "wiki.test.raw"
        if not text.exists():
            self.skipTest("no shared data")
        data = text.read_bytes()
        data = data[:data.rindex(b"\n", 0, support.less(len(data), 200000)) + 1]
        for path in (support.MODEL, SHARED / "models" / "mix-6m"):
            path = path / "tokenizer.json"
            ids = run("encode", path, data + b"\0")
            self.assertEqual(run("decode", path, ids), data + b"\0")

    def test_any_bytes(self):
        """Byte-level tokenizers give back what is no UTF-8; others put U+FFFD there."""
        data = bytes(b for b in random.Random(8).randbytes(50000) if b) + "\U0010fe80é".encode()
        path = support.MODEL / "tokenizer.json"
        self.assertEqual(run("decode", path, run("encode", path, data + b"\0")), data + b"\0")
        vocab, merges = self.sentence_piece()
        root = {"decoder": {"type": "ByteFallback"},
                "model": bpe(vocab, merges, byte_fallback=True)}
        path = self.write("bytes.json", root)
        self.assertEqual(run("decode", path, run("encode", path, data + b"\0")),
                         data.decode(errors="replace").encode() + b"\0")


if __name__ == "__main__":
    support.main()
