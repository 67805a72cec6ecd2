/** Files that a person drops or chooses, folders included. */
import type { Member } from "../messages.ts";

export function fromInput(list: FileList): Member[] {
  return Array.from(list, (file) => ({ name: file.webkitRelativePath || file.name, file }));
}

/** What was dropped; of folders, everything in them.  To be called while the event is handled. */
export async function fromDrop(data: DataTransfer): Promise<Member[]> {
  const entries = Array.from(data.items, (item) => item.webkitGetAsEntry?.()).filter((entry) => entry != null);
  if (!entries.some((entry) => entry.isDirectory)) return fromInput(data.files);
  const found = await Promise.all(entries.map((entry) => within(entry, "")));
  return found.flat();
}

async function within(entry: FileSystemEntry, folder: string): Promise<Member[]> {
  const name = `${folder}${entry.name}`;
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ name, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Member[] = [];
  for (;;) {
    // A browser lists a large folder in parts.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return found;
    for (const child of part) found.push(...(await within(child, `${name}/`)));
  }
}
