/**
 * How much one scan may ask of the page, looked at in front of every decoder: `imaging.Budget`, smaller where a browser
 * holds less.  WebAssembly has 4 GiB of memory, of which the runtime needs the scan and what it becomes.
 */
import { Refusal } from "./refusal.ts";

const MIB = 2 ** 20;
/** Below this, unpacked bytes do no harm whatever their ratio: a mask of 256 slices is packed a thousand to one. */
const HARMLESS = 64 * MIB;

export const LIMITS = {
  /** Bytes of a file, or of all files of a series, also after unpacking. */
  fileBytes: 1024 * MIB,
  /** Pixels of the scan; as 32-bit numbers, 512 MiB. */
  pixels: 128 * MIB,
  /** Slices of a volume; of files, ten times as many may be dropped at once. */
  slices: 2048,
  /** Unpacked bytes for each packed one. */
  inflateRatio: 1000,
  /** Wall-clock time for reading, after which the worker is ended. */
  seconds: 120,
} as const;

export function checkFile(bytes: number): void {
  check(bytes, LIMITS.fileBytes, "bytes");
}

export function checkPixels(pixels: number): void {
  check(pixels, LIMITS.pixels, "pixels");
}

export function checkSlices(slices: number): void {
  check(slices, LIMITS.slices, "slices or frames");
}

export function checkInflated(inflated: number, packed: number): void {
  check(inflated, LIMITS.fileBytes, "unpacked bytes");
  if (inflated > HARMLESS) check(inflated / Math.max(packed, 1), LIMITS.inflateRatio, "times the packed size");
}

function check(value: number, allowed: number, what: string): void {
  if (value <= allowed) return;
  const [found, limit] = [value, allowed].map((number) => Math.round(number).toLocaleString("en-US"));
  throw new Refusal(`${found} ${what} are over this page's budget of ${limit}; \`liquidlens predict\` reads larger scans.`);
}
