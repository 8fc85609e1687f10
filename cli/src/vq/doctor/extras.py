"""Extras of the plugins' packages: what is missing of each, and what it gives."""

from __future__ import annotations

from importlib import metadata

from vq.doctor.finding import Finding
from vq.requirements import described_extras, unmet
from vqcore.plugin.registry import Registry


def extras(registry: Registry) -> Finding:
    """Every extra, by what its package's metadata and README say. None is a problem."""
    packages = dict.fromkeys(each.package for each in registry.plugins if each.version != "file")
    rows = []
    for package in packages:
        try:
            about = metadata.metadata(package)
        except metadata.PackageNotFoundError:
            continue
        described = described_extras(about["Description"] or "")
        for extra in about.get_all("Provides-Extra") or ():
            missing = [each.requirement for each in unmet(package, extra)]
            rows.append(
                {
                    "extra": f"{package}[{extra}]",
                    "gives": described.get(extra),
                    "installed": not missing,
                    "missing": missing,
                }
            )
    return Finding(rows)
