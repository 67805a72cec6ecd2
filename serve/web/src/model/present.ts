/** What a model's file is given for a scan: everything before the graph.  The same as `serve.predict.predictor` and `serve.predict.presentation`. */
import { range, type Scan } from "../read/scan.ts";
import { Refusal } from "../read/refusal.ts";
import type { Place } from "./field-of-view.ts";
import { trainedOn, type Manifest } from "./manifest.ts";

/** What is known of a model before its file is loaded, or from its manifest. */
export type Contract = Pick<Manifest, "model" | "input" | "trained_on">;

/** DICOM's code for what has none: it says nothing. */
const OTHER = "OT";

/** Throw a Refusal if the model does not read scans of this kind; `name` is what the sentence calls the scan. */
export function checkReads({ model, input, trained_on }: Contract, scan: Scan, name: string): void {
  const axes = scan.shape.length;
  if (input.channels === 3) {
    if (axes !== 3 || scan.shape[2] !== 3) throw new Refusal(`${name}: ${model} reads colour images, and this is none.`);
  } else if (axes !== input.size.length) {
    const [reads, is] = [input.size.length, axes].map((number) => (number === 2 ? "a 2D image" : "a volume"));
    throw new Refusal(`${name}: ${model} reads ${reads}, and this is ${is}.`);
  }
  const modality = modalityOf(scan);
  if (trained_on && modality !== null && !trained_on.modalities.includes(modality)) {
    throw new Refusal(`${name}: ${model} was trained on ${trainedOn(trained_on)}, and this is of modality ${modality}.`);
  }
  if (input.values === "hu" && scan.units !== "HU" && scan.modality !== null) {
    const what = scan.modality === "CT" ? "a CT in other units" : `of modality ${scan.modality}`;
    throw new Refusal(`${name}: ${model} reads CT in Hounsfield units, and this is ${what}.`);
  }
}

/**
 * The pixels for the input `scan`.  They are the scan's own but for grey models, which learnt from pictures, and files
 * that were not made to be seen as they are: those go through their window, to 0..255.
 */
export function presented(manifest: Manifest, scan: Scan): Float32Array<ArrayBuffer> {
  const window = manifest.input.values === "grey" ? displayWindow(scan) : null;
  if (!window) return scan.pixels;
  const f = Math.fround; // as NumPy does: numbers of 32 bits, and so is what is done with them
  const [low, scale] = [f(window[0]), f(255 / (window[1] - window[0]))];
  return scan.pixels.map((value) => Math.min(Math.max(f(f(value - low) * scale), 0), 255));
}

/** The grey values to be seen as black and as white; null if the pixels are to be seen as they are. */
export function displayWindow(scan: Scan): readonly [number, number] | null {
  if (scan.window !== null || scan.modality === null) return scan.window;
  const [low, high] = range(scan.pixels);
  return low < high && (low < 0 || high > 255) ? [low, high] : null;
}

/** What has to be assumed of a scan that a model reads.  centre: where it looks, null if nobody said. */
export function assumptions({ input, trained_on }: Contract, scan: Scan, centre: Place | null): string[] {
  const found: string[] = [];
  const window = displayWindow(scan);
  if (input.values === "grey" && window) {
    const [low, high] = window.map((value) => String(Number(value.toPrecision(6))));
    found.push(`Grey values from ${low} to ${high} were taken for black to white.`);
  }
  if (input.values === "hu" && scan.units !== "HU") {
    found.push("The file does not say what its values are: they were taken for Hounsfield units.");
  }
  if (input.spacing) {
    const by = (lengths: readonly number[]) => lengths.map((length) => Number(length.toPrecision(6))).join(" x ");
    if (!scan.spacing) {
      found.push(`The file does not say how far its voxels are apart: ${by(input.spacing)} mm was taken, the model's own.`);
    }
    if (!centre) {
      const extent = by(input.spacing.map((mm, axis) => mm * input.size[axis]!));
      found.push(`No point was given: the model looked at ${extent} mm around the middle of the scan.`);
    }
  }
  if (input.values === "mask") {
    if (!isShape(scan)) found.push("The scan holds more than two values: the model was trained on segmented shapes alone.");
  } else if (trained_on && modalityOf(scan) === null) {
    found.push(`The file does not say what kind of scan it is: the model was trained on ${trainedOn(trained_on)}.`);
  }
  return found;
}

/**
 * How badly a scan fits a model: 0 where all that it says is what the model was trained on, Infinity if the model does not
 * read it; as `serve.predict.fitting`.
 */
export function doubts(contract: Contract, scan: Scan): number {
  try {
    checkReads(contract, scan, "");
  } catch {
    return Infinity;
  }
  const { input, trained_on } = contract;
  if (input.values === "mask") return isShape(scan) ? 0 : 3;
  if (isShape(scan)) return 2;
  if (input.values === "hu" && scan.units !== "HU") return 1;
  return Number(!trained_on || modalityOf(scan) === null);
}

function modalityOf(scan: Scan): string | null {
  return scan.modality === OTHER ? null : scan.modality;
}

/** Whether there are two values at most, as in a segmented shape. */
function isShape(scan: Scan): boolean {
  const [low, high] = range(scan.pixels);
  return scan.pixels.every((value) => value === low || value === high);
}
