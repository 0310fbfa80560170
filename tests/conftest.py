"""Fixtures of the whole suite: the bench of all opcodes, swept once a session, and hypothesis."""

import gc
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import matrix
import numpy as np
import pytest
from hypothesis import settings
from sharing import compile_a_share

from ndtape.record import lifetime


def set_aside():
    """What there is now stays to the end of the session: the collector need not walk through it.

    A full collection costs a tenth of a second otherwise, and so does dropping dead instructions,
    which asks the collector who refers to a tape. ndtape does not drop any where objects have been
    set aside, since they could be results; these are older than all results of tests. It is told
    that there are none: to count them takes a walk, too.
    """
    gc.collect()
    gc.freeze()
    count_frozen(lambda: 0)


def count_frozen(count):
    """How many objects ndtape hears to be set aside."""
    vars(lifetime)["gc"] = SimpleNamespace(get_referrers=gc.get_referrers, get_freeze_count=count)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Workers of the whole suite share the compiling; a few tests compile what they need."""
    config = node.config
    if config.args_source == config.ArgsSource.TESTPATHS and not config.option.keyword:
        if not hasattr(config, "claims"):
            config.claims = TemporaryDirectory()  # removed with the configuration
        node.workerinput["claims"] = config.claims.name


def pytest_sessionstart(session):
    claims = getattr(session.config, "workerinput", {}).get("claims")
    if claims:
        compile_a_share(Path(claims))


def pytest_collection_finish(session):
    set_aside()


@pytest.fixture(scope="module", autouse=True)
def heap_of_its_own():
    """What earlier modules have left behind, compiled functions above all, is set aside, too."""
    set_aside()


@pytest.fixture
def frozen_by_the_user():
    """For a test that calls `gc.freeze` itself."""
    before = gc.get_freeze_count()
    count_frozen(lambda: gc.get_freeze_count() - before)
    yield
    gc.unfreeze()
    set_aside()


settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def bench():
    """All opcodes at all their points, in one sealed tape."""
    return matrix.Bench()


@pytest.fixture(scope="session")
def numbers(bench):
    """What the scalar sweeps say at all points, by opcode, with unit seeds."""
    return bench.numbers()


# Zeros, ones and others in every combination of adjoint and tangents, never the same in all lanes.
ADJOINT = np.array(
    [1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 2.0, -1.5, -0.0, 1.0, 0.0, 3.0, 0.7, 1.0]
)
TANGENT = np.array(
    [
        [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.3, 4.0, 0.6, 1.0, -0.0, 0.0, 1.0, 0.0, 2.0],
        [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.2, 0.0, -0.9, 2.0, 0.0, 0.0, 0.0, 5.0, 1.0],
        [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.9, 0.0, 1.7, 1.0, -0.0, 0.0, 0.0, 1.0, 3.0],
    ]
)


@pytest.fixture(scope="session")
def mixed(bench):
    """Every sweep with seeds that differ from lane to lane: by numbers of lanes, 1 and 16."""
    return {lanes: bench.run(lanes, ADJOINT, TANGENT) for lanes in (1, matrix.LANES)}


@pytest.fixture
def eager_switching():
    """Threads change places as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
