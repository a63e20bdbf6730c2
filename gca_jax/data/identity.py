"""What identifies the data of a run, as JSON: what they hold, not where it lies nor since when."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gca_jax.data.batches import Data, Order
from gca_jax.data.dataset import Dataset, Images, Streamed
from gca_jax.data.images import ImageData
from gca_jax.data.pairs import Pairs
from gca_jax.data.splits import evenly_spaced

CHUNK = 2**24  # bytes that are hashed at a time, so that arrays on disk stay there
FEW = 64  # samples by which data are known that cannot be hashed whole
ALONG = ("labels", "domains", "scaling", "confidence")  # parts that say nothing more of rows

Identity = dict[str, Any]
"""By the name of a part: its shape and a hash of its content, or a short name or number."""


def identify(data: Data) -> Identity:
    """Identify data: two sets are the same to a run where their identities are equal.

    Arrays are hashed, half a gigabyte a second. Pictures on disk are known by hashes of the files'
    bytes where they have been read to check them; else (sets of TFDS and of the hub that do not fit
    in memory) by their number and the bytes of `FEW` of them, evenly spaced. Data of a caller's
    kind are known by `describe`, `info`, inputs of probes and the first batch of a seed; by their
    own `identity`, where they have one.
    """
    if isinstance(data, ImageData):
        return _of_images(data.dataset)
    if isinstance(data, Pairs):
        return _of_pairs(data)
    if (own := getattr(data, "identity", None)) is not None:
        return dict(own)
    return _of_own(data)


def _of_images(data: Dataset) -> Identity:
    parts = ["train", "test", *["pretrain"] * (data.pretrain_images is not data.train_images)]
    found: Identity = {}
    for part in parts:
        images: Images = getattr(data, f"{part}_images")
        found[f"{part}_images"] = (
            _of_streamed(images) if isinstance(images, Streamed) else (digest(images[:]))
        )
        for kind in ("labels", "domains"):
            found |= _known(f"{part}_{kind}", getattr(data, f"{part}_{kind}"))
    names = {"class_names": data.class_names, "domain_names": data.domain_names}
    return found | {name: [*given] for name, given in names.items() if given}


def _of_streamed(images: Streamed) -> Identity:
    """Identify pictures on disk, which are not read for it."""
    known, shape = getattr(images.records, "digests", None), {"shape": list(images.shape)}
    if known is not None:
        return digest(np.array(known)[images.positions]) | shape
    looked_at = images.positions[evenly_spaced(len(images), FEW)].tolist()
    sampled = digest(np.array([_sample(images, position) for position in looked_at]))["hash"]
    return digest(np.append(images.positions, len(images.records))) | shape | {"sampled": sampled}


def _sample(images: Streamed, position: int) -> str:
    """Return the hash of an encoded picture; of one that cannot be read, nothing."""
    try:
        encoded = images.records[position]["image"]
        return hashlib.blake2b(bytes(encoded), digest_size=16).hexdigest()
    except Exception:  # of whatever reads them; a batch that needs it says so
        return ""


def _of_pairs(data: Pairs) -> Identity:
    sides = {side.name: digest(side.raw) for side in (data.a, data.b)}
    rows = {"training": data.train, "validation": data.validation, data.split: data.evaluated}
    scaling = [np.ravel(x) for s in (data.a, data.b) for x in (s.exponent, s.origin, s.mean, s.sd)]
    return {
        **sides,
        **{f"{name}_pairs": digest(np.stack(part)) for name, part in rows.items()},
        "scaling": digest(np.concatenate(scaling)),
        **_known("labels", data.labels),
        **_known("confidence", data.quality),
        **{
            f"rows_of_{s}_alone": digest(x)
            for s, x in zip("ab", data.unpaired, strict=True)
            if len(x)
        },
    }


def _of_own(data: Data) -> Identity:
    order = Order(len(data), min(len(data), FEW), seed=0)
    with contextlib.closing(data.batches(order, 0)) as batches:
        inputs = next(batches).inputs
    first = inputs if isinstance(inputs, tuple | list) else [inputs]
    probed = ((name, getattr(data, name, None)) for name in ("train_inputs", "test_inputs"))
    return {
        "samples": len(data),
        "described": data.describe(),
        **{f"first_batch_{k}": digest(np.asarray(x)) for k, x in enumerate(first)},
        **{name: digest(x) for name, x in data.info.items()},
        **{name: digest(x) for name, x in probed if isinstance(x, np.ndarray)},
    }


def _known(name: str, values: np.ndarray | None) -> Identity:
    return {} if values is None else {name: digest(values)}


def in_words(identity: Mapping[str, Any]) -> str:
    """Write a short hash of all that an identity has, and the rows of each part."""
    content = json.dumps(identity, sort_keys=True).encode()
    short = hashlib.blake2b(content, digest_size=4).hexdigest()
    rows = {
        name: part["shape"][name.endswith("_pairs")]  # rows of a above rows of b
        for name, part in identity.items()
        if isinstance(part, dict) and part.get("shape") and not name.endswith(ALONG)
    }
    counted = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in rows.items())
    return f"{short} ({counted})" if counted else short


def digest(values: np.ndarray) -> Identity:
    """Return the shape of an array and a hash of its values."""
    values = np.asarray(values)
    found = hashlib.blake2b(digest_size=16)
    rows = max(1, CHUNK // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        found.update(values[start : start + rows].tobytes())
    return {"shape": list(values.shape), "hash": found.hexdigest()}
