/** Which values are shown as black and as white: windows that suit a scan; as `serve.demo.viewer.presets`. */
import type { Scan } from "../messages.ts";
import { range } from "../read/scan.ts";

export interface Window {
  readonly name: string;
  readonly level: number;
  readonly width: number;
}

/** Level and width in Hounsfield units, the values that radiology textbooks print. */
const HU: readonly Window[] = [
  { name: "Lung", level: -600, width: 1500 },
  { name: "Mediastinum", level: 40, width: 400 },
  { name: "Abdomen", level: 50, width: 350 },
  { name: "Brain", level: 40, width: 80 },
  { name: "Bone", level: 400, width: 1800 },
];

/** Whether the scan holds two values at most: a segmented shape. */
export function isMask(scan: Scan): boolean {
  const [low, high] = range(scan.pixels);
  return scan.pixels.every((value) => value === low || value === high);
}

/** Whether the scan is a colour image, and no volume. */
export function isColour({ shape, spacing, oriented }: Scan): boolean {
  return shape.length === 3 && shape[2] === 3 && !oriented && spacing?.length !== 3;
}

/** The windows that suit a scan; the first is the one to begin with. */
export function presets(scan: Scan): Window[] {
  const [low, high] = range(scan.pixels);
  if (isMask(scan)) return [between("Mask", low, high)];
  const found: Window[] = [];
  if (scan.window) found.push(between("From the file", ...scan.window));
  if (scan.units === "HU") found.push(...HU);
  const step = Math.max(1, Math.floor(scan.pixels.length / 1_000_000));
  const some = scan.pixels.filter((_, i) => i % step === 0).sort();
  const at = (share: number) => some[Math.round(share * (some.length - 1))]!;
  found.push(between("Middle 98 %", at(0.01), at(0.99)), between("Full range", low, high));
  return found;
}

/** Rounded to what a person can read: whole numbers, or four digits where the values are close together. */
function between(name: string, low: number, high: number): Window {
  const width = Math.max(high - low, 1e-6);
  const digits = width > 50 ? 0 : 3 - Math.floor(Math.log10(width));
  const round = (value: number) => Number(value.toFixed(Math.min(Math.max(digits, 0), 12)));
  return { name, level: round((low + high) / 2), width: round(width) };
}
