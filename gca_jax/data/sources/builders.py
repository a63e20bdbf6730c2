"""TFDS builders of this project; they write ArrayRecord and need no TensorFlow.

They stand at the top of a module because TFDS registers builders by class, and worker processes
import that class again.
"""

import contextlib
import dataclasses
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from gca_jax.data import records
from gca_jax.data.sources.tree import Tree


class Digits(tfds.core.GeneratorBasedBuilder):
    """Scanned digits of 8 x 8 pixels: Alpaydin & Kaynak, UCI ML repository, 1998.

    The split is stratified and always the same, 1,437 to train and 360 to test. Records are in the
    split's order, unshuffled, and PNG loses nothing.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        raw = load_digits()
        images = np.round(raw.images * (255 / 16)).astype(np.uint8)
        rows = np.arange(len(images))
        parts = train_test_split(rows, test_size=360, stratify=raw.target, random_state=0)
        each = zip(("train", "test"), parts, strict=True)
        return {part: self._generate_examples(images[r], raw.target[r]) for part, r in each}

    def _generate_examples(self, images: Any, labels: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            encoded = io.BytesIO()
            PIL.Image.fromarray(image).save(encoded, "png")
            yield i, {"image": encoded.getvalue(), "label": int(label)}


def prepare(make: Callable[[], tfds.core.DatasetBuilder]) -> tfds.core.DatasetBuilder:
    """Write a set unless it is there, whole; two processes may do so at the same time.

    `make` gives its builder, and does so again when the set has been written.
    """
    builder = start_anew(make)
    if records.fault_of(builder) is None:
        return builder
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own messages
            builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        # Perhaps another process was faster, and ours was thrown away.
        if not builder.data_path.exists() or records.fault_of(make()) is not None:
            raise ValueError(
                f"{builder.data_path} cannot be written ({error}); name another folder with "
                "--config.data.data_dir=DIR"
            ) from error
    finally:
        tfds.enable_progress_bar()
    return make()


def start_anew(make: Callable[[], tfds.core.DatasetBuilder]) -> tfds.core.DatasetBuilder:
    """A builder whose set is whole or not there: half of one, TFDS would take for the whole."""
    builder = make()
    fault = records.fault_of(builder)
    if fault is not None and builder.data_path.exists():
        print(f"{builder.name}: {fault}; it is made again")
        shutil.rmtree(builder.data_path)
        builder = make()
    return builder


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """The pictures of a `Folder`, which of them to write, and facts to keep as JSON values."""

    tree: Tree | None = dataclasses.field(default=None, repr=False)
    rows: Sequence[int] = dataclasses.field(default=(), repr=False)
    about: dict[str, Any] = dataclasses.field(default_factory=dict)


class Folder(tfds.core.GeneratorBasedBuilder):
    """Pictures of a folder, as the bytes of their files, in the order of the tree.

    They are written in parts, because TFDS needs TensorFlow for a split above 1,000 MiB.
    """

    VERSION = tfds.core.Version("1.0.0")
    PART_BYTES = 2**29

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3))
        features = {"image": image, "file": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(self.builder_config.about),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        rows = np.array(self.builder_config.rows)
        part = np.cumsum(np.array(self.builder_config.tree.bytes)[rows]) // self.PART_BYTES
        return {
            f"part{k:05d}": self._generate_examples(rows[part == k].tolist())
            for k in np.unique(part)
        }

    def _generate_examples(self, rows: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        tree = self.builder_config.tree
        for row in rows:
            name = tree.files[row]
            yield row, {"image": (tree.root / name).read_bytes(), "file": name}
