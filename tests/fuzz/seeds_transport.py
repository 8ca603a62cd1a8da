"""Seeds of fuzz_transport: descriptions of transports, and bytes for their arrays."""
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "transport"


def an_input(method, order, **changes):
    j = {"name": f"{method}.weight:input", "channels": 3, "method": method, "order": order,
         "sign_plane": False, "levels": 127, "kappa": 3.0, "scale": 0.5}
    j.update(changes)
    return j


def a_layer(number, **changes):
    j = {"tensor": f"{number}.weight", "projection": "v_proj", "layer": number, "expert": 0,
         "input": 0, "out": 2, "planes": False, "output_scale": False, "output_offset": False,
         "output_alpha": 0.0, "output_floor": 0.0}
    j.update(changes)
    return j


def description(inputs, layers, **changes):
    j = {"schema": "qins/transport-weights/1", "qins_version": "0.1.0",
         "model_fingerprint": "0" * 32, "calibration_fingerprint": "1" * 32, "inputs": inputs,
         "layers": layers, "study": None}
    j.update(changes)
    return json.dumps(j).encode()


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    ones = b"\0\0\0\x80\x3f"
    literal, tangent = an_input("jacobian-literal", 1), an_input("jacobian-tangent", 1)
    seeds = {
        "empty": description([], []) + ones,
        "split": description([an_input("split", 3)], [a_layer(0), a_layer(1, projection="k_proj")],
                             study={"layers": []}) + ones,
        "sign_plane": description([an_input("split", 4, sign_plane=True)],
                                  [a_layer(0, planes=True)]) + ones,
        "ridge": description([an_input("ridge", 2, scale=0.0)], [a_layer(0, planes=True)]) + ones,
        "decode": description([an_input("decode", 0, kappa=0.0)], [a_layer(0, expert=7)]) + ones,
        "jacobians": description([literal, tangent], [
            a_layer(0, output_scale=True),
            a_layer(1, input=1, output_scale=True, output_offset=True, output_alpha=2.0,
                    output_floor=0.25)]) + ones,
        "nan": description([an_input("split", 1)], [a_layer(0)]) + b"\0\xff",
        "no_planes": description([an_input("ridge", 1)], [a_layer(0)]) + ones,
        "many_bytes": description([an_input("split", 1, channels=1 << 24)], [a_layer(0)]) + ones,
    }
    for name, data in seeds.items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
