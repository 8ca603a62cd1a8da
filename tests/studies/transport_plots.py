"""The pictures of docs/transport.md as small SVG files, from a study's report and calibration."""
import html
import math

import h5py
import numpy as np

import transport_reference as reference

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
WIDTH, HEIGHT = 860, 330
LAYER, KAPPA, LEVELS = 2, 3.0, 127
SHOWN_POINTS = 61


class Picture:
    """Elements of an SVG file."""

    def __init__(self, width, height, title):
        self.width, self.height, self.title, self.parts = width, height, title, []

    def text(self, x, y, words, anchor="middle", colour="#222", turn=0):
        turned = f' transform="rotate({turn} {x:.0f} {y:.0f})"' if turn else ""
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}"'
                          f'{turned}>{html.escape(words)}</text>')

    def line(self, points, colour, width=1.6, dash=""):
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                          f'stroke-width="{width}"{dashed}/>')

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')

    def save(self, path):
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'font-family="sans-serif" font-size="12">\n<title>{html.escape(self.title)}</title>\n'
            f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(self.parts) +
            "\n</svg>\n")


class Panel:
    """A frame in a picture with its scales; Y_LOG: decades."""

    def __init__(self, picture, box, x_range, y_range, y_log=False):
        self.p, self.box, self.x_range, self.y_log = picture, box, x_range, y_log
        self.y_range = tuple(map(math.log10, y_range)) if y_log else y_range
        left, top, right, bottom = box
        picture.line([(left, top), (left, bottom), (right, bottom), (right, top), (left, top)],
                     "#999", 1)

    def at(self, x, y):
        left, top, right, bottom = self.box
        y = math.log10(y) if self.y_log else y
        share_x = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        share_y = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return left + share_x * (right - left), bottom - share_y * (bottom - top)

    def x_ticks(self, ticks):
        for x, words in ticks:
            at = self.at(x, 0 if not self.y_log else 10 ** self.y_range[0])[0]
            self.p.line([(at, self.box[3]), (at, self.box[3] + 4)], "#999", 1)
            self.p.text(at, self.box[3] + 17, words)

    def y_ticks(self, ticks):
        for y, words in ticks:
            at = self.at(self.x_range[0], y)[1]
            self.p.line([(self.box[0], at), (self.box[2], at)], "#eee", 1)
            self.p.text(self.box[0] - 5, at + 4, words, "end")

    def curve(self, xs, ys, colour, **style):
        """What of it is in the frame."""
        run = []
        for point in [*(self.at(x, y) for x, y in zip(xs, ys)), (0, math.inf)]:
            if self.box[1] <= point[1] <= self.box[3]:
                run.append(point)
                continue
            if len(run) > 1:
                self.p.line(run, colour, **style)
            run = []


def key(picture, x, y, names, colours, dashes):
    for i, name in enumerate(names):
        at = y + 17 * i
        picture.line([(x, at), (x + 22, at)], colours[i], 2, dashes[i])
        picture.text(x + 28, at + 4, name, "start")


def percent_ticks(low, high):
    values = [m * 10.0 ** e for e in range(-4, 6) for m in (1, 2, 5)]
    return [(v, f"{100 * v:g} %") for v in values if low <= v <= high]


def find_curve(layer, method, order):
    return next(c for c in layer["curves"] if c["method"] == method and c["order"] == order and
                not c["sign_plane"] and c["clip"] == "max")


def error_by_kappa(path, layers):
    """Every order and the decoded line, at the largest scale."""
    chosen = [next(x for x in layers if x["layer"] == LAYER and x["projection"] == role)
              for role in ("v_proj", "down_proj")]
    picture = Picture(WIDTH, HEIGHT, "Error of a layer against kappa, by order of split")
    names = ["split K 1", "split K 2", "split K 3", "split K 4", "decoded", "INT8, best clip"]
    dashes = ["", "", "", "", "6 3", "2 3"]
    colours = [*COLOURS[:4], "#000", "#888"]
    for n, layer in enumerate(chosen):
        kappas = find_curve(layer, "decode", 0)["kappa"]
        xs = [math.log2(max(k, kappas[1] / 2)) for k in kappas]
        curves = [find_curve(layer, "split", k)["relative_error_test"] for k in range(1, 5)]
        curves.append(find_curve(layer, "decode", 0)["relative_error_test"])
        clipped = next(m for m in layer["methods"] if m["method"] == "decode" and
                       m["kappa"] == 0 and m["choice"] == "order")["relative_error_test"]
        low, high = min(map(min, curves)) / 1.2, 4 * max(curves[-1])
        left = 60 + 340 * n
        panel = Panel(picture, (left, 30, left + 270, 280), (xs[0], xs[-1]), (low, high), True)
        panel.y_ticks(percent_ticks(low, high))
        panel.x_ticks([(x, f"{k:g}") for x, k in zip(xs, kappas) if k in (0, .25, 1, 3, 8, 16)])
        for i, ys in enumerate([*curves, [clipped] * len(xs)]):
            panel.curve(xs, ys, colours[i], dash=dashes[i])
        picture.text(left + 135, 20, layer["name"].removesuffix(".weight"))
        picture.text(left + 135, 316, "κ")
    picture.text(14, 155, "mean |Δy| / mean |y|, test rows", turn=-90)
    key(picture, 725, 50, names, colours, dashes)
    picture.save(path)


def error_by_layer(path, layers):
    """Methods side by side for every layer."""
    methods = {
        "literal, κ 1, no D": dict(method="jacobian-literal", kappa=1, choice="fixed",
                                   output_decoded=False),
        "tangent, κ 1": dict(method="jacobian-tangent", kappa=1, choice="fixed"),
        "INT8": dict(method="decode", kappa=0, clip=1, choice="fixed"),
        "INT8, best clip": dict(method="decode", kappa=0, choice="order"),
        "split, searched": dict(method="split", choice="best"),
        "ridge, searched": dict(method="ridge", choice="best"),
        "decoded, searched": dict(method="decode", choice="best"),
    }
    picture = Picture(WIDTH, HEIGHT, "Error of each layer by method")
    order = sorted(layers, key=lambda x: (x["projection"] != "v_proj", x["layer"]))
    found = {name: [next(m for m in layer["methods"] if all(m[k] == v for k, v in want.items()))
                    ["relative_error_test"] for layer in order] for name, want in methods.items()}
    low, high = min(map(min, found.values())) / 1.5, 1.5 * max(map(max, found.values()))
    panel = Panel(picture, (70, 20, 690, 280), (-0.6, len(order) - 0.4), (low, high), True)
    panel.y_ticks([(10.0 ** e, f"{100 * 10.0 ** e:g} %") for e in range(-3, 6)
                   if low <= 10.0 ** e <= high])
    panel.x_ticks([(i, ("v " if x["projection"] == "v_proj" else "down ") + str(x["layer"]))
                   for i, x in enumerate(order)])
    for number, (name, values) in enumerate(found.items()):
        for i, value in enumerate(values):
            picture.dot(*panel.at(i + 0.05 * (number - 3), value), COLOURS[number])
        picture.dot(712, 46 + 17 * number, COLOURS[number])
        picture.text(724, 50 + 17 * number, name, "start")
    picture.text(14, 150, "mean |Δy| / mean |y|, test rows", turn=-90)
    picture.text(380, 316, "layer")
    picture.save(path)


def one_channel(path, calibration):
    """What stands for x in a product, by method, in the channel whose mean is farthest from 0 for
    its spread."""
    with h5py.File(calibration) as f:
        point = f[f"points/model.layers.{LAYER}.self_attn.q_proj.weight:input"]
        part = f["rows/part"][()][point["row_index"][()]]
        rows = point["rows"][()][part == 0]
        most = max(np.abs(point["min"][()]).max(), np.abs(point["max"][()]).max())
    mean = rows.mean(axis=0, dtype=np.float64)
    channel = int(np.argmax(np.abs(mean) / rows.std(axis=0)))
    reach = float(np.abs(rows[:, channel]).max())
    x = np.linspace(-reach, reach, SHOWN_POINTS)
    alpha, middle = KAPPA / most, mean[channel]
    slope = -(1 + alpha * abs(middle)) ** 2 / alpha
    tangent = middle + slope * (reference.encode(x, alpha) - reference.encode(middle, alpha))
    picture = Picture(WIDTH, HEIGHT, "What stands for x, by method")
    panels = [Panel(picture, (60, 30, 330, 280), (-reach, reach), (-3 * reach, 3 * reach)),
              Panel(picture, (420, 30, 690, 280), (-reach, reach), (-0.25 * reach, 0.25 * reach))]
    colours = [COLOURS[6], COLOURS[1], COLOURS[0], COLOURS[2], COLOURS[3]]
    for n, panel in enumerate(panels):
        panel.x_ticks([(v, f"{v:.2g}") for v in (-reach, 0, reach)])
        edge = panel.y_range[1]
        panel.y_ticks([(v, f"{v:.2g}") for v in (-edge, -edge / 2, 0, edge / 2, edge)])
        left, right = x < 0, x >= 0
        panel.curve(x, x * (n == 0), colours[0], dash="6 3")
        for side in (left, right):
            panel.curve(x[side], tangent[side] - x[side] * n, colours[1])
        for i, order in enumerate((1, 2, 3)):
            c = reference.split_coefficients(rows[:, [channel]], most, order, LEVELS, KAPPA)
            t = np.abs(x) / most * (1 + KAPPA) / (1 + KAPPA * np.abs(x) / most)
            got = np.sign(x) * sum(c[k, 0] * t ** (k + 1) for k in range(order))
            panel.curve(x, got - x * n, colours[2 + i])
        picture.text((panel.box[0] + panel.box[2]) / 2, 316, "x")
    picture.text(195, 20, "stands for x")
    picture.text(555, 20, "the same, minus x")
    key(picture, 705, 50, ["x itself", "tangent", "split K 1", "split K 2", "split K 3"], colours,
        ["6 3", "", "", "", ""])
    picture.save(path)


def write(folder, layers, calibration):
    folder.mkdir(parents=True, exist_ok=True)
    error_by_kappa(folder / "transport-kappa.svg", layers)
    error_by_layer(folder / "transport-layers.svg", layers)
    one_channel(folder / "transport-channel.svg", calibration)
