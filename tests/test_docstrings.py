"""The examples in the docstrings of `losses` and `ot` print what they say."""

import ast
import doctest
import importlib
import pathlib

import jax
import pytest

from gca_jax import losses

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "gca_jax"
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef


def examples():
    """One test for each docstring that has examples, in the order of the files.

    They are read from the source, so that functions under decorators are not missed. An example
    sees its module's names and jax.
    """
    parser = doctest.DocTestParser()
    for path in sorted(
        path for room in ("losses", "ot") for path in (PACKAGE / room).rglob("*.py")
    ):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        names = {"jax": jax} | vars(importlib.import_module(module))
        for node in ast.walk(ast.parse(path.read_text())):
            text = ast.get_docstring(node, clean=False) if isinstance(node, DOCUMENTED) else None
            if text is None:
                continue
            name = f"{module}.{getattr(node, 'name', '__doc__')}"
            test = parser.get_doctest(text, names, name, str(path), node.body[0].lineno - 1)
            if test.examples:
                yield pytest.param(test, id=name)


@pytest.mark.parametrize("test", list(examples()))
@pytest.mark.slow
def test_examples_print_what_they_say(test):
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def test_every_loss_has_an_example():
    find = doctest.DocTestParser().get_examples
    missing = [name for name, loss in losses.METHODS.items() if not find(loss.__doc__ or "")]
    assert not missing, f"no example in the docstring of {', '.join(missing)}"
