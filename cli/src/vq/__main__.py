"""``python -m vq``: the command as a module, as in ``torchrun --nproc-per-node 8 -m vq train``."""

from vq.cli.process import main

if __name__ == "__main__":
    main()
