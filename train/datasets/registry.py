"""The datasets by name, as one table of data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from liquidlens.imaging import phantoms
from liquidlens.manifest import TrainedOn, Values
from liquidlens.train.datasets import formats
from liquidlens.train.datasets.dataset import POSE, Task
from liquidlens.train.datasets.places import INFO, Arrays, Container, File

PHANTOM = "phantom-vessel3d"


@dataclass(frozen=True)
class Source:
    """One dataset, and how to come by it.

    size: of a scan, for people; licence: of the data; note: what to know before results are compared.
    containers: the forms it may be kept in, the official one among them; none for what `make` makes on the fly.
    content_md5: of its pixels and labels, where several containers hold the same content.
    instead: what a person can use where it is not to be had.
    trained_on: which kind of scans they are; None for what is none, or for which DICOM has no code.
    values, task, channels, window, normalisation: as in `train.datasets.Dataset`.
    """

    name: str
    label_names: tuple[str, ...]
    size: str
    licence: str
    containers: tuple[Container, ...] = ()
    make: Callable[[], Arrays] | None = None
    trained_on: TrainedOn | None = None
    values: Values = "grey"
    task: Task = "classes"
    channels: int = 1
    window: tuple[float, float] | None = None
    normalisation: tuple[float, float] | None = None
    content_md5: str | None = None
    instead: str = "use the dataset phantom-cxr"
    note: str = ""


#: The 3D sets that are shapes, 0 and 255; the others are grey values of CT or electron microscopy.
MASKS = ("adrenalmnist3d", "vesselmnist3d")
#: Computed and digital radiographs, and films that were scanned.
XRAY = ("CR", "DX", "RG")
CHEST_XRAY = TrainedOn(modalities=XRAY, body_part="chest")
#: What MedMNIST's sets were made of; synapses are of an electron microscope, for which DICOM has no code.
KINDS = {
    "adrenalmnist3d": TrainedOn(modalities=("SEG",), body_part="adrenal gland"),
    "bloodmnist": TrainedOn(modalities=("GM", "SM"), body_part="blood"),
    "breastmnist": TrainedOn(modalities=("US",), body_part="breast"),
    "chestmnist": CHEST_XRAY,
    "dermamnist": TrainedOn(modalities=("XC", "ES"), body_part="skin"),
    "fracturemnist3d": TrainedOn(modalities=("CT",), body_part="ribs"),
    "nodulemnist3d": TrainedOn(modalities=("CT",), body_part="chest"),
    "octmnist": TrainedOn(modalities=("OPT",), body_part="retina"),
    **{f"organ{plane}mnist": TrainedOn(modalities=("CT",), body_part="abdomen") for plane in "acs"},
    "organmnist3d": TrainedOn(modalities=("CT",), body_part="abdomen"),
    "pathmnist": TrainedOn(modalities=("GM", "SM"), body_part="colon"),
    "pneumoniamnist": CHEST_XRAY,
    "retinamnist": TrainedOn(modalities=("OP",), body_part="retina"),
    "tissuemnist": TrainedOn(modalities=("GM", "SM"), body_part="kidney"),
    "vesselmnist3d": TrainedOn(modalities=("SEG",), body_part="brain's vessels"),
}
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
OURS = "Apache-2.0, made by this software"


def _medmnist(name: str, length: int) -> Source:
    """One official file of MedMNIST v2 or v3 with `length` pixels per axis; addresses and checksums are medmnist's."""
    facts = INFO[name]
    suffix = "" if length == 28 else f"_{length}"
    volumes = name.endswith("3d")
    colour = facts["n_channels"] == 3
    return Source(
        name=f"{name}{suffix}",
        label_names=tuple(facts["label"][str(i)] for i in range(len(facts["label"]))),
        size=" x ".join([str(length)] * (3 if volumes else 2)) + (", colour" if colour else ""),
        licence=facts["license"],
        containers=(
            _single(f"{name}{suffix}.npz", formats.read_medmnist, facts[f"MD5{suffix}"], facts[f"url{suffix}"]),
        ),
        trained_on=KINDS.get(name),
        values="mask" if name in MASKS else "grey",
        task="multi-label" if facts["task"].startswith("multi-label") else "classes",
        channels=facts["n_channels"],
        instead=f"use the dataset {PHANTOM if volumes else 'phantom-cxr'}",
    )


def _single(name: str, read: Callable[..., Arrays], md5: str | None = None, url: str | None = None) -> Container:
    return Container((File(name, md5, url),), read)


def _idx(name: str, address: str, *md5s: str) -> Container:
    files = (File(f"{name}/{file}.gz", md5, f"{address}/{file}.gz") for file, md5 in zip(IDX_FILES, md5s, strict=True))
    return Container(tuple(files), formats.read_idx)


def _pose(name: str, channels: int, length: int) -> Source:
    return Source(
        name=name,
        label_names=POSE,
        size=f"{channels} x {length} x {length} feature maps",
        licence=OURS,
        make=partial(phantoms.pose, channels, length),
        values="features",
        task="pose",
        channels=channels,
    )


_ALL = (
    *(
        _medmnist(name, length)
        for name, facts in INFO.items()
        for length in (28, 64, 128, 224)
        if f"url_{length}" in facts or length == 28
    ),
    Source(
        name="mnist",
        label_names=tuple("0123456789"),
        size="28 x 28",
        licence="CC BY-SA 3.0",
        containers=(
            _single("mnist.npz", formats.read_xy),
            _idx(
                "mnist",
                "https://ossci-datasets.s3.amazonaws.com/mnist",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
        normalisation=(0.1307, 0.3081),
        content_md5="af92c8c74bddc070d2cbe85e9c6b9b99",
    ),
    Source(
        name="fashionmnist",
        label_names=FASHION,
        size="28 x 28",
        licence="MIT",
        containers=(
            _idx(
                "fashionmnist",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
    Source(
        name="fashionmnist-sample",
        label_names=FASHION,
        size="28 x 28",
        licence="MIT",
        containers=(_single("fashion_mnist_1k1k.npz", formats.read_xy, "00845bcbe00a652c7a58ed0002028f9e"),),
        instead="the whole set, fashionmnist, can be",
        note="1000 training and 1000 test images of Fashion-MNIST: results are not those of the whole set.",
    ),
    Source(
        name="cifar10",
        label_names=CIFAR10,
        size="32 x 32, colour",
        licence="no licence stated, cite Krizhevsky 2009",
        containers=(
            _single(
                "cifar-10-binary.tar.gz",
                formats.read_cifar10,
                "c32a1d4ab5d03f1284b67883e8d87530",
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            ),
        ),
        channels=3,
        normalisation=(0.5, 0.5),
        instead="use the dataset cifar10-jpeg, if you have that",
    ),
    Source(
        name="cifar10-jpeg",
        label_names=CIFAR10,
        size="32 x 32, colour",
        licence="no licence stated, cite Krizhevsky 2009",
        containers=(_single("cifar10_jpeg.npz", formats.read_cifar10_jpeg, "25c94d1988df3b4b39f906581f6caea5"),),
        channels=3,
        normalisation=(0.5, 0.5),
        instead="cifar10, the official version, can be",
        note="CIFAR-10 compressed with loss, in another order: accuracies may differ slightly from the official set's.",
    ),
    Source(
        name="chestxray224",
        label_names=("normal", "pneumonia"),
        size="224 x 224",
        licence="CC BY 4.0, Kermany et al. 2018",
        containers=(_single("kermany_cxr224_jpeg.npz", formats.read_chest_xrays, "77ec26c11cd094cd15965fe559d8e52e"),),
        trained_on=CHEST_XRAY,
        instead="pneumoniamnist_224 is the official download of the same images",
        note="The images of PneumoniaMNIST, compressed with loss, in its official splits.",
    ),
    Source(
        name="lidc-nodule3d",
        label_names=("benign", "malignant"),
        size="28 x 28 x 28",
        licence="CC BY 3.0, LIDC-IDRI",
        containers=(_single("lidc_nodule3d_28.npz", formats.read_lidc, "c68d05287df08fb4a2f3bc967c49dc70"),),
        trained_on=KINDS["nodulemnist3d"],
        values="hu",
        window=formats.HU,
        instead="nodulemnist3d can be, and is another selection of the same nodules",
        note="A nodule's size shows in the padding around it, and the diameter alone has a test AUC of 0.92; results "
        "are not to be compared with NoduleMNIST3D's.",
    ),
    Source(
        name=PHANTOM,
        label_names=phantoms.VESSEL_LABELS,
        size="28 x 28 x 28",
        licence=OURS,
        make=phantoms.vessel3d,
        trained_on=KINDS["vesselmnist3d"],
        values="mask",
    ),
    Source(
        name="phantom-cxr",
        label_names=phantoms.CHEST_LABELS,
        size="128 x 128",
        licence=OURS,
        make=phantoms.chest_xray,
        trained_on=CHEST_XRAY,
    ),
    _pose("phantom-pose", 1024, 7),
    _pose("phantom-pose-aux1", 512, 14),
    _pose("phantom-pose-aux2", 528, 14),
)

SOURCES = {source.name: source for source in _ALL}
