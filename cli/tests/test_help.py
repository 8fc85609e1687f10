"""``--help`` at several widths, its defaults, ``--version``, hints from options of other tools."""

import os
import re
from importlib import metadata

import pytest
import yaml

from vq.config.run_config import RunConfig
from vq.config.run_settings import default_in_words, run_settings, setting_rows
from vqcore.plugin import declared
from vqcore.plugin.component import KINDS
from vqcore.plugin.other_names import ELSEWHERE
from vqcore.plugin.registry import default_registry


def one_line(text):
    return " ".join(text.split())


def test_the_version_of_our_packages_torch_and_python(vq):
    result = vq("--version")
    assert result.code == 0
    for name, package in (("vq", "vq-cli"), ("vqcore", "vqcore"), ("torch", "torch")):
        assert f"{name} {metadata.version(package)}, " in result.out
    assert re.search(r"Python 3\.\d+\.\d+\n$", result.out)


def test_every_setting_is_an_option_with_its_default_in_help(vq):
    text = one_line(vq("train", "--help").out)
    rows = {row["name"]: row for row in setting_rows(default_registry())}
    for setting in run_settings():
        if setting.is_section:
            continue
        row = rows[setting.key]
        default = default_in_words(row)
        assert setting.declared.default == ("" if default == "none" else default)
        expected = one_line(setting.declared.description)
        expected += " Repeatable." if setting.is_list else f" [default: {default}]"
        assert re.search(rf"{setting.option}[ ,][^.]*{re.escape(expected)}", text), setting.key


def test_the_settings_are_those_of_the_model_where_only_bytecode_is_installed(monkeypatch):
    location = "vq.config.run_config:RunConfig"
    with_source = declared.declared(location)
    loader = type("Sourceless", (), {"get_source": lambda self, name: None})()
    spec = type("Spec", (), {"loader": loader})()
    monkeypatch.setattr(declared.importlib.util, "find_spec", lambda name: spec)
    assert declared.declared(location).keys() == with_source.keys() == RunConfig.model_fields.keys()


def test_options_set_what_their_keys_set(vq):
    words = "--schedule constant --grad-clip 0.5 --lr 1e-3 --tracker a --tracker b --cuda-graph"
    values = yaml.safe_load(vq("train", "--print-config", *words.split()).out)
    assert (values["schedule"], values["grad_clip"]) == ("constant", 0.5)
    assert values["optimizer"]["lr"] == 1e-3
    assert (values["trackers"], values["cuda_graph"]) == (["a", "b"], True)
    assert vq("train", "--dry-run", "--no-compile", "--epochs", 1, "--max-steps", "null").code == 0


@pytest.mark.parametrize("width", [60, 80, 140])
def test_help_of_commands_is_not_cut_and_fits(vq, monkeypatch, width):
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((width, 24)))
    out = vq("--help").out
    assert "..." not in out.split("Commands:")[1]
    assert max(map(len, out.splitlines())) <= width
    assert "Train every combination of settings, with several seeds." in one_line(out)
    assert max(map(len, vq("train", "--help").out.splitlines())) <= width


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("--lr-scheduler cosine", "'--schedule'"),
        ("--learning-rate 1", "'--lr'"),
        ("--num-codes 8", "'--codebook-size'"),
        ("--n-embed 8", "'--codebook-size'"),
        ("--codebook_size 8", "'--codebook-size'"),
        ("--embedding-dim 8", "'--dim'"),
        ("--beta 0.25", "'--quantizer.commitment_weight'"),
        ("--decay 0.99", "'--quantizer.decay' (of ema)"),
        ("--ema", "'--quantizer ema'"),
        ("--poincare", "'--manifold poincare'"),
        ("--bce", "'--loss bernoulli'"),
        ("--recon-loss l1", "'--loss'"),
        ("--set log_weight=1", "'losses.NAME.log_weight'"),
        ("--rotation-trick", "'--estimator rotation'"),
        ("--workers 4", "'--dataset.workers' (of audio-folder, celeba, frames, "),
        ("--hidden 8", "'--backbone.hidden'"),
        ("--bs 8", "'--batch-size'"),
        ("--num-steps 8", "'--max-steps'"),
        ("--output-dir x", "'--run-dir'"),
        ("--resume-from x", "'--resume'"),
        ("--max-grad-norm 1", "'--grad-clip'"),
        ("--report-to wandb", "'--tracker'"),
        ("--gpus 2", "torchrun --nproc-per-node"),
        ("--debug", "before the command: vq --debug"),
        ("--set lr=1", "'optimizer.lr'"),
        ("--set warmup=1", "'warmup_steps'"),
        ("--set commitment_cost=1", "'quantizer.commitment_weight'"),
        ("--set ema=1", "'quantizer=ema'"),
        ("--set weight=1", "'regularizers.NAME.weight'"),
        ("--quantizer.beta 1", "'commitment_weight'"),
        ("--dataset.patch 8", "dataset.patch: unknown setting; an option of photos\n"),
        (
            "--quantizer.decay 0.9",
            "quantizer.decay: unknown setting; did you mean 'usage_decay'? (an option of ema)",
        ),
    ],
)
def test_habits_of_other_tools_lead_to_the_right_option(vq, words, hint):
    result = vq("train", "--dry-run", *words.split())
    assert (result.code, result.out) == (2, "")
    assert hint in result.err


def test_a_config_file_gets_the_same_hints(vq, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("lr: 1e-3\nbeta: 0.25\n")
    err = vq("train", "--dry-run", "--config", path).err
    assert "lr: unknown setting; did you mean 'optimizer.lr'?" in err
    assert "beta: unknown setting; did you mean 'quantizer.commitment_weight'?" in err


def test_every_other_name_is_of_something_that_is_there():
    registry = default_registry()
    ours = {"run_dir", "resume", "config", "dry_run", "weight_ema"}
    ours |= {setting.declared.name for setting in run_settings()}
    for kind in KINDS:
        for name in registry.names(kind):
            ours |= {name, *(row["name"] for row in registry.options(kind, name))}
    assert ELSEWHERE.keys() <= ours
