"""Versions of every plugin's package and of what these require."""

from __future__ import annotations

from vq.doctor.finding import Finding, Problem
from vq.requirements import installed, required, unmet
from vqcore.plugin.registry import Registry

#: Packages that change what a run computes, wherever they come from.
_ALWAYS = ("vqcore", "vq-cli", "torch", "torchvision", "triton")


def versions(registry: Registry) -> Finding:
    """Versions by package, null where one is missing; what does not fit is broken.

    Not so what a package requires whose plugins are all turned off.
    """
    plugins = [plugin for plugin in registry.plugins if plugin.version != "file"]
    packages = [plugin.package for plugin in plugins]
    active = [plugin.package for plugin in plugins if plugin.status != "disabled"]
    names = {*_ALWAYS, *packages}
    for package in packages:
        names |= {requirement.name for requirement in required(package)}
    first = {name: installed(name) for name in _ALWAYS if installed(name) is not None}
    others = {name: installed(name) for name in sorted(names - first.keys() - {"triton"})}
    problems = [
        Problem("broken", f"{package} {lacking}", f"pip install '{lacking.requirement}'")
        for package in dict.fromkeys(active)
        for lacking in unmet(package)
    ]
    return Finding(first | others, problems)
