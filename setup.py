"""Puts the configs, which lie beside the package in a checkout, into it where it is installed."""

import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """Copies configs/ to gca_jax/configs/ of a wheel."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            for path in sorted(pathlib.Path("configs").rglob("*.py")):
                target = pathlib.Path(self.build_lib, "gca_jax", path)
                self.mkpath(str(target.parent))
                self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": WithConfigs})
