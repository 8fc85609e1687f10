"""CelebA from a small folder in the true layout: JPEGs of 178x218 and the partition file."""

import pytest
import torch
from PIL import Image

from vq.data.celeba import CelebA
from vqcore.errors import RunError, SettingError
from vqcore.testing import DatasetConformance

PARTS = [0, 0, 2, 1, 0, 2]


@pytest.fixture
def root(tmp_path):
    """Face i is grey 40 i, with 16 rows of red above and below that a centre crop removes."""
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for index in range(len(PARTS)):
        face = Image.new("RGB", (178, 218), (255, 0, 0))
        face.paste((40 * index,) * 3, (0, 16, 178, 202))
        face.save(folder / f"{index + 1:06d}.jpg")
    lines = [f"{index + 1:06d}.jpg {part}" for index, part in enumerate(PARTS)]
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize(("name", "faces"), [("train", [0, 1, 4]), ("test", [2, 5])])
def test_splits_follow_the_partition_and_are_centre_cropped(root, served, name, faces):
    source = CelebA(root=str(root), image_size=16, workers=0)
    batch = served(source.split(name), 2)
    assert batch.shape == (len(faces), *source.shape) == (len(faces), 3, 16, 16)
    expected = torch.tensor([40 * face / 127.5 - 1 for face in faces])
    assert (batch - expected[:, None, None, None]).abs().max() < 0.03


def test_a_missing_folder_is_refused_with_the_fix(tmp_path):
    with pytest.raises(SettingError) as caught:
        CelebA(root=str(tmp_path / "no")).split("train")
    message = str(caught.value)
    assert message.startswith(
        f"dataset.root = {str(tmp_path / 'no')!r}: expected the folder that holds CelebA"
    )
    assert "celeba/img_align_celeba" in message
    assert "--set dataset.download=true" in message


def test_missing_images_are_counted(root):
    (root / "celeba" / "img_align_celeba" / "000005.jpg").unlink()
    with pytest.raises(SettingError, match="1 of 3 images of the train split are missing"):
        CelebA(root=str(root)).split("train")
    assert len(CelebA(root=str(root)).split("test")) == 2


@pytest.mark.parametrize("text", ["", "000001.jpg\n", "<html>Quota exceeded</html>\n"])
def test_a_damaged_partition_is_refused_in_one_message(root, text):
    (root / "celeba" / "list_eval_partition.txt").write_text(text)
    with pytest.raises(SettingError, match="intact files of CelebA"):
        CelebA(root=str(root)).split("train")


def test_download_does_not_touch_existing_files(root):
    assert len(CelebA(root=str(root), download=True).split("test")) == 2


def test_a_failed_download_ends_in_one_message(tmp_path):
    with pytest.raises(RunError, match=r"CelebA could not be downloaded to dataset\.root"):
        CelebA(root=str(tmp_path), download=True).split("train")


def test_the_error_of_a_broken_image_names_it(root, served):
    file = root / "celeba" / "img_align_celeba" / "000003.jpg"
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(RunError, match=r"^\S+000003\.jpg cannot be read: OSError: [^\n]*$"):
        served(CelebA(root=str(root), workers=1).split("test"))


class TestCelebA(DatasetConformance):
    refused = ({"root": "nowhere"},)
    equivalent = ({"workers": 1},)

    @pytest.fixture(autouse=True)
    def _choose(self, root):
        self.root = str(root)

    def make(self, **options):
        return CelebA(**{"root": self.root, "image_size": 16, "workers": 0} | options)
