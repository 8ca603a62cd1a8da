"""The folder law of docs/architecture.md, and the mechanical code rules of CONTRIBUTING.md."""
import pathlib
import re
import subprocess
import unittest

import support

LAYERS = ["core", "formats", "model", "analyze", "policy", "convert", "bench", "cli"]
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 100
ROOT = support.SOURCE_ROOT

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)
# Calls that only a program may make. A forked child has to end by _exit().
PROGRAM_ONLY = re.compile(r"(?<![\w.>])(?:printf|vprintf|puts|putchar|perror|exit|abort|assert|quick_exit)\s*\("
                          r"|\b(?:stdout|stderr)\b")
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:ho" r"me|wo" r"rk|ro" r"ot|Us" r"ers)/\w")


def project_files():
    """What git tracks; where this is no clone, everything outside build folders."""
    try:
        listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True,
                                 capture_output=True).stdout.decode()
        return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        return [p for p in ROOT.rglob("*") if p.is_file()
                and not p.relative_to(ROOT).parts[0].startswith(("build", ".git"))]


def relative(path):
    return path.relative_to(ROOT).as_posix()


def sources(folders, suffixes=(".c", ".h")):
    return [p for p in project_files()
            if p.suffix in suffixes and relative(p).split("/")[0] in folders]


def without_comments(text):
    """Comments blanked, strings kept, line numbers kept."""
    pattern = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.S)
    return pattern.sub(lambda m: m[0] if m[0][0] in "\"'" else re.sub(r"[^\n]", " ", m[0]), text)


def without_strings(text):
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def include_graph():
    """folder -> folders whose headers it includes, at the depth that the table has."""
    graph = {}
    for path in sources(LAYERS):
        folder = relative(path.parent)
        edges = graph.setdefault(folder, set())
        for name in INCLUDE.findall(path.read_text()):
            if name.startswith("qins/"):
                edges.add("include/qins")
            elif name.split("/")[0] in LAYERS:
                edges.add(pathlib.PurePosixPath(name).parent.as_posix())
        edges.discard(folder)
    return {folder: edges for folder, edges in graph.items() if edges}


def documented_graph():
    """The rows "| `folder` | `a`, `b` |" of the include table."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("<!-- include table -->")[1].split("<!-- end -->")[0]
    graph = {}
    for row in re.findall(r"^\|(.*)\|(.*)\|$", table, re.M):
        folder, edges = (re.findall(r"`([^`]+)`", cell) for cell in row)
        if folder:
            graph[folder[0]] = set(edges)
    return graph


def functions(text):
    """(name, first line, lines) of each function, as clang-format lays them out: the body's
    braces stand alone in column 0."""
    lines = text.split("\n")
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            head = " ".join(lines[max(0, start - 5):start - 1])
            name = re.findall(r"(\w+)\s*\(", head)
            yield (name[-1] if name else "?"), start, number - start + 1
            start = None


class FolderLaw(unittest.TestCase):
    def test_includes_go_up_only(self):
        wrong = []
        for folder, edges in include_graph().items():
            layer = LAYERS.index(folder.split("/")[0])
            for edge in edges:
                top = edge.split("/")[0]
                if top != "include" and LAYERS.index(top) > layer:
                    wrong.append(f"{folder} includes {edge}")
        self.assertEqual(wrong, [])

    def test_project_headers_are_named_from_the_root(self):
        wrong = []
        for path in sources(LAYERS):
            for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M):
                if not name.startswith("qins/") and not (ROOT / name).is_file():
                    wrong.append(f"{relative(path)}: {name}")
        self.assertEqual(wrong, [])

    def test_table_of_architecture_md_is_the_real_graph(self):
        self.assertEqual({f: sorted(e) for f, e in include_graph().items()},
                         {f: sorted(e) for f, e in documented_graph().items()})


class CodeRules(unittest.TestCase):
    def test_only_programs_print_or_exit(self):
        wrong = []
        for path in sources([f for f in LAYERS if f not in ("cli", "bench")]):
            text = without_strings(without_comments(path.read_text()))
            for number, line in enumerate(text.split("\n"), 1):
                if PROGRAM_ONLY.search(line) and "static_assert" not in line:
                    wrong.append(f"{relative(path)}:{number}: {line.strip()}")
        self.assertEqual(wrong, [])

    def test_files_are_short(self):
        long = []
        for path in sources(LAYERS + ["tests", "include", "examples"], (".c", ".h", ".py")):
            count = path.read_text().count("\n")
            if count > MAX_FILE_LINES:
                long.append(f"{relative(path)}: {count} lines")
        self.assertEqual(long, [])

    def test_functions_are_short(self):
        long = []
        for path in sources(LAYERS + ["tests", "examples"], (".c",)):
            for name, line, count in functions(path.read_text()):
                if count > MAX_FUNCTION_LINES:
                    long.append(f"{relative(path)}:{line}: {name}, {count} lines")
        self.assertEqual(long, [])

    def test_no_unfinished_marks_and_no_machine_paths(self):
        wrong = []
        for path in project_files():
            if "corpus" in path.parts or relative(path).startswith("examples/kjv-"):
                continue
            try:
                text = path.read_text()
            except UnicodeDecodeError:
                continue
            for number, line in enumerate(text.split("\n"), 1):
                if UNFINISHED.search(line) or MACHINE_PATH.search(line):
                    wrong.append(f"{relative(path)}:{number}: {line.strip()[:80]}")
        self.assertEqual(wrong, [])

    def test_own_scanner_sees_functions_and_calls(self):
        """The scanner itself: a rule that can see nothing would always hold."""
        body = "int f(int a)\n{\n" + "    a++;\n" * 120 + "}\n"
        self.assertEqual([(n, c) for n, _, c in functions(body)], [("f", 122)])
        self.assertTrue(PROGRAM_ONLY.search(without_comments("    exit(1); /* x */")))
        self.assertFalse(PROGRAM_ONLY.search(without_comments("    _exit(1); /* exit(1) */")))
        self.assertFalse(PROGRAM_ONLY.search("    on_exit(1); snprintf(a);"))
        self.assertTrue(sources(["core"]))


if __name__ == "__main__":
    support.main()
