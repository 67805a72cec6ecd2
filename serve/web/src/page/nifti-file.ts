/** A scan as the bytes of a NIfTI-1 file, which is what NiiVue takes. */
import type { Scan } from "../messages.ts";
import type { Window } from "./windows.ts";

const [HEADER, START] = [348, 352];
const [FLOAT32, RGB24] = [16, 128];
const MILLIMETRES = 2;

/**
 * The file of a volume, or of an image as a volume of one slice; voxels lie as in `Scan`, columns fastest.
 * The window is the one to show it through at first.
 */
export function asNifti(scan: Scan, colour: boolean, { level, width }: Window): ArrayBuffer {
  const inSpace = colour ? scan.shape.slice(0, 2) : scan.shape;
  const [columns, rows, slices] = [...inSpace].reverse() as [number, number, number | undefined];
  const [x, y, z] = [...(scan.spacing ?? inSpace.map(() => 1))].reverse() as [number, number, number | undefined];
  const voxels = columns * rows * (slices ?? 1);
  const file = new ArrayBuffer(START + voxels * (colour ? 3 : 4));
  const view = new DataView(file);
  const short = (at: number, ...values: number[]) => values.forEach((v, i) => view.setInt16(at + 2 * i, v, true));
  const real = (at: number, ...values: number[]) => values.forEach((v, i) => view.setFloat32(at + 4 * i, v, true));
  view.setInt32(0, HEADER, true);
  short(40, 3, columns, rows, slices ?? 1, 1, 1, 1, 1);
  short(70, colour ? RGB24 : FLOAT32, colour ? 24 : 32);
  real(76, 1, x, y, z ?? 1);
  real(108, START);
  real(112, 1, 0);
  real(124, level + width / 2, level - width / 2);
  view.setUint8(123, MILLIMETRES);
  short(252, 0, 1); // the sform alone: columns run to the patient's left, rows to the back
  real(280, -x, 0, 0, 0);
  real(296, 0, -y, 0, 0);
  real(312, 0, 0, z ?? 1, 0);
  new Uint8Array(file, 344, 4).set([110, 43, 49, 0]); // "n+1"
  if (colour) new Uint8Array(file, START).set(scan.pixels);
  else new Float32Array(file, START).set(scan.pixels);
  return file;
}
