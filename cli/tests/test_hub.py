"""vq push and from_pretrained: a model as a folder of the hub's layout, and back."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from vq import from_pretrained, optional_dependencies
from vq.hub import load as hub_load
from vq.runs.trained_run import load_run
from vqcore.errors import ComponentError, RunError, SettingError, UsageError


@pytest.fixture
def pushed(complete_run, vq, tmp_path):
    """The folder that ``complete_run`` is pushed as."""
    result = vq("push", complete_run.path, "--to-folder", "model")
    assert result.code == 0, result
    return tmp_path / "model"


def same_model(one, two, samples):
    indices = one.encode(samples)
    return torch.equal(indices, two.encode(samples)) and torch.equal(
        one.decode(indices), two.decode(indices)
    )


def test_a_folder_gives_the_runs_model_without_its_data(pushed, complete_run, monkeypatch):
    from vq.data.digits import Digits

    run = load_run(complete_run.path)
    monkeypatch.setattr(Digits, "__init__", None)
    samples = torch.rand(9, 1, 8, 8) * 2 - 1
    for folder in (pushed, str(pushed), complete_run.path):
        model = from_pretrained(folder)
        assert not model.training
        assert same_model(model, run.model, samples)
    loaded = hub_load.load_pretrained(pushed)
    assert (loaded.samples.shape, loaded.samples.value_range) == ((1, 8, 8), (-1.0, 1.0))


def test_the_config_is_the_runs_and_the_card_shows_the_metrics(pushed, complete_run):
    import yaml

    assert {path.name for path in pushed.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }
    config, summary = json.loads((pushed / "config.json").read_text()), complete_run.json("summary")
    resolved = yaml.safe_load((complete_run.path / "config.yaml").read_text())
    del resolved["plugin_files"]
    assert config["config"] == resolved
    assert config["figures"] == summary
    card = (pushed / "README.md").read_text()
    assert f"| psnr | {summary['psnr']:.5g} | dB |" in card
    assert "from_pretrained('model')" in card
    assert "`vq-cli`, `vqcore-ema`, `vqcore-householder-rotation`, `vqcore-hyperbolic`" in card
    header = card.split("---")[1]
    assert yaml.safe_load(header)["library_name"] == "vq"


def test_using_a_model_needs_no_regularizer_and_no_optimizer(train, vq, tmp_path, plugin_file):
    source = """
import torch
class Counting(Regularizer):
    def __init__(self, **options):
        super().__init__(**options)
        self.register_buffer("seen", torch.zeros(1))
    def forward(self, batch):
        return batch.z.square().mean()
@hookimpl
def vq_regularizers():
    config = "vqcore.plugin.component_config:RegularizerConfig"
    target = f"{__name__}:Counting"
    return [ComponentSpec(name="counting", target=target, config=config, summary="a buffer")]
"""
    run = train(
        "--plugin-file",
        plugin_file("counts", source),
        "--regularizer",
        "counting",
        "--max-steps",
        2,
    )
    assert any("regularizers" in name for name in load_file(run.checkpoint / "model.safetensors"))
    assert vq("push", run.path, "--to-folder", "model").code == 0
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text()
    model, samples = from_pretrained("model"), torch.rand(4, 1, 8, 8)
    assert not any("regularizers" in name for name in model.state_dict())
    assert same_model(model, load_run(run.path).model, samples)


def test_absolute_paths_of_the_machine_stay_on_it():
    from vq.hub.folder import _shareable

    config = {
        "dataset": {"name": "image-folder", "root": "/home/somebody/faces", "image_size": 8},
        "backbone": {"name": "timm", "inner": {"weights": ["~/vit.pt", "small"]}},
        "plugin_files": ["x"],
    }
    assert _shareable(config) == {
        "dataset": {"name": "image-folder", "root": "faces", "image_size": 8},
        "backbone": {"name": "timm", "inner": {"weights": ["vit.pt", "small"]}},
    }


def test_names_of_files_that_could_not_be_read_stay_on_the_machine(copied_run, vq, tmp_path):
    file = copied_run.path / "data.json"
    recorded = json.loads(file.read_text())
    broken = {"unreadable": {"me.png": "cut off"}, "skipped": {"you.png": "no image"}}
    file.write_text(json.dumps(recorded | broken))
    assert vq("push", copied_run.path, "--to-folder", "model").code == 0
    assert json.loads((tmp_path / "model" / "config.json").read_text())["samples"] == recorded


def test_metrics_of_other_weights_are_not_put_on_the_card(copied_run, vq, tmp_path):
    (copied_run.path / "checkpoints" / "latest").write_text("step-00000008\n")
    result = vq("push", copied_run.path, "--to-folder", "model")
    assert result.code == 2
    assert "expected the metrics of a run that ended at step 8; finish it first" in result.err
    assert not (tmp_path / "model").exists()


def test_a_run_without_codes_can_be_pushed_too(train, vq, tmp_path):
    run = train("--set", "bottleneck=none", "--max-steps", 1)
    assert vq("push", run.path, "--to-folder", "model").code == 0
    card = (tmp_path / "model" / "README.md").read_text()
    assert "no codes (bottleneck none)" in card
    assert "latents = model.latents(samples)  # float32 (B, 1, 8, 8) in [-1, 1]\n```" in card
    assert not from_pretrained("model").has_codes


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"format": 99}, RunError, "format 99: this version reads 1"),
        ({"samples": {}}, RunError, "damaged or not from vq push"),
        ({"config": {"manifold": "flat-earth"}}, ComponentError, "flat-earth"),
        (
            {"config": {"codebook_size": 8}},
            RunError,
            "holds another model than the config describes",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_is_refused_with_the_reason(change, error, expected, pushed):
    file = pushed / "config.json"
    values = json.loads(file.read_text())
    for key, value in change.items():
        values[key] = values[key] | value if value and isinstance(value, dict) else value
    file.write_text(json.dumps(values))
    with pytest.raises(error, match=expected):
        from_pretrained(pushed)


def test_weights_that_changed_on_the_way_are_refused(pushed, caplog):
    file, config = pushed / "model.safetensors", pushed / "config.json"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match=r"model.safetensors: damaged: its size and SHA-256 are not"):
        from_pretrained(pushed)
    values = json.loads(config.read_text())
    for files in ([], {}, {"model.safetensors": None}):
        config.write_text(json.dumps(values | {"files": files}))
        with pytest.raises(RunError, match=r"model.safetensors: damaged"):
            from_pretrained(pushed)
    del values["files"]  # as version 0.1 wrote it
    config.write_text(json.dumps(values))
    from_pretrained(pushed)
    assert [message.partition(": ")[2][:27] for message in caplog.messages] == [
        "its digest was not recorded"
    ]


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(
        SettingError, match=r"a folder with a config\.json from vq push, or a run folder"
    ):
        from_pretrained(tmp_path)
    for name in ("nowhere", "./no/where", "/no/where", "a/b/c"):
        with pytest.raises(SettingError, match="an existing folder, or a repository of the hub"):
            from_pretrained(name)


class Hub:
    """Stands in for the hub's client: keeps what is uploaded."""

    def __init__(self, folder):
        self.folder, self.calls = folder, []

    def create_repo(self, repo, **options):
        from types import SimpleNamespace

        self.calls.append((repo, options))
        return SimpleNamespace(repo_id=repo)

    def upload_folder(self, *, folder_path, **options):
        import shutil

        self.calls.append(options)
        shutil.copytree(folder_path, self.folder)


def test_a_model_is_pushed_to_a_repository_and_loaded_from_it(
    complete_run, vq, tmp_path, monkeypatch
):
    import huggingface_hub

    hub = Hub(tmp_path / "remote")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(hub.folder))
    assert (
        vq("push", complete_run.path, "somebody/tokens", "--private", "--revision", "v1").code == 0
    )
    assert hub.calls[0] == ("somebody/tokens", {"private": True, "exist_ok": True})
    assert (hub.calls[1]["repo_id"], hub.calls[1]["revision"]) == ("somebody/tokens", "v1")
    assert "from_pretrained('somebody/tokens')" in (hub.folder / "README.md").read_text()
    model = from_pretrained("somebody/tokens", revision="v1")
    assert same_model(model, from_pretrained(complete_run.path), torch.rand(3, 1, 8, 8))


def test_without_a_network_or_a_token_the_error_is_one_sentence(complete_run, vq, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    result = vq("push", complete_run.path, "somebody/tokens")
    assert result.code == 1
    assert "somebody/tokens cannot be pushed" in result.err
    assert "Traceback" not in result.err
    with pytest.raises(RunError, match="not a folder, and not fetched from the hub"):
        from_pretrained("somebody/tokens-that-nobody-has")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected either REPO, to upload to, or --to-folder DIR"),
        (("a/b", "--to-folder", "x"), "expected either REPO, to upload to, or --to-folder DIR"),
        (("a b/c",), "REPO = 'a b/c': expected a name as in owner/name"),
    ],
)
def test_the_errors_of_push_name_what_is_expected(arguments, expected, complete_run, vq):
    result = vq("push", complete_run.path, *arguments)
    assert result.code == 2
    assert expected in result.err


def test_a_missing_extra_is_named(complete_run, vq, monkeypatch):
    monkeypatch.setattr(optional_dependencies, "find_spec", lambda _: None)
    result = vq("push", complete_run.path, "a/b")
    assert result.code == 2
    assert "vq push needs huggingface_hub: pip install 'vq-cli[hub]'" in result.err
    with pytest.raises(UsageError, match=r"vq-cli\[hub\]"):
        from_pretrained("a/b")


def test_a_run_that_never_finished_has_no_metrics_to_show(copied_run, vq):
    (copied_run.path / "summary.json").unlink()
    result = vq("push", copied_run.path, "--to-folder", "model")
    assert result.code == 2
    assert "vq train --resume" in result.err


def test_importing_vq_costs_nothing():
    source = "import sys, vq\nassert 'from_pretrained' in vq.__all__\nprint(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "numpy", "safetensors", "pydantic", "huggingface_hub"} & set(loaded)
