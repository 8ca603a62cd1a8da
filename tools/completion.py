"""Makes the completion of a shell: completion.py bash|zsh|fish HELP.json OUTPUT. HELP.json is what
`qins --help --json` says of verbs and options."""
import json
import pathlib
import shlex
import sys

# What the program is asked without a verb; each may be followed by --json.
QUESTIONS = ["--help", "--version", "--limits"]

BASH = r"""# bash completion of qins, made from its own help by tools/completion.py.

# The words that begin like $cur.
_qins_words()
{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# The same behind the last comma.
_qins_list()
{
    local before=
    case $cur in *,*) before=${cur%,*}, ;; esac
    mapfile -t COMPREPLY < <(compgen -P "$before" -W "$1" -- "${cur##*,}")
    compopt -o nospace 2>/dev/null
}

_qins_files()
{
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen "$1" -- "$cur")
}

# What option $2 of verb $1 may be; false where it is no option with a value.
_qins_value()
{
    case $1\ $2 in
@VALUES@
    *) return 1 ;;
    esac
}

_qins()
{
    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} prev=
    [ "$COMP_CWORD" -gt 1 ] && prev=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    # --name=value comes as three words.
    if [ "$cur" = = ]; then
        cur=
    elif [ "$prev" = = ]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if [ "$COMP_CWORD" -eq 1 ]; then
        _qins_words '@VERBS@ help @QUESTIONS@'
        return
    fi
    _qins_value "$verb" "$prev" && return
    case $verb in
    help) [ "$COMP_CWORD" -eq 2 ] && _qins_words '@VERBS@' ;;
    --*) _qins_words --json ;;
@OPERANDS@
    esac
}
complete -F _qins qins
"""


def names(option):
    return ["--" + option["name"]] + (["-" + option["letter"]] if option["letter"] else [])


def bash_action(option):
    values = shlex.quote(" ".join(option["values"]))
    if option["kind"] == "list":
        return f"_qins_list {values}"
    parts = [f"_qins_words {values}"] if option["values"] else []
    if option["kind"] in ("file", "folder"):
        parts.append("_qins_files -" + ("f" if option["kind"] == "file" else "d"))
    return "; ".join(parts) or ":"


def bash(verbs):
    values, operands = [], []
    for verb in verbs:
        for option in verb["options"]:
            if option["kind"] != "flag":
                patterns = " | ".join(f"{verb['name']}\\ {name}" for name in names(option))
                values.append(f"    {patterns}) {bash_action(option)} ;;")
        options = " ".join(name for option in verb["options"] for name in names(option)[:1])
        files = "_qins_files -f" if verb["max_operands"] != 0 else ":"
        if verb["words"]:
            first = shlex.quote(" ".join(verb["words"]))
            files = f"if [ \"$COMP_CWORD\" -eq 2 ]; then _qins_words {first}; else {files}; fi"
        operands.append(f"    {verb['name']})\n        case $cur in\n        -*) _qins_words '{options}' ;;\n"
                        f"        *) {files} ;;\n        esac ;;")
    return (BASH.replace("@VALUES@", "\n".join(values)).replace("@OPERANDS@", "\n".join(operands))
            .replace("@VERBS@", " ".join(v["name"] for v in verbs)).replace("@QUESTIONS@", " ".join(QUESTIONS)))


def zsh_text(words):
    for character in "\\[]:":
        words = words.replace(character, "\\" + character)
    return words


def zsh_action(option):
    values = " ".join(option["values"])
    if option["kind"] == "list":
        return f"_values -s , value {values}" if values else " "
    path = {"file": "_files", "folder": "_files -/"}.get(option["kind"])
    if path and values:
        return f" _alternative 'names\\:name\\:({values})' 'files\\:file\\:{path}'"
    return path or (f"({values})" if values else " ")


def zsh_option(option):
    flags = names(option)
    value = ""
    if option["kind"] != "flag":
        flags[0] += "="
        value = f":{zsh_text(option['argument'])}:{zsh_action(option)}"
    return [shlex.quote(f"{flag}[{zsh_text(option['help'])}]{value}") for flag in flags]


def zsh(verbs):
    lines = ["#compdef qins", "# zsh completion of qins, made from its own help by tools/completion.py.", "",
             "_qins() {", "  local -a verbs", "  verbs=("]
    lines += ["    " + shlex.quote(f"{v['name']}:{zsh_text(v['summary'])}") for v in verbs]
    lines += ["  )", "  if (( CURRENT == 2 )); then", "    _describe -t verbs verb verbs",
              "    compadd -- help " + " ".join(QUESTIONS), "    return", "  fi", "  local verb=$words[2]",
              "  shift words", "  (( CURRENT-- ))", "  case $verb in",
              "  help) _describe -t verbs verb verbs ;;", "  --*) compadd -- --json ;;"]
    for verb in verbs:
        specs = [spec for option in verb["options"] for spec in zsh_option(option)]
        if verb["words"]:
            specs.append(shlex.quote(f"1:what:({' '.join(verb['words'])})"))
        if verb["max_operands"] != 0:
            specs.append("'*:file:_files'")
        lines += [f"  {verb['name']}) _arguments -S -s " + " \\\n      ".join(specs) + " ;;"]
    return "\n".join(lines + ["  esac", "}", "", '_qins "$@"', ""])


def fish(verbs):
    every = " ".join(v["name"] for v in verbs)
    start = f"complete -c qins -n 'not __fish_seen_subcommand_from {every}'"
    lines = ["# fish completion of qins, made from its own help by tools/completion.py.", "",
             *(f"{start} -f -l {question[2:]}" for question in QUESTIONS)]
    for verb in verbs:
        lines.append(f"{start} -f -a {verb['name']} -d {shlex.quote(verb['summary'])}")
        seen = f"complete -c qins -n '__fish_seen_subcommand_from {verb['name']}'"
        if verb["words"]:
            lines.append(f"{seen} -a {shlex.quote(' '.join(verb['words']))}")
        for option in verb["options"]:
            line = f"{seen} -l {option['name']}" + (f" -s {option['letter']}" if option["letter"] else "")
            if option["kind"] != "flag":
                line += " -r" if option["kind"] in ("file", "folder") else " -x"
                if option["values"]:
                    values = " ".join(option["values"])
                    line += " -a " + (f"\"(__fish_append , (string split ' ' '{values}'))\""
                                      if option["kind"] == "list" else shlex.quote(values))
            lines.append(f"{line} -d {shlex.quote(option['help'])}")
    return "\n".join(lines) + "\n"


def main(shell, described, target):
    verbs = json.loads(pathlib.Path(described).read_text())["verbs"]
    pathlib.Path(target).write_text({"bash": bash, "zsh": zsh, "fish": fish}[shell](verbs))


main(*sys.argv[1:])
