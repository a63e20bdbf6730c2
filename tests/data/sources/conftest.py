import re

import pytest

from gca_jax.data import sources


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pictures"


@pytest.fixture
def load(tmp_path, root):
    """Load the folder `pictures`; its records go to a folder of their own."""

    def load(name="folder", **options):
        options = {"root": str(root), **options}
        return sources.load(name, data_dir=str(tmp_path / "prepared"), **options)

    return load


@pytest.fixture
def refused(load):
    """Loading is refused with these words, in one line."""

    def refused(message, **options):
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            load(**options)
        assert len(str(caught.value).splitlines()) == 1

    return refused
