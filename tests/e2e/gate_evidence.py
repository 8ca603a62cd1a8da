"""Reports made by hand, as little of each as gates look at: with all of them every shipped gate passes."""
import copy
import json

MODEL, ARCHIVE, CALIBRATION, TEXT = ("1f" * 16, "aa" * 16, "cc" * 16, "ee" * 16)
VERSION = "0.1.0"


def run(match, drift):
    """What a validation tells of tokens that were generated."""
    return {"match": match, "match_standard_error": 0.01, "drift": drift,
            "drift_standard_error": 0.02, "early": match - drift, "late": match,
            "windows": [match] * 20}


def length(tokens, match, drift):
    return {"tokens": tokens, "windows": 10, "text_windows": 19968 // tokens,
            "text": dict(run(match, drift), late=match - 0.005)}


def validation(match, ratio, **parts):
    tests = {
        "perplexity": {
            "context": 256, "style": "qins",
            "model": {"perplexity": 27.6, "tokens": 19968},
            "candidate": {"perplexity": 27.6 * ratio, "tokens": 19968,
                          "compute": {"clamped_outputs": 0,
                                      "per_forward": {"products": 1, "decodes": 9}}},
            "difference": {"perplexity_ratio": ratio, "perplexity_ratio_standard_error": 0.0005,
                           "perplexity": 27.6 * (ratio - 1),
                           "perplexity_standard_error": 0.01},
            "kl": {"mean": 0.002, "standard_error": 0.0001, "max": 0.5, "same_top1": match,
                   "same_top1_standard_error": 0.002, "tokens": 19968}},
        "autoregressive": {
            "source": "shipped", "fingerprint": "dd" * 16, "tokens": 1000,
            "first_divergence": {"diverged": 8, "median": 40},
            "free_running": run(0.45, -0.5), "teacher_forced": run(0.99, -0.001),
            "text": {"free_running": run(0.5, -0.4), "teacher_forced": run(0.99, 0.0)},
            "prompts": [{"id": f"p{i}", "kind": "news", "tokens": 1000, "candidate_tokens": 1000}
                        for i in range(10)]},
        "sampling": {
            "tokens": 19968,
            "kl": {"model_candidate": {"mean": 0.002, "standard_error": 0.0001},
                   "candidate_model": {"mean": 0.0021, "standard_error": 0.0001}},
            "top_k": [{"k": k, "overlap": 0.99, "standard_error": 0.001} for k in range(1, 11)],
            "total_variation": {"mean": 0.01, "standard_error": 0.001}},
        "consistency": {
            "thresholds": {"min_cosine": {"value": 0.99995}, "max_p99_rel_error": {"value": 0.05}},
            "modes": [{"mode": "lossless", "min_cosine": 1.0, "max_p99_rel_error": 0.0},
                      {"mode": "quantised", "min_cosine": 0.9, "max_p99_rel_error": 0.3}],
            "bars_met_from_bits": {"squared_error": 12, "relative_error": 9}},
        "long_context": {"lengths": [length(128, 0.99, -0.001), length(256, 0.985, -0.002),
                                     {"tokens": 2048, "skipped": "the model takes 256"}]}}
    subject = {"path": "model", "fingerprint": MODEL, "layers": 4}
    return {"schema": "qins/validation/1", "qins_version": VERSION, "model": subject,
            "candidate": dict(subject), "tests": tests,
            "text": {"path": "heldout.txt", "fingerprint": TEXT, "tokens": 20001}, **parts}


def native(match, ratio, **projections):
    return validation(match, ratio, transport={
        "path": "T.h5", "calibration_fingerprint": CALIBRATION,
        "layers": sum(projections.values()), "projections": projections})


def coded_v(bits, ratio, match):
    return validation(match, 1.001, kv_cache={
        "bits": bits, "ratio_f16": ratio, "ratio_f32": 2 * ratio, "old_ratio_f16": ratio + 0.1,
        "held_ratio_f16": ratio - 0.1, "mean_held_ratio_f16": ratio - 0.2, "decode_ms_per_page": 0.02, "max_decode_ms": 0.1,
        "page_bytes": 16384, "pages": 1320, "old_pages": 660})


def bench(benchmark, **parts):
    return {"schema": "qins/bench/1", "qins_version": VERSION, "benchmark": benchmark,
            "model": {"path": "model", "fingerprint": MODEL}, **parts}


def weight(name, numel, bits, kind="weight", **parts):
    return {"name": name, "kind": kind, "numel": numel, "archived_bits": bits, **parts}


def reports():
    """Name of file -> report, for the caller to change and write()."""
    archive = {"path": "model.qins", "fingerprint": MODEL, "archive_hash": ARCHIVE,
               "bits_per_weight": 5.2}
    percent = lambda value: {"value": value, "low": value - 0.3, "high": value + 0.3}
    stages = [{"stage": "one v_proj", "pattern_a": {"decodes": 1, "products": 20},
               "pattern_b": {"decodes": 0, "products": 19}},
              {"stage": "every v_proj", "pattern_a": {"decodes": 10, "products": 20},
               "pattern_b": {"decodes": 0, "products": 10}}]
    made = {
        "validation.json": validation(0.985, 1.003, candidate=archive),
        "kv/8.json": coded_v(8, 1.96, 0.999),
        "kv/6.json": coded_v(6, 2.55, 0.995),
        "native/v-single.json": native(0.985, 1.001, v_proj=1),
        "native/v-all.json": native(0.975, 1.002, v_proj=4),
        "native/mlp-single.json": native(0.98, 1.01, gate_proj=1, up_proj=1, down_proj=1),
        "native/all.json": native(0.95, 1.01, v_proj=4, o_proj=4, gate_proj=4, up_proj=4,
                                  down_proj=4),
        "transport.json": {
            "schema": "qins/transport/1", "qins_version": VERSION, "model": "model",
            "model_fingerprint": MODEL, "calibration": "A.h5",
            "calibration_fingerprint": CALIBRATION, "inputs": [{"clipped_share_test": 0.0}],
            "layers": [{"projection": "v_proj", "chosen": 1, "methods": [
                {"method": "jacobian-literal", "relative_error_test": 9.0},
                {"method": "split", "relative_error_test": error}]} for error in (0.005, 0.004)]},
        "verify.json": {"schema": "qins/verify/1", "qins_version": VERSION, "archive": "model.qins",
                        "against": "model", "ok": True, "archive_hash": ARCHIVE},
        "convert.json": {"schema": "qins/convert/1", "qins_version": VERSION, "input_bytes": 4000,
                         "archive_bytes": 650, "archive_hash": ARCHIVE, "bits_per_weight": 5.2,
                         "output": "model.qins"},
        "calibrate.json": {"schema": "qins/calibrate/1", "qins_version": VERSION, "model": "model",
                           "model_fingerprint": MODEL, "text_fingerprints": ["bb" * 16],
                           "text_paths": ["text.txt"],
                           "windows": 1200, "tokens": 307200, "context": 256, "keep_rows": 2048},
        "plan.json": {"schema": "qins/plan/1", "qins_version": VERSION,
                      "summary": {"model_fingerprint": MODEL,
                                  "budget": {"target_bits": 6.5}}, "tensors": [
            {"name": "a", "class": "cold", "reason": "few touches"},
            {"name": "b", "class": "hot", "reason": "every token"}]},
        "analysis/entropy_analysis.json": {
            "schema": "qins/entropy_analysis/1", "qins_version": VERSION,
            "model": {"path": "model", "fingerprint": MODEL}, "plan": {"path": "plan.json"},
            "archive": {"path": "model.qins", "archive_hash": ARCHIVE},
            "transport": {"stages": stages, "study": {"calibration_fingerprint": CALIBRATION}},
            "tensors": [weight("a", 400, 4.0, **{"class": "cold"}),
                        weight("e", 100, 5.0, hot_row_share=0.5, **{"class": "hot"}),
                        weight("b", 600, 6.0, **{"class": "hot"}),
                        weight("x", 7, None, kind="activation", **{"class": "unknown"})]},
        "bench/hot.json": bench("hot-path", overhead_percent=percent(1.2),
                                latency={"overhead_percent": percent(4.0)},
                                archive={"path": "model.qins", "archive_hash": ARCHIVE}),
        "bench/memory.json": bench("memory", peak_bytes=900, served=[{"name": "decoded", "peak_bytes": 4100}],
                                   archive={"path": "model.qins", "archive_hash": ARCHIVE}),
        "bench/kv.json": bench("kv-cache", bits=6, overhead_percent=percent(3.2)),
        "bench/gemv.json": bench("gemv", max_relative_error=1e-6, devices=[{"kind": "gpu"}, {"kind": "gpu"}],
                                 comparisons=[{"of": {"name": "fused"}, "to": {"name": "separate"},
                                               "value": 3.6}])}
    return copy.deepcopy(made)


def write(folder, made):
    for name, report in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report if isinstance(report, str) else json.dumps(report))
