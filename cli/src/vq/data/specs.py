"""The data sets as components. Torch-free."""

from __future__ import annotations

from vqcore.plugin.component import ComponentSpec


def _spec(name: str, target: str, config: str, summary: str) -> ComponentSpec:
    target, config = f"vq.data.{target}", f"vq.data.dataset_config:{config}"
    return ComponentSpec(name=name, target=target, config=config, summary=summary)


_DIGITS = "1,797 handwritten digits of 8x8 (from scikit-learn, offline)"
_PHOTOS = "colour patches of two photos (from scikit-learn, offline)"
_TREES = "noisy bit vectors of the nodes of a binary tree (generated)"
_LINKS = "the links of a tree as one matrix: full, random, or diagnoses (extra: trees)"
_MNIST = "70,000 handwritten digits of 28x28"
_FASHION = "70,000 grey images of clothes, 28x28"
_CIFAR10 = "60,000 colour images of 32x32"
_CELEBA = "202,599 faces, centre-cropped and resized"
_FOLDER = "the images below your own folder"
_ARRAYS = "your own images or vectors in NumPy's .npy and .npz files"
_MIXTURE = "several data sets with weights as one"
_HF = "images of a data set of Hugging Face, local or from the hub (extra: datasets)"
_TAR = "your own images in tar shards (WebDataset)"
_AUDIO = "segments of your own audio files, .wav, .flac and others (extra: audio)"
_FRAMES = "clips of your own videos, as folders of numbered frames"
_HIERARCHY = "images of objects made of parts made of sub-parts, with their tree (generated)"

DATASETS = [
    _spec("digits", "digits:Digits", "ImageConfig", _DIGITS),
    _spec("photos", "photos:Photos", "PhotosConfig", _PHOTOS),
    _spec("trees", "trees:Trees", "TreesConfig", _TREES),
    _spec("tree-links", "tree_links:TreeLinks", "TreeLinksConfig", _LINKS),
    _spec("mnist", "mnist:Mnist", "MnistConfig", _MNIST),
    _spec("fashion-mnist", "mnist:FashionMnist", "MnistConfig", _FASHION),
    _spec("cifar10", "cifar10:Cifar10", "DownloadConfig", _CIFAR10),
    _spec("celeba", "celeba:CelebA", "CelebAConfig", _CELEBA),
    _spec("image-folder", "image_folder:ImageFolder", "ImageFolderConfig", _FOLDER),
    _spec("arrays", "arrays:Arrays", "ArraysConfig", _ARRAYS),
    _spec("huggingface", "huggingface:HuggingFace", "HuggingFaceConfig", _HF),
    _spec("webdataset", "webdataset:WebDataset", "WebDatasetConfig", _TAR),
    _spec("audio-folder", "audio_folder:AudioFolder", "AudioFolderConfig", _AUDIO),
    _spec("frames", "frames:Frames", "FramesConfig", _FRAMES),
    _spec("mixture", "mixture:Mixture", "MixtureConfig", _MIXTURE),
    _spec("hierarchy", "hierarchy:Hierarchy", "HierarchyConfig", _HIERARCHY),
]
