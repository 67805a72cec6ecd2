/** One frame of a DICOM file as grey values or colours: from its stored numbers to what they mean. */
import type { DataSet } from "dicom-parser";
import { toGrey } from "../numbers.ts";
import { Refusal } from "../refusal.ts";
import { TAG } from "./codes.ts";
import { decimals, macro, modality, pixelTag, sizeOf } from "./header.ts";
import { storedFrame, type Stored } from "./stored.ts";

const GREY = ["MONOCHROME1", "MONOCHROME2"];
const COLOUR = ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR"];

/**
 * One decoded frame, (rows, columns), or (rows, columns, 3) if colour was asked for.  mirror: what its values were taken
 * from, if larger was darker in the file.
 */
export interface Frame {
  readonly pixels: Float32Array<ArrayBuffer>;
  readonly shape: number[];
  readonly units: "HU" | null;
  readonly window: [number, number] | null;
  readonly notes: string[];
  readonly mirror: number | null;
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
  if (!isGrey) {
    const rgb = photometric === "PALETTE COLOR" ? throughPalette(stored, data) : eight(stored, data.uint16(TAG.stored)!);
    return colours(rgb, rows, columns, colour);
  }
  return greys(stored, data, index, photometric === "MONOCHROME1", colour);
}

function colours(rgb: Stored, rows: number, columns: number, colour: boolean): Frame {
  const unknown = { units: null, window: null, mirror: null };
  if (colour) return { ...unknown, pixels: Float32Array.from(rgb), shape: [rows, columns, 3], notes: [] };
  let isColoured = false;
  for (let i = 0; i < rgb.length && !isColoured; i += 3) isColoured = rgb[i] !== rgb[i + 1] || rgb[i] !== rgb[i + 2];
  const notes = isColoured ? ["Colour was turned to grey."] : [];
  return { ...unknown, pixels: toGrey(rgb), shape: [rows, columns], notes };
}

function throughPalette(stored: Stored, data: DataSet): Stored {
  const tables = TAG.palette.map((tag, i) => table(data, TAG.paletteDescriptor[i]!, tag, data));
  const rgb = Float32Array.from({ length: 3 * stored.length }, (_, i) => tables[i % 3]!(stored[Math.trunc(i / 3)]!));
  const [red, descriptor] = [data.elements[TAG.palette[0]!]!, TAG.paletteDescriptor[0]!];
  const wide = red.length >= 2 * (data.uint16(descriptor, 0) || 2 ** 16);
  return eight(rgb, Math.min(data.uint16(descriptor, 2)!, wide ? 16 : 8));
}

/** Of colours of so many bits the upper 8. */
function eight(rgb: Stored, bits: number): Stored {
  return bits > 8 ? Float32Array.from(rgb, (value) => Math.floor(value / 2 ** (bits - 8))) : rgb;
}

function greys(stored: Stored, data: DataSet, index: number, inverse: boolean, colour: boolean): Frame {
  const transformation = macro(data, index, TAG.transformation);
  const rescaled = [TAG.slope, TAG.intercept].every((tag) => decimals(transformation, tag).length);
  const rescale = modalityTransform(transformation, data);
  let window = windowOf(macro(data, index, TAG.frameWindow), data);
  const notes: string[] = [];
  const code = modality(data);
  const unit = (transformation.string(TAG.rescaleType) || "HU").trim();
  const isHu = code === "CT" && rescaled && unit === "HU";
  if (code === "CT" && !isHu) notes.push("The file does not give Hounsfield units.");
  let pixels = Float32Array.from(stored, rescale);
  let mirror: number | null = null;
  if (inverse && !isHu) {
    const [low, high] = storedRange(stored, data).map(rescale);
    const sum = low! + high!;
    mirror = sum;
    pixels = Float32Array.from(stored, (value) => sum - rescale(value));
    if (window) window = [sum - window[1], sum - window[0]];
    notes.push("The file shows larger values darker (MONOCHROME1); they were inverted.");
  }
  const [rows, columns] = sizeOf(data) as [number, number];
  const units = isHu ? "HU" : null;
  if (!colour) return { pixels, shape: [rows, columns], units, window, notes, mirror };
  notes.push("A grey image was given as colour.");
  const grey = pixels;
  pixels = Float32Array.from({ length: 3 * grey.length }, (_, i) => grey[Math.trunc(i / 3)]!);
  return { pixels, shape: [rows, columns, 3], units, window, notes, mirror };
}

/**
 * The modality's table, or its slope and intercept, computed with 64 bits; of a blank table nothing is left, of a blank
 * slope or intercept what changes nothing.
 */
function modalityTransform(transformation: DataSet, data: DataSet): (value: number) => number {
  const item = transformation.elements[TAG.modalityTable]?.items?.[0]?.dataSet;
  if (item && [TAG.tableDescriptor, TAG.table].every((tag) => item.elements[tag]?.length)) {
    return table(item, TAG.tableDescriptor, TAG.table, data);
  }
  const [slope, intercept] = [TAG.slope, TAG.intercept].map((tag) => {
    const [value] = decimals(transformation, tag);
    if (value === undefined && transformation.string(tag)) throw new Error("the rescaling is no number");
    return value;
  });
  if (slope === undefined && intercept === undefined) return (value) => value;
  return (value) => value * (slope ?? 1) + (intercept ?? 0);
}

/** The lowest stored value that a table is for.  whole: the file, whose pixels are signed as it is where it does not say. */
function firstOf(data: DataSet, descriptor: string, whole: DataSet): number | undefined {
  const { vr } = data.elements[descriptor]!;
  const isSigned = vr ? vr === "SS" : whole.uint16(TAG.signed) === 1;
  return isSigned ? data.int16(descriptor, 1) : data.uint16(descriptor, 1);
}

/** A table of the header: what it makes of a stored value; values beyond its ends become those at the ends. */
function table(data: DataSet, descriptor: string, values: string, whole: DataSet): (value: number) => number {
  const element = data.elements[values];
  if (!element || !data.elements[descriptor]) throw new Refusal("a table of its colours or values is missing.");
  const entries = data.uint16(descriptor, 0) || 2 ** 16;
  const first = firstOf(data, descriptor, whole)!;
  const wide = element.length >= 2 * entries;
  if (element.length < entries) throw new Error("a table is shorter than it says");
  const bytes = data.byteArray as Uint8Array;
  const at = (i: number) => (wide ? data.uint16(values, i)! : bytes[element.dataOffset + i]!);
  return (value) => at(Math.max(0, Math.min(entries - 1, value - first)));
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
function windowOf(voi: DataSet, data: DataSet): [number, number] | null {
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
    const first = item?.elements[TAG.tableDescriptor] && firstOf(item, TAG.tableDescriptor, data);
    if (entries !== undefined && first !== undefined) ends = [first, first + (entries || 2 ** 16) - 1];
  }
  return ends && ends.every(Number.isFinite) && ends[0] < ends[1] ? ends : null;
}
