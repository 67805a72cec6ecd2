/** Where a model looks in a volume, of which it sees a part of fixed size in millimetres; as `imaging.field_of_view`. */
import type { Scan } from "../read/scan.ts";
import type { Input } from "./manifest.ts";

/** A voxel, (slice, row, column), from 0 and in fractions. */
export type Place = readonly number[];

export interface FieldOfView {
  /** The voxel in its middle. */
  readonly centre: Place;
  /** Its first and last edge along each axis, in voxels, whose own edges lie half a voxel beside them. */
  readonly box: readonly (readonly [number, number])[];
  /** Where its points lie along the slices, in voxels. */
  readonly slices: readonly number[];
}

/** Of a scan that the model reads; null where it reads scans as wholes.  centre: null is the middle of the scan. */
export function fieldOfView({ size, spacing }: Input, scan: Scan, centre: Place | null): FieldOfView | null {
  if (!spacing || scan.shape.length !== 3) return null;
  const middle = centre ?? scan.shape.map((length) => (length - 1) / 2);
  const steps = spacing.map((own, axis) => (scan.spacing ? own / scan.spacing[axis]! : 1));
  const box = size.map((points, axis) => {
    const half = (points * steps[axis]!) / 2;
    return [middle[axis]! - half, middle[axis]! + half] as const;
  });
  const slices = Array.from({ length: size[0]! }, (_, i) => middle[0]! + (i - (size[0]! - 1) / 2) * steps[0]!);
  return { centre: middle, box, slices };
}
