"""Indices on disk: a folder of shards with a manifest, written by ``encode``."""
