"""Makes the seed corpus of fuzz_plugin_hdf5 of that of fuzz_chunk: one payload of each kind."""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
# Place in the target's list of types, by the payload's dtype (docs/chunk-payload.md).
TYPES = {1: 1, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 7: 5, 8: 4, 9: 3, 10: 2}


def main():
    folder = CORPUS / "plugin_hdf5"
    folder.mkdir(exist_ok=True)
    kinds = set()
    for path in sorted((CORPUS / "chunk").glob("*-payload")):
        payload = path.read_bytes()[1:]
        content, dtype, codec = payload[13:16]
        elements, = struct.unpack_from("<I", payload, 16)
        if (content, dtype, codec) in kinds:
            continue
        kinds.add((content, dtype, codec))
        # one element more, so that there are zeros to see
        (folder / path.name).write_bytes(struct.pack("<BH", TYPES[dtype], elements) + payload)
    whole = (CORPUS / "chunk" / "i16-payload").read_bytes()[1:]
    (folder / "wrong-hash").write_bytes(struct.pack("<BH", 0x83, 89) + b"\0" + whole[1:])
    (folder / "wrong-type").write_bytes(struct.pack("<BH", 0, 89) + whole)


main()
