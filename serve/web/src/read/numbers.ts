/** Numbers as files store them: any kind, width and byte order. */

/** Kind and width in bytes, as NumPy writes them: b(ool), i(nteger), u(nsigned), f(loat), as in "i2". */
export type NumberKind = `${"b" | "i" | "u" | "f"}${1 | 2 | 4 | 8}`;

type Getter = (view: DataView, at: number, little: boolean) => number;

const GETTERS: Partial<Record<NumberKind, Getter>> = {
  b1: (view, at) => view.getUint8(at),
  u1: (view, at) => view.getUint8(at),
  i1: (view, at) => view.getInt8(at),
  u2: (view, at, little) => view.getUint16(at, little),
  i2: (view, at, little) => view.getInt16(at, little),
  u4: (view, at, little) => view.getUint32(at, little),
  i4: (view, at, little) => view.getInt32(at, little),
  u8: (view, at, little) => Number(view.getBigUint64(at, little)),
  i8: (view, at, little) => Number(view.getBigInt64(at, little)),
  f2: (view, at, little) => half(view.getUint16(at, little)),
  f4: (view, at, little) => view.getFloat32(at, little),
  f8: (view, at, little) => view.getFloat64(at, little),
};

export function isNumberKind(text: string): text is NumberKind {
  return text in GETTERS;
}

export function widthOf(kind: NumberKind): number {
  return Number(kind[1]);
}

/** `count` numbers from `start` on.  Throws a RangeError if the bytes end before. */
export function numbersAt(
  bytes: Uint8Array,
  kind: NumberKind,
  little: boolean,
  start: number,
  count: number,
): Float64Array<ArrayBuffer> | Float32Array<ArrayBuffer> {
  const get = GETTERS[kind]!;
  const width = widthOf(kind);
  // Of numbers that 32 bits hold exactly, half the memory is enough.
  const found = width < 4 || kind === "f4" ? new Float32Array(count) : new Float64Array(count);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < count; i++) found[i] = get(view, start + i * width, little);
  return found;
}

/** A 16-bit float (IEEE 754). */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** To the nearest whole number, halves to the even one, as NumPy rounds. */
export function rint(value: number): number {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

/** Luminance of (r, g, b) triples in whole numbers, by the weights of ITU-R BT.601, computed with 32 bits. */
export function toGrey(colour: ArrayLike<number>): Float32Array<ArrayBuffer> {
  const f = Math.fround;
  const [red, green, blue] = [f(0.299), f(0.587), f(0.114)];
  const grey = new Float32Array(colour.length / 3);
  for (let i = 0; i < grey.length; i++) {
    grey[i] = rint(f(f(f(colour[3 * i]! * red) + f(colour[3 * i + 1]! * green)) + f(colour[3 * i + 2]! * blue)));
  }
  return grey;
}
