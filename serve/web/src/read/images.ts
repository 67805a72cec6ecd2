/** Reading PNG and JPEG images of 8 and 16 bits, with the numbers that `imaging.formats.images` gets from Pillow. */
import { bytesOf, joined } from "./bytes.ts";
import { convertIndexedToRgb, decode as decodePng } from "fast-png";
import { checkInflated, checkPixels } from "./budget.ts";
import { decodeJpeg, sizeOfJpeg } from "./codecs.ts";
import { latin } from "./kinds.ts";
import { Refusal } from "./refusal.ts";
import { scanOf, type Scan } from "./scan.ts";

/** Bits that detectors count with; as part of 16 bits, such an image is nearly black. */
const DETECTOR = 12;

/** An image as it is stored: samples side by side, all of them 0 to 255, or of `deep` grey images 0 to 65,535. */
interface Picture {
  readonly rows: number;
  readonly columns: number;
  readonly samples: number;
  readonly deep: boolean;
  readonly values: Uint8Array | Uint8ClampedArray | Uint16Array;
  readonly notes: readonly string[];
}

/** A scan from an image.  Deep grey images keep their numbers, colour becomes luminance with a note. */
export async function readImage(file: Blob, selection: string, colour: boolean): Promise<Scan> {
  const bytes = await bytesOf(file);
  if (selection) throw new Refusal(`this is one image, there is no item '${selection}'.`);
  const start = latin(bytes.subarray(0, 8));
  if (start.startsWith("\xff\xd8\xff")) return scanFrom(upright(await jpeg(bytes), orientation(bytes)), colour);
  if (start === "\x89PNG\r\n\x1a\n") return scanFrom(await png(bytes), colour);
  throw new Refusal("of images, this page reads PNG and JPEG; `liquidlens predict` reads TIFF and BMP as well.");
}

async function png(bytes: Uint8Array<ArrayBuffer>): Promise<Picture> {
  const chunks = neededChunks(bytes);
  if (latin(bytes.subarray(0, 2 ** 16)).includes("acTL")) {
    throw new Refusal("an image of several pages; save the one that is meant as an image of its own.");
  }
  const isFirst = latin(bytes.subarray(8, 16)) === "\0\0\0\rIHDR";
  if (!isFirst || chunks.filter(({ type }) => type === "IHDR").length !== 1) throw new Error("it has no one header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [columns, rows, bits, kind, interlaced] = [
    view.getUint32(16), view.getUint32(20), bytes[24]!, bytes[25]!, bytes[28] === 1,
  ];
  const bands = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[kind] ?? 1;
  checkPixels(rows * columns);
  checkInflated(rows * columns * bands, bytes.length);
  if (interlaced && bits < 8) throw new Refusal("an interlaced PNG of few grey values; save it without interlacing.");
  // Of each pass, a byte in front of every row; interlaced images have seven of them.
  const size = rows * (Math.ceil((columns * bits * bands) / 8) + 1) * (interlaced ? 2 : 1) + 64;
  await checkUnpacked(chunks.filter(({ type }) => type === "IDAT").map(({ content }) => content), size);
  const found = decodePng(joined([bytes.subarray(0, 8), ...chunks.map(({ whole }) => whole)]), { checkCrc: true });
  if (found.width !== columns || found.height !== rows) throw new Error("the image is of another size than its header says");
  const area = { rows, columns };
  if (found.palette) {
    const values = convertIndexedToRgb(found);
    const samples = found.palette[0]!.length;
    return withoutAlpha({ ...area, samples, deep: false, values, notes: [] });
  }
  const { channels: samples, transparency } = found;
  if (bits === 16 && samples === 1) return { ...area, samples, deep: true, values: found.data, notes: [] };
  if (bits === 16 && samples === 2) return deepWithAlpha(area, found.data);
  const values = bits < 8 ? spread(found.data, bits, rows, columns) : found.data;
  const hidden = transparency && isHidden(values, samples, bits < 8 ? transparency.map((x) => (x * 255) / (2 ** bits - 1)) : transparency);
  const eight = bits === 16 ? Uint8Array.from(values, (value) => value >> 8) : values;
  const notes = hidden ? ["Transparency was ignored."] : [];
  return withoutAlpha({ ...area, samples, deep: false, values: eight, notes });
}

function deepWithAlpha(area: { rows: number; columns: number }, data: ArrayLike<number>): Picture {
  const [values, alpha] = [0, 1].map((band) => Uint16Array.from({ length: data.length / 2 }, (_, i) => data[2 * i + band]!));
  const notes = alpha!.some((value) => value < 2 ** 16 - 1) ? ["Transparency was ignored."] : [];
  return { ...area, samples: 1, deep: true, values: values!, notes };
}

interface Chunk {
  readonly type: string;
  readonly content: Uint8Array<ArrayBuffer>;
  readonly whole: Uint8Array<ArrayBuffer>;
}

/** The parts of a PNG that its pixels are made of: texts and colour profiles, which may unpack to anything, are left out. */
function neededChunks(bytes: Uint8Array<ArrayBuffer>): Chunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Chunk[] = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = latin(bytes.subarray(at + 4, at + 8));
    const chunk = { type, content: bytes.subarray(at + 8, at + 8 + length), whole: bytes.subarray(at, at + 12 + length) };
    if (["IHDR", "PLTE", "tRNS", "IDAT", "IEND"].includes(type)) found.push(chunk);
    at += 12 + length;
  }
  return found;
}

/** Unpack pixels for their number alone, and stop where they are more than the header describes. */
async function checkUnpacked(packed: readonly Uint8Array<ArrayBuffer>[], size: number): Promise<void> {
  const reader = new Blob([...packed]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  for (let found = 0; found <= size; ) {
    const { done, value } = await reader.read();
    if (done) return;
    found += value.length;
  }
  await reader.cancel();
  throw new Refusal("the image unpacks to more than its header describes.");
}

/** Grey values of fewer than 8 bits, several in a byte and each row from a byte on, as 0 to 255. */
function spread(packed: ArrayLike<number>, bits: number, rows: number, columns: number): Uint8Array {
  const found = new Uint8Array(rows * columns);
  const width = Math.ceil((columns * bits) / 8);
  const most = 2 ** bits - 1;
  for (let i = 0; i < found.length; i++) {
    const at = (i % columns) * bits;
    const byte = packed[Math.trunc(i / columns) * width + (at >> 3)]!;
    found[i] = (((byte >> (8 - bits - (at & 7))) & most) * 255) / most;
  }
  return found;
}

/** Whether any pixel has the one value that the file calls transparent. */
function isHidden(values: ArrayLike<number>, samples: number, transparent: ArrayLike<number>): boolean {
  for (let i = 0; i < values.length; i += samples) {
    let same = true;
    for (let sample = 0; sample < samples; sample++) same &&= values[i + sample] === transparent[sample];
    if (same) return true;
  }
  return false;
}

function withoutAlpha(picture: Picture): Picture {
  const { samples, values } = picture;
  if (samples !== 2 && samples !== 4) return picture;
  const kept = new Uint8Array((values.length / samples) * (samples - 1));
  let opaque = true;
  for (let from = 0, to = 0; from < values.length; from += samples) {
    for (let sample = 0; sample < samples - 1; sample++) kept[to++] = values[from + sample]!;
    opaque &&= values[from + samples - 1] === 255;
  }
  const notes = opaque ? picture.notes : ["Transparency was ignored."];
  return { ...picture, samples: samples - 1, values: kept, notes };
}

async function jpeg(bytes: Uint8Array): Promise<Picture> {
  const size = sizeOfJpeg(bytes);
  if (!size) throw new Error("it does not say how large the image is");
  checkPixels(size[0] * size[1]);
  const decoded = await decodeJpeg(bytes);
  if (decoded.samples !== 1 && decoded.samples !== 3) throw new Refusal("a JPEG in printing colours; convert it to grey.");
  const { rows, columns, samples, values } = decoded;
  return { rows, columns, samples, deep: false, values: values as Uint8Array, notes: [] };
}

/** How a camera noted that a JPEG is to be turned: 1 to 8 of Exif's tag Orientation; 1, not at all, without a note. */
function orientation(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 2; at + 10 < bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; at += 2 + view.getUint16(at + 2)) {
    if (bytes[at + 1] !== 0xe1 || latin(bytes.subarray(at + 4, at + 10)) !== "Exif\0\0") continue;
    const tiff = at + 10;
    const end = Math.min(bytes.length, at + 2 + view.getUint16(at + 2));
    if (tiff + 8 > end) return 1;
    const little = latin(bytes.subarray(tiff, tiff + 2)) === "II";
    const directory = tiff + view.getUint32(tiff + 4, little);
    if (directory + 2 > end) return 1;
    for (let i = 0; i < view.getUint16(directory, little); i++) {
      const entry = directory + 2 + 12 * i;
      if (entry + 12 > end) return 1;
      if (view.getUint16(entry, little) === 0x0112) {
        const noted = view.getUint16(entry + 8, little);
        return noted >= 1 && noted <= 8 ? noted : 1;
      }
    }
  }
  return 1;
}

function upright(picture: Picture, noted: number): Picture {
  if (noted === 1) return picture;
  const { rows, columns, samples, values } = picture;
  const turned = noted > 4; // rows become columns
  const fromBelow = [3, 4, 6, 7].includes(noted);
  const fromRight = [2, 3, 7, 8].includes(noted);
  const [height, width] = turned ? [columns, rows] : [rows, columns];
  const found = new Uint8Array(values.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [along, across] = turned ? [x, y] : [y, x]; // the row and the column, but for their direction
      const row = fromBelow ? rows - 1 - along : along;
      const column = fromRight ? columns - 1 - across : across;
      for (let sample = 0; sample < samples; sample++) {
        found[(y * width + x) * samples + sample] = values[(row * columns + column) * samples + sample]!;
      }
    }
  }
  return { ...picture, rows: height, columns: width, values: found };
}

/** A doubt about a deep image whose values would fit into the lower bits of a detector. */
function depth({ deep, values }: Picture): string[] {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  if (!deep || most <= 255 || most >= 2 ** DETECTOR) return [];
  const bits = 32 - Math.clz32(most);
  return [`The values need ${bits} bits only; where 16 bits are expected, the image is nearly black.`];
}

function scanFrom(picture: Picture, colour: boolean): Scan {
  const { rows, columns, samples, deep, values } = picture;
  const notes = [...picture.notes, ...depth(picture)];
  if (colour) {
    const rgb = Float32Array.from({ length: 3 * rows * columns }, (_, i) => values[samples === 3 ? i : Math.trunc(i / 3)]!);
    return scanOf(rgb, [rows, columns, 3], { notes: deep ? ["A grey image was given as colour.", ...notes] : [] });
  }
  if (samples === 1) return scanOf(Float32Array.from(values), [rows, columns], { notes });
  const grey = new Float32Array(rows * columns);
  let isColoured = false;
  for (let i = 0; i < grey.length; i++) {
    const [red, green, blue] = [values[3 * i]!, values[3 * i + 1]!, values[3 * i + 2]!];
    isColoured ||= red !== green || red !== blue;
    grey[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16; // the weights of ITU-R BT.601, as Pillow has them
  }
  return scanOf(grey, [rows, columns], { notes: isColoured ? [...notes, "Colour was turned to grey."] : notes });
}
