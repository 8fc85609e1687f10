"""What must hold for every plugin that follows runs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from types import ModuleType
from typing import Any, ClassVar

from vq.config.resolved_config import resolve_config
from vq.testing.followed import SAVED, FollowedRuns, followed_runs
from vq.testing.observed import Followed
from vq.testing.reported import Reported, check_sections
from vqcore.plugin.hook_caller import HookCaller
from vqcore.testing.rules import expect, rule, same
from vqcore.testing.samples import same_state, state_of

#: Metrics that no two runs have in common: of time and of memory.
_MEASURED = ("second", "memory")
#: Files that grow line by line.
_GROWING = (".jsonl", ".csv", ".log", ".txt")


class HooksConformance:
    """Subclass it, name your plugin, and let pytest or ``violations`` run it.

    Tiny runs are trained without the plugin and with it: to the end, to a failure from which one is
    resumed, and to an interruption.

    Attributes:
        plugin: the plugin's module or its dotted name, installed or not.
        settings: of the runs, by key path, such as the component that the plugin follows.
        also_writes: patterns of files that it may write besides those below ``plugins/NAME``, where
            NAME is what its entry point is called; by default what its module states, as in
            ``VQ_WRITES = ("*.png",)``.
    """

    plugin: ModuleType | str
    settings: ClassVar[Mapping[str, Any]] = {}
    also_writes: Sequence[str] | None = None

    @rule
    def test_no_hook_fails(self) -> None:
        """No hook raises or answers wrongly, also in runs that fail, stop and are resumed."""
        for how, followed in self._runs.all():
            expect(not followed.faults, f"in a run that was {how}: {'; '.join(followed.faults)}")

    @rule
    def test_following_changes_nothing(self) -> None:
        """Weights and metrics of a run are the same, to the bit, with the plugin and without."""
        self._check_same(self._runs.whole, "a run")

    @rule
    def test_resuming_changes_nothing(self) -> None:
        """A run that fails and is resumed has the weights and metrics of one without the plugin."""
        self._check_same(self._runs.resumed[1], "a resumed run")

    @rule
    def test_resuming_adds(self) -> None:
        """A resumed run keeps what the plugin wrote before: its files, and their first lines.

        Lines of JSON with a ``step`` that is repeated are written again.
        """
        before, followed = self._runs.resumed
        now = followed.files()
        for name, content in before.items():
            if not self._is_of_the_plugin(name):
                continue
            expect(name in now, f"{name} is gone after the run was resumed")
            kept = [line for line in content.splitlines() if not _is_repeated(line)]
            if name.endswith(_GROWING) and kept:
                still = next(iter(now[name].splitlines()), b"")
                found = f"{name} begins with {still!r} instead of {kept[0]!r}; open it to append"
                expect(kept[0] == still, found)

    @rule
    def test_repeated_steps_are_written_once(self) -> None:
        """A resumed run drops the lines of the steps that it repeats from ``.jsonl`` files."""
        usual = self._runs.whole.files()
        for name, content in self._runs.resumed[1].files().items():
            if self._is_of_the_plugin(name) and name.endswith(".jsonl"):
                expected = _lines_by_step(usual.get(name, b""))
                for (step, names), count in _lines_by_step(content).items():
                    most = max(1, expected[step, names])
                    expect(count <= most, f"{name} has {count} lines of step {step}, with {names}")

    @rule
    def test_metrics_are_numbers_of_each_line(self) -> None:
        """What ``vq_metrics`` adds is finite, and has the same names on each line."""
        run = self._runs.whole.run
        assert run is not None
        usual = set().union(*self._runs.without.history)
        lines = [{name: line[name] for name in line.keys() - usual} for line in run.history]
        for line in lines:
            same(sorted(line), sorted(lines[0]), "names")
            for name, value in line.items():
                finite = isinstance(value, int | float) and math.isfinite(value)
                expect(finite, f"{name} = {value!r}")

    @rule
    def test_files_are_in_its_folder(self) -> None:
        """The plugin writes below ``plugins/NAME`` in the run folder alone, or as declared."""
        usual = self._runs.without.folder.path
        for how, followed in self._runs.all():
            expected = {path.relative_to(usual).as_posix() for path in usual.rglob("*")}
            strange = [
                name
                for name in followed.files()
                if name not in expected and not self._may_be(name, how)
            ]
            expect(not strange, f"in a run that was {how}: {', '.join(strange[:5])}")
        left = {path.name for path in self._runs.folder.iterdir()}
        strange = sorted(left - {"without", "whole", "failed", "interrupted"})
        expect(not strange, f"beside the run folder: {', '.join(strange)}")

    @rule
    def test_files_are_closed(self) -> None:
        """After a run no file in its folder is open, also if it failed or was interrupted."""
        for how, followed in self._runs.all():
            names = ", ".join(followed.left_open)
            expect(not names, f"after a run that was {how}: {names}")

    @rule
    def test_no_step_waits(self) -> None:
        """``vq_step_end`` does not wait for the device on most steps that are not logged."""
        noted = self._runs.whole.waits
        found = [text for waits in noted.values() for text in waits]
        most = sum(map(bool, noted.values())) > len(noted) / 2
        expect(not most, "; ".join(dict.fromkeys(found)))

    @rule
    def test_report_sections_are_valid(self) -> None:
        """``vq_report`` gives sections of known blocks, also for a run that it did not follow.

        So it does for one that failed, and for one whose config cannot be resolved. It writes
        nothing.
        """
        runs = self._runs
        registry, record = runs.registry()
        config = runs.without.config
        seen = [
            Reported.of(runs.whole.path, config),
            Reported.of(runs.failed.path, config),
            Reported.of(runs.without.folder.path, config),
            Reported.of(runs.whole.path, None),
        ]
        for found in registry.manager.hook.vq_report.get_hookimpls():
            if found.plugin_name == f"{record.package}:{record.plugin}":
                for run in seen:
                    there = set(run.folder.path.rglob("*"))
                    check_sections(found.function(run))
                    made = set(run.folder.path.rglob("*")) - there
                    expect(not made, f"vq_report makes {', '.join(sorted(map(str, made)))}")

    @rule
    def test_usual_configs_are_accepted(self) -> None:
        """``vq_check_config`` has no objection to the default config, nor to ``settings``."""
        registry, record = self._runs.registry()
        hooks = HookCaller(registry, lambda text: None)
        for config in (resolve_config({}, registry), self._runs.without.config):
            found = hooks.check("vq_check_config", config=config)
            ours = [text for text in found if f"{record.package}:{record.plugin}" in text]
            expect(not ours, "; ".join(ours))

    @property
    def _runs(self) -> FollowedRuns:
        return followed_runs(self.plugin, self.settings)

    def _is_of_the_plugin(self, name: str) -> bool:
        runs, also = self._runs, self.also_writes
        also = runs.also_writes if also is None else also
        return any(fnmatch(name, each) for each in (f"plugins/{runs.name}/*", *also))

    def _may_be(self, name: str, how: str) -> bool:
        """Whether a file may be there beside those of the run without the plugin."""
        usual = how != "done" and name.startswith(("checkpoints/", "history/"))
        return usual or self._is_of_the_plugin(name)

    def _check_same(self, followed: Followed, what: str) -> None:
        plain, run = self._runs.without, followed.run
        assert run is not None
        same_state(run.model, state_of(plain.model), f"weights of {what}")
        same(len(run.history), len(plain.history), f"lines of metrics of {what}")
        for found, expected in zip(run.history, plain.history, strict=True):
            for name, value in expected.items():
                if not any(each in name for each in _MEASURED):
                    same(found.get(name), value, f"{name} at step {expected['step']} of {what}")


def _lines_by_step(content: bytes) -> Counter[tuple[Any, str]]:
    """How many lines of JSON there are of each step with the same names."""
    lines = (line for line in map(_line_of_step, content.splitlines()) if line)
    return Counter((line["step"], ", ".join(sorted(line))) for line in lines)


def _is_repeated(text: bytes) -> bool:
    """Whether a line is of a step after the checkpoint from which the failed run is resumed."""
    step = _line_of_step(text).get("step", 0)
    return isinstance(step, int | float) and step > SAVED


def _line_of_step(text: bytes) -> dict[str, Any]:
    """A line of JSON that has a step; empty for any other."""
    with suppress(ValueError):
        line = json.loads(text)
        if isinstance(line, dict) and "step" in line:
            return line
    return {}
