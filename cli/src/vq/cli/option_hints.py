"""Hints from an option that does not exist to the one that is meant."""

from __future__ import annotations

from collections.abc import Sequence

from vqcore.errors import did_you_mean
from vqcore.plugin.other_names import our_names

#: What needs more than another option, by the options of other tools.
_OTHERWISE = dict.fromkeys(
    ("gpus", "num-gpus", "ngpus", "devices", "num-devices", "nproc-per-node", "num-processes"),
    "a process for each GPU: torchrun --nproc-per-node GPUS -m vq train ...",
) | {
    "debug": "it stands before the command: vq --debug train ...",
    "p": "it stands before the command: vq -p no:NAME train ...",
}


def option_hint(word: str, options: Sequence[str]) -> str:
    """A hint for a word of ``vq train`` that is none of its options."""
    from vq.config.setting_hints import meant, suggestions

    name = word.lstrip("-").replace("_", "-").lower()
    if name in _OTHERWISE:
        return _OTHERWISE[name]
    if not word.startswith("--"):
        return "see vq train --help"
    spelled = (f"--{ours.replace('_', '-')}" for ours in (name, *our_names(name)))
    found = [repr(option) for option in spelled if option in options]
    found += [each.note(repr(each.option)) for each in suggestions(name)]
    return meant(list(dict.fromkeys(found))) or did_you_mean(word, options) or "see vq train --help"
