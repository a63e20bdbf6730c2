"""Guards: what is no number, and what is no seed, says what to do in one line."""

import datetime

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from gca_jax import check

DAY = datetime.datetime(2024, 2, 29)


class Timestamp(datetime.datetime):
    """As pandas' is one."""


NO_NUMBERS = {
    "text": (np.array(["1.5", "x"]), "text such as '1.5': numbers are read by .astype"),
    "bytes": (np.array([b"x"]), "numpy.unique(names, return_inverse=True)[1]"),
    "text of NumPy 2": (np.array(["x"], np.dtypes.StringDType()), "text such as 'x'"),
    "a column of text": (np.array([[1.0, "x"]], object), "text such as 'x'"),
    "times": (np.array(["2024-02-29"], "M8[ns]"), "times such as 2024-02-29T"),
    "lengths of time": (np.array([5], "m8[s]"), "numpy.timedelta64(1, 's') makes seconds"),
    "a column of times": (np.array([1.0, Timestamp(2024, 2, 29)], object), "times such as 2024-"),
    "days": ([DAY.date()], "times such as 2024-02-29"),
    "nothing": (np.array([1.0, None], object), "fill or leave out what is missing"),
    "sparse": (scipy.sparse.csr_matrix(np.eye(2)), ".toarray() makes one array"),
    "ragged": ([[1.0], [1.0, 2.0]], "rows of one shape"),
    "a mask": (np.ma.masked_array([1.0, 2.0], [True, False]), "is a masked array"),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_number_says_what_to_do(kind):
    values, message = NO_NUMBERS[kind]
    with pytest.raises(ValueError, match=r"^z ") as caught:
        check.numbers("z", values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [[1, 2], np.eye(2, dtype=bool), jnp.ones(3, jnp.bfloat16), np.ma.masked_array([1.0])]
)
def test_numbers_are_numbers(values):
    check.numbers("z", values)


def test_a_seed_is_an_integer_of_32_bits():
    for seed in (0, 2**32 - 1, np.int8(3), np.uint64(7)):
        check.seed("seed", seed)
    for seed in (1.5, None, "0", True, np.bool_(True), -1, 2**32, np.float32(1), np.array([1])):
        with pytest.raises(ValueError, match=r"^seed must be an integer from 0 to 2\^32 - 1, got "):
            check.seed("seed", seed)
