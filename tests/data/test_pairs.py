"""Pairs of two sets: their split, the shuffle, scaling, batches, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax.data import pair_files, pairs
from gca_jax.data.batches import Order

N = 200
A = np.arange(N, dtype=np.float32)[:, None] * np.array([[1.0, -1.0]], np.float32)
B = np.arange(N, dtype=np.float64)[:, None, None] * np.ones((3, 2))
LABELS = np.array(["x", "y", "z", "x"] * (N // 4))


def test_parts_have_no_pair_in_common_and_their_sizes():
    test, other = pairs.pair(A, B), pairs.pair(A, B, split="validation")
    np.testing.assert_array_equal(test.train.a, other.train.a)
    assert (len(test.evaluated.a), len(other.evaluated.a), len(test.train.a)) == (40, 16, 144)
    parts = [test.train.a, test.evaluated.a, other.evaluated.a]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(N))
    assert test.wrong is None


def test_the_split_is_the_seed_s():
    same, other = pairs.pair(A, B), pairs.pair(A, B, seed=1)
    np.testing.assert_array_equal(same.evaluated.a, pairs.pair(A, B).evaluated.a)
    assert not np.array_equal(same.evaluated.a, other.evaluated.a)


@pytest.mark.parametrize("within", [False, True])
def test_so_many_training_and_validation_pairs_are_wrong_and_no_test_pair_is(within):
    given = dict(labels=LABELS, shuffled=0.5, shuffled_within=within, validation_fraction=0.4)
    test = pairs.pair(A, B, **given)
    validation = pairs.pair(A, B, split="validation", **given)
    np.testing.assert_array_equal(*test.evaluated)
    for part in (test.train, validation.evaluated):
        # In a class of one shuffled pair there is no other to exchange with.
        assert abs((part.a != part.b).mean() - 0.5) <= 0.03
        np.testing.assert_array_equal(np.sort(part.b), np.sort(part.a))
        assert (LABELS[part.a] == LABELS[part.b]).all() == within


def test_validation_pairs_are_there_whichever_pairs_are_evaluated():
    given = dict(shuffled=0.4, validation_fraction=0.2)
    test, other = (pairs.pair(A, B, split=split, **given) for split in ("test", "validation"))
    for ours, theirs in zip(test.validation, other.evaluated, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert other.validation is other.evaluated
    assert not set(test.validation.a) & {*test.train.a, *test.evaluated.a}


def test_all_pairs_can_be_wrong():
    assert pairs.pair(A, B, shuffled=1.0).wrong.all()


def test_columns_are_scaled_by_the_training_rows_and_images_as_a_whole():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 3)) * [1, 10, 0] + [5, 0, 7]
    b = rng.integers(0, 256, (50, 4, 2), np.uint8)
    made = pairs.pair(a, b)
    x = made.a.features(made.train.a)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), [1, 1, 0], atol=1e-5)
    y, seen = made.b.features(made.train.b), b[made.train.b].astype(float)
    expected = (seen - seen.mean()) / seen.std()
    np.testing.assert_allclose(y, expected.reshape(len(y), -1), rtol=1e-4, atol=1e-5)
    in_nanometres = pairs.pair(a * 1e9, b).a, pairs.pair(a.astype(np.float32) * 1e-9, b).a
    for side in in_nanometres:
        np.testing.assert_allclose(side.features(made.train.a), x, rtol=1e-3, atol=1e-5)
    plain = pairs.pair(a, b, scaling="none")
    np.testing.assert_allclose(plain.a.features(np.array([3])), a[[3]], rtol=1e-6)


def test_a_batch_has_both_sides_of_its_pairs():
    made = pairs.pair(A, B, shuffled=0.3, scaling="none", labels=LABELS)
    order = Order(len(made), 32, seed=4)
    (x, y), rows, info = next(made.batches(order, 5, ("labels",)))
    np.testing.assert_array_equal(rows, order.rows(5))
    np.testing.assert_array_equal(x[:, 0], made.train.a[rows])
    np.testing.assert_array_equal(y[:, 0], made.train.b[rows])
    labels = np.unique(LABELS, return_inverse=True)[1][made.train.a]
    np.testing.assert_array_equal(info["labels"], labels[rows])
    assert [e.shape for e in made.example(32)] == [x.shape, y.shape]
    assert next(made.batches(order, 5)).info == {}


def test_labels_of_pairs_are_their_domains_too():
    made = pairs.pair(A, B, labels=LABELS)
    np.testing.assert_array_equal(made.info["domains"], made.info["labels"])
    np.testing.assert_array_equal(made.info["labels"], made.labels[made.train.a])
    assert pairs.pair(A, B).info == {}


def test_test_pairs_of_their_own():
    made = pairs.pair(A, B, test=(A[:7] + 0.5, B[:7]), scaling="none")
    assert (len(made.train.a), len(made.evaluated.a)) == (180, 7)
    np.testing.assert_allclose(made.a.features(made.evaluated.a)[:, 0], np.arange(7) + 0.5)


def save(folder, **arrays):
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return {name: str(folder / f"{name}.npy") for name in arrays}


def test_test_files_are_not_read_where_validation_pairs_are_judged(tmp_path):
    files = save(tmp_path, a=A, b=B) | {"test_a": "nowhere.npy", "test_b": "nowhere.npy"}
    made = pair_files.load("pairs", **files, split="validation")
    assert (len(made.train.a), len(made.evaluated.a)) == (180, 20)
    with pytest.raises(ValueError, match=r"nowhere\.npy does not exist"):
        pair_files.load("pairs", **files)


def test_without_files_there_are_halves_of_digits():
    made = pair_files.load("pairs", limit=300)
    assert (made.a.raw.shape, made.b.raw.shape) == ((300, 8, 4), (300, 8, 4))
    assert made.a.pictures
    assert made.name == "halves of digits"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b": B[:-1]}, "a has 200 rows and b has 199"),
        ({"a": np.where(np.arange(N) == 3, np.nan, 1.0)}, "first is row 3"),
        ({"a": np.array([{}] * N)}, r"a must be numbers, got object \[200\]: fill"),
        ({"b": np.full((N, 4), 7, np.uint8)}, "b is the same in all 144 training rows"),
        ({"a": 1 + 1e-9 * (B % 2), "scaling": "none"}, "a is the same in all 144 training rows"),
        ({"shuffled": 1.5}, r"shuffled must lie in \[0, 1\], got 1.5"),
        ({"shuffled_within": True}, "needs labels"),
        ({"labels": LABELS[:3]}, r"labels must be integers or names \[200\]"),
        ({"test_fraction": 1.0}, "test_fraction must be at least 0 and below 1"),
        ({"test_fraction": 0.0}, "of 200 pairs 0 are left to test"),
        ({"validation_fraction": 0.999}, "are left to train"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": 1.5}, "seed must be an integer >= 0, got 1.5"),
        ({"seed": None}, "seed must be an integer >= 0, got None"),
        ({"seed": "0"}, "seed must be an integer >= 0, got '0'"),
        ({"seed": True}, "seed must be an integer >= 0, got True"),
        ({"split": "train"}, "split must be one of test, validation; got 'train'"),
        ({"scaling": "rows"}, "scaling must be one of"),
        ({"test": (A, B[:, :2])}, "rows of b have shape"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_mistake_is_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        pairs.pair(**{"a": A, "b": B, **changes})
    assert "\n" not in str(caught.value)


def test_a_limit_keeps_rows_of_both_sets_and_of_labels_that_are_as_many(tmp_path):
    files = save(tmp_path, a=A, b=B, labels=LABELS, short=LABELS[:-1])
    labels = files.pop("short")
    made = pair_files.load("pairs", **files, limit=100)
    assert len(made.a.raw) == len(made.b.raw) == len(made.labels) == 100
    with pytest.raises(ValueError, match=r"labels must be integers or names \[200\]"):
        pair_files.load("pairs", **files | {"labels": labels}, limit=100)
    with pytest.raises(ValueError, match="limit must be an integer >= 1, got 0"):
        pair_files.load("pairs", **files, limit=0)


def test_rows_that_have_names_are_in_one_order(tmp_path):
    names = [f"cell {i}" for i in range(20)]
    for file, some in (("a", names), ("b", names), ("c", names[::-1]), ("d", ["x"] * 20)):
        lines = [f"{name},{i},{-i}" for i, name in enumerate(some)]
        (tmp_path / f"{file}.csv").write_text("\n".join([",u,v", *lines]))
    files = {name: str(tmp_path / f"{name}.csv") for name in "abcd"}
    for b in ("b", "d"):  # other names say nothing about the order
        assert len(pair_files.load("pairs", a=files["a"], b=files[b]).a.raw) == 20
    with pytest.raises(ValueError, match="name the same rows in another order: sort one"):
        pair_files.load("pairs", a=files["a"], b=files["c"])


def test_a_and_b_go_together():
    with pytest.raises(ValueError, match=r"name --config\.data\.b=FILE"):
        pair_files.load("pairs", a="a.npy")


def test_a_label_of_minus_one_is_of_no_class():
    signed = np.where(np.arange(N) % 3 == 0, -1, np.arange(N) % 4)
    labels = pairs.pair(A, B, labels=signed).labels
    np.testing.assert_array_equal(labels == -1, signed == -1)
    kinds = {(x, y) for x, y in zip(signed, labels, strict=True)}
    assert len(kinds) == 5
    unsigned = np.full(N, 2**64 - 1, np.uint64)
    unsigned[::2] = 0
    assert set(pairs.pair(A, B, labels=unsigned).labels) == {0, 1}


def test_what_an_array_says_of_itself_is_not_lost():
    """A mask is refused, bfloat16 is cast up."""
    masked = np.ma.masked_array(A, mask=A == 5)
    with pytest.raises(ValueError, match=r"^a is a masked array, .*fill it, as a\.filled\(0\)"):
        pairs.pair(masked, B)
    assert pairs.pair(np.ma.masked_array(A), B).a.raw.dtype == np.float32
    short = jnp.asarray(A / 256, jnp.bfloat16)
    np.testing.assert_array_equal(pairs.pair(short, B).a.raw, np.float32(short))


@pytest.mark.parametrize("unit", [1e160, 1e-170, 1e-300, 1e307])
def test_a_table_in_any_unit_is_the_table(unit):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 3)) * [1, 1e-3, 0] + [0, 1, 7]
    a /= np.abs(a).max()
    for shape, scaling in ((a.shape, "columns"), ((50, 3, 1), "whole")):
        one, other = (
            pairs.pair(x.reshape(shape), a, scaling=scaling).a for x in (a, np.float64(unit) * a)
        )
        rows = np.arange(50)
        np.testing.assert_allclose(other.features(rows), one.features(rows), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(other.scale(unit * a.reshape(shape)), other.features(rows))


def test_a_column_is_constant_only_if_it_is():
    """Small beside its mean, in float32, in float64, in integers that float64 does not hold."""
    steps = np.arange(50) % 8
    columns = {
        "float32": np.float32(1e6) + np.float32(0.0625) * steps.astype(np.float32),
        "float64": 1.7e9 + 2.0**-22 * steps,
        "int64": 2**61 + steps,
        "uint64": np.uint64(2**63) + steps.astype(np.uint64),
    }
    for name, column in columns.items():
        made = pairs.pair(column, columns["float32"]).a
        seen = steps[pairs.pair(column, column).train.a]
        want = (steps - seen.mean()) / seen.std()
        np.testing.assert_allclose(
            made.features(np.arange(50))[:, 0], want, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("scaling", ["columns", "whole", "none"])
def test_what_is_beyond_float32_once_it_is_scaled_is_refused(scaling):
    a = np.random.default_rng(0).normal(size=(50, 3))
    test = np.array([[0, 1e300, 0]]), a[:1]
    with pytest.raises(ValueError, match=r"^a has 1e\+300 in column 1, beyond float32") as caught:
        pairs.pair(a, a, test=(np.repeat(test[0], 2, 0), a[:2]), scaling=scaling)
    assert "\n" not in str(caught.value)
    side = pairs.pair(a, a, scaling=scaling).b
    with pytest.raises(ValueError, match=r"^b has 1e\+300 in column 1"):
        side.scale(test[0])
    with pytest.raises(ValueError, match=r"^b is the same in all 36 training rows, in float32"):
        pairs.pair(a, 1e-60 * a, scaling="none")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(N).astype("M8[D]"), "a must be numbers, got times such as 1970-01-01"),
        (np.arange(N).astype("m8[s]"), "a must be numbers, got times such as 0 seconds"),
        (A.astype(str), "a must be numbers, got text such as '0.0'"),
        (np.array([["cell 1", 2.0]] * N, object), "a must be numbers, got text such as 'cell 1'"),
    ],
)
def test_columns_of_times_and_of_text_say_what_to_do(values, message):
    with pytest.raises(ValueError, match=message):
        pairs.pair(values, B)


def test_labels_are_integers_of_any_type_or_text_of_any_type():
    own = np.arange(N) % 5
    wide = {
        "int8": own.astype(np.int8) - 100,
        "uint8": own.astype(np.uint8) + np.uint8(250),
        "int64": 2**32 * own.astype(np.int64),
        "uint64": np.uint64(2**63) + own.astype(np.uint64),
        "objects": np.array([f"class {k}" for k in own], object),
        "text": np.array([f"class {k}" for k in own], np.dtypes.StringDType()),
    }
    for name, labels in wide.items():
        np.testing.assert_array_equal(pairs.pair(A, B, labels=labels).labels, own, err_msg=name)
    for labels in (own.astype(float), np.array(["x", None] * (N // 2), object)):
        with pytest.raises(ValueError, match=r"return_inverse=True\)\[1\] numbers others, and -1"):
            pairs.pair(A, B, labels=labels)


def test_pairs_of_no_class_stay_where_classes_are_shuffled():
    labels = np.where(np.arange(N) % 2 == 0, -1, np.arange(N) % 3)
    made = pairs.pair(A, B, labels=labels, shuffled=1.0, shuffled_within=True)
    np.testing.assert_array_equal(made.wrong, labels[made.train.a] != -1)


def test_pairs_by_their_rows_are_split_as_rows_are():
    """All pairs in order are `rows`; a permuted partner is found again by its row."""
    rows = np.stack([np.arange(N)] * 2, axis=1)
    one, other = pairs.pair(A, B, shuffled=0.2), pairs.pair(A, B, pairs=rows, shuffled=0.2)
    assert (len(other.validation.a), len(one.validation.a)) == (20, 16)
    np.testing.assert_array_equal(one.evaluated, other.evaluated)
    order = np.random.default_rng(0).permutation(N)
    made = pairs.pair(A, B[order], pairs=np.stack([order, np.arange(N)], axis=1))
    for part in (made.train, made.validation, made.evaluated):
        np.testing.assert_array_equal(order[part.b], part.a)
    assert [len(rows) for rows in made.unpaired] == [0, 0]


def test_pairs_that_share_a_row_stay_together():
    rng = np.random.default_rng(1)
    known = np.unique(rng.integers(0, N, (150, 2)), axis=0)
    made = pairs.pair(A, B, pairs=known)
    parts = [made.train, made.validation, made.evaluated]
    assert sum(len(part.a) for part in parts) == len(known)
    for side in ("a", "b"):
        kinds = [set(getattr(part, side).tolist()) for part in parts]
        assert not any(kinds[i] & kinds[j] for i, j in ((0, 1), (0, 2), (1, 2)))
    np.testing.assert_array_equal(made.unpaired[0], np.setdiff1d(np.arange(N), known[:, 0]))
    np.testing.assert_array_equal(made.unpaired[1], np.setdiff1d(np.arange(N), known[:, 1]))
    assert not {*made.rows[0]} & {*made.evaluated.a, *made.validation.a}


@pytest.mark.parametrize(
    ("known", "more", "message"),
    [
        ("row", {}, "pairs must be one of rows"),
        ([[0, 1, 2]], {}, r"pairs must be 'rows', or integers \[k, 2\]"),
        ([[0.5, 1.0]], {}, r"pairs must be 'rows', or integers \[k, 2\]"),
        ([[0, 1], [200, 1]], {}, "a has rows 0 to 199, and none 200"),
        ([[0, 1], [1, -1]], {}, "b has rows 0 to 199, and none -1"),
        ([[0, 1], [0, 1]], {}, "one is there twice"),
        ("rows", {"confidence": [0.5]}, "confidence is a number, or one for each of 200 pairs"),
        ("rows", {"confidence": 1.5}, "confidence must lie in"),
        ([[0, 1], [1, 2], [2, 3]], {}, "of 3 pairs 1 are left to test"),
    ],
)
def test_pairs_that_cannot_be(known, more, message):
    with pytest.raises(ValueError, match=message):
        pairs.pair(A, B, pairs=known, **more)


def test_known_pairs_are_read_from_a_file(tmp_path):
    rng, files = np.random.default_rng(0), {}
    known = np.stack([rng.permutation(N)[:60], rng.permutation(N)[:60]], axis=1)
    for key, values in {"a": A, "b": B[:150], "pairs": known % 150}.items():
        files[key] = str(tmp_path / f"{key}.npy")
        np.save(files[key], values)
    made = pair_files.load("pairs", **files)
    assert len(made.train.a) + len(made.validation.a) + len(made.evaluated.a) == 60
    assert made.quality is None
    np.save(files["pairs"], np.column_stack([known % 150, np.full(60, 0.25)]))
    np.testing.assert_array_equal(pair_files.load("pairs", **files).quality, 0.25)
    np.save(files["pairs"], known + 0.5)
    with pytest.raises(ValueError, match="must have two columns, the row of a and the row of b"):
        pair_files.load("pairs", **files)
    with pytest.raises(ValueError, match="limit keeps rows that pairs may name"):
        pair_files.load("pairs", **files, limit=10)
