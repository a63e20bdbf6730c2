"""The 1,797 scanned digits that scikit-learn's wheel holds, prepared as any other set."""

from functools import partial

from gca_jax.data.dataset import Dataset
from gca_jax.data.sources import builders, tfds_sets
from gca_jax.data.sources.row import Source


def load(name: str, row: Source, *, data_dir: str | None = None, **options) -> Dataset:
    """1,437 images to train and 360 to test, in a stratified split that is always the same.

    They are prepared at first use, in less than a second and without TensorFlow.
    """
    builders.prepare(partial(builders.Digits, data_dir=data_dir))
    return tfds_sets.load(name, row, data_dir=data_dir, **options)
