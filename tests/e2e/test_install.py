"""An installed copy is enough: a C program built through pkg-config alone reads an archive."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy as np

import support

TENSOR = "model.layers.0.mlp.up_proj.weight"


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.environ.get("QINS_SANITIZER", "none") != "none":
            raise unittest.SkipTest("a sanitized library does not load into a plain program")
        cls.work = tempfile.TemporaryDirectory(prefix="qins-install-")
        cls.addClassCleanup(cls.work.cleanup)
        cls.dir = pathlib.Path(cls.work.name)
        cls.root = cls.dir / "root"
        subprocess.run(["meson", "install", "-C", support.BUILD_ROOT, "--no-rebuild",
                        "--destdir", cls.root], check=True, capture_output=True)
        cls.pkgconfig = next(cls.root.rglob("qins.pc")).parent
        # Paths in the .pc file are those of the final place; the sysroot puts DESTDIR in front.
        cls.env = dict(os.environ, PKG_CONFIG_PATH=str(cls.pkgconfig),
                       PKG_CONFIG_SYSROOT_DIR=str(cls.root))
        cls.library = next(cls.root.rglob("libqins.so")).parent
        cls.archive = cls.dir / "m.qins"
        program = next(p for p in cls.root.rglob("bin/qins") if p.is_file())
        support.run_qins("convert", support.MODEL, "-o", cls.archive, check=0, program=program)

    def flags(self, *what):
        return subprocess.run(["pkg-config", *what, "qins"], check=True, capture_output=True,
                              text=True, env=self.env).stdout.split()

    def built_example(self):
        target = self.dir / "read_tensor"
        if not target.exists():
            source = self.dir / "read_tensor.c"
            shutil.copy(support.SOURCE_ROOT / "examples" / "read_tensor.c", source)
            compiler = os.environ.get("CC", "cc").split()
            subprocess.run([*compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", str(source),
                            *self.flags("--cflags", "--libs"), "-o", str(target)], check=True,
                           cwd=self.dir)
        return target

    def read(self, *arguments):
        return subprocess.run([str(self.built_example()), *map(str, arguments)],
                              capture_output=True, text=True,
                              env=dict(os.environ, LD_LIBRARY_PATH=str(self.library)))

    def plugin_dir(self):
        path = pathlib.Path(self.flags("--variable=plugindir")[0])
        return path if path.is_dir() else self.root / str(path).lstrip("/")

    def by_h5py(self):
        """The same values as h5py and the installed plugin see them, in a process of its own."""
        code = ("import sys, h5py\n"
                "with h5py.File(sys.argv[1]) as f:\n"
                "    print(*map(repr, f['tensors'][sys.argv[2]][...].reshape(-1)[:8].tolist()))")
        done = subprocess.run([sys.executable, "-c", code, str(self.archive), TENSOR], check=True,
                              capture_output=True, text=True,
                              env=dict(os.environ, HDF5_PLUGIN_PATH=str(self.plugin_dir())))
        return np.array(done.stdout.split(), dtype=np.float32)

    def test_everything_is_installed(self):
        names = {p.name for p in self.root.rglob("*")}
        for name in ("libqins.so", "libh5qins.so", "qins.h", "qins.pc"):
            self.assertIn(name, names)
        places = {p.relative_to(self.root).as_posix() for p in self.root.rglob("*")}
        for end in ("bin/qins", "share/man/man1/qins.1", "share/man/man1/qins-convert.1",
                    "share/bash-completion/completions/qins", "share/zsh/site-functions/_qins",
                    "share/fish/vendor_completions.d/qins.fish"):
            self.assertTrue(any(place.endswith(end) for place in places), end)

    def test_plugin_is_where_pkg_config_says(self):
        self.assertTrue((self.plugin_dir() / "libh5qins.so").is_file())

    def test_example_prints_what_restore_writes(self):
        done = self.read(self.archive, TENSOR)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        listed, values = lines[:-8], np.array(lines[-8:], dtype=np.float32)
        names = support.read_safetensors(support.MODEL / "model.safetensors")
        self.assertEqual(sorted(line.split()[0] for line in listed), sorted(names))
        self.assertIn(f"{TENSOR} F32 bitpack", listed)
        restored = self.dir / "restored.safetensors"
        support.run_qins("restore", self.archive, "-o", restored, check=0)
        expected = support.read_safetensors(restored)[TENSOR].reshape(-1)[:8]
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(values, self.by_h5py())

    def test_example_says_what_is_wrong(self):
        done = self.read(self.dir / "none.qins", TENSOR)
        self.assertEqual(done.returncode, 1)
        self.assertIn("none.qins", done.stderr)
        self.assertNotEqual(self.read(self.archive, "no such tensor").returncode, 0)

    def test_library_does_not_need_hdf5(self):
        listing = subprocess.run(["readelf", "-d", str(self.library / "libqins.so")], check=True,
                                 capture_output=True, text=True).stdout
        self.assertNotIn("hdf5", listing)
        symbols = subprocess.run(["nm", "-D", "--defined-only", str(self.library / "libqins.so")],
                                 check=True, capture_output=True, text=True).stdout
        exported = [line.split()[-1] for line in symbols.splitlines()]
        self.assertEqual([s for s in exported if not s.startswith("qins_")], [])


if __name__ == "__main__":
    support.main()
