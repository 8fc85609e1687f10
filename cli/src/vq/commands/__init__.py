"""The commands of ``vq``, one file each, thin over the pipeline.

No ``from __future__ import annotations`` in them: Typer evaluates annotations at each start, and compiling them from
text would take a part of it that can be felt.
"""
