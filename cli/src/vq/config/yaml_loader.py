"""YAML of bounded size: aliases, merges and nesting cannot grow a small text without end."""

from __future__ import annotations

from typing import Any

import yaml

from vq.config.plain_values import DEEPEST
from vqcore.errors import shown

#: Most values in a text, each alias counted as all that it stands for.
MOST_VALUES = 20_000
#: Most characters of an integer: reading one to the base of 60 takes the square of their number.
_MOST_DIGITS = 100


class BoundedLoader(yaml.SafeLoader):
    """Refuses too many values, deep nesting, integers of many digits, and a key given twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._depth = 0
        self._sizes: dict[yaml.Node | None, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; an alias is the node that its anchor marks."""
        is_alias = self.check_event(yaml.AliasEvent)
        mark, before = self.peek_event().start_mark, self._values
        self._depth += 1
        _expect(self._depth <= DEEPEST, f"nested more than {DEEPEST} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        _expect(not is_alias or node in self._sizes, "an alias inside what it stands for", mark)
        self._values += self._sizes[node] if is_alias else 1
        self._sizes[node] = self._values - before
        _expect(self._values <= MOST_VALUES, f"more than {MOST_VALUES} values", mark)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """A text, number, truth value or null."""
        node = super().compose_scalar_node(anchor)
        fits = not node.tag.endswith(":int") or len(node.value) <= _MOST_DIGITS
        _expect(fits, f"an integer of more than {_MOST_DIGITS} digits", node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, before what it merges (<<) is laid under its own keys."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            _expect(name not in seen, f"the key {shown(key.value)} is given twice", key.start_mark)
            seen.add(name)
        return node


def _expect(condition: bool, problem: str, mark: yaml.Mark) -> None:
    if not condition:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
