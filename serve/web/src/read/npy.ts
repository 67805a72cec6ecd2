/** Reading NumPy arrays, .npy, as `imaging.formats.arrays` does: versions 1 and 2 of the format, numbers only. */
import { checkPixels } from "./budget.ts";
import { latin } from "./kinds.ts";
import { isNumberKind, numbersAt, widthOf } from "./numbers.ts";
import { Refusal } from "./refusal.ts";
import { itemNumber, product, scanOf, type Scan } from "./scan.ts";

/** A scan from an .npy file, or item `selection` of a stack of scans.  prefix: of items, in hints. */
export function readNpy(bytes: Uint8Array, selection: string, prefix = ""): Scan {
  const { shape, kind, little, byColumns, start } = header(bytes);
  const width = widthOf(kind);
  if (start + product(shape) * width > bytes.length) throw new Error("the file ends before its array");
  if (!selection) {
    if (shape.length === 4) {
      throw new Refusal(`a stack of ${shape[0]} volumes; name one of them, as in #${prefix}0.`);
    }
    checkPixels(product(shape));
    const stored = numbersAt(bytes, kind, little, start, product(shape));
    return scanOf(byColumns ? byRows(stored, shape) : Float32Array.from(stored), shape);
  }
  if (shape.length < 3) throw new Refusal(`this is no stack of scans, there is no item '${selection}'.`);
  const item = itemNumber(selection, shape[0]!);
  const own = shape.slice(1);
  const size = product(own);
  checkPixels(byColumns ? product(shape) : size);
  if (byColumns) {
    const whole = byRows(numbersAt(bytes, kind, little, start, product(shape)), shape);
    return scanOf(whole.slice(item * size, (item + 1) * size), own);
  }
  return scanOf(Float32Array.from(numbersAt(bytes, kind, little, start + item * size * width, size)), own);
}

function header(bytes: Uint8Array) {
  if (latin(bytes.subarray(0, 6)) !== "\x93NUMPY") throw new Error("the magic string is not correct");
  const [major, minor] = [bytes[6], bytes[7]];
  if (minor !== 0 || (major !== 1 && major !== 2)) throw new Refusal("pixels are numbers, this array holds records.");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const from = major === 1 ? 10 : 12;
  if (length > 10_000) throw new Error("the header is too long");
  const text = latin(bytes.subarray(from, from + length));
  const descr = /'descr': *'([^']*)'/.exec(text)?.[1];
  const order = /'fortran_order': *(True|False)/.exec(text)?.[1];
  const axes = /'shape': *\(([0-9, ]*)\)/.exec(text)?.[1];
  if (/'descr': *\[/.test(text)) throw new Refusal("pixels are numbers, this array holds records.");
  if (descr === undefined || order === undefined || axes === undefined) throw new Error("the header cannot be read");
  const kind = descr.replace(/^[<>|=]/, "");
  if (!isNumberKind(kind)) throw new Refusal(`pixels are numbers, this array holds ${descr}.`);
  const shape = axes.split(",").filter((axis) => axis.trim()).map(Number);
  return { shape, kind, little: descr[0] !== ">", byColumns: order === "True", start: from + length };
}

/** Numbers in Fortran's order, the first axis fastest, in that of C. */
function byRows(stored: ArrayLike<number>, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const found = new Float32Array(stored.length);
  const index = shape.map(() => 0);
  for (let i = 0; i < stored.length; i++) {
    found[index.reduce((at, position, axis) => at * shape[axis]! + position, 0)] = stored[i]!;
    for (let axis = 0; axis < shape.length && ++index[axis]! === shape[axis]; axis++) index[axis] = 0;
  }
  return found;
}
