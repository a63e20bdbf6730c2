"""The annotations of the package, shapes included, are checked while the tests run."""

from typing import Never

import beartype

CHECK = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def check(function):
    """The function, refusing arguments and results that are not as annotated.

    A pytree is also made of what stands for its leaves: None, object(), rows under `vmap`. The
    constructors of dataclasses are therefore not checked. Neither are arguments that are `Never`
    there (`**unknown: Never`), for which beartype has no meaning.
    """
    if function.__name__ == "__init__":
        return function
    hints = function.__annotations__.items()
    function.__annotations__ = {name: hint for name, hint in hints if hint is not Never}
    return CHECK(function)
