/** What kind of file it is: by its ending where that says it, else by its first bytes; as `imaging.formats.kinds`. */
import { bytesOf } from "./bytes.ts";

export type Kind = "NPY" | "NPZ" | "NIfTI" | "image" | "DICOM" | "ZIP";

const ENDINGS: readonly (readonly [string, Kind])[] = [
  [".npy", "NPY"],
  [".npz", "NPZ"],
  [".nii", "NIfTI"],
  [".nii.gz", "NIfTI"],
  [".png", "image"],
  [".jpg", "image"],
  [".jpeg", "image"],
  [".bmp", "image"],
  [".tif", "image"],
  [".tiff", "image"],
  [".dcm", "DICOM"],
  [".dicom", "DICOM"],
  [".zip", "ZIP"],
];

const MAGIC: readonly (readonly [string, Kind])[] = [
  ["\x93NUMPY", "NPY"],
  ["PK\x03\x04", "ZIP"],
  ["\x89PNG\r\n\x1a\n", "image"],
  ["\xff\xd8\xff", "image"],
  ["BM", "image"],
  ["II*\0", "image"],
  ["MM\0*", "image"],
  ["II+\0", "image"],
  ["MM\0+", "image"],
];

/** How much of a file is looked at. */
const START = 1024;

/** Images that the page knows in order to say how they can be read elsewhere. */
const ELSEWHERE = [".bmp", ".tif", ".tiff"];

export const KNOWN = ENDINGS.map(([ending]) => ending).filter((ending) => !ELSEWHERE.includes(ending)).join(", ");

export function kindOf(name: string): Kind | null {
  return ENDINGS.find(([ending]) => name.toLowerCase().endsWith(ending))?.[1] ?? null;
}

/** The kind that a file's first kilobyte tells.  DICOM files often have no ending. */
export async function kindByContent(file: Blob): Promise<Kind | null> {
  const start = await bytesOf(file.slice(0, START));
  const text = latin(start);
  if (text.slice(128, 132) === "DICM" || isBareDicom(start)) return "DICOM";
  if (isNifti(text.startsWith("\x1f\x8b") ? await unpackedStart(file) : start)) return "NIfTI";
  return MAGIC.find(([magic]) => text.startsWith(magic))?.[1] ?? null;
}

/** The first kilobyte, or more, of what a gzip file holds; of a damaged one, what there is. */
async function unpackedStart(file: Blob): Promise<Uint8Array> {
  const reader = file.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  let found = new Uint8Array();
  try {
    while (found.length < START) {
      const { done, value } = await reader.read();
      if (done) break;
      found = new Uint8Array([...found, ...value.subarray(0, START)]);
    }
  } catch {
    return found;
  }
  await reader.cancel();
  return found;
}

/** Whether bytes begin a NIfTI-1 or NIfTI-2 file, or the header half of a pair of files. */
export function isNifti(start: Uint8Array): boolean {
  const text = latin(start.subarray(0, 348));
  return ["n+1\0", "ni1\0"].includes(text.slice(344, 348)) || ["n+2\0", "ni2\0"].includes(text.slice(4, 8));
}

/** Whether bytes look like a DICOM data set without its preamble; as `imaging.formats.kinds` judges. */
export function isBareDicom(start: Uint8Array): boolean {
  const [group, high, , elementHigh, , , third, fourth] = start;
  const isEarly = (group === 2 || group === 8) && high === 0 && elementHigh === 0;
  return isEarly && (/^[A-Za-z]{2}$/.test(latin(start.subarray(4, 6))) || (third === 0 && fourth === 0));
}

/** Bytes as letters of the same numbers. */
export function latin(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
