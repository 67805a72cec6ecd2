/** The scan: what a person brings, as pixels and geometry, and nothing about the patient; as of `imaging.Scan`. */
import { Refusal } from "./refusal.ts";

export interface Scan {
  /**
   * As stored after the file's own rescaling, in C order.  A volume is (slices, rows, columns), from inferior to
   * superior, anterior to posterior, and the patient's right to left; an image is (rows, columns), in colour
   * (rows, columns, 3).
   */
  readonly pixels: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
  /** Millimetres along each axis in space; null if the file does not say. */
  readonly spacing: readonly number[] | null;
  readonly modality: string | null;
  readonly units: "HU" | null;
  /** The grey values that the file wants shown as black and as white. */
  readonly window: readonly [number, number] | null;
  /** Whether the file says how the patient lies in a volume, so that its sides may be named. */
  readonly oriented: boolean;
  /** What was changed, chosen or assumed. */
  readonly notes: readonly string[];
}

const PLAIN = { spacing: null, modality: null, units: null, window: null, oriented: false, notes: [] } as const;

/** A scan of these pixels.  Throws a Refusal if they are empty, not 2D or 3D, or not finite. */
export function scanOf(pixels: Float32Array<ArrayBuffer>, shape: readonly number[], known: Partial<Scan> = {}): Scan {
  const size = shape.join(" x ");
  if (shape.length !== 2 && shape.length !== 3) {
    throw new Refusal(`A scan has 2 or 3 axes, this array has ${shape.length} (${size}).`);
  }
  if (pixels.length === 0) throw new Refusal(`The scan is empty (${size} pixels).`);
  let bad = 0;
  for (const value of pixels) if (!Number.isFinite(value)) bad++;
  if (bad) {
    throw new Refusal(
      `${bad} of ${pixels.length} pixels are not finite (NaN or infinite): give them the background value.`,
    );
  }
  return { ...PLAIN, ...known, pixels, shape };
}

/** The lowest and the highest value. */
export function range(pixels: Float32Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of pixels) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

export function product(shape: readonly number[]): number {
  return shape.reduce((so, axis) => so * axis, 1);
}

/** The item that a selection names, 0 to length - 1. */
export function itemNumber(item: string, length: number): number {
  if (!/^[0-9]{1,18}$/.test(item) || Number(item) >= length) {
    throw new Refusal(`there is no item '${item}'; items are 0 to ${length - 1}.`);
  }
  return Number(item);
}
