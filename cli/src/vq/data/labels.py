"""Data for a classifier: splits whose samples have the labels that it learns."""

from __future__ import annotations

from collections.abc import Sequence

from vq.config.merging import bare
from vq.config.resolved_config import ResolvedConfig
from vq.data.skipping import without_skipping
from vqcore.errors import SettingError, shown
from vqcore.interfaces.dataset import DataSource, SampleSpec, Split


def classes_of(config: ResolvedConfig, samples: SampleSpec | DataSource) -> Sequence[str]:
    """The names of the classes of samples.

    Raises:
        SettingError: if they have none.
    """
    if samples.classes is None:
        raise _unlabelled(config)
    return samples.classes


def labelled(
    split: Split, config: ResolvedConfig, source: DataSource, samples: SampleSpec
) -> Split:
    """A split of ``source`` for a model of the classes in ``samples``.

    A sample that cannot be read is an error: the one that stood in for it may be of another class.

    Raises:
        SettingError: if it has no labels, or they number other classes.
    """
    known, found = classes_of(config, samples), classes_of(config, source)
    if split.labels is None:
        raise _unlabelled(config)
    if list(found) != list(known)[: len(found)]:
        expected = f"the classes of the model, {shown(list(known))}, found {shown(list(found))}"
        raise SettingError("dataset", _name(config), expected)
    ends = [int(each) for each in split.labels.aminmax()] if len(split.labels) else [0]
    if not 0 <= min(ends) <= max(ends) < len(known):
        expected = f"labels from 0 to {len(known) - 1}, the classes of the model, found {ends}"
        raise SettingError("dataset", _name(config), expected)
    return without_skipping(split)


def _unlabelled(config: ResolvedConfig) -> SettingError:
    expected = "a data set with labels, which a classifier learns, and this one has none"
    fix = "image-folder takes the names of folders, arrays an array y beside x"
    return SettingError("dataset", _name(config), expected, fix)


def _name(config: ResolvedConfig) -> str:
    return bare(config.components["dataset"].dump()["name"])
