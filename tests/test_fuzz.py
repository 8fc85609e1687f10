"""A few hundred fixed cases of each fuzzer; ``python tests/fuzz`` tries more."""

from importlib import import_module
from random import Random

import fuzz
import pytest


@pytest.mark.parametrize("area", fuzz.AREAS)
def test_damaged_input_is_accepted_or_refused_in_words(area, tmp_path, without_plots):
    fuzzer = import_module(f"fuzz.{area}")
    prepared = fuzzer.prepare(tmp_path)
    for number in range(fuzz.AREAS[area]):
        fuzzer.check(Random(f"0-{number}"), prepared)
