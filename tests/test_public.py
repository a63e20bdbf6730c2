"""Every public name, as docs/reference.md lists them, is there."""

import importlib
import re
import typing

from gca_jax import losses
from tests.conftest import ROOT

LISTED = re.search(
    r"## Public names\n.*?```text\n(.*?)```", (ROOT / "docs/reference.md").read_text(), re.S
)[1]


def test_every_public_name_is_where_the_reference_says():
    for line in LISTED.splitlines():
        module, names = line.split(maxsplit=1)
        found = importlib.import_module(module)
        for name in names.split(", "):
            assert hasattr(found, name), f"{module}.{name}"


def test_every_method_is_public():
    (line,) = (line for line in LISTED.splitlines() if line.split()[0] == "gca_jax.losses")
    assert set(losses.METHODS) < set(re.split(r",? +", line))
    assert set(typing.get_args(losses.Method)) == set(losses.METHODS)
