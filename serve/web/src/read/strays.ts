/** Files that lie beside the slices of a series, and are none: junk, or a damaged slice?  As `imaging.formats.strays`. */
import { bytesOf } from "./bytes.ts";
import { Refusal } from "./refusal.ts";
import type { Member } from "./series.ts";

/** Bytes by which text is told from anything else. */
const START = 1024;
/** Names that a note lists. */
const NAMED = 3;

/** Those of `others` that lie in a folder in which the images lie as well. */
export function beside<T extends { readonly name: string }>(images: readonly { name: string }[], others: readonly T[]): T[] {
  const folders = new Set(images.map(({ name }) => folderOf(name)));
  return others.filter(({ name }) => folders.has(folderOf(name)));
}

/**
 * The error for a file that is called as the images are, and is none.
 *
 * What ends otherwise is something else.  Where images have no ending, so is text, unless its name differs from an image's in
 * its digits only.
 */
export async function damaged(images: readonly { name: string }[], others: readonly Member[]): Promise<Refusal | null> {
  const endings = new Set(images.map(({ name }) => endingOf(name)));
  const stems = new Set(images.map(({ name }) => withoutDigits(name)));
  for (const { name, file } of others) {
    const ending = endingOf(name);
    if (endings.has(ending) && (ending || stems.has(withoutDigits(name)) || !(await isText(file)))) {
      return new Refusal(
        `${name}: it is called as the slices beside it and holds none, so one may be missing; give a whole copy of it, or ` +
          "take it away.",
      );
    }
  }
  return null;
}

/** The note about files that were left out. */
export function leftOut(others: readonly { name: string }[]): string[] {
  const names = others.map(({ name }) => name.slice(name.lastIndexOf("/") + 1));
  const more = names.length > NAMED ? [`${names.length - NAMED} more`] : [];
  return names.length ? [`Left out, as they are no slices: ${[...names.slice(0, NAMED), ...more].join(", ")}.`] : [];
}

function folderOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf("/")));
}

/** Letters only: names of slices often end in the numbers of an identifier. */
function endingOf(name: string): string {
  return /[^/](\.\p{L}+)$/u.exec(name)?.[1]?.toLowerCase() ?? "";
}

function withoutDigits(name: string): string {
  return name.replace(/[0-9]+/g, "");
}

async function isText(file: Blob): Promise<boolean> {
  const start = await bytesOf(file.slice(0, START));
  return start.length > 0 && !start.includes(0);
}
