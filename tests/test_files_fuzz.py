"""Damaged files: some hundred of the hundred thousand that `tests/fuzz_files.py` makes."""

import random

import fuzz_files


def test_damaged_files_are_refused_or_can_be_swept():
    counts, failures = fuzz_files.fuzzed(250)
    assert not failures, "\n".join(failures)
    assert counts["refused"] + counts["accepted"] == 250 and counts["accepted"] > 5


def test_damage_is_done():
    """Equal seeds give equal files, and most are not the sound ones."""
    sound = fuzz_files.corpus()
    made = [fuzz_files.damaged(random.Random(seed), sound) for seed in range(50)]
    assert made == [fuzz_files.damaged(random.Random(seed), sound) for seed in range(50)]
    assert len(set(made) - set(sound)) > 45
