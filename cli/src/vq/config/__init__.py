"""The settings of a run: defaults, presets, files, and the resolved config."""
