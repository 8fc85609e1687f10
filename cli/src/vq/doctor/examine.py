"""All checks, each on its own: what breaks one of them is a problem, and the others go on."""

from __future__ import annotations

import logging
from typing import Any

from vq.doctor.anonymous import anonymous
from vq.doctor.extras import extras
from vq.doctor.finding import Check, Finding, Problem
from vq.doctor.machine import machine
from vq.doctor.plugins import plugins
from vq.doctor.storage import storage
from vq.doctor.threads import threads
from vq.doctor.torch_devices import TorchProbe
from vq.doctor.variables import variables
from vq.doctor.versions import versions
from vqcore.errors import describe_error
from vqcore.plugin.registry import Registry

#: The version of what ``examine`` returns: a key may be added, none changes its meaning.
FORMAT = 1
_log = logging.getLogger(__name__)


def examine(registry: Registry) -> dict[str, Any]:
    """What is wrong here, and everything found out, as plain values without names of this user.

    ``status`` is that of the worst of ``problems``, which come first; every other key is a check.
    """
    probe = TorchProbe()
    checks: dict[str, Check] = {
        "platform": machine,
        "versions": versions,
        "torch": probe.torch,
        "devices": probe.devices,
        "plugins": plugins,
        "threads": probe.with_threads(threads),
        "storage": storage,
        "extras": extras,
        "environment": variables,
    }
    found = {name: _isolated(name, check, registry) for name, check in checks.items()}
    problems = [
        {"check": name, **vars(problem)}
        for severity in ("broken", "warning")
        for name, finding in found.items()
        for problem in finding.problems
        if problem.severity == severity
    ]
    status = problems[0]["severity"] if problems else "ok"
    facts = {name: finding.facts for name, finding in found.items()}
    report: dict[str, Any] = anonymous(
        {"format": FORMAT, "status": status, "problems": problems, **facts}
    )
    return report


def _isolated(name: str, check: Check, registry: Registry) -> Finding:
    try:
        return check(registry)
    except Exception as error:
        _log.debug(f"the check {name} failed", exc_info=error)
        text = f"the check {name!r} failed: {describe_error(error)}"
        return Finding({}, [Problem("warning", text, "report it, with vq --debug doctor")])
