"""One thread for every test: two on a machine that is busy elsewhere run many times slower than one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import vqcore  # noqa: F401 - the package, before pytest takes the folder of the same name for it
