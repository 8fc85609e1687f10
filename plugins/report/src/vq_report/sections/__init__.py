"""The sections of a report, one file each: a function from runs to a ``Section``."""
