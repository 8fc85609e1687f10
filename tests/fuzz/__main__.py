"""``python tests/fuzz AREA --cases N --seed S``: as many cases of one fuzzer as you like."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("area", choices=fuzz.AREAS)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fuzzer = importlib.import_module(f"fuzz.{options.area}")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        prepared = fuzzer.prepare(Path(folder))
        for number in range(options.cases):
            try:
                fuzzer.check(Random(f"{options.seed}-{number}"), prepared)
            except Exception:
                failed += 1
                print(f"case {options.seed}-{number}:", file=sys.stderr)
                traceback.print_exc()
    print(f"{options.area}: {options.cases} cases, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
