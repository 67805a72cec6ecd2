// Runs the files of a bundle with ONNX Runtime Web (WebAssembly) and compares their answers with golden.npz.
//
//   node verify.mjs BUNDLE [TOLERANCE [FILE...]]
//
// FILE: names in the bundle, by default all model*.onnx.  Prints {file: {output: largest difference}} as JSON; files that
// read no whole scans (the profile step) are left out.  Exit code 1 if a difference exceeds the tolerance (1e-4).

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { unzipSync } from "fflate";
import * as ort from "onnxruntime-web/wasm";

ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

/** A .npz file as {name: {shape, data}}; float32 arrays in C order, as golden files hold them. */
function readNpz(path) {
  const arrays = {};
  for (const [member, bytes] of Object.entries(unzipSync(readFileSync(path)))) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const wide = view.getUint8(6) > 1; // versions 2 and 3 of the format have a longer length of the header
    const start = wide ? 12 : 10;
    const end = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
    const header = new TextDecoder().decode(bytes.subarray(start, end));
    if (!header.includes("'descr': '<f4'") || !header.includes("'fortran_order': False")) {
      throw new Error(`${member}: only float32 in C order is read, not ${header}`);
    }
    const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((n) => n.trim()).map(Number);
    arrays[member.replace(/\.npy$/, "")] = { shape, data: new Float32Array(bytes.slice(end).buffer) };
  }
  return arrays;
}

/** The largest difference of one output; relative where the out-of-distribution score exceeds 1. */
function difference(name, found, expected) {
  if (found.dims.join() !== expected.shape.join()) return Infinity;
  let worst = 0;
  expected.data.forEach((value, i) => {
    const gap = Math.abs(found.data[i] - value) / (name === "ood" ? Math.max(1, value) : 1);
    worst = Math.max(worst, gap); // NaN, if one is
  });
  return worst;
}

/** {output: largest difference} over both cases of the golden file; null if the file reads no scans. */
async function verify(path, golden) {
  const session = await ort.InferenceSession.create(readFileSync(path), { executionProviders: ["wasm"] });
  if (session.inputNames.join() !== "scan") return null;
  const worst = {};
  for (const suffix of ["", "_other"]) {
    const { shape, data } = golden[`scan${suffix}`];
    const outputs = await session.run({ scan: new ort.Tensor("float32", data, shape) });
    for (const [name, found] of Object.entries(outputs)) {
      const expected = golden[name + suffix];
      if (!expected) throw new Error(`golden.npz has no ${name}${suffix}`);
      worst[name] = Math.max(worst[name] ?? 0, difference(name, found, expected));
    }
  }
  return worst;
}

const [bundle, tolerance = "1e-4", ...named] = process.argv.slice(2);
const files = named.length ? named : readdirSync(bundle).filter((name) => /^model.*\.onnx$/.test(name)).sort();
const golden = readNpz(join(bundle, "golden.npz"));
const report = {};
for (const file of files) {
  const worst = await verify(join(bundle, file), golden);
  if (worst) report[file] = worst;
}
const readable = (_, value) => (Number.isNaN(value) || value === Infinity ? String(value) : value); // JSON has neither
console.log(JSON.stringify(report, readable, 2));
const all = Object.values(report).flatMap((worst) => Object.values(worst));
process.exitCode = all.length && all.every((gap) => gap <= Number(tolerance)) ? 0 : 1;
