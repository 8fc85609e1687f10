"""The sections of a report, one module each: a function from runs to a ``Section``."""
