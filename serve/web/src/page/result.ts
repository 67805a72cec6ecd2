/** Everything that is shown, as the JSON that a person can keep; the same fields as the demo's. */
import type { Judged, Loaded, Scan } from "../messages.ts";

export function result(name: string, model: string, { manifest }: Loaded, scan: Scan, judged: Judged): string {
  const { prediction, slices, traces } = judged;
  const finite = (value: number) => (Number.isFinite(value) ? value : null);
  const rounded = (values: ArrayLike<number>, digits: number) => Array.from(values, (x) => Number(x.toFixed(digits)));
  const rows = (values: Float32Array, width: number) =>
    Array.from({ length: values.length / width }, (_, i) => rounded(values.subarray(i * width, (i + 1) * width), 4));
  return JSON.stringify({
    notice: "Research use only. Not a medical device.",
    model: {
      name: model,
      model: manifest.model,
      dataset: manifest.provenance.dataset,
      weights_sha256: manifest.provenance["weights_sha256"],
      graph_digest: manifest.graph_digest,
    },
    scan: {
      name,
      shape: scan.shape,
      spacing_mm: scan.spacing,
      modality: scan.modality,
      units: scan.units,
      oriented: scan.oriented,
      centre: judged.view && judged.view.centre,
      notes: scan.notes,
    },
    prediction: {
      label: prediction.label,
      probabilities: Object.fromEntries(manifest.labels.map((label, i) => [label, prediction.probabilities[i]])),
      threshold: prediction.threshold,
      abstained: prediction.abstained,
      ood_score: prediction.oodScore,
      ood_threshold: finite(prediction.oodThreshold),
      ood: prediction.ood,
      slice_probabilities: prediction.sliceProbabilities,
      milliseconds: judged.milliseconds,
      device: "browser",
      notes: [...scan.notes, ...prediction.notes],
    },
    explanation: {
      slices: slices && {
        label: slices.label,
        position: rounded(slices.positions, 2),
        contribution: rounded(slices.contribution, 5),
      },
      neurons: traces.map(({ states, neurons, wiring }) => ({
        layer: wiring.layer,
        types: wiring.neurons,
        states: rows(states, neurons),
      })),
    },
  });
}
