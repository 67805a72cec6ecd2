/** The stored numbers of one frame of a DICOM file, unpacked and decoded, before any meaning of theirs. */
import dicomParser, { type DataSet } from "dicom-parser";
import { decodeJpeg, decodeJpeg2000, decodeJpegLs, decodeLosslessJpeg, decodeRle, sizeOfJpeg, type Decoded } from "../codecs.ts";
import { joined } from "../bytes.ts";
import { latin } from "../kinds.ts";
import { numbersAt, type NumberKind } from "../numbers.ts";
import { Refusal } from "../refusal.ts";
import { BIG_ENDIAN, JPEG, JPEG_2000, JPEG_LS, LOSSLESS_JPEG, NATIVE, RLE, TAG } from "./codes.ts";
import { numberOfFrames, pixelTag, sizeOf, syntaxOf } from "./header.ts";

/** How many times as much as its image a compressed frame may claim. */
const BEYOND = 4;
const UNDECODABLE =
  "the pixels cannot be decoded; the file may be damaged, or of a variant such as 12-bit JPEG that no decoder here knows.";

export type Stored = ArrayLike<number> & Iterable<number>;

/** The numbers of one frame, samples of one pixel side by side, signed or not as the header says. */
export async function storedFrame(data: DataSet, index: number, samples: number, photometric: string): Promise<Stored> {
  checkNumber(data, samples, photometric);
  const isInteger = pixelTag(data) === TAG.pixels;
  if (isInteger && !describesPixels(data, samples)) throw new Error("the header describes no pixels");
  if (isInteger && !NATIVE.includes(syntaxOf(data))) return fromCompressed(data, index, samples, photometric);
  return fromNative(data, index, samples, photometric);
}

/** Throw a Refusal if there are more frames among the pixels than the header says. */
function checkNumber(data: DataSet, samples: number, photometric: string): void {
  const [tag, told] = [pixelTag(data)!, numberOfFrames(data)];
  const { fragments, length } = data.elements[tag]!;
  const found = fragments ? compressedFrames(data) : Math.floor(length / frameBytes(data, samples, photometric));
  if (found > told && (fragments || [1, 8, 16, 32, 64].includes(allocatedBits(data)))) {
    throw new Refusal(
      `its pixels are those of ${found} images, and its header speaks of ${told} (Number of Frames); which one is meant ` +
        "is unknown.",
    );
  }
}

/** How many frames the fragments hold at least: each of run lengths, others where a new image begins. */
function compressedFrames(data: DataSet): number {
  const { fragments = [], basicOffsetTable = [] } = data.elements[TAG.pixels]!;
  const bytes = data.byteArray as Uint8Array;
  const starts = fragments.filter(({ position }) =>
    syntaxOf(data) === RLE || (bytes[position] === 0xff && [0xd8, 0x4f].includes(bytes[position + 1]!)),
  );
  return Math.max(basicOffsetTable.length, starts.length);
}

function allocatedBits(data: DataSet): number {
  const tag = pixelTag(data);
  return tag === TAG.pixels ? data.uint16(TAG.allocated)! : tag === TAG.floatPixels ? 32 : 64;
}

function frameBytes(data: DataSet, samples: number, photometric: string): number {
  const [rows, columns] = sizeOf(data) as [number, number];
  const subsampled = pixelTag(data) === TAG.pixels && photometric === "YBR_FULL_422";
  return (rows * columns * samples * allocatedBits(data) * (subsampled ? 2 / 3 : 1)) / 8;
}

function describesPixels(data: DataSet, samples: number): boolean {
  const bits = data.uint16(TAG.stored)!;
  const isSigned = data.uint16(TAG.signed)!;
  return bits >= 1 && bits <= data.uint16(TAG.allocated)! && [1, 3].includes(samples) && [0, 1].includes(isSigned);
}

function fromNative(data: DataSet, index: number, samples: number, photometric: string): Stored {
  const tag = pixelTag(data)!;
  const element = data.elements[tag]!;
  const bytes = data.byteArray as Uint8Array;
  const little = syntaxOf(data) !== BIG_ENDIAN;
  const isInteger = tag === TAG.pixels;
  const allocated = allocatedBits(data);
  const [rows, columns] = sizeOf(data) as [number, number];
  const count = rows * columns * samples;
  const subsampled = isInteger && photometric === "YBR_FULL_422";
  const size = frameBytes(data, samples, photometric);
  const ends = element.dataOffset + element.length > bytes.length || (index + 1) * size > element.length;
  if (ends) throw new Error("the file ends before its pixels");
  const start = element.dataOffset + index * size;
  if (!isInteger) return numbersAt(bytes, allocated === 32 ? "f4" : "f8", little, start, count);
  if (allocated === 1) return unpackedBits(bytes, element.dataOffset, index * count, count);
  checkAllocated(allocated);
  if (subsampled) return toRgb(upsampled(bytes.subarray(start, start + size)));
  const width = allocated / 8;
  // 8 bits in words of 16 (OW) stand in reverse in a big-endian file.
  const swapped = !little && width === 1 && element.vr === "OW";
  const isSigned = data.uint16(TAG.signed) === 1;
  const kind = `${isSigned ? "i" : "u"}${width}` as NumberKind;
  const read = numbersAt(swapped ? swappedPairs(bytes, start, count) : bytes, kind, little, swapped ? 0 : start, count);
  const bits = data.uint16(TAG.stored)!;
  const values = bits === 32 ? read : fitted(read, bits, isSigned);
  const byPixel = data.uint16(TAG.planar) === 1 && samples > 1 ? interleaved(values, samples) : values;
  return photometric === "YBR_FULL" ? toRgb(byPixel) : byPixel;
}

async function fromCompressed(data: DataSet, index: number, samples: number, photometric: string): Promise<Stored> {
  const syntax = syntaxOf(data);
  checkAllocated(data.uint16(TAG.allocated)!);
  const decoded = await decompressed(data, index, syntax, samples, photometric);
  const bits = [...JPEG_LS, ...JPEG_2000].includes(syntax) ? decoded.bits : data.uint16(TAG.stored)!;
  const values = fitted(decoded.values, bits, data.uint16(TAG.signed) === 1);
  const inRgb = JPEG.includes(syntax); // the decoder's own doing, as is that of JPEG 2000 where it is not YBR_FULL
  return photometric.startsWith("YBR_FULL") && !inRgb ? toRgb(values) : values;
}

function checkAllocated(bits: number): void {
  if (![8, 16, 32].includes(bits)) throw new Refusal(`pixels of ${bits} bits cannot be read here; convert it.`);
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
  const isJpeg = JPEG.includes(syntax);
  if (isJpeg && photometric === "RGB" && !latin(frame.subarray(0, 512)).includes("Adobe")) {
    // Without the marker of Adobe, decoders take three samples for luminance and colour.
    throw new Refusal("a colour JPEG without the usual transformation of colours cannot be read here; convert it.");
  }
  let decoded: Decoded;
  try {
    if (syntax === RLE) decoded = decodeRle(frame, rows, columns, samples, data.uint16(TAG.allocated)! / 8);
    else if (JPEG_LS.includes(syntax)) decoded = await decodeJpegLs(frame).catch(() => decodeJpegLs(withoutStrayBytes(frame)));
    else if (JPEG_2000.includes(syntax)) decoded = await decodeJpeg2000(frame);
    else if (LOSSLESS_JPEG.includes(syntax)) decoded = await decodeLosslessJpeg(frame);
    else decoded = await decodeJpeg(frame);
  } catch {
    throw new Refusal(UNDECODABLE);
  }
  if (decoded.rows !== rows || decoded.columns !== columns || decoded.samples !== samples) {
    throw new Error("the image is of another size than the header says");
  }
  return decoded;
}

/** A JPEG-LS frame without bytes of zero in front of its end marker, which some writers leave there. */
function withoutStrayBytes(frame: Uint8Array): Uint8Array {
  let marker = frame.length - 2;
  while (marker > 0 && !(frame[marker] === 0xff && frame[marker + 1] === 0xd9)) marker--;
  let end = marker;
  while (end > 0 && frame[end - 1] === 0) end--;
  return joined([frame.subarray(0, end), frame.subarray(marker, marker + 2)]);
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
