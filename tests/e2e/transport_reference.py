"""Transports in numpy, from the formulas of docs/transport.md: what the program's fits and native
layers are compared with. Least squares are solved by orthogonal factors of stacked rows, not by
normal equations, so that agreement says something.

    transport_reference.py --expected > tests/unit/transport_expected.h
writes what tests/unit/test_transport_fit.c expects.
"""
import sys

import numpy as np

PSEUDO_ROWS = 300.0
LEVEL_FLOOR = 1e-6
LEAST_Z = 1e-12


# The grid

def levels_of(x, scale, levels, kappa):
    """Signed levels -N ... N of float32 X, in binary32, operation by operation as in quant.h."""
    x = np.asarray(x, np.float32)
    f = np.float32
    if scale == 0:
        return np.zeros(x.shape, np.int64)
    one = f(1)
    u = np.minimum(np.abs(x) / f(scale), one)
    gain = f(levels) * (one + f(kappa))
    q = (gain * u) / (one + f(kappa) * u)
    magnitude = np.minimum((q + f(0.5)).astype(np.int64), levels)
    return np.where(np.signbit(x), -magnitude, magnitude)


def decoded(level, scale, levels, kappa):
    """Values of signed levels."""
    t = np.abs(level) / levels
    table = (t / (1.0 + float(np.float32(kappa)) * (1.0 - t))).astype(np.float32)
    return np.float64(np.float32(scale) * (np.sign(level).astype(np.float32) * table))


def signs(level):
    return np.where(level < 0, -1.0, 1.0)


def power_features(level, levels, order, sign_plane=False):
    """[planes, rows, channels]"""
    t = np.abs(level) / levels
    planes = [signs(level) * t ** k for k in range(1, order + 1)]
    if sign_plane:
        planes.append(signs(level))
    return np.array(planes)


def z_feature(level, levels, kappa):
    kappa = float(np.float32(kappa))
    return signs(level) * (1.0 - kappa * (np.abs(level) / levels) / (1.0 + kappa))


def encode(x, alpha):
    return np.where(x < 0, -1.0, 1.0) / (1.0 + alpha * np.abs(x))


def decode(z, alpha, floor):
    m = np.clip(np.abs(z), floor, 1.0)
    return np.where(z < 0, -1.0, 1.0) * (1.0 - m) / (alpha * m)


# Methods. A fit is a function of float32 rows x, y = fit(x), which gives outputs [rows, n_out].

def scale_of(abs_max, clip):
    return float(np.float32(clip) * np.float32(abs_max))


def pseudo_weights(level, levels):
    """Rows that each signed level -N ... N gets."""
    count = np.zeros(2 * levels + 1)
    values, n = np.unique(level, return_counts=True)
    count[values + levels] = n
    share = count / count.sum() if count.sum() else count
    share = np.maximum((share + share[::-1]) / 2, LEVEL_FLOOR)
    return PSEUDO_ROWS * share / share.sum()


def split_coefficients(x, abs_max, order, levels, kappa, clip=1.0, sign_plane=False):
    """[planes, channels], of fit rows X."""
    scale = scale_of(abs_max, clip)
    planes = order + (1 if sign_plane else 0)
    channels = x.shape[1]
    if scale == 0:
        return np.zeros((planes, channels))
    level = levels_of(x, scale, levels, kappa)
    every = np.arange(-levels, levels + 1)
    root = np.sqrt(pseudo_weights(level, levels))
    pseudo = power_features(every, levels, order, sign_plane) * root
    target = decoded(every, scale, levels, kappa) * root
    phi = power_features(level, levels, order, sign_plane)
    out = np.empty((planes, channels))
    for j in range(channels):
        a = np.concatenate([phi[:, :, j], pseudo], axis=1).T
        b = np.concatenate([x[:, j].astype(np.float64), target])
        out[:, j] = np.linalg.lstsq(a, b, rcond=None)[0]
    return out


def split_values(x, coefficients, abs_max, order, levels, kappa, clip=1.0, sign_plane=False):
    level = levels_of(x, scale_of(abs_max, clip), levels, kappa)
    return np.einsum('krj,kj->rj', power_features(level, levels, order, sign_plane), coefficients)


def joint_features(x, abs_max, order, levels, kappa, clip):
    """[rows, planes * channels], plane by plane."""
    phi = power_features(levels_of(x, scale_of(abs_max, clip), levels, kappa), levels, order)
    return phi.transpose(1, 0, 2).reshape(len(x), -1)


def ridge_map(x, abs_max, order, levels, kappa, clip, ridge):
    """[planes * channels, channels]: x ~ joint_features @ map."""
    channels = x.shape[1]
    c = split_coefficients(x, abs_max, order, levels, kappa, clip)
    phi = joint_features(x, abs_max, order, levels, kappa, clip)
    rest = x.astype(np.float64) - split_values(x, c, abs_max, order, levels, kappa, clip)
    out = np.concatenate([np.diag(c[k]) for k in range(order)])
    mean_diagonal = np.sum(phi * phi) / phi.shape[1]
    if np.isfinite(ridge) and mean_diagonal > 0:
        u, s, v = np.linalg.svd(phi, full_matrices=False)
        out += v.T @ ((s / (s * s + ridge * mean_diagonal))[:, None] * (u.T @ rest))
    assert out.shape == (order * channels, channels)
    return out


def slope(x, alpha):
    """J_D at E(x), which is 1 / J_E(x)."""
    z = np.maximum(np.abs(encode(x, alpha)), LEAST_Z)
    return -1.0 / (alpha * z * z)


def literal(w, x_fit, abs_max, levels, kappa, clip=1.0, output_decoded=True, square=None):
    kappa = float(np.float32(kappa))
    square = w.shape[0] == w.shape[1] if square is None else square
    scale = scale_of(abs_max, clip)
    alpha = kappa / scale
    mean = np.mean(x_fit.astype(np.float64), axis=0)
    j_e = -alpha / (1.0 + alpha * np.abs(mean)) ** 2
    j_d = -1.0 / (alpha * encode(mean, alpha) ** 2)
    if square:
        w_prime = np.diag(j_d) @ w @ np.diag(1.0 / j_e)
    else:
        w_prime = w @ np.diag(j_d) @ np.diag(1.0 / j_e)
    largest = np.max(np.abs(x_fit.astype(np.float64) @ w.T))

    def fit(x):
        y = z_feature(levels_of(x, scale, levels, kappa), levels, kappa) @ w_prime.T
        return decode(y, alpha, 1.0 / (1.0 + alpha * largest)) if output_decoded else y
    return fit


def tangent(w, x_fit, abs_max, levels, kappa, clip=1.0):
    kappa = float(np.float32(kappa))
    scale = scale_of(abs_max, clip)
    alpha = kappa / scale
    mean = np.mean(x_fit.astype(np.float64), axis=0)
    spot = encode(mean, alpha)
    y_fit = x_fit.astype(np.float64) @ w.T
    y_mean, largest = np.mean(y_fit, axis=0), np.max(np.abs(y_fit))
    alpha_out = kappa / largest
    j_e = -alpha_out / (1.0 + alpha_out * np.abs(y_mean)) ** 2

    def fit(x):
        z = z_feature(levels_of(x, scale, levels, kappa), levels, kappa)
        z_y = encode(y_mean, alpha_out) + (((z - spot) * slope(mean, alpha)) @ w.T) * j_e
        return decode(z_y, alpha_out, 1.0 / (1.0 + kappa))
    return fit


def make(method, w, x_fit, abs_max, order=1, levels=127, kappa=0.0, clip=1.0, ridge=1.0,
         sign_plane=False, square=None, output_decoded=True):
    """fit(x) -> outputs of a layer W [n_out, channels], without bias."""
    w = np.asarray(w, np.float64)
    grid = (levels, kappa)
    if method == 'decode':
        scale = scale_of(abs_max, clip)
        return lambda x: decoded(levels_of(x, scale, *grid), scale, *grid) @ w.T
    if method == 'split':
        c = split_coefficients(x_fit, abs_max, order, *grid, clip, sign_plane)
        return lambda x: split_values(x, c, abs_max, order, *grid, clip, sign_plane) @ w.T
    if method == 'ridge':
        m = ridge_map(x_fit, abs_max, order, *grid, clip, ridge)
        return lambda x: joint_features(x, abs_max, order, *grid, clip) @ m @ w.T
    if method == 'jacobian-literal':
        return literal(w, x_fit, abs_max, *grid, clip, output_decoded, square)
    if method == 'jacobian-tangent':
        return tangent(w, x_fit, abs_max, *grid, clip)
    raise ValueError(method)


def errors(y, native):
    """mean |dy| / mean |y|, and the squared error over the squared norm."""
    d = native - y
    return np.sum(np.abs(d)) / np.sum(np.abs(y)), np.sum(d * d) / np.sum(y * y)


# What the unit test expects

class Stream:
    """xorshift64*, as tests/unit/testing.h has it; halves are multiples of 2^-24 in [-1/2, 1/2)."""

    def __init__(self, seed):
        self.state = seed

    def half(self):
        s = self.state
        s ^= s >> 12
        s ^= s << 25 & 0xffffffffffffffff
        s ^= s >> 27
        self.state = s
        return ((s * 0x2545f4914f6cdd1d & 0xffffffffffffffff) >> 40) / 2.0 ** 24 - 0.5


CHANNELS = 8
TEST_ROWS = 40
SEED = 20251
METHODS = {'jacobian-literal': 'QN_JACOBIAN_LITERAL', 'jacobian-tangent': 'QN_JACOBIAN_TANGENT',
           'split': 'QN_SPLIT', 'ridge': 'QN_RIDGE', 'decode': 'QN_DECODE'}


def test_rows(stream, n, outlier):
    """A wide channel, a constant and a dead one, a narrow one, a positive one, one that follows the
    first, a peaked one, a tiny one."""
    x = np.zeros((n, CHANNELS))
    for i in range(n):
        g = [stream.half() + stream.half() + stream.half() for _ in range(CHANNELS)]
        x[i] = [g[0], 0.375, 0.0, g[3] / 64, abs(g[4]), g[0] / 2 + g[5] / 16, g[6] ** 3,
                g[7] / 1024]
    if outlier:
        x[5, 3] = 40.0
    return x.astype(np.float32)


CASES = [  # name, fit rows, outlier, n_out, and what make() takes
    ('decode', 300, False, 5, dict(method='decode', kappa=3.0)),
    ('decode, INT8', 300, False, 5, dict(method='decode', kappa=0.0, clip=0.7)),
    ('split 1, kappa 0', 300, False, 5, dict(method='split', order=1, kappa=0.0)),
    ('split 2', 300, False, 5, dict(method='split', order=2, kappa=1.0)),
    ('split 3', 300, False, 5, dict(method='split', order=3, kappa=1.0)),
    ('split 4', 300, False, 5, dict(method='split', order=4, kappa=3.0)),
    ('split 4, clipped, 6 bits', 300, False, 5,
     dict(method='split', order=4, kappa=6.0, clip=0.35, levels=31)),
    ('split 3, sign plane, 7 bits', 300, False, 5,
     dict(method='split', order=3, kappa=2.0, levels=63, sign_plane=True)),
    ('split 4, outlier', 300, True, 5, dict(method='split', order=4, kappa=16.0)),
    ('split 4, outlier clipped', 300, True, 5,
     dict(method='split', order=4, kappa=3.0, clip=0.2)),
    ('split 3, few rows', 16, False, 5, dict(method='split', order=3, kappa=1.0)),
    ('ridge 2', 300, False, 5, dict(method='ridge', order=2, kappa=1.0, ridge=1e-3)),
    ('ridge 4', 300, False, 5, dict(method='ridge', order=4, kappa=3.0, ridge=1e-1)),
    ('ridge 4, dual', 24, False, 5, dict(method='ridge', order=4, kappa=3.0, ridge=1e-2)),
    ('ridge 2, dual, 6 bits', 12, False, 8,
     dict(method='ridge', order=2, kappa=1.0, ridge=1.0, levels=31)),
    ('ridge 3, infinite', 300, False, 5,
     dict(method='ridge', order=3, kappa=1.0, ridge=np.inf)),
    ('literal, square', 300, False, 8,
     dict(method='jacobian-literal', kappa=1.0, square=True)),
    ('literal, square, plain', 300, False, 8,
     dict(method='jacobian-literal', kappa=1.0, square=True, output_decoded=False)),
    ('literal, oblong', 300, False, 5,
     dict(method='jacobian-literal', kappa=3.0, square=False)),
    ('literal, oblong, plain', 300, False, 5,
     dict(method='jacobian-literal', kappa=3.0, square=False, output_decoded=False)),
    ('tangent', 300, False, 5, dict(method='jacobian-tangent', kappa=3.0)),
    ('tangent, square, outlier', 300, True, 8, dict(method='jacobian-tangent', kappa=0.5)),
]


def run_case(n_fit, outlier, n_out, given):
    stream = Stream(SEED)
    x_fit = test_rows(stream, n_fit, outlier)
    x_test = test_rows(stream, TEST_ROWS, False)
    w = np.array([[stream.half() for _ in range(CHANNELS)] for _ in range(n_out)])
    abs_max = max(np.abs(x_fit).max(), np.abs(x_test).max())
    native = make(w=w, x_fit=x_fit, abs_max=abs_max, **given)(x_test)
    y = x_test.astype(np.float64) @ w.T
    return native, errors(y, native)


def print_expected(out):
    out.write('/* Written by tests/e2e/transport_reference.py --expected. */\n'
              'static const struct expected_case cases[] = {\n')
    for name, n_fit, outlier, n_out, given in CASES:
        native, (relative, squared) = run_case(n_fit, outlier, n_out, given)
        number = lambda v: 'INFINITY' if np.isinf(v) else f'{float(v)!r}'
        flag = lambda v: 'true' if v else 'false'
        corner = ', '.join(number(v) for v in native[:2, :3].ravel())
        out.write(f'    {{"{name}",\n     {n_fit}, {n_out},\n'
                  f'     {{.method = {METHODS[given["method"]]}, .order = {given.get("order", 1)}, '
                  f'.sign_plane = {flag(given.get("sign_plane"))}, '
                  f'.levels = {given.get("levels", 127)},\n'
                  f'      .kappa = {given["kappa"]}F, .clip = {given.get("clip", 1.0)}F, '
                  f'.ridge = {number(given.get("ridge", 1.0))}, '
                  f'.square = {flag(given.get("square"))}}},\n'
                  f'     {flag(outlier)}, {flag(not given.get("output_decoded", True))},\n'
                  f'     {{{number(relative)}, {number(squared)}}},\n     {{{corner}}}}},\n')
    out.write('};\n')


if __name__ == '__main__':
    if sys.argv[1:] != ['--expected']:
        sys.exit(__doc__)
    print_expected(sys.stdout)
