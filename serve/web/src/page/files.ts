/** Files that a person drops or chooses, folders included. */
import type { Member } from "../messages.ts";
import { Refusal } from "../read/refusal.ts";
import { checkNumber } from "../read/zip.ts";

export function fromInput(list: FileList): Member[] {
  return Array.from(list, (file) => ({ name: file.webkitRelativePath || file.name, file }));
}

/** What was dropped; of folders, everything in them.  To be called while the event is handled. */
export async function fromDrop(data: DataTransfer): Promise<Member[]> {
  const entries = Array.from(data.items, (item) => item.webkitGetAsEntry?.()).filter((entry) => entry != null);
  if (!entries.some((entry) => entry.isDirectory)) return fromInput(data.files);
  const found: Member[] = [];
  for (const entry of entries) await collect(entry, "", found);
  return found;
}

/** Add the entry, or all that is in it; throws a Refusal where there is more than one scan can have. */
async function collect(entry: FileSystemEntry, folder: string, found: Member[]): Promise<void> {
  const name = `${folder}${entry.name}`;
  const unreadable = (reject: (error: Refusal) => void) => () => reject(new Refusal(`${name}: this browser cannot read it.`));
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, unreadable(reject)),
    );
    checkNumber(found.push({ name, file }));
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // A browser lists a large folder in parts.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, unreadable(reject)));
    if (!part.length) return;
    for (const child of part) await collect(child, `${name}/`, found);
  }
}
