"""Files of network weights that a user provides: what they hold, and how to get them. Torch-free.

Weights are never downloaded: a machine that trains may have no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqcore.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: what it should hold, and the call that downloads it.

    ``option`` is the one that names a file.
    """

    content: str
    call: str

    def check_there(self, path: Path, option: str) -> None:
        """Refuse a path where no file is.

        Raises:
            SettingError: naming the option, the file and how to get one.
        """
        if not path.is_file():
            raise self.error(path, option, "there is no such file")

    def read(self, path: Path, option: str) -> dict[str, Tensor]:
        """The tensors in the file, by name.

        Raises:
            SettingError: as ``check_there``, or if the file holds anything else.
        """
        import torch

        self.check_there(path, option)
        try:
            entries = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # what is no pickle fails an unpickler in any way
            raise self.error(path, option, "found no weights") from error
        named = isinstance(entries, dict)
        if not named or not all(isinstance(value, torch.Tensor) for value in entries.values()):
            raise self.error(path, option, "found no weights")
        return entries

    def other(self, path: Path, option: str, entries: dict[str, Tensor]) -> SettingError:
        """The error for a file that holds another network."""
        return self.error(path, option, f"found {len(entries)} tensors of another network")

    def error(self, path: Path, option: str, found: str) -> SettingError:
        """The error for a file that does not hold the weights."""
        saves = f"{self.call} saves it in the folder checkpoints below torch.hub.get_dir()"
        expected = f"a file with {self.content}; {found}"
        fix = f"on a machine with a network, {saves}"
        return SettingError(option, str(path), expected, fix)


#: Of the convolutions of LPIPS, by network.
LPIPS_FILES = {
    network: WeightsFile(
        f"torchvision's ImageNet weights of {title}, as in {name}",
        f"torchvision.models.{function}(weights='IMAGENET1K_V1')",
    )
    for network, title, name, function in (
        ("vgg", "VGG16", "vgg16-397923af.pth", "vgg16"),
        ("alex", "AlexNet", "alexnet-owt-7be5be79.pth", "alexnet"),
        ("squeeze", "SqueezeNet 1.1", "squeezenet1_1-b8a52dc0.pth", "squeezenet1_1"),
    )
}
#: Of one of these networks.
LPIPS_FILE = WeightsFile(
    "torchvision's ImageNet weights of AlexNet, VGG16 or SqueezeNet 1.1, "
    "as in alexnet-owt-7be5be79.pth",
    LPIPS_FILES["alex"].call,
)
FID_FILE = WeightsFile(
    "torch-fidelity's weights of Inception v3, pt_inception-2015-12-05-6726825d.pth",
    "torch_fidelity.FeatureExtractorInceptionV3('inception', ['2048'])",
)
