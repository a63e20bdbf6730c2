"""Convolutions whose gradient is fast on CPUs too.

XLA runs the gradient of a convolution with respect to its kernel as one convolution whose window is
the whole image, at a quarter of the speed of the other two on a CPU. As products of patches, some
images at a time, it is two or three times as fast. Accelerators keep XLA's.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

AT_ONCE = 2**20  # entries of the patches that are in memory
FEW_CHANNELS = 16  # of images themselves: patches of fewer are slow to lay side by side
Image = Float[Array, "b h w c"]
Kernel = Float[Array, "i j c c2"]


def convolve(
    x: Image,
    kernel: Kernel,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **options: Any,
) -> Float[Array, "b h2 w2 c2"]:
    """Convolve as `jax.lax.conv_general_dilated`, which Flax calls, without dilation or groups."""

    def plain(x: Array, kernel: Array) -> Array:
        found: Array = jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
        return found

    @jax.custom_vjp
    def convolved(x: Array, kernel: Array) -> Array:
        return plain(x, kernel)

    def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        return plain(x, kernel), (x, kernel)

    def backward(residuals: tuple[Array, Array], ct: Array) -> tuple[Array, Array]:
        x, kernel = residuals

        def by_convolution(x: Array, ct: Array) -> Array:
            (found,) = jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](ct)
            return found

        def by_products(x: Array, ct: Array) -> Array:
            return ct_kernel(x, ct, kernel.shape[:2], strides, padding).astype(kernel.dtype)

        (ct_x,) = jax.vjp(lambda x: plain(x, kernel), x)[1](ct)
        # Where processes share the batch, their loops would wait for each other's sums out of step.
        if x.shape[-1] < FEW_CHANNELS or jax.process_count() > 1:
            return ct_x, by_convolution(x, ct)
        # Chosen when the program is lowered: one traced on a CPU may be for an accelerator.
        found = jax.lax.platform_dependent(x, ct, cpu=by_products, default=by_convolution)
        return ct_x, found

    convolved.defvjp(forward, backward)
    return convolved(x, kernel)


def ct_kernel(
    x: Image,
    ct: Float[Array, "b h2 w2 c2"],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> Kernel:
    """Compute the cotangent of a kernel from that of the convolution.

    The patches of some images, so many as stay in the cache, are laid side by side for one product.
    Chunk k of n has the images k, k + n, ...: a share of each device's.
    """
    (b, height, width, c2), c, (rows, columns) = ct.shape, x.shape[-1], window

    def patches(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        down, right = (height - 1) * strides[0] + 1, (width - 1) * strides[1] + 1
        seen = [
            jax.lax.slice(padded, (0, i, j, 0), (len(x), i + down, j + right, c), (1, *strides, 1))
            for i, j in np.ndindex(rows, columns)
        ]
        return jnp.concatenate(seen, axis=-1).reshape(-1, rows * columns * c)

    def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        x, g = part
        g = g.reshape(-1, c2).T  # the product of this order is twice as fast as its transpose
        return total + jnp.matmul(g, patches(x), preferred_element_type=total.dtype), None

    each = height * width * rows * columns * c
    chunks = next(n for n in range(1, b + 1) if b % n == 0 and (b // n * each <= AT_ONCE or n == b))

    def split(x: Array) -> Array:
        return x.reshape(b // chunks, chunks, *x.shape[1:]).swapaxes(0, 1)

    # A sum over thousands of patches: in float32 for bfloat16 too, as XLA's own is.
    zero = jnp.zeros((c2, rows * columns * c), jnp.promote_types(x.dtype, jnp.float32))
    if chunks == 1:
        total, _ = add(zero, (x, ct))
    else:
        total, _ = jax.lax.scan(add, zero, (split(x), split(ct)))
    return total.T.reshape(rows, columns, c, c2)
