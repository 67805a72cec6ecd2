/**
 * Where pixels lie in the patient: slices in order, and every volume turned to one convention; as `imaging.formats.geometry`.
 * World coordinates are DICOM's, in millimetres: x to the patient's left, y to the back, z to the head (LPS).
 */
import { Refusal } from "./refusal.ts";

/** A 4 x 4 matrix by rows, or a vector of three. */
export type Matrix = readonly (readonly number[])[];
type Vector = readonly number[];

const SAME_DIRECTION = 1e-3;
const SAME_SPACING = 1e-3;
/** Neighbours whose distance differs from the usual one by a larger part are not evenly spaced. */
const EVEN = 0.05;
const SAME_PLACE = 1e-3;
/** Volumes that lie more degrees off the patient's axes are noted. */
const OBLIQUE = 5;

/** Where one slice lies; size and spacing are of rows, then of columns. */
export interface Plane {
  readonly name: string;
  readonly size: readonly [number, number];
  readonly spacing: readonly [number, number];
  readonly position: Vector;
  /** Along a row (towards higher columns), then along a column: Image Orientation (Patient). */
  readonly orientation: Vector;
}

/**
 * Order two or more parallel slices along their normal.  Gives the order, as indices of `planes`, and the matrix from
 * (slice, row, column) to world coordinates.  Throws a Refusal if they are no even stack.
 */
export function arrange(planes: readonly Plane[]): { order: number[]; affine: Matrix } {
  const first = planes[0]!;
  for (const plane of planes.slice(1)) checkSame(first, plane);
  const alongRow = first.orientation.slice(0, 3);
  const alongColumn = first.orientation.slice(3, 6);
  const upright = [alongRow, alongColumn].every((along) => Math.abs(length(along) - 1) <= 0.01 + 1e-5);
  if (!upright || Math.abs(dot(alongRow, alongColumn)) > 0.01 || Math.min(...first.spacing) <= 0) {
    throw new Refusal("broken geometry: the rows and columns of the slices are not at right angles.");
  }
  const normal = cross(alongRow, alongColumn);
  const places = planes.map((plane) => dot(plane.position, normal));
  const order = planes.map((_, i) => i).sort((a, b) => places[a]! - places[b]! || a - b);
  const step = evenStep(order.map((i) => planes[i]!.name), order.map((i) => places[i]!));
  const origin = planes[order[0]!]!.position;
  let shift = 0;
  planes.forEach((plane, i) => {
    const along = places[i]! - places[order[0]!]!;
    shift = Math.max(shift, length(plane.position.map((x, axis) => x - origin[axis]! - along * normal[axis]!)));
  });
  if (shift > Math.min(...first.spacing) / 2) throw tilted(shift, Math.max(...places) - Math.min(...places));
  const affine = [0, 1, 2].map((axis) => [
    normal[axis]! * step,
    alongColumn[axis]! * first.spacing[0],
    alongRow[axis]! * first.spacing[1],
    origin[axis]!,
  ]);
  return { order, affine: [...affine, [0, 0, 0, 1]] };
}

function checkSame(first: Plane, other: Plane): void {
  const mixed = (what: string, one: string, two: string) =>
    new Refusal(
      `mixed slices: ${first.name} and ${other.name} differ in ${what} (${one} and ${two}); give one stack alone.`,
    );
  if (first.size.join() !== other.size.join()) throw mixed("size", first.size.join(" x "), other.size.join(" x "));
  if (first.orientation.some((x, i) => !(Math.abs(x - other.orientation[i]!) <= SAME_DIRECTION))) {
    const [one, two] = [first, other].map((plane) => plane.orientation.map((x) => short(x, 3)).join(" "));
    throw mixed("orientation", one!, two!);
  }
  if (first.spacing.some((x, i) => !(Math.abs(x - other.spacing[i]!) <= 1e-8 + SAME_SPACING * other.spacing[i]!))) {
    const [one, two] = [first, other].map((plane) => `${plane.spacing.map((x) => short(x, 6)).join(" x ")} mm`);
    throw mixed("pixel spacing", one!, two!);
  }
}

/** The distance between neighbours, which is the same for all of them. */
function evenStep(names: readonly string[], places: readonly number[]): number {
  const distances = places.slice(1).map((place, i) => place - places[i]!);
  const same = distances.filter((distance) => distance < SAME_PLACE).length;
  if (same) {
    const at = distances.findIndex((distance) => distance < SAME_PLACE);
    throw new Refusal(
      `duplicate slices: ${names[at]} and ${names[at + 1]} lie at the same place (${same} such pairs); ` +
        "a series over time or of several contrasts is to be split first.",
    );
  }
  const usual = [...distances].sort((a, b) => a - b)[Math.floor((distances.length - 1) / 2)]!;
  const odd = distances.findIndex((distance) => Math.abs(distance - usual) > EVEN * usual);
  if (odd >= 0) {
    const name = distances[odd]! > 1.5 * usual ? "missing slice" : "uneven slices";
    throw new Refusal(
      `${name}: between ${names[odd]} and ${names[odd + 1]} the distance is ${distances[odd]!.toFixed(1)} mm instead ` +
        `of ${usual.toFixed(1)}; give the whole series, evenly spaced.`,
    );
  }
  return (places.at(-1)! - places[0]!) / distances.length;
}

/**
 * Judge a matrix as the positions of a series are: the third axis of `shape` counts slices.  Throws a Refusal if slices are
 * shifted against each other by more than half a pixel, or if a slice is sheared so much that no way of laying it straight
 * has all pixels within half a pixel.
 */
export function checkStraight(affine: Matrix, shape: readonly number[]): void {
  const column = (axis: number): Vector => affine.slice(0, 3).map((row) => row[axis]!);
  const [one, two, three] = [column(0), column(1), column(2)];
  const across = cross(one, two);
  if (!affine.flat().every(Number.isFinite) || !across.some((x) => x !== 0)) return; // `toLps` says so
  const normal = across.map((x) => x / length(across));
  const height = (shape[2]! - 1) * dot(three, normal);
  const shift = length(three.map((x, axis) => (shape[2]! - 1) * x - height * normal[axis]!));
  if (shift > Math.min(length(one), length(two)) / 2) throw tilted(shift, Math.abs(height));
  const [alongOne, alongTwo] = [one, two].map((side) => Math.abs(dot(one, two)) / dot(side, side)) as [number, number];
  if (Math.min((shape[0]! - 1) * alongTwo, (shape[1]! - 1) * alongOne) > 0.5) {
    throw new Refusal("broken geometry: the rows and columns of the slices are not at right angles.");
  }
}

function tilted(shift: number, height: number): Refusal {
  const degrees = (Math.atan2(shift, height) * 180) / Math.PI;
  return new Refusal(
    `tilted slices: they do not lie straight above each other, but shifted by up to ${shift.toFixed(1)} mm ` +
      `(${degrees.toFixed(1)} degrees, a tilted gantry?); resample the series to a straight stack.`,
  );
}

/**
 * Turn a volume to (slices, rows, columns) from inferior to superior, anterior to posterior, right to left.
 *
 * `shape`: of three axes in any order and direction; `at`: the value at a flat index that counts the last axis first, or,
 * `byColumns`, the first one first.  `affine`: from their indices to world coordinates.  Oblique volumes go to the
 * nearest axes and are not resampled.
 */
export function toLps(
  stored: ArrayLike<number>,
  shape: readonly number[],
  affine: Matrix,
  byColumns: boolean,
): { pixels: Float32Array<ArrayBuffer>; shape: number[]; spacing: number[]; notes: string[] } {
  const vectors = [0, 1, 2].map((axis) => affine.slice(0, 3).map((row) => row[axis]!));
  const spacing = vectors.map(length);
  const units = vectors.map((vector, i) => vector.map((x) => x / spacing[i]!));
  const spans = affine.flat().every(Number.isFinite) && spacing.every((x) => x > 0);
  if (!spans || Math.abs(determinant(units)) < 0.01) {
    throw new Refusal("broken geometry: the file's matrix does not span a volume.");
  }
  const axes = nearestAxes(units);
  const strides = byColumns ? [1, shape[0]!, shape[0]! * shape[1]!] : [shape[1]! * shape[2]!, shape[2]!, 1];
  // Of the result, axis 0 runs along z, 1 along y, 2 along x.
  const sources = [2, 1, 0].map((world) => axes.findIndex((axis) => axis.world === world));
  const size = sources.map((source) => shape[source]!);
  const steps = sources.map((source) => strides[source]! * (axes[source]!.forward ? 1 : -1));
  const start = sources.reduce(
    (at, source) => at + (axes[source]!.forward ? 0 : strides[source]! * (shape[source]! - 1)),
    0,
  );
  const pixels = new Float32Array(size[0]! * size[1]! * size[2]!);
  let to = 0;
  for (let z = 0; z < size[0]!; z++) {
    for (let y = 0; y < size[1]!; y++) {
      let from = start + z * steps[0]! + y * steps[1]!;
      for (let x = 0; x < size[2]!; x++, from += steps[2]!) pixels[to++] = stored[from]!;
    }
  }
  const off = Math.max(
    ...axes.map(({ world }, i) => (Math.acos(Math.min(1, Math.abs(units[i]![world]!))) * 180) / Math.PI),
  );
  const notes = off > OBLIQUE
    ? [`The volume lies ${off.toFixed(0)} degrees off the patient's axes; its sides are the nearest ones.`]
    : [];
  return { pixels, shape: size, spacing: sources.map((source) => spacing[source]!), notes };
}

/**
 * Which world axis each axis of an array runs along, and whether upwards, as nibabel's `io_orientation` decides it: by the
 * nearest matrix of right angles, the clearest axis first, each world axis once.
 */
export function nearestAxes(units: Matrix): { world: number; forward: boolean }[] {
  const rotation = nearestRotation(units).map((column) => [...column]);
  const clearest = (column: Vector) => Math.max(...column.map((x) => x * x));
  const order = [0, 1, 2].sort((a, b) => clearest(rotation[b]!) - clearest(rotation[a]!) || a - b);
  const axes: { world: number; forward: boolean }[] = [];
  for (const axis of order) {
    const column = rotation[axis]!;
    const world = column.reduce((best, x, i) => (Math.abs(x) > Math.abs(column[best]!) ? i : best), 0);
    axes[axis] = { world, forward: column[world]! >= 0 };
    for (const other of rotation) other[world] = 0;
  }
  return axes;
}

/** The orthogonal matrix nearest to three columns: their polar factor, by Newton's iteration (Higham 1986). */
function nearestRotation(columns: Matrix): Matrix {
  let found = columns;
  for (let round = 0; round < 30; round++) {
    const [a, b, c] = found as [Vector, Vector, Vector];
    const scale = determinant(found);
    const inverse = [cross(b, c), cross(c, a), cross(a, b)]; // columns of the transposed inverse, times the determinant
    found = found.map((column, i) => column.map((x, j) => (x + inverse[i]![j]! / scale) / 2));
  }
  return found;
}

export function determinant(columns: Matrix): number {
  return dot(columns[0]!, cross(columns[1]!, columns[2]!));
}

function dot(a: Vector, b: Vector): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}

function cross(a: Vector, b: Vector): number[] {
  return [0, 1, 2].map((i) => a[(i + 1) % 3]! * b[(i + 2) % 3]! - a[(i + 2) % 3]! * b[(i + 1) % 3]!);
}

function length(a: Vector): number {
  return Math.sqrt(dot(a, a));
}

/** A number with at most so many digits. */
function short(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}
