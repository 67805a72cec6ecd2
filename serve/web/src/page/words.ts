/** The sentences that a person reads about a model; those of `serve.demo.answer`. */
import type { Manifest } from "../messages.ts";
import { element } from "./dom.ts";

/** What a valid input is, by the kind of values that a model reads: before, in bold, and after. */
const INPUTS: Record<Manifest["input"]["values"], readonly [string, string, string]> = {
  mask: [
    "Give it only a ",
    "segmented, cropped shape",
    ": one structure, bright inside and 0 outside. A CT or an MR image is not a valid input.",
  ],
  hu: [
    "Give it a ",
    "CT crop in Hounsfield units",
    " around the structure in question. MR, X-ray and segmented shapes are not valid inputs.",
  ],
  grey: ["Give it an image of the same kind as its training images, ", "in grey values of 8 or 16 bits", "."],
};

/** What the model tells apart and what it may be given. */
export function about(manifest: Manifest): HTMLElement {
  const auc = manifest.metrics.test?.["auc"];
  const quality = typeof auc === "number" ? `, test AUC ${auc.toFixed(3)}` : "";
  const [before, strong, after] = INPUTS[manifest.input.values];
  const input = manifest.input.channels === 3
    ? ["Give it a colour image."]
    : [before, element("b", {}, strong), after];
  return element(
    "p",
    {},
    element("b", {}, manifest.model),
    ` on ${manifest.provenance.dataset}: ${manifest.labels.join(" / ")}; `,
    `${manifest.parameters.trainable.toLocaleString("en-US")} parameters${quality}.`,
    element("br"),
    ...input,
  );
}
