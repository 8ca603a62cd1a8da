#!/usr/bin/env python3
"""Writes corpus/tokenizer: small tokenizers of each kind, as fuzz_tokenizer takes them."""
import json
import pathlib
import struct

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def vocab(*tokens):
    return {t: i for i, t in enumerate(dict.fromkeys(tokens))}


def split(pattern, behavior, invert=False):
    kind = "Regex" if pattern == LLAMA3 or "\\" in pattern else "String"
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(members, *parts):
    return {"type": "Sequence", members: list(parts)}


def tokenizers():
    letters = "aĠbcdefhinorstuwxyzTqkĉĊč1234567890',.<>/|-Ãķ"
    byte_level = {"vocab": vocab(*letters, "th", "he", "Ġth", "the", "12", "ĊĊ"),
                  "merges": ["t h", "h e", "Ġ th", "th e", "1 2", "Ċ Ċ"], "type": "BPE"}
    added = [{"id": 60, "content": "<s>", "special": True, "lstrip": True, "rstrip": True},
             {"id": 61, "content": "fox", "special": False, "single_word": True}]
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                "special_tokens": {"<s>": {"ids": [60]}}}
    yield "gpt2", {"added_tokens": added, "pre_tokenizer": {"type": "ByteLevel"},
                   "decoder": {"type": "ByteLevel"}, "model": byte_level}
    yield "llama3", {"added_tokens": added, "post_processor": template,
                     "normalizer": {"type": "NFC"},
                     "pre_tokenizer": sequence("pretokenizers", split(LLAMA3, "Isolated"),
                                               {"type": "ByteLevel", "use_regex": False}),
                     "decoder": {"type": "ByteLevel"},
                     "model": {**byte_level, "ignore_merges": True}}
    marked = vocab("<unk>", "<s>", *(f"<0x{b:02X}>" for b in (9, 10, 0xc3, 0xa9)), *"▁aeht", "▁t",
                   "he", "▁the", "▁▁")
    pieces = {"vocab": marked, "merges": [["▁", "t"], ["h", "e"], ["▁t", "he"], ["▁", "▁"]],
              "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    yield "llama2", {"normalizer": sequence("normalizers", {"type": "Prepend", "prepend": "▁"},
                                            replace),
                     "decoder": sequence("decoders", {"type": "ByteFallback"}, {"type": "Fuse"},
                                         {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
                     "model": pieces}
    yield "metaspace", {"normalizer": sequence("normalizers", {"type": "NFKC"}, {"type": "Strip"},
                                               {"type": "Lowercase"}),
                        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁",
                                          "prepend_scheme": "first"},
                        "decoder": {"type": "Metaspace", "replacement": "▁"}, "model": pieces}
    yield "replace", {"added_tokens": [{"id": 60, "content": " ", "special": False}],
                      "pre_tokenizer": split(r"[\x41-\x{5A}\u0061]+", "Isolated"),
                      "decoder": sequence("decoders", {**replace, "pattern": {"String": "▁"},
                                                       "content": " a"},
                                          {"type": "ByteFallback"},
                                          {"type": "Strip", "content": " ", "start": 1, "stop": 2},
                                          {"type": "Fuse"}), "model": pieces}
    yield "replace_regex", {"decoder": {**replace, "pattern": {"Regex": "a+"}}, "model": pieces}
    yield "splits", {"pre_tokenizer": sequence(
        "pretokenizers", {"type": "Digits"}, {"type": "Punctuation"},
        split(" ", "MergedWithPrevious"), split("\\s", "MergedWithNext"),
        split("o", "Contiguous", True), {"type": "WhitespaceSplit"}, {"type": "Whitespace"}),
        "model": pieces}


def llama2c():
    tokens = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % b for b in range(256)), b" ", b"t",
              b"h", b"e", b" t", b"he", b" the"]
    data = struct.pack("<i", max(map(len, tokens)))
    for i, t in enumerate(tokens):
        data += struct.pack("<fi", -float(i), len(t)) + t
    return data


def main():
    folder = pathlib.Path(__file__).parent / "corpus" / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in tokenizers():
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        (folder / f"{name}.json").write_text(text)
    (folder / "llama2c.bin").write_bytes(llama2c())


if __name__ == "__main__":
    main()
