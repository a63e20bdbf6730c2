"""A method's batch split over the devices of a mesh."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike

from gca_jax import check, ot
from gca_jax.losses import _common as common
from gca_jax.losses._common import Out
from gca_jax.losses._methods import METHODS, Loss, Method, keywords
from gca_jax.ot import inputs
from gca_jax.ot.engine import AxisName


def sharded(name: Method, mesh: Mesh, axis_name: AxisName = "data") -> Loss:
    """Split a method's batch over the devices of a mesh, each with its rows of K.

    Value and gradient are those of one device. The embeddings are gathered once; a sweep sums one
    vector of m numbers and gathers one of n. In the log domain and with `until=` the partition is
    left to the compiler.

    Args:
      name: A key of `METHODS`.
      mesh: Devices, of all processes where there are several, as `jax.make_mesh((4,), ("data",))`
        makes it; its axes may be Explicit, as they are by default, or Auto.
      axis_name: The axis of the mesh that splits the batch, or several, such as ("data", "fsdp");
        over other axes all compute alike.

    Returns:
      The method as a function of the whole batch, in `jit` or out of it: `(z_a, z_b, **settings) →
      Out`.

    Raises:
      ValueError: An unknown name or axis; a batch that the devices cannot share; a call inside
        `pmap` or `shard_map`, where `axis_name=` of the method itself does it.
    """
    check.one_of("method", name, METHODS)
    axes = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)
    for axis in axes:
        check.one_of("axis_name", axis, mesh.shape)
    devices = math.prod(mesh.shape[axis] for axis in axes)

    def loss(z_a: ArrayLike, z_b: ArrayLike, **settings: object) -> Out:
        if jax.sharding.get_abstract_mesh().manual_axes:
            raise ValueError(
                f"losses.sharded runs over the whole mesh: inside pmap or shard_map call {name} "
                "itself, with axis_name= there if its rows are split"
            )
        a, b = inputs.array("z_a", z_a), inputs.array("z_b", z_b)
        if _is_left_to_compiler(name, a, b, settings):
            return METHODS[name](a, b, **settings)
        if a.shape[0] % devices or b.shape[0] % devices:
            raise ValueError(
                f"z_a and z_b must have a multiple of {devices} rows to be split over as many "
                f"devices, got {a.shape} and {b.shape}"
            )
        leaves, tree = jax.tree.flatten(settings)
        arrays = [x if isinstance(x, jax.Array | np.ndarray) else None for x in leaves]
        known = tuple(x if y is None else None for x, y in zip(leaves, arrays, strict=True))
        if AxisType.Explicit in mesh.axis_types:  # where shard_map takes what is split already
            rows = NamedSharding(mesh, PartitionSpec(axes))
            a, b = (jax.sharding.reshard(z, rows) for z in (a, b))
        return _over_rows(
            a, b, arrays, name=name, mesh=mesh, axis_name=axes, tree=tree, known=known
        )

    return loss


@partial(jax.jit, static_argnames=("name", "mesh", "axis_name", "tree", "known"))
def _over_rows(
    a: Array,
    b: Array,
    arrays: list[Array | np.ndarray | None],
    *,
    name: Method,
    mesh: Mesh,
    axis_name: AxisName,
    tree: jax.tree_util.PyTreeDef,
    known: tuple[object, ...],
) -> Out:
    """Compute a loss by `shard_map`; `arrays` and `known` are the leaves of its settings.

    Compiled whole: without `jit`, `shard_map` compiles each operation anew, for minutes.
    """

    def of_device(a: Array, b: Array, arrays: list[Array | np.ndarray | None]) -> Out:
        leaves = [x if y is None else y for x, y in zip(known, arrays, strict=True)]
        return METHODS[name](a, b, axis_name=axis_name, **jax.tree.unflatten(tree, leaves))

    rows, whole = PartitionSpec(axis_name), PartitionSpec()
    split = jax.shard_map(of_device, mesh=mesh, in_specs=(rows, rows, whole), out_specs=whole)
    out: Out = split(a, b, arrays)
    return out


def _is_left_to_compiler(name: Method, a: Array, b: Array, settings: Mapping[str, object]) -> bool:
    """Tell whether a loss does not run in the scaling domain, the one that is split by hand."""
    known = keywords(name) | dict(settings)
    if name == "byol" or known.get("until") is not None:
        return True
    options: Any = {key: known[key] for key in common.KERNEL_DEFAULTS}
    layout = known.get("layout", "cross")
    form = partial(common.form_kernel, epsilon=known["epsilon"], layout=layout, options=options)
    kernel: ot.Kernel = jax.eval_shape(form, a, b)
    return kernel.domain == "log"
