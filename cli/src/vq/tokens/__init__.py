"""Indices on disk: a folder of shards with a manifest, written by ``vq encode`` and read by ``vq decode``."""
