"""Small valid files of every kind to start from, made on the fly and the same every time."""

import functools
import gzip
import io
import json
import tempfile
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress

from liquidlens.manifest import KEY
from tests.imaging.dicoms import enhanced, image, phantom, save, series

ROOT = Path(__file__).parents[2]


def npy(array: NDArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, method)  # of 1980, whatever the clock says
    return buffer.getvalue()


def arrays() -> list[bytes]:
    volume = phantom()
    return [
        npy(volume),
        npy(volume[None].astype(np.uint8)),
        npy(np.asfortranarray(volume.astype(">f4"))),
        npy(volume[0] > 0),
        archive({"images.npy": npy(volume[None]), "labels.npy": npy(np.arange(2))}),
        archive({"scan.npy": npy(volume)}, zipfile.ZIP_STORED),
    ]


def nifti(second: bool = False, data: NDArray | None = None, affine: NDArray | None = None) -> bytes:
    make = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    return make(phantom() if data is None else data, np.eye(4) if affine is None else affine).to_bytes()


def niftis() -> list[bytes]:
    oblique = np.array([[0, 2.0, -0.15, 5], [-1, 0, 0, 6], [0, 0.1, 3, 7], [0, 0, 0, 1]])
    colour = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    scaled = nibabel.Nifti1Image(phantom(), oblique)
    scaled.header.set_slope_inter(2, -10)
    extended = nibabel.Nifti1Image(phantom(), np.eye(4))
    extended.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"LEAK^PATIENT"))
    plain = [
        nifti(),
        nifti(second=True),
        nifti(data=np.stack([phantom()] * 2, axis=-1), affine=oblique),
        nifti(data=colour),
        scaled.to_bytes(),
        extended.to_bytes(),
    ]
    return plain + [gzip.compress(content, mtime=0) for content in plain[:3]]


def images() -> list[bytes]:
    grey = np.add.outer(np.arange(11), np.arange(13) * 9).astype(np.uint8)
    deep, colour = grey.astype(np.uint16) * 200, np.stack([grey, grey.T[:11, :1] + grey, grey[::-1]], -1)
    turned = Image.Exif()
    turned[274] = 6  # a camera held upright
    found = []
    for kind, pixels, options in (
        ("PNG", grey, {}),
        ("PNG", deep, {}),
        ("PNG", colour, {"exif": turned}),
        ("JPEG", grey, {}),
        ("JPEG", colour, {"progressive": True, "exif": turned}),
        ("BMP", grey, {}),
        ("BMP", colour, {}),
        ("TIFF", deep, {}),
        ("TIFF", grey, {"compression": "tiff_lzw"}),
        ("TIFF", colour, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", grey.astype(np.float32), {"compression": "packbits"}),
        ("TIFF", grey, {"save_all": True, "append_images": [Image.fromarray(grey)]}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        found.append(buffer.getvalue())
    return found


def dicom(dataset: Dataset) -> bytes:
    """A file whose identifiers are the same every time."""
    dataset.SOPInstanceUID = uid.generate_uid(entropy_srcs=[str(dataset.get("ImagePositionPatient"))])
    if "FrameOfReferenceUID" in dataset:
        dataset.FrameOfReferenceUID = dataset.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder:
        return save(dataset, Path(folder) / "scan.dcm").read_bytes()


def dicoms() -> list[bytes]:
    deep = (np.add.outer(np.arange(32) * 60, np.arange(32) * 40)).astype(np.uint16)  # JPEG 2000 takes no smaller ones
    found = [image(deep), series(phantom())[0], enhanced(phantom(), [1, 0, 2, 3]), image(np.stack([deep >> 4] * 3))]
    found.append(image(np.stack([deep >> 4] * 3, axis=-1).astype(np.uint8)))
    found.append(image(deep, PhotometricInterpretation="MONOCHROME1", WindowCenter=40, WindowWidth=400))
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian):
        found.append(image(deep))
        found[-1].file_meta.TransferSyntaxUID = syntax
    for syntax in (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless):
        found.append(image(deep))
        compress(found[-1], syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    Image.fromarray((deep >> 4).astype(np.uint8)).save(buffer, "JPEG")
    jpeg = image((deep >> 4).astype(np.uint8), PixelData=encapsulate([buffer.getvalue()]))
    jpeg["PixelData"].is_undefined_length = True
    jpeg.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    files = [dicom(dataset) for dataset in (*found, jpeg)]
    return [*files, files[0][132:]]  # the last one without its preamble


def zips() -> list[bytes]:
    slices = {f"ct/{i}": dicom(dataset) for i, dataset in enumerate(series(phantom()))}
    return [
        archive(slices),
        archive({"scan.npy": npy(phantom()), "README": b"no scan"}),
        archive({"left/scan.nii.gz": gzip.compress(nifti(), mtime=0)}),
        archive({"a.png": images()[0], "b": images()[7], "c.npz": arrays()[4]}, zipfile.ZIP_STORED),
    ]


@functools.cache
def manifest() -> bytes:
    """The manifest of a pretrained model, without most of its initializers."""
    from onnxruntime import InferenceSession

    session = InferenceSession(str(ROOT / "models/pretrained/vessel/model.onnx"), providers=["CPUExecutionProvider"])
    whole = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    whole["initializers"] = dict(list(whole["initializers"].items())[:2])
    return json.dumps(whole).encode()


def manifests() -> list[bytes]:
    several = json.loads(manifest())
    several |= {"labels": ["a", "b", "<c>"], "task": "multi-label", "wiring": []}
    several["operating"] |= {"abstain": None, "abstain_margin": 0.1}
    return [manifest(), json.dumps(several).encode()]


def lists() -> list[bytes]:
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"path": ["a.npy", "b.nii"], "item": [1, None]}), buffer)
    return [
        b"path\na.npy\n",
        b"\xef\xbb\xbfpatient,path,item\r\n1,scans/0.npy,\r\n2,two.npz,images/3\r\n3,,\r\n",
        b'"path",item\n"with ""quotes"", and\nlines#2",4\n,\nextra,columns,here\n',
        buffer.getvalue(),
    ]


def requests() -> list[bytes]:
    """As `targets.request` takes them: header length and content encoding on the first line, then the body."""
    scan = np.arange(8, dtype="<f4").reshape(1, 2, 2, 2)
    tensor = {"name": "scan", "shape": scan.shape, "datatype": "FP32"}
    plain = json.dumps({"id": "7", "inputs": [{**tensor, "data": scan.tolist()}]}).encode()
    wanted = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "ood"}]
    binary = {**tensor, "parameters": {"binary_data_size": scan.nbytes}}
    header = json.dumps({"inputs": [binary], "outputs": wanted, "parameters": {"binary_data_output": True}}).encode()
    return [
        b" \n" + plain,
        b"%d \n" % len(header) + header + scan.tobytes(),
        b" gzip\n" + gzip.compress(plain, mtime=0),
        b"%d deflate\n" % len(plain) + zlib.compress(plain),
    ]
