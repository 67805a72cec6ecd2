/** The part of `liquidlens audit` that a browser does: is every tensor of the file the one that was exported? */
import { sha256, type Manifest } from "./manifest.ts";
import { tensorsOf } from "./onnx.ts";

/** Digits of a tensor's digest, as of `export.checks.audit`. */
const DIGITS = 32;

export interface Audit {
  /** Tensors in the file, and of them those whose type, shape and numbers have the manifest's digest. */
  readonly stored: number;
  readonly sound: number;
  /** What is not as it was exported. */
  readonly problems: readonly string[];
}

export async function audit(file: Uint8Array, manifest: Manifest): Promise<Audit> {
  const problems: string[] = [];
  const tensors = tensorsOf(file);
  let sound = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    const record = manifest.initializers[name];
    if (!record) {
      problems.push(`${name}: the manifest does not name it.`);
      continue;
    }
    const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
    const described = new TextEncoder().encode(`${dtype} ${tuple} `);
    const whole = new Uint8Array(described.length + bytes.length);
    whole.set(described);
    whole.set(bytes, described.length);
    if ((await sha256(whole)).slice(0, DIGITS) === record.digest) sound += 1;
    else problems.push(`${name}: it is not what was exported.`);
  }
  const there = new Set(tensors.map(({ name }) => name));
  for (const name of Object.keys(manifest.initializers)) {
    if (!there.has(name)) problems.push(`${name}: it is missing.`);
  }
  return { stored: tensors.length, sound, problems };
}
