"""Seeds of fuzz_hf_index: indices, and folders of one file, whose name a digit chooses."""
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "hf_index"


def shard():
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


def main():
    for digit in "012345678":
        (FOLDER / f"one-{digit}").write_bytes(digit.encode() + shard())
    (FOLDER / "one-9").write_bytes(b"9" + shard())
    (FOLDER / "not-json").write_bytes(b"{")
    (FOLDER / "missing-shard").write_text('{"weight_map":{"x":"c.safetensors"}}')
    (FOLDER / "misplaced").write_text('{"weight_map":{"z":"a.safetensors","x":"a.safetensors"}}')


main()
