"""Seeds of fuzz_jobs: manifests of batches that are refused, each for a reason of its own."""
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "jobs"
JOB = {"model": "m", "output": "o.qins"}


def manifest(*jobs, **changes):
    return {"schema": "qins/jobs/1", "jobs": list(jobs), **changes}


def main():
    wrong = {
        "no-schema": manifest(JOB, schema="x"), "top-key": manifest(JOB, other=1),
        "defaults-list": manifest(JOB, defaults=[]), "defaults-model": manifest(JOB, defaults={"model": "m"}),
        "no-jobs": manifest(), "text-job": manifest("m"), "no-model": manifest({"output": "o"}),
        "same-output": manifest({**JOB, "name": "a"}, {**JOB, "name": "b"}),
    }
    for key, value in (("bits", 99), ("bits", "x"), ("bits", 4.5), ("lossless", 1), ("codec", 3),
                       ("transport", 7), ("calibration", 7), ("plan", 7), ("plan", "p.json"), ("calibrate", {}),
                       ("calibrate", {"text": []}), ("calibrate", {"text": [1]}), ("verify", 1), ("shards", 0),
                       ("name", "")):
        wrong[f"{key}-{len(wrong)}"] = manifest({**JOB, key: value})
    for name, value in wrong.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")))
    (FOLDER / "not-json.json").write_text("{")


main()
