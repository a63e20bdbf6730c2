"""Encoders by name. Adding one costs its file and one line here.

An encoder's file gives three functions and the Flax module that they are about:

- `create(**settings)` checks the settings, which are the encoder's keys in the `model` group of a
  config (a bad value raises a ValueError of one line), and makes the module. Called as `module(x)`
  or `module(x, train)`, the module gives features [b, f] of images [b, h, w, c].
- `settings(side)` gives all settings, with values that suit images of `side` x `side` pixels.
- `smoke(settings)` shrinks them until a run is over in seconds.
"""

from typing import Any, Protocol

from flax import linen as nn

from gca_jax.check import one_of
from gca_jax.models import resnet, vit

Settings = dict[str, object]


class Encoder(Protocol):
    """What an encoder's file gives, as described above."""

    def create(self, *args: Any, **settings: Any) -> nn.Module: ...  # noqa: D102
    def settings(self, side: int) -> Settings: ...  # noqa: D102
    def smoke(self, settings: Settings) -> Settings: ...  # noqa: D102


ENCODERS: dict[str, Encoder] = {"resnet": resnet, "vit": vit}


def create(name: str, settings: Settings) -> nn.Module:
    """Make an encoder by name from all its settings, and no others."""
    one_of("encoder", name, ENCODERS)
    known = ENCODERS[name].settings(32).keys()
    if settings.keys() != known:
        raise ValueError(
            f"encoder {name} takes {', '.join(known)}; got {', '.join(settings) or 'none'}; "
            f"a config's encoder is chosen after the colon: --config=FILE:METHOD,{name}"
        )
    return ENCODERS[name].create(**settings)
