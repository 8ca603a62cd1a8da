"""Turns a file into a C array: embed.py SYMBOL INPUT OUTPUT writes `const char SYMBOL[]`, with a
NUL behind the bytes, and `const size_t SYMBOL_size`, without it."""
import pathlib
import sys

PER_LINE = 20


def main(symbol, source, target):
    data = pathlib.Path(source).read_bytes() + b"\0"
    lines = [", ".join(str(b - 256 if b > 127 else b) for b in data[i:i + PER_LINE])
             for i in range(0, len(data), PER_LINE)]
    pathlib.Path(target).write_text(
        f"#include <stddef.h>\n\nextern const char {symbol}[];\nextern const size_t "
        f"{symbol}_size;\n\nconst char {symbol}[] = {{\n    " + ",\n    ".join(lines) +
        f"}};\nconst size_t {symbol}_size = sizeof {symbol} - 1;\n")


main(*sys.argv[1:])
