"""A trained encoder as one file, for other programs than this one."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
from jax import export
from safetensors.numpy import save

from gca_jax.evaluation.encoder import Encoder
from gca_jax.files import replace
from gca_jax.models import ResNet, formats

PLATFORMS = ("cpu", "cuda", "tpu")


def to_safetensors(encoder: Encoder) -> bytes:
    """Write the encoder without heads; a ResNet's weights have torchvision's names and layout.

    The metadata, each entry JSON, says what else is needed: shape and scaling of the images.
    """
    named, module = formats.by_name(encoder.network, encoder.variables), encoder.network.encoder
    about = {
        "names": "flax",
        "input_shape": encoder.shape,
        "method": encoder.config.method,
        "step": encoder.step,
    }
    if encoder.policy is not None:
        about |= {"mean": encoder.policy.mean, "std": encoder.policy.std}
    if isinstance(module, ResNet):
        settings = ("stage_sizes", "block", "width", "stem")
        about |= {"names": "torchvision", **{key: getattr(module, key) for key in settings}}
    metadata = {key: json.dumps(value) for key, value in about.items()}
    return save({name: np.ascontiguousarray(x) for name, x in named.items()}, metadata)


def to_msgpack(encoder: Encoder) -> bytes:
    """Write `params` and `batch_stats`, heads included, as Flax's msgpack."""
    return formats.to_msgpack(encoder.variables)


def to_jax(encoder: Encoder) -> bytes:
    """Write features(images) as StableHLO with its weights, for any number of images.

    `jax.export.deserialize(data).call(images)` takes uint8 images [b, h, w, c]; Flax and this
    package are not needed for it.

    Raises:
        ValueError: The encoder asks for the number of images.
    """
    (count,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((count, *encoder.shape), np.uint8)
    try:
        exported = export.export(jax.jit(encoder.features), platforms=PLATFORMS)(images)
    except TypeError as error:
        raise ValueError(
            f"the encoder {type(encoder.network.encoder).__name__} cannot be exported for any "
            f"number of images ({error}): let it use x.shape[0] in place of len(x)"
        ) from error
    return bytes(exported.serialize())


def to_onnx(encoder: Encoder) -> bytes:
    """Write features(images) as ONNX with its weights, for any number of uint8 images [b, h, w, c].

    Raises:
        ValueError: jax2onnx is not installed, or cannot convert an operation of the encoder.
    """
    if getattr(encoder.network.encoder, "stem", None) == "imagenet":
        raise ValueError(
            "jax2onnx cannot convert the padded max-pool of model.stem=imagenet: "
            "--format=safetensors or jax can be written"
        )
    try:
        import jax2onnx
    except ModuleNotFoundError as error:
        if error.name != "jax2onnx":
            raise
        raise ValueError(
            "the format onnx is written by jax2onnx, which is not installed: pip install jax2onnx"
        ) from error
    images = SimpleNamespace(shape=("b", *encoder.shape), dtype=np.uint8)
    names = {"input_names": ["images"], "output_names": ["features"]}
    try:
        model = jax2onnx.to_onnx(encoder.features, [images], model_name="encoder", **names)
    except NotImplementedError as error:
        raise ValueError(f"jax2onnx does not know an operation of the encoder: {error}") from error
    except AttributeError as error:  # of JAX's insides, which jax2onnx patches
        raise ValueError(
            f"the installed jax2onnx does not work with JAX {jax.__version__} ({error}): install "
            "an older JAX or a newer jax2onnx; --format=safetensors or jax can be written"
        ) from error
    return model.SerializeToString()


FORMATS: dict[str, Callable[[Encoder], bytes]] = {
    "safetensors": to_safetensors,
    "msgpack": to_msgpack,
    "jax": to_jax,
    "onnx": to_onnx,
}


def write(encoder: Encoder, out: Path, name: str) -> None:
    """Write or overwrite a file in a format of `FORMATS`."""
    data = FORMATS[name](encoder)
    replace(out, lambda file: file.write(data))
    print(f"{out}: {name}, {len(data) / 1e6:,.2f} MB")
