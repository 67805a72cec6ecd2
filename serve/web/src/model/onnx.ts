/**
 * What is read of an ONNX file beside running it: its metadata, and the tensors that it stores.
 *
 * Protocol buffers are fields in a row: a number that says which field and how long, then its value.  Of onnx.proto,
 * ModelProto has `graph` (7) and `metadata_props` (14, of key 1 and value 2); GraphProto has `initializer` (5); TensorProto
 * has `dims` (1), `data_type` (2), numbers in `float_data` (4), `int32_data` (5), `int64_data` (7), `double_data` (10), or
 * their bytes in `raw_data` (9), and `name` (8).
 */
import { Refusal } from "../read/refusal.ts";

interface Field {
  readonly number: number;
  /** The value of a number, or the bytes of all else. */
  readonly value: number | Uint8Array;
}

/** A stored tensor: what its digest is made of. */
export interface Stored {
  readonly name: string;
  /** NumPy's name of its type, or null for one that is not read here. */
  readonly dtype: string | null;
  readonly shape: readonly number[];
  /** Its numbers in little-endian order. */
  readonly bytes: Uint8Array;
}

/** NumPy's names, and widths in bytes, of the types of ONNX. */
const TYPES: Record<number, readonly [string, number]> = {
  1: ["float32", 4], 2: ["uint8", 1], 3: ["int8", 1], 4: ["uint16", 2], 5: ["int16", 2], 6: ["int32", 4],
  7: ["int64", 8], 9: ["bool", 1], 10: ["float16", 2], 11: ["float64", 8], 12: ["uint32", 4], 13: ["uint64", 8],
};

/** The metadata of a file by key.  Throws a Refusal if it is no ONNX file. */
export function metadataOf(file: Uint8Array): Map<string, string> {
  const text = new TextDecoder();
  const found = new Map<string, string>();
  for (const entry of messages(file, 14)) {
    const [key, value] = [1, 2].map((number) => entry.find((field) => field.number === number)?.value);
    if (key instanceof Uint8Array) found.set(text.decode(key), value instanceof Uint8Array ? text.decode(value) : "");
  }
  return found;
}

/** The tensors that a file stores. */
export function tensorsOf(file: Uint8Array): Stored[] {
  const graph = bytesOfField(file, 7)[0];
  return graph ? bytesOfField(graph, 5).map(tensor) : [];
}

function tensor(message: Uint8Array): Stored {
  const all = [...fields(message)];
  const one = (number: number) => all.find((field) => field.number === number)?.value;
  const numbers = (number: number) =>
    all.filter((field) => field.number === number).flatMap(({ value }) =>
      typeof value === "number" ? [value] : varints(value),
    );
  const name = one(8);
  const [dtype, width] = TYPES[Number(one(2) ?? 0)] ?? [null, 0];
  const raw = one(9);
  let bytes = raw instanceof Uint8Array ? raw : new Uint8Array();
  if (!bytes.length) {
    const packed = [4, 10].map(one).find((value) => value instanceof Uint8Array); // floats, as they lie in memory
    bytes = packed ?? little([...numbers(5), ...numbers(7)], width);
  }
  const text = name instanceof Uint8Array ? new TextDecoder().decode(name) : "";
  return { name: text, dtype, shape: numbers(1), bytes };
}

/** Whole numbers as bytes, the lowest first. */
function little(values: readonly number[], width: number): Uint8Array {
  const found = new Uint8Array(values.length * width);
  values.forEach((value, i) => {
    let left = BigInt.asUintN(8 * width, BigInt(value));
    for (let byte = 0; byte < width; byte++, left >>= 8n) found[i * width + byte] = Number(left & 255n);
  });
  return found;
}

function messages(bytes: Uint8Array, number: number): Field[][] {
  return bytesOfField(bytes, number).map((message) => [...fields(message)]);
}

function bytesOfField(bytes: Uint8Array, number: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const field of fields(bytes)) {
    if (field.number === number && field.value instanceof Uint8Array) found.push(field.value);
  }
  return found;
}

function* fields(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    const [value, next] = varintAt(bytes, at);
    at = next;
    return value;
  };
  while (at < bytes.length) {
    const key = varint();
    const number = Math.floor(key / 8);
    const wire = key % 8;
    if (wire === 0) {
      yield { number, value: varint() };
      continue;
    }
    const length = wire === 2 ? varint() : wire === 1 ? 8 : wire === 5 ? 4 : NaN;
    if (!number || !(length >= 0 && at + length <= bytes.length)) throw new Refusal("it is not an ONNX file, or it is damaged.");
    yield { number, value: bytes.subarray(at, at + length) };
    at += length;
  }
}

function varints(bytes: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const [value, next] = varintAt(bytes, at);
    found.push(value);
    at = next;
  }
  return found;
}

/** A number of 7 bits a byte, as a signed one of 64 bits, and where it ends. */
function varintAt(bytes: Uint8Array, at: number): [number, number] {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = bytes[at++];
    if (byte === undefined) break;
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return [Number(BigInt.asIntN(64, value)), at];
  }
  throw new Refusal("it is not an ONNX file, or it is damaged.");
}
