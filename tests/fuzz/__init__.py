"""Fuzzers: each module damages one kind of input and checks that the product answers in words.

``pytest`` runs a few hundred fixed cases of each. For more:
``python tests/fuzz AREA --cases 5000``.
"""

#: The modules, each with the number of cases that the test suite runs.
AREAS = {
    "configs": 400,
    "run_folders": 120,
    "token_folders": 250,
    "checkpoints": 200,
    "reports": 80,
}
