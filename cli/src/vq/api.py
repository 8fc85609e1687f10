"""Training, sweeping and loading from Python. Torch-free until one of them is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vq.composition import base_values, compose, given_values
from vq.files import as_path
from vq.objects import ObjectRegistry
from vq.runs.folder import RunFolder, run_path
from vqcore.errors import SettingError, UsageError

if TYPE_CHECKING:
    from vq.config.resolved_config import ResolvedConfig
    from vq.models.autoencoder import VQModel
    from vq.runs.trained_run import RunLike, TrainedRun
    from vq.sweeps.execute import SweepResult
    from vq.sweeps.grid import Point
    from vq.training.launch import Finished
    from vqcore.plugin.registry import Registry


def train(
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    run_dir: str | Path | None = None,
    resume: RunLike | None = None,
    init_from: RunLike | None = None,
    callbacks: Sequence[object] = (),
    progress: bool = False,
    registry: Registry | None = None,
    trust_plugins: bool = False,
    test_dataset: Any = None,
    value_range: tuple[float, float] | None = None,
    **choices: Any,
) -> TrainedRun:
    """Train an autoencoder, as ``vq train`` does, and return the run.

    Settings have the names and defaults of the command's, ``lr`` for ``optimizer.lr``. A component
    is a name, or a mapping of ``name`` and options. Later sources win: defaults, ``preset``,
    ``config``, keywords, ``settings``. Ctrl-C saves, and returns a run whose status is
    ``interrupted``.

    Args:
        config: a YAML, TOML or JSON file, or a mapping.
        preset: settings by a name; ``vq show presets`` lists them.
        settings: by key path, as in ``{"quantizer.commitment_weight": 0.5}``.
        run_dir: the folder of a new run; ``runs/<time>-<names>`` by default.
        resume: continue this run, by its folder or as an object. Only settings that do not change
            what is computed may be given with it.
        init_from: start from the weights of this run, checkpoint, folder of ``vq.push`` or
            repository of the hub, as far as names and shapes fit.
        callbacks: objects with methods named like life-cycle hooks: ``vq_run_start``,
            ``vq_metrics``, ``vq_step_end``, ``vq_log``, ``vq_run_end``. An exception in one ends
            the run.
        progress: show how far it is, live in a terminal or a notebook.
        registry: where components come from; the installed plugins by default.
        trust_plugins: with ``resume``, see ``load_run``.
        test_dataset: held-out samples of a ``dataset`` that is an object, see ``InMemoryDataset``.
        value_range: smallest and largest value of its samples.
        choices: every other setting by its name. ``dataset`` may also be a tensor (N, *shape), a
            torch ``Dataset`` or a ``vqcore.DataSource``; ``backbone`` a ``vqcore.Backbone`` or a
            module with ``encode`` and ``decode``, of which the run trains a copy.

    Returns:
        The run: ``model``, ``metrics``, ``history``, ``status``, ``folder``, ``config``.

    Raises:
        SettingError, UsageError: for a setting that is unknown or cannot be used.
        ComponentError: for a component that is missing, ambiguous or broken.
        RunError: if training fails.
    """
    resumed = None if resume is None else run_path(resume)
    if resumed is not None:
        if config is not None or preset is not None or run_dir is not None:
            raise UsageError("resume: leave out config, preset and run_dir, which the run has")
        registry = registry or getattr(resume, "registry", None)
        trust_plugins = trust_plugins or getattr(resume, "trusted", False)
    if init_from is not None:
        choices["init_from"] = str(run_path(init_from))
    given = given_values(choices, settings)
    resolved, registry = compose(
        given,
        base=base_values(preset, config, registry, given),
        resume=resumed,
        registry=registry,
        trust_plugins=trust_plugins,
        test_dataset=test_dataset,
        value_range=value_range,
    )
    folder = None if run_dir is None else as_path("run_dir", run_dir)
    if folder is not None:
        RunFolder.check_free(folder)
    if not isinstance(callbacks, Sequence):
        raise SettingError("callbacks", callbacks, "a list of objects")
    from vq.training.launch import launch

    with _restored_torch_state(), _shown_progress(progress) as shown:
        callbacks = [*callbacks, *shown]
        finished = launch(resolved, registry, run_dir=folder, resume=resumed, callbacks=callbacks)
    return _trained(finished, resolved, registry)


def load(
    run: RunLike,
    device: str | None = None,
    *,
    registry: Registry | None = None,
    backbone: Any = None,
    trust_plugins: bool = False,
) -> VQModel:
    """The model of a run's latest checkpoint, in eval mode; see ``load_run`` for the arguments."""
    from vq.runs.trained_run import load_run

    trained = load_run(
        run, device, registry=registry, backbone=backbone, trust_plugins=trust_plugins
    )
    return trained.model


def sweep(
    over: Mapping[str, Sequence[Any]] | None = None,
    *,
    seeds: Sequence[int] = (),
    jobs: int | None = None,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    trust_plugins: bool = False,
    report: Callable[[str], object] = lambda line: None,
    config: str | Path | Mapping[str, Any] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **choices: Any,
) -> SweepResult:
    """Train every combination of settings, each with several seeds, as ``vq sweep`` does.

    Every run is a separate process, so components are names here, not objects.

    Args:
        over: the values to combine, by setting or key path, as in ``{"lr": [1e-3, 3e-3]}``.
        seeds: of each combination.
        jobs: runs at a time; by default one for each GPU, or one on a CPU.
        run_dir: the sweep's folder; ``sweeps/<time>-<names>`` by default.
        resume: continue the sweep in this folder, instead of all settings.
        trust_plugins: with ``resume``, see ``load_run``.
        report: called with a line of text for each run that ends.
        config, preset, settings, choices: of every run, see ``train``.

    Returns:
        Every run with its status and metrics, and mean and standard deviation over the seeds.

    Raises:
        SettingError, UsageError, ComponentError: as in ``train``, before the first run starts.
    """
    from vq.sweeps.execute import execute
    from vq.sweeps.folder import SweepFolder
    from vq.sweeps.grid import points, python_axes

    if resume is not None:
        if over or seeds or run_dir or config or preset or settings or choices:
            raise UsageError(
                "resume continues a sweep with its own settings: leave out all but jobs and "
                "trust_plugins"
            )
        return execute(SweepFolder.open(Path(resume), trust_plugins=trust_plugins), jobs, report)
    if over is not None and not isinstance(over, Mapping):
        raise SettingError("over", over, "a mapping of settings to lists of values")
    if not isinstance(seeds, Sequence):
        raise SettingError("seeds", seeds, "a list of seeds")
    axes = {**(over or {}), **({"seed": list(seeds)} if seeds else {})}
    base = base_values(preset, config, given=given_values(choices, settings))
    found = points(python_axes(axes))
    configs = [_config_at(point, base, choices, settings) for point in found]
    chosen = None if run_dir is None else as_path("run_dir", run_dir)
    return execute(SweepFolder.create(chosen, found, configs), jobs, report)


def _config_at(
    point: Point,
    base: Mapping[str, Any],
    choices: Mapping[str, Any],
    settings: Mapping[str, Any] | None,
) -> ResolvedConfig:
    """The config of a run of a sweep."""
    given = given_values({**choices, **dict(point.words)}, settings)
    config, registry = compose(given, base=base)
    if isinstance(registry, ObjectRegistry):
        raise UsageError("vq.sweep: expected names as dataset and backbone, found an object")
    return config


def _trained(finished: Finished, config: ResolvedConfig, registry: Registry) -> TrainedRun:
    from vq.checkpoints import checkpoint
    from vq.runs.trained_run import TrainedRun, read_sample_spec

    folder = finished.folder
    samples = read_sample_spec(folder)
    latest = checkpoint.latest(folder.checkpoints)
    return TrainedRun(folder, config, registry, samples, finished.model, finished.device, latest)


@contextmanager
def _shown_progress(wanted: bool) -> Iterator[list[object]]:
    """Inside, it is shown how far work is, if ``wanted``; the callbacks show that of training."""
    if not wanted:
        yield []
        return
    from vq.display import Display
    from vq.terminal import Terminal
    from vq.training.callbacks.show_progress import ShowProgress

    with Display(Terminal()) as display:
        yield [ShowProgress(display)]


@contextmanager
def _restored_torch_state() -> Iterator[None]:
    """Leave the caller's threads and random state as they were: a run sets its own."""
    import torch

    from vq.checkpoints.random_state import random_state, restore_random_state

    threads = torch.get_num_threads()
    state = random_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        restore_random_state(state)
