"""vq encode and vq decode: indices on disk, continued when interrupted, and decoded exactly."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from vq.data.pixels import to_pixels
from vq.files import new_file, new_folder
from vq.runs.trained_run import load_run
from vq.tokens import _shard_writer
from vq.tokens.manifest import Manifest, Shard
from vq.tokens.shards import read_listed, read_shard, smallest_dtype, write_shard
from vqcore.errors import RunError, SettingError


def samples_of(run):
    """The model and its held-out samples, in batches as of ``--shard-size 100 --batch-size 64``."""
    trained = load_run(run.path)
    split = trained.source.split("test")
    rows = [part for shard in torch.arange(len(split)).split(100) for part in shard.split(64)]
    return trained.model, list(split.batches(rows, torch.device("cpu")))


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def names_in(folder):
    return (folder / "names.txt").read_text().splitlines()


def shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("shard-*")}


SIZES = ("--shard-size", 100, "--batch-size", 64)
COMPOSITIONS = {
    "residual": (
        "--manifold",
        "poincare",
        "--quantizer",
        "residual",
        "--set",
        "quantizer.stages=2",
    ),
    "levels": ("--dataset", "photos", "--backbone", "hierarchical", "--max-steps", 1),
    "fsq": ("--quantizer", "fsq", "--codebook-size", 1000),
    "trees": (
        "--dataset",
        "trees",
        "--set",
        "dataset.depth=5",
        "--backbone",
        "mlp",
        "--set",
        "backbone.tokens=3",
    ),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_decoding_what_was_encoded_gives_the_reconstruction_exactly(name, train, vq, tmp_path):
    run = train(*COMPOSITIONS[name])
    encoded = vq("encode", run.path, "test", "-o", "tokens", *SIZES)
    assert encoded.code == 0, encoded
    decoded = vq("decode", run.path, "tokens", "-o", "decoded.npy", "--batch-size", 64)
    assert decoded.code == 0, decoded
    model, batches = samples_of(run)
    with torch.no_grad():
        expected = torch.cat([model.to_values(model(x).reconstruction) for x in batches])
    assert np.array_equal(np.load("decoded.npy"), expected.numpy())
    manifest = manifest_of(tmp_path / "tokens")
    indices = np.concatenate(
        [np.load(f"tokens/{shard['file']}")["indices"] for shard in manifest["shards"]]
    )
    assert tuple(manifest["index_shape"]) == model.index_shape == indices.shape[1:]
    assert np.array_equal(indices, torch.cat([model.encode(x) for x in batches]).numpy())
    assert indices.dtype == ("uint16" if name == "fsq" else "uint8") == manifest["dtype"]


@pytest.fixture
def tokens(complete_run, vq, tmp_path):
    """The folder of ``complete_run``'s held-out indices."""
    result = vq("encode", complete_run.path, "test", "-o", "tokens", *SIZES)
    assert result.code == 0, result
    assert "359 samples of 4 x 4 indices below 16, as uint8, in 4 shards" in result.out
    return tmp_path / "tokens"


def test_the_manifest_records_model_and_input(tokens, complete_run):
    import hashlib

    manifest = manifest_of(tokens)
    weights = hashlib.sha256(complete_run.weights).hexdigest()
    assert manifest["model"] == {"run": "run", "checkpoint": "step-00000012", "sha256": weights}
    assert (manifest["format"], manifest["complete"], manifest["codebook_size"]) == (2, True, 16)
    assert (manifest["sample_shape"], manifest["index_shape"], manifest["latent_shapes"]) == (
        [1, 8, 8],
        [4, 4],
        [[4, 4]],
    )
    assert [shard["samples"] for shard in manifest["shards"]] == [100, 100, 100, 59]
    assert names_in(tokens) == [str(row) for row in range(359)]
    assert manifest["classes"] == list("0123456789")
    assert manifest["input"]["path"] == "test"
    assert {"vqcore", "torch"} <= set(manifest["versions"])
    arrays = [np.load(tokens / shard["file"]) for shard in manifest["shards"]]
    labels = np.concatenate([each["labels"] for each in arrays])
    split = load_run(complete_run.path).source.split("test")
    assert np.array_equal(labels, split.labels.numpy())


def test_interrupted_at_any_shard_it_continues_with_the_next(
    tokens, complete_run, vq, tmp_path, monkeypatch
):
    whole, write = shards(tokens), _shard_writer.write_shard

    def stop_at(count):
        def counted(path, arrays):
            written.append(path.name)
            if len(written) > count:
                path.with_name(f".{path.name}.tmp").write_bytes(
                    b"half"
                )  # what a killed process leaves
                raise KeyboardInterrupt
            return write(path, arrays)

        return counted

    command = ("encode", complete_run.path, "test", "-o", "stopped", *SIZES)
    for done in (2, 1):
        written = []
        monkeypatch.setattr(_shard_writer, "write_shard", stop_at(done))
        assert vq(*command).code == 130
        assert manifest_of(tmp_path / "stopped")["complete"] is False
        refused = vq("decode", complete_run.path, "stopped", "-o", "out")
        assert refused.code == 2
        assert "run the same vq encode again" in refused.err
    written = []
    monkeypatch.setattr(_shard_writer, "write_shard", stop_at(9))
    assert vq(*command).code == 0
    assert written == ["shard-00003.npz"]
    assert shards(tmp_path / "stopped") == whole
    assert manifest_of(tmp_path / "stopped") == manifest_of(tokens)
    written = []
    assert vq(*command).code == 0
    assert written == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_encoding_between_batches_and_the_output_names_the_command_to_continue(
    complete_run, vq, monkeypatch, number
):
    write = _shard_writer.write_shard

    def signalled(path, arrays):
        os.kill(os.getpid(), number)
        return write(path, arrays)

    monkeypatch.setattr(_shard_writer, "write_shard", signalled)
    result = vq("encode", complete_run.path, "test", "-o", "stopped", *SIZES)
    assert result.code == 128 + number
    assert "interrupted; the same command continues: stopped" in result.out
    assert list(shards(Path("stopped"))) == ["shard-00000.npz"]


def test_killed_before_the_manifest_was_written_it_starts_again(complete_run, vq, tmp_path):
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / ".manifest.json.tmp").write_text("{")
    (tmp_path / "tokens" / "names.txt").write_text("0\n")
    assert vq("encode", complete_run.path, "test", "-o", "tokens").code == 0
    assert {path.name for path in (tmp_path / "tokens").iterdir()} == {
        "manifest.json",
        "names.txt",
        "shard-00000.npz",
    }
    assert len(names_in(tmp_path / "tokens")) == 359


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", *SIZES), "it holds those of another input, 'test' (359 samples)"),
        (("test", "--shard-size", 7), "it holds shards of 100 samples as 'npz'"),
        (("test", *SIZES, "--format", "safetensors"), "it holds shards of 100 samples as 'npz'"),
    ],
)
def test_a_folder_of_something_else_is_refused(arguments, expected, tokens, complete_run, vq):
    before = shards(tokens)
    result = vq("encode", complete_run.path, *arguments, "-o", tokens)
    assert result.code == 2
    assert expected in result.err
    assert shards(tokens) == before


def test_another_models_indices_are_refused_without_force(tokens, copied_run, vq, tmp_path):
    (copied_run.path / "checkpoints" / "latest").write_text("step-00000008\n")
    going_on = vq("encode", copied_run.path, "test", "-o", tokens, *SIZES)
    assert going_on.code == 2
    assert "it holds those of run 'run', checkpoint 'step-00000012'" in going_on.err
    refused = vq("decode", copied_run.path, tokens, "-o", "out.npy")
    assert refused.code == 2
    assert "add --force" in refused.err
    assert not (tmp_path / "out.npy").exists()
    assert vq("decode", copied_run.path, tokens, "-o", "out.npy", "--force").code == 0


def test_a_folder_with_other_files_is_left_alone(complete_run, vq, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    result = vq("encode", complete_run.path, "test", "-o", "mine")
    assert result.code == 2
    assert "found no manifest.json" in result.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.fixture
def image_folder(tmp_path):
    """A folder of images of several formats and sizes, one of them broken."""
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, sides in (
        ("a.png", (20, 30)),
        ("b.jpg", (8, 8)),
        ("deep/c.png", (64, 9)),
        ("deep/er/b.bmp", (9, 9)),
    ):
        Image.fromarray(generator.integers(0, 256, (*sides, 3), dtype=np.uint8)).save(folder / name)
    (folder / "deep" / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    return folder


def test_a_folder_of_images_to_indices_and_back_under_its_names(
    image_folder, complete_run, vq, tmp_path
):
    result = vq(
        "encode",
        complete_run.path,
        image_folder,
        "-o",
        "tokens",
        "--workers",
        0,
        "--format",
        "safetensors",
    )
    assert result.code == 0, result
    assert "1 of 5 files cannot be read and are left out (deep/broken.png)" in result.out
    manifest = manifest_of(tmp_path / "tokens")
    assert names_in(tmp_path / "tokens") == ["a.png", "b.jpg", "deep/c.png", "deep/er/b.bmp"]
    assert list(manifest["skipped"]) == ["deep/broken.png"]
    assert all(manifest["skipped"].values())
    indices = load_file(tmp_path / "tokens" / "shard-00000.safetensors")["indices"]
    assert vq("decode", complete_run.path, "tokens", "-o", "out").code == 0
    found = {
        path.relative_to("out").as_posix(): path
        for path in sorted((tmp_path / "out").relative_to(tmp_path).rglob("*.png"))
    }
    assert list(found) == ["a.png", "b.png", "deep/c.png", "deep/er/b.png"]
    trained = load_run(complete_run.path)
    expected = to_pixels(trained.model.decode(torch.from_numpy(indices).long()), (-1, 1))
    assert np.array_equal(
        np.stack([np.asarray(Image.open(path)) for path in found.values()]), expected
    )


def test_every_sample_has_a_name_and_a_class(image_folder, complete_run, vq, tmp_path):
    folder = tmp_path / "classed"
    for name in ("dog", "cat"):
        (folder / name).mkdir(parents=True)
        Image.new("L", (9, 9)).save(folder / name / "same.png")
    assert vq("encode", complete_run.path, folder, "-o", "tokens", "--workers", 0).code == 0
    tokens = tmp_path / "tokens"
    assert names_in(tokens) == ["cat/same.png", "dog/same.png"]
    assert manifest_of(tokens)["classes"] == ["cat", "dog"]
    assert np.load(tokens / "shard-00000.npz")["labels"].tolist() == [0, 1]
    np.savez(tmp_path / "rows.npz", x=np.zeros((3, 8, 8), np.uint8), y=["b", "a", "b"])
    assert vq("encode", complete_run.path, "rows.npz", "-o", "rows").code == 0
    assert manifest_of(tmp_path / "rows")["classes"] == ["a", "b"]
    assert np.load(tmp_path / "rows" / "shard-00000.npz")["labels"].tolist() == [1, 0, 1]


def test_one_shard_is_decoded_under_its_names(tokens, complete_run, vq, tmp_path):
    assert vq("decode", complete_run.path, tokens / "shard-00003.npz", "-o", "out").code == 0
    found = sorted(int(path.stem) for path in (tmp_path / "out").iterdir())
    assert found == list(range(300, 359))


def test_names_that_are_not_the_manifests_are_refused(tokens, complete_run, vq):
    (tokens / "names.txt").write_text("0\n" * 359)
    result = vq("decode", complete_run.path, tokens, "-o", "out")
    assert result.code == 1
    assert "its SHA-256 is not the one in manifest.json" in result.err


def test_a_folder_of_version_1_is_decoded_and_continued(tokens, complete_run, vq):
    whole = manifest_of(tokens)
    old = {key: value for key, value in whole.items() if key not in ("names_sha256", "classes")}
    old |= {"format": 1, "names": names_in(tokens)}
    (tokens / "names.txt").unlink()
    (tokens / "manifest.json").write_text(json.dumps(old))
    assert vq("decode", complete_run.path, tokens, "-o", "out").code == 0
    assert vq("encode", complete_run.path, "test", "-o", "tokens", *SIZES).code == 0
    assert manifest_of(tokens) == whole


def test_a_folder_of_odd_names_links_and_pipes(image_folder, complete_run, vq, tmp_path):
    content = (image_folder / "a.png").read_bytes()
    for name in (b"a\xff.png", b"a\\b.png", b"a\x1b[2J.png"):
        Path(os.fsdecode(os.fsencode(image_folder) + b"/" + name)).write_bytes(content)
    (image_folder / "gone.png").symlink_to("nowhere.png")
    (image_folder / "round.png").symlink_to("round.png")
    (image_folder / "folder.png").mkdir()
    os.mkfifo(image_folder / "pipe.png")
    (image_folder / "labels.csv").touch()
    command = ("encode", complete_run.path, image_folder, "-o", "tokens", "--workers", 0)
    result = vq(*command)
    assert result.code == 0, result
    assert "7 of 11 files cannot be read and are left out" in result.out
    assert "11 images beside files of other suffixes (1 .csv)" in result.err
    named = "a name with a backslash, a control character, or no UTF-8"
    assert manifest_of(tmp_path / "tokens")["skipped"] == {
        "a\\b.png": named,
        "a\\udcff.png": named,
        "a\\x1b[2J.png": named,
        "deep/broken.png": "OSError: image file is truncated",
        "gone.png": "No such file or directory",
        "pipe.png": "not a regular file",
        "round.png": "Too many levels of symbolic links",
    }
    assert vq(*command).code == 0  # it is the same input
    assert vq("decode", complete_run.path, "tokens", "-o", "out").code == 0


def test_a_folder_whose_own_name_is_no_utf_8(image_folder, complete_run, vq, tmp_path):
    odd = tmp_path / os.fsdecode(b"odd\xff")
    image_folder.rename(odd)
    assert vq("encode", complete_run.path, odd, "-o", "tokens", "--workers", 0).code == 0
    assert manifest_of(tmp_path / "tokens")["input"]["path"] == f"{tmp_path}/odd\\udcff"


def test_a_changed_folder_is_another_input(image_folder, complete_run, vq):
    command = ("encode", complete_run.path, image_folder, "-o", "tokens", "--workers", 0)
    assert vq(*command).code == 0
    Image.new("L", (9, 9)).save(image_folder / "new.png")
    result = vq(*command)
    assert result.code == 2
    assert "it holds those of another input" in result.err


def test_names_that_differ_only_in_their_suffix_keep_it(image_folder, complete_run, vq, tmp_path):
    (image_folder / "a.bmp").write_bytes((image_folder / "deep" / "er" / "b.bmp").read_bytes())
    assert vq("encode", complete_run.path, image_folder, "-o", "tokens", "--workers", 0).code == 0
    assert vq("decode", complete_run.path, "tokens", "-o", "out").code == 0
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "a.bmp.png",
        "a.png.png",
        "b.jpg.png",
    }


def test_one_file_of_indices_is_enough(complete_run, vq, tmp_path):
    indices = np.random.default_rng(0).integers(0, 16, (5, 4, 4))
    np.save(tmp_path / "i.npy", indices)
    np.savez(tmp_path / "i.npz", anything=indices.astype(np.uint16))
    for name in ("i.npy", "i.npz"):
        assert (
            vq("decode", complete_run.path, name, "-o", f"{name}.out", "--format", "npy").code == 0
        )
    assert np.array_equal(np.load("i.npy.out"), np.load("i.npz.out"))
    assert vq("decode", complete_run.path, "i.npy", "-o", "pictures").code == 0
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        f"00000{n}.png" for n in range(5)
    ]


@pytest.mark.parametrize(
    ("indices", "code", "expected"),
    [
        (np.full((2, 4, 4), 16), 2, "indices from 0 to 15, found 16 in row 0"),
        (np.full((2, 4, 4), -1), 2, "indices from 0 to 15, found -1 in row 0"),
        (np.zeros((2, 4, 5), int), 2, "indices of shape (N, 4, 4) for this model, found (2, 4, 5)"),
        (np.zeros((4, 4), int), 2, "indices of shape (N, 4, 4) for this model, found (4, 4)"),
        (np.zeros((2, 4, 4)), 2, "integers, found float64"),
        (b"no array", 1, "damaged or not a file of indices"),
        (None, 2, "a folder that vq encode wrote"),
    ],
)
def test_an_invalid_index_is_refused(indices, code, expected, complete_run, vq, tmp_path):
    if isinstance(indices, bytes):
        (tmp_path / "i.npy").write_bytes(indices)
    elif indices is not None:
        np.save(tmp_path / "i.npy", indices)
    result = vq("decode", complete_run.path, "i.npy", "-o", "out")
    assert result.code == code
    assert expected in result.err
    assert {path.name for path in tmp_path.iterdir()} <= {"i.npy"}


def test_a_damaged_compressed_file_is_refused(tmp_path):
    path = tmp_path / "i.npz"
    np.savez_compressed(path, indices=np.arange(500) % 7)
    content = bytearray(path.read_bytes())
    content[
        30 + int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little")
    ] = 0xFF  # no block
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged or not a file of indices"):
        read_shard(path)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "", ".", "a\0b"])
def test_a_manifest_cannot_lead_out_of_its_folder(name, tokens, complete_run, vq, tmp_path):
    manifest = Manifest.read(tokens)
    manifest.names[3] = name
    manifest.write(tokens)
    result = vq("decode", complete_run.path, tokens, "-o", "out")
    assert result.code == 1
    assert "names.txt: not a manifest of indices: names.3: " in result.err
    assert "expected a plain name, without a path" in result.err
    assert not (tmp_path / "out").exists()


def without_digests(tokens):
    """A folder as version 0.1 wrote it."""
    manifest = manifest_of(tokens)
    for shard in manifest["shards"]:
        del shard["sha256"]
    (tokens / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("count", [99, 101])
def test_a_shard_whose_rows_differ_from_the_manifest_is_refused(
    count, tokens, complete_run, vq, tmp_path
):
    without_digests(tokens)
    np.savez(tokens / "shard-00001.npz", indices=np.zeros((count, 4, 4), np.uint8))
    result = vq("decode", complete_run.path, tokens, "-o", "out")
    assert result.code == 1
    expected = f"{count} samples where manifest.json says 100: run the same vq encode again"
    assert f"shard-00001.npz: {expected}" in result.err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_digests_is_read_with_a_word(tokens, complete_run, vq):
    before = manifest_of(tokens)
    without_digests(tokens)
    result = vq("decode", complete_run.path, tokens, "-o", "out.npy")
    assert result.code == 0
    assert "manifest.json has no digests, as of version 0.1: damage may go unseen" in result.err
    assert vq("encode", complete_run.path, "test", "-o", "tokens", *SIZES).code == 0
    assert manifest_of(tokens) == before


def test_a_damaged_shard_is_written_again(tokens, complete_run, vq):
    whole = shards(tokens)
    damaged = bytearray(whole["shard-00002.npz"])
    damaged[-300] ^= 1
    (tokens / "shard-00002.npz").write_bytes(damaged)
    for path in (tokens, tokens / "shard-00002.npz"):
        refused = vq("decode", complete_run.path, path, "-o", "out.npy")
        assert refused.code == 1
        assert "damaged: its SHA-256 is not the one in manifest.json: run the same" in refused.err
    result = vq("encode", complete_run.path, "test", "-o", "tokens", *SIZES)
    assert result.code == 0
    assert "shard-00002.npz is written again" in result.err
    assert shards(tokens) == whole


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_every_flipped_bit_is_caught(tmp_path, suffix):
    path = tmp_path / f"shard{suffix}"
    digest = write_shard(path, {"indices": np.arange(12, dtype=np.uint8).reshape(3, 4)})
    shard = Shard(file=path.name, samples=3, sha256=digest)
    assert read_listed(path, shard, (4,)).tolist() == np.arange(12).reshape(3, 4).tolist()
    content = path.read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(RunError, match="its SHA-256 is not the one in manifest"):
            read_listed(path, shard, (4,))


@pytest.mark.parametrize("new", [new_file, new_folder])
@pytest.mark.parametrize("path", [".", "deep/.."])
def test_a_place_without_a_name_is_refused(new, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(SettingError, match=r"expected a path that ends in a name.*as in \./NAME"),
        new(Path(path)),
    ):
        raise AssertionError


def test_nothing_is_overwritten(tokens, complete_run, vq, tmp_path):
    (tmp_path / "out.npy").write_text("mine")
    result = vq("decode", complete_run.path, tokens, "-o", "out.npy")
    assert result.code == 2
    assert "a path where nothing exists yet, found a file" in result.err
    assert (tmp_path / "out.npy").read_text() == "mine"


def test_models_of_vectors_take_and_give_arrays(train, vq, tmp_path):
    run = train(*COMPOSITIONS["trees"], "--max-steps", 1)
    np.save(tmp_path / "x.npy", np.eye(31, dtype=bool))
    assert vq("encode", run.path, "x.npy", "-o", "tokens").code == 0
    assert vq("decode", run.path, "tokens", "-o", "out").code == 0
    assert np.load(tmp_path / "out").shape == (31, 31)
    result = vq("decode", run.path, "tokens", "-o", "png", "--format", "png")
    assert result.code == 2
    assert "--format = 'png': expected npy for samples of shape (31,)" in result.err


@pytest.mark.parametrize(
    ("name", "hint"), [("tset", "; did you mean 'test'?"), ("faces", "nothing is there")]
)
def test_a_missing_input(name, hint, complete_run, vq, tmp_path):
    result = vq("encode", complete_run.path, name, "-o", "tokens")
    assert result.code == 2
    assert f"PATH = '{name}': expected a folder of images" in result.err
    assert result.err.rstrip().endswith(hint)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_codes_has_nothing_to_encode(train, vq, tmp_path):
    run = train("--set", "bottleneck=none", "--max-steps", 1)
    for command in (
        ("encode", run.path, "test"),
        ("decode", run.path, "test"),
        ("export", run.path),
    ):
        result = vq(*command, "-o", "out")
        assert result.code == 2
        assert "this run has no codes" in result.err
    assert not (tmp_path / "out").exists()


def test_latents_that_are_not_finite_are_named(complete_run, vq, tmp_path, monkeypatch):
    from vq.models.autoencoder import VQModel

    encode = VQModel.encode
    monkeypatch.setattr(
        VQModel, "encode", lambda self, x: encode(self, x).index_fill(0, torch.tensor([5]), -1)
    )
    result = vq("encode", complete_run.path, "test", "-o", "tokens", *SIZES)
    assert result.code == 1
    assert "5: the encoder gives NaN, inf or huge numbers" in result.err
    assert shards(tmp_path / "tokens") == {}


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (1, "uint8"),
        (256, "uint8"),
        (257, "uint16"),
        (65536, "uint16"),
        (65537, "uint32"),
        (2**32 + 1, "int64"),
    ],
)
def test_the_smallest_dtype_for_every_index(codes, expected):
    assert smallest_dtype(codes) == expected
    assert np.array(codes - 1).astype(expected) == codes - 1
