/**
 * Reading DICOM: from the stored pixels to grey values, frame by frame, as `imaging.formats.dicom` does with pydicom.
 *
 * What leaves this module are pixels, lengths and codes of the standard; no attribute of a patient.
 */
import dicomParser, { type ByteArray, type DataSet } from "dicom-parser";
import { Inflate } from "fflate";
import { checkInflated, checkPixels, checkSlices } from "./budget.ts";
import { joined } from "./bytes.ts";
import { decodeJpeg, decodeJpeg2000, decodeJpegLs, decodeLosslessJpeg, decodeRle, sizeOfJpeg, type Decoded } from "./codecs.ts";
import type { Plane } from "./geometry.ts";
import { isBareDicom, latin } from "./kinds.ts";
import { numbersAt, toGrey, type NumberKind } from "./numbers.ts";
import { Refusal } from "./refusal.ts";

/** Tags of the attributes that are read, as dicom-parser writes them. */
const TAG = {
  syntax: "x00020010",
  instance: "x00080018",
  modality: "x00080060",
  spacingAtDetector: "x00181164",
  spacingNominal: "x00182010",
  series: "x0020000e",
  seriesNumber: "x00200011",
  position: "x00200032",
  orientation: "x00200037",
  samples: "x00280002",
  photometric: "x00280004",
  planar: "x00280006",
  frames: "x00280008",
  rows: "x00280010",
  columns: "x00280011",
  spacing: "x00280030",
  allocated: "x00280100",
  stored: "x00280101",
  highBit: "x00280102",
  signed: "x00280103",
  windowCentre: "x00281050",
  windowWidth: "x00281051",
  intercept: "x00281052",
  slope: "x00281053",
  rescaleType: "x00281054",
  windowFunction: "x00281056",
  paletteDescriptor: ["x00281101", "x00281102", "x00281103"],
  palette: ["x00281201", "x00281202", "x00281203"],
  modalityTable: "x00283000",
  tableDescriptor: "x00283002",
  table: "x00283006",
  windowTable: "x00283010",
  directory: "x00041220",
  pixels: "x7fe00010",
  floatPixels: "x7fe00008",
  doublePixels: "x7fe00009",
  shared: "x52009229",
  perFrame: "x52009230",
  measures: "x00289110",
  planePosition: "x00209113",
  planeOrientation: "x00209116",
  transformation: "x00289145",
  frameWindow: "x00289132",
} as const;

const UID = "1.2.840.10008.1.2";
const IMPLICIT = UID;
const DEFLATED = `${UID}.1.99`;
const BIG_ENDIAN = `${UID}.2`;
const NATIVE = [IMPLICIT, `${UID}.1`, DEFLATED, BIG_ENDIAN];
const RLE = `${UID}.5`;
const [JPEG_BASELINE, JPEG_EXTENDED] = [`${UID}.4.50`, `${UID}.4.51`];
const LOSSLESS = [`${UID}.4.57`, `${UID}.4.70`];
const JPEG_LS = [`${UID}.4.80`, `${UID}.4.81`];
const JPEG_2000 = [`${UID}.4.90`, `${UID}.4.91`, `${UID}.4.201`, `${UID}.4.202`, `${UID}.4.203`];
const READABLE = [...NATIVE, RLE, JPEG_BASELINE, JPEG_EXTENDED, ...LOSSLESS, ...JPEG_LS, ...JPEG_2000];

const GREY = ["MONOCHROME1", "MONOCHROME2"];
const COLOUR = ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR"];
/** No pixel is as large (mm). */
const LENGTH = 10_000;
/** How many times as much as its image a compressed frame may claim. */
const BEYOND = 4;
const UNDECODABLE =
  "the pixels cannot be decoded; the file may be damaged, or of a variant such as 12-bit JPEG that no decoder here knows.";

/** One decoded frame, (rows, columns), or (rows, columns, 3) if colour was asked for. */
export interface Frame {
  readonly pixels: Float32Array<ArrayBuffer>;
  readonly shape: number[];
  readonly units: "HU" | null;
  readonly window: [number, number] | null;
  readonly notes: string[];
}

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
  return dicomParser.parseDicom(bytes, { TransferSyntaxUID: isExplicit ? `${UID}.1` : IMPLICIT });
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
  if (!READABLE.includes(syntaxOf(data))) {
    throw new Refusal("its transfer syntax cannot be read here; convert it, to JPEG 2000 for example.");
  }
  const frames = numberOfFrames(data);
  checkSlices(frames);
  checkPixels(rows * columns * frames);
  if (!pixelTag(data)) throw new Refusal("this DICOM file describes an image, but holds no pixels.");
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

/** Where a frame lies; null if the file does not say. */
export function plane(data: DataSet, index: number, name: string): Plane | null {
  const position = decimals(macro(data, index, TAG.planePosition), TAG.position);
  const orientation = decimals(macro(data, index, TAG.planeOrientation), TAG.orientation);
  const between = spacing(data, index);
  const [rows, columns] = sizeOf(data);
  if (position.length !== 3 || orientation.length !== 6 || !between) return null;
  return { name, size: [rows!, columns!], spacing: between, position, orientation };
}

/** Frame `index` as grey values: the modality's own rescaling applied, larger is brighter, no window applied. */
export async function decode(data: DataSet, index: number, colour: boolean): Promise<Frame> {
  const photometric = (data.string(TAG.photometric) ?? "").trim();
  const samples = data.uint16(TAG.samples) ?? 1;
  const isGrey = GREY.includes(photometric);
  if (!isGrey && !COLOUR.includes(photometric)) {
    throw new Refusal("the pixels' photometric interpretation is not one that can be read.");
  }
  if (isGrey && samples !== 1) {
    throw new Refusal("the pixels are grey by their photometric interpretation, and have several values each.");
  }
  const highBit = data.uint16(TAG.highBit);
  if (highBit !== undefined && pixelTag(data) === TAG.pixels && highBit !== data.uint16(TAG.stored)! - 1) {
    throw new Refusal("the pixels are not in the lowest bits, as the standard wants them today; convert it.");
  }
  const stored = await storedFrame(data, index, samples, photometric);
  const [rows, columns] = sizeOf(data) as [number, number];
  if (!isGrey) return colours(photometric === "PALETTE COLOR" ? throughPalette(stored, data) : stored, rows, columns, colour);
  return greys(stored, data, index, photometric === "MONOCHROME1", colour);
}

type Stored = ArrayLike<number> & Iterable<number>;

function pixelTag(data: DataSet): string | undefined {
  return [TAG.pixels, TAG.floatPixels, TAG.doublePixels].find((tag) => data.elements[tag]);
}

function syntaxOf(data: DataSet): string {
  return data.string(TAG.syntax)?.trim() || IMPLICIT;
}

/** The numbers of one frame, samples of one pixel side by side, signed or not as the header says. */
async function storedFrame(data: DataSet, index: number, samples: number, photometric: string): Promise<Stored> {
  const [rows, columns] = sizeOf(data) as [number, number];
  const count = rows * columns * samples;
  const tag = pixelTag(data)!;
  const element = data.elements[tag]!;
  const bytes = data.byteArray as Uint8Array;
  const syntax = syntaxOf(data);
  const little = syntax !== BIG_ENDIAN;
  const isInteger = tag === TAG.pixels;
  const allocated = isInteger ? data.uint16(TAG.allocated)! : tag === TAG.floatPixels ? 32 : 64;
  const bits = data.uint16(TAG.stored)!;
  const fine = bits >= 1 && bits <= allocated && [1, 3].includes(samples) && [0, 1].includes(data.uint16(TAG.signed)!);
  if (isInteger && !fine) throw new Error("the header describes no pixels");
  const isSigned = data.uint16(TAG.signed) === 1;
  if (isInteger && !NATIVE.includes(syntax)) {
    if (![8, 16, 32].includes(allocated)) throw new Refusal(`pixels of ${allocated} bits cannot be read here; convert it.`);
    const decoded = await decompressed(data, index, syntax, samples, photometric);
    const precision = [...JPEG_LS, ...JPEG_2000].includes(syntax) ? decoded.bits : bits;
    const inRgb = [JPEG_BASELINE, JPEG_EXTENDED, ...JPEG_2000].includes(syntax);
    const values = fitted(decoded.values, precision, isSigned);
    return photometric.startsWith("YBR_FULL") && !inRgb ? toRgb(values) : values;
  }
  const end = element.dataOffset + element.length;
  const subsampled = isInteger && photometric === "YBR_FULL_422";
  const frameBytes = (count * allocated * (subsampled ? 2 / 3 : 1)) / 8;
  if (end > bytes.length || (index + 1) * frameBytes > element.length) throw new Error("the file ends before its pixels");
  const start = element.dataOffset + index * frameBytes;
  if (!isInteger) return numbersAt(bytes, allocated === 32 ? "f4" : "f8", little, start, count);
  if (allocated === 1) return unpackedBits(bytes, element.dataOffset, index * count, count);
  const width = allocated / 8;
  if (![1, 2, 4].includes(width)) throw new Refusal(`pixels of ${allocated} bits cannot be read here; convert it.`);
  if (subsampled) return toRgb(upsampled(bytes.subarray(start, start + frameBytes)));
  // 8 bits in words of 16 (OW) stand in reverse in a big-endian file.
  const swapped = !little && width === 1 && element.vr === "OW";
  const kind = `${isSigned ? "i" : "u"}${width}` as NumberKind;
  const read = numbersAt(swapped ? swappedPairs(bytes, start, count) : bytes, kind, little, swapped ? 0 : start, count);
  const values = width === 4 && bits === 32 ? read : fitted(read, bits, isSigned);
  const byPixel = data.uint16(TAG.planar) === 1 && samples > 1 ? interleaved(values, samples) : values;
  return photometric === "YBR_FULL" ? toRgb(byPixel) : byPixel;
}

async function decompressed(
  data: DataSet,
  index: number,
  syntax: string,
  samples: number,
  photometric: string,
): Promise<Decoded> {
  const [rows, columns] = sizeOf(data) as [number, number];
  const frame = compressedFrame(data, index);
  const claimed = claimedSize(frame, syntax);
  if (claimed === undefined) throw new Refusal(UNDECODABLE);
  if (claimed > BEYOND * rows * columns * samples) {
    throw new Refusal("a compressed frame is far larger than the image that the header describes.");
  }
  const isJpeg = [JPEG_BASELINE, JPEG_EXTENDED].includes(syntax);
  if (isJpeg && photometric === "RGB" && !latin(frame.subarray(0, 512)).includes("Adobe")) {
    // Without the marker of Adobe, decoders take three samples for luminance and colour.
    throw new Refusal("a colour JPEG without the usual transformation of colours cannot be read here; convert it.");
  }
  let decoded: Decoded;
  try {
    if (syntax === RLE) decoded = decodeRle(frame, rows, columns, samples, data.uint16(TAG.allocated)! / 8);
    else if (JPEG_LS.includes(syntax)) decoded = await decodeJpegLs(frame);
    else if (JPEG_2000.includes(syntax)) decoded = await decodeJpeg2000(frame);
    else if (LOSSLESS.includes(syntax)) decoded = await decodeLosslessJpeg(frame);
    else decoded = await decodeJpeg(frame);
  } catch {
    throw new Refusal(UNDECODABLE);
  }
  if (decoded.rows !== rows || decoded.columns !== columns || decoded.samples !== samples) {
    throw new Error("the image is of another size than the header says");
  }
  return decoded;
}

/** The bytes of one compressed frame, whose fragments may or may not be listed in the file. */
function compressedFrame(data: DataSet, index: number): Uint8Array {
  const element = data.elements[TAG.pixels]!;
  const fragments = element.fragments ?? [];
  if (!fragments.length) throw new Error("a compressed image without fragments");
  const frames = numberOfFrames(data);
  if (frames === 1) {
    return dicomParser.readEncapsulatedPixelDataFromFragments(data, element, 0, fragments.length) as Uint8Array;
  }
  if (fragments.length === frames) {
    return dicomParser.readEncapsulatedPixelDataFromFragments(data, element, index, 1) as Uint8Array;
  }
  const listed = element.basicOffsetTable?.length ? element.basicOffsetTable : undefined;
  const table = listed ?? dicomParser.createJPEGBasicOffsetTable(data, element);
  return dicomParser.readEncapsulatedImageFrame(data, element, index, table) as Uint8Array;
}

/** Numbers that a compressed frame says it holds, if it does; of run lengths, what unpacking them takes at worst. */
function claimedSize(frame: Uint8Array, syntax: string): number | undefined {
  if (syntax === RLE) return Math.max(0, frame.length - 256) / 2;
  if (JPEG_2000.includes(syntax)) {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const at = frame.findIndex((byte, i) => byte === 0xff && frame[i + 1] === 0x51); // the marker SIZ
    if (at < 0 || at + 40 > frame.length) return undefined;
    const [right, bottom, left, top] = [6, 10, 14, 18].map((offset) => view.getUint32(at + offset));
    return (right! - left!) * (bottom! - top!) * view.getUint16(at + 38);
  }
  return sizeOfJpeg(frame)?.reduce((product, length) => product * length);
}

/** Values whose lowest `bits` bits count, signed or not. */
function fitted(values: ArrayLike<number>, bits: number, isSigned: boolean): Stored {
  const shift = 32 - bits;
  const fit = isSigned ? (x: number) => (x << shift) >> shift : (x: number) => (x << shift) >>> shift;
  return bits > 24 ? Float64Array.from(values, fit) : Float32Array.from(values, fit); // whichever holds them exactly
}

function unpackedBits(bytes: Uint8Array, start: number, from: number, count: number): Stored {
  return Uint8Array.from({ length: count }, (_, i) => (bytes[start + ((from + i) >> 3)]! >> ((from + i) & 7)) & 1);
}

function swappedPairs(bytes: Uint8Array, start: number, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => bytes[(start + i) ^ 1]!);
}

/** Planes of samples, one behind the other, with the samples of one pixel side by side. */
function interleaved(values: Stored, samples: number): Stored {
  const pixels = values.length / samples;
  return Float32Array.from(values, (_, i) => values[(i % samples) * pixels + Math.trunc(i / samples)]!);
}

/** Pairs of pixels that share their colour (Y Y B R), pixel by pixel. */
function upsampled(bytes: Uint8Array): Stored {
  const found = new Uint8Array((bytes.length / 4) * 6);
  for (let pair = 0; 4 * pair < bytes.length; pair++) {
    const [y, z, b, r] = bytes.subarray(4 * pair, 4 * pair + 4);
    found.set([y!, b!, r!, z!, b!, r!], 6 * pair);
  }
  return found;
}

/** YBR_FULL as RGB (PS3.3, C.7.6.3.1.2), rounded as pydicom rounds it. */
function toRgb(ybr: Stored): Stored {
  const found = new Uint8ClampedArray(ybr.length);
  for (let i = 0; i < ybr.length; i += 3) {
    const [y, b, r] = [ybr[i]!, ybr[i + 1]! - 128, ybr[i + 2]! - 128];
    found[i] = Math.floor(y + 1.402 * r + 0.5);
    found[i + 1] = Math.floor(y - ((0.114 * 1.772) / 0.587) * b - ((0.299 * 1.402) / 0.587) * r + 0.5);
    found[i + 2] = Math.floor(y + 1.772 * b + 0.5);
  }
  return found;
}

function throughPalette(stored: Stored, data: DataSet): Stored {
  const tables = TAG.palette.map((tag, i) => table(data, TAG.paletteDescriptor[i]!, tag));
  return Float32Array.from({ length: 3 * stored.length }, (_, i) => tables[i % 3]!(stored[Math.trunc(i / 3)]!));
}

/** A table of the header: what it makes of a stored value; values beyond its ends become those at the ends. */
function table(data: DataSet, descriptor: string, values: string): (value: number) => number {
  const element = data.elements[values];
  if (!element || !data.elements[descriptor]) throw new Refusal("a table of its colours or values is missing.");
  const entries = data.uint16(descriptor, 0) || 2 ** 16;
  const isSigned = data.uint16(TAG.signed) === 1;
  const first = isSigned ? data.int16(descriptor, 1)! : data.uint16(descriptor, 1)!;
  const wide = element.length >= 2 * entries;
  if (element.length < entries) throw new Error("a table is shorter than it says");
  const bytes = data.byteArray as Uint8Array;
  const at = (i: number) => (wide ? data.uint16(values, i)! : bytes[element.dataOffset + i]!);
  return (value) => at(Math.max(0, Math.min(entries - 1, value - first)));
}

function colours(rgb: Stored, rows: number, columns: number, colour: boolean): Frame {
  const told = { units: null, window: null };
  if (colour) return { ...told, pixels: Float32Array.from(rgb), shape: [rows, columns, 3], notes: [] };
  let isColoured = false;
  for (let i = 0; i < rgb.length && !isColoured; i += 3) isColoured = rgb[i] !== rgb[i + 1] || rgb[i] !== rgb[i + 2];
  const notes = isColoured ? ["Colour was turned to grey."] : [];
  return { ...told, pixels: toGrey(rgb), shape: [rows, columns], notes };
}

function greys(stored: Stored, data: DataSet, index: number, inverse: boolean, colour: boolean): Frame {
  const transformation = macro(data, index, TAG.transformation);
  const rescaled = [TAG.slope, TAG.intercept].every((tag) => transformation.elements[tag]);
  const rescale = modalityTransform(transformation, rescaled);
  let window = windowOf(macro(data, index, TAG.frameWindow));
  const notes: string[] = [];
  const code = modality(data);
  const unit = (transformation.string(TAG.rescaleType) || "HU").trim();
  const isHu = code === "CT" && rescaled && unit === "HU";
  if (code === "CT" && !isHu) notes.push("The file does not give Hounsfield units.");
  let pixels = Float32Array.from(stored, rescale);
  if (inverse && !isHu) {
    const [low, high] = storedRange(stored, data).map(rescale);
    const sum = low! + high!;
    pixels = Float32Array.from(stored, (value) => sum - rescale(value));
    if (window) window = [sum - window[1], sum - window[0]];
    notes.push("The file shows larger values darker (MONOCHROME1); they were inverted.");
  }
  const [rows, columns] = sizeOf(data) as [number, number];
  const units = isHu ? "HU" : null;
  if (!colour) return { pixels, shape: [rows, columns], units, window, notes };
  notes.push("A grey image was given as colour.");
  const grey = pixels;
  pixels = Float32Array.from({ length: 3 * grey.length }, (_, i) => grey[Math.trunc(i / 3)]!);
  return { pixels, shape: [rows, columns, 3], units, window, notes };
}

/** The modality's table, or its slope and intercept, computed with 64 bits. */
function modalityTransform(transformation: DataSet, rescaled: boolean): (value: number) => number {
  const item = transformation.elements[TAG.modalityTable]?.items?.[0]?.dataSet;
  if (item) return table(item, TAG.tableDescriptor, TAG.table);
  if (!rescaled) return (value) => value;
  const [slope] = decimals(transformation, TAG.slope);
  const [intercept] = decimals(transformation, TAG.intercept);
  if (slope === undefined || intercept === undefined) throw new Error("the rescaling is no number");
  return (value) => value * slope + intercept;
}

/** The lowest and highest value that can be stored; of fractions, those that are. */
function storedRange(stored: Stored, data: DataSet): number[] {
  if (pixelTag(data) !== TAG.pixels) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of stored) [low, high] = [Math.min(low, value), Math.max(high, value)];
    return [low, high];
  }
  const bits = data.uint16(TAG.stored)!;
  const low = data.uint16(TAG.signed) === 1 ? -(2 ** (bits - 1)) : 0;
  return [low, low + 2 ** bits - 1];
}

/** The ends of the first window, or of the table that maps values for display (PS3.3, C.11.2). */
function windowOf(voi: DataSet): [number, number] | null {
  const centres = decimals(voi, TAG.windowCentre);
  const widths = decimals(voi, TAG.windowWidth);
  let ends: [number, number] | null = null;
  if (centres.length && widths.length) {
    // The ends of a linear window are half a value inside.
    const inside = (voi.string(TAG.windowFunction)?.trim() || "LINEAR") === "LINEAR" ? 1 : 0;
    const [centre, width] = [centres[0]! - inside / 2, widths[0]! - inside];
    ends = [centre - width / 2, centre + width / 2];
  } else {
    const item = voi.elements[TAG.windowTable]?.items?.[0]?.dataSet;
    const entries = item?.uint16(TAG.tableDescriptor, 0);
    const first = item?.uint16(TAG.tableDescriptor, 1);
    if (entries !== undefined && first !== undefined) ends = [first, first + (entries || 2 ** 16) - 1];
  }
  return ends && ends.every(Number.isFinite) && ends[0] < ends[1] ? ends : null;
}

/** Where the attributes of a functional group stand for one frame: its own, the shared, or the data set itself. */
function macro(data: DataSet, index: number, sequence: string): DataSet {
  const own = data.elements[TAG.perFrame]?.items?.[index]?.dataSet;
  const shared = data.elements[TAG.shared]?.items?.[0]?.dataSet;
  for (const groups of [own, shared]) {
    const found = groups?.elements[sequence]?.items?.[0]?.dataSet;
    if (found) return found;
  }
  return data;
}

/** The numbers of an attribute that is written as decimal text; none if it is missing or no number. */
function decimals(data: DataSet, tag: string): number[] {
  const text = data.string(tag);
  if (!text) return [];
  const found = text.split("\\").map((part) => (part.trim() ? Number(part) : NaN));
  return found.some(Number.isNaN) ? [] : found;
}
