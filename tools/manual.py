"""Makes the man pages: manual.py HELP.json SOURCES OUTPUT. HELP.json is what `qins --help --json`
says, from which come synopsis, options and examples; SOURCES is docs/man, what is written by hand:
qins.mdoc, VERB.mdoc and options.mdoc.

In VERB.mdoc the description comes first. Behind a line `.\\" option NAME` stands what is said of that
option in place of its line of help, behind `.\\" examples` further examples. options.mdoc has texts
of options for all verbs that have none of their own. In qins.mdoc, `.\\" verbs` and `.\\" pages` are
replaced by the list of verbs and of their pages."""
import json
import pathlib
import re
import sys
import textwrap

WIDTH = 79
MARKER = re.compile(r'^\.\\" (option \S+|examples|verbs|pages)$', re.M)


def text(words):
    """A line of help as mdoc: --name is an option, and no character is a command."""
    words = words.replace("\\", "\\e")
    words = re.sub(r"(?<![\w-])--?(?=[a-z])", lambda m: m[0].replace("-", r"\-"), words)
    return r"\&" + words if words[:1] in ".'" else words


def sentence(words):
    words = words[:1].upper() + words[1:]
    return text(words if words.endswith(".") else words + ".")


def argument(option):
    """What follows an option: names in capitals are for something else, others are meant as they are."""
    words = option["argument"]
    if words in ("NAME", "TYPE") and 0 < len(option["values"]) <= 3:
        words = "|".join(option["values"])
    parts = [("Ar " if re.match(r"[A-Z]", part) else "Cm ") + part for part in words.split("|")]
    return " Ns | Ns ".join(parts)


def word(token):
    more = token.endswith("...")
    token = token[:-3] if more else token
    if token.startswith("-"):
        macro = "Fl " + token[1:]
    elif token == "|":
        macro = "|"
    elif token == "options" or re.search(r"[A-Z]", token):
        macro = "Ar " + token
    else:
        macro = " Ns | Ns ".join("Cm " + part for part in token.split("|"))
    return macro + (" ..." if more else "")


def synopsis(usage):
    """The lines of a usage: "convert PATH -o OUT.qins [options]"."""
    lines, optional = [".Nm qins"], []
    for token in usage.split():
        begins, ends = token.startswith("["), token.endswith("]")
        macro = word(token.strip("[]"))
        if begins or optional:
            optional.append(macro)
            if ends:
                lines.append(".Op " + " ".join(optional))
                optional = []
        elif macro == "|":
            lines.append(r".No \(ba")
        else:
            lines.append("." + macro)
    return lines


def parts(path):
    """What stands behind each marker of a file; "" for what stands before the first."""
    if not path.is_file():
        return {"": ""}
    pieces = MARKER.split(re.sub(r'\A(\.\\"(?! option| examples| verbs| pages).*\n)+', "", path.read_text()))
    return {"": pieces[0].strip(), **{k: v.strip() for k, v in zip(pieces[1::2], pieces[2::2])}}


def option_text(option, own, shared):
    key = "option " + option["name"]
    if own.get(key) or shared.get(key):
        return own.get(key) or shared[key]
    values = [v for v in option["values"] if v not in re.split(r"[\s,:;()]+", option["help"])
              and v not in (option["argument"] or "").split("|")]
    return sentence(option["help"]) + ("\nValues: " + ", ".join(values) + "." if values else "")


def options(verb, own, shared):
    described = {"option " + o["name"] for o in verb["options"]}
    stale = [key for key in own if key.startswith("option") and key not in described]
    if stale:
        sys.exit(f"docs/man/{verb['name']}.mdoc: 'qins {verb['name']}' has no {', '.join(stale)}")
    lines = [".Bl -tag -width Ds"]
    for o in verb["options"]:
        letter = f"Fl {o['letter']} , " if o["letter"] else ""
        value = " " + argument(o) if o["argument"] else ""
        lines += [f".It {letter}Fl -{o['name']}{value}", option_text(o, own, shared)]
    return lines + [".El"]


def page(verb, others, own, shared, date):
    name = "qins-" + verb["name"]
    summary = verb["summary"].rstrip(".")
    lines = [f".Dd {date}", f".Dt {name.upper()} 1", ".Os", ".Sh NAME", f".Nm {name}",
             ".Nd " + text(summary[:1].lower() + summary[1:]), ".Sh SYNOPSIS"]
    for usage in verb["usage"]:
        lines += synopsis(usage)
    lines += [".Sh DESCRIPTION", own[""] or text(verb["summary"]), ".Sh OPTIONS", *options(verb, own, shared),
              ".Sh EXIT STATUS", "See", ".Xr qins 1 .", ".Sh EXAMPLES", ".Dl " + text(verb["example"])]
    if own.get("examples"):
        lines += [".Pp", own["examples"]]
    pages = ["qins"] + [f"qins-{o}" for o in sorted(others) if o != verb["name"]
                        and re.search(rf"(?:Cm|qins) {o}\b", "\n".join(lines))]
    return lines + [".Sh SEE ALSO", *references(pages)]


def references(pages):
    return [f".Xr {name} 1" + (" ," if i + 1 < len(pages) else "") for i, name in enumerate(pages)]


def overview(source, verbs):
    listed = [".Bl -tag -width calibrate"]
    for verb in verbs:
        listed += [f".It Cm {verb['name']}", text(verb["summary"])]
    pages = references(sorted(f"qins-{verb['name']}" for verb in verbs))
    made = {"verbs": listed + [".El"], "pages": pages}
    return MARKER.sub(lambda m: "\n".join(made[m[1]]), source).strip().split("\n")


def filled(lines):
    """LINES with those of running text broken where they are long."""
    literal = False
    for line in "\n".join(lines).split("\n"):
        if line.startswith((".Bd", ".Ed")):
            literal = line.startswith(".Bd")
        if literal or line.startswith(".") or len(line) <= WIDTH:
            yield line
        else:
            yield from textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)


def main(described, sources, target):
    verbs = json.loads(pathlib.Path(described).read_text())["verbs"]
    sources, target = pathlib.Path(sources), pathlib.Path(target)
    shared = parts(sources / "options.mdoc")
    source = (sources / "qins.mdoc").read_text()
    date = re.search(r"^\.Dd (.*)$", source, re.M)[1]
    names = [verb["name"] for verb in verbs]
    pages = {"qins": overview(source, verbs)}
    for verb in verbs:
        pages["qins-" + verb["name"]] = page(verb, names, parts(sources / (verb["name"] + ".mdoc")), shared, date)
    for name, lines in pages.items():
        (target / (name + ".1")).write_text("\n".join(filled(lines)) + "\n")


main(*sys.argv[1:])
