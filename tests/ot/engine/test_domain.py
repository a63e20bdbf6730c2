"""The rule of domains and blocks: what a device's memory has to do with how K is kept."""

import types

import jax
import pytest

from gca_jax.ot.engine import domain

GIB = 2**30


@pytest.fixture
def device(monkeypatch):
    """A device whose memory JAX says is so large, or says nothing of."""

    def make(stats):
        one = types.SimpleNamespace(memory_stats=lambda: stats)
        monkeypatch.setattr(jax, "local_devices", lambda: [one])

    return make


def rows_at_a_time(n):
    return domain.choose((n, n), 0.5, None, None, None)[1]


@pytest.mark.parametrize("limit", [15.75 * GIB, 60 * GIB, 104 * GIB])
def test_a_whole_k_takes_a_32nd_to_a_16th_of_the_memory(device, limit):
    device({"bytes_limit": int(limit)})
    whole = [n for n in range(1024, 2**16, 128) if rows_at_a_time(n) is None]
    assert whole == list(range(1024, whole[-1] + 1, 128))
    assert limit / 33 < 4 * whole[-1] ** 2 <= limit / 16
    assert rows_at_a_time(2**16) == 64


def test_limits_that_differ_slightly_give_the_same_program(device):
    chosen = set()
    for limit in (59.1 * GIB, 59.7 * GIB, 60.3 * GIB):
        device({"bytes_limit": int(limit)})
        chosen.add(tuple(rows_at_a_time(n) for n in range(1024, 2**16, 128)))
    assert len(chosen) == 1


@pytest.mark.parametrize("stats", [None, {}, {"bytes_in_use": 5}])
def test_a_device_that_names_no_limit_keeps_a_gibibyte(device, stats):
    device(stats)
    assert rows_at_a_time(16_384) is None
    assert rows_at_a_time(16_512) == 2**22 // 16_512


def test_what_the_caller_says_is_done(device):
    device({"bytes_limit": GIB})
    assert domain.choose((2**16, 2**16), 0.5, None, 2**16, None) == ("scaling", None)
    assert domain.choose((64, 64), 0.5, None, 8, None) == ("scaling", 8)
