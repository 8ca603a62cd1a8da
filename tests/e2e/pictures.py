"""What is written in a picture that gnuplot drew, and whether all of it lies within."""
import re
import xml.etree.ElementTree

SVG = "{http://www.w3.org/2000/svg}"
WIDTH = 0.58  # of a character on average, in sizes of the font: about that of DejaVu Sans
SLACK = 3     # units, of some 600


def texts(path):
    """Of each text: itself, and the left, top, right and bottom end of it."""
    root = xml.etree.ElementTree.parse(path).getroot()
    for group in root.iter(f"{SVG}g"):
        text = "".join("".join(t.itertext()) for t in group.findall(f"{SVG}text")).strip()
        place = re.match(r"translate\(([-\d.]+),([-\d.]+)\)\s*(rotate)?", group.get("transform", ""))
        if not text or not place:
            continue
        size = float(group.get("font-size", 15))
        length = WIDTH * size * len(text)
        start = {"start": 0, "middle": -length / 2, "end": -length}[group.get("text-anchor", "start")]
        x, y = float(place[1]), float(place[2])
        if place[3]:  # upwards
            yield text, (x - 0.8 * size, y - start - length, x, y - start)
        else:
            yield text, (x + start, y - 0.75 * size, x + start + length, y)


def outside(path):
    """Texts that are cut off."""
    box = [float(v) for v in xml.etree.ElementTree.parse(path).getroot().get("viewBox").split()]
    return [(text, ends, box[2:]) for text, ends in texts(path)
            if min(ends[:2]) < -SLACK or ends[2] > box[2] + SLACK or ends[3] > box[3] + SLACK]
