/** Reading one scan from what was dropped: one file, or the files of a DICOM series; as `imaging.read`. */
import { bytesOf } from "./bytes.ts";
import { checkFile } from "./budget.ts";
import { readImage } from "./images.ts";
import { KNOWN, kindByContent, kindOf, type Kind } from "./kinds.ts";
import { readNifti } from "./nifti.ts";
import { readNpy } from "./npy.ts";
import { reading, Refusal } from "./refusal.ts";
import type { Scan } from "./scan.ts";
import { readDicom, readOnlySeries, type Member } from "./series.ts";
import { checkNumber, isHidden, openZip } from "./zip.ts";

/** How several files at once are called. */
const SEVERAL = "the files";

/**
 * Read the one scan in `members`; throws a Refusal, naming the file, if there is none.
 *
 * selection: which of several, as `imaging.read` takes it behind the "#"; or "".
 * colour: colour images as (rows, columns, 3) and not as grey ones.
 */
export async function read(members: readonly Member[], selection: string, colour: boolean): Promise<Scan> {
  const seen = members.filter(({ name }) => members.length === 1 || !isHidden(name));
  if (seen.length === 1) {
    const { name, file } = seen[0]!;
    const kind = await kindOfMember(seen[0]!);
    if (!kind) throw new Refusal(`${name}: this kind of file cannot be read; known kinds are ${KNOWN}.`);
    return reading(name, kind, () => readFile(file, kind, name, selection, colour));
  }
  return reading(SEVERAL, "folder", async () => {
    checkNumber(seen.length);
    return readMembers(seen, SEVERAL, selection, colour);
  });
}

async function readFile(file: Blob, kind: Kind, name: string, selection: string, colour: boolean): Promise<Scan> {
  checkFile(file.size);
  switch (kind) {
    case "NPY":
      return readNpy(await bytesOf(file), selection);
    case "NPZ":
      return readNpz(file, name, selection);
    case "ZIP":
      return readMembers(await openZip(file), name, selection, colour);
    case "NIfTI":
      return readNifti(file, name, selection);
    case "image":
      return readImage(file, selection, colour);
    case "DICOM":
      return readDicom(file, name, selection, colour);
  }
}

/** The one DICOM series among files, or else the one file that can be read, or the file that is named. */
async function readMembers(
  members: readonly Member[],
  name: string,
  selection: string,
  colour: boolean,
): Promise<Scan> {
  const named = [...members].sort((a, b) => b.name.length - a.name.length).find((member) =>
    `${selection}#`.startsWith(`${itemName(member.name)}#`),
  );
  if (named) return readMember(named, selection.slice(itemName(named.name).length + 1), colour);
  const kinds = await Promise.all(members.map(async (member) => ({ member, kind: await kindOfMember(member) })));
  const slices = kinds.filter(({ kind }) => kind === "DICOM").map(({ member }) => member);
  if (slices.length) {
    const byName = (a: Member, b: Member) => (a.name < b.name ? -1 : 1);
    const sorted = slices.sort(byName);
    const beside = kinds.filter(({ kind }) => kind !== "DICOM").map(({ member }) => member);
    const scan = await readOnlySeries(sorted, beside.sort(byName), name, selection, colour);
    if (scan) return scan;
  }
  const others = kinds.filter(({ kind }) => kind !== null && kind !== "DICOM" && kind !== "ZIP");
  if (others.length !== 1) {
    const found = others.length ? `${others.length} scans and no DICOM series; give one of its files` : "no scan";
    throw new Refusal(`it holds ${found}.`);
  }
  return readMember(others[0]!.member, selection, colour);
}

async function readMember(member: Member, selection: string, colour: boolean): Promise<Scan> {
  const kind = await kindOfMember(member);
  return reading(member.name, kind ?? "", () => {
    if (kind === null || kind === "ZIP") throw new Refusal("this kind of file cannot be read.");
    return readFile(member.file, kind, member.name, selection, colour);
  });
}

/** A scan from an .npz archive: its one array, or what "array" or "array/item" names. */
async function readNpz(file: Blob, name: string, selection: string): Promise<Scan> {
  const arrays = new Map((await openZip(file)).map((member) => [member.name.replace(/\.npy$/, ""), member.file]));
  const names = [...arrays.keys()];
  if (!names.length) throw new Refusal("the archive is empty.");
  const cut = selection.lastIndexOf("/");
  let [array, item] = arrays.has(selection) || cut < 0
    ? [selection, ""]
    : [selection.slice(0, cut), selection.slice(cut + 1)];
  if (!array && names.length === 1) array = names[0]!;
  const found = arrays.get(array);
  if (!found) {
    throw new Refusal(`the archive holds ${names.join(", ")}; name one scan, as in ${name}#${names[0]}/0.`);
  }
  return readNpy(await bytesOf(found), item, `${array}/`);
}

/** How a file is named where a number alone is that of a series. */
function itemName(name: string): string {
  return /^[0-9]+$/.test(name) ? `./${name}` : name;
}

async function kindOfMember({ name, file }: Member): Promise<Kind | null> {
  return kindOf(name) ?? kindByContent(file);
}
