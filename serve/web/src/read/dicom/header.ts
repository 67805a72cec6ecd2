/**
 * What the header of a DICOM file says, as `imaging.formats.dicom` reads it with pydicom.
 *
 * What leaves the modules of this folder are pixels, lengths and codes of the standard; no attribute of a patient.
 */
import dicomParser, { type ByteArray, type DataSet } from "dicom-parser";
import { Inflate } from "fflate";
import { checkInflated, checkPixels, checkSlices } from "../budget.ts";
import { joined } from "../bytes.ts";
import type { Plane } from "../geometry.ts";
import { isBareDicom, latin } from "../kinds.ts";
import { Refusal } from "../refusal.ts";
import { EXPLICIT, IMPLICIT, NO_IMAGE, READABLE, STANDARD, TAG } from "./codes.ts";

/** No pixel is as large (mm). */
const LENGTH = 10_000;

/** The elements of a file.  Throws if it is no DICOM file; one of nothing but noise has no elements. */
export function parse(bytes: Uint8Array): DataSet {
  const inflater = (whole: ByteArray, position: number): ByteArray => inflated(whole as Uint8Array, position);
  if (latin(bytes.subarray(128, 132)) === "DICM") return dicomParser.parseDicom(bytes, { inflater });
  if (!isBareDicom(bytes)) throw new Refusal("this DICOM file holds no image (of no modality).");
  if (bytes[0] === 2) {
    const whole = new Uint8Array(132 + bytes.length); // its meta information stands at the start, without a preamble
    whole.set([68, 73, 67, 77], 128);
    whole.set(bytes, 132);
    return dicomParser.parseDicom(whole, { inflater });
  }
  const isExplicit = /^[A-Z]{2}$/.test(latin(bytes.subarray(4, 6)));
  return dicomParser.parseDicom(bytes, { TransferSyntaxUID: isExplicit ? EXPLICIT : IMPLICIT });
}

/** A deflated data set behind its meta information, unpacked piece by piece within the budget. */
function inflated(whole: Uint8Array, position: number): Uint8Array {
  const pieces: Uint8Array[] = [whole.subarray(0, position)];
  let size = 0;
  const inflate = new Inflate((piece) => {
    size += piece.length;
    checkInflated(size, whole.length);
    pieces.push(piece);
  });
  for (let at = position; at < whole.length; at += 2 ** 16) {
    inflate.push(whole.subarray(at, at + 2 ** 16), at + 2 ** 16 >= whole.length);
  }
  return joined(pieces);
}

/** Throw a Refusal if the file holds no image, one that cannot be decoded, or one over the budget. */
export function check(data: DataSet): void {
  if (data.elements[TAG.directory]) {
    throw new Refusal("a DICOMDIR is a table of contents; give the folder that it describes.");
  }
  const [rows, columns] = sizeOf(data);
  if (rows === undefined || columns === undefined) {
    throw new Refusal(`this DICOM file holds no image (${modality(data) ?? "of no modality"}).`);
  }
  if (modality(data) === "RTDOSE") throw new Refusal("this DICOM file holds a radiation dose, which is no scan.");
  if ((data.string(TAG.imageType) ?? "").split("\\").includes("MOSAIC")) {
    throw new Refusal(
      "a mosaic of Siemens, which holds a whole volume as tiles of one image; convert the series to NIfTI, with " +
        "dcm2niix for example.",
    );
  }
  if (!READABLE.includes(syntaxOf(data))) {
    throw new Refusal("its transfer syntax cannot be read here; convert it, to JPEG 2000 for example.");
  }
  const frames = numberOfFrames(data);
  checkSlices(frames);
  checkPixels(rows * columns * frames);
  if (!pixelTag(data)) throw new Refusal("this DICOM file describes an image, but holds no pixels.");
}

/** Whether it says that it is no image: a report, a table of contents, what a maker keeps for itself. */
export function isSomethingElse(data: DataSet): boolean {
  const kind = data.string(TAG.class) || data.string(TAG.mediaClass) || "";
  if (kind.startsWith(STANDARD) || STANDARD.startsWith(kind)) return NO_IMAGE.test(kind); // the latter if it was cut off
  return /^[0-9.]+$/.test(kind);
}

/** What tells an image from all others; undefined if it does not say. */
export function instanceOf(data: DataSet): string | undefined {
  return data.string(TAG.instance);
}

export function numberOfFrames(data: DataSet): number {
  const text = data.string(TAG.frames);
  const frames = text ? Number(text) : 1;
  if (!Number.isInteger(frames)) throw new Error("the number of frames is no number");
  return frames || 1;
}

/** The modality, if it is a code as the standard writes them and not free text. */
export function modality(data: DataSet): string | null {
  const code = data.string(TAG.modality) ?? "";
  return /^[A-Z0-9]{2,8}$/.test(code) ? code : null;
}

/** What tells the series of a file: of several frames, the file is one. */
export function seriesOf(data: DataSet): string {
  const own = numberOfFrames(data) > 1 ? data.string(TAG.instance) : "";
  return JSON.stringify([data.string(TAG.series), own]);
}

export function seriesNumber(data: DataSet): number {
  return data.intString(TAG.seriesNumber) || 0;
}

export function sizeOf(data: DataSet): [number | undefined, number | undefined] {
  return [data.uint16(TAG.rows), data.uint16(TAG.columns)];
}

/** Millimetres between rows and between columns: in the patient, or else at the detector. */
export function spacing(data: DataSet, index: number): [number, number] | null {
  for (const place of [macro(data, index, TAG.measures), data]) {
    for (const tag of [TAG.spacing, TAG.spacingAtDetector, TAG.spacingNominal]) {
      const lengths = decimals(place, tag);
      if (lengths.length === 2 && lengths.every((x) => x > 0 && x < LENGTH)) return [lengths[0]!, lengths[1]!];
    }
  }
  return null;
}

/** Where a frame lies; null if the file does not say so in numbers. */
export function plane(data: DataSet, index: number, name: string): Plane | null {
  const position = decimals(macro(data, index, TAG.planePosition), TAG.position);
  const orientation = decimals(macro(data, index, TAG.planeOrientation), TAG.orientation);
  const between = spacing(data, index);
  const [rows, columns] = sizeOf(data);
  if (position.length !== 3 || orientation.length !== 6 || !between) return null;
  return { name, size: [rows!, columns!], spacing: between, position, orientation };
}

export function pixelTag(data: DataSet): string | undefined {
  return [TAG.pixels, TAG.floatPixels, TAG.doublePixels].find((tag) => data.elements[tag]?.length);
}

export function syntaxOf(data: DataSet): string {
  return data.string(TAG.syntax)?.trim() || IMPLICIT;
}

/** Where the attributes of a functional group stand for one frame: its own, the shared, or the data set itself. */
export function macro(data: DataSet, index: number, sequence: string): DataSet {
  const own = data.elements[TAG.perFrame]?.items?.[index]?.dataSet;
  const shared = data.elements[TAG.shared]?.items?.[0]?.dataSet;
  for (const groups of [own, shared]) {
    const found = groups?.elements[sequence]?.items?.[0]?.dataSet;
    if (found) return found;
  }
  return data;
}

/** The numbers of an attribute that is written as decimal text; none if it is missing or no number. */
export function decimals(data: DataSet, tag: string): number[] {
  const text = data.string(tag);
  if (!text) return [];
  const found = text.split("\\").map((part) => (part.trim() ? Number(part) : NaN));
  return found.every(Number.isFinite) ? found : [];
}
