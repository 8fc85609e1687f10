"""Fake distributions, and problems for the search."""

import importlib

import pytest


@pytest.fixture
def distribution(tmp_path, monkeypatch, unloaded_modules):
    """A function of package, {module: source} and {entry point: module}.

    It puts a dist-info folder and the modules on sys.path, which are found without an install.
    """
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


@pytest.fixture
def whole_numbers():
    """A function of N, K and S: a search without rounding, with many ties, and its solution."""
    import torch

    def made(n, k, width, dtype=torch.float32):
        generator = torch.Generator().manual_seed(n + k + width)
        query, weight, bias = (
            torch.randint(-4, 5, shape, generator=generator).to(dtype)
            for shape in ((n, width), (k, width), (k,))
        )
        scores = query @ weight.T + bias
        lowest = torch.where(scores == scores.amin(1, keepdim=True), torch.arange(k), k).amin(1)
        return (query, weight, bias), lowest

    return made
