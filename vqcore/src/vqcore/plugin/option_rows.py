"""The options of a model as plain values, for ``vq show`` and the docs."""

from __future__ import annotations

from typing import Any

from vqcore.plugin.component_choice import in_order, inner_kinds
from vqcore.plugin.component_config import ActsIf, ComponentConfig, descriptions
from vqcore.plugin.validation import type_in_words


def option_rows(model: type[ComponentConfig]) -> list[dict[str, Any]]:
    """The options of a model as plain values.

    Of each: name, type, default, required, description, and acts_with: of other options, what it
    acts with, as in ``init = normal``; one is enough.
    """
    schema = model.model_json_schema()["properties"]
    described, kinds = descriptions(model), inner_kinds(model)
    many = inner_kinds(model, many=True)
    kinds |= {field: f"list of {many[field]}" for field in in_order(model)}
    return [
        {
            "name": field,
            "type": kinds.get(field) or type_in_words(schema[field]),
            "default": schema[field].get("default"),
            "required": info.is_required(),
            "description": described.get(field) or schema[field].get("description", ""),
            "acts_with": [str(mark) for mark in info.metadata if isinstance(mark, ActsIf)],
        }
        for field, info in model.model_fields.items()
    ]
