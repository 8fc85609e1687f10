"""Fake distributions: a dist-info folder and modules on sys.path, found without an install."""

import importlib

import pytest


@pytest.fixture
def distribution(tmp_path, monkeypatch, unloaded_modules):
    """A function of package, {module: source} and {entry point: module}, put on sys.path."""
    monkeypatch.delenv("VQ_DISABLE_PLUGINS", raising=False)

    def put(package, modules, entries):
        folder = tmp_path / package
        info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{entry} = {module}" for entry, module in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[vqcore]", *lines, ""]))
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        return folder

    return put
