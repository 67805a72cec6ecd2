/** Archives as lists of files, hidden ones left out; as `imaging.formats.archives`.  .npz files are archives of .npy files. */
import { bytesOf } from "./bytes.ts";
import { unzipSync } from "fflate";
import { checkInflated, LIMITS } from "./budget.ts";
import { Refusal } from "./refusal.ts";
import type { Member } from "./series.ts";

const FILES_PER_SLICE = 10;
/** Letters of a member's name; no system knows longer paths. */
const LONGEST = 4096;

/** The files of an archive, sizes judged by what it declares before anything is unpacked. */
export async function openZip(file: Blob): Promise<Member[]> {
  const bytes = await bytesOf(file);
  if (isEncrypted(bytes)) throw new Refusal("the archive is encrypted; unpack it first.");
  let [files, size] = [0, 0];
  const names = new Set<string>();
  const found = unzipSync(bytes, {
    filter: (entry) => {
      if (entry.name.endsWith("/")) return false;
      checkName(entry.name);
      if (names.has(entry.name)) {
        throw new Refusal(`the archive has two members of the name '${entry.name}'; pack it again.`);
      }
      names.add(entry.name);
      files += 1;
      // What is stored as it is has the size that it takes, whatever it declares, and several may take the same bytes.
      const unpacked = entry.compression ? entry.originalSize : Math.min(entry.size, bytes.length);
      size += unpacked;
      checkNumber(files);
      checkInflated(unpacked, entry.size);
      checkInflated(size, bytes.length);
      if (entry.compression !== 0 && entry.compression !== 8) {
        throw new Refusal("the archive is packed by an unusual method; pack it again with deflate.");
      }
      return !isHidden(entry.name);
    },
  });
  return Object.entries(found).map(([name, content]) => ({ name, file: new Blob([content as Uint8Array<ArrayBuffer>]) }));
}

/** Whether a member is encrypted by the directory at the end, which the library does not say. */
function isEncrypted(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end > 0 && end > bytes.length - 22 - 2 ** 16 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) return false; // which the library says better
  let at = view.getUint32(end + 16, true);
  while (at + 46 <= bytes.length && view.getUint32(at, true) === 0x02014b50) {
    if (view.getUint16(at + 8, true) & 1) return true;
    at += 46 + [28, 30, 32].reduce((sum, offset) => sum + view.getUint16(at + offset, true), 0);
  }
  return false;
}

function checkName(name: string): void {
  if (name.length > LONGEST) {
    throw new Refusal(`the archive has a member whose name has ${name.length.toLocaleString("en-US")} letters.`);
  }
  if (/^([a-z]:|[/\\])/i.test(name) || name.split(/[/\\]/).includes("..")) {
    throw new Refusal(`the archive's member '${name}' points outside of it; pack it again.`);
  }
}

export function checkNumber(files: number): void {
  const allowed = FILES_PER_SLICE * LIMITS.slices;
  if (files > allowed) {
    throw new Refusal(
      `more than ${allowed.toLocaleString("en-US")} files, ${FILES_PER_SLICE} times the budget of slices; give one ` +
        "series alone.",
    );
  }
}

export function isHidden(name: string): boolean {
  return name.split("/").some((part) => part.startsWith(".") || part === "__MACOSX");
}
