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
                   criterion("none"), criterion("'n'"), criterion("$.list[n>=2].n")),
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

OUT.mkdir(parents=True, exist_ok=True)
for name, spec in seeds.items():
    text = json.dumps(spec, separators=(",", ":")).encode() + b"\0" + json.dumps(REPORT).encode()
    (OUT / name).write_bytes(text)
