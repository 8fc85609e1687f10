"""The data sets as components."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec

_HERE = "vq.data"

DATASETS: list[ComponentSpec] = [
    ComponentSpec(
        name="digits",
        target=f"{_HERE}.digits:Digits",
        config=f"{_HERE}.dataset_config:PictureConfig",
        summary="1,797 handwritten digits of 8x8 (scikit-learn's, offline)",
    ),
    ComponentSpec(
        name="photos",
        target=f"{_HERE}.photos:Photos",
        config=f"{_HERE}.dataset_config:PhotosConfig",
        summary="colour patches of two photos (scikit-learn's, offline)",
    ),
    ComponentSpec(
        name="trees",
        target=f"{_HERE}.trees:Trees",
        config=f"{_HERE}.dataset_config:TreesConfig",
        summary="noisy bit vectors of the nodes of a binary tree (generated)",
    ),
    ComponentSpec(
        name="mnist",
        target=f"{_HERE}.mnist:Mnist",
        config=f"{_HERE}.dataset_config:MnistConfig",
        summary="70,000 handwritten digits of 28x28",
    ),
    ComponentSpec(
        name="fashion-mnist",
        target=f"{_HERE}.mnist:FashionMnist",
        config=f"{_HERE}.dataset_config:MnistConfig",
        summary="70,000 grey pictures of clothes, 28x28",
    ),
    ComponentSpec(
        name="cifar10",
        target=f"{_HERE}.cifar10:Cifar10",
        config=f"{_HERE}.dataset_config:Cifar10Config",
        summary="60,000 colour pictures of 32x32",
    ),
    ComponentSpec(
        name="celeba",
        target=f"{_HERE}.celeba:CelebA",
        config=f"{_HERE}.dataset_config:CelebAConfig",
        summary="202,599 faces, the middle square of each scaled to one size",
    ),
    ComponentSpec(
        name="image-folder",
        target=f"{_HERE}.image_folder:ImageFolder",
        config=f"{_HERE}.dataset_config:ImageFolderConfig",
        summary="the pictures below a folder of one's own",
    ),
    ComponentSpec(
        name="arrays",
        target=f"{_HERE}.arrays:Arrays",
        config=f"{_HERE}.dataset_config:ArraysConfig",
        summary="pictures or vectors of one's own in NumPy's .npy and .npz files",
    ),
    ComponentSpec(
        name="hierarchy",
        target=f"{_HERE}.hierarchy:Hierarchy",
        config=f"{_HERE}.dataset_config:HierarchyConfig",
        summary="pictures of objects made of parts made of sub-parts, with their tree (generated)",
    ),
]
