/** A model's answer for one scan: everything after the graph.  The same as `serve.predict.prediction`. */
import { Refusal } from "../read/refusal.ts";
import type { Manifest } from "./manifest.ts";

/** An output of the file for one scan: its numbers in C order, and its shape without the axis of the batch. */
export interface Output {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

export interface Prediction {
  readonly label: string;
  /** Calibrated, in the order of the labels. */
  readonly probabilities: readonly number[];
  /** A label is predicted if its probability is above; null where the likeliest of several classes is. */
  readonly threshold: number | null;
  readonly abstained: boolean;
  readonly oodScore: number;
  readonly oodThreshold: number;
  readonly ood: boolean;
  /**
   * Of models that decide by slice: of the last label of a binary model, (slices,), or of each label of another,
   * (slices, labels).
   */
  readonly sliceProbabilities: readonly number[] | readonly (readonly number[])[] | null;
  readonly notes: readonly string[];
}

export function conclude(
  manifest: Manifest,
  outputs: Readonly<Record<string, Output>>,
  notes: readonly string[],
): Prediction {
  const probabilities = Array.from(outputs["probabilities"]!.data);
  const score = outputs["ood"]!.data[0]!;
  if (![...probabilities, score].every(Number.isFinite)) {
    throw new Refusal("the pixel values are too large, the model's answer is not a number.");
  }
  const { operating, labels, out_of_distribution: limit } = manifest;
  const saysYesOrNo = labels.length === 2 || manifest.task === "multi-label";
  const logits = outputs["slice_logits"];
  return {
    label: label(manifest, probabilities),
    probabilities,
    threshold: saysYesOrNo ? operating.threshold : null,
    abstained: abstains(manifest, probabilities),
    oodScore: score,
    oodThreshold: limit.threshold,
    ood: score > limit.threshold,
    sliceProbabilities: logits ? bySlice(manifest, logits) : null,
    notes,
  };
}

function label({ labels, task, operating }: Manifest, probabilities: readonly number[]): string {
  if (task === "multi-label") {
    return labels.filter((_, i) => probabilities[i]! > operating.threshold).join(", ") || "none";
  }
  if (labels.length === 2) return labels[probabilities[1]! > operating.threshold ? 1 : 0]!;
  return labels[probabilities.indexOf(Math.max(...probabilities))]!;
}

function abstains({ operating }: Manifest, probabilities: readonly number[]): boolean {
  if (operating.abstain) return operating.abstain[0] < probabilities[1]! && probabilities[1]! < operating.abstain[1];
  if (operating.abstain_margin !== null && operating.abstain_margin !== undefined) {
    const [first, second] = [...probabilities].sort((a, b) => b - a);
    return Math.fround(first! - second!) < operating.abstain_margin;
  }
  return false;
}

/** Probabilities of calibrated logits (slices, K): one per slice if K is 1, else K per slice. */
function bySlice(manifest: Manifest, { data, shape }: Output): number[] | number[][] {
  const outputs = shape[1]!;
  const rows = Array.from({ length: shape[0]! }, (_, i) => Array.from(data.subarray(i * outputs, (i + 1) * outputs)));
  const sigmoid = (logit: number) => 0.5 + 0.5 * Math.tanh(0.5 * logit); // in a form that cannot overflow
  if (outputs === 1) return rows.map(([logit]) => sigmoid(logit!));
  if (manifest.task === "multi-label") return rows.map((row) => row.map(sigmoid));
  return rows.map((row) => {
    const most = Math.max(...row);
    const exponentials = row.map((logit) => Math.exp(logit - most));
    const sum = exponentials.reduce((so, value) => so + value, 0);
    return exponentials.map((value) => value / sum);
  });
}
