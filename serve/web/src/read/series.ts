/** Reading DICOM scans of one or many frames and files, as `imaging.formats.series`. */
import { bytesOf } from "./bytes.ts";
import type { DataSet } from "dicom-parser";
import { checkFile, checkPixels, checkSlices } from "./budget.ts";
import { decode, type Frame } from "./dicom/frame.ts";
import * as dicom from "./dicom/header.ts";
import { arrange, toLps, type Plane } from "./geometry.ts";
import { reading, Refusal } from "./refusal.ts";
import { itemNumber, scanOf, type Scan } from "./scan.ts";
import { beside, damaged, leftOut } from "./strays.ts";

/** One file that was dropped. */
export interface Member {
  readonly name: string;
  readonly file: Blob;
}

interface Image {
  readonly name: string;
  readonly data: DataSet;
}

interface Slice {
  readonly plane: Plane | null;
  readonly modality: string | null;
  readonly decode: () => Promise<Frame>;
}

/**
 * An image or, from a file of several frames that lie in the patient, a volume; `selection` names one frame, counted from
 * 0 as stored.
 */
export async function readDicom(file: Blob, name: string, selection: string, colour: boolean): Promise<Scan> {
  return readData(dicom.parse(await bytesOf(file)), name, selection, colour);
}

async function readData(data: DataSet, name: string, selection: string, colour: boolean): Promise<Scan> {
  dicom.check(data);
  const frames = dicom.numberOfFrames(data);
  if (frames === 1 && selection) throw new Refusal(`this is one image, there is no item '${selection}'.`);
  const wanted = selection ? itemNumber(selection, frames) : null;
  if (frames === 1 || wanted !== null) return image(data, wanted ?? 0, colour);
  const slices = Array.from({ length: frames }, (_, i) => sliceOf(data, i, `frame ${i}`));
  if (slices.some((slice) => slice.plane === null)) {
    throw new Refusal(
      `an image of ${frames} frames that do not say where they lie; name one of them, as in ${name}#0.`,
    );
  }
  return volume(slices);
}

/**
 * The one DICOM series among files, or series `selection`; null if none of them is an image.  others: the other files that
 * were given.
 */
export async function readOnlySeries(
  members: readonly Member[],
  others: readonly Member[],
  name: string,
  selection: string,
  colour: boolean,
): Promise<Scan | null> {
  checkFile(members.reduce((sum, { file }) => sum + file.size, 0));
  const series = new Map<string, Image[]>();
  const broken: { name: string; error: unknown }[] = [];
  const reports: Member[] = [];
  let size = 0;
  for (const member of members) {
    try {
      const data = await reading(member.name, "DICOM", async () => parsed(member));
      size += data.byteArray.length; // after unpacking, where a file is deflated
      checkFile(size);
      if (dicom.sizeOf(data).includes(undefined)) {
        reports.push(member);
        continue;
      }
      const key = dicom.seriesOf(data);
      if (!series.has(key)) series.set(key, []);
      series.get(key)!.push({ name: member.name, data });
    } catch (error) {
      if (!selection) throw error;
      broken.push({ name: member.name, error });
    }
  }
  if (!series.size) return null;
  const sorted = [...series.values()].sort(inOrder);
  if (sorted.length > 1 && !selection) {
    const found = sorted.map((images, i) => `#${i} ${describe(images)}`).join("; ");
    throw new Refusal(`${sorted.length} series: ${found}; name one, as in ${name}#0.`);
  }
  const images = sorted[itemNumber(selection || "0", sorted.length)]!;
  const [unread] = beside(images, broken);
  const error = unread?.error ?? (await damaged(images, beside(images, others)));
  if (error) throw error;
  const scan = await readSeries(images, colour);
  return { ...scan, notes: [...scan.notes, ...leftOut(beside(images, [...reports, ...others]))] };
}

/** The elements of a file that is an image, or is none by its own words; all others may be damaged. */
async function parsed({ file }: Member): Promise<DataSet> {
  const data = dicom.parse(await bytesOf(file));
  if (dicom.sizeOf(data).includes(undefined) && !dicom.isSomethingElse(data)) {
    throw new Refusal("this DICOM file holds no image; it may be damaged: give a whole copy, or take it away.");
  }
  return data;
}

async function readSeries(images: readonly Image[], colour: boolean): Promise<Scan> {
  if (images.length === 1) {
    const [only] = images;
    return reading(only!.name, "DICOM", () => readData(only!.data, only!.name, "", colour));
  }
  checkSlices(images.length);
  checkPixels(images.reduce((sum, { data }) => sum + dicom.sizeOf(data)[0]! * dicom.sizeOf(data)[1]!, 0));
  const names = new Map<string, string>();
  const slices: Slice[] = [];
  for (const { name, data } of images) {
    await reading(name, "DICOM", () => dicom.check(data));
    const slice = sliceOf(data, 0, name);
    if (slice.plane === null) {
      throw new Refusal(
        `slices without position: ${name} does not say in numbers where it lies; give one file alone.`,
      );
    }
    const own = dicom.instanceOf(data) ?? name;
    if (names.has(own)) {
      throw new Refusal(`copied slices: ${names.get(own)} and ${name} are the same image; take one of them away.`);
    }
    names.set(own, name);
    slices.push({ ...slice, decode: () => reading(name, "DICOM", slice.decode) });
  }
  return volume(slices);
}

/** Series whose files all lie in subfolders come last; then by their numbers, then by the first file's name. */
function inOrder(one: readonly Image[], other: readonly Image[]): number {
  const deep = (images: readonly Image[]) => Number(images.every(({ name }) => name.includes("/")));
  const number = (images: readonly Image[]) => dicom.seriesNumber(images[0]!.data);
  const names = one[0]!.name < other[0]!.name ? -1 : 1;
  return deep(one) - deep(other) || number(one) - number(other) || names;
}

function describe(images: readonly Image[]): string {
  const { data } = images[0]!;
  const number = Math.max(images.length, dicom.numberOfFrames(data));
  const what = number === 1 ? "image" : "images";
  return `${dicom.modality(data) ?? "unknown"}, ${number} ${what} of ${dicom.sizeOf(data).join(" x ")}`;
}

async function image(data: DataSet, at: number, colour: boolean): Promise<Scan> {
  const { pixels, shape, units, window, notes } = await decode(data, at, colour);
  const told = { spacing: dicom.spacing(data, at), modality: dicom.modality(data), units, window, notes };
  return scanOf(pixels, shape, told);
}

function sliceOf(data: DataSet, at: number, name: string): Slice {
  return {
    plane: dicom.plane(data, at, name),
    modality: dicom.modality(data),
    decode: () => decode(data, at, false),
  };
}

async function volume(slices: readonly Slice[]): Promise<Scan> {
  const planes = slices.map((slice) => slice.plane!);
  const { order, affine } = arrange(planes);
  const [rows, columns] = planes[0]!.size;
  const stack = new Float32Array(slices.length * rows * columns);
  const frames: Frame[] = [];
  for (const [at, i] of order.entries()) {
    const frame = await slices[i]!.decode();
    if (frame.pixels.length !== rows * columns) {
      throw new Refusal(`mixed slices: ${planes[i]!.name} is not of the size that it says.`);
    }
    stack.set(frame.pixels, at * rows * columns);
    frames.push(frame);
    if (frame.units !== frames[0]!.units || slices[i]!.modality !== slices[0]!.modality) {
      throw new Refusal(
        `mixed slices: ${planes[0]!.name} and ${planes[i]!.name} differ in modality or units.`,
      );
    }
  }
  // Each slice was inverted within its own range, as rescaled; within the widest one, equal tissue is equal.
  const widest = Math.max(...frames.map(({ mirror }) => mirror ?? -Infinity));
  const shifts = frames.map(({ mirror }) => (mirror === null ? 0 : widest - mirror));
  for (const [at, shift] of shifts.entries()) {
    if (shift) for (let i = at * rows * columns; i < (at + 1) * rows * columns; i++) stack[i]! += shift;
  }
  const middle = Math.floor(frames.length / 2);
  const window = frames[middle]!.window?.map((end) => end + shifts[middle]!) as [number, number] | undefined;
  const turned = toLps(stack, [slices.length, rows, columns], affine, false);
  const notes = new Set(frames.flatMap((frame) => frame.notes));
  return scanOf(turned.pixels, turned.shape, {
    spacing: turned.spacing,
    modality: slices[0]!.modality,
    units: frames[0]!.units,
    window: window ?? null,
    oriented: true,
    notes: [...notes, ...turned.notes],
  });
}
