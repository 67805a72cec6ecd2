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
  let [files, size] = [0, 0];
  const found = unzipSync(bytes, {
    filter: (entry) => {
      if (entry.name.endsWith("/")) return false;
      checkName(entry.name);
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
