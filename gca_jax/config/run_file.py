"""The config file that `--config=RUN/config.json` stands for: `get_config("RUN/config.json")`."""

from gca_jax.config.make import of_run as get_config

__all__ = ["get_config"]
