/**
 * Reading NIfTI-1 and NIfTI-2 volumes, packed or not, as `imaging.formats.nifti` does with nibabel.  The header is read here and
 * not by a library because nibabel's rules need both of its matrices, of which npm's reader keeps one.
 */
import { bytesOf, joined } from "./bytes.ts";
import { checkInflated, checkPixels } from "./budget.ts";
import { checkStraight, nearestAxes, toLps, type Matrix } from "./geometry.ts";
import { isNifti, latin } from "./kinds.ts";
import { numbersAt, toGrey, widthOf, type NumberKind } from "./numbers.ts";
import { Refusal } from "./refusal.ts";
import { itemNumber, product, scanOf, type Scan } from "./scan.ts";

/** Bytes that may stand in front of the voxels, as extensions of the header, or behind them. */
const BESIDE = 16 * 2 ** 20;
const MILLIMETRES: Record<number, number> = { 1: 1000, 3: 0.001 };
const KINDS: Record<number, NumberKind> = {
  2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
};
/** Colours: numbers of 8 bits each. */
const COLOURS: Record<number, number> = { 128: 3, 2304: 4 };

interface Header {
  readonly magic: string;
  readonly little: boolean;
  readonly shape: number[];
  readonly pixdim: number[];
  readonly datatype: number;
  readonly intent: number;
  readonly offset: number;
  readonly slope: number;
  readonly inter: number;
  readonly window: [number, number];
  readonly units: number;
  readonly qform: number;
  readonly sform: number;
  readonly quaternion: number[];
  readonly qoffset: number[];
  readonly rows: number[][];
}

/** Where the fields stand: NIfTI-1 (348 bytes) and NIfTI-2 (540 bytes) hold the same ones in different places. */
const LAYOUTS = {
  1: { dim: 40, pixdim: 76, type: 70, intent: 68, offset: 108, slope: 112, cal: 124, units: 123, form: 252, quatern: 256, rows: 280 },
  2: { dim: 16, pixdim: 104, type: 12, intent: 504, offset: 168, slope: 176, cal: 192, units: 500, form: 344, quatern: 352, rows: 400 },
} as const;

/** A volume from a NIfTI file, or volume `selection` of a 4D one, turned to the convention of `Scan`. */
export async function readNifti(file: Blob, name: string, selection: string): Promise<Scan> {
  const packed = (await bytesOf(file.slice(0, 2))).join() === "31,139";
  let header: Header | undefined;
  const judge = (start: Uint8Array): number => {
    header = headerOf(start);
    check(header, name, selection, packed ? file.size : null);
    return header.offset + product(header.shape) * widthOfType(header.datatype);
  };
  const bytes = packed ? await unpacked(file, judge) : await bytesOf(file);
  if (!packed) judge(bytes);
  if (!header) throw new Error("no NIfTI header");
  return volume(bytes, header, volumeOf(header, name, selection));
}

function headerOf(start: Uint8Array): Header {
  if (start.length < 348 || !isNifti(start)) throw new Error("no NIfTI header");
  const second = ["n+2\0", "ni2\0"].includes(latin(start.subarray(4, 8)));
  if (second && start.length < 540) throw new Error("no NIfTI header");
  const at = LAYOUTS[second ? 2 : 1];
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  // By the number of axes, and where that is 0 by the size of the header; as nibabel does, which mends the latter.
  const told = second ? Number(view.getBigInt64(at.dim, true)) : view.getInt16(at.dim, true);
  const little = told === 0 ? view.getInt32(0, false) !== (second ? 540 : 348) : told >= 1 && told <= 7;
  const short = (where: number) => view.getInt16(where, little);
  // What is 16 or 32 bits wide in NIfTI-1 is 64 in NIfTI-2.
  const whole = (where: number) => (second ? Number(view.getBigInt64(where, little)) : short(where));
  const real = (where: number) => (second ? view.getFloat64(where, little) : view.getFloat32(where, little));
  const code = (where: number) => (second ? view.getInt32(where, little) : short(where));
  const form = (where: number) => (code(where) >= 0 && code(where) <= 5 ? code(where) : 0); // others say nothing
  const wide = second ? 8 : 4;
  const reals = (where: number, count: number) => Array.from({ length: count }, (_, i) => real(where + i * wide));
  const length = (axis: number) => whole(at.dim + (axis + 1) * (second ? 8 : 2));
  let axes = Math.max(0, Math.min(7, whole(at.dim)));
  while (axes > 4 && length(axes - 1) === 1) axes--; // behind those of space and time
  return {
    magic: latin(second ? start.subarray(4, 8) : start.subarray(344, 348)),
    little,
    shape: Array.from({ length: axes }, (_, axis) => length(axis)),
    // Nor does a length that is none; the first of these numbers is a sign.
    pixdim: reals(at.pixdim, 4).map((length, i) => (i === 0 ? length : length === 0 ? 1 : Math.abs(length))),
    datatype: short(at.type),
    intent: code(at.intent),
    offset: second ? Number(view.getBigInt64(at.offset, little)) : Math.trunc(real(at.offset)),
    slope: real(at.slope),
    inter: real(at.slope + wide),
    window: [real(at.cal + wide), real(at.cal)],
    units: unitOf(second ? view.getInt32(at.units, little) : view.getUint8(at.units)),
    qform: form(at.form),
    sform: form(at.form + (second ? 4 : 2)),
    quaternion: reals(at.quatern, 3),
    qoffset: reals(at.quatern + 3 * wide, 3),
    rows: [0, 1, 2].map((row) => reals(at.rows + row * 4 * wide, 4)),
  };
}

/** The unit of lengths, from both that of lengths and that of time. */
function unitOf(both: number): number {
  const lengths = ((both % 8) + 8) % 8;
  if (lengths > 3 || ![0, 8, 16, 24, 32, 40, 48].includes(both - lengths)) throw new Error("units that are none");
  return lengths;
}

/** Judge the header alone, before any voxel is read.  packed: bytes of the packed file, null if it is not packed. */
function check(header: Header, name: string, selection: string, packed: number | null): void {
  const { shape, datatype } = header;
  if (!header.magic.includes("+")) {
    throw new Refusal("the header of a pair .hdr and .img without its pixels; save it as one .nii file.");
  }
  if (header.intent >= 3000 && header.intent < 3100) {
    throw new Refusal("a CIFTI file, which holds a surface or a matrix; volumes can be read.");
  }
  if (!(datatype in KINDS) && !(datatype in COLOURS)) {
    throw new Refusal(`pixels are numbers that a browser can read, this image is of data type ${datatype}.`);
  }
  if (shape.some((axis) => axis < 0)) throw new Error("the header gives a negative size");
  if (volumeOf(header, name, selection) === null && shape.length !== 3) {
    throw new Refusal(`a volume has 3 axes, this image has ${shape.length}.`);
  }
  checkPixels(product(shape.slice(0, 3)));
  if (packed !== null) checkInflated(header.offset + product(shape) * widthOfType(datatype), packed);
  if (!Number.isFinite(header.offset)) throw new Error("the header does not say where the voxels begin");
  if (header.offset > BESIDE) {
    throw new Refusal("the voxels begin far behind the header; save the file without its extensions.");
  }
  const least = (header.magic[2] === "2" ? 540 : 348) + 4;
  if (header.offset < least) {
    throw new Refusal(
      `the voxels begin within the header (vox_offset ${header.offset}, less than ${least}), so which bytes they are is ` +
        "unknown; save the file again.",
    );
  }
}

/** Which volume of a 4D image is asked for; null for other images. */
function volumeOf({ shape }: Header, name: string, selection: string): number | null {
  if (shape.length === 4) {
    if (!selection && shape[3]! > 1) {
      throw new Refusal(`a 4D image of ${shape[3]} volumes; name one of them, as in ${name}#0.`);
    }
    return itemNumber(selection || "0", shape[3]!);
  }
  if (selection) throw new Refusal(`this image is one volume, there is no item '${selection}'.`);
  return null;
}

function widthOfType(datatype: number): number {
  return COLOURS[datatype] ?? widthOf(KINDS[datatype]!);
}

/**
 * Unpack a gzip file, whose checksum the browser compares; `judge` sees the header before the rest is unpacked, and says
 * where the voxels end.
 */
async function unpacked(file: Blob, judge: (start: Uint8Array) => number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  let end: number | undefined;
  const reader = file.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(toldOfMore);
    if (done) break;
    pieces.push(value);
    size += value.length;
    checkInflated(size, file.size);
    if (size >= 540) end ??= judge(joined(pieces));
    if (end !== undefined && size > end + BESIDE) {
      await reader.cancel();
      throw new Refusal("the file goes on for long after its last voxel; save it again.");
    }
  }
  const whole = joined(pieces);
  if (end === undefined) judge(whole);
  return whole;
}

/** Browsers have no code for it: Chromium and Firefox tell of junk, Safari of extra bytes. */
function toldOfMore(error: unknown): never {
  if (!/junk|trailing|extra|unexpected input after/i.test(String(error))) throw error;
  throw new Refusal(
    "behind the end of what gzip packed there are more bytes, so the file may be two that were joined; unpack it and save " +
      "it again.",
  );
}

function volume(bytes: Uint8Array, header: Header, item: number | null): Scan {
  const shape = header.shape.slice(0, 3);
  const count = product(shape);
  const start = header.offset + (item ?? 0) * count * widthOfType(header.datatype);
  const notes: string[] = [];
  let values: ArrayLike<number>;
  const colours = COLOURS[header.datatype];
  if (colours) {
    if (start + count * colours > bytes.length) throw new Error("the file ends before its voxels");
    const rgb = Uint8Array.from({ length: 3 * count }, (_, i) => bytes[start + Math.trunc(i / 3) * colours + (i % 3)]!);
    values = toGrey(rgb);
    notes.push("Colour was turned to grey.");
  } else {
    const kind = KINDS[header.datatype]!;
    if (start + count * widthOf(kind) > bytes.length) throw new Error("the file ends before its voxels");
    values = scaled(numbersAt(bytes, kind, header.little, start, count), header);
  }
  const { affine, oriented, doubts } = affineOf(header);
  checkStraight(affine, shape);
  const turned = toLps(values, shape, affine, true);
  const [low, high] = header.window;
  return scanOf(turned.pixels, turned.shape, {
    spacing: turned.spacing,
    window: -Infinity < low && low < high && high < Infinity ? [low, high] : null,
    oriented,
    notes: [...notes, ...doubts, ...turned.notes],
  });
}

/** The header's own rescaling, with 64 bits; a slope of 0 means none. */
function scaled(stored: Float32Array | Float64Array, { slope, inter }: Header): ArrayLike<number> {
  if (slope === 0 || !Number.isFinite(slope)) return stored;
  if (!Number.isFinite(inter)) throw new Error("a valid slope, but no valid intercept");
  if (slope === 1 && inter === 0) return stored;
  return Float64Array.from(stored, (value) => value * slope + inter);
}

/** The matrix to LPS millimetres that nibabel prefers, whether it says how the patient lies, and doubts about it. */
function affineOf(header: Header): { affine: Matrix; oriented: boolean; doubts: string[] } {
  const [sform, qform] = [header.sform > 0, header.qform > 0];
  const ras = sform ? header.rows : qform ? qformOf(header) : plain(header);
  const mm = MILLIMETRES[header.units] ?? 1;
  const affine = [
    ras[0]!.map((x) => -x * mm),
    ras[1]!.map((x) => -x * mm),
    ras[2]!.map((x) => x * mm),
    [0, 0, 0, 1],
  ];
  if (!sform && !qform) {
    const doubt = "The file does not say how the patient lies; the usual order of its axes was assumed.";
    return { affine, oriented: false, doubts: [doubt] };
  }
  if (sform && qform && isImpossible(header)) {
    return { affine, oriented: true, doubts: ["The rotation of the file's qform is impossible; the sform was used."] };
  }
  if (sform && qform && sides(header.rows) !== sides(qformOf(header))) {
    const doubt = "The file says in two ways how the patient lies, and they disagree; the sform was used.";
    return { affine, oriented: false, doubts: [doubt] };
  }
  return { affine, oriented: true, doubts: [] };
}

function isImpossible({ quaternion: [b, c, d] }: Header): boolean {
  return 1 - (b! * b! + c! * c! + d! * d!) < -3 * 2 ** -23;
}

/** The rotation of a unit quaternion whose real part is not stored, times the spacing; as nibabel computes it. */
function qformOf(header: Header): Matrix {
  if (isImpossible(header)) throw new Error("the quaternion of the header is longer than 1");
  const { quaternion: [b, c, d], qoffset, pixdim } = header;
  const a = Math.sqrt(Math.max(0, 1 - (b! * b! + c! * c! + d! * d!)));
  const length = a * a + b! * b! + c! * c! + d! * d!;
  const s = 2 / length;
  const rotation = [
    [1 - s * (c! * c! + d! * d!), s * (b! * c! - a * d!), s * (b! * d! + a * c!)],
    [s * (b! * c! + a * d!), 1 - s * (b! * b! + d! * d!), s * (c! * d! - a * b!)],
    [s * (b! * d! - a * c!), s * (c! * d! + a * b!), 1 - s * (b! * b! + c! * c!)],
  ];
  const sign = pixdim[0] === -1 ? -1 : 1;
  const zooms = [pixdim[1]!, pixdim[2]!, sign * pixdim[3]!];
  return rotation.map((row, i) => [...row.map((x, j) => x * zooms[j]!), qoffset[i]!]);
}

/** Without a matrix: the spacing, columns from right to left in the file's own order. */
function plain({ pixdim, shape }: Header): Matrix {
  const zooms = [-pixdim[1]!, pixdim[2]!, pixdim[3]!];
  return zooms.map((zoom, i) => [0, 1, 2, 3].map((j) => (j === i ? zoom : j === 3 ? (-(shape[i]! - 1) / 2) * zoom : 0)));
}

function sides(matrix: Matrix): string {
  const columns = [0, 1, 2].map((axis) => matrix.map((row) => row[axis]!));
  const units = columns.map((column) => column.map((x) => x / Math.hypot(...column)));
  return JSON.stringify(nearestAxes(units));
}
