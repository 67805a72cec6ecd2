// Judges one scan with nothing but ONNX Runtime:
//
//   npm ci --ignore-scripts && node predict.mjs BUNDLE SCAN.npy
//
// BUNDLE: the folder of a model of one label per scan.  SCAN.npy: uint8 or float32, in C order.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";

const [bundle, file] = process.argv.slice(2);
const { model, labels, operating, out_of_distribution } = JSON.parse(readFileSync(join(bundle, "model.json"), "utf8"));

const bytes = readFileSync(file);
const start = 10 + bytes.readUInt16LE(8); // behind the header of a .npy file
const header = bytes.toString("latin1", 10, start);
const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((n) => n.trim()).map(Number);
const isFloat = header.includes("'<f4'");
const pixels = isFloat ? new Float32Array(new Uint8Array(bytes.subarray(start)).buffer) : Float32Array.from(bytes.subarray(start));

const session = await InferenceSession.create(join(bundle, "model.onnx"));
const inputs = { scan: new Tensor("float32", pixels, [1, ...shape]) };
for (const name of session.inputNames) // spacing and centre of a field of view: unknown, so the model's own and the middle
  inputs[name] ??= new Tensor("float32", new Float32Array(3).fill(NaN), [1, 3]);
const outputs = await session.run(inputs);

const probabilities = [...outputs.probabilities.data];
const likeliest = probabilities.indexOf(Math.max(...probabilities));
const [first, second] = [...probabilities].sort((a, b) => b - a);
const [low, high] = operating.abstain ?? [1, 0]; // of two classes; of more, the likeliest are too close
const abstained = (low < probabilities[1] && probabilities[1] < high) || first - second < (operating.abstain_margin ?? 0);
console.log(
  JSON.stringify({
    model,
    label: labels[labels.length === 2 ? Number(probabilities[1] > operating.threshold) : likeliest],
    probabilities: Object.fromEntries(labels.map((label, i) => [label, probabilities[i]])),
    abstained,
    ood: outputs.ood.data[0] > out_of_distribution.threshold,
  }),
);
