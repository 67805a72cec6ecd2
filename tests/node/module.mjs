// Runs ONNX files with onnxruntime-node and compares their answers.
//
//   node module.mjs CASES.json
//
// CASES.json: [{name, file, inputs: {name: {shape, data}}, outputs: {name: {shape, data}}}].  Prints
// {name: largest difference} as JSON.

import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";

const report = {};
for (const { name, file, inputs, outputs } of JSON.parse(readFileSync(process.argv[2]))) {
  const session = await ort.InferenceSession.create(file);
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([key, { shape, data }]) => [key, new ort.Tensor("float32", data, shape)]),
  );
  const found = await session.run(feeds);
  let worst = 0;
  for (const [key, { shape, data }] of Object.entries(outputs)) {
    if (found[key].dims.join() !== shape.join()) throw new Error(`${name}: ${key} is ${found[key].dims}, not ${shape}`);
    data.forEach((value, i) => (worst = Math.max(worst, Math.abs(found[key].data[i] - value))));
  }
  report[name] = worst;
}
console.log(JSON.stringify(report));
