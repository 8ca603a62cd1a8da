"""Tokenizers as their papers and the documentation of tokenizer.json describe them, with no thought
of speed: what test_tokenizer.py compares the program with. Also a trainer of small vocabularies."""
import collections

import regex

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def byte_characters():
    """Byte -> printable character (GPT-2)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xa1, 0xad), *range(0xae, 0x100)]
    table = {b: chr(b) for b in shown}
    spare = iter(range(256, 512))
    for b in range(256):
        if b not in table:
            table[b] = chr(next(spare))
    return table


BYTES = byte_characters()
UNBYTES = {c: b for b, c in BYTES.items()}


def merge(symbols, ranks):
    """Joins the pair of the lowest rank, the leftmost first, until none is left."""
    symbols = list(symbols)
    while True:
        best = None
        for i in range(len(symbols) - 1):
            rank = ranks.get((symbols[i], symbols[i + 1]))
            if rank is not None and (best is None or rank < best[0]):
                best = rank, i
        if best is None:
            return symbols
        i = best[1]
        symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]


def train(words, n_merges):
    """Merges learnt from an iterable of tuples of symbols."""
    counts = collections.Counter(words)
    merges = []
    while len(merges) < n_merges:
        pairs = collections.Counter()
        for word, n in counts.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        renewed = collections.Counter()
        for word, n in counts.items():
            out, i = [], 0
            while i < len(word):
                if word[i:i + 2] == best:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            renewed[tuple(out)] += n
        counts = renewed
    return merges


class ByteLevel:
    """Byte-level BPE: split pattern, stand-ins for bytes, merges in each word."""

    def __init__(self, vocab, merges, pattern, added=(), ignore_merges=False, form=None):
        self.vocab, self.ranks = vocab, {p: i for i, p in enumerate(merges)}
        self.pattern = regex.compile(pattern)
        self.added = dict(added)
        self.ignore_merges, self.form = ignore_merges, form
        self.known = {}
        names = sorted(self.added, key=len, reverse=True)
        self.finder = regex.compile("|".join(map(regex.escape, names))) if names else None

    def word(self, word):
        mapped = "".join(BYTES[b] for b in word.encode())
        if mapped not in self.known:
            if self.ignore_merges and mapped in self.vocab:
                self.known[mapped] = [self.vocab[mapped]]
            else:
                self.known[mapped] = [self.vocab[s] for s in merge(mapped, self.ranks)]
        return self.known[mapped]

    def plain(self, text):
        if self.form:
            import unicodedata
            text = unicodedata.normalize(self.form, text)
        ids, done = [], 0
        for m in self.pattern.finditer(text):
            if done < m.start():
                ids += self.word(text[done:m.start()])
            ids += self.word(m.group())
            done = m.end()
        return ids + (self.word(text[done:]) if done < len(text) else [])

    def encode(self, text):
        ids, done = [], 0
        for m in self.finder.finditer(text) if self.finder else ():
            ids += self.plain(text[done:m.start()]) + [self.added[m.group()]]
            done = m.end()
        return ids + self.plain(text[done:])

    def decode(self, ids):
        names = {i: t for t, i in [*self.vocab.items(), *self.added.items()]}
        return b"".join(bytes(UNBYTES[c] for c in names[i]) for i in ids)


class SentencePiece:
    """SentencePiece-style BPE: a mark for spaces, bytes for unknown characters."""

    def __init__(self, vocab, merges, prepend=True, split=False):
        self.vocab, self.ranks = vocab, {p: i for i, p in enumerate(merges)}
        self.prepend, self.split = prepend, split

    def word(self, text):
        symbols = []
        for c in text:
            symbols += [c] if c in self.vocab else [f"<0x{b:02X}>" for b in c.encode()]
        return [self.vocab[s] for s in merge(symbols, self.ranks)]

    def encode(self, text):
        if not text:
            return []
        text = text.replace(" ", "▁")
        if self.prepend and not (self.split and text.startswith("▁")):
            text = "▁" + text
        words = regex.findall("▁[^▁]*|[^▁]+", text) if self.split else [text]
        return [i for w in words for i in self.word(w)]

    def decode(self, ids):
        names = {i: t for t, i in self.vocab.items()}
        out = b""
        for i in ids:
            byte = regex.fullmatch("<0x([0-9A-F]{2})>", names[i])
            out += bytes([int(byte[1], 16)]) if byte else names[i].replace("▁", " ").encode()
        return out[1:] if self.prepend and out.startswith(b" ") else out


class Llama2c:
    """run.c of llama2.c: joins the two neighbours whose joint text has the highest score."""

    def __init__(self, tokens, scores):
        self.tokens, self.scores = tokens, scores
        self.ids = {}
        for i, t in enumerate(tokens):
            self.ids.setdefault(t, i)

    def encode(self, text):
        ids = []
        for c in (" " + text if text else ""):
            c = c.encode()
            ids += [self.ids[c]] if c in self.ids else [b + 3 for b in c]
        while True:
            best = None
            for i in range(len(ids) - 1):
                joint = self.ids.get(self.tokens[ids[i]] + self.tokens[ids[i + 1]])
                if joint is not None and (best is None or self.scores[joint] > best[0]):
                    best = self.scores[joint], i, joint
            if best is None:
                return ids
            ids[best[1]:best[1] + 2] = [best[2]]
