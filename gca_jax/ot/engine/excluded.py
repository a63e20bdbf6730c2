"""Pairs that do not count: those of padded samples, and known positives that are no negatives."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Excluded:
    """Pairs at which K is 0, as it is at self-pairs; made by `inputs.excluded`.

    Attributes:
      rows: Which rows count [n]; None: all.
      columns: Which columns count [m]; None: all.
      ids: Of rows [n] and columns [m]: pairs of one id do not count, but for positive pairs.
      pairs: Which pairs do not count [n, m], but for positive pairs.
      joint: Whether rows and columns are all 2B views.
    """

    rows: Bool[Array, " n"] | None = None
    columns: Bool[Array, " m"] | None = None
    ids: tuple[Int[Array, " n"], Int[Array, " m"]] | None = None
    pairs: Bool[Array, "n m"] | None = None
    joint: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def only_whole_rows(self) -> bool:
        """Whether it is whole rows and columns that do not count."""
        return self.ids is None and self.pairs is None

    def of(self, rows: Int[Array, " k"], columns: int) -> Bool[Array, "k m"]:
        """Return which pairs of the given rows with all columns do not count."""
        column = jnp.arange(columns)[None, :]
        ignored = jnp.zeros((rows.size, columns), bool)
        if self.ids is not None:
            ignored |= self.ids[0][rows][:, None] == self.ids[1][None, :]
        if self.pairs is not None:
            ignored |= self.pairs[rows]
        if not self.only_whole_rows:
            partner = (rows + columns // 2) % columns if self.joint else rows
            ignored &= column != partner[:, None]
        if self.rows is not None:
            ignored |= ~self.rows[rows][:, None]
        return ignored if self.columns is None else ignored | ~self.columns[None, :]

    @property
    def positives(self) -> Bool[Array, " k"] | None:
        """Which positive pairs count: (i, i), or each view with the other one; None: all."""
        if self.rows is None or self.columns is None:
            return None
        if self.joint:
            return self.rows & jnp.roll(self.rows, self.rows.size // 2)
        pairs = min(self.rows.size, self.columns.size)
        return self.rows[:pairs] & self.columns[:pairs]

    @property
    def transposed(self) -> "Excluded":
        """The same pairs with rows and columns exchanged."""
        ids = None if self.ids is None else self.ids[::-1]
        pairs = None if self.pairs is None else self.pairs.T
        return Excluded(self.columns, self.rows, ids, pairs, self.joint)

    def unless(self, nothing: Bool[Array, ""]) -> "Excluded":
        """Let every row and column count where `nothing` does."""
        if self.rows is None or self.columns is None:
            return self
        return dataclasses.replace(self, rows=self.rows | nothing, columns=self.columns | nothing)
