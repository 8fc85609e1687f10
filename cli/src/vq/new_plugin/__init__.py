"""Writes the package of a new plugin: ``template/`` has what is written, one folder a kind."""
