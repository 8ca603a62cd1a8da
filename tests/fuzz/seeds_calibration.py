"""Seeds of fuzz_calibration: descriptions of calibrations, and bytes for their figures."""
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "calibration"


def description(points, **changes):
    meta = {"schema": "qins/calibration/1", "qins_version": "0.1.0",
            "model": {"name": "m", "fingerprint": "0" * 32, "archive_hash": "4" * 32}, "tokenizer": "1" * 32,
            "texts": ["2" * 32],
            "options": {"context": 8, "seed": "0", "keep_rows": 2, "gram": True}, "tokens": 0,
            "windows": 0, "kept_rows": 2,
            "access": {"tensors": ["a.weight"], "embedding_rows": 3, "layers": 1, "experts": 2},
            "points": points}
    meta.update(changes)
    return json.dumps(meta).encode()


def point(**changes):
    p = {"name": "a.weight:input", "kind": "mlp", "layer": 0, "expert": 0, "channels": 3,
         "tensors": ["a.weight"], "rows": 0, "gram": True, "kept": 1}
    p.update(changes)
    return p


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    seeds = {
        "zeros": description([point()]) + b"\0\0",
        "no_figures": description([point()]),
        "two_points": description([point(), point(name="b/c%.:output", kind="value", kept=0,
                                                  gram=False)]) + b"\0\0",
        "captured": description([point(kind="captured", layer=None, expert=None)], model=None, tokenizer=None,
                                access=None) + b"\0\0",
        "unfinished": description([point()], unfinished={"job": "3" * 32, "pass": 1,
                                                         "windows": 0}) + b"\0\0",
        "part": description([point()], part={"index": 3, "count": 8, "job": "5" * 32, "windows": 9},
                            sensitivity={"tokens": 4, "head_rows": 2, "joined": [1],
                                         "tensors": ["a.weight", "b.weight"]}) + b"\0\1\0\0\0\0\0\0\0",
        "part_beyond": description([point()], part={"index": 9, "count": 8, "job": "5" * 32,
                                                    "windows": 9}),
        # figures that are a small integer in four bytes and a number above zero in eight
        "sensitivity": description([], kept_rows=0, access=None,
                                   sensitivity={"tokens": 4, "head_rows": 2, "tensors": ["a", "b"]}) +
        b"\0" + b"\7\0\0\0\5\0\0\0",
        "sensitivity_unsound": description([], kept_rows=0, access=None,
                                           sensitivity={"tokens": 4, "head_rows": 2, "tensors": ["a"]}) +
        b"\0" + b"\xff",
        "ones": description([point(rows=1)]) + b"\0\1\0\0\0\0\0\0\0",
    }
    for name, data in seeds.items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
