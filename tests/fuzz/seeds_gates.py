"""Corpus of fuzz_gates: gates, a NUL byte, a report."""
import json
import pathlib

OUT = pathlib.Path(__file__).parent / "corpus" / "gates"
SOURCE = {"file": "f", "heading": "h"}
REPORT = {"schema": "qins/plan/1", "id": "m", "n": 3, "b": True, "none": None, "at": 1,
          "list": [{"k": "a", "n": 1, "l": [1, 2]}, {"k": "b", "n": 2.5, "l": []}]}


def gates(*criteria, **parts):
    given = [dict({"id": f"c{i}", "name": "n", "evidence": "plan", "source": SOURCE, "command": "x"}, **c)
             for i, c in enumerate(criteria)]
    return {"schema": "qins/gates/1", "title": "t",
            "identities": [{"schema": "qins/plan/1", "model": "id", "text": "list[].k",
                            "facts": {"n": ["n", {"sum": ["n", 1]}, "list[0].n"]}}],
            "selectors": {"plan": {"schema": "qins/plan/1", "description": "a plan",
                                   "where": {"any": [{"value": "n", "comparison": "in", "threshold": [3]},
                                                     {"not": {"value": "no", "comparison": "present"}}]}}},
            "gates": [{"id": "one", "title": "t", "source": SOURCE, "criteria": given, **parts}]}


def criterion(value, comparison=">", threshold=0, **parts):
    return {"value": value, "comparison": comparison, "threshold": threshold, **parts}


where = {"value": "k", "comparison": "=", "threshold": "a"}
seeds = {
    "paths": gates(criterion("n"), criterion("list[0].n"), criterion("list[@at].l[]"),
                   criterion("list[k=b].n", "between", [1, 3], unit="share"), criterion("b", "=", True),
                   criterion("none"), criterion("'n'"), criterion("$.list[n>=2].n"),
                   criterion("list[n<2].n"), criterion("list[n<=2].n"), criterion("list[n>1].n"),
                   criterion("list[n!=1].n"), criterion("list[k!=a].n"), criterion("n.k"), criterion("n[0]"),
                   criterion("*.k"), criterion("n.*"), criterion("list[7].n"), criterion("list[n=2.5].l[]")),
    "operators": gates(criterion({"ratio": ["n", {"abs": {"difference": [1, "n"]}}]}),
                       criterion({"sum": {"product": ["n", "$.n"]}, "over": "list[]", "where": where}),
                       criterion({"share": where, "over": "list[]", "weight": "n"}),
                       criterion({"mean": "list[].n"}), criterion({"count": "list[]", "where": [where]}),
                       criterion({"max": ["n", {"min": "*"}]}),
                       criterion({"min": "n", "of": {"sum": "l[]"}, "over": "list[]"}, held_out=True)),
    "decisions": gates(criterion("n", needs=[criterion("n", name="n")], beside=[{"name": "b", "value": "n"}],
                                 alternatives=[criterion("at", name="a", unit="x")], standard_error="n"),
                       decisions=[{"when": [{"criterion": "c0", "comparison": "<", "threshold": 9},
                                            {"alone": "pass"}], "text": "{c0} {one/c0} {no} {", "fallback": "f"}]),
}
seeds["decisions"]["decisions"] = [{"when": [{"gate": "one", "status": "pass"}], "as": "one",
                                    "text": "MODEL {one/decision} {one/missing} {one/failed}"}]

# Every key of every part (docs/gates.md).
seeds["parts"] = gates(criterion("n", range=[0, None], spread=["n", "list[0].n"], limits="l", plot="n",
                                 decides=True, unit="x"))
seeds["parts"]["legend"] = [{"term": "t", "text": "x"}]
seeds["parts"]["selectors"]["plan"].update(about=["model", "text"], options={"--to": "n"}, any_model=True)
seeds["parts"]["identities"][0].update(words={"MODEL": "model"}, options={"--of": "n"}, settings={"n": "n"},
                                       model_name="id")
seeds["parts"]["gates"].append({**seeds["parts"]["gates"][0], "id": "two", "requires": ["one"], "from": "a",
                                "to": "b", "description": "d"})
rules = [{"gate": "two", "criterion": "c0", "status": "pass"}, {"gate": "one", "alone": "fail"},
         {"gate": "one", "criterion": "c0", "comparison": "<", "threshold": 9}]
seeds["parts"]["ship"] = [{"id": "s", "name": "n", "when": rules, "unknown_when": rules[:1], "ready": "r",
                           "not_ready": "n", "unknown": "u"}]


def spoilt(name, *path, **changes):
    """The above with one part changed, at the end of the path."""
    part = seeds[name] = json.loads(json.dumps(seeds["parts"]))
    for step in path:
        part = part[step]
    part.update(changes)


spoilt("bad-range", "gates", 0, "criteria", 0, range=[0])
spoilt("bad-spread", "gates", 0, "criteria", 0, spread=["n"])
spoilt("no-criteria", "gates", 0, criteria=[])
spoilt("no-command", "gates", 0, "criteria", 0, command=None)
del seeds["no-command"]["gates"][0]["criteria"][0]["command"]
spoilt("no-selector", "gates", 0, "criteria", 0, evidence="other")
spoilt("no-gates", gates=[])
spoilt("twice", "gates", 1, id="one")
spoilt("criterion-twice", "gates", 0)
seeds["criterion-twice"]["gates"][0]["criteria"] *= 2
spoilt("undecided", "gates", 0, "criteria", 0, decides=False)
spoilt("requires-later", "gates", 1, requires=["three"])
spoilt("no-such-gate", "ship", 0, when=[{"gate": "six", "status": "pass"}])
spoilt("no-such-criterion", "ship", 0, when=[{"gate": "one", "criterion": "x", "status": "pass"}])
spoilt("no-status", "ship", 0, when=[{"gate": "one", "status": "lost"}])
spoilt("two-statuses", "ship", 0, when=[{"gate": "one", "status": "pass", "alone": "pass"}])
spoilt("as-itself", "gates", 0, decisions=[{"when": rules, "text": "x", "as": "one"}])
spoilt("bad-kind", "selectors", "plan", about=["weather"])
spoilt("bad-option", "selectors", "plan", options={"-x": "n"})
spoilt("bad-words", "identities", 0, words=[])

OUT.mkdir(parents=True, exist_ok=True)
for name, spec in seeds.items():
    text = json.dumps(spec, separators=(",", ":")).encode() + b"\0" + json.dumps(REPORT).encode()
    (OUT / name).write_bytes(text)
