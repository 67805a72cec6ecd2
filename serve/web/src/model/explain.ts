/** What the file itself puts out beside its answer: a decision per slice, and neurons' states; as `serve.explain.occlusion`. */
import type { Output, Prediction } from "./conclude.ts";
import type { Scan } from "../read/scan.ts";
import type { FieldOfView } from "./field-of-view.ts";
import type { Manifest, Wiring } from "./manifest.ts";

export interface SliceContribution {
  readonly label: string;
  /** What each slice adds to the label's logit; they sum to it. */
  readonly contribution: readonly number[];
  /** Where the slices lie among the scan's own, counted from 0. */
  readonly positions: readonly number[];
}

export interface NeuronTrace {
  /** (steps, neurons), in the order of the wiring's neurons. */
  readonly states: Float32Array;
  readonly steps: number;
  readonly neurons: number;
  readonly wiring: Wiring;
}

/** What every slice contributes; null where the model does not decide by slice. */
export function slices(
  manifest: Manifest,
  outputs: Readonly<Record<string, Output>>,
  prediction: Prediction,
  scan: Scan,
  view: FieldOfView | null,
): SliceContribution | null {
  const logits = outputs["slice_logits"];
  if (!logits) return null;
  const [count, width] = logits.shape as [number, number];
  const binary = manifest.labels.length === 2 && manifest.task === "classes";
  const { probabilities } = prediction;
  const which = binary ? 1 : probabilities.indexOf(Math.max(...probabilities));
  const contribution = Array.from({ length: count }, (_, slice) => {
    const row = Array.from(logits.data.subarray(slice * width, (slice + 1) * width));
    if (width === 1) return (which === 1 ? row[0]! : -row[0]!) / count;
    const mean = manifest.task === "multi-label" ? 0 : row.reduce((sum, x) => sum + x, 0) / width;
    return (row[which]! - mean) / count;
  });
  return { label: manifest.labels[which]!, contribution, positions: positions(scan.shape[0]!, count, view?.slices) };
}

/** The states of every liquid layer while it read the scan. */
export function traces(manifest: Manifest, outputs: Readonly<Record<string, Output>>): NeuronTrace[] {
  return manifest.wiring.flatMap((wiring) => {
    const output = outputs[wiring.output];
    if (!output) return [];
    const [steps, neurons] = output.shape as [number, number];
    return [{ states: output.data, steps, neurons, wiring }];
  });
}

/** Where resized points, or those of a field of view, lie among the original ones, which count from 0, not beyond the ends. */
export function positions(length: number, points: number, seen?: readonly number[]): number[] {
  const at = seen ?? Array.from({ length: points }, (_, i) => ((i + 0.5) * length) / points - 0.5);
  return at.map((place) => Math.min(Math.max(place, 0), length - 1));
}
