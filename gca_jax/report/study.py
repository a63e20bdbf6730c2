"""Writes the report of a study."""

from gca_jax.studies.results import collect


def write(study, grid, workdir, command):
    print(collect(study, grid, workdir))
    return workdir
